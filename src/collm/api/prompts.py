"""What each agent of a team is shown: for one task of its domain, and as a template of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from collm.api.trained import TrainedTeam
from collm.common.errors import CollmError
from collm.data import prepare
from collm.domains.base import Domain, Message, Task

SHORTEST = 4  # characters of a field that is looked for in a prompt


def of_team(team: TrainedTeam) -> dict[str, Any]:
    """Prompts of all agents as plain values.

    `example` is what an agent is shown of one task, `template` the same with fields of the task by name in braces
    wherever they stand in it; `later` are messages of further turns, of a scripted episode.
    """
    domain = team.domain()
    task = _task(team, domain)
    told = domain.briefing(task, domain.start(task, 0))
    agents: dict[str, dict[str, Any]] = {}
    for agent, role in enumerate(domain.roles):
        messages = domain.observe(task, agent, 0, (), told[agent])
        agents[f"agent_{agent}"] = {
            "role": role,
            "template": [{**message, "content": _template(message["content"], task.fields)} for message in messages],
            "example": messages,
        }
    for shown in domain.demonstrations(task, random.Random(0), 0.0):
        if 0 < shown.turn < team.job.rollout.turns:
            later = agents[f"agent_{shown.agent}"].setdefault("later", [])
            later.append({"turn": shown.turn, "messages": list(shown.messages)})
    settings = team.job.team
    return {
        "domain": domain.name,
        "chat_template": settings.chat_template,
        "chat_template_arguments": dict(settings.chat_template_arguments),
        "turns": team.job.rollout.turns,
        "task": dict(task.fields),
        "agents": agents,
    }


def _task(team: TrainedTeam, domain: Domain) -> Task:
    """A task of the test split the run was evaluated on, or the first one that ships with the domain."""
    if team.root is not None and (team.root / "data" / domain.name / "test.jsonl").is_file():
        return prepare.load_tasks(team.root / "data" / domain.name / "test.jsonl")[0]
    for rows in domain.embedded(0).values():
        for row in rows:
            try:
                return domain.task(row, 0)
            except CollmError:
                continue
    raise ValueError(f"{domain.name} ships no row")


def _template(text: str, fields: Mapping[str, Any]) -> str:
    """A prompt with the fields of its task by name; the longest first, since one may stand inside another."""
    for name, value in sorted(_texts(fields), key=lambda item: -len(item[1])):
        text = text.replace(value, "{" + name + "}")
    return text


def _texts(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Fields that are texts, and entries of those that are lists of texts."""
    found: list[tuple[str, str]] = []
    for name, value in fields.items():
        parts: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
        for place, part in enumerate(parts):
            if isinstance(part, str) and len(part.strip()) >= SHORTEST:
                found.append((name if part is value else f"{name}[{place}]", part.strip()))
    return found


def in_words(messages: Sequence[Message]) -> str:
    """Messages for a reader."""
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)
