"""A run's health from made metrics: numbers by hand, and every remark at its bound, with numbers and setting."""

from __future__ import annotations

import dataclasses
import re

import pytest

from collm.config.job import BLOCKS
from collm.runs import health, health_remarks
from collm.runs.health import Norm, Span

SETTINGS = {
    "team": {"precision": "bf16", "dtype": "bfloat16"},
    "rollout": {"generations": 2, "temperature": 0.6, "max_new_tokens": 96, "backend": "transformers"},
    "warm_start": {"epochs": 3},
    "training": {
        **{"agent_learning_rate": 5e-4, "critic_learning_rate": 1e-3, "td_lambda": 0.0, "critic_steps": 1},
        **{"gradient_clip": None, "minibatch_size": 8, "tasks_per_rollout": 4, "epochs": 1, "max_updates": None},
        **{"kl_coefficient": 0.0, "entropy_coefficient": 0.0},
    },
}


def lines(updates=10):
    """A healthy run of two agents and a critic: an evaluation, then a rollout and an update in turn, an evaluation."""
    made = [{"event": "evaluation", "reward": 0.2, "kl_to_start/agent_0": 0.0, "kl_to_start/agent_1": 0.0}]
    for number in range(updates):
        rollout = {"event": "rollout", "reward": 0.2 + 0.01 * number, "samples": 8 * (number + 1), "seconds": 1.5}
        update = {"event": "update", "seconds": 0.5, "explained_variance/critic": 0.04 * number, "gradient_norm": 2.0}
        for agent in ("agent_0", "agent_1"):
            rollout |= {f"{kind}/{agent}": 0.01 * number for kind in ("invalid", "unparsed", "cut_responses")}
            rollout[f"empty/{agent}"] = 0.0
            update |= {f"entropy/{agent}": 3.0 - 0.1 * number, f"length/{agent}": 20.0 + number}
            update |= {f"zero_advantage_share/{agent}": 0.1, f"gradient_norm/{agent}": 1.0 + 0.1 * (number % 3)}
        if number == 0:
            rollout |= {"mismatch/agent_0": 2e-6, "mismatch/agent_1": 3e-6}
        made += [rollout, update]
    return [*made, {"event": "evaluation", "reward": 0.3, "kl_to_start/agent_0": 0.04, "kl_to_start/agent_1": 0.06}]


def test_numbers_by_hand():
    found = health.summary(lines())
    assert found.updates == 10 and not found.constant
    assert found.reward == (0.2, 0.3) and found.training_reward == pytest.approx((0.205, 0.285))
    assert found.outcome == found.reward
    assert found.entropy["agent_1"] == pytest.approx((2.95, 2.15)) and found.length["agent_0"] == (20.5, 28.5)
    assert found.zero_advantages == pytest.approx({"agent_0": 0.1, "agent_1": 0.1})
    assert found.explained_variance == {"critic": pytest.approx((0.02, 0.34))}
    assert found.kl_to_start == {"agent_0": 0.04, "agent_1": 0.06}
    assert found.shares["cut_responses"]["agent_0"] == pytest.approx((0.005, 0.085))
    norm = found.gradient_norm["agent_0"]
    assert (norm.median, norm.largest) == pytest.approx((1.1, 1.2)) and norm.span == pytest.approx((1.05, 1.1))
    assert found.mismatch == {"agent_0": 2e-6, "agent_1": 3e-6}
    assert found.samples_per_second == pytest.approx(80 / 20)
    assert health.over_members(found.kl_to_start) == pytest.approx(0.05)
    assert health.span_over_members({"a": Span(1, 2), "b": Span(3, 6)}) == (2, 4)


def test_metrics_of_an_older_version_leave_gaps():
    old = [{"event": "rollout", "reward": 0.1, "samples": 4}, {"event": "update", "policy_loss": 0.1}]
    found = health.summary(old)
    assert (found.updates, found.reward, found.training_reward) == (1, None, (0.1, 0.1))
    assert not found.entropy and not found.shares and found.samples_per_second is None
    assert health_remarks.remarks(found, SETTINGS) == []
    assert health.summary([]).outcome is None


def healthy(**changes):
    return dataclasses.replace(health.summary(lines()), **changes)


