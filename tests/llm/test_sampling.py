"""Decoding reads nothing but tokens from the device while it runs; logits of the policy that samples."""

from __future__ import annotations

import pytest
import torch
from support.toy import make_team

from collm.llm import sampling as sampling_module
from collm.llm.sampling import Sampling, as_sampled, pick


def test_log_probabilities_are_read_once_per_batch(models_folder, monkeypatch):
    """Each read of a number waits for the device: one per token, for the tokens themselves, is all that is needed."""
    team = make_team(models_folder)
    prompts = [(agent, team.prompt(agent, [{"role": "user", "content": "red"}], 8), [7, 8, 9]) for agent in (0, 1)]
    read, real = [], torch.Tensor.tolist

    def tolist(self):
        read.append(self.dtype)
        return real(self)

    monkeypatch.setattr(torch.Tensor, "tolist", tolist)
    answers = team.respond(prompts, Sampling(8), "mixed", 16)
    monkeypatch.undo()
    assert sum(dtype.is_floating_point for dtype in read) == 1
    for agent, group in enumerate(answers):
        with torch.no_grad():
            scores, _ = team.logprobs(agent, [(answer.prompt, answer.tokens) for answer in group])
        assert [answer.logprob for answer in group] == pytest.approx(scores.tolist(), abs=1e-3)


@pytest.mark.parametrize("sampling", [Sampling(1, 0.7, 0.8), Sampling(1, 2.0, 1.0, 3), Sampling(1, 0.5, 0.6, 6)])
def test_what_is_drawn_has_the_probabilities_that_are_scored(sampling):
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(1))
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    drawn = pick(logits.expand(20_000, -1), uniform, sampling)
    shares = torch.bincount(drawn, minlength=12) / 20_000
    scored = torch.softmax(as_sampled(logits, logits.argmax(-1), sampling), -1)[0]
    torch.testing.assert_close(shares, scored, atol=2e-4, rtol=0.0)
    assert ((scored > 0) == (shares > 0)).all() and (scored == 0).any()


def test_a_drawn_token_that_is_cut_off_by_now_stays_finite():
    logits = torch.tensor([[5.0, 0.0, -5.0]], requires_grad=True)
    log_pi = torch.log_softmax(as_sampled(logits, torch.tensor([2]), Sampling(1, 1.0, 0.5)), -1)
    assert log_pi[0, 2].item() == pytest.approx(-10.0, abs=1e-3)
    log_pi[0, 2].backward()
    assert logits.grad[0].tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-3)


def test_large_vocabularies_are_cut_the_same():
    """The nucleus is looked for among the most probable tokens; the rest stands in one column that is never kept."""
    logits = 8 * torch.randn(3, 1000, generator=torch.Generator().manual_seed(2))
    sampling = Sampling(1, 1.0, 0.9)
    top = logits.argmax(-1)
    scored = torch.softmax(as_sampled(logits, top, sampling), -1)
    for row, own in zip(logits, scored, strict=True):
        shares, order = torch.softmax(row, -1).sort(descending=True)
        kept = order[(shares.cumsum(-1) - shares) < 0.9]
        assert sorted(kept.tolist()) == own.nonzero()[:, 0].tolist()


@pytest.mark.parametrize("tokens", [1, 2, 7, 1000])
def test_sums_for_deterministic_gpus_are_those_of_cumsum(tokens):
    probabilities = torch.softmax(3 * torch.randn(4, tokens, generator=torch.Generator().manual_seed(3)), -1)
    sums = sampling_module._sums_by_doubling(probabilities)
    torch.testing.assert_close(sums, probabilities.double().cumsum(-1).float(), rtol=0, atol=3e-7)


def test_draws_with_them_are_the_same(monkeypatch):
    logits = 3 * torch.randn(500, 300, generator=torch.Generator().manual_seed(4))
    uniform = torch.rand(500, generator=torch.Generator().manual_seed(5))
    for sampling in (Sampling(1), Sampling(1, 0.7, 0.8), Sampling(1, 1.0, 1.0, 5)):
        expected = pick(logits, uniform, sampling)
        with monkeypatch.context() as patched:
            patched.setattr(sampling_module, "_sums", sampling_module._sums_by_doubling)
            assert (pick(logits, uniform, sampling) == expected).float().mean() >= 0.998  # one draw on a boundary
