"""Train with CoLLM and print one JSON line, in the form of the peer's worker; runs in CoLLM's environment.

The settings are those of config/smol.yaml, but for what makes the two sides comparable (see `overlay`). The loop
is the trainer's own without evaluation, checkpoints and output files, as the peer's run has none of them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import protocol

from collm import config
from collm.domains.base import Message, Step, Task
from collm.domains.tldr import Tldr
from collm.files import write_json
from collm.session import Places, Session, accelerator
from collm.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
CONFIG = (ROOT / "config" / "config.yaml", ROOT / "config" / "smol.yaml")
DOMAIN, MODEL = "tldr", "smol"
TOKEN_COUNT = "tokens of every response up to and including the end token, as the decoder drew them; no padding"


def overlay(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings that win over the files: one turn, plain text, `buffer` tasks played and then trained on."""
    tasks = arguments.buffer
    block = {
        "team": {
            "adapter": arguments.adapter, "precision": arguments.precision, "chat_template": False,
            "dtype": {"bf16": "bfloat16", "fp32": "float32"}[arguments.precision],
        },
        "rollout": {
            "turns": 1, "generations": arguments.generations, "max_new_tokens": arguments.new_tokens,
            "temperature": arguments.temperature, "top_p": arguments.top_p, "early_stop": None,
        },
        "training": {
            "epochs": 1, "max_updates": None, "passes": 1, "shuffle": False,
            "tasks_per_rollout": tasks, "minibatch": tasks * arguments.generations,
            "agent_learning_rate": arguments.learning_rate, "critic_learning_rate": arguments.learning_rate,
        },
    }  # fmt: skip
    return {"semantics": arguments.semantics, "domain": {DOMAIN: {"methods": {arguments.method: block}}}}


class PromptFile(Tldr):
    """Prompts as they stand in the prompt file, one text per agent, and the benchmark's cheap reward."""

    meter: protocol.Meter

    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Any], feedback: Any) -> list[Message]:
        """The agent's text from the file, as one message."""
        return [{"role": "user", "content": task.fields["prompts"][agent]}]

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Score with the reward that the peer gets too."""
        reward = self.meter.reward(*self.check_joint_action(joint_action))
        return Step({"reward": reward}, reward, {}, (None, None), None, {})


class BareTrainer(Trainer):
    """The trainer's loop with nothing around it: no evaluation, no checkpoint, no output."""

    def _evaluation_due(self) -> bool:
        return False

    def _save(self, finished: bool = False) -> None:
        return None

    def _write_outputs(self) -> None:
        return None


for name in ("_evaluation_due", "_save", "_write_outputs"):
    if not hasattr(Trainer, name):
        raise AttributeError(f"Trainer.{name} is gone; the benchmark would time it, so name the new one here")


def make_trainer(arguments: argparse.Namespace, meter: protocol.Meter, scratch: Path) -> BareTrainer:
    """Session and trainer on the prompt file's tasks; `scratch` takes the journal."""
    files = config.load(CONFIG)
    job = config.job(config.merge(files, overlay(arguments)), DOMAIN, arguments.method)
    domain = PromptFile(job.options, job.profile)
    domain.meter = meter
    rows = protocol.read_tasks(arguments.prompts, arguments.samples // arguments.generations)
    tasks = [Task(row["id"], DOMAIN, {"prompts": row["prompts"]}) for row in rows]
    places = Places(scratch, scratch, scratch, scratch)
    write_json(scratch / "manifest.json", {})
    folders: Mapping[str, Path] = {MODEL: arguments.model}
    device = accelerator(job, scratch)
    return BareTrainer(Session(job, arguments.seed, places, device, domain, tasks, tasks, folders), start=None)


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, train, count: the result line as a dict."""
    meter = protocol.Meter()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = make_trainer(arguments, meter, Path(scratch))
        with meter.training():
            trainer.run()
    counts = trainer.progress_state
    if counts["env_step"] != arguments.samples or len(meter.rewards) != arguments.samples:
        raise ValueError(f"{counts['env_step']} joint samples trained on, asked for {arguments.samples}")
    base = "fp32 copies" if arguments.adapter == "full" else f"{trainer.job.team.dtype} base, fp32 LoRA"
    return protocol.result(
        arguments, meter, side="ours", adapter=arguments.adapter, generated_tokens=counts["tokens"],
        responses=len(trainer.team.agents) * counts["env_step"], token_count=TOKEN_COUNT,
        precision=f"{base}, {arguments.precision} products", semantics=arguments.semantics,
        updates=dict(trainer.learner.steps),
        versions=protocol.versions("torch", "transformers", "peft", "accelerate"),
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Parse, train, print the line."""
    parser = protocol.argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--adapter", choices=protocol.ADAPTERS, default="lora")
    parser.add_argument("--semantics", choices=("paper", "released"), default="paper")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    arguments = parser.parse_args(argv)
    protocol.check(arguments)
    return protocol.serve(lambda: work(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
