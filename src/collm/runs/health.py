"""Is a run healthy? What its metrics.jsonl says in a few numbers; `health_remarks` says what stands out in them.

Numbers of updates and rollouts are means over the first and the last fifth of the run, so that single steps do not
decide; one that an older version did not write is left out. docs/health.md explains every number.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Line = Mapping[str, Any]

SHARES = ("invalid", "empty", "unparsed", "cut_responses")  # of responses, as rollouts have them


class Span(NamedTuple):
    """A number at the beginning and at the end of a run."""

    first: float
    last: float


@dataclass(frozen=True)
class Norm:
    """Gradient norms of one member before clipping, over all updates."""

    median: float
    largest: float
    span: Span


@dataclass(frozen=True)
class Health:
    """What a run's metrics come to; mappings are by member ("agent_0", "critic"), empty where nothing was measured.

    reward: raw, of the first and the last evaluation; training_reward: of rollouts.
    constant: every rollout had the same mean reward.
    entropy: nats per token. length: tokens of a response.
    zero_advantages: share over the whole run.
    explained_variance: 1 at best, 0 for a critic that says the mean, below that for a worse one.
    kl_to_start: nats per token, at the last evaluation.
    shares: of responses, by kind (`SHARES`).
    mismatch: of sampler and scorer in the first rollout, nats per token.
    samples_per_second: joint samples over the time of playing and learning.
    """

    updates: int
    reward: Span | None
    training_reward: Span | None
    constant: bool
    entropy: Mapping[str, Span]
    length: Mapping[str, Span]
    zero_advantages: Mapping[str, float]
    explained_variance: Mapping[str, Span]
    kl_to_start: Mapping[str, float]
    shares: Mapping[str, Mapping[str, Span]]
    gradient_norm: Mapping[str, Norm]
    mismatch: Mapping[str, float]
    samples_per_second: float | None

    @property
    def outcome(self) -> Span | None:
        """Reward at the start and at the end: of evaluations, or of rollouts where there were less than two."""
        return self.reward or self.training_reward


def summary(lines: Iterable[Line]) -> Health:
    """The health of a run from the lines of its metrics.jsonl, in order."""
    by_event: dict[str, list[Line]] = {"rollout": [], "update": [], "evaluation": []}
    for line in lines:
        by_event.setdefault(line["event"], []).append(line)
    rollouts, updates, evaluations = (by_event[event] for event in ("rollout", "update", "evaluation"))
    rewards = [line["reward"] for line in rollouts]
    tested = [line["reward"] for line in evaluations]
    return Health(
        updates=len(updates),
        reward=Span(tested[0], tested[-1]) if len(tested) > 1 else None,
        training_reward=ends(rewards) if rewards else None,
        constant=len(rewards) > 1 and len(set(rewards)) == 1,
        entropy=_spans(updates, "entropy"),
        length=_spans(updates, "length"),
        zero_advantages={name: mean(values) for name, values in series(updates, "zero_advantage_share").items()},
        explained_variance=_spans(updates, "explained_variance"),
        kl_to_start={name: values[-1] for name, values in series(evaluations, "kl_to_start").items()},
        shares={kind: spans for kind in SHARES if (spans := _spans(rollouts, kind))},
        gradient_norm={name: _norm(values) for name, values in series(updates, "gradient_norm").items()},
        mismatch={name: values[0] for name, values in series(rollouts, "mismatch").items()},
        samples_per_second=_speed(rollouts, updates),
    )


def series(lines: Iterable[Line], metric: str) -> dict[str, list[float]]:
    """Values of "metric/member" in the order of the lines, by member."""
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.items():
            if name.startswith(f"{metric}/"):
                values.setdefault(name.removeprefix(f"{metric}/"), []).append(value)
    return values


def ends(values: Sequence[float]) -> Span:
    """Means over the first and the last fifth of some values, at least one of each."""
    window = max(1, len(values) // 5)
    return Span(mean(values[:window]), mean(values[-window:]))


def over_members(values: Mapping[str, float]) -> float:
    """The mean over members, at least one."""
    return mean(values.values())


def span_over_members(spans: Mapping[str, Span]) -> Span:
    """The mean over members, at least one, at the beginning and at the end."""
    return Span(mean(span.first for span in spans.values()), mean(span.last for span in spans.values()))


def mean(values: Iterable[float]) -> float:
    """The mean of some values, at least one."""
    return statistics.fmean(values)


def _spans(lines: Sequence[Line], metric: str) -> dict[str, Span]:
    return {name: ends(values) for name, values in series(lines, metric).items()}


def _norm(values: Sequence[float]) -> Norm:
    return Norm(statistics.median(values), max(values), ends(values))


def _speed(rollouts: Sequence[Line], updates: Sequence[Line]) -> float | None:
    seconds = sum(line.get("seconds", 0.0) for line in (*rollouts, *updates))
    return rollouts[-1]["samples"] / seconds if seconds > 0 else None
