"""Teams: scoring, decoding and storage against transformers and plain PEFT on one sequence at a time."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from support.toy import make_learner, make_team, numbers, play, update
from transformers import AutoModelForCausalLM

from collm.common.errors import ModelError
from collm.common.seeds import derive
from collm.llm import sampling as generation
from collm.llm.padded.multi_lora import grouped
from collm.llm.sampling import Sampling, pick

PROMPTS = [(9, 12, 40), (7, 8, 9, 10, 11, 12, 13, 14, 15), (3, 3)]
RESPONSES = [(20, 21, 22, 23, 24), (30,), (41, 42, 43)]
PAIRS = list(zip(PROMPTS, RESPONSES, strict=True))


@pytest.fixture(scope="module")
def team(models_folder):
    return make_team(models_folder, "joint")


def reference(team, agent, prompt, response):
    """Sum of token log-probabilities by a whole forward pass of the whole model."""
    causal = team.agents[agent].activate()
    with torch.no_grad():
        logits = causal(input_ids=torch.tensor([prompt + response])).logits[0].double()
    scores = torch.log_softmax(logits, -1)
    return sum(scores[len(prompt) + i - 1, token].item() for i, token in enumerate(response))


# scoring


@pytest.mark.parametrize("agent", [0, 1])
def test_logprobs_are_those_of_the_whole_model(team, agent):
    sums, _ = team.logprobs(agent, PAIRS)
    expected = [reference(team, agent, *pair) for pair in PAIRS]
    assert sums.tolist() == pytest.approx(expected, abs=1e-4)


def test_agents_differ(team):
    first, second = (team.logprobs(agent, PAIRS)[0] for agent in (0, 1))
    assert (first - second).abs().min() > 1e-3


def test_logprob_ignores_right_padding_and_the_rest_of_the_batch(team):
    alone = [team.logprobs(0, [pair])[0].item() for pair in PAIRS]
    longer = ((5,) * 60, (6,) * 60)
    padded, _ = team.logprobs(0, [*PAIRS, longer])
    assert padded[:3].tolist() == pytest.approx(alone, abs=2e-5)


def test_padding_is_not_the_only_thing_ignored_by_accident(team):
    """The end token belongs to the response: leaving it out changes the sum."""
    end = min(team.agents[0].base.ends)
    with_end, without = team.logprobs(0, [((9, 12), (20, end)), ((9, 12), (20,))])[0].tolist()
    assert with_end < without - 1.0


def test_entropy_is_per_token_and_exact(team):
    _, entropy = team.logprobs(0, PAIRS)
    causal = team.agents[0].activate()
    for (prompt, response), mean in zip(PAIRS, entropy.tolist(), strict=True):
        with torch.no_grad():
            logits = causal(input_ids=torch.tensor([prompt + response])).logits[0].double()
        places = torch.log_softmax(logits, -1)[len(prompt) - 1 : len(prompt) + len(response) - 1]
        expected = -(places.exp() * places).sum(-1).mean().item()
        assert mean == pytest.approx(expected, abs=1e-4)


def test_values_are_read_at_the_last_token(team):
    member = team.critics[0]
    texts = [(5, 6, 7), (8,), (9, 10, 11, 12, 13)]
    values = team.values(0, texts)
    causal = member.activate()
    for text, value in zip(texts, values.tolist(), strict=True):
        hidden = causal(input_ids=torch.tensor([text]), output_hidden_states=True).hidden_states[-1]
        assert value == pytest.approx(member.head(hidden[0, -1]).item(), abs=1e-5)
    assert len({round(value, 6) for value in values.tolist()}) == 3


def test_only_critics_value(team):
    with pytest.raises(ModelError, match="agent_0 has no value head; ask a critic for values"):
        team.agents[0].value(torch.zeros(1, 32))


# prompts


def test_cut_prompts_keep_both_ends_and_are_told(models_folder):
    team = make_team(models_folder, max_prompt_tokens=40)
    long, short = ([{"role": "user", "content": text}] for text in ("dog " + "red fox " * 90 + "zebra", "red"))
    ids, cut = team.fitted_prompt(0, long, 8)
    text = team.agents[0].base.tokenizer.decode(ids)
    assert cut and 30 <= len(ids) <= 40
    assert text.startswith("<|user|>dog red") and text.endswith("zebra<|end|><|assistant|>") and " [...] " in text
    assert team.prompt(0, long, 8) == ids
    ids, cut = team.fitted_prompt(0, short, 8)
    assert not cut and len(ids) < 40


def test_what_is_never_cut_must_fit(models_folder):
    team = make_team(models_folder, max_prompt_tokens=20)
    messages = [{"role": "system", "content": "red fox " * 30}, {"role": "user", "content": "zebra " * 50}]
    with pytest.raises(ModelError, match=r"tokens that are never cut .*and 20 are possible; raise team.max_p"):
        team.prompt(0, messages, 8)


def test_prompt_leaves_room_for_the_response(models_folder):
    team = make_team(models_folder)
    ids = team.prompt(0, [{"role": "user", "content": "zebra " * 300}], 100)
    assert 256 - 105 <= len(ids) <= 256 - 100
    with pytest.raises(ModelError, match="context of 256 tokens, and rollout.max_new_tokens is 256"):
        team.prompt(0, [{"role": "user", "content": "a"}], 256)


def test_chat_template_adds_roles(models_folder):
    for chat, expected in ((True, "<|user|>red<|end|><|assistant|>"), (False, "red")):
        team = make_team(models_folder, chat_template=chat)
        ids = team.prompt(0, [{"role": "user", "content": "red"}], 8)
        assert team.agents[0].base.tokenizer.decode(ids) == expected


# decoding


def ask(team, requests, mode="mixed", max_rows=64, **sampling):
    sampling = Sampling(**{"max_new_tokens": 12, **sampling})
    prompts = [
        (agent, team.prompt(agent, [{"role": "user", "content": text}], 12), keys) for agent, text, keys in requests
    ]
    answers = team.respond(prompts, sampling, mode, max_rows)
    return [[response.tokens for response in group] for group in answers]


REQUESTS = [
    (agent, text, [derive(agent, text, k) for k in range(3)])
    for text in ("red", "a much longer prompt about a quick brown fox", "sea and green", "dog")
    for agent in (0, 1)
]


def test_a_response_does_not_depend_on_its_batch(team):
    together = ask(team, REQUESTS)
    for request, expected in zip(REQUESTS, together, strict=True):
        agent, text, keys = request
        assert ask(team, [request]) == [expected]
        assert ask(team, [(agent, text, [keys[1]])]) == [[expected[1]]]


@pytest.mark.parametrize(("mode", "max_rows"), [("sequential", 64), ("mixed", 7), ("mixed", 1), ("sequential", 3)])
def test_decoding_modes_and_batch_sizes_agree(team, mode, max_rows):
    assert ask(team, REQUESTS, mode, max_rows) == ask(team, REQUESTS)


@pytest.mark.parametrize("mode", ["mixed", "sequential"])
@pytest.mark.parametrize("max_rows", [2, 5, 64])
def test_equal_prompts_share_their_prefill_within_max_rows(team, monkeypatch, mode, max_rows):
    rows, prompts = [], []
    real = generation.decode

    def decode(stepper, requests, *arguments):
        rows.append(sum(len(request.keys) for request in requests))
        prompts.append(len(requests))
        return real(stepper, requests, *arguments)

    monkeypatch.setattr("collm.llm.packed.passes.decode", decode)
    repeated = [*REQUESTS, (0, "red", [77, 78]), (1, "dog", [79])]
    together = ask(team, repeated, mode, max_rows)
    assert max(rows) <= max(max_rows, 2)
    assert max_rows < 64 or sum(prompts) == len(REQUESTS)
    assert together[:-2] == ask(team, REQUESTS)
    assert together[-2:] == [ask(team, [request])[0] for request in repeated[-2:]]


def test_agents_with_unequal_numbers_of_prompts(team):
    assert ask(team, REQUESTS[:3]) == ask(team, REQUESTS)[:3]


def test_keys_decide_the_randomness(team):
    same = ask(team, [(0, "red", [1, 1, 2])])[0]
    assert same[0] == same[1] != same[2]


def test_samples_follow_the_scored_distribution(team):
    """Generation's own log-probability equals the teacher-forced one: cache, positions and adapters agree."""
    keys = [derive("x", k) for k in range(4)]
    prompts = [
        (agent, team.prompt(agent, [{"role": "user", "content": text}], 12), keys)
        for agent in (0, 1)
        for text in ("red", "a much longer prompt, quick fox")
    ]
    for (agent, prompt, _), group in zip(prompts, team.respond(prompts, Sampling(12), "mixed", 64), strict=True):
        scored, _ = team.logprobs(agent, [(prompt, response.tokens) for response in group])
        assert [response.logprob for response in group] == pytest.approx(scored.tolist(), abs=1e-3)


