"""What methods read and what they hand on: the tree of episodes as they see it, and the signal of one rollout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Node(Protocol):
    """One decision of the team, as methods and critics see it (`collm.training.rollout.Node`).

    n agents, K responses each, J joint actions; its children continue joint actions. Nodes are compared by identity, so
    that they can be keys.
    """

    @property
    def task(self) -> Any:
        """The task that is worked on."""
        ...

    @property
    def turn(self) -> int:
        """Number of the turn, from 0."""
        ...

    @property
    def rewards(self) -> Sequence[float]:
        """r of every joint action, [J]."""
        ...

    @property
    def actions(self) -> Sequence[Sequence[int]]:
        """Which response every agent gives in a joint action, [J][agent] -> k."""
        ...

    @property
    def responses(self) -> Sequence[Sequence[Any]]:
        """Responses, [agent][k]."""
        ...

    @property
    def observations(self) -> Sequence[Sequence[Mapping[str, str]]]:
        """What every agent is shown, [agent][message]."""
        ...

    @property
    def prompts(self) -> Sequence[tuple[int, ...]]:
        """The same as token ids, [agent]."""
        ...

    @property
    def last_reward(self) -> float | None:
        """Of the turn before; None in the first."""
        ...

    @property
    def children(self) -> Sequence[Node | None]:
        """The node that follows each joint action, [J]; None where the episode ends."""
        ...

    def walk(self) -> Iterator[Node]:
        """This node and all below it, depth first."""
        ...


Sample = tuple[Node, int]  # a joint sample: a node and the number of a joint action there
Unit = tuple[Node, int | None]  # what a critic values: (node, None) a history (V), (node, j) a joint action there (Q)


@dataclass(frozen=True)
class Signal:
    """What a rollout teaches: the one thing that goes from a method to the learner.

    Attributes:
        advantages: [agent][joint sample], as they enter the policy loss.
        values: [critic][unit], what critics said before the first step on the rollout; empty without critics.
        targets: [critic][joint sample] where they are fixed at rollout (the released rule); None: every step takes them
            from the critics as they are then (Alg. 1 and 2).
    """

    advantages: Mapping[int, Mapping[Sample, float]]
    values: Mapping[int, Mapping[Unit, float]] = field(default_factory=dict)
    targets: Mapping[int, Mapping[Sample, float]] | None = None


def samples_of(nodes: Sequence[Node]) -> list[Sample]:
    """All joint samples of `nodes`, in order."""
    return [(node, j) for node in nodes for j in range(len(node.actions))]
