"""Train with CoLLM and print one JSON line, in the form of the peer's worker; runs in CoLLM's environment.

The settings are those of config/smol.yaml, but for what makes the two sides comparable (see `overlay`). The loop
is the trainer's own without evaluation, checkpoints and output files, as the peer's run has none of them.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import protocol
import torch
import workmeter
from on_gpu.runs import configuration

from collm.common.files import write_json
from collm.config.job import Job
from collm.config.numbers import whole_numbers
from collm.config.resolve import merge, resolve_job
from collm.domains.base import Domain, Message, Step, Task
from collm.domains.building.str_build import StrBuild
from collm.domains.writing.tldr import Tldr
from collm.runs.folders import RunFolders
from collm.runs.resumable import ResumableRun
from collm.training.setup import RunSetup, accelerator
from collm.training.trainer import Trainer

CONFIG = ("config.yaml", "smol.yaml")
MODEL = "smol"
DOMAINS = {"prompts": "tldr", "str_build": "str_build"}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
LEFT_OUT = ("save", "write_outputs")  # of what a run does
TOKEN_COUNT = "tokens of every response up to and including the end token, as the decoder drew them; no padding"


def overlay(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings that win over the files: plain text, `buffer` tasks played and then trained on."""
    tasks, turns = arguments.buffer, protocol.TURNS[arguments.game]
    block = {
        "team": {
            "adapter": arguments.adapter,
            "precision": arguments.precision,
            "chat_template": False,
            "dtype": {"bf16": "bfloat16", "fp32": "float32"}[arguments.precision],
            "num_agents": arguments.agents,
            "agents": MODEL,
            "critic": MODEL,
        },
        "rollout": {
            "turns": turns,
            "generations": arguments.generations,
            "max_new_tokens": arguments.new_tokens,
            "temperature": arguments.temperature,
            "top_p": arguments.top_p,
            "early_stop": None,
        },
        "training": {
            "epochs": 1,
            "max_updates": None,
            "update_epochs": 1,
            "shuffle": False,
            "tasks_per_rollout": tasks,
            "minibatch_size": tasks * arguments.generations * turns,
            "agent_learning_rate": arguments.learning_rate,
            "critic_learning_rate": arguments.learning_rate,
        },
    }
    methods = {arguments.method: block}
    return {"semantics": arguments.semantics, "domain": {DOMAINS[arguments.game]: {"methods": methods}}}


class PromptFile(Tldr):
    """Prompts as they stand in the prompt file, two texts in turn for any number of agents, and the cheap reward."""

    meter: protocol.Meter
    team_sizes = None

    def observe(self, task: Task, agent: int, turn: int, history: Sequence[Any], feedback: Any) -> list[Message]:
        """The agent's text from the file, as one message."""
        prompts = task.fields["prompts"]
        return [{"role": "user", "content": prompts[agent % len(prompts)]}]

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """Score with the reward that the peer gets too."""
        reward = self.meter.reward(*[text or "" for text in joint_action])
        return Step({"reward": reward}, reward, {}, (None,) * len(joint_action), None, {})


class Builders(StrBuild):
    """StrBuild with its rewards noted."""

    meter: protocol.Meter

    def step(self, task: Task, turn: int, joint_action: Sequence[str | None], world: Any) -> Step:
        """As StrBuild does."""
        step = super().step(task, turn, joint_action, world)
        self.meter.note(step.reward)
        return step


class BareTrainer(Trainer):
    """The trainer's loop with nothing around it: no evaluation, no checkpoint, no output."""

    def __init__(self, setup: RunSetup, start: Path | None):
        super().__init__(setup, start)
        for name in LEFT_OUT:
            setattr(self.resumable, name, _nothing)

    def _evaluation_due(self) -> bool:
        return False


def _nothing(*given: Any, **named: Any) -> None:
    return None


for owner, name in ((Trainer, "_evaluation_due"), *((ResumableRun, name) for name in LEFT_OUT)):
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__}.{name} is gone; the benchmark would time it, so name the new one here")


def make_domain(arguments: argparse.Namespace, job: Job) -> tuple[Domain, list[Task]]:
    """The domain of the game and as many of its tasks as the run needs."""
    count = protocol.task_count(arguments)
    if arguments.game == "str_build":
        domain = Builders(job.options, job.profile, arguments.agents)
        return domain, [domain.task(row, index) for index, row in enumerate(domain.embedded(0)["paper"][:count])]
    rows = protocol.read_tasks(arguments.prompts, count)
    domain = PromptFile(job.options, job.profile, arguments.agents)
    return domain, [Task(row["id"], domain.name, {"prompts": row["prompts"]}) for row in rows]


