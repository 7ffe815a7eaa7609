"""Train one agent with TRL's GRPOTrainer and print one JSON line; runs in TRL's environment only.

LoRA of rank 16 on all linear layers, as on our side; TRL's own defaults but for what makes the two sides comparable:
learning rate, temperature, top-p, response length, K and responses per update. `--variant plain` also takes the
settings that are fastest here: weights in bfloat16 and no gradient checkpointing.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse  # noqa: E402
import tempfile  # noqa: E402

import protocol  # noqa: E402  (the environment must be set before the library is imported)
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

RANK, ALPHA = 16, 32  # config/smol.yaml's
ROWS = 8  # responses per pass, TRL's default
TOKEN_COUNT = "completion ids as the trainer hands them to the reward, up to and including the end token; no padding"


def settings(arguments: argparse.Namespace, folder: str) -> GRPOConfig:
    """TRL's configuration: `buffer` tasks of K responses are played and then trained on in one step."""
    responses = arguments.buffer * arguments.generations
    rows = min(ROWS, responses)
    plain = arguments.variant == "plain"
    return GRPOConfig(
        output_dir=folder,
        use_cpu=not torch.cuda.is_available(),
        seed=arguments.seed,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        num_train_epochs=1,
        shuffle_dataset=False,
        learning_rate=arguments.learning_rate,
        lr_scheduler_type="constant",
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=responses // rows,
        num_generations=arguments.generations,
        max_completion_length=arguments.new_tokens,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        bf16=arguments.precision == "bf16",
        **({"gradient_checkpointing": False, "model_init_kwargs": {"dtype": "bfloat16"}} if plain else {}),
    )


def make_trainer(
    arguments: argparse.Namespace, meter: protocol.Meter, counts: Counter[str], folder: str
) -> GRPOTrainer:
    """TRL's trainer on agent 0's texts of the prompt file."""

    def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        counts["responses"] += len(completions)
        counts["tokens"] += sum(map(len, completion_ids))
        return [meter.reward(text) for text in completions]

    tasks = protocol.read_tasks(arguments.prompts, protocol.task_count(arguments))
    return GRPOTrainer(
        model=str(arguments.model),
        reward_funcs=reward,
        args=settings(arguments, folder),
        train_dataset=Dataset.from_list([{"prompt": task["prompts"][0]} for task in tasks]),
        processing_class=AutoTokenizer.from_pretrained(arguments.model),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, train, count: the result line as a dict."""
    meter, counts = protocol.Meter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(arguments, meter, counts, folder)
        with meter.training():
            trainer.train()
    if counts["responses"] != arguments.samples:
        raise ValueError(f"{counts['responses']} responses seen, asked for {arguments.samples}")
    base = str(next(p for p in trainer.model.parameters() if not p.requires_grad).dtype).removeprefix("torch.")
    trained = str(next(p for p in trainer.model.parameters() if p.requires_grad).dtype).removeprefix("torch.")
    memory = "gradient checkpointing" if trainer.args.gradient_checkpointing else "no checkpointing"
    return protocol.result(
        arguments,
        meter,
        side="peer",
        adapter="lora",
        generated_tokens=counts["tokens"],
        responses=counts["responses"],
        token_count=TOKEN_COUNT,
        updates={"agent_0": trainer.state.global_step},
        semantics="TRL",
        versions=protocol.versions("trl", "torch", "transformers", "peft", "accelerate"),
        precision=f"{base} base, {trained} LoRA, {arguments.precision} products, {memory}",
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, train, print the line."""
    parser = protocol.argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=("default", "plain"), default="default")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    arguments = parser.parse_args(argv)
    arguments.model = Path(arguments.model).resolve()
    protocol.check(arguments)
    if (arguments.method, arguments.agents) != ("grpo", 1):
        parser.error("TRL trains one agent: --method grpo --agents 1")
    return protocol.serve(lambda: work(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
