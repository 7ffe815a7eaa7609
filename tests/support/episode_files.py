"""Results with whole episodes, played by the domains themselves with texts that are given; hostile ones among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from collm.common.files import read_jsonl, write_jsonl
from collm.config.job import build_domain
from collm.config.resolve import resolve_job
from collm.domains.base import Domain, Exchange, RawRow, Task
from support.result_files import write_results

HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror=\"window.hacked = 1\"><svg onload='window.hacked = 1'>",
    "'\"><iframe srcdoc='<script>top.hacked = 1</script>'></iframe>",
    "${window.hacked = 1} {{constructor.constructor('window.hacked = 1')()}} javascript:window.hacked=1",
    "<!-- ]]> \u2028 \u2029 \u0000 \u202e reversed @@SCRIPT@@ @@PACKS@@",
    "<style>body { display: none }</style><link rel=stylesheet href=http://127.0.0.1/x><base href=http://127.0.0.1/>",
]
PROGRAM = {
    "program": "def solve(n):\n    return n + 1",
    "checks": ["assert solve(1) == 2", "assert solve('<b>') == 3"],
    "errors": [None, "TypeError"],
    "passed": 1,
    "tests": 2,
    "timeouts": 0,
    "loaded": True,
    "problem": None,
}
Play = Callable[[int, int, int], list[str]]


def write_episodes(folder: Path, configuration: dict[str, Any], plays: dict[str, tuple[list[RawRow], Play]]) -> None:
    """Results of every run, with whole episodes instead of synthetic ones.

    Args:
        plays: by domain its rows and `answers(place of the task, sample, turn)`, one text per agent; two samples and
            two turns each. CoopHE's programs are not run: its records are `PROGRAM`.
    """
    write_results(folder, configuration)
    for name, (rows, play) in plays.items():
        domain = build_domain(resolve_job(configuration, name))
        tasks = [domain.task(row, place) for place, row in enumerate(rows)]
        for path in (folder / "results" / name).glob("*/seed*/samples.jsonl"):
            facts = {"domain": name, "method": path.parts[-3], "seed": int(path.parts[-2].removeprefix("seed"))}
            lines = [
                {**facts, **episode(domain, task, sample, partial(play, place, sample))}
                for place, task in enumerate(tasks)
                for sample in (0, 1)
            ]
            write_jsonl(path, lines)
            metrics = path.with_name("metrics.jsonl")
            if metrics.is_file():
                write_jsonl(metrics, [with_examples(row, lines[:1]) for row in read_jsonl(metrics)])


def with_examples(row: dict[str, Any], lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An evaluation line of metrics.jsonl with whole episodes."""
    kept = ("task", "sample", "reward", "metrics", "turns", "record")
    return row if row["event"] != "evaluation" else row | {"examples": [{key: x[key] for key in kept} for x in lines]}


def episode(domain: Domain, task: Task, sample: int, play: Callable[[int], list[str]]) -> dict[str, Any]:
    """An episode of two turns, or of one where a domain has no more: a line of samples.jsonl less its run's facts."""
    world, turns = domain.start(task, sample), []
    row: dict[str, Any] = {}
    told = domain.briefing(task, world)
    histories: list[list[Exchange]] = [[] for _ in domain.roles]
    for turn in range(min(2, domain.max_turns or 2)):
        texts = play(turn)
        seen = [domain.observe(task, agent, turn, histories[agent], told[agent]) for agent in range(len(texts))]
        parts, metrics, record, told = {"tests": 0.5}, {"pass_rate": 50.0, "pass_at_1": 0.0}, PROGRAM, (None, None)
        if domain.name != "coophe":
            step = domain.step(task, turn, texts, world)
            parts, metrics, record, told, world = step.parts, step.metrics, step.record, step.feedback, step.world
        if turns:
            turns[-1]["record"] = row["record"]
        row = {"reward": sum(parts.values()), "metrics": metrics, "tokens": 5.0, "record": record}
        turns.append(
            {
                "turn": turn,
                "responses": texts,
                "reward": row["reward"],
                "parts": parts,
                "metrics": metrics,
                "tokens": [5] * len(texts),
                "cut_prompts": [False] * len(texts),
                "cut_responses": [text.startswith("<") for text in texts],
                "faults": [domain.fault(task, agent, text) for agent, text in enumerate(texts)],
                "observations": seen,
                "prompts": [f"<|user|>{messages[-1]['content']}<|end|>" for messages in seen],
                "feedback": list(told),
                "world": world,
            }
        )
        for history, messages, text in zip(histories, seen, texts, strict=True):
            history.append(Exchange(tuple(messages), text))
    return {"task": task.id, "sample": sample, "turns": turns, **row}