def make_trainer(arguments: argparse.Namespace, meter: protocol.Meter, scratch: Path) -> BareTrainer:
    """Setup and trainer on the game's tasks; `scratch` takes the journal."""
    files = whole_numbers(configuration(CONFIG))
    job = resolve_job(merge(files, overlay(arguments)), DOMAINS[arguments.game], arguments.method)
    domain, tasks = make_domain(arguments, job)
    domain.meter = meter
    folders = RunFolders(scratch, scratch, scratch, scratch)
    write_json(scratch / "manifest.json", {})
    model_folders: Mapping[str, Path] = {MODEL: arguments.model}
    device = accelerator(job, scratch)
    setup = RunSetup(job, arguments.seed, folders, device, domain, tasks, tasks, model_folders)
    return BareTrainer(setup, start=None)


def profiler(profiling: bool) -> Any:
    """torch's profiler, or nothing."""
    if not profiling:
        return contextlib.nullcontext()
    return torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, train, count: the result line as a dict."""
    meter = protocol.Meter()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = make_trainer(arguments, meter, Path(scratch))
        parts, operations = workmeter.Parts(trainer), workmeter.Work(trainer)
        with profiler(arguments.profile) as profile, meter.training():
            trainer.run()
        rows = [row for row in protocol.read_rows(Path(scratch) / "metrics.jsonl") if row["event"] != "evaluation"]
    counts = trainer.counters
    if counts.env_step != arguments.samples or len(meter.rewards) != arguments.samples:
        raise ValueError(f"{counts.env_step} joint samples trained on, asked for {arguments.samples}")
    base = "fp32 copies" if arguments.adapter == "full" else f"{trainer.job.team.dtype} base, fp32 LoRA"
    line = protocol.result(
        arguments,
        meter,
        side="ours",
        adapter=arguments.adapter,
        generated_tokens=counts.tokens,
        responses=len(trainer.team.agents) * counts.env_step,
        token_count=TOKEN_COUNT,
        precision=f"{base}, {arguments.precision} products",
        semantics=arguments.semantics,
        updates=dict(trainer.learner.steps),
        versions=protocol.versions("torch", "transformers", "peft", "accelerate"),
    )
    return line | detail(arguments, line, parts, operations, rows, profile)


def detail(
    arguments: argparse.Namespace,
    line: Mapping[str, Any],
    parts: workmeter.Parts,
    operations: workmeter.Work,
    rows: Sequence[Mapping[str, Any]],
    profile: Any,
) -> dict[str, Any]:
    """What only our side tells: seconds by part and update, operations, and the rate of products measured here."""
    seconds = parts.of(line["wall_seconds"])
    rate = workmeter.matmul_rate(DTYPES[arguments.precision])
    updating = seconds["values"] + seconds["policy"] + seconds["optimiser"]
    details = {
        "parts": seconds,
        "rollout_seconds": [row["seconds"] for row in rows if row["event"] == "rollout"],
        "rollout_tokens": [row["tokens"] for row in rows if row["event"] == "rollout"],
        "update_seconds": [row["seconds"] for row in rows if row["event"] == "update"],
        "reward_seconds": sum(row["reward_seconds"] for row in rows if row["event"] == "rollout"),
        "gigaoperations": {name: round(count / 1e9, 1) for name, count in operations.operations.items()},
        "matmul_gigaoperations_per_second": round(rate / 1e9, 1),
        "update_share_of_matmul_rate": round(operations.update / updating / rate, 4),
        "tokens_per_second_at_matmul_rate": round(
            line["generated_tokens"] * rate / sum(operations.operations.values()), 2
        ),
    }
    return details | ({"operators": workmeter.top_operators(profile)} if profile is not None else {})


def argument_parser() -> argparse.ArgumentParser:
    """The workers' arguments and those of our side."""
    parser = protocol.argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--adapter", choices=protocol.ADAPTERS, default="lora")
    parser.add_argument("--semantics", choices=("paper", "released"), default="paper")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--profile", action="store_true", help="add torch's profile (the run becomes slower)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, train, print the line."""
    arguments = argument_parser().parse_args(argv)
    protocol.check(arguments)
    return protocol.serve(lambda: work(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
