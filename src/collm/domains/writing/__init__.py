"""Writing: TLDR summaries and arXiv introductions, scored by structure, style and transitions."""
