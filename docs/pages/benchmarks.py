"""One page per benchmark: task, prompts, reward, metrics and an episode, all of it asked of the benchmark's own class.

Rows are those that ship with the project; answers are the class's own demonstrations; rewards are computed here.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markup import fenced, in_yaml, table
from settings import allowed

from collm import domains
from collm.config.job import build_domain
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.domains import reward
from collm.domains.base import PROFILES, Domain, Exchange, Step, Task
from collm.domains.coding import reading
from collm.domains.coding.base import CodingDomain
from collm.domains.writing.reward import Band, Cascade, WritingDomain

REWARDS: Mapping[str, tuple[str, ...]] = {
    "writing": ("collm.domains.writing.reward",),
    "coding": ("collm.domains.coding.base", "collm.domains.coding.reading:parts", "collm.domains.coding.reward_paper"),
    "str_build": ("collm.domains.building.letter_world:reward_parts",),
    "house_build": ("collm.domains.building.house_world:reward_parts",),
    "choice": ("collm.domains.choice.protocol",),
}
"""Whose docstrings say how a reward is computed, by domain or by family."""

WORTH: Mapping[str, str] = {
    "aux_defined": "AUX_DEFINED",
    "main_defined": "MAIN_DEFINED",
    "syntax": "SYNTAX",
    "tests": "TESTS",
    "aux_used": "AUX_USED",
    "not_wrapper": "NOT_WRAPPER",
    "ignored_call": "IGNORED",
}
"""Constants of `collm.domains.coding.reading` by the part of the reward that they are the most of."""

MORE: Mapping[str, str] = {"coding": "More: [how code is scored](../coding.md) and [the sandbox](../sandbox.md)."}
"""Pages that say more, by family."""


def pages(root: Path) -> dict[str, str]:
    """Markdown by file below docs/.

    Args:
        root: of the repository; config/config.yaml is read for what the default run shows agents.
    """
    config = load_config([root / "config" / "config.yaml"])
    made = {f"benchmarks/{name}.md": "\n".join(_page(name, config)) for name in domains.NAMES}
    return {"benchmarks/index.md": _index(), **made}


def _index() -> str:
    rows = []
    for name in domains.NAMES:
        domain = domains.get(name)({})
        least, best = domain.min_reward, domain.max_reward
        roles = ", ".join(role.replace("_", " ") for role in domain.roles)
        cells = (f"[{domain.title}]({name}.md)", f"`{name}`", roles, domain.metrics[0].label, f"{least:g} to {best:g}")
        rows.append(cells)
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Each page below is made from the benchmark's own class: its prompts are what agents are shown, and its "
            "rewards are what the class computes for the answers that stand there.",
            "",
            *table(("benchmark", "name", "a team of two", "first metric", "reward (profile paper)"), rows),
        ]
    )


def _page(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    kind = domains.get(name)
    domain = kind({})
    yield f"# {kind.title}\n"
    yield _words(inspect.getmodule(kind)) + "\n"
    yield from _facts(domain)
    yield "\n## Reward\n"
    family = kind.__module__.split(".")[2]
    for place in REWARDS.get(name) or REWARDS[family]:
        yield _words(_named(place)) + "\n"
    yield from _constants(domain)
    if family in MORE:
        yield MORE[family] + "\n"
    yield "## Metrics\n"
    rows = [(f"`{m.name}`", m.label, m.unit, "higher" if m.higher_is_better else "lower") for m in kind.metrics]
    yield from table(("name", "label", "unit", "better"), rows)
    yield "\n## An episode\n"
    yield "A row that ships with the project, with the options of the class and profile `paper`. Answers are the "
    yield "demonstrations that warm starts learn from, the second agent's degraded in the first turn where there is "
    yield "another one.\n"
    yield from _episode(domain)
    yield from _other_answers(domain)
    yield from _default_run(name, config)
    yield from _options(kind)
    yield f"\n## Own data\n\nFiles and fields: [{name}](../data.md#{name}).\n"


def _facts(domain: Domain) -> Iterator[str]:
    kind, rows = type(domain), domain.embedded(0)
    sizes = "any number" if kind.team_sizes is None else " or ".join(map(str, kind.team_sizes))
    hub = " / ".join(part for part in (domain.hub or ()) if part)
    bounds = {profile: kind({}, profile) for profile in PROFILES}
    ranges = ", ".join(f"{d.min_reward:g} to {d.max_reward:g} (`{profile}`)" for profile, d in bounds.items())
    parts = [f"`{name}` {low:g} to {high:g}" for name, (low, high) in domain.parts.items()]
    facts = [
        ("Agents", f"{', '.join(f'`{role}`' for role in domain.roles)}; possible: {sizes}"),
        ("Turns", "any number" if kind.max_turns is None else f"at most {kind.max_turns}"),
        ("Reward", ranges),
        (f"Its parts (`{domain.profile}`)", ", ".join(parts)),
        ("Rows that ship", ", ".join(f"{len(found)} ({split})" for split, found in rows.items())),
        ("Public set", f"`{hub}`" if hub else "none on the hub"),
        ("Licence of the rows that ship", _licences(kind)),
        ("Licence of the public set", kind.public_licence),
    ]
    yield from table(("In the configuration", f"`{kind.name}`"), facts)


def _licences(kind: type[Domain]) -> str:
    generated = f"; generated rows: {kind.generated_licence}" if kind.generated_licence else ""
    return kind.licence + generated


def _constants(domain: Domain) -> Iterator[str]:
    """Numbers of a reward that stand in tables of the code."""
    if isinstance(domain, WritingDomain):
        yield _words(Cascade) + " " + _words(Band) + "\n"
        names = [field.name for field in dataclasses.fields(Cascade)]
        rows = [
            (f"`{name}`", *(_number(getattr(domain.cascades[profile], name)) for profile in PROFILES)) for name in names
        ]
        yield from table(("constant", *(f"`{profile}`" for profile in PROFILES)), rows)
        yield ""
    if isinstance(domain, CodingDomain):
        worth = [(f"`{part}`", f"{getattr(reading, name):g}") for part, name in WORTH.items()]
        yield from table(("part", "worth"), worth)
        yield ""


def _number(value: Any) -> str:
    """A constant as text; the parts of a band by name."""
    if dataclasses.is_dataclass(value):
        return ", ".join(f"{key} {_number(part)}" for key, part in vars(value).items())
    if isinstance(value, tuple):
        return " to ".join(map(str, value))
    return "∞" if value == float("inf") else in_yaml(value)


def example(domain: Domain) -> Task:
    """The first test row that ships with a benchmark."""
    split = domain.slices["embedded"][1].split("[")[0]
    return domain.task(domain.embedded(0)[split][0], 0)


def answers(domain: Domain, task: Task, noise: float) -> list[str]:
    """One demonstrated first answer per agent."""
    given = domain.demonstrations(task, random.Random(0), noise)
    first = {item.agent: item.response for item in reversed(given) if item.turn == 0}
    return [first[agent] for agent in range(domain.num_agents)]


def _episode(domain: Domain) -> Iterator[str]:
    """Turn by turn what each agent is shown and answers, until the episode is done, at most two turns."""
    domain.ready("allow_weak")  # what runs are demonstrations that ship with the project
    task = example(domain)
    world, turns = domain.start(task, 0), min(2, domain.max_turns or 2)
    feedback: Sequence[Any] = domain.briefing(task, world)
    histories: list[list[Exchange]] = [[] for _ in domain.roles]
    best = answers(domain, task, 0.0)
    for turn in range(turns):
        texts = list(best)
        if turn + 1 < turns:
            texts[-1] = answers(domain, task, 1.0)[-1]
        yield f"### Turn {turn + 1}\n"
        for agent, role in enumerate(domain.roles):
            shown = tuple(domain.observe(task, agent, turn, histories[agent], feedback[agent]))
            yield from _shown(role, shown)
            yield f"*{_title(role)} answers*\n\n{fenced(texts[agent])}\n"
            histories[agent].append(Exchange(shown, texts[agent]))
        step = domain.step(task, turn, texts, world)
        yield f"*Reward of the turn: {step.reward:.4g}*\n"
        rows = [(f"`{name}`", f"{value:.4g}") for name, value in step.parts.items()]
        yield from table(("part", "value"), rows)
        yield ""
        world, feedback = step.world, step.feedback
        if step.done:
            break


def _shown(role: str, messages: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for message in messages:
        yield f"*{_title(role)} is shown ({message['role']})*\n\n{fenced(message['content'])}\n"


def _other_answers(domain: Domain) -> Iterator[str]:
    """Rewards of the first turn for better and worse answers to the same row."""
    task = example(domain)
    world = domain.start(task, 0)
    tried = {
        "demonstrated": answers(domain, task, 0.0),
        "degraded (noise 1)": answers(domain, task, 1.0),
        "empty": [""] * domain.num_agents,
    }
    steps: dict[str, Step] = {label: domain.step(task, 0, texts, world) for label, texts in tried.items()}
    yield "### Other answers to the same row\n"
    first = domain.metrics[0]
    rows = [
        (label, f"{step.reward:.4g}", _parts(step), f"{step.metrics[first.name]:.4g} {first.unit}")
        for label, step in steps.items()
    ]
    yield from table(("answers of both", "reward of the first turn", "parts", first.label), rows)


def _parts(step: Step) -> str:
    return ", ".join(f"`{name}` {value:.3g}" for name, value in step.parts.items() if value) or "all 0"


def _default_run(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    """What `config.yaml` changes for models made from scratch, and the first prompts that follow from it."""
    job = resolve_job(config, name, "collm_cc")
    kind = domains.get(name)
    domain = build_domain(job)
    changed = {key: value for key, value in domain.options.items() if value != kind.default_options()[key]}
    if not changed:
        return
    split = (job.data.get("test") or domain.slices["embedded"][1]).split("[")[0]
    task = domain.task(domain.embedded(job.data["seed"])[split][0], 0)
    briefing = domain.briefing(task, domain.start(task, 0))
    yield "\n## In the default configuration\n"
    yield "`config/config.yaml` is made for models from scratch and sets "
    yield ", ".join(f"`{key}: {in_yaml(value)}`" for key, value in changed.items()) + ". Its first prompts:\n"
    for agent, role in enumerate(domain.roles):
        yield from _shown(role, domain.observe(task, agent, 0, (), briefing[agent]))


def _options(kind: type[Domain]) -> Iterator[str]:
    yield "\n## Options\n"
    others = ", ".join(f"`{name}`" for name in reward.SCHEMA)
    yield f"Keys of `domain.{kind.name}.options`. Beside them {others}: "
    yield "[another reward](../new_domain.md#another-reward).\n"
    rows = []
    for option in kind.declared_options:
        cells = (f"`{option.name}`", allowed(option.json_schema()), f"`{in_yaml(option.default)}`", option.description)
        rows.append(cells)
    yield from table(("option", "allowed", "default", "what it is"), rows)


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def _words(thing: Any) -> str:
    """A docstring as Markdown, with its sentence on top."""
    return inspect.cleandoc(thing.__doc__)


def _title(role: str) -> str:
    return role.replace("_", " ").capitalize()
