"""A step is run as it is on a CPU, and on CUDA captured into a graph at its second run and replayed from then on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from typing import Any

import torch


class Steps:
    """Runs steps that read and write tensors at fixed addresses and never look at the device."""

    def __init__(self, device: torch.device):
        self.device = device
        self.captures = device.type == "cuda"
        self._pool: Any = None

    def run(self, graphs: dict[Any, Any], key: Hashable, body: Callable[[], None]) -> None:
        """Run `body`.

        Args:
            graphs: captured steps on the same tensors.
            key: of everything that `body` does otherwise from other steps on them.
        """
        if not self.captures:
            body()
            return
        if key not in graphs:
            graphs[key] = None  # met once: kernels, workspaces and libraries are ready after this run
            self._aside(body)
            return
        if graphs[key] is None:
            graphs[key] = self._captured(body)
        if graphs[key] is False:
            body()
        else:
            graphs[key].replay()

    def _aside(self, body: Callable[[], None]) -> None:
        """On a stream of its own, as capturing will be."""
        stream: Any = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            body()
        torch.cuda.current_stream().wait_stream(stream)

    def _captured(self, body: Callable[[], None]) -> Any:
        """A graph of `body`, which is not run; False, and a line on stderr, if it cannot be captured."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                body()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # a kernel that looks at the device, or a library that cannot be captured
            reason = str(error).strip().splitlines()[0]
            print(f"decoding steps are not captured into CUDA graphs, but run one by one: {reason}", file=sys.stderr)
            torch.cuda.synchronize(self.device)
            return False
        return graph
