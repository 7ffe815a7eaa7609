"""Shared by all tests: one thread, no network, and base models that are made once per session."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

TEXTS = [
    "word red, agent 0, turn 0, told 0.25, said green blue. The quick brown fox jumps over the lazy dog.",
    "A much longer word to say: one two three, yellow and black; 1 2 3 4 5 6 7 8 9 0 # . # .",
]


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory):
    """Two random models, `tiny` and `other`, of different sizes and vocabularies; nothing is pre-trained."""
    from collm.llm import sources

    root = tmp_path_factory.mktemp("models")
    none = {"steps": 0, "batch_size": 1, "window": 16, "rows": "joined", "learning_rate": 1e-3}
    tiny = {"source": "scratch", "layers": 2, "hidden": 32, "heads": 2, "vocabulary": 320, "context": 256}
    other = {"source": "scratch", "layers": 1, "hidden": 48, "heads": 4, "vocabulary": 300, "context": 192}
    for name, spec, texts in (("tiny", tiny, TEXTS), ("other", other, TEXTS[:1])):
        sources.make(name, {**spec, "pretrain": none}, root / name, texts, 0, root / "lock.json")
    return root
