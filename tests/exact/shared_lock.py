"""The smallest problem in which only a joint critic sees whether the team is on its way, and a team of tables for it.

Two keyholders open a lock in a few turns: in every turn each turns its key to one of a few positions, and the lock
stays open if both take the right one, otherwise it is shut for good. Whether it is open still is told in two shares:
each share alone is a fair coin, the two together say it. After the last such turn comes one in which nothing can be
done any more and the team wins (+1) or loses (-1): mostly wins with an open lock, mostly loses with a shut one.

Agents remember nothing but what they are shown, so a local history tells nothing about the lock; a joint history does.
"""

from __future__ import annotations

import math
import random

import torch
from accelerate import Accelerator
from support.toy import NoData, team_settings

from collm.domains.base import Step, Task
from collm.llm.team import Response

ROWS = 64  # of a table, more than there are histories


class SharedLock(NoData):
    """`turns` turns, the last of which decides by luck; `positions` of a key, number 0 is right."""

    name = "shared_lock"
    roles = ("left", "right")
    max_reward = 1.0
    min_reward = -1.0

    def __init__(self, turns: int, positions: int, luck: float, seed: int):
        """`luck`: chance that an open lock loses and that a shut one wins."""
        super().__init__({}, "paper", 2)
        self.turns, self.positions, self.luck = turns, positions, luck
        self.dice = random.Random(f"dice {seed}")

    def start(self, task, seed):
        return {"open": True}

    def briefing(self, task, world):
        return self.shares(world)

    def shares(self, world: dict[str, bool]) -> tuple[int, int]:
        """Two fair coins, unequal if the lock is open."""
        coin = self.dice.randrange(2)
        return coin, coin ^ world["open"]

    def observe(self, task, agent, turn, history, feedback):
        return [{"role": "user", "content": f"turn {turn} share {feedback}"}]

    def step(self, task, turn, joint_action, world):
        if turn + 1 < self.turns:
            after = {"open": world["open"] and all(action == "0" for action in joint_action)}
            return Step({"luck": 0.0}, 0.0, {"score": 0.0}, self.shares(after), after, {})
        wins = world["open"] != (self.dice.random() < self.luck)
        reward = 1.0 if wins else -1.0
        return Step({"luck": reward}, reward, {"score": reward}, (None, None), world, {})

    def task(self, row, index):
        return Task("lock", self.name, {})

    def key(self, task):
        return task.id


class TableMember:
    """An agent (a row of logits per history) or a critic (a value per text)."""

    def __init__(self, name: str, *shape: int):
        self.name, self.table = name, torch.nn.Parameter(torch.zeros(*shape))
        self.learner = self

    def parameters(self):
        """As of a member of a team."""
        return [("table", self.table)]


class TableTeam:
    """What learner and rollout ask of a team, answered from tables; a text is a number, its place in them."""

    def __init__(self, positions: int, critics: str | None, agents: int = 2):
        self.accelerator = Accelerator(cpu=True)
        self.settings = team_settings()
        self.device = self.accelerator.device
        self.agents = [TableMember(f"agent_{i}", ROWS, positions) for i in range(agents)]
        names = {"joint": ["critic"], "local": [f"critic_{i}" for i in range(agents)]}.get(critics or "", [])
        self.critics = [TableMember(name, ROWS) for name in names]
        self.members = [*self.agents, *self.critics]
        self.places: dict[str, int] = {}

    def text_ids(self, critic: int, text: str) -> tuple[int]:
        """The place of a text, the next one if it is new."""
        return (self.places.setdefault(text, len(self.places)),)

    def fitted_prompt(self, agent, messages, reserve):
        return self.text_ids(agent, messages[0]["content"]), False

    def respond(self, requests, sampling, decode, max_rows):
        chances = [agent.table.detach().softmax(-1).tolist() for agent in self.agents]
        answers = []
        for agent, prompt, keys in requests:
            own = chances[agent][prompt[0]]
            actions = [random.Random(key).choices(range(len(own)), own)[0] for key in keys]
            answers.append([Response(str(a), (a,), prompt, math.log(own[a]), True, 0.0) for a in actions])
        return answers

    def logprobs(self, agent, pairs, entropy_gradient=False, reference=False, sampling=None):
        rows = self.agents[agent].table[[prompt[0] for prompt, _ in pairs]].log_softmax(-1)
        taken = torch.tensor([response[0] for _, response in pairs])
        entropy = -(rows.exp() * rows).sum(-1)
        return rows.gather(1, taken[:, None])[:, 0], entropy if entropy_gradient else entropy.detach()

    def values(self, critic, texts):
        return self.critics[critic].table[[text[0] for text in texts]]

    def opens(self, turns: int) -> float:
        """Exact chance that the lock is open after the last turn that matters."""
        left, right = (agent.table.detach().softmax(-1)[:, 0].tolist() for agent in self.agents)
        chance = 1.0
        for turn in range(turns - 1):
            rows = [self.text_ids(0, f"turn {turn} share {share}")[0] for share in (0, 1)]
            chance *= sum(left[rows[coin]] * right[rows[1 - coin]] for coin in (0, 1)) / 2
        return chance
