"""Where the time of a training run goes, how many operations it needs, and what the machine could do at best."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from collm.training.trainer import Trainer

PARTS = {  # part -> attributes of the trainer whose calls it consists of
    "play": ("rollout.play",),
    "values": ("learner._backward_values", "learner.critics.values"),
    "policy": ("learner._backward_policy", "learner.policies.remember"),
    "optimiser": ("learner._optimise",),
}
SIZES = (1024, 2048, 4096)  # of the square products that are timed


class Parts:
    """Seconds by part of one run; the parts do not overlap: of calls within calls the outermost counts."""

    def __init__(self, trainer: Trainer):
        self._within = False
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        for part, paths in PARTS.items():
            for path in paths:
                owner = trainer
                *way, name = path.split(".")
                for step in way:
                    owner = getattr(owner, step)
                setattr(owner, name, self._timed(part, getattr(owner, name)))

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            if self._within:
                return call(*given, **named)
            self._within, started = True, time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self._within = False
                self.seconds[part] += time.perf_counter() - started

        return timed

    def of(self, wall_seconds: float) -> dict[str, float]:
        """Seconds by part with what is left of `wall_seconds`."""
        rest = wall_seconds - sum(self.seconds.values())
        return {name: round(seconds, 3) for name, seconds in {**self.seconds, "rest": rest}.items()}


class Work:
    """Operations (a multiplication and an addition are two) that a run's passes need, by what they serve.

    Counted from shapes: products with frozen weights (forward, and backward with respect to activations), adapters
    (the same and their own gradients), causal attention, and the output layer at the tokens of responses. A prompt that
    several responses share is counted once where it stands in one pass; nothing that is only computed again counts.
    """

    def __init__(self, trainer: Trainer):
        self.operations: dict[str, float] = defaultdict(float)
        team = trainer.team
        shape = team.agents[0].base.model.config.get_text_config()
        self.hidden, self.layers, self.vocabulary = shape.hidden_size, shape.num_hidden_layers, shape.vocab_size
        width = getattr(shape, "head_dim", None) or self.hidden // shape.num_attention_heads
        self.queries, keys = width * shape.num_attention_heads, width * shape.num_key_value_heads
        rank = team.settings.lora["rank"] if team.settings.adapter == "lora" else 0
        self.full = team.settings.adapter == "full"
        hidden, inner = self.hidden, shape.intermediate_size
        self.first = hidden * (self.queries + 2 * keys)  # query, key and value of one layer and token
        self.rest = self.queries * hidden + 3 * hidden * inner
        self.first_adapters = rank * (3 * hidden + self.queries + 2 * keys)
        self.rest_adapters = rank * (self.queries + hidden + 3 * (hidden + inner))
        for name in ("logprobs", "values", "respond"):
            setattr(team, name, self._counted(getattr(self, f"_{name}"), getattr(team, name)))

    def _counted(self, count: Callable[..., None], call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            result = call(*given, **named)
            count(result, *given)
            return result

        return counted

    def _logprobs(self, result: Any, agent: int, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
        responses = [len(response) for _, response in pairs]
        prompts = {prompt: len(prompt) for prompt, _ in pairs}
        tokens = sum(prompts.values()) + sum(responses) - len(responses)
        pairs_seen = sum(n * (n + 1) / 2 for n in prompts.values())
        pairs_seen += sum((n - 1) * (len(prompt) + n / 2) for (prompt, _), n in zip(pairs, responses, strict=True))
        self._training("policy", tokens, sum(responses), pairs_seen, sum(responses))

    def _values(self, result: Any, critic: int, texts: Sequence[Sequence[int]]) -> None:
        lengths = [len(text) for text in texts]
        self._training("values", sum(lengths), len(lengths), sum(n * (n + 1) / 2 for n in lengths), 0)

    def _respond(self, answers: Any, requests: Sequence[tuple[int, Sequence[int], Any]], *_: Any) -> None:
        prompts = {(agent, tuple(prompt)): len(prompt) for agent, prompt, _ in requests}
        seen = sum(n * (n + 1) / 2 for n in prompts.values())
        tokens, drawn = sum(prompts.values()), 0
        for (_, prompt, _), responses in zip(requests, answers, strict=True):
            for response in responses:
                drawn += len(response.tokens)
                seen += (len(response.tokens) - 1) * (len(prompt) + len(response.tokens) / 2)
                tokens += len(response.tokens) - 1
        self.operations["play"] += self._forward(tokens, drawn, seen, drawn)

    def _forward(self, tokens: float, ends: float, seen: float, heads: float) -> float:
        """Forward pass: `tokens`, `ends` whose last state is wanted, pairs `seen` by attention, logits of `heads`."""
        first, rest = self.first + self.first_adapters, self.rest + self.rest_adapters
        linear = tokens * (self.layers * first + (self.layers - 1) * rest) + ends * rest
        return 2 * linear + 4 * self.layers * self.queries * seen + 2 * self.hidden * self.vocabulary * heads

    def _training(self, part: str, tokens: float, ends: float, seen: float, heads: float) -> None:
        done = self._forward(tokens, ends, seen, heads)
        if torch.is_grad_enabled():
            every = self.layers * tokens
            frozen = (every - tokens) * (self.first + self.rest) + ends * self.rest
            adapters = every * self.first_adapters + (every - tokens + ends) * self.rest_adapters
            done += 2 * frozen + 4 * adapters + 8 * self.layers * self.queries * seen
            done += 2 * self.hidden * self.vocabulary * heads
            if self.full:  # gradients of the weights themselves
                done += 2 * (every * self.first + (every - tokens + ends) * self.rest)
                done += 2 * self.hidden * self.vocabulary * heads
        self.operations[part] += done

    @property
    def update(self) -> float:
        """Operations of all updates."""
        return self.operations["policy"] + self.operations["values"]


def matmul_rate(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Most operations per second that square products in `dtype` reach here, best of several sizes and repetitions."""
    best = 0.0
    for size in SIZES:
        left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
        out, spent = torch.mm(left, right), 0.0
        while spent < seconds:
            started = time.perf_counter()
            torch.mm(left, right, out=out)
            took = time.perf_counter() - started
            spent += took
            best = max(best, 2 * size**3 / took)
    return best


def top_operators(profile: torch.profiler.profile, count: int = 10) -> list[dict[str, Any]]:
    """The operators that took most time of their own: name, share of all operators' time, seconds, calls."""
    events = profile.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    ranked = sorted(events, key=lambda event: event.self_cpu_time_total, reverse=True)[:count]
    return [
        {
            "operator": event.key,
            "share": round(event.self_cpu_time_total / total, 4),
            "seconds": round(event.self_cpu_time_total / 1e6, 3),
            "calls": event.count,
        }
        for event in ranked
    ]
