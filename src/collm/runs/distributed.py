"""Several processes that train one team, each with all parameters: who does what, and what they send each other.

Every process plays its share of a rollout's tasks and then knows the whole forest, so that all make the same
minibatches; of each it computes a share, and gradients are added up. Nothing is sent where there is one process.
"""

from __future__ import annotations

import datetime
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import distributed

from collm.common.errors import CollmError, ConfigError

T = TypeVar("T")
BUCKET = 1 << 24  # numbers sent at once
LONGEST_PAUSE = 0.01  # seconds between two looks for the others
PATIENCE = datetime.timedelta(hours=6)  # with the slowest process; if one ends, its launcher ends the others


@functools.cache
def _talk() -> Any:
    """The group for objects and flags, which travel through main memory."""
    gloo = distributed.get_backend() == "gloo"
    return distributed.group.WORLD if gloo else distributed.new_group(backend="gloo", timeout=PATIENCE)


@dataclass(frozen=True)
class Processes:
    """This process, number `index` of `count`. Methods that send are called by all processes in the same order."""

    index: int = 0
    count: int = 1

    @classmethod
    def of(cls, accelerator: Accelerator) -> Processes:
        """The processes that accelerate knows."""
        return cls(accelerator.process_index, accelerator.num_processes)

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.index == 0

    def share(self, costs: Sequence[int]) -> list[int]:
        """Indices of this process's part of some work: parts follow one another and cost about the same."""
        total, before, mine = max(sum(costs), 1), 0, []
        for index, cost in enumerate(costs):
            if self.count * (2 * before + cost) // (2 * total) == self.index:
                mine.append(index)
            before += cost
        return mine

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, in the order of the processes."""
        if self.count == 1:
            return list(items)
        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, list(items), group=_talk())
        return [item for part in parts for item in part]

    def add(self, *tensors: torch.Tensor) -> None:
        """Sum tensors over processes, in place."""
        if self.count > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum gradients over processes; a parameter that no process has a gradient of keeps none."""
        if self.count == 1:
            return
        reached = torch.tensor([part.grad is not None for part in parameters], dtype=torch.float32)
        reached = reached.to(parameters[0].device)
        self.add(reached)
        kept = [part for part, number in zip(parameters, reached.tolist(), strict=True) if number]
        gradients = []
        for part in kept:
            if part.grad is None:
                part.grad = torch.zeros_like(part)
            gradients.append(part.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            self.add(flat)
            for gradient, sums in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(sums.view_as(gradient))

    def from_main(self, ask: Callable[[], T]) -> T:
        """What `ask` returns in the main process; an error meant for the user is raised in all processes."""
        if self.count == 1:
            return ask()
        answer: list[Any] = [None, None]  # what `ask` returned, the error that it raised
        if self.main:
            try:
                answer[0] = ask()
            except CollmError as error:
                answer[1] = error
        distributed.broadcast_object_list(answer, src=0, group=_talk())
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def largest(self, number: int) -> int:
        """The largest number of all processes; while it waits for the others, signals are still handled."""
        if self.count == 1:
            return number
        shared = torch.tensor([number])
        work = distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=_talk(), async_op=True)
        pause = 1e-4
        while not work.is_completed():
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        work.wait()
        return int(shared.item())


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Consecutive tensors of at most BUCKET numbers together; a larger one stands alone."""
    bucket: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.numel() > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket


def launch(module: str, arguments: Sequence[str], count: int, threads: int | None) -> None:
    """Become the launcher of `count` processes of a stage on this machine, one per GPU if there are any.

    Does nothing where there is nothing to launch: for one process, and in a process that was launched. The launcher
    passes SIGTERM and Ctrl-C on to all processes and kills them 30 seconds later.

    Args:
        module: of the stage, as `python -m` takes it.
        threads: of all processes together; None leaves it to torch.
    Raises:
        ConfigError: `accelerate launch --cpu` was asked for several processes: it starts one and says nothing.
    """
    if "RANK" in os.environ:
        return
    if count == 1 and os.environ.get("ACCELERATE_USE_CPU") == "True" and "MASTER_PORT" in os.environ:
        raise ConfigError(
            "on a CPU accelerate launch starts one process, whatever its --num_processes says; "
            "start the script with python and its own option --processes"
        )
    if count > 1:
        each = [] if threads is None else ["--threads", str(max(1, threads // count))]
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        sys.stdout.flush()
        sys.stderr.flush()
        found = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, found))  # a clone is not installed
        os.execv(sys.executable, [*run, "--module", module, *arguments, *each])
