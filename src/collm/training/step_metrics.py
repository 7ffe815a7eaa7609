"""What one optimiser step is logged with: metrics per member, under "metric/member"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from collm.runs.distributed import Processes
from collm.training.objective import Scores


class Totals:
    """Metrics of one agent's step, collected over micro-batches."""

    def __init__(self, count: int, device: torch.device, divergence: bool = False):
        """`divergence`: whether the distance from a reference belongs to them."""
        names = ("loss", "logprob", "entropy", "ratio", "moved", *(["divergence"] if divergence else []))
        self._parts = {name: torch.zeros(count, device=device) for name in names}

    def note(
        self,
        samples: Sequence[int],
        loss: torch.Tensor,
        scores: Scores,
        ratio: torch.Tensor | None,
    ) -> None:
        """Numbers of the joint samples `samples`; without an importance ratio it counts as 1."""
        given = {"loss": loss, "logprob": scores.now, "entropy": scores.entropy}
        given["ratio"] = torch.ones_like(loss) if ratio is None else ratio
        moved, divergence = scores.moved, scores.divergence
        given["moved"] = torch.zeros_like(loss) if moved is None else moved
        if divergence is not None:
            given["divergence"] = divergence
        for name, part in self._parts.items():
            part[samples] = given[name].detach().to(part.dtype)

    def join(self, processes: Processes) -> None:
        """Fill in what other processes have noted; no sample is noted by two."""
        processes.add(*self._parts.values())

    def of(self, name: str) -> torch.Tensor:
        """[samples] numbers of one kind."""
        return self._parts[name]

    def metrics(
        self, name: str, advantage: torch.Tensor, lengths: Sequence[int], ratio_clip: float | None
    ) -> dict[str, float]:
        """Means and extremes under "metric/agent"."""
        ratio = self._parts["ratio"]
        values = {
            "policy_loss": self._parts["loss"].mean().item(),
            "ratio_mean": ratio.mean().item(),
            "ratio_max": ratio.max().item(),
            "advantage_deviation": advantage.std(unbiased=False).item(),
            "zero_advantage_share": (advantage.abs() < 1e-8).float().mean().item(),
            "entropy": self._parts["entropy"].mean().item(),
            "logprob": self._parts["logprob"].mean().item(),
            "length": sum(lengths) / len(lengths),
            "moved": self._parts["moved"].mean().item(),
        }
        if ratio_clip is not None:
            values["clipped_share"] = ((ratio - 1.0).abs() > ratio_clip).float().mean().item()
        if "divergence" in self._parts:
            values["divergence"] = self._parts["divergence"].mean().item()
        return {f"{metric}/{name}": value for metric, value in values.items()}


def value_metrics(value: torch.Tensor, target: torch.Tensor, name: str) -> dict[str, float]:
    """Metrics of a critic's step from [samples] values and targets."""
    return {
        f"value_loss/{name}": (target - value).square().mean().item(),
        f"value/{name}": value.mean().item(),
        f"value_target/{name}": target.mean().item(),
        f"explained_variance/{name}": explained_variance(value, target),
    }


def explained_variance(value: torch.Tensor, target: torch.Tensor) -> float:
    """1 - variance of (target - value) / variance of target over [samples]; 0 where targets do not differ."""
    variance = target.var(unbiased=False)
    return 1.0 - ((target - value).var(unbiased=False) / variance).item() if variance > 0 else 0.0


def starting(metrics: Mapping[str, float], prefix: str) -> list[float]:
    """Values of the metrics whose names start with `prefix`."""
    return [value for name, value in metrics.items() if name.startswith(prefix)]
