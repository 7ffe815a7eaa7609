"""Updates against straightforward re-implementations: one sequence at a time, whole models, float64."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from support.toy import critic_ids, normalised, numbers, play, setting, update, with_plain_descent
from transformers import AutoModelForCausalLM

GAMMA = 0.9


def samples_of(nodes):
    return [(node, j) for node in nodes for j in range(len(node.actions))]


class Reference:
    """One member in float64, loaded with plain PEFT from what the team saved."""

    def __init__(self, models_folder, folder, name):
        base = AutoModelForCausalLM.from_pretrained(models_folder / "tiny", dtype=torch.float64)
        self.model = PeftModel.from_pretrained(base, folder / name, is_trainable=True).double().eval()
        head = folder / name / "value_head.pt"
        self.head = torch.load(head) if head.exists() else {}
        for key in self.head:
            self.head[key] = self.head[key].double().requires_grad_()

    def log_pi(self, prompt, response):
        logits = self.model(input_ids=torch.tensor([prompt + response])).logits[0]
        total = 0.0
        for place, token in enumerate(response, start=len(prompt) - 1):
            total = total + logits[place, token] - torch.logsumexp(logits[place], -1)
        return total

    def value(self, ids):
        states = self.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        return states[-1] @ self.head["weight"][0] + self.head["bias"][0]

    def gradient(self, loss):
        loss.backward()
        own = [p for n, p in self.model.named_parameters() if "lora_" in n]
        return torch.cat([p.grad.flatten() for p in [*own, *self.head.values()]])


def actor_critic_reference(team, references, nodes, method, turns, information):
    """(gradient per member, advantages per agent) of one minibatch that holds everything."""
    gradients, advantages = {}, {}
    for agent in (0, 1):
        name = "critic" if method == "collm_cc" else f"critic_{agent}"
        deltas, turns_of, loss = [], [], 0.0
        for node in nodes:
            value = references[name].value(critic_ids(team, node, method, agent, turns, information))
            for j, reward in enumerate(node.rewards):
                child = node.children[j]
                target = reward
                if child is not None:
                    ids = critic_ids(team, child, method, agent, turns, information)
                    target += GAMMA * references[name].value(ids).item()
                deltas.append(target - value.item())
                turns_of.append(node.turn)
                loss = loss + (target - value) ** 2
        if name not in gradients:
            gradients[name] = references[name].gradient(0.6 * loss / len(deltas))
        advantages[agent] = [0.0] * len(deltas)
        for turn in range(turns):
            places = [place for place, of in enumerate(turns_of) if of == turn]
            for place, value in zip(places, normalised([deltas[place] for place in places]), strict=True):
                advantages[agent][place] = value
    return gradients, advantages


def magrpo_reference(nodes):
    by_path = {(node.task.id, node.path): node for node in nodes}

    def returns(node):
        values = []
        for j, reward in enumerate(node.rewards):
            child = by_path.get((node.task.id, (*node.path, j)))
            values.append(reward + (GAMMA * sum(returns(child)) / len(child.rewards) if child else 0.0))
        return values

    flat = [a for node in nodes for a in normalised(returns(node))]
    return {0: flat, 1: flat}


@pytest.mark.parametrize(
    ("method", "semantics", "turns", "copies"),
    [
        ("collm_cc", "paper", 2, 1),
        ("collm_cc", "paper", 2, 2),
        ("collm_dc", "paper", 2, 1),
        ("magrpo", "paper", 2, 3),
        ("collm_dc", "released", 1, 1),
        ("magrpo", "released", 1, 4),
    ],
)
def test_one_update_is_minus_the_gradient(models_folder, tmp_path, method, semantics, turns, copies):
    team, learner = setting(
        models_folder, tmp_path, method, semantics, turns, minibatch_size=100, micro_batch_tokens=150, weight_decay=0.0
    )
    with_plain_descent(learner)
    nodes = play(team, count=3, turns=turns, generations=copies)
    team.save(tmp_path / "start")
    references = {m.name: Reference(models_folder, tmp_path / "start", m.name) for m in team.members}
    before = numbers(team)
    rows = update(learner, nodes, last=True)
    after = numbers(team)
    assert len(rows) == (1 if semantics == "paper" else 2)
    if method == "magrpo":
        gradients, advantages = {}, magrpo_reference(nodes)
    else:
        gradients, advantages = actor_critic_reference(team, references, nodes, method, turns, semantics == "paper")
    samples = samples_of(nodes)
    for agent in (0, 1):
        name = f"agent_{agent}"
        loss = 0.0
        for (node, j), advantage in zip(samples, advantages[agent], strict=True):
            response = node.responses[agent][j]
            loss = loss - advantage * references[name].log_pi(response.prompt, response.tokens) / len(samples)
        gradients[name] = references[name].gradient(loss)
    assert set(gradients) == {member.name for member in team.members}
    for name, gradient in gradients.items():
        step = (before[name] - after[name]).double()
        assert gradient.norm() > 1e-4
        assert (step - gradient).norm() < 2e-4 * gradient.norm(), name
        logged = next(row[f"gradient_norm/{name}"] for row in rows if f"gradient_norm/{name}" in row)
        assert logged == pytest.approx(gradient.norm().item(), rel=1e-3)


def test_released_critic_steps_within_each_agents_update(models_folder, tmp_path):
    """CC: two successive steps on the same data; the second starts where the first ended."""
    team, learner = setting(models_folder, tmp_path, "collm_cc", "released", minibatch_size=100)
    with_plain_descent(learner)
    nodes = play(team, count=3)
    team.save(tmp_path / "start")
    update(learner, nodes, last=True)
    reference = Reference(models_folder, tmp_path / "start", "critic")
    ids = [critic_ids(team, node, "collm_cc", 0, 1, information=False) for node in nodes]
    parts = [*[p for n, p in reference.model.named_parameters() if "lora_" in n], *reference.head.values()]
    for _ in range(2):
        loss = sum((node.rewards[0] - reference.value(i)) ** 2 for node, i in zip(nodes, ids, strict=True)) / 3
        for part in parts:
            part.grad = None
        (0.6 * loss).backward()
        with torch.no_grad():
            for part in parts:
                part -= part.grad
    expected = torch.cat([part.detach().flatten() for part in parts])
    torch.testing.assert_close(numbers(team)["critic"].double(), expected, rtol=1e-3, atol=1e-5)
