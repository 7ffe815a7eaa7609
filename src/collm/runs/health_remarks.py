"""What stands out in a run's health: every remark has its numbers, what they mean and the setting to change.

A remark is a hint: its bound is a round number, and nothing is stopped or changed by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from collm.runs.health import Health, Span, over_members, span_over_members

GREW = 2.0  # entropy: so many times what it was, and at least
FAINT = 0.1  # nats per token
GONE = 0.1  # entropy: such a share of what it was
EXPLAINED = 0.05  # explained variance below which a critic is no help
WORSE = -0.1  # explained variance below which it is worse than a constant
ZERO = 0.5  # share of advantages
LEFT = 0.5  # nats per token from the start
STILL = 1e-4  # nats per token: not moved, after at least so many updates:
ENOUGH = 10
CUT = 0.1  # share of responses that had not ended
NO_ANSWER = 0.25  # share of empty and unparsed responses
SWELL = 10.0  # gradient norm: so many times what it was
PEAK = 20.0  # gradient norm: a single one so many times the median
DIFFERS = 0.01  # nats per token between sampler and scorer


DISSOLVED, BELOW = FALLS = ("entropy grew", "below its start")  # names of remarks on a reward that fell


class Remark(NamedTuple):
    """`name` in two or three words for tables, `text` in full."""

    name: str
    text: str


Settings = Mapping[str, Any]
T = TypeVar("T")


def remarks(health: Health, settings: Settings) -> list[Remark]:
    """What stands out, the gravest first.

    Args:
        settings: of the run, as run.json has them under "config"; a value that they lack is not quoted.
    """
    rules: tuple[Callable[[Health, Settings], Remark | None], ...] = (
        _constant,
        _dissolved,
        _fell,
        _narrowed,
        _no_contrast,
        _blind_critic,
        _left_start,
        _not_moved,
        _cut,
        _no_answers,
        _growing_gradient,
        _peaks,
        _mismatch,
    )
    found = (rule(health, settings) for rule in rules)
    return [remark for remark in found if remark is not None]


def in_words(label: str, health: Health, settings: Settings) -> list[str]:
    """Plain lines for the end of a log: one with numbers, then a line per remark.

    Args:
        label: names the run.
    """
    found = remarks(health, settings)
    rest = [f"- {remark.text}." for remark in found] or ["- nothing stands out"]
    return [f"health of {label} after {health.updates} updates (docs/health.md): {_numbers(health)}", *rest]


def named(settings: Settings, key: str) -> str:
    """A setting by its dotted name, with its present value."""
    block, name = key.split(".")
    own = settings.get(block, {})
    if name not in own:
        return key
    value = own[name]
    return f"{key} ({'null' if value is None else f'{value:g}' if isinstance(value, float) else value} now)"


def _numbers(health: Health) -> str:
    parts = []
    if health.outcome is not None:
        parts.append(f"reward {_way(health.outcome)}")
    for what, spans in (("entropy", health.entropy), ("length", health.length)):
        parts += [f"{what} {_way(span_over_members(spans))}"] if spans else []
    if health.explained_variance:
        parts.append(f"explained variance {span_over_members(health.explained_variance).last:.2f}")
    if health.zero_advantages:
        parts.append(f"zero advantages {100 * over_members(health.zero_advantages):.0f} %")
    if health.kl_to_start:
        parts.append(f"KL to the start {over_members(health.kl_to_start):.3g}")
    if "invalid" in health.shares:
        parts.append(f"invalid responses {100 * span_over_members(health.shares['invalid']).last:.0f} %")
    norms = [norm.median for norm in health.gradient_norm.values()]
    parts += [f"gradient norm {max(norms):.2g}"] if norms else []
    parts += [f"{health.samples_per_second:.2g} joint samples/s"] if health.samples_per_second else []
    return ", ".join(parts)


# rules


def _constant(health: Health, settings: Settings) -> Remark | None:
    if not health.constant or health.training_reward is None:
        return None
    return Remark(
        "constant reward",
        f"every rollout had a mean reward of {health.training_reward.last:.4g}: where nothing differs, nothing can be "
        "learnt. Read the example responses of the evaluations in metrics.jsonl. If none of them can be used, raise "
        f"{named(settings, 'warm_start.epochs')}; if all are as good as can be, take harder tasks (data.train)",
    )


def _dissolved(health: Health, settings: Settings) -> Remark | None:
    worst = _largest(health.entropy, lambda span: _growth(span) if span.last >= FAINT else 0.0, GREW)
    if worst is None or health.outcome is None or not _has_fallen(health):
        return None
    agent, span = worst
    critics = f", and bring {_lambda(settings)}" if health.explained_variance else ""
    return Remark(
        DISSOLVED,
        f"entropy of {agent} grew from {span.first:.3g} to {span.last:.3g} nats per token while the reward fell from "
        f"{health.outcome.first:.3g} to {health.outcome.last:.3g}: the policy dissolves into noise. Lower "
        f"{named(settings, 'training.agent_learning_rate')}{critics}",
    )


def _fell(health: Health, settings: Settings) -> Remark | None:
    if health.outcome is None or not _has_fallen(health) or _dissolved(health, settings) is not None:
        return None
    where = "evaluations" if health.reward else "rollouts"
    return Remark(
        BELOW,
        f"the run ends below its start: the reward of {where} went from {health.outcome.first:.3g} to "
        f"{health.outcome.last:.3g}. If that is more than chance (evaluation.tasks_during, evaluation.samples_during), "
        f"lower {named(settings, 'training.agent_learning_rate')} or learn from more samples per step, "
        f"{named(settings, 'training.minibatch_size')}",
    )


def _narrowed(health: Health, settings: Settings) -> Remark | None:
    worst = _largest(health.entropy, lambda span: -span.last / span.first if span.first > 0 else -1.0, -GONE)
    if worst is None or health.outcome is None or health.outcome.last > health.outcome.first:
        return None
    agent, span = worst
    return Remark(
        "entropy gone",
        f"entropy of {agent} fell from {span.first:.3g} to {span.last:.3g} nats per token and the reward did not rise: "
        "it says the same again and again, so that nothing better is found. Set "
        f"{named(settings, 'training.entropy_coefficient')} above 0, or lower "
        f"{named(settings, 'training.agent_learning_rate')}",
    )


def _no_contrast(health: Health, settings: Settings) -> Remark | None:
    worst = _largest(health.zero_advantages, float, ZERO)
    if worst is None or health.constant:
        return None
    agent, share = worst
    text = f"{_percent(share)} of the advantages of {agent} are zero: "
    if health.explained_variance:
        return Remark(
            "zero advantages",
            f"{text}most minibatches have returns that hardly differ, and teach nothing. Mix more tasks, "
            f"{named(settings, 'training.tasks_per_rollout')}, or let responses differ more, "
            f"{named(settings, 'rollout.temperature')}",
        )
    return Remark(
        "zero advantages",
        f"{text}all samples of these groups earned the same, and teach nothing. Draw more samples per prompt, "
        f"{named(settings, 'rollout.generations')}, let them differ more, {named(settings, 'rollout.temperature')}, or "
        "take tasks that are sometimes solved and sometimes not (data.train)",
    )


def _blind_critic(health: Health, settings: Settings) -> Remark | None:
    worst = _largest(health.explained_variance, lambda span: -span.last, -EXPLAINED)
    if worst is None or health.constant:
        return None
    critic, span = worst
    text = f"{critic} explains {span.last:.2f} of its targets' variance at the end of {health.updates} updates: "
    rate = named(settings, "training.critic_learning_rate")
    if span.last < WORSE:
        return Remark(
            "critic worse than none",
            f"{text}it is further from them than their mean, and its errors go into the advantages. Lower {rate}, or "
            f"bring {_lambda(settings)}",
        )
    return Remark(
        "critic explains nothing",
        f"{text}it explains nothing, and advantages are as noisy as without it. Give it more critic steps per policy "
        f"step, {named(settings, 'training.critic_steps')}, or a higher {rate}, or bring {_lambda(settings)}",
    )


def _left_start(health: Health, settings: Settings) -> Remark | None:
    worst = _largest(health.kl_to_start, float, LEFT)
    if worst is None:
        return None
    agent, distance = worst
    rose = health.outcome is not None and health.outcome.last > health.outcome.first
    read = "; the reward rose, so read the example responses to see what it is paid for" if rose else ""
    return Remark(
        "left its start",
        f"the policy of {agent} left its start (KL {distance:.3g} nats per token): it says what its start would hardly "
        f"have said, and what that knew may be lost{read}. To stay closer, lower "
        f"{named(settings, 'training.agent_learning_rate')} or raise {named(settings, 'training.kl_coefficient')}",
    )


def _not_moved(health: Health, settings: Settings) -> Remark | None:
    distance = max(map(abs, health.kl_to_start.values()), default=STILL)
    if distance >= STILL or health.updates < ENOUGH:
        return None
    return Remark(
        "did not move",
        f"after {health.updates} updates no agent is further than {distance:.1g} nats per token from its start: what "
        f"is tested is the start. Raise {named(settings, 'training.agent_learning_rate')} or train longer, "
        f"{named(settings, 'training.epochs')}, {named(settings, 'training.max_updates')}",
    )


def _cut(health: Health, settings: Settings) -> Remark | None:
    worst = _largest(health.shares.get("cut_responses", {}), lambda span: span.last, CUT)
    if worst is None:
        return None
    agent, span = worst
    return Remark(
        "responses are cut",
        f"{_percent(span.last)} of the responses of {agent} are cut at {named(settings, 'rollout.max_new_tokens')}, "
        f"{_percent(span.first)} at the beginning: they are scored unfinished. Raise it, or let "
        "the warm start show shorter answers",
    )


def _no_answers(health: Health, settings: Settings) -> Remark | None:
    empty, unparsed = health.shares.get("empty", {}), health.shares.get("unparsed", {})
    both = {name: Span(*(a + b for a, b in zip(empty[name], unparsed[name], strict=True))) for name in empty}
    worst = _largest(both, lambda span: span.last, NO_ANSWER)
    if worst is None:
        return None
    agent, span = worst
    text = (
        f"{_percent(span.last)} of the responses of {agent} are no answers ({_percent(empty[agent].last)} empty, "
        f"{_percent(unparsed[agent].last)} without what was asked for), {_percent(span.first)} at the beginning: "
    )
    if span.last > span.first + CUT:
        rate = named(settings, "training.agent_learning_rate")
        return Remark("no answers", f"{text}training unlearns the form. Lower {rate}")
    return Remark(
        "no answers",
        f"{text}the reward can only punish them. Teach the form first, {named(settings, 'warm_start.epochs')}, or "
        f"lower {named(settings, 'rollout.temperature')}",
    )


def _growing_gradient(health: Health, settings: Settings) -> Remark | None:
    worst = _largest(health.gradient_norm, lambda norm: _growth(norm.span), SWELL)
    if worst is None:
        return None
    member, norm = worst
    return Remark(
        "gradients grow",
        f"the gradient norm of {member} grew from {norm.span.first:.3g} to {norm.span.last:.3g} (before clipping): its "
        f"steps become less and less certain. Lower {named(settings, _rate(member))}",
    )


def _peaks(health: Health, settings: Settings) -> Remark | None:
    clipped = settings.get("training", {}).get("gradient_clip") is not None
    worst = _largest(health.gradient_norm, lambda norm: norm.largest / norm.median if norm.median else 0.0, PEAK)
    if worst is None or clipped:
        return None
    member, norm = worst
    return Remark(
        "gradient peaks",
        f"a gradient norm of {member} was {norm.largest:.3g} where half of them are below {norm.median:.3g}: single "
        f"samples decide. Set {named(settings, 'training.gradient_clip')} to a few times the latter",
    )


def _mismatch(health: Health, settings: Settings) -> Remark | None:
    worst = _largest(health.mismatch, float, DIFFERS)
    if worst is None:
        return None
    agent, difference = worst
    return Remark(
        "sampler and scorer differ",
        f"log-probabilities of {agent}'s responses differ by {difference:.3g} nats per token between decoding and "
        "scoring: gradients belong to a slightly other policy than the one that played. Use "
        f"{named(settings, 'team.precision')} fp32, {named(settings, 'team.dtype')} float32, or "
        f"{named(settings, 'rollout.backend')} transformers",
    )


# parts of rules


def _lambda(settings: Settings) -> str:
    return f"{named(settings, 'training.td_lambda')} nearer to 1"


def _rate(member: str) -> str:
    return f"training.{'agent' if member.startswith('agent') else 'critic'}_learning_rate"


def _has_fallen(health: Health) -> bool:
    return health.outcome is not None and health.outcome.last < health.outcome.first


def _growth(span: Span) -> float:
    return span.last / span.first if span.first > 0 else 0.0


def _largest(values: Mapping[str, T], key: Callable[[T], float], bound: float) -> tuple[str, T] | None:
    """The member whose value is the largest by `key`, and its value; None if that is below `bound`."""
    if not values:
        return None
    name = max(values, key=lambda member: key(values[member]))
    return (name, values[name]) if key(values[name]) >= bound else None


def _way(span: Span) -> str:
    return f"{span.first:.3g} to {span.last:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
