"""The evaluation protocol: every test task, n sampled episodes each, the same for every method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from collm.common.seeds import derive
from collm.config.job import RolloutConfig
from collm.domains.base import Task
from collm.methods.returns import episode_return
from collm.training.rollout import Node, Rollout


def sample_rows(
    rollout: Rollout,
    tasks: Sequence[Task],
    samples: int,
    seed: int,
    facts: dict[str, Any],
    batch: int = 64,
    note: Callable[[Sequence[Node]], None] | None = None,
    shown: int | None = 0,
) -> list[dict[str, Any]]:
    """Play every task `samples` times and return one row per episode.

    Args:
        samples: episodes of every task.
        shown: of how many of them the rows hold what agents were shown and told; None: of all.
        seed: of the run; the draws of an episode depend on it, the task and the number of the sample alone.
        facts: domain, method and seed, put in front of every row.
        batch: episodes played at once; results do not depend on it.
        note: called with the first nodes of the episodes of each batch, for what rows do not hold.
    Returns:
        Rows with every response, reward parts and metrics per turn, and the record of every turn but the last;
        `reward`, `metrics` and `record` of a row are those of the last turn reached, `tokens` is the mean number of
        generated tokens per agent per turn; per turn and agent also whether the prompt was cut to fit, whether the
        response had not ended, and under `faults` why it is no answer (`Domain.fault`). For `shown` see `_shown`.
    """
    episodes = [(task, sample) for task in tasks for sample in range(samples)]
    rows = []
    for start in range(0, len(episodes), batch):
        part = episodes[start : start + batch]
        seeds = [derive("evaluation", seed, task.id, sample) for task, sample in part]
        played = rollout.play([task for task, _ in part], seeds, generations=1)
        if note is not None:
            note(played.roots)
        for root, (_, sample) in zip(played.roots, part, strict=True):
            rows.append(_row(rollout, root, sample, facts, shown is None or sample < shown))
    return rows


def _row(rollout: Rollout, root: Node, sample: int, facts: dict[str, Any], shown: bool) -> dict[str, Any]:
    nodes = list(root.walk())
    turns: list[dict[str, Any]] = []
    for node in nodes:
        step = node.steps[0]
        turns.append(
            {
                "turn": node.turn,
                "responses": [responses[0].text for responses in node.responses],
                "reward": step.reward,
                "parts": step.parts,
                "metrics": step.metrics,
                "tokens": _tokens(node),
                "cut_prompts": [agent in node.cut for agent in range(len(node.responses))],
                "cut_responses": [not responses[0].ended for responses in node.responses],
                "faults": [
                    rollout.domain.fault(node.task, agent, responses[0].text)
                    for agent, responses in enumerate(node.responses)
                ],
                **({} if node is nodes[-1] else {"record": step.record}),
                **(_shown(rollout, node) if shown else {}),
            }
        )
    last = nodes[-1].steps[0]
    counts = [count for turn in turns for count in turn["tokens"]]
    return {
        **facts,
        "task": root.task.id,
        "sample": sample,
        "turns": turns,
        "reward": last.reward,
        "metrics": last.metrics,
        "tokens": sum(counts) / len(counts),
        "record": last.record,
    }


def _shown(rollout: Rollout, node: Node) -> dict[str, Any]:
    """What a turn was like for each agent: its messages, the same as the text that its model read (marks of the chat
    template included, cut if it was too long), its draft in a discussion, and what the environment told it afterwards;
    and the world that was handed on."""
    step = node.steps[0]
    return {
        "observations": node.observations,
        "prompts": [rollout.team.prompt_text(agent, ids) for agent, ids in enumerate(node.prompts)],
        **({"drafts": [draft.text for draft in node.drafts]} if node.drafts else {}),
        "feedback": list(step.feedback),
        "world": step.world,
    }


def _tokens(node: Node) -> list[int]:
    """Generated tokens per agent, drafts included."""
    drafts = [len(draft.tokens) for draft in node.drafts] or [0] * len(node.responses)
    return [len(responses[0].tokens) + draft for responses, draft in zip(node.responses, drafts, strict=True)]


def summary(rows: Sequence[dict[str, Any]], examples: int = 0) -> dict[str, Any]:
    """Means over rows: last-turn reward, metrics, tokens, shares of cut prompts and of responses that had not ended
    by agent; with the first episodes as examples, whole."""
    names = rows[0]["metrics"]
    kept = ("task", "sample", "reward", "metrics", "turns", "record")
    first_episodes = [
        {**{key: row[key] for key in kept}, "responses": row["turns"][-1]["responses"]} for row in rows[:examples]
    ]
    return {
        "reward": sum(row["reward"] for row in rows) / len(rows),
        "metrics": {name: sum(row["metrics"][name] for row in rows) / len(rows) for name in names},
        "tokens": sum(row["tokens"] for row in rows) / len(rows),
        **_cut_shares([turn for row in rows for turn in row["turns"]]),
        "episodes": len(rows),
        "examples": first_episodes,
    }


def _cut_shares(turns: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Under "cut_prompts/agent_i" and "cut_responses/agent_i" the shares of turns."""
    return {
        f"{kind}/agent_{agent}": sum(turn[kind][agent] for turn in turns) / len(turns)
        for kind in ("cut_prompts", "cut_responses")
        for agent in range(len(turns[0][kind]))
    }


def journal_row(
    rows: Sequence[dict[str, Any]], examples: int, settings: RolloutConfig | None = None, **counts: int
) -> dict[str, Any]:
    """The line of metrics.jsonl for an evaluation during training; `counts` say how far training has come.

    `settings` of training add the mean `return` that they pay; a warm start, which knows none, leaves it out.
    """
    line = {"event": "evaluation", **counts, **summary(rows, examples)}
    if settings is not None:
        paid = settings.discount, settings.reward_scale, settings.reward_shift, settings.reward
        returns = [episode_return([turn["reward"] for turn in row["turns"]], *paid) for row in rows]
        line["return"] = sum(returns) / len(returns)
    return line


def latency(rollout: Rollout, tasks: Sequence[Task], seed: int) -> dict[str, Any]:
    """Response time in seconds per turn: tasks one by one, agents one by one.

    The slowest agent counts (in a pipeline: their sum), which is what a user waits for when every agent runs on a
    machine like this one. `seconds` is the mean over all turns, `per_task` holds the mean of each task's turns.
    """
    timed = []
    for task in tasks:
        played = rollout.play([task], [derive("latency", seed, task.id)], generations=1)
        timed.append([rollout.seconds(node) for node in played.nodes()])
    seconds = [turn for turns in timed for turn in turns]
    return {
        "seconds": sum(seconds) / len(seconds) if seconds else None,
        "per_task": [sum(turns) / len(turns) for turns in timed],
        "tasks": len(tasks),
        "turns": len(seconds),
    }
