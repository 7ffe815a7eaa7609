"""Runs that take turns in one process, on one base: each ends as if it had been alone."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading

import pytest
import torch
from safetensors.torch import load_file
from support import runs
from support.toy import make_team, team_settings

from collm.common import clock
from collm.common.errors import CollmError, Interrupted
from collm.llm import base_model, responding
from collm.llm.bases import Bases
from collm.llm.sampling import Sampling
from collm.llm.team import Team
from collm.runs.signals import Signals
from collm.training.together import Turns
from collm.training.trainer import Trainer

CASES = (("magrpo", 0), ("collm_cc", 1), ("collm_dc", 2))  # of different lengths


def setup(models, root, method, seed):
    training = {"epochs": 2 if method == "magrpo" else 1, "checkpoint_every": 1}
    rollout = {"generations": 2, "max_new_tokens": 4}
    made = runs.session(models, root / f"{method}{seed}", method=method, rollout=rollout, training=training)
    return dataclasses.replace(made, seed=seed)


def side_by_side(setups):
    """Train these runs in turns; returns how many each batch of asks came from."""
    bases, sizes = Bases(), []
    with Signals() as signals:
        turns = Turns(signals)

        def work(made):
            trainer = Trainer(made, None, bases)
            trainer.team.neighbours, trainer.resumable.signals = turns, signals
            trainer.run()

        real = turns._answer
        turns._answer = lambda asks: sizes.append(len(asks)) or real(asks)
        for made in setups:
            turns.add(lambda made=made: work(made), contextlib.nullcontext)
        turns.play()
    return sizes


def test_runs_of_several_methods_and_seeds_end_as_alone_also_after_a_kill(
    models_folder, tmp_path, float64, monkeypatch
):
    for case in CASES:
        Trainer(setup(models_folder, tmp_path / "alone", *case), None).run()
    killed_after(4, lambda: side_by_side([setup(models_folder, tmp_path / "joined", *case) for case in CASES]))
    assert not list((tmp_path / "joined").rglob("run.json"))
    assert len(list((tmp_path / "joined").rglob("state.pt"))) >= len(CASES)
    loaded = []
    real = base_model.load_causal
    monkeypatch.setattr(base_model, "load_causal", lambda *given: loaded.append(given) or real(*given))
    sizes = side_by_side([setup(models_folder, tmp_path / "joined", *case) for case in CASES])
    assert len(loaded) == 1, "one base for all"
    assert sizes[0] == len(CASES) and sizes[-1] == 1, "the longest run goes on alone"
    for method, seed in CASES:
        compare(*(tmp_path / where / f"{method}{seed}" for where in ("alone", "joined")))


def killed_after(updates, work):
    """Do some work in a fork of this process that is killed with SIGKILL once so many rollouts are learnt from."""

    def child():
        real, seen = Trainer._learn, []

        def learn(self, played):
            seen.append(1)
            if len(seen) > updates:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, played)

        Trainer._learn = learn
        work()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(240)
    assert process.exitcode == -signal.SIGKILL


def compare(alone, joined):
    """Adapters within 1e-9, the same metrics."""
    (hashes, rows), (others, other_rows) = runs.outcome(alone), runs.outcome(joined)
    assert set(hashes) == set(others)
    for name in (name for name in hashes if name.endswith(".safetensors")):
        own, other = (load_file(root / "results" / "adapters" / name) for root in (alone, joined))
        assert set(own) == set(other)
        for key, part in own.items():
            torch.testing.assert_close(other[key], part, rtol=0, atol=1e-9)
    assert len(rows) == len(other_rows) and any(row["event"] == "update" for row in rows)
    for row, other in zip(rows, other_rows, strict=True):
        same(row, other)


def same(one, other):
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            same(*pair)
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-7, abs=1e-9)
    else:
        assert one == other


@pytest.mark.parametrize("cache", ["growing", "static"])
@pytest.mark.parametrize("padded", [False, True])
def test_uneven_groups_of_several_teams_draw_what_each_draws_alone(models_folder, cache, padded, monkeypatch):
    """Batches of several teams whose agents bring 1 to 5 prompts, by all ways of decoding."""
    if padded:
        monkeypatch.setattr(base_model, "obstacle", lambda model: "of a test")
    bases = Bases()
    made = [Team(team_settings(), {"tiny": models_folder / "tiny"}, seed, cache=cache, bases=bases) for seed in (0, 1)]
    randomise(made)
    assert made[0].agents[0].base is made[1].agents[1].base
    agents = [agent for team in made for agent in team.agents]
    counts = {0: 5, 1: 1, 2: 3, 3: 5}
    prompts = [
        (agent, tuple(range(5, 8 + agent + place)), [100 * agent + 10 * place, 100 * agent + 10 * place + 1])
        for agent, count in counts.items()
        for place in range(count)
    ]
    sampling = Sampling(12)
    joined = responding.respond(agents, prompts, sampling, "mixed", 256, uneven=True)
    for number, team in enumerate(made):
        own = [(agent - 2 * number, *rest) for agent, *rest in prompts if agent // 2 == number]
        alone = team.respond(own, sampling, "sequential", 1)
        together = [group for (agent, *_), group in zip(prompts, joined, strict=True) if agent // 2 == number]
        assert [[r.tokens for r in group] for group in together] == [[r.tokens for r in group] for group in alone]
        for one, other in zip(sum(together, []), sum(alone, []), strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def randomise(made):
    for number, team in enumerate(made):
        draw = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for member in team.members:
                for name, part in member.parameters():
                    if "lora_B" in name:
                        part.copy_(0.3 * torch.randn(part.shape, generator=draw))


def test_adapters_on_a_shared_base_have_the_names_and_numbers_of_a_team_alone(models_folder, tmp_path):
    bases = Bases()
    made = [Team(team_settings(), {"tiny": models_folder / "tiny"}, seed, "joint", bases=bases) for seed in (3, 4)]
    for seed, team in zip((3, 4), made, strict=True):
        alone = make_team(models_folder, "joint", seed, randomise=False)
        for own, other in zip(alone.members, team.members, strict=True):
            assert [name for name, _ in own.parameters()] == [name for name, _ in other.parameters()]
            assert all(torch.equal(a, b) for (_, a), (_, b) in zip(own.parameters(), other.parameters(), strict=True))
        team.save(tmp_path / str(seed))
        alone.save(tmp_path / f"alone{seed}")
        files = [
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.safetensors")}
            for folder in (tmp_path / str(seed), tmp_path / f"alone{seed}")
        ]
        assert files[0] == files[1] and len(files[0]) == 3
    made[0].load_agents(tmp_path / "4")
    assert torch.equal(made[0].agents[0].parameters()[0][1], made[1].agents[0].parameters()[0][1])


def test_bases_that_are_run_differently_are_not_shared(models_folder):
    bases = Bases()
    first, second = (
        Team(team_settings(**changes), {"tiny": models_folder / "tiny"}, 0, bases=bases)
        for changes in ({}, {"chat_template": False})
    )
    assert first.agents[0].base is not second.agents[0].base


# turns


class Asking:
    """A stand-in for a team: what it asks is answered by its own number."""

    agents = ()
    device = torch.device("cpu")


def play(works, answer):
    with Signals() as signals:
        turns = Turns(signals)
        turns._answer = answer
        for work in works:
            turns.add(lambda work=work: work(turns), contextlib.nullcontext)
        turns.play()
        return turns


def test_one_run_at_a_time_works_and_all_wait_for_each_other():
    seen, busy = [], []

    def run(name, count):
        def work(turns):
            for number in range(count):
                assert not busy, "two at a time"
                busy.append(1)
                seen.append((name, number))
                busy.pop()
                turns.respond(Asking(), [], Sampling(1), "mixed", 1)
            return name

        return work

    rounds = []
    turns = play([run("a", 1), run("b", 3)], lambda asks: rounds.append(len(asks)))
    assert turns.results == ["a", "b"]
    assert rounds == [2, 1, 1]
    assert seen == [("a", 0), ("b", 0), ("b", 1), ("b", 2)]


def test_a_run_that_fails_leaves_the_others_alone():
    def broken(turns):
        raise ValueError("a bug")

    done = []

    def work(turns):
        turns.respond(Asking(), [], Sampling(1), "mixed", 1)
        done.append(1)

    with pytest.raises(ValueError, match="a bug"):
        play([broken, work], lambda asks: None)
    assert done == [1]


def test_an_error_of_the_decoder_reaches_every_run_that_asked(monkeypatch):
    def fail(group):
        raise CollmError("no memory")

    monkeypatch.setattr("collm.training.together._decode", fail)
    heard = []

    def work(turns):
        try:
            turns.respond(Asking(), [], Sampling(1), "mixed", 1)
        except CollmError as error:
            heard.append(str(error))

    with Signals() as signals:
        turns = Turns(signals)
        for _ in range(2):
            turns.add(lambda: work(turns), contextlib.nullcontext)
        turns.play()
    assert heard == ["no memory"] * 2


def test_a_signal_ends_all_and_what_they_have_is_kept(models_folder, tmp_path, monkeypatch):
    runs.stop_after(monkeypatch, 3)
    stopped = []
    with Signals() as signals:
        turns, bases = Turns(signals), Bases()

        def work(made):
            trainer = Trainer(made, None, bases)
            trainer.team.neighbours, trainer.resumable.signals = turns, signals
            try:
                trainer.run()
            except Interrupted as stop:
                stopped.append(stop.status)

        for case in CASES[:2]:
            made = setup(models_folder, tmp_path, *case)
            turns.add(lambda made=made: work(made), contextlib.nullcontext)
        turns.play()
    assert stopped == [128 + signal.SIGTERM] * 2
    assert len({path.parents[1] for path in tmp_path.rglob("step_*/state.pt")}) == 2
    assert not list(tmp_path.rglob(".*.lock")), "locks are given back"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_clock_stands_still_while_its_thread_waits():
    def work():
        before, clock_before = clock.waited(), clock.now()
        clock.wait(100.0)
        found.append((clock.waited() - before, clock.now() - clock_before))

    found = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0][0] == 100.0 and found[0][1] < -90.0
    assert clock.waited() == 0.0, "every thread has its own"
