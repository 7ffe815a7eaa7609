"""Tokens per second of our decoding and of transformers' own generate on one batch; prints one JSON line.

The batch is that of one rollout: every task's prompts of all agents, K responses each, all of the same length (end
tokens do not end a response here, so that both sides draw the same number). Ours decodes every agent with its own
adapter; theirs is measured without adapters in both dtypes, of which the faster counts, and with one adapter for all.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import our_worker
import protocol
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from collm.common.seeds import derive
from collm.llm.sampling import Sampling

REPEATS = 2


def best(call: Callable[[], Any], tokens: int) -> float:
    """Tokens per second of the fastest of `REPEATS` calls, after one that does not count."""
    call()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return tokens / min(times)


def ours(arguments: argparse.Namespace, scratch: Path) -> tuple[Callable[[], Any], list[str]]:
    """Our decoding of the whole batch, and its prompts as text."""
    trainer = our_worker.make_trainer(arguments, protocol.Meter(), scratch)
    team, domain = trainer.team, trainer.setup.domain
    for agent in team.agents:
        agent.base.ends = frozenset()
    requests, texts = [], []
    for task in trainer.setup.train:
        for agent in range(len(team.agents)):
            messages = domain.observe(task, agent, 0, (), None)
            keys = [derive(task.id, agent, k) for k in range(arguments.generations)]
            requests.append((agent, team.prompt(agent, messages, arguments.new_tokens), keys))
            texts.append(messages[0]["content"])
    sampling = Sampling(arguments.new_tokens, arguments.temperature, arguments.top_p, None)

    def call() -> None:
        answers = team.respond(requests, sampling, "mixed", len(requests) * arguments.generations)
        drawn = {len(response.tokens) for responses in answers for response in responses}
        if drawn != {arguments.new_tokens}:
            raise ValueError(f"responses of {drawn} tokens, {arguments.new_tokens} were asked for")

    return call, texts


def theirs(arguments: argparse.Namespace, texts: list[str], dtype: torch.dtype, adapter: bool) -> Callable[[], Any]:
    """transformers' generate on the same prompts."""
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype).eval()
    if adapter:
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora, autocast_adapter_dtype=False).eval()
    batch = tokenizer(texts, return_tensors="pt", padding=True)

    def call() -> None:
        with torch.inference_mode():
            sequences = model.generate(
                **batch,
                do_sample=True,
                temperature=arguments.temperature,
                top_p=arguments.top_p,
                top_k=0,
                num_return_sequences=arguments.generations,
                max_new_tokens=arguments.new_tokens,
                min_new_tokens=arguments.new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        if sequences.shape[1] != batch["input_ids"].shape[1] + arguments.new_tokens:
            raise ValueError(f"sequences of {sequences.shape[1]} tokens came back")

    return call


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all."""
    with tempfile.TemporaryDirectory() as scratch:
        call, texts = ours(arguments, Path(scratch))
        tokens = len(texts) * arguments.generations * arguments.new_tokens
        own = best(call, tokens)
    speeds = {
        name: best(theirs(arguments, texts, dtype, adapter=False), tokens)
        for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32))
    }
    fastest = max(speeds, key=speeds.__getitem__)
    adapted = best(theirs(arguments, texts, getattr(torch, fastest), adapter=True), tokens)
    return {
        "rows": len(texts) * arguments.generations,
        "adapters": arguments.agents,
        "new_tokens": arguments.new_tokens,
        "ours": own,
        "theirs": speeds[fastest],
        "best": fastest,
        "speeds": speeds,
        "theirs_with_adapter": adapted,
    }


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, print the line."""
    arguments = our_worker.argument_parser().parse_args(argv)
    protocol.check(arguments)
    return protocol.serve(lambda: work(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
