"""Questions to a trained team: a new task of its domain, played with all agents through all turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collm.api.trained import TrainedTeam, open_team
from collm.common import cli
from collm.common.seeds import derive
from collm.domains.base import Message, Question, Step

if TYPE_CHECKING:
    from collm.training.rollout import Node, Rollout


@dataclass(frozen=True)
class Turn:
    """One turn: what each agent was shown and answered, and what that earned.

    `parts` sum to `reward`; both are None where no reward can be computed.
    """

    prompts: tuple[tuple[Message, ...], ...]
    answers: tuple[str, ...]
    parts: dict[str, float] | None
    reward: float | None
    metrics: dict[str, float] | None


@dataclass(frozen=True)
class Answer:
    """What a team answers: an episode. `unscored` says why there is no reward; None: there is one."""

    roles: tuple[str, ...]
    turns: tuple[Turn, ...]
    unscored: str | None
    cut_short: str | None = None

    @property
    def texts(self) -> dict[str, str]:
        """What each agent said last, by role."""
        return dict(zip(self.roles, self.turns[-1].answers, strict=True))

    @property
    def reward(self) -> float | None:
        """Of the last turn; None without one."""
        return self.turns[-1].reward

    def as_text(self, prompts: bool = False) -> str:
        """The episode for people.

        Args:
            prompts: with what each agent was shown.
        """
        lines: list[str] = []
        for number, turn in enumerate(self.turns, start=1):
            if len(self.turns) > 1:
                lines.append(f"== turn {number} ==")
            for role, shown, answer in zip(self.roles, turn.prompts, turn.answers, strict=True):
                if prompts:
                    lines += [f"[{role} is shown, as {message['role']}]\n{message['content']}" for message in shown]
                lines.append(f"[{role}]\n{answer}")
            if turn.parts is not None:
                parts = ", ".join(f"{name} {value:.3g}" for name, value in turn.parts.items())
                lines.append(f"reward {turn.reward:.3g}" + (f" = {parts}" if len(turn.parts) > 1 else ""))
        notes = [self.unscored and f"no reward: {self.unscored}", self.cut_short]
        return "\n".join([*lines, *(note for note in notes if note)])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return self.as_text()


class Asked:
    """A team that waits for questions; its models are loaded once, with the first object of this class."""

    def __init__(self, team: TrainedTeam, device: str = "auto", threads: int | None = None):
        """Load the models of a team.

        Args:
            device: auto, cpu, cuda or cuda:N.
        Raises:
            ConfigError: the device is not there.
            ModelError: a model cannot be used.
        """
        with cli.loading():
            import torch
            import transformers

            from collm.llm.team import Team
            from collm.training import setup
        if threads:
            torch.set_num_threads(threads)
        transformers.utils.logging.disable_progress_bar()
        self.team, self.domain = team, team.domain()
        quiet = dataclasses.replace(team.job, tracker="none")
        accelerator = setup.accelerator(quiet, team.folder, device)
        maps = {name: spec.get("device_map") for name, spec in team.job.models.items()}
        self._models = Team(team.job.team, team.models, team.seed, None, accelerator, maps)
        if team.adapters is not None:
            self._models.load_agents(team.adapters)
        self._ready = False

    def ask(self, text: str, seed: int = 0) -> Answer:
        """The team's answer to a question in words or to a row of its domain.

        Args:
            text: how a domain is asked stands in docs/package.md; an error says it, too.
            seed: of sampling and of the world; the same seed gives the same answer.
        Raises:
            RowError: the domain cannot read the question.
        """
        return self.play(self.domain.question(text), seed)

    def play(self, question: Question, seed: int = 0) -> Answer:
        """One episode."""
        if not (self._ready or question.silent):  # what runs programs starts a sandbox
            self.domain.ready(self.team.job.sandbox)
            self._ready = True
        rollout = self._rollout(question)
        played = rollout.play([question.task], [derive("ask", seed, question.task.id)], generations=1)
        turns = tuple(_turn(node, question.unscored is None) for node in played.roots[0].walk())
        more = question.silent and self.team.job.rollout.turns > 1
        short = "only the first turn was played: what is told after it depends on the reward" if more else None
        return Answer(tuple(self.domain.roles), turns, question.unscored, short)

    def _rollout(self, question: Question) -> Rollout:
        """A player of the team's protocol, which scores nothing where nothing can be."""
        from collm.training.protocols import PROTOCOLS
        from collm.training.rollout import Rollout

        job = self.team.job
        kind = PROTOCOLS.get(job.method, Rollout)
        settings = job.rollout
        if question.unscored is not None:  # a reward that means nothing must not end an episode
            settings = dataclasses.replace(settings, early_stop=None)
        if question.silent:
            settings = dataclasses.replace(settings, turns=1)
            kind = _unscored(kind)
        return kind(self._models, self.domain, settings, job.semantics == "released")


def ask(
    run: str | Path, question: str, *, seed: int = 0, models: str | Path | None = None, device: str = "auto"
) -> Answer:
    """What the trained team of a results folder answers; `Asked` keeps its models for several questions.

    Args:
        run: results/<domain>/<method>/seed<k>, or what `export` wrote.
        question: a new task of the run's domain in words (a post, a word to build, a question with its options, a
            function to write), or a row of its data as a JSON object.
        seed: of sampling and of the world.
        models: folder of the prepared models, by default resources/models beside the results.
    Raises:
        DataError, ModelError, RowError: there is no such run, its base is not there, or the question cannot be read.
    """
    team = open_team(run, models)
    asked = team.domain().question(question)  # before the models are loaded
    return Asked(team, device).play(asked, seed)


def _turn(node: Node, scored: bool) -> Turn:
    step = node.steps[0]
    prompts = tuple(tuple(messages) for messages in node.observations)
    answers = tuple(responses[0].text for responses in node.responses)
    if not scored:
        return Turn(prompts, answers, None, None, None)
    return Turn(prompts, answers, dict(step.parts), step.reward, dict(step.metrics))


def _unscored(kind: type[Rollout]) -> type[Rollout]:
    """A kind of rollout that does not ask the domain what a joint action earns."""

    class Unscored(kind):  # type: ignore[valid-type, misc]
        def _score(self, nodes: Sequence[Node]) -> None:
            for node in nodes:
                silent = (None,) * len(node.observations)
                node.steps = [Step({}, 0.0, {}, silent, node.world, {}, done=True) for _ in node.actions]

    return Unscored
