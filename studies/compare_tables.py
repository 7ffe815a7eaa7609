"""What finished runs of a study say: one line per domain, variant and method, and differences between variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intervals import in_words, mean
from study_plan import PlannedRun

from collm.common.files import read_jsonl

WINDOW = 5  # rollouts or updates at either end
HEADER = (
    *("domain", "variant", "method", "seeds", "start", "end", "end - start", "train first", "train last"),
    *("entropy first", "entropy last", "explained variance", "s/run"),
)


@dataclass(frozen=True)
class Outcome:
    """One finished run in numbers; `curve` is [(rollouts learnt from, reward of an evaluation)]."""

    seed: int
    start: float
    end: float
    curve: tuple[tuple[int, float], ...]
    train: tuple[float, float]
    entropy: tuple[float, float]
    explained: float
    seconds: float


def outcome(run: PlannedRun, final: bool) -> Outcome | None:
    """Read a run; None if it has not finished.

    Args:
        final: start and end are those of `evaluate` on the whole test split, not of the evaluations while training.
    """
    if not run.job.finished:
        return None
    events = read_jsonl(run.folders.out / "metrics.jsonl")
    of = {kind: [event for event in events if event["event"] == kind] for kind in ("rollout", "update", "evaluation")}
    curve = tuple((event["iteration"], event["reward"]) for event in of["evaluation"])
    start, end = curve[0][1], curve[-1][1]
    if final:
        end = _evaluated(run.folders.out)
        start = start if run.start is None else _evaluated(run.start.out)
    return Outcome(
        run.seed,
        start,
        end,
        curve,
        _ends([event["reward"] for event in of["rollout"]]),
        _ends([_over(event, "entropy/") for event in of["update"]]),
        mean([_over(event, "explained_variance/") for event in of["update"][-WINDOW:]]),
        sum(event["seconds"] for event in (*of["rollout"], *of["update"])),
    )


def _evaluated(out: Path) -> float:
    return mean([row["reward"] for row in read_jsonl(out / "samples.jsonl")])


def _ends(numbers: Sequence[float]) -> tuple[float, float]:
    """Means of the first and of the last numbers."""
    return mean(numbers[:WINDOW]), mean(numbers[-WINDOW:])


def _over(event: Mapping[str, Any], prefix: str) -> float:
    """Mean of a metric over members; NaN where there is none."""
    return mean([value for name, value in event.items() if name.startswith(prefix)])


Groups = dict[tuple[str, str, str], list[Outcome]]  # by domain, variant, method


def main_rows(groups: Groups) -> list[list[str]]:
    """Lines of the first table, for `HEADER`."""
    rows = []
    for (domain, variant, method), outcomes in groups.items():
        gains = [one.end - one.start for one in outcomes]
        single = [
            *(mean([getattr(one, name) for one in outcomes]) for name in ("start", "end")),
            *(mean([one.train[side] for one in outcomes]) for side in (0, 1)),
            *(mean([one.entropy[side] for one in outcomes]) for side in (0, 1)),
            mean([one.explained for one in outcomes]),
        ]
        words = [f"{number:.3f}" if number == number else "–" for number in single]
        seconds = f"{mean([one.seconds for one in outcomes]):.0f}" if outcomes else "–"
        rows.append([domain, variant, method, str(len(outcomes)), *words[:2], in_words(gains), *words[2:], seconds])
    return rows


def difference_rows(groups: Groups, reference: str) -> list[list[str]]:
    """Lines of the second table: end of a variant less that of `reference`, paired by seed."""
    rows = []
    for (domain, variant, method), outcomes in groups.items():
        other = {one.seed: one for one in groups.get((domain, reference, method), [])}
        paired = [one.end - other[one.seed].end for one in outcomes if one.seed in other]
        if variant != reference and paired:
            rows.append([domain, f"{variant} - {reference}", method, str(len(paired)), in_words(paired)])
    return rows


def curve_rows(groups: Groups) -> list[list[str]]:
    """Lines of the third table: mean reward of every evaluation while training."""
    rows = []
    for (domain, variant, method), outcomes in groups.items():
        points = sorted({iteration for one in outcomes for iteration, _ in one.curve})
        means = [mean([reward for one in outcomes for i, reward in one.curve if i == point]) for point in points]
        words = " ".join(f"{point}:{value:.3f}" for point, value in zip(points, means, strict=True))
        rows.append([domain, variant, method, words])
    return rows


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of one width."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [
        "| " + " | ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (header, *rows)
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