def test_responses_are_cut_at_the_end_token(models_folder):
    team = make_team(models_folder)
    base = team.agents[0].base
    base.ends = ends = frozenset(range(10, 22))  # one of a random model's tokens in twenty-five ends a response
    keys = [derive("end", k) for k in range(24)]
    prompts = ["red", "a much longer prompt about a quick brown fox"]
    asked = [
        (agent, team.prompt(agent, [{"role": "user", "content": text}], 40), keys)
        for text in prompts
        for agent in (0, 1)
    ]
    groups = team.respond(asked, Sampling(40), "mixed", 512)
    responses = [response for group in groups for response in group]
    assert 20 < sum(response.ended for response in responses) < len(responses)
    for response in responses:
        words = response.tokens[:-1] if response.ended else response.tokens
        assert not ends.intersection(words)
        assert (response.tokens[-1] in ends) == response.ended
        assert response.ended or len(response.tokens) == 40
        assert response.text == base.tokenizer.decode(words, skip_special_tokens=True)
    assert len({len(response.tokens) for response in responses}) > 10  # rows left the batch at different times
    for (agent, prompt, keys), group in zip(asked, groups, strict=True):
        alone = team.respond([(agent, prompt, keys[:2])], Sampling(40), "sequential", 1)[0]
        assert [r.tokens for r in alone] == [r.tokens for r in group[:2]]


