"""Episodes of one domain in the form that the page reads: short keys, every longer text once.

Read are `samples.jsonl` (the final evaluation) and, of trained methods, the whole episodes in the evaluation lines of
`metrics.jsonl`. Files of earlier versions, which hold answers and rewards alone, give episodes without the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from collm.common.errors import DataError
from collm.common.files import read_jsonl
from collm.report.episodes.views import views
from collm.report.results import Run


@dataclass
class Texts:
    """Texts by number, each once: prompts are the same for many episodes."""

    listed: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        """The number of a text, a new one if it was not met before."""
        if text not in self.numbers:
            self.numbers[text] = len(self.listed)
            self.listed.append(text)
        return self.numbers[text]


@dataclass(frozen=True)
class Pack:
    """All episodes of one domain that the page holds.

    `texts` are what numbers in `runs` stand for; `left_out` counts episodes of the final evaluation that would have
    made the page too large.
    """

    domain: str
    texts: list[str]
    runs: list[dict[str, Any]]
    left_out: int

    @property
    def episodes(self) -> int:
        """How many episodes there are, those played while training too."""
        return sum(len(run["episodes"]) + len(run["training"]) for run in self.runs)


def pack(domain: str, runs: Iterable[Run], most: int) -> Pack:
    """The episodes of a domain's runs.

    Args:
        most: episodes of each run's final evaluation; of more, the first samples of all tasks stay.

    Raises:
        DataError: a line is no episode, or belongs to another run; it names file and line.
    """
    texts, packed, left_out = Texts(), [], 0
    for run in runs:
        rows = _rows(run)
        kept = sorted(sorted(range(len(rows)), key=lambda place: rows[place]["sample"])[:most])
        left_out += len(rows) - len(kept)
        packed.append(
            {
                "method": run.method,
                "seed": run.seed,
                "episodes": [_episode(rows[place], texts) for place in kept],
                "training": _training(run, texts) if run.trained else [],
            }
        )
    return Pack(domain, texts.listed, packed, left_out)


def _rows(run: Run) -> list[dict[str, Any]]:
    path = run.folder / "samples.jsonl"
    rows = read_jsonl(path)
    if not rows:
        raise DataError(f"{path} is empty; run the stage that writes it again")
    for number, row in enumerate(rows, start=1):
        try:
            key = row["domain"], row["method"], row["seed"]
            _ = row["task"], row["sample"], row["reward"], row["metrics"], row["turns"][0]["responses"]
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(f"{path}:{number}: not a sample line ({error!r}); evaluate again") from error
        if key != run.key:
            raise DataError(
                f"{path}:{number}: belongs to {key[0]}/{key[1]}/seed{key[2]}; remove the file and evaluate again"
            )
    return rows


def _training(run: Run, texts: Texts) -> list[dict[str, Any]]:
    """Whole episodes that were kept at evaluations while training, with the environment steps so far."""
    path = run.folder / "metrics.jsonl"
    found = []
    for row in read_jsonl(path) if path.is_file() else []:
        if row.get("event") == "evaluation":
            whole = [example for example in row.get("examples", []) if "turns" in example]
            found += [{**_episode(example, texts), "step": row["env_step"]} for example in whole]
    return found


def _episode(row: Mapping[str, Any], texts: Texts) -> dict[str, Any]:
    turns = row["turns"]
    records = [turn.get("record") for turn in turns]
    if records[-1] is None:
        records[-1] = row.get("record")
    seen = views(records)
    return {
        "task": texts.number(str(row["task"])),
        "sample": row["sample"],
        "reward": row["reward"],
        "metrics": row["metrics"],
        "turns": [_turn(turn, view, texts) for turn, view in zip(turns, seen, strict=True)],
    }


def _turn(turn: Mapping[str, Any], view: Mapping[str, Any] | None, texts: Texts) -> dict[str, Any]:
    return {
        "reward": turn["reward"],
        "parts": turn["parts"],
        "view": None if view is None else _with_numbers(view, texts),
        "agents": [_agent(turn, agent, texts) for agent in range(len(turn["responses"]))],
    }


def _with_numbers(view: Mapping[str, Any], texts: Texts) -> dict[str, Any]:
    """A view in which the longer texts are numbers: a program and its tests."""
    if view["kind"] != "program":
        return dict(view)
    checks = [texts.number(check) for check in view.get("checks", [])]
    return {**view, "program": texts.number(view["program"]), "checks": checks}


def _agent(turn: Mapping[str, Any], agent: int, texts: Texts) -> dict[str, Any]:
    """What one agent was shown, answered and was told; what a file does not hold is left out."""
    made: dict[str, Any] = {"answer": texts.number(turn["responses"][agent])}
    if "observations" in turn:
        made["shown"] = [[one["role"], texts.number(one["content"])] for one in turn["observations"][agent]]
        made["prompt"] = texts.number(turn["prompts"][agent])
        told = turn["feedback"][agent]
        if told is not None:
            made["told"] = _with_texts(told, texts)
    if "drafts" in turn:
        made["draft"] = texts.number(turn["drafts"][agent])
    fault = turn.get("faults", [None] * (agent + 1))[agent]
    if fault is not None:
        made["fault"] = fault
    for name in ("cut_prompts", "cut_responses"):
        if turn.get(name, [False] * (agent + 1))[agent]:
            made[name] = True
    made["tokens"] = turn["tokens"][agent]
    return made


def _with_texts(told: Any, texts: Texts) -> Any:
    """Feedback as it is; a text alone becomes {"text": number}."""
    return {"text": texts.number(told)} if isinstance(told, str) else {"facts": told}
