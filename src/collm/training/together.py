"""Runs side by side in one process: each as it would be alone, but their responses are decoded in one batch.

Decoding reads the weights of a base once per token, for one team or for many. Every run has a thread of its own; one at
a time works, in turn, until it needs responses. When all that are not over wait for some, these are decoded together,
in the main thread, and the turns begin anew. So nothing happens at the same time, and nothing of a run depends on the
others but the rounding of sums: what is drawn follows from keys of its own.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from collm.common import clock
from collm.common.errors import CollmError, Interrupted
from collm.llm import responding
from collm.llm.batching import PromptKeys
from collm.llm.responding import Response
from collm.llm.sampling import Sampling
from collm.llm.team import Team
from collm.runs.signals import Signals


class _Ask:
    """Prompts of a team that wait for responses."""

    def __init__(self, team: Team, prompts: Sequence[PromptKeys], settings: tuple[Sampling, str, int]):
        self.team, self.prompts, self.settings = team, prompts, settings
        self.answers: list[list[Response]] = []
        self.seconds = 0.0  # its share of what decoding took, by tokens
        self.error: BaseException | None = None


class Turns:
    """The turns of some runs, and what answers their teams (`Team.neighbours`)."""

    def __init__(self, signals: Signals):
        """`signals`: those of this process, which `Stopping` of every run listens to."""
        self.signals = signals
        self._runs: list[_Run] = []

    def add(self, work: Callable[[], Any], around: Callable[[], AbstractContextManager[Any]]) -> None:
        """A further run.

        Args:
            work: the whole run; what it returns is in `results`.
            around: entered in the main thread around every turn of it, to tell its output from that of the others.
        """
        self._runs.append(_Run(work, around))

    def play(self) -> None:
        """Let all runs come to their end. A signal, or an error of the decoder, ends those that wait for responses.

        Raises:
            Exception: the first error of a run that is none of ours.
        """
        try:
            while waiting := self._turn():
                self._answer([run.ask for run in waiting if run.ask is not None])
        finally:
            for run in self._runs:
                run.end()
        for run in self._runs:
            if run.error is not None:
                raise run.error

    @property
    def results(self) -> list[Any]:
        """What the runs returned, None of those that ended with an error."""
        return [run.result for run in self._runs]

    def respond(
        self, team: Team, prompts: Sequence[PromptKeys], sampling: Sampling, decode_mode: str, max_rows: int
    ) -> list[list[Response]]:
        """Wait for responses, in the thread of a run; see `Team.respond`."""
        run = next(run for run in self._runs if run.thread is threading.current_thread())
        ask, started = _Ask(team, prompts, (sampling, decode_mode, max_rows)), time.perf_counter()
        run.wait_for(ask)
        clock.wait(time.perf_counter() - started - ask.seconds)
        if ask.error is not None:
            raise ask.error
        return ask.answers

    def _turn(self) -> list[_Run]:
        """Give every run that is not over a turn; returns those that wait for responses then."""
        for run in self._runs:
            run.take_turn()
        return [run for run in self._runs if run.ask is not None]

    def _answer(self, asks: Sequence[_Ask]) -> None:
        """Decode for all, those with the same way of sampling in the same batches."""
        alike: dict[tuple[Sampling, str, int], list[_Ask]] = {}
        for ask in asks:
            alike.setdefault(ask.settings, []).append(ask)
        for group in alike.values():
            try:
                with self.signals.at_once(), _current(group[0].team.device):
                    _decode(group)
            except Interrupted as stop:
                _fail(asks, stop)
                return
            except Exception as error:  # every run says it in its own words, and keeps what it has
                _fail(group, error)


class _Run:
    """A run in a thread of its own, which works only while the main thread waits for it."""

    def __init__(self, work: Callable[[], Any], around: Callable[[], AbstractContextManager[Any]]):
        self.around = around
        self.ask: _Ask | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._work, self._over = work, False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._main, daemon=True)

    def take_turn(self) -> None:
        """Let it work until it waits for responses or is over."""
        if self._over:
            return
        with self.around():
            if self.thread.ident is None:
                self.thread.start()
            self._go.release()
            self._back.acquire()

    def wait_for(self, ask: _Ask) -> None:
        """End the turn, in its own thread, until the responses are there."""
        self.ask = ask
        self._back.release()
        self._go.acquire()
        self.ask = None

    def end(self) -> None:
        """Bring it to its end if it is not there: something went wrong between the turns."""
        while not self._over and self.thread.ident is not None:
            if self.ask is not None:
                self.ask.error = self.ask.error or CollmError("its process ends; run the same command again")
            self.take_turn()

    def _main(self) -> None:
        self._go.acquire()
        try:
            self.result = self._work()
        except BaseException as error:
            traceback.print_exc()
            self.error = error
        self._over = True
        self._back.release()
        self._go.acquire()  # for good: the sandbox, which all runs use, dies with the thread that began it


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """A block in which a GPU is the current one: every thread has its own, and runs have chosen theirs."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _decode(asks: Sequence[_Ask]) -> None:
    """Responses for teams that sample in the same way, in as few batches as can be."""
    started = time.perf_counter()
    agents = [agent for ask in asks for agent in ask.team.agents]
    prompts: list[PromptKeys] = []
    before = 0
    for ask in asks:
        prompts += [(before + agent, prompt, keys) for agent, prompt, keys in ask.prompts]
        before += len(ask.team.agents)
    answers = iter(responding.respond(agents, prompts, *asks[0].settings, uneven=len(asks) > 1))
    for ask in asks:
        ask.answers = [next(answers) for _ in ask.prompts]
    seconds = time.perf_counter() - started
    tokens = [sum(len(said.tokens) for group in ask.answers for said in group) for ask in asks]
    for ask, count in zip(asks, tokens, strict=True):
        ask.seconds = seconds * count / max(1, sum(tokens))


def _fail(asks: Iterable[_Ask], error: BaseException) -> None:
    for ask in asks:
        ask.error = error
