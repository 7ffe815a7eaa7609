"""A plan as text: one line per method and domain, then what it all adds up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collm.planning.memory import UPDATE
from collm.planning.plan import GB, Line, Plan

COLUMNS = (
    "domain",
    "method",
    "seeds",
    "on",
    "weights",
    "adapters",
    "optimiser",
    "update",
    "KV cache",
    "peak GB",
    "evaluate GB",
    "hours",
    "disk GB",
    "rate",
)
GIB = 1 << 30
LEFT_ALIGNED = {"domain", "method", "on", "rate"}


def as_text(plan: Plan, price: float, cores: int, device_memory: float) -> str:
    """Table and totals; `price` per GPU-hour, `device_memory` in GiB of the GPU that jobs should fit."""
    cells = [COLUMNS, *(_cells(line) for line in plan.lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(_padded(row, widths)).rstrip() for row in cells]
    lines.insert(1, "-" * sum(w + 2 for w in widths))
    return "\n".join([*lines, "", *_totals(plan, price, cores, device_memory)]) + "\n"


def _cells(line: Line) -> tuple[str, ...]:
    stage = next(iter(line.memory))  # training, where there is any
    memory = line.memory[stage]
    hours = f"{line.hours:.3f}" if line.hours < 1 else f"{line.hours:.1f}"
    return (
        line.domain,
        line.method,
        str(line.seeds),
        {"cuda": "GPU", "cpu": "CPU"}[line.device],
        _sum(memory, ("weights", "packed weights")),
        _sum(memory, ("adapters", "copies")),
        _sum(memory, ("gradients and optimiser",)),
        _sum(memory, UPDATE),
        _sum(memory, ("cache",)),
        _gb(line.peaks[stage]),
        _gb(line.peaks.get("evaluate", 0)),
        hours,
        _gb(line.seeds * line.disk),
        line.basis,
    )


def _totals(plan: Plan, price: float, cores: int, device_memory: float) -> list[str]:
    lines = []
    gpu, cpu = plan.hours("cuda"), plan.hours("cpu")
    if gpu:
        lines.append(f"GPU: {gpu:.0f} hours, {gpu * price:.0f} at {price:g} per hour")
        too_large = [line for line in plan.lines if line.device == "cuda" and line.peak > device_memory * GIB]
        largest = max((line for line in plan.lines if line.device == "cuda"), key=lambda line: line.peak)
        where = f"{largest.domain}/{largest.method}, {_gb(largest.peak)} GB"
        fits = "all jobs fit" if not too_large else f"{len(too_large)} of {len(plan.lines)} do not fit"
        lines.append(f"largest job on a GPU: {where}; {fits} in {device_memory:g} GiB ({_gb(device_memory * GIB)} GB)")
        lines += [f"  too large: {line.domain}/{line.method}, {_gb(line.peak)} GB" for line in too_large]
    if cpu:
        wall = f"{cpu / cores:.1f} hours on {cores} cores" if cpu >= cores else f"{60 * cpu / cores:.0f} minutes"
        lines.append(f"CPU: {cpu:.1f} core-hours, {wall} on {cores} cores" if cpu < cores else f"CPU: {wall}")
    lines.append(f"disk: {plan.disk() / GB:.1f} GB, of which models {sum(plan.models.values()) / GB:.1f}")
    return lines


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if name in LEFT_ALIGNED else cell.rjust(width)
        for name, cell, width in zip(COLUMNS, row, widths, strict=True)
    ]


def _sum(memory: Mapping[str, float], parts: Sequence[str]) -> str:
    return _gb(sum(memory.get(part, 0) for part in parts))


def _gb(value: float) -> str:
    return f"{value / GB:.3f}" if value < GB else f"{value / GB:.1f}"
