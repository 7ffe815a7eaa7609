"""Part `right`: the same team on a CPU and on this device, number by number."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import torch

from collm.common.seeds import derive
from collm.llm.sampling import Sampling
from collm.llm.team import Team
from collm.runs import member_state
from on_gpu import models
from on_gpu.common import Context

PROMPTS = [tuple(3 + (11 * k + n) % 900 for k in range(n)) for n in (5, 40, 90)]
RESPONSES = [tuple(3 + (7 * k + n) % 900 for k in range(n)) for n in (12, 30, 1, 8, 20, 25)]
PAIRS = [(PROMPTS[place // 2], response) for place, response in enumerate(RESPONSES)]
BOUNDS = {"scores": 2e-3, "gradients": 2e-2, "tokens": 0.85}  # float32: nats, relative, share of equal responses
HALF_BOUNDS = {"scores": 0.2, "gradients": 0.3}  # bfloat16: nats per token, relative


def run(context: Context) -> None:
    """Every architecture, until the time is over."""
    kinds = list(models.ARCHITECTURES)[:2] if context.smoke else list(models.ARCHITECTURES)
    for kind in kinds:
        if context.deadline.left < 2:
            context.skip(kind, "no time left")
            continue
        _architecture(context, kind)


def _architecture(context: Context, kind: str) -> None:
    """All checks of one tiny model."""
    sizes = models.ARCHITECTURES[kind]
    folders = {kind: models.folder(f"tiny-{kind}", context.work, kind, sizes, weights=True, deviation=0.15)}
    here, cache = models.Place(context.device), "auto" if context.device_name == "cuda" else "static"
    reference = models.team((kind, kind), folders, models.Place(torch.device("cpu")), "joint")
    checks: dict[str, Callable[[], dict[str, Any]]] = {
        "float32": lambda: _numbers(
            reference, models.team((kind, kind), folders, here, "joint"), BOUNDS, per_token=False
        ),
        "bfloat16": lambda: _numbers(
            reference,
            models.team((kind, kind), folders, models.Place(context.device, "bf16"), "joint"),
            HALF_BOUNDS,
            per_token=True,
        ),
        "tokens": lambda: _tokens(reference, models.team((kind, kind), folders, here, cache="growing")),
        "static": lambda: _static(context, reference, models.team((kind, kind), folders, here, cache=cache)),
        "resume": lambda: _resume(models.team((kind, kind), folders, here, "joint"), reference),
    }
    for name, check in checks.items():
        try:
            context.add(model=kind, check=name, **check())
        except Exception as error:  # of any kind: the other checks are worth their time all the same
            context.add(model=kind, check=name, right=False, error=f"{type(error).__name__}: {str(error)[:300]}")


def _numbers(reference: Team, team: Team, bounds: dict[str, float], per_token: bool) -> dict[str, Any]:
    """Scores, values and gradients of both agents and the critic."""
    worst = {"scores": 0.0, "gradients": 0.0}
    lengths = torch.tensor([len(response) if per_token else 1 for _, response in PAIRS])
    for agent in range(2):
        expected, wanted = _scored(reference, agent)
        scores, gradient = _scored(team, agent)
        worst["scores"] = max(worst["scores"], ((scores - expected).abs() / lengths).max().item())
        worst["gradients"] = max(worst["gradients"], _relative(gradient, wanted))
    expected, wanted = _valued(reference)
    values, gradient = _valued(team)
    worst["values"] = ((values - expected).abs() / (1 + expected.abs())).max().item()
    worst["gradients"] = max(worst["gradients"], _relative(gradient, wanted))
    limits = {**bounds, "values": bounds["scores"]}
    return {**worst, "right": all(worst[name] <= limits[name] for name in worst)}


def _scored(team: Team, agent: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[pairs] scores and the gradient of their sum by the agent's numbers, on the CPU."""
    scores, _ = team.logprobs(agent, PAIRS)
    scores.sum().backward()
    return scores.detach().cpu().double(), _gradient(team.agents[agent])


