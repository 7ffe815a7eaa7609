"""A team that only together sees how far it has got: the joint critic finds the optimum, the others do not in time.

All methods play the same number of joint actions with the project's rollout, learner and methods; agents and critics
are tables. Learning rates, sizes of batches and group sizes were chosen for every method alike, on seeds from 100 on
(docs/exactness.md has the grid); these are seeds 0 to 19.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from shared_lock import SharedLock, TableTeam
from small_world import rollout_settings
from support.toy import training_settings

from collm.common.seeds import derive
from collm.methods.registry import METHODS
from collm.report.statistics import ScoreMatrix, estimate
from collm.training.learner import Context, Learner
from collm.training.rollout import Rollout

TURNS, POSITIONS, LUCK = 4, 2, 0.3
JOINT_ACTIONS = 3600  # of a whole run
SEEDS = range(20)


@dataclass(frozen=True)
class Setting:
    """What was chosen for a method: joint actions per update and the rest."""

    method: str
    batch: int
    agent_learning_rate: float
    critic_learning_rate: float = 0.1
    td_lambda: float = 0.0
    generations: int = 1
    normalize_advantage: bool = True


CHOSEN = {
    "CoLLM-CC": Setting("collm_cc", 120, 0.3, 0.03),
    "CoLLM-DC": Setting("collm_dc", 120, 1.0),
    "CoLLM-DC, lambda = 1": Setting("collm_dc", 240, 1.0, td_lambda=1.0),
    "MAGRPO": Setting("magrpo", 120, 0.3, generations=2, normalize_advantage=False),
}


def success(setting, seed, place):
    """Exact chance of an open lock after a run."""
    world, method = SharedLock(TURNS, POSITIONS, LUCK, seed), METHODS[setting.method]
    team, copies = TableTeam(POSITIONS, method.critics), setting.generations
    settings = training_settings(
        minibatch_size=setting.batch,
        agent_learning_rate=setting.agent_learning_rate,
        critic_learning_rate=setting.critic_learning_rate,
        td_lambda=setting.td_lambda,
        value_loss_coefficient=1.0,
        normalize_advantage=setting.normalize_advantage,
    )
    learner = Learner(
        team, method, settings, "paper", Context(1.0, TURNS, world.max_reward, 1.0), place / "nonfinite.json"
    )
    rollout = Rollout(team, world, rollout_settings(TURNS, 1, generations=copies))
    episodes = setting.batch // sum(copies ** (turn + 1) if copies > 1 else 1 for turn in range(TURNS))
    for number in range(JOINT_ACTIONS // setting.batch):
        seeds = [derive(seed, number, episode) for episode in range(episodes)]
        nodes = rollout.play([world.task(None, 0)] * episodes, seeds).nodes()
        assert sum(len(node.actions) for node in nodes) == setting.batch
        list(learner.update(nodes, random.Random(seed)))
    return team.opens(TURNS)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """{method: (chance of an open lock per seed, estimate of its mean with a 95 % interval)}."""
    place, threads = tmp_path_factory.mktemp("lock"), torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    results = {}
    for name, setting in CHOSEN.items():
        chances = np.array([success(setting, seed, place) for seed in SEEDS])
        matrix = ScoreMatrix(chances[:, None], tuple(SEEDS), ("lock",), len(SEEDS))
        results[name] = chances, estimate(matrix, np.random.default_rng(0))
        print(f"{name}: {results[name][1].point:.3f} [{results[name][1].low:.3f}, {results[name][1].high:.3f}]")
    torch.set_num_threads(threads)
    return results


def test_a_share_alone_tells_nothing():
    """Each agent's coin is fair whether the lock is open or not; the two differ exactly if it is open."""
    world = SharedLock(TURNS, POSITIONS, LUCK, 0)
    for is_open in (True, False):
        shares = [world.shares({"open": is_open}) for _ in range(4000)]
        assert all((left != right) == is_open for left, right in shares)
        for agent in (0, 1):
            assert abs(sum(pair[agent] for pair in shares) / len(shares) - 0.5) < 0.03


def test_chance_of_an_untrained_team():
    """Two keys with two positions, three turns that matter: (1/4)^3."""
    assert TableTeam(POSITIONS, None).opens(TURNS) == pytest.approx((1 / POSITIONS**2) ** (TURNS - 1))


def test_joint_critic_reaches_the_optimum(outcomes):
    """With most seeds, and far above all others."""
    chances, overall = outcomes["CoLLM-CC"]
    assert (chances > 0.95).mean() >= 0.8
    assert overall.low > 2 * max(other.high for name, (_, other) in outcomes.items() if name != "CoLLM-CC")


def test_local_critics_never_see_progress(outcomes):
    """One-step errors of local critics carry no signal before the last turn."""
    chances, overall = outcomes["CoLLM-DC"]
    assert overall.high < 0.2 and (chances > 0.5).mean() <= 0.1


@pytest.mark.parametrize("name", ["CoLLM-DC, lambda = 1", "MAGRPO"])
def test_returns_teach_slower(outcomes, name):
    """Returns do carry signal (the mean rises above the start of 0.016), buried in later turns and luck."""
    chances, overall = outcomes[name]
    assert overall.low > 0.016
    assert (chances > 0.95).mean() <= 0.2
