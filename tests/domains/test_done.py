"""A step that says `done` ends its branch and no other."""

from types import SimpleNamespace

import pytest

from collm.config.job import RolloutConfig
from collm.domains.base import Step, Task
from collm.methods import monte_carlo
from collm.training.rollout import Rollout

SETTINGS = RolloutConfig(
    turns=3,
    generations=2,
    max_new_tokens=4,
    temperature=1.0,
    top_p=1.0,
    top_k=None,
    discount=1.0,
    reward="every_turn",
    reward_scale=1.0,
    reward_shift=0.0,
    early_stop=None,
    decode="mixed",
    max_rows=64,
    joint_mode="aligned",
    cache="growing",
    backend="transformers",
    vllm_memory=0.3,
)


class Words:
    """A stand-in for a team: response k is the word of that number."""

    def fitted_prompt(self, agent, messages, reserve):
        return (1,), False

    def respond(self, requests, sampling, decode, max_rows):
        return [
            [SimpleNamespace(text=word, tokens=(0,)) for word, _ in zip(("stop", "go"), keys, strict=False)]
            for _, _, keys in requests
        ]


class StopOrGo:
    """One agent; the word stop ends an episode."""

    num_agents = 1
    metrics = ()
    parts = {}

    def observe(self, task, agent, turn, history, feedback):
        return [{"role": "user", "content": f"turn {turn}"}]

    def start(self, task, seed):
        return None

    def briefing(self, task, world):
        return (None,)

    def step(self, task, turn, joint_action, world):
        return Step({"all": 1.0}, 1.0, {}, (None,), None, {}, done=joint_action == ["stop"])

    def steps(self, moves):
        return [self.step(move.task, move.turn, move.joint_action, move.world) for move in moves]


@pytest.mark.parametrize("node_stop", [False, True])
def test_a_step_that_is_done_ends_its_branch_only(node_stop):
    played = Rollout(Words(), StopOrGo(), SETTINGS, node_stop).play([Task("t", "toy", {})], [0])
    nodes = played.nodes()
    assert [node.turn for node in nodes] == [0, 1, 2]
    assert [[child is None for child in node.children] for node in nodes] == [[True, False], [True, False], [True] * 2]
    assert monte_carlo.G(nodes[0], 1.0) == [1.0, 2.5]  # the child: 1 or 1 + 1


def test_steps_go_on_by_default():
    assert Step({}, 0.0, {}, (), None, {}).done is False
