"""Packed passes of the Llama family against transformers and PEFT: log-probabilities, values, gradients, decoding."""

from __future__ import annotations

import shutil

import pytest
import torch
from support.passes import padded, settings
from support.toy import make_team
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, Qwen2Config, Qwen3Config

from collm.common.seeds import derive
from collm.llm.packed.attention import BLOCK, Causal, Heads, Layout, Rows, attend, fused, triangle
from collm.llm.packed.decoder import obstacle
from collm.llm.packed.passes import PackedPasses
from collm.llm.sampling import Sampling

SHAPE = dict(
    vocab_size=320,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=512,
    tie_word_embeddings=True,
    bos_token_id=None,
)
PROMPTS = [(9, 12, 40), (7, 8, 9, 10, 11, 12, 13, 14, 15), (3, 3)]
RESPONSES = [(20, 21, 22, 23, 24), (30,), (41, 42, 43)]
APART = list(zip(PROMPTS, RESPONSES, strict=True))
SHARED = [(prompt, response) for prompt in PROMPTS for response in RESPONSES]
SINGLE = [(PROMPTS[0], (30,)), (PROMPTS[0], (31,)), (PROMPTS[1], (32,)), (PROMPTS[1], (33,))]
EVEN = [((5, 6, 7), (8, 9)), ((9, 6, 7), (8, 10))]


@pytest.fixture(scope="module")
def family(models_folder, tmp_path_factory):
    """Random models of several architectures beside `tiny` and `other`, with the tokenizer of `tiny`."""
    root = tmp_path_factory.mktemp("family")
    for name in ("tiny", "other"):
        shutil.copytree(models_folder / name, root / name)
    ends = {"eos_token_id": 1, "pad_token_id": 0}
    llama = AutoConfig.from_pretrained(models_folder / "tiny")
    configs = {
        "grouped": type(llama)(**SHAPE, **ends),
        "biased": type(llama)(**SHAPE, **ends, attention_bias=True, mlp_bias=True, rope_theta=5e4),
        "qwen2": Qwen2Config(**SHAPE, **ends),
        "qwen3": Qwen3Config(**SHAPE, **ends, head_dim=16),
        "gpt2": GPT2Config(vocab_size=320, n_embd=48, n_layer=2, n_head=4, n_positions=512, **ends),
    }
    for name, config in configs.items():
        shutil.copytree(models_folder / "tiny", root / name)
        torch.manual_seed(derive(name) % 2**32)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for _, parameter in model.named_parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        (root / name / "model.safetensors").unlink()
        model.save_pretrained(root / name)
    return root


def a_team(family, model, critics="joint", **changes):
    return make_team(family, critics, agents=(model, model), critic=model, **changes)


def gradients(team, member):
    """Gradients of a member's numbers as one vector, taken away from it."""
    parts = []
    for _, part in member.parameters():
        parts.append(torch.zeros(part.numel()) if part.grad is None else part.grad.flatten().clone())
        part.grad = None
    return torch.cat(parts)


def scored(team, agent, pairs, weights=None):
    """(log-probabilities, entropies, gradient) of a weighted sum of log-probabilities."""
    chosen, entropy = team.logprobs(agent, pairs)
    weights = torch.linspace(-1, 2, len(pairs), dtype=chosen.dtype) if weights is None else weights
    (chosen * weights).sum().backward()
    return chosen.detach(), entropy, gradients(team, team.agents[agent])


def close(actual, expected, relative):
    """The difference as a share of the expected vector's length."""
    return (actual - expected).norm() <= relative * expected.norm().clamp(min=1e-6)


@pytest.mark.parametrize("model", ["tiny", "grouped", "biased", "qwen2", "qwen3"])
@pytest.mark.parametrize("pairs", [APART, SHARED, SINGLE, EVEN], ids=["apart", "shared", "single", "even"])
def test_scores_and_gradients_are_those_of_the_padded_passes(family, model, pairs):
    team = a_team(family, model)
    assert isinstance(team.agents[0].base.passes, PackedPasses)
    packed = [scored(team, agent, pairs) for agent in (0, 1)]
    padded(team)
    for agent, scores in enumerate(packed):
        expected = scored(team, agent, pairs)
        assert expected[2].norm() > 1e-3
        for ours, theirs in zip(scores, expected, strict=True):
            assert close(ours, theirs, 2e-5)


