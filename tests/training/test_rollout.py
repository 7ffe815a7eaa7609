"""Episodes as a forest: shape, order, repeatability, stopping, and that agents never read each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.toy import Toy, make_team, play, rollout_settings, tasks

from collm import domains
from collm.common.seeds import derive
from collm.domains.base import Task
from collm.methods import monte_carlo
from collm.training.rollout import Rollout

STR_BUILD = {
    "feedback": "position",
    "world": "reset",
    "show_grid": False,
    "repeat_prompt": True,
    "repeat_response": True,
    "spacing": 0,
    "max_commands": 300,
    "generated": 0,
    "difficulty": [1],
}


@pytest.fixture(scope="module")
def team(models_folder):
    return make_team(models_folder)


def texts(nodes):
    return [(n.task.id, n.path, [[r.text for r in group] for group in n.responses], n.rewards) for n in nodes]


@pytest.mark.parametrize(
    ("copies", "turns", "nodes", "joint", "order"),
    [(2, 4, 15, 30, [0, 1, 2, 3, 3, 2, 3, 3, 1, 2, 3, 3, 2, 3, 3]), (4, 2, 5, 20, [0, 1, 1, 1, 1]), (3, 1, 1, 3, [0])],
)
def test_tree(team, copies, turns, nodes, joint, order):
    forest = play(team, count=1, generations=copies, turns=turns, max_new_tokens=3)
    assert len(forest) == nodes
    assert [node.turn for node in forest] == order
    assert sum(len(node.actions) for node in forest) == sum(len(node.rewards) for node in forest) == joint
    for node in forest:
        assert node.actions == [(k, k) for k in range(copies)]
        assert [len(group) for group in node.responses] == [copies, copies]
        assert len(node.path) == node.turn
    assert len({node.path for node in forest}) == nodes


def test_rewards_follow_the_texts_scaled_and_shifted(team):
    toy = Toy({})
    plain, moved = (play(team, turns=2, generations=2, **c) for c in ({}, {"reward_scale": 2.0, "reward_shift": -1.0}))
    for one, two in zip(plain, moved, strict=True):
        for j, action in enumerate(one.actions):
            texts = [one.responses[agent][k].text for agent, k in enumerate(action)]
            raw = toy.step(one.task, one.turn, texts, None).reward
            assert one.rewards[j] == pytest.approx(raw)
            assert two.rewards[j] == pytest.approx(2 * raw - 1)
            assert two.steps[j].reward == pytest.approx(raw)
    by_path = {(n.task.id, n.path): n for n in moved}
    for node in moved:
        if node.path:
            assert node.last_reward == by_path[node.task.id, node.path[:-1]].rewards[node.path[-1]]
        else:
            assert node.last_reward is None


def test_returns_of_a_played_tree(team):
    root = play(team, count=1, turns=2, generations=2)[0]
    below = [sum(child.rewards) / 2 for child in root.children]
    assert monte_carlo.G(root, 0.9) == pytest.approx([r + 0.9 * b for r, b in zip(root.rewards, below, strict=True)])


def test_a_child_continues_its_own_branch(team):
    for node in play(team, count=2, turns=3, generations=2):
        for j, child in enumerate(node.children):
            for agent in (0, 1):
                if child is None:
                    continue
                response = node.responses[agent][j].text
                assert [e.response for e in child.histories[agent]] == [
                    *[e.response for e in node.histories[agent]],
                    response,
                ]
                assert response in child.observations[agent][0]["content"]
                assert f"turn {node.turn + 1}, told" in child.observations[agent][0]["content"]
                assert child.world == {"turns": node.turn + 1}


def test_prompt_tokens_are_kept_with_the_response(team):
    for node in play(team, turns=2):
        for agent in (0, 1):
            assert node.responses[agent][0].prompt == node.prompts[agent]
            assert node.prompts[agent] == team.prompt(agent, node.observations[agent], 6)


# repeatable


def test_same_seeds_same_forest(team):
    assert texts(play(team, turns=2, generations=2)) == texts(play(team, turns=2, generations=2))
    first, second = (texts(play(team, count=1, seed=seed))[0][2] for seed in (0, 1))
    assert first != second


def test_an_episode_does_not_depend_on_the_others(team):
    rollout = Rollout(team, Toy({}), rollout_settings(turns=2, generations=2))
    seeds = [derive("e", i) for i in range(4)]
    together = rollout.play(tasks(4), seeds).nodes()
    alone = [node for t, s in zip(tasks(4), seeds, strict=True) for node in rollout.play([t], [s]).nodes()]
    assert texts(together) == texts(alone)
    backwards = rollout.play(tasks(4)[::-1], seeds[::-1])
    assert texts([n for root in backwards.roots[::-1] for n in root.walk()]) == texts(together)


def test_same_task_twice_is_two_episodes(team):
    rollout = Rollout(team, Toy({}), rollout_settings())
    one, two = rollout.play([tasks(1)[0]] * 2, [1, 2]).roots
    assert one.responses[0][0].tokens != two.responses[0][0].tokens


def test_tokens_are_counted(team):
    rollout = Rollout(team, Toy({}), rollout_settings(turns=2, generations=2))
    played = rollout.play(tasks(3), [1, 2, 3])
    assert played.tokens == sum(len(r.tokens) for n in played.nodes() for group in n.responses for r in group) > 0


# stopping


def test_branches_stop_one_by_one_or_with_their_node(team):
    every = play(team, count=6, turns=2, generations=2)
    roots = [node for node in every if node.turn == 0]
    mixed = next(r for r in roots if r.rewards[0] != r.rewards[1])
    low, high = sorted(mixed.rewards)
    place = roots.index(mixed)
    for threshold, node_stop, children in [
        ((low + high) / 2 - 1e-6, False, 1),  # one branch is above
        ((low + high) / 2 - 1e-6, True, 0),  # the mean is above
        ((low + high) / 2 + 1e-6, True, 2),  # the mean is below, though one branch is above
        (high, False, 2),  # strictly greater only
        (low, False, 1),
    ]:
        forest = play(team, count=6, turns=2, generations=2, early_stop=threshold, node_stop=node_stop)
        root = [node for node in forest if node.turn == 0][place]
        assert root.rewards == mixed.rewards
        assert sum(child is not None for child in root.children) == children
        if children == 1:
            assert root.children[mixed.rewards.index(high)] is None


def test_the_threshold_sees_the_shifted_reward(team):
    assert len(play(team, count=2, turns=2, early_stop=-1.0, reward_shift=-5.0)) == 4
    assert len(play(team, count=2, turns=2, early_stop=-1.0, reward_shift=5.0)) == 2


# paid at the last turn alone


class Fixed(Toy):
    """Whatever is said, joint action j of turn t earns REWARDS[t][j]; the world knows where it is."""

    REWARDS = ((1.0, 3.0), (0.5, 2.0))
    ends = False

    def start(self, task, seed):
        return {"turns": 0}

    def steps(self, moves):
        places = {}
        return [self.scored(move, places) for move in moves]

    def scored(self, move, places):
        j = places[id(move.world)] = places.get(id(move.world), -1) + 1
        reward = self.REWARDS[move.turn][j]
        step = super().step(move.task, move.turn, move.joint_action, move.world)
        return replace(step, reward=reward, parts={"fixed": reward}, done=self.ends and (move.turn, j) == (0, 1))


class Ends(Fixed):
    """The second joint action of the first turn ends the episode."""

    ends = True


def fixed_root(team, domain=Fixed, **changes):
    """The tree of one task: two joint actions at each of two turns."""
    settings = rollout_settings(turns=2, generations=2, max_new_tokens=3, **changes)
    return Rollout(team, domain({}), settings).play(tasks(1), [0]).roots[0]


def test_the_last_turn_alone_is_paid(team):
    every, last = (fixed_root(team, reward=reward) for reward in ("every_turn", "last_turn"))
    assert every.rewards == [1.0, 3.0] and last.rewards == [0.0, 0.0]
    for child, told in zip(every.children, [1.0, 3.0], strict=True):
        assert child.rewards == [0.5, 2.0] and child.last_reward == told
    for child in last.children:
        assert child.rewards == [0.5, 2.0] and child.last_reward == 0.0
    assert monte_carlo.G(every, 0.9) == pytest.approx([1 + 0.9 * 1.25, 3 + 0.9 * 1.25])
    assert monte_carlo.G(last, 0.9) == pytest.approx([0.9 * 1.25] * 2)
    assert [step.reward for step in last.steps] == [1.0, 3.0]  # what is logged and scored stays


def test_where_an_episode_stops_early_that_turn_is_its_last(team):
    ended = fixed_root(team, Ends, reward="last_turn")
    assert ended.rewards == [0.0, 3.0] and ended.children[1] is None
    assert monte_carlo.G(ended, 0.9) == pytest.approx([0.9 * 1.25, 3.0])
    stopped = fixed_root(team, reward="last_turn", early_stop=2.5)
    assert stopped.rewards == [0.0, 3.0] and stopped.children[1] is None
    paid = fixed_root(team, reward="every_turn", early_stop=2.5)
    assert [child is None for child in paid.children] == [child is None for child in stopped.children]


def test_unpaid_turns_are_not_charged_the_shift(team):
    root = fixed_root(team, reward="last_turn", reward_scale=2.0, reward_shift=-4.0)
    assert root.rewards == [0.0, 0.0] and root.children[0].rewards == [-3.0, 0.0]


def test_one_turn_is_its_own_last(team):
    every, last = (play(team, count=2, generations=2, reward=reward) for reward in ("every_turn", "last_turn"))
    assert texts(every) == texts(last)


# decentralised


def private(texts, others):
    """Pieces of 20 characters of `texts` that none of `others` holds."""
    pieces = {text[i : i + 20] for text in texts for i in range(len(text) - 19)}
    return {piece for piece in pieces if not any(piece in other for other in others)}


def leaks(node, roots_text):
    """Pieces of another agent's earlier responses that stand in an agent's prompt."""
    leaked = []
    for agent in (0, 1):
        prompt = "\n".join(message["content"] for message in node.observations[agent])
        own = [exchange.response for exchange in node.histories[agent]]
        theirs = [exchange.response for exchange in node.histories[1 - agent]]
        pieces = private(theirs, [*own, *roots_text[agent]])
        assert not theirs or pieces  # there is something that could leak
        leaked += [piece for piece in pieces if piece in prompt]
    return leaked


def openings(domain, task):
    return [["\n".join(m["content"] for m in domain.observe(task, agent, 0, (), None))] for agent in (0, 1)]


def test_no_prompt_holds_another_agents_response_in_the_toy(team):
    nodes = play(team, count=2, turns=4, generations=2, max_new_tokens=30)
    assert len(nodes) == 30
    assert [leak for node in nodes for leak in leaks(node, openings(Toy({}), node.task))] == []


@pytest.mark.parametrize("feedback", ["position", "score", "perfect"])
def test_no_prompt_holds_another_agents_response_in_str_build(models_folder, feedback):
    team = make_team(models_folder, max_prompt_tokens=120)
    domain = domains.get("str_build")({**STR_BUILD, "feedback": feedback})
    settings = rollout_settings(turns=4, generations=2, max_new_tokens=40)
    task = domain.task(next(iter(domain.embedded(0).values()))[0], 0)
    assert isinstance(task, Task)
    nodes = Rollout(team, domain, settings).play([task], [3]).nodes()
    assert [node.turn for node in nodes] == [0, 1, 2, 3, 3, 2, 3, 3, 1, 2, 3, 3, 2, 3, 3]
    assert [leak for node in nodes for leak in leaks(node, openings(domain, task))] == []
    for node in nodes[1:]:
        for agent in (0, 1):  # its own last response is there, so the search would find one
            response = node.histories[agent][-1].response
            assert response[:20].strip() in "\n".join(m["content"] for m in node.observations[agent])


def test_the_leak_search_finds_a_leak(team):
    node = play(team, count=1, turns=2, max_new_tokens=30)[1]
    node.observations[0][0]["content"] += node.histories[1][0].response
    assert leaks(node, openings(Toy({}), node.task)) != []
