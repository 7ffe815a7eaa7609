"""The protocol that the five multiple-choice domains share: two voters or more answer one question in parallel.

No collaborative protocol is published for these benchmarks; this one is the project's own and the same under both
profiles. The solver reasons forward to an option, the checker rules options out; further voters do so by turns. Each
ends with the line

    Answer: LETTER CONFIDENCE

with a confidence from 1 (a guess) to 5 (sure). The joint answer is the letter with the most votes, of several such the
one of the most confident agent, else of the first: of two agents the agreed letter, else that of the more confident
one, else the solver's. A text without that last line still counts with the last "Answer: X" or "answer is X" in it,
at confidence 1, but earns no form share; a text without any letter gives no answer. `<think>` blocks are not read.

Up to two turns: an episode is done once all give the same letter, at the latest after the second turn. Otherwise each
is told that they do not agree (and whether its own last line was in form), nothing of what the other wrote. Where
there are only two options, that they differ does say which letter the other gave; this is part of the protocol.

Reward of the turn that ends the episode = `right` if the joint answer is right + `own` (split evenly among the agents)
for each agent whose own letter is right + `form` (split likewise) for each last line in form. Greatest: M = right + own
+ form; least: 0. A first turn that leaves the two in disagreement earns 0 in every part: an episode is paid once, for
the answers that end it, so its return is r or discount x r with 0 <= r <= M. With a discount in [0, 1] the same final
answers never earn more by way of a second turn, and right answers at once earn the most there is; no shift of the
rewards is needed (a shift below 0 keeps both, one above 0 would pay for turns). With `rollout.turns: 1` an open
disagreement is simply worth nothing. `early_stop` must stay null: ending on the reward would tell the agents in an
evaluation whether they are right.
"""

from __future__ import annotations

import random
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, ClassVar

from collm.domains.base import (
    Demonstration,
    Domain,
    Exchange,
    Message,
    Metric,
    Question,
    RawRow,
    Step,
    Task,
    answer_field,
)
from collm.domains.choice import asked
from collm.domains.choice.questions import LETTERS, question_fields, same_words, written
from collm.domains.options import Option

CONFIDENCES = (1, 2, 3, 4, 5)
TURNS = 2
WORDINGS = ("full", "brief")
_LAST_LINE = re.compile(r"answer ?: ?([A-Ea-e]) ?([1-5])", re.IGNORECASE | re.ASCII)
_STATED = re.compile(r"(?i:\banswer)(?i:[ \t]{0,4}is\b)?[ \t]{0,4}:?[ \t]{0,4}\(?([A-E])\b", re.ASCII)
_SHORT = 140  # characters of an explanation that a demonstration quotes
_PRACTICE = 4  # in the text that scratch models are made of: episodes per task, and answers of the first agent in each

_ENDING = (
    "Write one or two short lines, then this last line, with CONFIDENCE from 1 (guess) to 5 (sure):\n"
    "Answer: LETTER CONFIDENCE"
)
_PARTNER = "A partner answers alone; if you two differ, the more confident letter counts."
_PARTNERS = "{others} partners answer alone; the letter with the most votes counts, then the more confident one."
_WAYS = ("Reason forward from the question to the right option.", "Rule out wrong options until one is left.")
_ALONE = f"Reason to the right option, then rule out the others. {_ENDING}"


@dataclass(frozen=True)
class Reply:
    """One agent's answer: position of its option or None, confidence 1 to 5 (0 without answer), last line in form."""

    option: int | None
    confidence: int
    formed: bool


def parse(text: str, options: int) -> Reply:
    """Read an answer to a question with `options` options; time is linear in the text."""
    line = text.rstrip().rsplit("\n", 1)[-1].strip()
    match = _LAST_LINE.fullmatch(line)
    if match and (option := LETTERS.index(match[1].upper())) < options:
        return Reply(option, int(match[2]), True)
    stated = [LETTERS.index(match[1]) for match in _STATED.finditer(text)]
    last = next((option for option in reversed(stated) if option < options), None)
    return Reply(last, 0 if last is None else 1, False)


