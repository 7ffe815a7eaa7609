"""HouseBuild: two builders fill boxes to raise a house while spiders bite (paper sections 6.1, E.3 and F.3).

Each turn both answer with `/fill` lines within their quotas, and with `/kill` if they want the spiders gone; builder
1's commands run first, builder 2's overwrite. The reward per profile is `house_world.reward_parts`. Choices of this
project where the sources differ or are silent:

* Spiders: profile `paper` draws their attacks from the seed of every episode, and `/damage` takes `player_attack` of
  a spider's `spider_health` (both numbers ours; where spiders stand plays no part). `released` draws the attacks once
  per run, from the option `spider_seed`. D is the sum of the attacks of the spiders that were not killed that turn.
* `world: reset` empties the world and brings all spiders back at every turn, as the released code does, and every
  prompt says so; `persistent` keeps blocks and dead spiders. Quotas restart every turn in both.
* The builders may use the blocks of the house's inventory.
* HP, inferred: 100 max(0, HP - D) / HP of the last turn.
* `target: layers` lists the house as the published prompts do; `boxes` gives the same cells as fewer boxes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError, DataError
from collm.domains import readers
from collm.domains.base import Demonstration, Domain, Exchange, Message, Metric, Question, RawRow, Step, Task
from collm.domains.building import house_expert, house_prompts
from collm.domains.building.house_cases import read_case
from collm.domains.building.house_feedback import MODES, feedback
from collm.domains.building.house_generator import SHAPES, further_houses
from collm.domains.building.house_rows import EMPTIEST, content_key, drawn, house_fields, house_of
from collm.domains.building.house_world import (
    Box,
    Counts,
    House,
    Orders,
    Rules,
    Spider,
    build,
    count,
    fight,
    parse_orders,
    quotas,
    reading_order,
    reward_parts,
    spider_share,
)
from collm.domains.building.letter_world import limits
from collm.domains.building.str_build_prompts import builders
from collm.domains.options import Option

WORLDS = ("reset", "persistent")
TARGETS = ("layers", "boxes")
WORDINGS = ("full", "brief")
HORIZON = 4
_PRACTICE = 4


class HouseBuild(Domain):
    """Agents build a house from a shared blueprint, with quotas of blocks, while spiders attack."""

    name = "house_build"
    title = "HouseBuild"
    licence = (
        "the ten published houses MIT, copyright (c) 2025 OpenMLRL (LLM_Collab_Minecraft), text: house_build.LICENSE; "
        "generated houses MIT (this project)"
    )
    hub = None
    team_sizes = None
    metrics = (
        Metric("hp", "HP", "%", higher_is_better=True),
        Metric("iou", "IoU", "%", higher_is_better=True),
        Metric("match", "Matching cells", "%", higher_is_better=True, in_table=False),
    )
    declared_options = (
        Option("feedback", "score", "Told between turns; resource_schedule needs limited_resource.", choices=MODES),
        Option("world", "reset", "reset: every turn starts afresh (released); persistent: all stays.", choices=WORLDS),
        Option(
            "target",
            "layers",
            "How prompts list the house: layers as published, or boxes, which is shorter.",
            choices=TARGETS,
        ),
        Option(
            "wording",
            "full",
            "brief: the boxes of all builders, spiders and one's last reply alone, for scratch models, which cannot "
            "read instructions; target, feedback and the two repeat_ options then change no prompt.",
            choices=WORDINGS,
        ),
        Option("repeat_prompt", True, "Follow-up prompts repeat the first prompt."),
        Option("repeat_response", True, "Follow-up prompts quote the agent's own last response."),
        Option("max_commands", 600, "Commands accepted per team and turn.", minimum=2),
        Option("limited_resource", True, "Quotas of blocks per agent and turn."),
        Option("player_hp", 5, "Health of the team, which spiders bite from.", minimum=1),
        Option("player_attack", 2, "Most health that one /damage takes from a spider (profile paper).", minimum=1),
        Option("spiders", 3, "Number of spiders.", minimum=0),
        Option("spider_attack", [1, 3], "Lowest and highest attack of a spider.", minimum=0, maximum=1000, length=2),
        Option("spider_health", 4, "Health of a spider.", minimum=1),
        Option("spider_seed", 42, "Seed of the attacks under profile released, drawn once per run.", minimum=0),
        Option("wrong_cells", 20, "Most cells that feedback lists.", minimum=1),
        Option("generated", 0, "Further houses from the seeded generator, never a published one.", minimum=0),
        Option(
            "shapes",
            "houses",
            "What is generated: houses like the published ones, or huts of two or three boxes.",
            choices=SHAPES,
        ),
        Option(
            "size",
            [3, 6],
            "Shortest and longest walls of generated houses, not of huts.",
            minimum=3,
            maximum=12,
            length=2,
        ),
    )

    def __init__(self, options: Mapping[str, Any], profile: str = "paper", num_agents: int = 2) -> None:
        super().__init__(options, profile, num_agents)
        self._check_values()
        self.roles = builders(num_agents)
        self.limits = limits(self.options["max_commands"], num_agents)
        self.max_reward = 1.0 if profile == "released" else 2.0
        if profile == "released":
            self.min_reward = -0.1 if num_agents > 1 else 0.0
        else:
            # Quotas allow one cell per agent (one agent: 1.5) and cell of the house; without them the box is the bound.
            bounded = self.options["limited_resource"] and self.options["world"] == "reset"
            allowed = max(float(num_agents), 1.5) if bounded else EMPTIEST - 1
            self.min_reward = -1.5 * min(allowed, EMPTIEST - 1) - 0.2

    @property
    def slices(self) -> dict[str, tuple[str, str]]:
        """Default (train, test) slices: eight of the published houses and the generated ones train, two test."""
        train = "paper[0:8]+generated" if self.options["generated"] else "paper[0:8]"
        return {"embedded": (train, "paper[8:10]"), "path": (train, "paper[8:10]")}

    def _check_values(self) -> None:
        for key in ("spider_attack", "size"):
            pair, option = self.options[key], self.option(key)
            bad = len(pair) != 2 or any(type(n) is not int or not option.within(n) for n in pair)
            if bad or pair[0] > pair[1]:
                expected = f"[low, high] with {option.minimum} <= low <= high <= {option.maximum}"
                raise ConfigError(f"domain.house_build.options.{key}: {pair!r} is not {expected}")
        if self.options["feedback"] == "resource_schedule" and not self.options["limited_resource"]:
            raise ConfigError(
                "domain.house_build.options.feedback: resource_schedule lists what quotas leave; set limited_resource "
                "to true or choose another feedback"
            )

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """Split `paper`: the ten published houses in file order; split `generated`: further ones, none of those."""
        return self._with_generated(list(readers.embedded_rows("house_build.json")), seed)

    def read(self, folder: Path, seed: int = 0) -> dict[str, list[RawRow]]:
        """`folder`/house_build/data.json (a list of houses) as split `paper`, and the generated houses."""
        rows = readers.read_splits(self.name, folder, {"paper": ("house_build/data.json",)})["paper"]
        return self._with_generated(rows, seed)

    def _with_generated(self, rows: list[RawRow], seed: int) -> dict[str, list[RawRow]]:
        splits = {"paper": rows}
        if self.options["generated"]:
            published = [] if not rows else readers.embedded_rows("house_build.json")
            taken = {content_key(house_of(house_fields(row))) for row in (*published, *rows)}
            shape = self.options["shapes"]
            houses = further_houses(seed, self.options["generated"], self.options["size"], taken, shape)
            splits["generated"] = [RawRow(house, f"generated:{n}") for n, house in enumerate(houses, start=1)]
        return splits

    def hub_rows(self, split: str, rows: Iterable[dict[str, Any]]) -> list[RawRow]:
        """There is no hub set: always DataError."""
        raise DataError("house_build has no data set on the hub; set data.source to embedded or path")

    def task(self, row: RawRow, index: int) -> Task:
        """One house in the published schema (see `house_rows`); its id is the row's own task_id."""
        fields = house_fields(row)
        return Task(fields["name"], self.name, fields)

    def asked(self, text: str) -> Question:
        """A drawn house, see `house_rows.drawn`."""
        return Question(self.task(RawRow(drawn(text), "the question"), 0))

    def key(self, task: Task) -> str:
        """The blocks of all cells: houses that differ by name or variant only are the same."""
        return content_key(self.house(task))

    def house(self, task: Task) -> House:
        """The target of a task."""
        return house_of(task.fields)

    def quotas(self, house: House) -> dict[str, int] | None:
        """Cells of each block that one agent may fill in a turn; None without limited_resource."""
        return quotas(house, self.num_agents) if self.options["limited_resource"] else None

    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Exchange], feedback: Any) -> list[Message]:
        """System text and one user text; from the second turn on with the turn number, the feedback and, by option,
        the task and the agent's own last response. `feedback` None: the attacks are known as a range only.
        """
        house = self.house(task)
        role = self._role(agent, house)
        if feedback is None and self.profile == "released":
            feedback = {"spiders": self._drawn(self.options["spider_seed"])}
        if self.options["wording"] == "brief":
            response = self._last_response(task, turn, history) if turn else None
            text = house_prompts.brief(self._shared_out(house), role, feedback, turn, response)
            return [{"role": "user", "content": text}]
        text = house_prompts.task_text(house, role, feedback)
        if turn:
            response = self._last_response(task, turn, history)
            original = text if self.options["repeat_prompt"] else None
            quoted = response if self.options["repeat_response"] else None
            text = house_prompts.follow_up(house, role, turn, feedback, original, quoted)
        return [{"role": "system", "content": house_prompts.SYSTEM}, {"role": "user", "content": text}]

    def _shared_out(self, house: House) -> list[Box]:
        """The house as boxes that the quotas let one builder fill, in reading order."""
        planned = house_expert.plan(house, self.num_agents, self.quotas(house))
        return sorted((box for share in planned for box in share), key=reading_order)

    def _role(self, agent: int, house: House) -> house_prompts.Role:
        return house_prompts.Role(
            agent=agent,
            agents=self.num_agents,
            limit=self.limits[agent],
            quotas=self.quotas(house),
            persistent=self.options["world"] == "persistent",
            target=self.options["target"],
            player_hp=self.options["player_hp"],
            player_attack=self.options["player_attack"] if self.profile == "paper" else 0,
            attack_range=tuple(self.options["spider_attack"]),
            spiders=self.options["spiders"],
        )

    def _drawn(self, seed: int) -> list[Spider]:
        rng = random.Random(seed)
        attacks = [rng.randint(*self.options["spider_attack"]) for _ in range(self.options["spiders"])]
        return [(attack, self.options["spider_health"]) for attack in attacks]

    def start(self, task: Task, seed: int) -> dict[str, Any]:
        """No blocks, and the spiders as [attack, health]; "fresh" are those that a reset brings back."""
        drawn = self._drawn(self.options["spider_seed"] if self.profile == "released" else seed)
        spiders = [list(spider) for spider in drawn]
        return {"cells": [], "spiders": spiders, "fresh": spiders}

    def briefing(self, task: Task, world: Any) -> tuple[dict[str, Any], ...]:
        """All agents are told the spiders of the episode."""
        return tuple({"spiders": world["spiders"]} for _ in self.roles)

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Run the commands of all agents in order, then let the living spiders bite, and score what stands."""
        texts = self.check_joint_action(joint_action)
        house = self.house(task)
        rules = [self._rules(house, limit) for limit in self.limits]
        team = [parse_orders(text, house, allowed) for text, allowed in zip(texts, rules, strict=True)]
        built = {(x, y, z): block for x, y, z, block in world["cells"]}
        for orders in team:
            built = build(built, orders.fills)
        alive = fight(world["spiders"], team)
        damage = sum(attack for attack, _ in alive)
        counts = count(house, built)
        share = spider_share(damage, self.options["player_hp"])
        parts = reward_parts(counts, share, self.profile, self.num_agents)
        reward = sum(parts.values())
        persistent = self.options["world"] == "persistent"
        cells = [[*cell, block] for cell, block in sorted(built.items())]
        after = {
            "cells": cells if persistent else [],
            "spiders": [list(spider) for spider in alive] if persistent else world["fresh"],
            "fresh": world["fresh"],
        }
        hp = 100.0 * max(0.0, 1.0 - damage / self.options["player_hp"])
        metrics = {"hp": hp, "iou": 100.0 * counts.iou, "match": 100.0 * counts.match}
        messages = tuple(
            {"spiders": after["spiders"], "mode": self.options["feedback"], **message}
            for message in feedback(self.options, house, built, team, self.quotas(house), (reward, self.max_reward))
        )
        return Step(parts, reward, metrics, messages, after, self._record(house, cells, team, world, alive))

    def understands(self, task: Task, agent: int, answer: str) -> bool:
        """Whether one of its lines is a command that the world accepts."""
        house = self.house(task)
        return bool(parse_orders(answer, house, self._rules(house, self.limits[agent])).lines)

    def _rules(self, house: House, limit: int) -> Rules:
        damage = self.options["player_attack"] if self.profile == "paper" else 0
        return Rules(frozenset(house.inventory), limit, self.quotas(house), damage)

    def _record(
        self, house: House, cells: list[Any], team: Sequence[Orders], world: Any, alive: Sequence[Spider]
    ) -> dict[str, Any]:
        """What pictures and readers need; cells are [x, y, z, block], sizes along x, y, z.

        `filled` are every agent's accepted fills in order, [x, y, z, x, y, z, block]; air clears. `spiders` are those
        that live on, [attack, health].
        """
        return {
            "targets": [[*cell, block] for cell, block in house.solid],
            "built": cells,
            "from": list(house.low),
            "size": [high - low + 1 for low, high in zip(house.low, house.high, strict=True)],
            "accepted": [len(orders.lines) for orders in team],
            "rejected": [orders.rejected for orders in team],
            "attacks": [attack for attack, _ in world["spiders"]],
            "alive": len(alive),
            "filled": [[[*box.low, *box.high, box.block] for box in orders.fills] for orders in team],
            "kills": [orders.kill for orders in team],
            "hits": [list(orders.hits) for orders in team],
            "spiders": [list(spider) for spider in alive],
        }

    def demonstrations(self, task: Task, rng: random.Random, noise: float) -> list[Demonstration]:
        """An episode of four turns by scripted builders that keep the quotas: one example per agent and turn, in
        playing order. Builder 1 sends the `/kill`. The plan is the same at every turn: the prompts ask for all of it.
        """
        house = self.house(task)
        planned = house_expert.plan(house, self.num_agents, self.quotas(house))

        def answer(turn: int, agent: int, world: Any) -> str:
            kills = agent == 0 and bool(world["spiders"])
            return house_expert.answer(planned[agent], kills, house, self.limits[agent], rng, noise)

        return self.scripted_episode(task, HORIZON, self.start(task, rng.getrandbits(32)), answer)

    def corpus(self, task: Task, rng: random.Random) -> list[str]:
        """The drawn layers, the house as boxes and as layers, and boxes of it as commands, shuffled.

        With brief wording only what builders are asked and answer, under spiders of four draws.
        """
        house = self.house(task)
        if self.options["wording"] == "brief":
            return [text for _ in range(_PRACTICE) for text in self._practice(house, self._drawn(rng.getrandbits(32)))]
        legend = ", ".join(f"{letter} {block}" for letter, block in task.fields["inventory"].items())
        drawn = "\n".join(f"y={house.low[1] + y}\n" + "\n".join(rows) for y, rows in enumerate(task.fields["layers"]))
        boxes = house_prompts.target_text(house, "boxes").splitlines()
        rng.shuffle(boxes)
        drills = "\n\n".join(f"{box}\n/fill {box}" for box in boxes)
        return [f"{legend}\n{drawn}", *(house_prompts.target_text(house, target) for target in TARGETS), drills]

    def _practice(self, house: House, spiders: Sequence[Spider]) -> list[str]:
        """What each builder is asked and answers for a house."""
        told = {"spiders": spiders}
        texts = []
        for agent, planned in enumerate(house_expert.plan(house, self.num_agents, self.quotas(house))):
            asked = house_prompts.brief(self._shared_out(house), self._role(agent, house), told)
            kills = [house_expert.KILL] if agent == 0 and spiders else []
            texts.append(asked + "\n".join([*kills, *(f"/fill {box}" for box in planned)]))
        return texts

    def score_case(self, inputs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Score a case that brings its own house, blocks, limits, spiders and number of agents."""
        case = read_case(inputs, self.options["player_attack"] if self.profile == "paper" else 0)
        team = [parse_orders(text, case.house, rules) for text, rules in zip(case.texts, case.rules, strict=True)]
        built: dict[Any, str] = {}
        for orders in team:
            built = build(built, orders.fills)
        alive = fight([(attack, self.options["spider_health"]) for attack in case.attacks], team)
        share = spider_share(sum(attack for attack, _ in alive), case.player_hp)
        counts = count(case.house, built)
        parts = reward_parts(counts, share, self.profile, len(team))
        components = {**parts, **_components(counts, parts)}
        components |= {
            "killed": any(orders.kill for orders in team),
            "spider_total_damage": float(sum(case.attacks)),
            "accepted": [len(orders.lines) for orders in team],
            "rejected": [orders.rejected for orders in team],
            "resource_limits_per_agent": case.rules[0].quotas,
        }
        return sum(parts.values()), components


def _components(counts: Counts, parts: Mapping[str, float]) -> dict[str, Any]:
    return {
        "match_correct": counts.matching,
        "match_total": counts.cells,
        "score_match": counts.match,
        "solid_total": counts.solid,
        "covered": counts.covered,
        "extra_blocks": counts.extra,
        "iou": counts.iou,
        "spider_penalty": 0.0 - parts["spiders"],
    }
