"""What is kept when a number turns NaN or infinite: the samples behind it, for whoever looks for the cause."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from collm.common.errors import NonFiniteReward
from collm.common.files import write_atomic
from collm.domains.base import Step


def keep(path: Path, what: str, samples: Sequence[Mapping[str, Any]]) -> None:
    """Write `what` went wrong and the samples behind it to `path`, as JSON."""
    write_atomic(path, json.dumps({"what": what, "samples": samples}, indent=1, ensure_ascii=False) + "\n")


def check_step(step: Step) -> str | None:
    """Which number of a scored joint action is NaN or infinite, in words; None if all are finite."""
    numbers = {"reward": step.reward}
    numbers |= {f"reward part {name!r}": value for name, value in step.parts.items()}
    numbers |= {f"metric {name!r}": value for name, value in step.metrics.items()}
    wrong = [f"{name} is {value}" for name, value in numbers.items() if not math.isfinite(value)]
    return ", ".join(wrong) or None


def refuse_step(
    what: str, task: str, turn: int, prompts: Sequence[Any], texts: Sequence[str], step: Step, path: Path | None
) -> NoReturn:
    """Keep the agents' texts of a joint action whose reward is not finite, then refuse it.

    Args:
        what: the words of `check_step`.
        turn: counted from 0.
        prompts: messages of every agent.
        texts: responses of every agent.
        path: where the texts go; None keeps nothing.
    Raises:
        NonFiniteReward: always.
    """
    numbers = {"reward": step.reward, "parts": step.parts, "metrics": step.metrics}
    sample = {"task": task, "turn": turn, "prompts": prompts, "responses": texts, **numbers}
    kept = ""
    if path is not None:
        keep(path, what, [sample])
        kept = f"; the agents' texts are in {path}"
    raise NonFiniteReward(
        f"task {task!r}, turn {turn + 1}: {what}{kept}; nothing was trained on it and what was saved before is intact: "
        "mend the domain's reward (or leave the task out) and run the same command again"
    )
