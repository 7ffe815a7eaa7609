"""What the paper reports, and when one of our numbers may stand beside one of its numbers.

The values ship as `paper_results.csv` beside this module (domain, method, metric, value, source). They were measured
on the full public data sets with models of 1.7 to 4 billion parameters. A run on the project's own small
data, on part of a data set, or with a model made from scratch or shipped in a package measures something
else and is never set against them; its rows say why instead.

Domains that the paper does not have (the multiple-choice ones, HumanEval, MBPP) are never comparable, whatever
their data. Where another paper ran CoLLM on such a benchmark, under a protocol of its own, the label quotes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from collm.domains.base import Domain
from collm.methods.registry import ROWS

VALUES = Path(__file__).with_name("paper_results.csv")
MODELS = {
    "tldr": ("Qwen/Qwen3-1.7B",),
    "arxiv": ("Qwen/Qwen3-1.7B",),
    "coophe": ("Qwen/Qwen2.5-Coder-3B", "Qwen/Qwen3-4B-Instruct-2507"),
    "str_build": ("Qwen/Qwen2.5-3B-Instruct", "Qwen/Qwen3-4B-Instruct-2507"),
    "house_build": ("Qwen/Qwen2.5-3B-Instruct", "Qwen/Qwen3-4B-Instruct-2507"),
}  # of the multi-agent teams, paper appendix C.2
PAPER = "arXiv 2601.21972v2"
TEN = ("paper[0:8]", "paper[8:10]")  # the ten published strings or houses, none generated
ROWS_OFF_THE_HUB = {name: {"embedded": TEN, "path": TEN} for name in ("str_build", "house_build")}
MODEL_WORDS = {"scratch": "scratch model", "wheel": "model from a package", "folder": "local model"}


@dataclass(frozen=True)
class Provenance:
    """Where a row's data and models come from, in words, and whether the paper may stand beside it."""

    label: str
    comparable: bool


def values() -> dict[tuple[str, str, str], float]:
    """The paper's numbers by (domain, method, metric), in the units of its tables; nobody else's."""
    frame = _published()
    rows = frame[frame["source"].str.startswith(PAPER)][["domain", "method", "metric", "value"]].to_numpy()
    return {(domain, method, metric): float(value) for domain, method, metric, value in rows}


def elsewhere(domain: str) -> str:
    """What others report for `domain` under another protocol, in words; "" if nothing."""
    frame = _published()
    others = frame[(frame["domain"] == domain) & ~frame["source"].str.startswith(PAPER)]
    rows = others[["method", "metric", "value", "source"]].to_numpy()
    return ", ".join(f"{ROWS[method].label} {metric} {value:g} in {source}" for method, metric, value, source in rows)


def papers_rows(domain: Domain) -> Mapping[str, tuple[str, str]]:
    """Sources that hold the paper's rows, each with the paper's train and test slice.

    Empty for a domain that the paper does not have: its hub set is then not the paper's, however it is cut.
    """
    if domain.name not in MODELS:
        return {}
    return {"hub": domain.slices["hub"]} if domain.hub else ROWS_OFF_THE_HUB.get(domain.name, {})


def provenance(
    manifest: Mapping[str, Any], record: Mapping[str, Any], papers: Mapping[str, tuple[str, str]]
) -> Provenance:
    """Judge one method in one domain from its data manifest and an evaluation record.

    Comparable means: rows from a source of `papers` (see `papers_rows`), cut as the paper cuts them, and
    every agent's model from the hub. A hub model other than the paper's own is allowed and named.
    """
    source, domain = manifest["source"], manifest["domain"]
    cut = tuple(manifest["splits"][split]["slice"] for split in ("train", "test"))
    team, models = record["config"]["team"], record["config"]["models"]
    used = [models[name] for name in dict.fromkeys(team["agents"])]
    words = [manifest["label"]]
    same_rows = papers.get(source) == cut
    if same_rows:
        words[0] += " (the paper's rows)"
    elif source == "hub":
        words[0] += f" {cut[0]} and {cut[1]}" + (" (not the paper's rows)" if papers else "")
    words += dict.fromkeys(_model_words(model) for model in used)
    if domain not in MODELS:
        words += ["not in the paper", *([others] if (others := elsewhere(domain)) else [])]
    if not same_rows or any(model["source"] != "hub" for model in used):
        return Provenance(f"{', '.join(words)}: not comparable with the paper", False)
    published = MODELS.get(domain, ())
    if published and {model["id"] for model in used} != set(published):
        words.append(f"paper: {' + '.join(published)}")
    return Provenance(", ".join(words), True)


def _published() -> pd.DataFrame:
    return pd.read_csv(VALUES)


def _model_words(model: Mapping[str, Any]) -> str:
    return model["id"] if model["source"] == "hub" else MODEL_WORDS.get(model["source"], model["source"])
