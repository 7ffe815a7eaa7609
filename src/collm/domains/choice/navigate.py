"""BBH navigate: does a walk end where it began? (protocol: `collm.domains.choice.protocol`, options A) Yes and B) No).

Default slices: the first 150 rows train and the other 100 test, of the hub's split test and of a folder alike; there is
no other split. The public file carries a canary that asks to keep its rows out of training corpora: it is kept with
every task made from them, as field `canary`, and never shown to an agent. Embedded rows are generated
(`navigate_questions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError, DataError, RowError
from collm.domains import readers
from collm.domains.base import Question, RawRow, Task, require, require_text
from collm.domains.choice import navigate_questions
from collm.domains.choice.mmlu import GENERATED
from collm.domains.choice.navigate_questions import KINDS, Walks
from collm.domains.choice.protocol import ReasoningDomain
from collm.domains.choice.questions import question_fields, same_words
from collm.domains.options import Option

_FIELDS = ("input", "target", "canary")


class Navigate(ReasoningDomain):
    """A solver and a checker say whether the same walk ends at its start; accuracy is that of their joint answer."""

    name = "navigate"
    licence = "BIG-Bench Hard MIT; generated walks MIT (this project)"
    hub = ("lukaemon/bbh", "navigate")
    generated_label = "generated walks, not BBH"
    declared_options = (
        *ReasoningDomain.declared_options,
        GENERATED,
        Option(
            "steps",
            [3, 8],
            "Least and greatest number of instructions of a generated walk.",
            minimum=2,
            maximum=50,
            length=2,
        ),
        Option("reach", 10, "Most steps that one instruction of a generated walk takes.", minimum=1),
        Option("kinds", "both", "Generated walks: always facing forward, turning, or both.", choices=KINDS),
        Option(
            "working",
            "places",
            "Explanations of walks: places alone, or with the steps that lead there (for models made from scratch).",
            choices=("places", "steps"),
        ),
    )

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int = 2) -> None:
        super().__init__(options, profile, num_agents)
        pair, option = self.options["steps"], self.option("steps")
        if len(pair) != 2 or any(type(n) is not int or not option.within(n) for n in pair) or pair[0] > pair[1]:
            expected = f"[low, high] with {option.minimum} <= low <= high <= {option.maximum}"
            raise ConfigError(f"domain.navigate.options.steps: {pair!r} is not {expected}")
        self.walks = Walks(pair[0], pair[1], self.options["reach"], self.options["kinds"])

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: see the module; of the generated walks 3/4 and 1/4."""
        public = ("test[0:150]", "test[150:250]")
        return {"hub": public, "path": public, "embedded": readers.quarters("train", self.options["generated"])}

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """Generated walks as split `train`; ConfigError if so many cannot be made."""
        return {"train": navigate_questions.generate(seed, self.options["generated"], self.walks)}

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/bbh_navigate/navigate.json, {"canary", "examples": [{"input", "target"}]}, as split test."""
        path = readers.find_splits(self.name, folder, {"test": ("bbh_navigate/navigate.json",)})["test"]
        rows = readers.read_rows(path)
        if len(rows) != 1 or not isinstance(rows[0].fields.get("examples"), list):
            raise DataError(f'{path}: expected one object with "examples", a list of objects with input and target')
        origin = f"{path.parent.name}/{path.name}"
        canary = {"canary": rows[0].fields["canary"]} if "canary" in rows[0].fields else {}
        walks = []
        for number, example in enumerate(rows[0].fields["examples"], start=1):
            place = f"{origin}:example {number}"
            if not isinstance(example, dict):
                raise RowError(f"{place}: a {type(example).__name__} stands where an object is expected")
            walks.append(RawRow({**example, **canary}, place))
        return {"test": walks}

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """Fields input and target of the hub rows."""
        return readers.keep_fields(rows, _FIELDS, f"{self.hub[0]}/{self.hub[1]}:{split}")

    def task(self, row: RawRow, index: int) -> Task:
        """Needs `input`, the walk and its options, and `target`, one of them; the explanation is computed."""
        require_text(row.fields, "input", row.origin)
        target = require_text(row.fields, "target", row.origin).strip()
        fields = navigate_questions.fields_of(row)
        if target not in fields["choices"]:
            allowed = ", ".join(fields["choices"])
            raise RowError(f"{row.origin}: field 'target' is {target!r}; expected one of {allowed}")
        if not fields["question"]:
            raise RowError(f"{row.origin}: field 'input' holds no question before its options")
        fields["answer"] = fields["choices"].index(target)
        instructions = navigate_questions.parse(fields["question"])
        spelled = self.options["working"] == "steps"
        fields["why"] = navigate_questions.working(instructions, spelled) if instructions else ""
        checked = question_fields(fields, row.origin)
        if row.fields.get("canary") is not None:
            checked["canary"] = require(row.fields, "canary", (str,), "a text", row.origin)
        return Task(f"{self.name}_{index:04d}", self.name, checked)

    def asked(self, text: str) -> Question:
        """A walk; whether it returns is worked out."""
        walk = text.partition("Options:")[0].strip().removeprefix(navigate_questions.QUESTION).strip()
        whole = f"{navigate_questions.QUESTION} {walk}"
        instructions = navigate_questions.parse(whole)
        if not instructions:
            raise RowError(
                f"the question is no walk ({text[:40]!r}); ask by instructions like 'Take 3 steps left. Turn around. "
                "Take 3 steps.', maybe with 'Always face forward.' before them"
            )
        back = [(0, 0), *navigate_questions.places(instructions)][-1] == (0, 0)
        row = {"input": f"{whole}\nOptions:\n- Yes\n- No", "target": "Yes" if back else "No"}
        return Question(self.task(RawRow(row, "the question"), 0))

    def key(self, task: Task) -> str:
        """The walk alone."""
        return same_words(task.fields["question"])
