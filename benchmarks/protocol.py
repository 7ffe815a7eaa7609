"""What both benchmark workers share: arguments, prompts, the reward, the meter and the one-line JSON result.

Standard library only (torch is imported where its thread count is set), because the peer's worker runs in an
environment that holds the peer's packages and not ours.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import random
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

METHODS = ("collm_cc", "collm_dc", "magrpo", "grpo")
TURNS = {"prompts": 1, "str_build": 4}  # of what is played: the prompt file's tasks, or StrBuild's first strings
ADAPTERS = ("lora", "full")
RESULT_KEYS = (
    "side",
    "method",
    "game",
    "agents",
    "adapter",
    "samples",
    "generations",
    "new_tokens",
    "seed",
    "threads",
    "versions",
    "wall_seconds",
    "cpu_seconds",
    "generated_tokens",
    "responses",
    "token_count",
    "tokens_per_second",
    "samples_per_second",
    "updates",
    "semantics",
    "precision",
    "mean_reward",
    "peak_rss_mb",
    "vm_hwm_mb",
    "loaded_rss_mb",
    "device_peak_mb",
)


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Arguments of a worker; a joint sample is one response of every agent to one task."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="folder with an fp32 safetensors model")
    parser.add_argument("--prompts", type=Path, required=True, help='JSON lines of {"prompts": [str, str]}')
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--game", choices=tuple(TURNS), default="prompts")
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--samples", type=int, required=True, help="joint samples in total, all turns")
    parser.add_argument("--generations", type=int, default=1, help="joint samples per task (K)")
    parser.add_argument("--buffer", type=int, default=4, help="tasks played between two updates of an agent")
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=5e-6, help="of agents and critics")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    return parser


def check(arguments: argparse.Namespace) -> None:
    """Stop when the joint samples are not K per task and turn; otherwise fix seeds and torch's threads."""
    samples, generations, turns = arguments.samples, arguments.generations, TURNS[arguments.game]
    unit = generations * turns
    if min(samples, generations, arguments.buffer, arguments.agents) < 1 or samples % unit:
        sys.exit(f"--samples {samples} is no multiple of {generations} generations x {turns} turns, or one is below 1")
    if turns > 1 and generations > 1:
        sys.exit(f"--generations {generations}: a game of {turns} turns is compared with one response per prompt only")
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)


def task_count(arguments: argparse.Namespace) -> int:
    """How many tasks make the joint samples asked for."""
    return arguments.samples // (arguments.generations * TURNS[arguments.game])


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a file of JSON lines."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream if line.strip()]


def read_tasks(path: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` rows of the prompt file; stops if there are fewer, so that no task comes twice."""
    rows = read_rows(path)
    if len(rows) < count:
        sys.exit(f"{path} holds {len(rows)} tasks, {count} are needed; write more or lower --samples")
    return rows[:count]


def joint_reward(*texts: str) -> float:
    """Cheap deterministic reward in [0, 2]: new words in the last text + all texts near 30 words.

    Microseconds per call, so that the benchmark times the trainers and not a reward.
    """
    words = [re.findall(r"\w+", text.lower()) for text in texts]
    known = {word for part in words[:-1] for word in part}
    fresh = sum(word not in known for word in words[-1]) / max(1, len(words[-1]))
    closeness = sum(min(len(part), 30) / max(len(part), 30) for part in words) / len(words)
    return fresh + closeness


def count_tokens(rows: Iterable[Sequence[int]], prompt_length: int, ends: Iterable[int]) -> tuple[int, int]:
    """(responses, generated tokens after the prompt): up to and including the first end token, no padding."""
    ends, responses, tokens = set(ends), 0, 0
    for row in rows:
        response = row[prompt_length:]
        stop = next((i + 1 for i, token in enumerate(response) if token in ends), len(response))
        responses, tokens = responses + 1, tokens + stop
    return responses, tokens


@dataclass
class Meter:
    """Wall and CPU seconds of the training call alone, and the memory before and after it."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    loaded_rss_mb: float = 0.0
    rewards: list[float] = field(default_factory=list)

    def reward(self, *texts: str) -> float:
        """`joint_reward`, noted."""
        return self.note(joint_reward(*texts))

    def note(self, reward: float) -> float:
        """Remember a reward, so that the result line can show that both sides scored real texts."""
        self.rewards.append(reward)
        return reward

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Time what runs inside; models, tokenizers and optimisers are made before."""
        self.loaded_rss_mb = status_mb("VmRSS")
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall_seconds, self.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu


def device_peak_mb() -> float | None:
    """Peak of a GPU's memory in MB (10^6 bytes); None without one."""
    import torch

    return round(torch.cuda.max_memory_allocated() / 1e6, 1) if torch.cuda.is_available() else None


def status_mb(key: str) -> float:
    """Memory of this process by the kernel's count, in MB (10^6 bytes): VmRSS (now) or VmHWM (peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(f"/proc/self/status has no {key}; this benchmark needs Linux")


def versions(*packages: str) -> dict[str, str]:
    """Python's and the named packages' versions as installed in this environment."""
    installed = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **installed}


def result(arguments: argparse.Namespace, meter: Meter, **facts: Any) -> dict[str, Any]:
    """The result line: the arguments that matter, the meter and the worker's own facts; checks the key set.

    `facts` must give side, adapter, semantics, precision, generated_tokens, responses, token_count (how they
    were counted), updates (optimiser steps by member) and versions.
    """
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    given = ("method", "game", "agents", "samples", "generations", "new_tokens", "seed", "threads")
    line = {
        **{key: getattr(arguments, key) for key in given},
        "wall_seconds": round(meter.wall_seconds, 3),
        "cpu_seconds": round(meter.cpu_seconds, 3),
        "tokens_per_second": round(facts["generated_tokens"] / meter.wall_seconds, 3),
        "samples_per_second": round(arguments.samples / meter.wall_seconds, 4),
        "peak_rss_mb": round(peak_kb * 1024 / 1e6, 1),
        "vm_hwm_mb": round(status_mb("VmHWM"), 1),
        "loaded_rss_mb": round(meter.loaded_rss_mb, 1),
        "device_peak_mb": device_peak_mb(),
        "mean_reward": round(sum(meter.rewards) / max(1, len(meter.rewards)), 4),
        **facts,
    }
    if set(line) != set(RESULT_KEYS):
        raise KeyError(f"result keys differ from the protocol: {sorted(set(line) ^ set(RESULT_KEYS))}")
    return {key: line[key] for key in RESULT_KEYS}


def serve(work: Callable[[], dict[str, Any]]) -> int:
    """Run a worker with its chatter on stderr and print its result as the only line on stdout."""
    with contextlib.redirect_stdout(sys.stderr):
        line = work()
    print(json.dumps(line), flush=True)
    return 0