def joint(replies: Sequence[Reply]) -> int | None:
    """The team's option: that of most agents, else the more confident one's, else the first one's; None without any."""
    given = [reply for reply in replies if reply.option is not None]
    votes = Counter(reply.option for reply in given)
    best = max(given, key=lambda reply: (votes[reply.option], reply.confidence), default=None)  # the first of equals
    return None if best is None else best.option


def agree(replies: Sequence[Reply]) -> bool:
    """Whether all agents gave the same letter (an agent alone: whether it gave one)."""
    return replies[0].option is not None and len({reply.option for reply in replies}) == 1


def probability(confidence: int, options: int) -> float:
    """What a confidence claims: 1 the chance of a guess among `options`, 5 certainty, linear in between."""
    return 1 / options + (1 - 1 / options) * (confidence - 1) / 4


def brier(replies: Sequence[Reply], answer: int, options: int) -> float:
    """Mean squared distance of claimed probability and outcome over agents, 0 best; no answer counts 1, the worst."""
    errors = [
        1.0 if reply.option is None else (probability(reply.confidence, options) - (reply.option == answer)) ** 2
        for reply in replies
    ]
    return sum(errors) / len(errors)


_OF_TEAMS = re.compile(r"(own|form)_(solver|checker|voter_\d+)")  # parts of teams of any size


