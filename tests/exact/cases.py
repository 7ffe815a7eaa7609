"""Everything that can happen in the small world, with its probability: all episodes, all groups, all trees."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from exact_values import Exact, PaidLast
from expectation import Table, fill, make_learner, probabilities, relative
from small_world import ScriptedRollout, SmallWorld, chains, everything, groups, make_team

EXACT = {"every_turn": Exact, "last_turn": PaidLast}  # by `rollout.reward`


class Case:
    """A team in a small world with all its episodes, and its learner.

    `forest` plays every joint action of every history once, in one tree per task: enough for what looks one turn
    ahead. Otherwise every episode is a tree of its own, as with one sample per prompt (K = 1). `paid` is
    `rollout.reward`.
    """

    def __init__(
        self,
        folder,
        place,
        method,
        turns=2,
        longest=1,
        dense=True,
        agents=2,
        gamma=1.0,
        forest=False,
        paid="every_turn",
        **changes,
    ):
        critics = {"collm_cc": "joint", "collm_dc": "local", "ac": "local"}.get(method)
        self.team = make_team(folder, critics, agents=agents, longest=longest)
        self.domain = SmallWorld(turns, longest, dense, agents)
        self.exact = EXACT[paid](self.team, self.domain, longest, gamma)
        self.table = Table(self.team)
        self.learner = make_learner(self.team, method, place, turns, gamma, **changes)
        if forest:
            script = everything(len(self.domain.texts), agents)
            tasks = self.domain.tasks()
        else:
            episodes = self.exact.histories(turns)
            tasks = [task for task, _ in episodes]
            script = chains(self.exact, [path for _, path in episodes])
        rollout = ScriptedRollout(self.team, self.domain, longest, script, reward=paid)
        self.nodes = rollout.play(tasks, list(range(len(tasks)))).nodes()
        self.weights = probabilities(self.exact, self.nodes)
        objective = self.exact.objective()
        self.gradient = {f"agent_{i}": self.exact.gradient(i, objective) for i in range(agents)}

    def filled(self):
        """With exact values as critics."""
        fill(self.table, self.learner, self.exact, self.nodes)
        return self

    def arbitrary(self, seed=0):
        """With random numbers as critics."""
        draw = torch.Generator().manual_seed(seed)
        self.table.start = lambda: torch.randn((), generator=draw).item()
        return self

    def errors(self):
        """Relative error of the expected gradient, per agent."""
        gradients = self.learner.gradients(self.nodes, self.weights)
        return [relative(gradients[name], expected) for name, expected in self.gradient.items()]


def orders(group):
    """In how many orders the members of a group can be drawn."""
    count = math.factorial(len(group))
    for member in set(group):
        count //= math.factorial(group.count(member))
    return count


def trees(exact, turns, copies):
    """All trees of `copies` joint actions per node up to their order: (task, script by path, probability)."""
    joint = range(len(exact.joint))

    def below(task, path, depth, place):
        chances = exact.log_joint(task, path).exp().tolist()
        for group in itertools.combinations_with_replacement(joint, copies):
            chance = float(orders(group))
            for j in group:
                chance *= chances[j]
            actions = [exact.joint[j] for j in group]
            if depth == turns:
                yield {place: actions}, chance
                continue
            branches = [list(below(task, (*path, j), depth + 1, (*place, k))) for k, j in enumerate(group)]
            for combination in itertools.product(*branches):
                script, total = {place: actions}, chance
                for part, share in combination:
                    script, total = script | part, total * share
                yield script, total

    for task in exact.domain.tasks():
        for script, chance in below(task, (), 1, ()):
            yield task, script, chance / len(exact.domain.tasks())


class Groups:
    """Every tree of K aligned samples that can be drawn, with its probability."""

    def __init__(
        self,
        folder,
        place,
        method,
        turns,
        copies,
        agents=2,
        longest=1,
        drawn=None,
        scored=None,
        paid="every_turn",
        **changes,
    ):
        """`drawn`: how responses are sampled; `scored`: what the learner is told of it; None: the plain softmax."""
        self.team = make_team(folder, agents=agents, longest=longest)
        self.domain = SmallWorld(turns, longest, num_agents=agents)
        self.exact = EXACT[paid](self.team, self.domain, longest, sampling=drawn)
        self.learner = make_learner(self.team, method, place, turns, sampling=scored, **changes)
        drawn = list(trees(self.exact, turns, copies))
        scripts = {seed: script for seed, (_, script, _) in enumerate(drawn)}
        rollout = ScriptedRollout(self.team, self.domain, longest, groups(scripts), reward=paid)
        self.roots = rollout.play([task for task, _, _ in drawn], list(scripts)).roots
        self.chances = [chance for _, _, chance in drawn]
        assert sum(self.chances) == pytest.approx(1.0)

    def expected(self, turn=None):
        """Expected gradient of the samples of a turn (None: of all, one mean over a tree as in a minibatch)."""
        weights, nodes = {}, []
        for root, chance in zip(self.roots, self.chances, strict=True):
            own = [node for node in root.walk() if turn is None or node.turn == turn]
            count = sum(len(node.actions) for node in own)
            weights |= {(node, j): chance / count for node in own for j in range(len(node.actions))}
            nodes += list(root.walk())
        return self.learner.gradients(nodes, weights)