def found(**changes):
    return {remark.name: remark.text for remark in health_remarks.remarks(healthy(**changes), SETTINGS)}


def test_a_healthy_run_is_left_alone():
    assert found() == {}
    words = health_remarks.in_words("tldr/collm_cc seed 0", healthy(), SETTINGS)
    assert words == [
        "health of tldr/collm_cc seed 0 after 10 updates (docs/health.md): reward 0.2 to 0.3, entropy 2.95 to 2.15, "
        "length 20.5 to 28.5, explained variance 0.34, zero advantages 10 %, KL to the start 0.05, invalid responses "
        "8 %, gradient norm 1.1, 4 joint samples/s",
        "- nothing stands out",
    ]


FELL = Span(0.3, 0.1)
FLAT = Span(0.3, 0.3)
CASES = {
    "constant reward": (
        {"constant": True, "training_reward": Span(0.5, 0.5), "reward": FLAT},
        "every rollout had a mean reward of 0.5: .* raise warm_start.epochs \\(3 now\\)",
        {"constant": False, "training_reward": Span(0.5, 0.5), "reward": FLAT},
    ),
    "entropy grew": (
        {"entropy": {"agent_0": Span(3, 3), "agent_1": Span(1.5, 3.0)}, "reward": FELL},
        "entropy of agent_1 grew from 1.5 to 3 nats per token while the reward fell from 0.3 to 0.1: .* Lower "
        "training.agent_learning_rate \\(0.0005 now\\), and bring training.td_lambda \\(0 now\\) nearer to 1",
        {"entropy": {"agent_0": Span(1.5, 3.0)}, "reward": FLAT},
    ),
    "below its start": (
        {"reward": Span(0.3, 0.29)},
        "the reward of evaluations went from 0.3 to 0.29. .* training.minibatch_size \\(8 now\\)",
        {"reward": FLAT},
    ),
    "entropy gone": (
        {"entropy": {"agent_0": Span(2.0, 0.2)}, "reward": FLAT},
        "entropy of agent_0 fell from 2 to 0.2 .* Set training.entropy_coefficient \\(0 now\\) above 0",
        {"entropy": {"agent_0": Span(2.0, 0.2)}},
    ),
    "zero advantages": (
        {"zero_advantages": {"agent_0": 0.1, "agent_1": 0.5}, "explained_variance": {}},
        "50 % of the advantages of agent_1 are zero: all samples of these groups .* rollout.generations \\(2 now\\)",
        {"zero_advantages": {"agent_0": 0.49}, "explained_variance": {}},
    ),
    "critic explains nothing": (
        {"explained_variance": {"critic_0": Span(0, 0.5), "critic_1": Span(0, 0.05)}},
        "critic_1 explains 0.05 of its targets' variance at the end of 10 updates: .* training.critic_steps "
        "\\(1 now\\), or a higher training.critic_learning_rate \\(0.001 now\\), or bring training.td_lambda "
        "\\(0 now\\) nearer to 1",
        {"explained_variance": {"critic_0": Span(0, 0.06)}},
    ),
    "critic worse than none": (
        {"explained_variance": {"critic": Span(0, -0.2)}},
        "critic explains -0.20 of .* Lower training.critic_learning_rate \\(0.001 now\\)",
        {"explained_variance": {"critic": Span(-0.2, 0.1)}},
    ),
    "left its start": (
        {"kl_to_start": {"agent_0": 0.1, "agent_1": 0.5}},
        "agent_1 left its start \\(KL 0.5 nats per token\\): .*; the reward rose, .* training.kl_coefficient",
        {"kl_to_start": {"agent_0": 0.49}},
    ),
    "did not move": (
        {"kl_to_start": {"agent_0": -9e-5, "agent_1": 0.0}},
        "after 10 updates no agent is further than 9e-05 nats .* training.max_updates \\(null now\\)",
        {"kl_to_start": {"agent_0": 0.0}, "updates": 9},
    ),
    "responses are cut": (
        {"shares": {"cut_responses": {"agent_0": Span(0, 0.05), "agent_1": Span(0.02, 0.1)}}},
        "10 % of the responses of agent_1 are cut at rollout.max_new_tokens \\(96 now\\), 2 % at the beginning",
        {"shares": {"cut_responses": {"agent_0": Span(0.5, 0.09)}}},
    ),
    "no answers": (
        {"shares": {"empty": {"agent_0": Span(0.2, 0.1)}, "unparsed": {"agent_0": Span(0.1, 0.15)}}},
        "25 % of the responses of agent_0 are no answers \\(10 % empty, 15 % without .*\\), 30 % at the beginning: .* "
        "Teach the form first, warm_start.epochs \\(3 now\\)",
        {"shares": {"empty": {"agent_0": Span(0.2, 0.1)}, "unparsed": {"agent_0": Span(0.1, 0.14)}}},
    ),
    "gradients grow": (
        {"gradient_norm": {"agent_0": Norm(1, 2, Span(1, 1)), "critic": Norm(3, 12, Span(1, 10))}},
        "gradient norm of critic grew from 1 to 10 .* Lower training.critic_learning_rate",
        {"gradient_norm": {"agent_0": Norm(0, 9, Span(0, 9))}},
    ),
    "gradient peaks": (
        {"gradient_norm": {"agent_0": Norm(1, 20, Span(1, 1)), "agent_1": Norm(1, 5, Span(1, 1))}},
        "norm of agent_0 was 20 where half of them are below 1: .* Set training.gradient_clip \\(null now\\)",
        {"gradient_norm": {"agent_0": Norm(1, 19, Span(1, 1))}},
    ),
    "sampler and scorer differ": (
        {"mismatch": {"agent_0": 0.001, "agent_1": 0.02}},
        "agent_1's responses differ by 0.02 nats per token .* Use team.precision \\(bf16 now\\) fp32",
        {"mismatch": {"agent_0": 0.009}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_remark_and_its_bound(name):
    bad, text, good = CASES[name]
    remarks = found(**bad)
    assert list(remarks) == [name]
    assert re.search(text, remarks[name], re.DOTALL), remarks[name]
    assert name not in found(**good)


def test_every_rule_has_a_case_and_names_settings_that_exist():
    texts = [found(**bad)[name] for name, (bad, _, _) in CASES.items()]
    texts += found(zero_advantages={"agent_0": 1.0}).values()  # with critics
    texts += found(shares={kind: {"agent_0": Span(0.0, 0.3)} for kind in ("empty", "unparsed")}).values()
    blocks = "|".join(("team", "data", "rollout", "warm_start", "training", "evaluation"))
    named = {key for text in texts for key in re.findall(rf"\b(?:{blocks})\.[a-z_]+", text)}
    known = {f"{block}.{field.name}" for block, kind in BLOCKS.items() for field in dataclasses.fields(kind)}
    assert len(named) > 15 and named <= known
    assert len(CASES) == 14


def test_with_critics_zero_advantages_are_about_minibatches():
    assert "training.tasks_per_rollout (4 now)" in found(zero_advantages={"agent_0": 0.9})["zero advantages"]


def test_a_form_that_is_unlearnt():
    shares = {"empty": {"agent_0": Span(0.0, 0.2)}, "unparsed": {"agent_0": Span(0.0, 0.2)}}
    assert "training unlearns the form. Lower training.agent_learning_rate" in found(shares=shares)["no answers"]


def test_peaks_that_are_clipped_are_no_matter():
    peaked = healthy(gradient_norm={"agent_0": Norm(1, 50, Span(1, 1))})
    clipped = {**SETTINGS, "training": {**SETTINGS["training"], "gradient_clip": 1.0}}
    assert [remark.name for remark in health_remarks.remarks(peaked, SETTINGS)] == ["gradient peaks"]
    assert health_remarks.remarks(peaked, clipped) == []


def test_a_faint_entropy_may_double():
    assert list(found(entropy={"agent_0": Span(0.01, 0.03)}, reward=FELL)) == ["below its start"]


def test_without_two_evaluations_rollouts_tell():
    words = found(reward=None, training_reward=FELL)["below its start"]
    assert "the reward of rollouts went from 0.3 to 0.1" in words


def test_settings_that_a_record_lacks_are_named_without_a_value():
    assert health_remarks.named({}, "training.td_lambda") == "training.td_lambda"
    assert health_remarks.named({"training": {"gradient_clip": None}}, "training.gradient_clip").endswith("(null now)")
