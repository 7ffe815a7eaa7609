"""Episodes as a forest: a node is one turn of one branch of one task, its children continue its joint actions.

All nodes of a turn, over tasks, agents and responses, are decoded together. One agent's prompt is made from the
task, its own past and what the environment tells it: no argument carries another agent's text.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collm.common import clock
from collm.common.seeds import derive
from collm.config.job import RolloutConfig
from collm.domains import contract
from collm.domains.base import Domain, Exchange, Message, Move, Step, Task
from collm.llm.sampling import Sampling
from collm.llm.team import Response, Team
from collm.training import nonfinite


@dataclass(eq=False)
class Node:
    """One decision of the team: n agents, K responses each, J joint actions of one response per agent.

    Nodes are compared by identity, so that they can be keys.
    """

    task: Task
    turn: int
    path: tuple[int, ...]  # joint actions that led here from the root
    seed: int  # of the episode
    world: Any
    observations: list[list[Message]]  # [agent]
    histories: list[tuple[Exchange, ...]]  # [agent] its own exchanges only
    last_reward: float | None  # paid for the turn before, scaled and shifted
    prompts: list[tuple[int, ...]] = field(default_factory=list)  # [agent] token ids
    responses: list[list[Response]] = field(default_factory=list)  # [agent][k]
    actions: list[tuple[int, ...]] = field(default_factory=list)  # [joint action][agent] -> k
    steps: list[Step] = field(default_factory=list)  # [joint action]
    rewards: list[float] = field(default_factory=list)  # [joint action] paid, scaled and shifted (`rollout.reward`)
    children: list[Node | None] = field(default_factory=list)  # [joint action]
    drafts: list[Response] = field(default_factory=list)  # [agent] what a discussion exchanges first
    cut: set[int] = field(default_factory=set)  # agents whose prompt was cut to fit

    def joint_actions(self) -> list[list[str]]:
        """The texts of every joint action, [J][agent]."""
        return [[self.responses[agent][k].text for agent, k in enumerate(action)] for action in self.actions]

    def walk(self) -> Iterator[Node]:
        """This node and all below it, depth first."""
        yield self
        for child in self.children:
            if child is not None:
                yield from child.walk()


@dataclass(frozen=True)
class Played:
    """A forest with what it cost."""

    roots: list[Node]
    tokens: int
    seconds: float
    reward_seconds: float

    def nodes(self) -> list[Node]:
        """All nodes, tree by tree, depth first."""
        return [node for root in self.roots for node in root.walk()]

    @classmethod
    def joined(cls, parts: Sequence[Played]) -> Played:
        """Forests that were played side by side as one; the slowest counts."""
        roots = [root for part in parts for root in part.roots]
        seconds, rewards = max(part.seconds for part in parts), max(part.reward_seconds for part in parts)
        return cls(roots, sum(part.tokens for part in parts), seconds, rewards)


def joint_actions(copies: int, agents: int, mode: str) -> list[tuple[int, ...]]:
    """Which response every agent contributes to each joint action of a node.

    aligned: K joint actions, the k-th of every agent's k-th response; cross: all K^n, the first agent's slowest.
    """
    if mode == "cross":
        return list(itertools.product(range(copies), repeat=agents))
    return [(k,) * agents for k in range(copies)]


def fault_shares(domain: Domain, nodes: Sequence[Node]) -> dict[str, float]:
    """Shares of responses that are no answers, under "empty/agent_i", "unparsed/agent_i" (see `Domain.fault`) and
    "invalid/agent_i": those, and the ones that had not ended."""
    shares: dict[str, float] = {}
    for agent in range(len(nodes[0].prompts)):
        said = [(node.task, response) for node in nodes for response in node.responses[agent]]
        faults = [domain.fault(task, agent, response.text) for task, response in said]
        bad = [fault is not None or not response.ended for fault, (_, response) in zip(faults, said, strict=True)]
        counts = {"empty": faults.count("empty"), "unparsed": faults.count("unparsed"), "invalid": bad.count(True)}
        shares |= {f"{kind}/agent_{agent}": count / len(said) for kind, count in counts.items()}
    return shares


def cut_shares(nodes: Sequence[Node]) -> dict[str, float]:
    """Shares of what was cut, under "cut_prompts/agent_i" and "cut_responses/agent_i".

    A prompt is cut if it was too long, a response if it had not ended after `rollout.max_new_tokens`.
    """
    shares: dict[str, float] = {}
    for agent in range(len(nodes[0].prompts)):
        shares[f"cut_prompts/agent_{agent}"] = sum(agent in node.cut for node in nodes) / len(nodes)
    for agent in range(len(nodes[0].prompts)):
        ended = [response.ended for node in nodes for response in (*node.responses[agent], *node.drafts[agent:][:1])]
        shares[f"cut_responses/agent_{agent}"] = ended.count(False) / len(ended)
    return shares


class Rollout:
    """Plays episodes of one domain with one team."""

    def __init__(
        self,
        team: Team,
        domain: Domain,
        settings: RolloutConfig,
        node_stop: bool = False,
        evidence: Path | None = None,
    ):
        """`node_stop`: a node stops as a whole on its mean reward (released) instead of branch by branch.

        `evidence` is the file for the texts behind a reward that is NaN or infinite.
        """
        self.team, self.domain, self.settings, self.node_stop = team, domain, settings, node_stop
        self.evidence = evidence
        self._seen: set[int] = set()  # turns of which a step was checked against the contract
        self.sampling = Sampling(settings.max_new_tokens, settings.temperature, settings.top_p, settings.top_k)

    def play(
        self,
        tasks: Sequence[Task],
        seeds: Sequence[int],
        generations: int | None = None,
    ) -> Played:
        """Play every task of `tasks` from a fresh world.

        Args:
            tasks: one root node each (a task may occur several times).
            seeds: of the episodes, one per task; all randomness comes from them.
            generations: responses K per agent and prompt, default from the settings.
        Raises:
            NonFiniteReward: the domain scored a joint action with NaN or infinity; its texts are in `evidence`.
            ContractError: the first step of a turn is not what every domain owes (`contract.check_step`).
        """
        started = clock.now()
        copies = generations or self.settings.generations
        roots = [self._root(task, seed) for task, seed in zip(tasks, seeds, strict=True)]
        frontier, tokens, reward_seconds = roots, 0, 0.0
        for _ in range(self.settings.turns if roots else 0):
            tokens += self._respond(frontier, copies)
            before = time.perf_counter()
            self._score(frontier)
            frontier = [child for node in frontier for child in self._advance(node)]
            reward_seconds += time.perf_counter() - before
            if not frontier:
                break
        return Played(roots, tokens, clock.now() - started, reward_seconds)

    def seconds(self, node: Node) -> float:
        """What a user waits for a node's answers if every agent runs on a machine like this one: the slowest agent."""
        return max(group[0].seconds for group in node.responses)

    def _root(self, task: Task, seed: int) -> Node:
        world = self.domain.start(task, seed)
        briefings = self.domain.briefing(task, world)
        observations = [self.domain.observe(task, agent, 0, (), feedback) for agent, feedback in enumerate(briefings)]
        return Node(task, 0, (), seed, world, observations, [() for _ in briefings], None)

    def _respond(self, nodes: Sequence[Node], copies: int) -> int:
        requests = []
        for node in nodes:
            node.prompts = [self._prompt(node, agent, messages) for agent, messages in enumerate(node.observations)]
            for agent, prompt in enumerate(node.prompts):
                keys = [derive(node.seed, *node.path, "agent", agent, "response", k) for k in range(copies)]
                requests.append((agent, prompt, keys))
        answers = iter(self.team.respond(requests, self.sampling, self.settings.decode, self.settings.max_rows))
        for node in nodes:
            node.responses = [next(answers) for _ in node.prompts]
            node.actions = joint_actions(copies, len(node.prompts), self.settings.joint_mode)
        return sum(len(r.tokens) for node in nodes for group in node.responses for r in group)

    def _prompt(self, node: Node, agent: int, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of an agent's prompt; the node remembers whether it was cut."""
        ids, cut = self.team.fitted_prompt(agent, messages, self.settings.max_new_tokens)
        if cut:
            node.cut.add(agent)
        return ids

    def _score(self, nodes: Sequence[Node]) -> None:
        """Score the joint actions of all nodes together."""
        moves = [Move(node.task, node.turn, joint, node.world) for node in nodes for joint in node.joint_actions()]
        steps = iter(self.domain.steps(moves))
        for node in nodes:
            node.steps = [self._checked(node, joint, next(steps)) for joint in node.joint_actions()]

    def _advance(self, node: Node) -> list[Node]:
        """Pay the joint actions of a node, which are scored, and make the nodes that follow."""
        scale, shift = self.settings.reward_scale, self.settings.reward_shift
        earned = [scale * step.reward + shift for step in node.steps]
        goes_on = self._goes_on(node, earned)
        unpaid = goes_on if self.settings.reward == "last_turn" else [False] * len(earned)
        node.rewards = [0.0 if waits else reward for reward, waits in zip(earned, unpaid, strict=True)]
        texts = enumerate(node.joint_actions())
        node.children = [self._child(node, j, joint) if goes_on[j] else None for j, joint in texts]
        return [child for child in node.children if child is not None]

    def _goes_on(self, node: Node, earned: Sequence[float]) -> list[bool]:
        """Whether a turn follows each joint action, [J]; whatever is paid, episodes stop on what a turn earned."""
        if node.turn + 1 >= self.settings.turns:
            return [False] * len(earned)
        mean = sum(earned) / len(earned)
        stops = [self._stops(mean if self.node_stop else reward) for reward in earned]
        return [not (step.done or stopped) for step, stopped in zip(node.steps, stops, strict=True)]

    def _checked(self, node: Node, joint: Sequence[str], step: Step) -> Step:
        wrong = nonfinite.check_step(step)
        if wrong is not None:
            nonfinite.refuse_step(wrong, node.task.id, node.turn, node.observations, joint, step, self.evidence)
        if node.turn not in self._seen:
            self._seen.add(node.turn)
            contract.check_step(self.domain, step)
        return step

    def _stops(self, reward: float) -> bool:
        return self.settings.early_stop is not None and reward > self.settings.early_stop

    def _child(self, node: Node, j: int, joint: Sequence[str]) -> Node:
        step = node.steps[j]
        histories = [
            (*node.histories[agent], Exchange(tuple(node.observations[agent]), text))
            for agent, text in enumerate(joint)
        ]
        observations = [
            self.domain.observe(node.task, agent, node.turn + 1, history, step.feedback[agent])
            for agent, history in enumerate(histories)
        ]
        return Node(
            node.task, node.turn + 1, (*node.path, j), node.seed, step.world, observations, histories, node.rewards[j]
        )
