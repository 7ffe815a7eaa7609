"""What agents share, and rates of their own: what is understood, and what is refused before anything runs."""

from __future__ import annotations

import json
import re

import pytest
from support.configurations import refused

from collm.config.resolve import job_of, resolve_job
from collm.pipeline.dependencies import stage_settings
from collm.planning import memory

ONE = "domains: [tldr]\nmethods: [collm_cc]\nbaselines: []\n"
SHARED = "defaults: {team: {adapters: shared}}"


def test_by_default_every_agent_has_its_own(overlay):
    for number, shares in (("", False), ("defaults: {team: {adapters: shared}}", True)):
        job = resolve_job(overlay(number or "seeds: [0]"), "tldr", "collm_dc")
        assert job.team.one_for_all is shares
        assert memory.trained_models(job, "local") == ["scratch"] * (3 if shares else 4)
        assert memory.trained_models(job, "shared") == ["scratch"] * (1 if shares else 2)
    settings = resolve_job(overlay(SHARED), "tldr", "magrpo").raw
    for stage in ("warm_start", "train", "evaluate"):
        assert stage_settings(stage, settings)["team.adapters"] == "shared"


def test_one_agent_alone_shares_with_nobody(overlay):
    assert not resolve_job(overlay(SHARED), "tldr", "grpo").team.one_for_all


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models: {other: {source: folder, path: x}}\n"
            "domain: {tldr: {team: {adapters: shared, agents: [scratch, other]}}}",
            "tldr/.*: team.adapters is shared with team.agents scratch, other; agents that share an adapter stand on "
            "one model: give one name, or set team.adapters to per_agent",
        ),
        (
            "domain: {tldr: {training: {agent_learning_rate: [1.0e-4, 2.0e-4, 3.0e-4]}}}",
            "tldr/.*: training.agent_learning_rate names 3 rates for team.num_agents 2; give one number for all",
        ),
        (
            "domain: {tldr: {team: {adapters: shared}, training: {agent_learning_rate: [1.0e-4, 2.0e-4]}}}",
            "training.agent_learning_rate names 2 rates with team.adapters shared; what all agents share has one",
        ),
        ("defaults: {training: {agent_learning_rate: [5e-4, 1.0e-4]}}", "YAML reads 5e-6 as text, write 5.0e-6"),
        ("defaults: {training: {agent_learning_rate: [0.1, 0]}}", "agent_learning_rate.1: 0 is refused: less than or"),
        ("defaults: {training: {agent_learning_rate: []}}", r"agent_learning_rate: \[\] is refused: it is empty"),
        ("defaults: {team: {adapters: common}}", "'common' is not allowed; allowed: per_agent, shared"),
    ],
)
def test_what_is_refused(overlay, text, message):
    assert re.search(message, refused(overlay, f"{ONE}{text}"))


def test_rates_of_their_own_survive_run_json(overlay):
    merged = overlay(f"{ONE}domain: {{tldr: {{training: {{agent_learning_rate: [1.0e-4, 2.0e-4]}}}}}}")
    job = resolve_job(merged, "tldr", "collm_cc")
    again = job_of(json.loads(json.dumps(job.raw)))
    assert again.training.agent_learning_rate == (1e-4, 2e-4) and again.training.agent_rate(1) == 2e-4
    assert again == job
