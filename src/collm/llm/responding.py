"""Responses of some agents to their prompts, in as few batches as can be: the agents of one team, or of several."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from collm.llm.batching import PromptKeys, decoding_batches, merge_prompts
from collm.llm.member import Member
from collm.llm.sampling import Generated, Request, Sampling


@dataclass(frozen=True)
class Response:
    """One agent's answer: text, its tokens (end token included if drawn), the prompt's tokens, the sum of the tokens'
    log-probabilities as the decoder saw them, whether the end token was drawn, and seconds that its batch took."""

    text: str
    tokens: tuple[int, ...]
    prompt: tuple[int, ...]
    logprob: float
    ended: bool
    seconds: float


def respond(
    agents: Sequence[Member],
    prompts: Sequence[PromptKeys],
    sampling: Sampling,
    decode_mode: str,
    max_rows: int,
    uneven: bool = False,
) -> list[list[Response]]:
    """Sample responses; see `Team.respond`.

    Args:
        agents: whom the first entry of a prompt counts.
        prompts: (agent, prompt ids, one key per response); equal prompts of an agent are prefilled together.
        uneven: agents that bring more prompts than others are decoded with them all the same.
    """
    mixed, first = decode_mode == "mixed", first_of_learner(agents)
    share = len(agents) if mixed else 1  # of the rows of a batch
    distinct = merge_prompts(prompts, max(1, max_rows // share))
    pools = [
        (id(member.model) if member.adapter and member.base.passes.mixes else first[agent]) if mixed else agent
        for agent, member in enumerate(agents)
    ]
    parts: list[list[Response]] = [[] for _ in distinct]
    for batch in decoding_batches(distinct, pools, max_rows):
        started = time.perf_counter()
        generated = _decode(agents, [distinct[index] for index in batch], sampling, uneven)
        seconds = time.perf_counter() - started
        for index, items in zip(batch, generated, strict=True):
            parts[index] = [response(agents, distinct[index], item, seconds) for item in items]
    answers: dict[tuple[int, tuple[int, ...]], list[Response]] = {}
    for (agent, prompt, _), part in zip(distinct, parts, strict=True):
        answers.setdefault((agent, prompt), []).extend(part)
    following = {key: iter(responses) for key, responses in answers.items()}
    return [[next(following[agent, prompt]) for _ in keys] for agent, prompt, keys in prompts]


def first_of_learner(agents: Sequence[Member]) -> list[int]:
    """[agent] the first agent with the same adapter: itself, unless agents share one."""
    places: dict[Member, int] = {}
    return [places.setdefault(member.learner, place) for place, member in enumerate(agents)]


def response(agents: Sequence[Member], asked: PromptKeys, item: Generated, seconds: float) -> Response:
    """What was generated, as an answer to a prompt."""
    agent, prompt, _ = asked
    words = item.tokens[:-1] if item.ended else item.tokens
    text = agents[agent].base.encoder.decode(words)
    return Response(text, item.tokens, prompt, item.logprob, item.ended, seconds)


def _decode(
    agents: Sequence[Member], prompts: Sequence[PromptKeys], sampling: Sampling, uneven: bool
) -> list[list[Generated]]:
    """One batch; unless `uneven`, agents that bring fewer prompts than others are decoded on their own.

    Agents that share an adapter are one group of rows.
    """
    first = first_of_learner(agents)
    prompts = [(first[agent], prompt, keys) for agent, prompt, keys in prompts]
    named = [agent for agent, _, _ in prompts]
    groups = sorted(set(named))
    base = agents[groups[0]].base
    if len({named.count(agent) for agent in groups}) > 1 and not uneven:
        parts = {
            agent: iter(_decode(agents, [p for p in prompts if p[0] == agent], sampling, uneven)) for agent in groups
        }
        return [next(parts[agent]) for agent in named]
    requests = [Request(groups.index(agent), prompt, tuple(keys)) for agent, prompt, keys in prompts]
    adapters = [agents[agent].adapter for agent in groups]
    if not uneven:
        return base.passes.decode(adapters, requests, sampling, base.ends)
    return base.passes.decode_uneven(adapters, requests, sampling, base.ends)
