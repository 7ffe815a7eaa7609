"""Health of training runs as tables: a frame with a row per run, and the same with remarks for people.

The numbers come from metrics.jsonl alone (`collm.runs.health`), the remarks from `collm.runs.health_remarks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from collm.common.files import read_jsonl
from collm.domains import title
from collm.methods.registry import METHODS, ROWS
from collm.report import starts, table_text
from collm.report.results import Results
from collm.runs import health_remarks
from collm.runs.health import Health, Span, over_members, span_over_members, summary
from collm.runs.health_remarks import Remark

NOTES = (
    "First → last: means over the first and the last fifth of a run's updates. Reward: of the start and of the end, in "
    "the final evaluation where both rows are there.",
    "Expl. var.: explained variance of the critics at the end, 1 is best, 0 explains nothing. Zero adv.: share of "
    "advantages that are zero. Entropy: nats per token. KL: to the start, nats per token, at the last evaluation. "
    "Length: tokens of a response. Invalid: responses that are empty, cut or without what was asked for, at the end. "
    "Grad.: median gradient norm of the agents before clipping. Mismatch: of sampler and scorer, nats per token. "
    "Samples/s: joint samples over the time of playing and learning.",
)


@dataclass(frozen=True)
class RunHealth:
    """One training run: its key, its metrics in short, what stands out, and how it ended."""

    domain: str
    method: str
    seed: int
    health: Health
    remarks: Sequence[Remark]
    outcome: starts.Outcome | None


def runs(results: Results, outcomes: Iterable[starts.Outcome]) -> list[RunHealth]:
    """The health of every trained run, in the order of the tables; reads metrics.jsonl of each."""
    ends = {(outcome.domain, outcome.method, outcome.seed): outcome for outcome in outcomes}
    found = []
    for domain in results.domains():
        for method in [row for row in results.methods(domain) if row in METHODS]:
            for seed in map(int, results.of(domain, method)["seed"].unique()):
                key = domain, method, seed
                health = summary(read_jsonl(results.folders[key] / "metrics.jsonl"))
                remarks = health_remarks.remarks(health, results.records[key]["config"])
                found.append(RunHealth(*key, health, _with_fall(remarks, ends.get(key)), ends.get(key)))
    return found


def frame(found: Iterable[RunHealth]) -> pd.DataFrame:
    """One row per run, numbers with their units as in `Health`, means over members; empty where nothing was measured.

    `gradient_norm` is the largest median of an agent, `mismatch` the largest of an agent; `remarks` are names.
    """
    return pd.DataFrame([_row(run) for run in found], columns=_COLUMNS)


def markdown(found: Sequence[RunHealth]) -> str:
    """A table per domain with a line per run, under it what stands out, then what the columns mean."""
    blocks = ["# Health of the training runs"]
    for domain in dict.fromkeys(run.domain for run in found):
        own = [run for run in found if run.domain == domain]
        blocks += [f"## {title(domain)}", table_text.aligned(display_frame(own), left=1)]
        blocks.append(table_text.listed(remark_lines(own) or ["Nothing stands out."]))
    if not found:
        blocks.append("No run was trained by reinforcement learning.")
    blocks.append(table_text.listed([*NOTES, f"{starts.MARK}: ended below its start.", "More: docs/health.md."]))
    return "\n\n".join(blocks) + "\n"


def latex(found: Sequence[RunHealth]) -> str:
    """The tables of `markdown` as LaTeX, with remarks by name in the captions."""
    blocks = [table_text.PREAMBLE.replace("FILE", "health.tex")]
    for domain in dict.fromkeys(run.domain for run in found):
        own = [run for run in found if run.domain == domain]
        named = "; ".join(f"{_labelled(run)}: {_names(run)}" for run in own if run.remarks)
        explained = " ".join(NOTES) if len(blocks) == 1 else "Columns as in the first table."
        caption = f"Health of training runs, {title(domain)}. {explained} {f'Remarks: {named}.' if named else ''}"
        blocks.append(table_text.environment(display_frame(own), caption.strip(), f"health-{domain}"))
    return "\n".join(blocks)


def display_frame(found: Iterable[RunHealth]) -> pd.DataFrame:
    """Runs of one domain as people read them."""
    return pd.DataFrame([_cells(run) for run in found])


def remark_lines(found: Sequence[RunHealth]) -> list[str]:
    """Every remark of some runs of one domain in full, once per method: of its first seed, with the other seeds."""
    seeds: dict[tuple[str, str], list[int]] = {}
    texts: dict[tuple[str, str], str] = {}
    for run in found:
        for remark in run.remarks:
            key = run.method, remark.name
            seeds.setdefault(key, []).append(run.seed)
            texts.setdefault(key, remark.text)
    lines = []
    for (method, name), text in texts.items():
        first, *more = map(str, seeds[method, name])
        also = f" (also seed{'s' if len(more) > 1 else ''} {', '.join(more)})" if more else ""
        lines.append(f"{ROWS[method].label}, seed {first}{also}: {text}.")
    return lines


_COLUMNS = [
    *("domain", "method", "seed", "updates", "start", "start_reward", "end_reward", "below_start"),
    *("explained_variance", "zero_advantages", "entropy_first", "entropy_last", "kl_to_start"),
    *("length_first", "length_last", "invalid", "empty", "unparsed", "cut_responses"),
    *("gradient_norm", "gradient_norm_largest", "mismatch", "samples_per_second", "remarks"),
]


def _with_fall(remarks: Sequence[Remark], outcome: starts.Outcome | None) -> list[Remark]:
    """Remarks with one more where the final evaluation shows a fall that those in training did not show."""
    if outcome is None or not outcome.below or any(remark.name in health_remarks.FALLS for remark in remarks):
        return list(remarks)
    text = f"mean reward {outcome.end:.3g} at the end, below its start at {outcome.start:.3g} ({outcome.origin})"
    return [Remark(health_remarks.BELOW, text), *remarks]


def _row(run: RunHealth) -> dict[str, Any]:
    health, outcome = run.health, run.outcome
    norms = {name: norm for name, norm in health.gradient_norm.items() if name.startswith("agent")}
    row: dict[str, Any] = {"domain": run.domain, "method": run.method, "seed": run.seed, "updates": health.updates}
    if outcome is not None:
        row |= {"start": outcome.origin, "start_reward": outcome.start, "end_reward": outcome.end}
        row["below_start"] = outcome.below
    for name, spans in (("entropy", health.entropy), ("length", health.length)):
        if spans:
            row |= dict(zip((f"{name}_first", f"{name}_last"), span_over_members(spans), strict=True))
    row |= {kind: span_over_members(spans).last for kind, spans in health.shares.items()}
    row |= {
        "explained_variance": _last(health.explained_variance),
        "zero_advantages": over_members(health.zero_advantages) if health.zero_advantages else None,
        "kl_to_start": over_members(health.kl_to_start) if health.kl_to_start else None,
        "gradient_norm": max((norm.median for norm in norms.values()), default=None),
        "gradient_norm_largest": max((norm.largest for norm in norms.values()), default=None),
        "mismatch": max(health.mismatch.values(), default=None),
        "samples_per_second": health.samples_per_second,
        "remarks": _names(run),
    }
    return row


def _cells(run: RunHealth) -> dict[str, str]:
    row = {name: None if pd.isna(value) else value for name, value in _row(run).items()}
    below = run.outcome is not None and run.outcome.below

    def way(first: str, last: str) -> str:
        if row.get(first) is None:
            return table_text.ABSENT
        return f"{row[first]:.3g} → {row[last]:.3g}"

    def single(name: str, shape: str, factor: float = 1.0) -> str:
        value = row.get(name)
        return table_text.ABSENT if value is None else format(factor * value, shape)

    return {
        "Method": table_text.marked(_labelled(run), below),
        "Updates": str(run.health.updates),
        "Reward": way("start_reward", "end_reward"),
        "Expl. var.": single("explained_variance", "z.2f"),
        "Zero adv. (%)": single("zero_advantages", ".0f", 100),
        "Entropy": way("entropy_first", "entropy_last"),
        "KL": single("kl_to_start", ".3f"),
        "Length": way("length_first", "length_last"),
        "Invalid (%)": single("invalid", ".0f", 100),
        "Grad.": single("gradient_norm", ".2g"),
        "Mismatch": single("mismatch", ".1g"),
        "Samples/s": single("samples_per_second", ".2g"),
    }


def _labelled(run: RunHealth) -> str:
    return f"{ROWS[run.method].label}, seed {run.seed}"


def _names(run: RunHealth) -> str:
    return ", ".join(remark.name for remark in run.remarks)


def _last(spans: Mapping[str, Span]) -> float | None:
    return span_over_members(spans).last if spans else None
