"""The vLLM backend against a stand-in that checks every call; with the same weights it has to say the same words."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from types import SimpleNamespace

import pytest
import torch
from support import vllm_standin
from support.places import ROOT
from support.runs import outcome, session, train
from support.toy import make_team, rollout_settings

from collm.common.errors import ConfigError, ModelError
from collm.common.seeds import derive
from collm.config.checks import check_job
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.llm import vllm as vllm_backend
from collm.llm.sampling import Sampling

CONFIG = ROOT / "config" / "config.yaml"
VLLM = {"backend": "vllm", "vllm_memory": 0.25}


@pytest.fixture
def engines(monkeypatch):
    """The stand-in's LLM class."""
    return vllm_standin.install(monkeypatch)


def served(models_folder, **changes):
    """A team whose responses come from the backend."""
    team = make_team(models_folder, **changes)
    team.engines = vllm_backend.Engines(team.agents, team.settings.lora["rank"], 32, 0.25)
    return team


def wishes(team, keys=3):
    """Prompts of all agents with keys."""
    words = ("red", "a much longer prompt about a quick brown fox")
    texts = {text: [{"role": "user", "content": text}] for text in words}
    return [
        (agent, team.prompt(agent, messages, 12), [derive(agent, text, k) for k in range(keys)])
        for text, messages in texts.items()
        for agent in range(len(team.agents))
    ]


def test_engine_is_asked_for_what_the_team_needs(models_folder, engines):
    served(models_folder)
    (engine,) = engines.made
    assert engine.given == {
        "model": str(models_folder / "tiny"),
        "dtype": "bfloat16",
        "max_model_len": 256,
        "max_num_seqs": 32,
        "gpu_memory_utilization": 0.25,
        "enable_lora": True,
        "max_loras": 2,
        "max_cpu_loras": 4,
        "max_lora_rank": 8,
        "enable_prefix_caching": True,
        "generation_config": "vllm",
        "logprobs_mode": "raw_logprobs",
        "seed": 0,
    }


def test_agents_that_share_an_adapter_are_one_for_the_engine(models_folder, engines):
    team = served(models_folder, adapters="shared")
    (engine,) = engines.made
    assert (engine.given["max_loras"], engine.given["max_cpu_loras"]) == (1, 2)
    team.respond(wishes(team), Sampling(4), "mixed", 32)
    assert set(team.engines._adapters._current) == {"agents"}


@pytest.mark.parametrize("mode", ["mixed", "sequential"])
@pytest.mark.parametrize("agents", [("tiny", "tiny"), ("tiny", "other")])
@pytest.mark.parametrize("drawn", [{}, {"temperature": 0.7, "top_p": 0.8, "top_k": 20}])
def test_same_weights_and_keys_give_the_same_responses(models_folder, engines, mode, agents, drawn):
    team = served(models_folder, agents=agents)
    prompts, sampling = wishes(team), Sampling(12, **drawn)
    there = team.respond(prompts, sampling, mode, 32)
    team.engines = None
    here = team.respond(prompts, sampling, mode, 32)
    assert len(engines.made) == len(set(agents))
    assert sum(len(engine.calls) for engine in engines.made) == (2 if mode == "sequential" else len(set(agents)))
    for one, other in zip(there, here, strict=True):
        same = [[(r.text, r.tokens, r.prompt, r.ended) for r in group] for group in (one, other)]
        assert same[0] == same[1]
        assert [r.logprob for r in one] == pytest.approx([r.logprob for r in other], abs=1e-3)


def test_responses_end_with_their_end_token(models_folder, engines):
    team = served(models_folder)
    ends = team.agents[0].base.ends = frozenset(range(10, 40))
    responses = [r for group in team.respond(wishes(team, keys=8), Sampling(12), "mixed", 32) for r in group]
    assert 0 < sum(response.ended for response in responses) < len(responses)
    for response in responses:
        assert (response.tokens[-1] in ends) == response.ended
        assert not ends.intersection(response.tokens[:-1])
        assert response.ended or len(response.tokens) == 12


def requests(engine):
    """Ids of the last call, by agent."""
    return {request.lora_name.split(".")[0]: request.lora_int_id for request in engine.calls[-1]}


def test_a_changed_adapter_gets_a_new_id_name_and_folder(models_folder, engines):
    team = served(models_folder)
    prompts, sampling = wishes(team), Sampling(12)
    first = team.respond(prompts, sampling, "mixed", 32)
    (engine,) = engines.made
    assert requests(engine) == {"agent_0": 1, "agent_1": 2}
    assert team.respond(prompts, sampling, "mixed", 32) != [] and requests(engine) == {"agent_0": 1, "agent_1": 2}
    name, part = next(item for item in team.agents[1].parameters() if "lora_B" in item[0])
    part.data.add_(1.0)  # by the back door, which no version counter sees
    second = team.respond(prompts, sampling, "mixed", 32)
    assert requests(engine) == {"agent_0": 1, "agent_1": 3}
    tokens = [[[r.tokens for r in group] for group in answers] for answers in (first, second)]
    assert [one == other for one, other in zip(*tokens, strict=True)] == [True, False, True, False]
    names = {(request.lora_int_id, request.lora_name, request.lora_path) for call in engine.calls for request in call}
    assert len(names) == len({name for _, name, _ in names}) == len({path for _, _, path in names}) == 3
    part.data.add_(-1.0)
    team.respond(prompts, sampling, "mixed", 32)
    assert requests(engine) == {"agent_0": 1, "agent_1": 4}  # what was once used is never served again


