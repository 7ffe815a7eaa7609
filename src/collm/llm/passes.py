"""The wall between a team and the two ways to run a model: what passes take and give.

A base has one `Passes`, chosen when a team is loaded (`Base.choose_passes`): packed ones (llm/packed, decoders of the
Llama family) or padded ones (llm/padded, any causal model of transformers). Either decode with a cache that grows, or
in fixed shapes (llm/static). Nobody above asks which of them it is.

A base carries the LoRA adapters of several members. Every call names its adapters; None is the model without any: the
bare base of adapters, or a whole copy that is trained itself.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from collm.llm.batching import Pair
from collm.llm.sampling import Generated, Request, Sampling


@dataclass(frozen=True)
class PassSettings:
    """How a base is run, fixed when its passes are made."""

    device: torch.device  # of ids, positions and results
    product_dtype: torch.dtype | None  # of the packed passes' products with gradients; None: the dtype of the base
    autocast: Callable[[], AbstractContextManager[Any]]  # the same for padded passes: around every pass
    recompute: bool  # compute layers again in the backward pass instead of keeping what is inside them
    cache: str = "growing"  # of decoding; static: fixed shapes (llm/static); auto: static on CUDA where the model can

    @property
    def static(self) -> bool:
        """Whether decoding is in fixed shapes."""
        return self.cache == "static" or (self.cache == "auto" and self.device.type == "cuda")


def rounding(dtype: torch.dtype) -> float:
    """Nats per token by which two passes over the same response may differ, products being of `dtype`.

    Random models of two layers and many architectures differ by up to 1e-6 in float32, 0.008 in bfloat16; the rest is
    room for models with many layers, and for experts that a router picks otherwise.
    """
    return {torch.bfloat16: 0.2, torch.float16: 0.2}.get(dtype, 0.02)


class Decode(Protocol):
    """What samples the responses of groups of equal size: see `Passes.decode`."""

    def __call__(
        self, adapters: Sequence[str | None], requests: Sequence[Request], sampling: Sampling, ends: frozenset[int]
    ) -> list[list[Generated]]: ...


def evened(
    decode: Decode,
    adapters: Sequence[str | None],
    requests: Sequence[Request],
    sampling: Sampling,
    ends: frozenset[int],
) -> list[list[Generated]]:
    """`Passes.decode_uneven` by a `decode` that takes groups of equal size.

    Groups with less than half of the requests of the largest one are decoded after it; the others are filled up with
    requests of theirs whose answers are thrown away.
    """
    sizes = Counter(request.group for request in requests)
    most = max(sizes.values())
    large = [group for group in sorted(sizes) if 2 * sizes[group] >= most]
    batch: list[Request] = []
    for place, group in enumerate(large):
        own = [dataclasses.replace(request, group=place) for request in requests if request.group == group]
        batch += [*own, *own[:1] * (most - len(own))]
    generated = iter(decode([adapters[group] for group in large], batch, sampling, ends))
    answers = {group: [next(generated) for _ in range(most)] for group in large}
    if rest := [request for request in requests if request.group not in answers]:
        left = iter(evened(decode, adapters, rest, sampling, ends))
        answers |= {group: [next(left) for _ in range(sizes[group])] for group in sorted(sizes) if group not in large}
    following = {group: iter(items) for group, items in answers.items()}
    return [next(following[request.group]) for request in requests]


class Passes(Protocol):
    """Everything that a team asks of a model."""

    @property
    def mixes(self) -> bool:
        """Whether `decode` serves several adapters in one batch; if not, it is called with one at a time."""
        ...

    def decode(
        self,
        adapters: Sequence[str | None],
        requests: Sequence[Request],
        sampling: Sampling,
        ends: frozenset[int],
    ) -> list[list[Generated]]:
        """Sample responses in one batch, without gradients.

        Args:
            adapters: one per group of requests; `Request.group` counts them. One alone unless `mixes`.
            requests: ordered by group, the same number of requests per group and of keys per request.
            ends: ids of the tokens that end a response.
        Returns:
            For every request one `Generated` per key, in order; their log-probabilities are of float32 logits.
        """
        ...

    def decode_uneven(
        self,
        adapters: Sequence[str | None],
        requests: Sequence[Request],
        sampling: Sampling,
        ends: frozenset[int],
    ) -> list[list[Generated]]:
        """The same of groups that may differ in their number of requests, as those of several teams do."""
        ...

    def logprobs(
        self,
        adapter: str | None,
        pairs: Sequence[Pair],
        entropy_gradient: bool = False,
        sampling: Sampling | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of responses by one teacher-forced pass, full softmax (paper §5.2).

        Args:
            adapter: the active one (`Member.activate`), which takes the gradient; None scores without adapters.
            pairs: (prompt ids, response ids); prompts that stand several times in a row may be computed once.
            entropy_gradient: whether the entropy carries a gradient.
            sampling: score under the policy that draws so (`sampling.as_sampled`) instead of the full softmax.
        Returns:
            ([batch] sum of token log-probabilities, [batch] mean entropy per token in nats), in float32 or float64.
        """
        ...

    def last_states(self, adapter: str | None, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """[batch, width] final hidden states of the last token of each text, in the dtype that the model ends with.

        Args:
            adapter: the active one (`Member.activate`), which takes the gradient.
            texts: token ids, at least one of each; padding is never seen.
        """
        ...