def _valued(team: Team) -> tuple[torch.Tensor, torch.Tensor]:
    values = team.values(0, PROMPTS)
    values.sum().backward()
    return values.detach().cpu().double(), _gradient(team.critics[0])


def _gradient(member: Any) -> torch.Tensor:
    parts = []
    for _, part in member.parameters():
        parts.append(torch.zeros_like(part).flatten().cpu() if part.grad is None else part.grad.flatten().cpu())
        part.grad = None
    return torch.cat(parts).double()


def _relative(gradient: torch.Tensor, expected: torch.Tensor) -> float:
    return ((gradient - expected).norm() / expected.norm()).item()


def _asked() -> list[tuple[int, tuple[int, ...], list[int]]]:
    return [
        (agent, prompt, [derive(agent, len(prompt), k) for k in range(3)]) for prompt in PROMPTS for agent in (0, 1)
    ]


def _drawn(team: Team, sampling: Sampling, mode: str = "mixed") -> list[tuple[int, ...]]:
    return [r.tokens for group in team.respond(_asked(), sampling, mode, 64) for r in group]


def _equal(one: Sequence[tuple[int, ...]], other: Sequence[tuple[int, ...]]) -> float:
    """Share of responses that are the same, token by token."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


SAMPLINGS = {"greedy": Sampling(24, top_k=1), "keyed": Sampling(24, temperature=0.8, top_p=0.9)}


def _tokens(reference: Team, team: Team) -> dict[str, Any]:
    """Greedy and keyed tokens against the CPU's, and two adapters in one batch against one after another."""
    shares = {name: _equal(_drawn(team, plan), _drawn(reference, plan)) for name, plan in SAMPLINGS.items()}
    plan = SAMPLINGS["greedy"]
    shares["together"] = _equal(_drawn(team, plan), _drawn(team, plan, "sequential"))
    return {**shares, "right": min(shares.values()) >= BOUNDS["tokens"]}


def _static(context: Context, reference: Team, team: Team) -> dict[str, Any]:
    """The same in fixed shapes, three times, so that captured steps are replayed; and what became of the graphs."""
    passes: Any = team.agents[0].base.passes
    static = getattr(passes, "_static", None)
    if static is None:
        return {"right": None, "graphs": "none: this model decodes with a cache that grows"}
    shares = {}
    for name, plan in SAMPLINGS.items():
        expected = _drawn(reference, plan)
        shares[name] = min(_equal(_drawn(team, plan), expected) for _ in range(3))
    graphs = [graph for arena in static._arenas.values() for graph in arena.graphs.values()]
    captured = sum(graph is not None and graph is not False for graph in graphs)
    right = min(shares.values()) >= BOUNDS["tokens"]
    return {**shares, "captured": captured, "refused": sum(graph is False for graph in graphs), "right": right}


def _resume(team: Team, other: Team) -> dict[str, Any]:
    """A checkpoint that this device wrote goes on on a CPU, optimiser states included."""
    before = member_state.state_of(other, {})
    ends = []
    try:
        first, second = _optimisers(team), _optimisers(other)
        _step(team, first)
        file = io.BytesIO()
        torch.save(member_state.state_of(team, first), file)
        file.seek(0)
        member_state.restore(other, second, torch.load(file, map_location="cpu", weights_only=False))
        for one, optimisers in ((team, first), (other, second)):
            _step(one, optimisers)
            ends.append(
                torch.cat([p.detach().cpu().flatten() for m in one.members for _, p in m.parameters()]).double()
            )
    finally:
        member_state.restore(other, {}, before)
    off = _relative(ends[0], ends[1])
    return {"parameters": off, "right": off <= BOUNDS["gradients"]}


def _optimisers(team: Team) -> dict[str, torch.optim.Optimizer]:
    return {m.name: torch.optim.AdamW([part for _, part in m.parameters()], lr=1e-3) for m in team.members}


def _step(team: Team, optimisers: dict[str, torch.optim.Optimizer]) -> None:
    for agent in range(2):
        team.logprobs(agent, PAIRS)[0].sum().backward()
    team.values(0, PROMPTS).sum().backward()
    for optimiser in optimisers.values():
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