def test_the_stand_in_notices_stale_adapters(models_folder, engines, monkeypatch):
    """A backend that kept ids would say the old words: what the test above relies on."""
    team = served(models_folder)
    prompts, sampling = wishes(team), Sampling(12)
    first = team.respond(prompts, sampling, "mixed", 32)
    monkeypatch.setattr(vllm_backend, "content", lambda member: "the same")
    team.engines._adapters._current = {
        name: ("the same", *known[1:]) for name, known in team.engines._adapters._current.items()
    }
    with torch.no_grad():
        for member in team.agents:
            for _, part in member.parameters():
                part.add_(0.5)
    again = team.respond(prompts, sampling, "mixed", 32)
    assert [[r.tokens for r in group] for group in again] == [[r.tokens for r in group] for group in first]


def test_a_response_that_is_given_up_stops_the_run(models_folder, engines, monkeypatch):
    team = served(models_folder)
    real = engines._answer

    def answer(self, *item):
        output = real(self, *item)
        output.outputs[0].finish_reason = "abort"
        return output

    monkeypatch.setattr(engines, "_answer", answer)
    with pytest.raises(ModelError, match="vLLM ended a response of 'tiny' with 'abort' after 12 tokens"):
        team.respond(wishes(team), Sampling(12), "mixed", 32)


@pytest.mark.parametrize("method", ["collm_cc", "magrpo"])
def test_the_whole_loop_equals_that_of_transformers(models_folder, tmp_path, engines, method):
    more = {"generations": 2} if method == "magrpo" else {}
    train(models_folder, tmp_path / "here", method=method, rollout=more)
    assert engines.made == []
    train(models_folder, tmp_path / "there", method=method, rollout={**VLLM, **more})
    assert outcome(tmp_path / "there") == outcome(tmp_path / "here")
    (engine,) = engines.made
    ids = [tuple(sorted({request.lora_int_id for request in call})) for call in engine.calls]
    # six rollouts of two turns and four evaluations, each after updates of both agents except the one at the start
    distinct = list(dict.fromkeys(ids))
    assert len(distinct) == 7 and distinct == sorted(distinct)
    assert sorted(number for pair in distinct for number in pair) == list(range(1, 15))


# refusals


def test_a_missing_package_says_how_to_install_it(models_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match=r"vllm cannot be imported .* pip install vllm==0\.33\.0; or set"):
        session(models_folder, tmp_path, rollout=VLLM).team()


def test_transformers_never_imports_it(models_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert session(models_folder, tmp_path).team().engines is None


def test_several_processes_are_refused(models_folder, tmp_path, engines):
    made = session(models_folder, tmp_path, rollout=VLLM)
    made.accelerator = SimpleNamespace(num_processes=2, process_index=0)
    with pytest.raises(ModelError, match="rollout.backend is vllm in 2 processes"):
        made._engines(None)


def test_too_large_a_rank_is_refused(models_folder, engines):
    team = make_team(models_folder)
    with pytest.raises(ModelError, match="team.lora.rank is 600; vLLM serves at most 512"):
        vllm_backend.Engines(team.agents, 600, 32, 0.25)


@pytest.mark.parametrize(
    ("team", "rollout", "message"),
    [
        ({"adapter": "full", "dtype": "bfloat16"}, {}, "backend is vllm with team.adapter full"),
        ({}, {}, "team.dtype float32 and team.precision fp32; vLLM's kernels for adapters compute in bfloat16"),
        ({"precision": "bf16"}, {"temperature": 2.5}, "rollout.temperature is 2.5; vLLM samples at 0.01 to 2"),
        ({"precision": "bf16"}, {}, None),
        ({"dtype": "bfloat16"}, {}, None),
    ],
)
def test_what_it_cannot_serve_is_refused_with_the_configuration(team, rollout, message):
    job = resolve_job(load_config([CONFIG]), "tldr", "collm_cc")
    made = dataclasses.replace(job.rollout, backend="vllm", **rollout)
    job = dataclasses.replace(job, team=dataclasses.replace(job.team, **team), rollout=made)
    if message is None:
        check_job(job)
        return
    with pytest.raises(ConfigError, match=message):
        check_job(job)


def test_transformers_is_the_default():
    assert resolve_job(load_config([CONFIG]), "tldr").rollout.backend == "transformers"
    assert rollout_settings().backend == "transformers"


def test_the_stand_in_takes_what_vllm_takes():
    """Where vLLM is installed, the stand-in's names are compared with it."""
    vllm = pytest.importorskip("vllm")
    engine = {*inspect.signature(vllm.LLM.__init__).parameters, *inspect.signature(vllm.EngineArgs).parameters}
    assert set(vllm_standin.ENGINE) <= engine
    assert set(vllm_standin.PARAMETERS) <= set(vllm.SamplingParams.__struct_fields__)
    assert {"prompts", "sampling_params", "use_tqdm", "lora_request"} <= set(
        inspect.signature(vllm.LLM.generate).parameters
    )