def test_grouped_adapters_equal_peft_one_by_one(team):
    ids = torch.randint(6, 250, (4, 9), generator=torch.Generator().manual_seed(3))
    model = team.agents[0].model
    with torch.no_grad():
        with grouped(model, ["agent_1", "critic"]):
            mixed = model.get_base_model()(input_ids=ids).logits
        for name, rows in (("agent_1", slice(0, 2)), ("critic", slice(2, 4))):
            model.set_adapter(name)
            alone = model.get_base_model()(input_ids=ids[rows]).logits
            torch.testing.assert_close(mixed[rows], alone, rtol=1e-5, atol=1e-6)
        swapped = model.get_base_model()(input_ids=ids[:2]).logits
    assert (swapped - mixed[:2]).abs().max() > 1e-3  # the critic's adapter is not agent_1's


def test_grouping_ends_with_its_block(team):
    model = team.agents[0].model
    with pytest.raises(RuntimeError, match="inside"), grouped(model, ["agent_0", "agent_1"]):
        raise RuntimeError("inside")
    sums, _ = team.logprobs(0, PAIRS)
    assert sums.tolist() == pytest.approx([reference(team, 0, *pair) for pair in PAIRS], abs=1e-4)
    assert "forward" not in vars(next(m for n, m in model.named_modules() if n.endswith("q_proj")))


# sampling


def exact(logits, temperature, top_p, top_k):
    """The distribution after temperature, top-k and top-p, in float64, token by token."""
    probabilities = torch.softmax(logits.double() / temperature, -1)
    order = sorted(range(len(logits)), key=lambda token: -probabilities[token].item())
    if top_k is not None:
        order = order[:top_k]
    total = sum(probabilities[token].item() for token in order)
    kept, before = {}, 0.0
    for token in order:
        if before >= top_p:
            break
        kept[token] = probabilities[token].item() / total
        before += kept[token]
    mass = sum(kept.values())
    return {token: share / mass for token, share in kept.items()}


@pytest.mark.parametrize("size", [40, 900])
@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"),
    [(1.0, 1.0, None), (0.7, 0.9, None), (0.6, 0.6, None), (1.0, 1.0, 5), (0.7, 0.8, 10), (3.0, 0.99, None)],
)
def test_pick_inverts_the_exact_distribution(size, temperature, top_p, top_k):
    logits = 2.0 * torch.randn(size, generator=torch.Generator().manual_seed(size))
    count = 20_000
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = pick(logits.expand(count, -1), uniform.float(), Sampling(1, temperature, top_p, top_k))
    shares = torch.bincount(tokens, minlength=size).double() / count
    expected = exact(logits, temperature, top_p, top_k)
    assert {token for token in range(size) if shares[token] > 0} <= set(expected)
    for token in range(size):
        # an evenly spaced comb hits every interval to within one tooth at either end
        assert shares[token].item() == pytest.approx(expected.get(token, 0.0), abs=2.1 / count)


def test_pick_at_the_ends_of_the_interval():
    logits = torch.tensor([[-40.0, 0.0, 0.0, -60.0]]).expand(2, -1)
    tokens = pick(logits, torch.tensor([0.0, 1.0]), Sampling(1))
    assert tokens.tolist()[1] != 3
    narrow = pick(logits, torch.tensor([0.0, 1.0]), Sampling(1, 1.0, 0.4))
    assert len(set(narrow.tolist())) == 1 and narrow[0] in (1, 2)


# storage