@pytest.mark.parametrize("model", ["grouped", "qwen3"])
def test_values_and_their_gradients(family, model):
    team = a_team(family, model)
    texts = [(5, 6, 7), (8,), (9, 10, 11, 12, 13)]
    results = []
    for passes in (lambda team: team, padded):
        value = passes(team).values(0, texts)
        (value * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
        results.append((value.detach(), gradients(team, team.critics[0])))
    for ours, theirs in zip(*results, strict=True):
        assert close(ours, theirs, 2e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_bfloat16_is_as_close_to_the_truth_as_the_padded_passes(family, dtype):
    truth = [scored(a_team(family, "grouped"), 0, pairs) for pairs in (APART, SHARED)]
    team = a_team(family, "grouped", dtype=dtype)
    mixed = settings(team, product_dtype=torch.bfloat16, autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    team.agents[0].base.choose_passes(mixed)
    ours = [scored(team, 0, pairs) for pairs in (APART, SHARED)]
    theirs = [scored(padded(team, mixed), 0, pairs) for pairs in (APART, SHARED)]
    for exact, packed, usual in zip(truth, ours, theirs, strict=True):
        for part in (0, 1, 2):
            off = (packed[part] - exact[part]).norm()
            assert off <= 1.6 * (usual[part] - exact[part]).norm() + 2e-3 * exact[part].norm()


def test_long_sequences_are_cut_into_blocks(family):
    team = a_team(family, "grouped")
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(6, 250, (2, 3 * BLOCK), generator=draw).tolist()
    pairs = [(tuple(ids[0][:300]), tuple(ids[0][300:])), (tuple(ids[1][:100]), tuple(ids[1][100:150]))]
    shared = [(tuple(ids[0][:290]), tuple(ids[0][300:310])), (tuple(ids[0][:290]), tuple(ids[1][:20]))]
    ours = [scored(team, 0, case) for case in (pairs, shared)]
    theirs = [scored(padded(team), 0, case) for case in (pairs, shared)]
    for case, expected in zip(ours, theirs, strict=True):
        assert all(close(*parts, 2e-5) for parts in zip(case, expected, strict=True))


@pytest.mark.parametrize("length", [1, 7, BLOCK + 3, 3 * BLOCK])
def test_blocks_of_attention_against_the_whole_in_float64(length):
    draw = torch.Generator().manual_seed(length)
    heads = Heads(6, 2, 8, 8**-0.5)
    q, k, v = (torch.randn(2, length * n, 8, dtype=torch.float64, generator=draw) for n in (3, 1, 1))
    for part in (q, k, v):
        part.requires_grad_()
    scores = torch.bmm(q, k.transpose(1, 2)) * heads.scale + triangle(length, 3, q)
    whole = torch.bmm(torch.softmax(scores, -1), v)
    weight = torch.randn(whole.shape, dtype=torch.float64, generator=draw)
    expected = torch.autograd.grad((whole * weight).sum(), (q, k, v))
    for keep in (True, False):
        blocks = Causal(q.detach(), k.detach(), v.detach(), heads, keep)
        torch.testing.assert_close(blocks.forward(), whole.detach())
        for part, gradient in zip(blocks.backward(weight), expected, strict=True):
            torch.testing.assert_close(part, gradient)


@pytest.mark.parametrize("copies", [1, 2])
def test_the_fused_kernel_of_other_devices_gives_the_same(copies):
    """The branch for CUDA devices runs on CPUs too."""
    draw = torch.Generator().manual_seed(copies)
    heads, first, then = Heads(6, 2, 8, 8**-0.5), [5, 9, 2], [4, 1, 3, 3, 0, 6]
    device = torch.device("cpu")
    layout = Layout(Rows(first, device), Rows(then, device) if copies > 1 else None, copies)
    tokens = sum(first) + (sum(then) if copies > 1 else 0)
    inputs = [torch.randn(tokens, n * 8, dtype=torch.float64, generator=draw).requires_grad_() for n in (6, 2, 2)]
    tables = tuple(torch.randn(tokens, 1, 8, dtype=torch.float64, generator=draw) for _ in range(2))
    weight = torch.randn(tokens, 48, dtype=torch.float64, generator=draw)
    results = []
    for passes in (attend, fused):
        mixed = passes(*inputs, tables, layout, heads)
        results.append((mixed, *torch.autograd.grad((mixed * weight).sum(), inputs)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_entropy_carries_a_gradient_when_asked(family):
    team = a_team(family, "grouped")
    member = team.agents[0]
    chosen, entropy = team.logprobs(0, APART, entropy_gradient=True)
    (chosen.sum() - 3 * entropy.sum()).backward()
    ours = gradients(team, member)
    causal = member.activate()
    total = 0.0
    for prompt, response in APART:
        logits = causal(input_ids=torch.tensor([prompt + response])).logits[0]
        scores = torch.log_softmax(logits, -1)[len(prompt) - 1 : len(prompt) + len(response) - 1]
        total = total + scores.gather(-1, torch.tensor(response)[:, None]).sum()
        total = total + 3 * (scores.exp() * scores).sum(-1).mean()
    total.backward()
    assert close(ours, gradients(team, member), 2e-5)


def test_the_bare_base_is_scored_without_an_adapter(family):
    team = a_team(family, "grouped")
    with torch.no_grad():
        ours, _ = team.agents[0].base.passes.logprobs(None, APART)
        with team.agents[0].model.disable_adapter():
            expected, _ = padded(team).logprobs(0, APART)
    assert close(ours, expected, 1e-5)


def test_adapters_on_some_projections_only(family):
    lora = {"rank": 3, "alpha": 5, "targets": ["q_proj", "v_proj", "down_proj"]}
    team = a_team(family, "grouped", lora=lora)
    ours, theirs = scored(team, 1, SHARED), scored(padded(team), 1, SHARED)
    assert all(close(*parts, 2e-5) for parts in zip(ours, theirs, strict=True))


def test_no_gradient_reaches_the_base(family):
    team = a_team(family, "grouped")
    scored(team, 0, APART)
    for name, parameter in team.agents[0].model.named_parameters():
        assert parameter.grad is None, name


def test_weights_that_change_are_noticed(family):
    """Whoever casts, moves or overwrites the base's weights need not know that they are stacked."""
    team = a_team(family, "grouped")
    before, _ = team.logprobs(0, APART)
    with torch.no_grad():
        team.agents[0].base.model.get_decoder().layers[1].self_attn.k_proj.base_layer.weight.mul_(1.5)
    changed, _ = team.logprobs(0, APART)
    assert (changed - before).abs().max() > 1e-4
    team.agents[0].model.double()
    exact, _ = team.logprobs(0, APART)
    assert exact.dtype == torch.float64
    expected, _ = padded(team).logprobs(0, APART)
    assert close(exact, expected.double(), 1e-6)
    assert close(changed, exact.float(), 1e-5)


# decoding


def sampled(team, count=3, mode="mixed", **sampling):
    prompts = [
        (agent, prompt, [derive(agent, prompt, k) for k in range(count)]) for prompt in PROMPTS for agent in (0, 1)
    ]
    groups = team.respond(prompts, Sampling(**{"max_new_tokens": 14, **sampling}), mode, 64)
    return [response for group in groups for response in group]


@pytest.mark.parametrize("model", ["tiny", "grouped", "biased", "qwen2", "qwen3"])
@pytest.mark.parametrize("mode", ["mixed", "sequential"])
def test_decoding_draws_what_the_padded_passes_draw(family, model, mode):
    team = a_team(family, model, None)
    team.agents[0].base.ends = frozenset(range(10, 30))  # rows leave the batch at different times
    ours = sampled(team, mode=mode)
    theirs = sampled(padded(team), mode=mode)
    assert len({len(response.tokens) for response in ours}) > 3
    assert [response.tokens for response in ours] == [response.tokens for response in theirs]
    expected = [response.logprob for response in theirs]
    assert [response.logprob for response in ours] == pytest.approx(expected, abs=1e-4)


def test_decoding_agrees_with_scoring_in_bfloat16(family):
    team = a_team(family, "grouped", None, dtype="bfloat16")
    for response, agent in zip(sampled(team), [0, 0, 0, 1, 1, 1] * 3, strict=True):
        score, _ = team.logprobs(agent, [(response.prompt, response.tokens)])
        assert response.logprob == pytest.approx(score.item(), abs=0.35)


def test_two_bases(family):
    team = make_team(family, "joint", agents=("grouped", "other"), critic="qwen3")
    ours = [scored(team, agent, APART) for agent in (0, 1)]
    responses = sampled(team)
    padded(team)
    for agent in (0, 1):
        assert all(close(*parts, 2e-5) for parts in zip(ours[agent], scored(team, agent, APART), strict=True))
    assert [response.tokens for response in responses] == [response.tokens for response in sampled(team)]


# what is refused


def test_other_architectures_take_padded_passes_and_say_so(family, capsys):
    lora = {"rank": 4, "alpha": 8, "targets": "all-linear"}
    team = a_team(family, "gpt2", None, lora=lora)
    messages = capsys.readouterr().err
    assert messages.count("general passes of transformers, since architecture GPT2LMHeadModel is none of") == 1
    team.logprobs(0, APART)
    team.logprobs(1, APART)
    assert "general passes" not in capsys.readouterr().err


def test_reasons_to_refuse(family):
    model = AutoModelForCausalLM.from_pretrained(family / "qwen2").requires_grad_(False)
    assert obstacle(model) is None
    model.config.layer_types[0] = "sliding_attention"
    assert "sliding_attention" in obstacle(model)
    model = AutoModelForCausalLM.from_pretrained(family / "grouped").requires_grad_(False)
    model.config.hidden_act = "gelu"
    assert obstacle(model) == "activation gelu is not silu"
    model = AutoModelForCausalLM.from_pretrained(family / "grouped")
    assert obstacle(model) == "its own weights are trained"