class ReasoningDomain(Domain):
    """A multiple-choice question that solver, checker and further voters answer apart, once more where they differ."""

    max_turns = TURNS
    team_sizes = None
    min_reward = 0.0
    metrics = (
        Metric("accuracy", "Accuracy", "%", higher_is_better=True),
        Metric("solver_accuracy", "Solver accuracy", "%", higher_is_better=True, in_table=False),
        Metric("checker_accuracy", "Checker accuracy", "%", higher_is_better=True, in_table=False),
        Metric("agreement", "Agreement", "%", higher_is_better=True, in_table=False),
        Metric("brier", "Brier score", "", higher_is_better=False, in_table=False),
    )
    declared_options: ClassVar[tuple[Option, ...]] = (
        Option("right", 1.0, "Reward of a right joint answer.", minimum=0),
        Option("own", 0.2, "Share for agents' own right letters, split among them.", minimum=0),
        Option("form", 0.1, "Share for last lines in form, split among the agents.", minimum=0),
        Option("repeat_response", True, "The second turn quotes the agent's own first answer."),
        Option(
            "wording",
            "full",
            "brief: the question and the role's name alone, for scratch models, which cannot read instructions.",
            choices=WORDINGS,
        ),
    )

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int = 2) -> None:
        super().__init__(options, profile, num_agents)
        self.roles = ("solver", "checker", *(f"voter_{number}" for number in range(3, num_agents + 1)))[:num_agents]
        best = [Reply(0, max(CONFIDENCES), True)] * num_agents
        earned = self._parts(best, 0)
        self.max_reward = fsum(earned.values())
        self.parts = {name: (0.0, most) for name, most in earned.items()}

    @abstractmethod
    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """One split `train` of rows that ship with the project or are generated from `seed`."""

    def task(self, row: RawRow, index: int) -> Task:
        """Check the row as `questions.question_fields` does."""
        return Task(f"{self.name}_{index:04d}", self.name, question_fields(row.fields, row.origin))

    def asked(self, text: str) -> Question:
        """A question with its options, see `asked.question`."""
        fields, told = asked.question(text)
        return Question(self.task(RawRow(fields, "the question"), 0), None if told else asked.UNANSWERED)

    def key(self, task: Task) -> str:
        """The question and its options in any order: many questions of different content share their wording."""
        options = sorted(map(same_words, task.fields["options"]))
        return "\n".join([same_words(task.fields["question"]), *options])

    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: Any) -> list[Message]:
        """The role's instruction and the question; at the second turn also the own answer and the feedback."""
        text = written(task.fields)
        if self.options["wording"] == "brief":
            return [{"role": "user", "content": self._brief(task, agent, turn, history, feedback)}]
        if turn:
            response = self._last_response(task, turn, history)
            if self.options["repeat_response"]:
                text += f"\n\nYour last answer:\n{response}"
            text += f"\n\n{_feedback_text(feedback, self.num_agents)}"
        return [{"role": "system", "content": _instruction(agent, self.num_agents)}, {"role": "user", "content": text}]

    def _brief(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: Any) -> str:
        """The prompt in as few words as there can be; it ends alike at every turn, and with a line break."""
        before = ""
        if turn:
            quoted = [self._last_response(task, turn, history)] if self.options["repeat_response"] else []
            before = "\n".join(["Turn 2.", *quoted, _feedback_text(feedback, self.num_agents)]) + "\n"
        role = self.roles[agent].capitalize().replace("_", " ")
        return f"{before}{written(task.fields)}\n{role}:\n"

    def start(self, task: Task, seed: int) -> None:
        """Nothing: a question has no state."""
        return None

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Read the answers of all agents; done, and only then paid, once they agree or at the last turn.

        One agent alone is done at once.
        """
        count = len(task.fields["options"])
        replies = [parse(text, count) for text in self.check_joint_action(joint_action)]
        parts = self._parts(replies, task.fields["answer"])
        agreed = agree(replies)
        done = agreed or turn >= TURNS - 1 or self.num_agents == 1
        if not done:
            parts = dict.fromkeys(parts, 0.0)
        feedback = tuple({"agree": agreed, "formed": reply.formed} for reply in replies)
        metrics = self._metrics(replies, task.fields["answer"], count)
        record = _record(replies) | {"answer": LETTERS[task.fields["answer"]]}
        return Step(parts, fsum(parts.values()), metrics, feedback, None, record, done)

    def understands(self, task: Task, agent: int, answer: str) -> bool:
        """Whether a letter can be read in it, in form or not."""
        return parse(answer, len(task.fields["options"])).option is not None

    def _parts(self, replies: Sequence[Reply], answer: int) -> dict[str, float]:
        parts = {"joint": self.options["right"] if joint(replies) == answer else 0.0}
        for name, earned in (("own", lambda reply: reply.option == answer), ("form", lambda reply: reply.formed)):
            share = self.options[name] / self.num_agents
            parts |= {
                f"{name}_{role}": share if earned(reply) else 0.0
                for role, reply in zip(self.roles, replies, strict=True)
            }
        return parts

    def knows_part(self, name: str) -> bool:
        """Those of its agents; one agent alone also knows those of a team."""
        return name in self.parts or (self.num_agents == 1 and _OF_TEAMS.fullmatch(name) is not None)

    def case_row(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The question as in tasks."""
        return question_fields(inputs, "")

    def _metrics(self, replies: Sequence[Reply], answer: int, options: int) -> dict[str, float]:
        """In per cent but for the Brier score; one agent alone agrees with itself and has no checker.

        Further voters have no accuracy of their own: tables have the same columns for teams of any size.
        """
        metrics = {"accuracy": 100.0 * (joint(replies) == answer), "agreement": 100.0 * agree(replies)}
        for role, reply in zip(self.roles[:2], replies, strict=False):
            metrics[f"{role}_accuracy"] = 100.0 * (reply.option == answer)
        return metrics | {"brier": brier(replies, answer, options)}

    def demonstrations(self, task: Task, rng: random.Random, noise: float) -> list[Demonstration]:
        """Scripted answers of all agents, and of a second turn with half the noise where the first ones differ.

        `noise` is the chance of each fault: a wrong letter, a malformed ending, a confidence that misleads.
        """

        def answer(turn: int, agent: int, world: Any) -> str:
            return self._scripted(task, agent, rng, noise / (1 + turn))

        return self.scripted_episode(task, TURNS, None, answer)

    def _scripted(self, task: Task, agent: int, rng: random.Random, noise: float) -> str:
        answer, count = task.fields["answer"], len(task.fields["options"])
        wrong, malformed, misleading = (rng.random() < noise for _ in range(3))
        option = rng.choice([other for other in range(count) if other != answer]) if wrong else answer
        confidence = rng.choice((4, 5) if wrong == misleading else (1, 2))
        line = self.reasoning(task, agent, option)
        return f"{line}\n{_ending(LETTERS[option], confidence, rng if malformed else None)}"

    def reasoning(self, task: Task, agent: int, option: int) -> str:
        """The line before the ending: for the right option with its explanation, for a wrong one a bare claim."""
        fields = task.fields
        why = f"{_first_words(fields['why'])} " if option == fields["answer"] and fields["why"] else ""
        if agent % 2:
            others = [LETTERS[other] for other in range(len(fields["options"])) if other != option]
            return f"{why}Not {', '.join(others)}."
        return f"{why}So {fields['options'][option].rstrip('.')}."

    def corpus(self, task: Task, rng: random.Random) -> list[str]:
        """The question with its explanation and right option, and often with scripted answers, mostly the solver's.

        One manner of answering is learnt sooner than two, and answers are most of the text beside all prompts. The
        blank line is as long, in tokens, as what the chat template of scratch models puts between question and answer.
        With brief wording the question as it is asked and a right answer, for each agent.
        """
        fields = task.fields
        if self.options["wording"] == "brief":
            return [
                self._brief(task, agent, 0, (), None) + self._scripted(task, agent, rng, 0.0)
                for agent in range(self.num_agents)
            ]
        lines = (fields["question"], fields["why"], fields["options"][fields["answer"]])
        agents = [*[0] * _PRACTICE, *range(1, self.num_agents)] * _PRACTICE
        answers = [self._scripted(task, agent, rng, 0.0) for agent in agents]
        return ["\n".join(line for line in lines if line), *(f"{written(fields)}\n\n{answer}" for answer in answers)]

    def score_case(self, inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Score {question, choices, answerKey, completion1, completion2, ...} as the turn that ends an episode.

        There is one completion per agent: with one agent only completion1 counts.
        """
        fields = question_fields(inputs, "")
        texts = [answer_field(inputs, f"completion{number}") for number in range(1, self.num_agents + 1)]
        count = len(fields["options"])
        replies = [parse(text, count) for text in texts]
        parts = self._parts(replies, fields["answer"])
        metrics = self._metrics(replies, fields["answer"], count)
        return fsum(parts.values()), {**parts, **_record(replies), **metrics}


def _record(replies: Sequence[Reply]) -> dict[str, Any]:
    """What was understood, by letter."""
    team = joint(replies)
    return {
        "joint_answer": None if team is None else LETTERS[team],
        "letters": [None if reply.option is None else LETTERS[reply.option] for reply in replies],
        "confidences": [reply.confidence for reply in replies],
        "formed": [reply.formed for reply in replies],
    }


def _instruction(agent: int, agents: int) -> str:
    """What the system text asks of an agent; solver and checker by turns."""
    if agents == 1:
        return _ALONE
    partners = _PARTNER if agents == 2 else _PARTNERS.format(others=agents - 1)
    return f"{_WAYS[agent % 2]} {partners} {_ENDING}"


def _feedback_text(feedback: Any, agents: int) -> str:
    """The feedback in words; None (nothing was told) leaves the request alone."""
    partners = "partner" if agents == 2 else "partners"
    sentences = [] if feedback is None or feedback["agree"] else [f"You and your {partners} do not agree."]
    if feedback is not None and not feedback["formed"]:
        sentences.append("Your last line was not of the form asked for.")
    return " ".join([*sentences, "Answer the question once more."])


def _first_words(text: str) -> str:
    """`text` if it is short, else its beginning up to the last full word."""
    return text if len(text) <= _SHORT else text[:_SHORT].rsplit(" ", 1)[0].rstrip(".,;:") + "."


def _ending(letter: str, confidence: int, faults: random.Random | None) -> str:
    """The last line; with `faults` one of the ways to miss its form."""
    right = f"Answer: {letter} {confidence}"
    if faults is None:
        return right
    return faults.choice((f"Answer: {letter}", f"I say {letter}.", f"{right}\nDone.", f"Answer: {letter} 9", letter))