def test_adapters_load_with_plain_peft(team, models_folder, tmp_path):
    team.save(tmp_path)
    for agent, member in enumerate(team.agents):
        base = AutoModelForCausalLM.from_pretrained(models_folder / "tiny", dtype=torch.float32)
        plain = PeftModel.from_pretrained(base, tmp_path / member.name).eval()
        for prompt, response in PAIRS:
            with torch.no_grad():
                logits = plain(input_ids=torch.tensor([prompt + response])).logits[0]
            scores = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
            total = scores.gather(-1, torch.tensor(response)[:, None]).sum().item()
            assert total == pytest.approx(reference(team, agent, prompt, response), abs=1e-4)


def test_saved_settings_do_not_depend_on_the_order_of_a_set(team, tmp_path):
    team.save(tmp_path)
    for member in team.members:
        targets = json.loads((tmp_path / member.name / "adapter_config.json").read_text())["target_modules"]
        assert len(targets) > 1 and targets == sorted(targets)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_round_trip(models_folder, tmp_path, adapter):
    one = make_team(models_folder, "joint", seed=0, adapter=adapter)
    if adapter == "full":
        with torch.no_grad():
            for member in one.members:
                for _, part in member.parameters():
                    part.add_(0.01 * torch.randn(part.shape, generator=torch.Generator().manual_seed(len(member.name))))
    one.save(tmp_path)
    two = make_team(models_folder, "joint", seed=5, adapter=adapter, randomise=False)
    before, expected = numbers(two), numbers(one)
    assert all(not torch.equal(before[name], expected[name]) for name in expected)
    two.load_agents(tmp_path)
    two.critics[0].load(tmp_path)
    after = numbers(two)
    assert all(torch.equal(after[name], expected[name]) for name in expected)


def test_load_says_what_is_missing(team, tmp_path):
    with pytest.raises(ModelError, match="no adapter of agent_0 in .*; run warm_start or train first"):
        team.load_agents(tmp_path)


def test_missing_model_says_how_to_make_it(tmp_path):
    with pytest.raises(ModelError, match=r"make it with: python src/make_model.py --model tiny"):
        make_team(tmp_path)


def test_same_seed_same_start(models_folder):
    one, two, other = (numbers(make_team(models_folder, "local", seed=s, randomise=False)) for s in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


# teams of several kinds


def test_shared_base_is_loaded_once_and_never_trained(models_folder, tmp_path):
    team = make_team(models_folder, "local")
    assert len({id(member.base) for member in team.members}) == 1
    frozen = {n: p.clone() for n, p in team.agents[0].model.named_parameters() if "lora" not in n}
    update(make_learner(team, "collm_dc", tmp_path), play(team))
    for name, part in team.agents[0].model.named_parameters():
        assert name not in frozen or torch.equal(part, frozen[name])


@pytest.mark.parametrize("method", ["collm_cc", "magrpo"])
def test_full_models_train(models_folder, tmp_path, method):
    critics = "joint" if method == "collm_cc" else None
    team = make_team(models_folder, critics, adapter="full")
    assert len({id(member.model) for member in team.members}) == len(team.members)
    before = numbers(team)
    update(make_learner(team, method, tmp_path), play(team, generations=2))
    after = numbers(team)
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_two_bases_and_a_critic_on_another(models_folder, tmp_path):
    """Different models, tokenizers and contexts; the critic's text is in the critic's own tokenizer."""
    team = make_team(models_folder, "joint", agents=("tiny", "other"), critic="other")
    text = "a quick brown fox, yellow and black"
    assert team.agents[0].base.tokenizer(text)["input_ids"] != team.agents[1].base.tokenizer(text)["input_ids"]
    assert list(team.text_ids(0, text)) == team.agents[1].base.tokenizer(text)["input_ids"]
    nodes = play(team, count=3, turns=2, generations=2)
    vocabularies = [member.base.model.config.vocab_size for member in team.agents]
    assert vocabularies[0] != vocabularies[1]
    for node in nodes:
        for agent in (0, 1):
            assert max(t for r in node.responses[agent] for t in r.tokens) < vocabularies[agent]
    before = numbers(team)
    rows = update(make_learner(team, "collm_cc", tmp_path, turns=2, minibatch_size=18), nodes)
    assert len(rows) == 1 and rows[0]["ratio_max/agent_1"] == 1.0
    after = numbers(team)
    assert all(not torch.equal(before[name], after[name]) for name in ("agent_0", "agent_1", "critic"))


def test_critics_text_keeps_both_ends_and_is_counted(models_folder):
    team = make_team(models_folder, "joint", critic="other")
    ids = team.text_ids(0, "dog " + "red fox " * 300 + "zebra")
    assert 187 <= len(ids) <= 192
    text = team.critics[0].base.tokenizer.decode(ids)
    assert text.startswith("dog red") and text.endswith("zebra")
    team.text_ids(0, "red")
    assert team.cut_texts() == {"cut_texts/critic": 0.5}
    assert team.cut_texts() == {}
