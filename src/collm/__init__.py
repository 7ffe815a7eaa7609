"""CoLLM: train teams of language models that answer in parallel and share one reward (arXiv 2601.21972)."""

__version__ = "0.1.0"
