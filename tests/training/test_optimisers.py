"""Whole copies in bfloat16: steps that add up in float32, or not, as told; they train, go on, and are counted."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.runs import job, outcome, session, stop_after
from support.toy import make_team, numbers, play, setting, team_settings, update
from torch import nn

from collm.common.errors import ConfigError, Interrupted
from collm.config import checks
from collm.planning import memory
from collm.runs import member_state
from collm.training.optimisers import MasterAdamW
from collm.training.sft import Example, SupervisedFit
from collm.training.trainer import Trainer

WHOLE = {"adapter": "full", "dtype": "bfloat16"}
STATES = ("float32", "bfloat16")


def a_layer(dtype):
    layer = nn.Linear(24, 16)
    with torch.no_grad():
        for number, part in enumerate(layer.parameters()):
            part.copy_(torch.randn(part.shape, generator=torch.Generator().manual_seed(number)) / 5)
    return layer.to(dtype)


def stepped(optimiser, parts, count=30):
    """Steps with gradients that depend on nothing but their number."""
    draw = torch.Generator().manual_seed(7)
    for _ in range(count):
        for part in parts:
            part.grad = torch.randn(part.shape, generator=draw).bfloat16().to(part.dtype)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


@pytest.mark.parametrize("offload", [False, True])
def test_steps_of_bfloat16_weights_are_those_of_float32_ones_rounded(offload):
    layer, reference = a_layer(torch.bfloat16), a_layer(torch.bfloat16).float()
    parts, options = list(layer.parameters()), {"lr": 1e-5, "weight_decay": 0.01}
    first = [part.detach().clone() for part in parts]
    optimiser = MasterAdamW(parts, offload, fused=True, **options)
    stepped(optimiser, parts)
    stepped(torch.optim.AdamW(reference.parameters(), fused=True, **options), list(reference.parameters()))
    for part, own, expected in zip(parts, optimiser.masters, reference.parameters(), strict=True):
        assert part.dtype == torch.bfloat16 and part.grad is None and own.grad is None
        torch.testing.assert_close(own, expected, rtol=0, atol=0)
        torch.testing.assert_close(part, expected.bfloat16(), rtol=0, atol=0)
    assert any(not torch.equal(part, before) for part, before in zip(parts, first, strict=True))
    lost = list(a_layer(torch.bfloat16).parameters())  # the same steps without float32 copies come to nearly nothing
    stepped(torch.optim.AdamW(lost, fused=True, **options), lost)
    unmoved = [(part == before).float().mean().item() for part, before in zip(lost, first, strict=True)]
    moved = [(part != before).float().mean().item() for part, before in zip(parts, first, strict=True)]
    assert unmoved[0] > 0.9 and moved[0] > 2 * (1 - unmoved[0])


def test_parameters_in_float32_are_their_own_copies():
    layer = a_layer(torch.float32)
    optimiser = MasterAdamW(list(layer.parameters()), lr=1e-3)
    assert all(part is own for part, own in zip(layer.parameters(), optimiser.masters, strict=True))
    reference = a_layer(torch.float32)
    stepped(optimiser, list(layer.parameters()))
    stepped(torch.optim.AdamW(reference.parameters(), lr=1e-3), list(reference.parameters()))
    assert all(torch.equal(part, other) for part, other in zip(layer.parameters(), reference.parameters(), strict=True))


@pytest.mark.parametrize("before", [0, 3])
def test_a_state_goes_on_with_the_same_bits(tmp_path, before):
    def made():
        layer = a_layer(torch.bfloat16)
        return layer, MasterAdamW(list(layer.parameters()), lr=1e-4)

    (one, first), (two, second) = made(), made()
    stepped(first, list(one.parameters()), before)
    torch.save(member_state._in_main_memory(first), tmp_path / "state.pt")
    stepped(second, list(two.parameters()), 1)  # something else
    second.load_state_dict(torch.load(tmp_path / "state.pt"))
    for layer, optimiser in ((one, first), (two, second)):
        stepped(optimiser, list(layer.parameters()), 5)
    assert all(torch.equal(part, other) for part, other in zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.equal(own, other) for own, other in zip(first.masters, second.masters, strict=True))


# teams


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("method", ["collm_cc", "collm_dc"])
def test_it_trains_near_the_copies_in_float32(models_folder, tmp_path, method, states):
    changed = {}
    for name, team_changes in {"half": {**WHOLE, "states": states}, "exact": {"adapter": "full"}}.items():
        rates = {"agent_learning_rate": 1e-2, "critic_learning_rate": 1e-2}
        team, learner = setting(models_folder, tmp_path, method, team_changes=team_changes, **rates)
        before = numbers(team)
        update(learner, play(team, count=4))
        changed[name] = {member: (after.float() - before[member].float()) for member, after in numbers(team).items()}
        dtypes = {part.dtype for member in team.members for path, part in member.parameters() if "head" not in path}
        assert dtypes == {torch.bfloat16 if name == "half" else torch.float32}
    moments = {part.dtype for own in learner.optimisers["agent_0"].state.values() for part in own.values()}
    assert moments == {torch.float32}
    for member, change in changed["half"].items():
        cosine = torch.cosine_similarity(change, changed["exact"][member], 0)
        assert change.abs().max() > 0 and cosine > 0.5, (member, cosine)


@pytest.mark.parametrize("states", STATES)
def test_states_are_kept_as_told(models_folder, tmp_path, states):
    team, learner = setting(models_folder, tmp_path, "magrpo", team_changes={**WHOLE, "states": states})
    update(learner, play(team, count=2, generations=2))
    for optimiser in learner.optimisers.values():
        assert isinstance(optimiser, MasterAdamW) == (states == "float32")
        kept = {own["exp_avg"].dtype for own in optimiser.state.values()}
        assert kept == {getattr(torch, states)}


@pytest.mark.parametrize("states", STATES)
def test_a_warm_start_learns_its_examples(models_folder, states):
    team = make_team(models_folder, **WHOLE, states=states)
    examples = [[Example((5, 6, 7), (8, 9)), Example((7, 6), (9, 8))]] * 2
    plan = dataclasses.replace(job().warm_start, epochs=20, batch_size=2, learning_rate=3e-3)
    fit = SupervisedFit(team, examples, plan, 4096, 0)
    losses = [fit.step()["loss"] for _ in range(fit.total)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("states", STATES)
def test_a_stopped_run_ends_with_the_bytes_of_an_unbroken_one(models_folder, tmp_path, monkeypatch, states):
    plan = {"epochs": 1, "max_updates": 3, "minibatch_size": 2, "agent_learning_rate": 1e-4}

    def run(root):
        made = session(models_folder, root, training=plan)
        made.job = dataclasses.replace(made.job, team=team_settings(**WHOLE, states=states))
        Trainer(made, None).run()

    run(tmp_path / "unbroken")
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        with pytest.raises(Interrupted):
            run(tmp_path / "stopped")
    run(tmp_path / "stopped")
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "unbroken")


# what it takes, and what is refused


@pytest.mark.parametrize(
    ("team", "each"),
    [
        ({"adapter": "full"}, (4, 12)),
        ({**WHOLE}, (2, 14)),
        ({**WHOLE, "states": "bfloat16"}, (2, 6)),
    ],
)
def test_the_estimate_counts_what_is_kept(models_folder, tmp_path, team, each):
    own, learner = setting(models_folder, tmp_path, "magrpo", team_changes=team)
    update(learner, play(own, count=2, generations=2))
    trained = [part for member in own.members for _, part in member.parameters()]
    count = sum(part.numel() for part in trained)
    kept = sum(part.numel() * part.element_size() for part in trained) * 2  # weights and gradients
    for optimiser in learner.optimisers.values():
        tensors = [part for state in optimiser.state.values() for part in state.values() if part.dim()]
        if isinstance(optimiser, MasterAdamW):
            tensors += optimiser.masters
        kept += sum(part.numel() * part.element_size() for part in tensors)
    assert kept == count * sum(each)
    made = dataclasses.replace(job(), team=team_settings(**team))
    assert memory.gradient_bytes(made) + memory.state_bytes(made) == each[1]


@pytest.mark.parametrize("team", [{}, {"adapter": "full"}, {"dtype": "bfloat16"}])
def test_bfloat16_states_of_anything_else_are_refused(team):
    made = dataclasses.replace(job(), team=team_settings(**team, states="bfloat16"))
    with pytest.raises(ConfigError, match="here: team.states is bfloat16 with team.adapter .* set it to float32"):
        checks._check_storage(made, "here")
