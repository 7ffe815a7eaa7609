"""Part `fast`: random weights in the paper's shapes and at its settings, beside what the card could do at best."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from collm.llm.sampling import Sampling
from on_gpu import models
from on_gpu.common import Context, copy_rate, matmul_rate
from on_gpu.runs import Run, job_of, seconds_side_by_side, tasks_of

ROWS, NEW_TOKENS, PROMPT = 32, 128, 256  # of the batch whose share of the bandwidth is measured
LEARN_AT_ONCE = {"micro_batch_tokens": 16_384}
ROOMY: dict[str, Any] = {"rollout": {"max_rows": 256}, "training": LEARN_AT_ONCE}  # knobs for a large card
FILLED: dict[str, Any] = {**ROOMY, "training": {**LEARN_AT_ONCE, "tasks_per_rollout": 16, "minibatch_size": 16}}


@dataclass(frozen=True)
class Case:
    """A job of config/paper.yaml; `reported` is what the paper says of its memory, in GB."""

    domain: str
    method: str
    overlay: dict[str, Any] = field(default_factory=dict)
    note: str = "the paper's settings"
    reported: float | None = None


CASES = (
    Case("tldr", "collm_cc"),
    Case("tldr", "collm_cc", FILLED, "16 tasks a rollout, batches for a large card"),
    Case("tldr", "collm_dc"),
    Case("tldr", "magrpo"),
    Case("str_build", "collm_cc", ROOMY, "the paper's settings, batches for a large card"),
    Case("str_build", "collm_dc"),
    Case("str_build", "magrpo"),
    Case("arc_challenge", "collm_cc"),
    Case("house_build", "collm_cc"),
    Case("coophe", "collm_cc", reported=107.4),
    Case("coophe", "collm_dc", reported=126.3),
    Case("coophe", "magrpo", reported=93.8),
)
SMOKE = (CASES[0], CASES[3])
TINY_OVERLAY: dict[str, Any] = {
    "team": {"dtype": "float32", "precision": "fp32"},
    "rollout": {"max_new_tokens": 8},
    "training": {},
}
SEEDS = 5  # trained together
NOBODY = 1 << 40  # an end token that is never drawn
SHAPE_OF = {"qwen2.5-coder-3b": "qwen2.5-3b"}  # the same sizes


def run(context: Context) -> None:
    """The card's rates, decoding beside the bandwidth, then job after job until the time is over."""
    dtype = torch.float32 if context.smoke else torch.bfloat16
    rate, bandwidth = matmul_rate(context, dtype), copy_rate(context)
    context.add(what="card", matmul_tera=rate / 1e12, bandwidth_gb=bandwidth / 1e9)
    with models.random_weights():
        for cache in ("static", "growing"):
            _decoding(context, cache, bandwidth)
        cases = SMOKE if context.smoke else CASES
        for place, case in enumerate(cases):
            share = context.deadline.left / (len(cases) - place) * 1.5
            if context.deadline.left < (1 if context.smoke else 20):
                context.skip(f"{case.domain} {case.method}", "no time left")
                continue
            _guarded(context, case, share, rate)
        _seeds(context)


def _seeds(context: Context) -> None:
    """Several seeds of a job in one process against one; the goal is five in twice the time of one."""
    if context.deadline.left < (1 if context.smoke else 30):
        context.skip("five seeds together", "no time left")
        return
    plain = TINY_OVERLAY if context.smoke else ROOMY
    rollout = {**plain["rollout"], "max_rows": 1024}  # of all seeds
    overlay = {**plain, "rollout": rollout, "training": {"epochs": 1000, **plain["training"]}}
    job = job_of(("config.yaml", "paper.yaml"), "tldr", "magrpo", overlay)
    folders = {name: _folder(context, name) for name in {*job.team.agents, job.team.critic}}
    rollouts, tasks = (1 if context.smoke else 4), tasks_of(job)
    try:
        seconds = {count: seconds_side_by_side(context, job, folders, tasks, count, rollouts) for count in (1, SEEDS)}
    except Exception as error:  # what was measured before is kept
        context.add(what="seeds together", error=f"{type(error).__name__}: {str(error)[:300]}")
        return
    context.add(
        what=f"{SEEDS} seeds together",
        seconds_of_one=seconds[1],
        seconds_of_all=seconds[SEEDS],
        times_one=seconds[SEEDS] / seconds[1],
        peak_gb=context.peak_gb(),
    )


def _guarded(context: Context, case: Case, seconds: float, rate: float) -> None:
    try:
        _training(context, case, seconds, rate)
    except Exception as error:  # of any kind: the other jobs are worth their time all the same
        context.add(domain=case.domain, method=case.method, error=f"{type(error).__name__}: {str(error)[:300]}")
        context.fresh_peak()


def _folder(context: Context, name: str) -> Path:
    if context.smoke:
        return models.folder("tiny-shape", context.work, "qwen3", models.TINY, weights=False)
    kind, sizes = models.SHAPES[SHAPE_OF.get(name, name)]
    return models.folder(name, context.work, kind, sizes, weights=False)


def _decoding(context: Context, cache: str, bandwidth: float) -> None:
    """Two agents of a 1.7B model decode 32 rows; the weights and half-filled caches that a step reads, per second."""
    name = "qwen3-1.7b"
    rows, new, prompt = (4, 6, 10) if context.smoke else (ROWS, NEW_TOKENS, PROMPT)
    place = models.Place(context.device)
    dtype = "float32" if context.smoke else "bfloat16"
    context.fresh_peak()
    team = models.team((name, name), {name: _folder(context, name)}, place, cache=cache, dtype=dtype)
    base = team.agents[0].base
    base.ends = frozenset({NOBODY})
    asked = [
        (agent, tuple(5 + (k * 7 + row) % 900 for k in range(prompt)), [row])
        for row in range(rows // 2)
        for agent in (0, 1)
    ]
    for plan in ("plain", "top-p 0.9"):
        sampling = Sampling(new, top_p=0.9 if "0.9" in plan else 1.0)
        first = context.seconds(lambda s=sampling: team.respond(asked, s, "mixed", rows))
        again = min(context.seconds(lambda s=sampling: team.respond(asked, s, "mixed", rows)) for _ in range(2))
        read = sum(part.numel() * part.element_size() for part in base.model.parameters())
        config = base.model.config
        width = config.num_key_value_heads * config.head_dim * config.num_hidden_layers * 2
        read += rows * (prompt + new / 2) * width * (4 if context.smoke else 2)
        context.add(
            what=f"decoding {name}",
            cache=cache,
            sampling=plan,
            rows=rows,
            tokens_per_second=rows * new / again,
            first_seconds=first,
            share_of_bandwidth=read * new / again / bandwidth,
            peak_gb=context.peak_gb(),
        )


def _training(context: Context, case: Case, seconds: float, rate: float) -> None:
    """One job: a rollout that is not counted, then as many as the time holds, three at least of a smoke run."""
    overlay = {**case.overlay}
    if context.smoke:
        overlay = TINY_OVERLAY
    overlay = {**overlay, "training": {"epochs": 1000, **overlay.get("training", {})}}
    job = job_of(("config.yaml", "paper.yaml"), case.domain, case.method, overlay)
    folders = {name: _folder(context, name) for name in {*job.team.agents, job.team.critic}}
    limit = context.deadline.share(min(1.0, seconds / max(context.deadline.left, 1e-9)))
    run = Run(context, job, folders, tasks_of(job))
    while run.measured.rollouts < (1 if context.smoke else 50) and not run.over:
        run.rollout()
        if run.measured.rollouts and limit.left < run.measured.first:
            break
    done = run.measured
    same = len({*job.team.agents, job.team.critic}) == 1
    context.add(
        domain=case.domain,
        method=case.method,
        note=case.note,
        rollouts=done.rollouts,
        rollout_tokens_per_second=done.tokens / done.play,
        training_tokens_per_second=done.tokens / (done.play + done.learn),
        samples_per_second=done.samples / (done.play + done.learn),
        play_share=done.play / (done.play + done.learn),
        update_share_of_matmul=done.operations / done.learn / rate if same else None,
        first_seconds=done.first,
        peak_gb=context.peak_gb(),
        planned_gb=run.planned_gb,
        paper_gb=case.reported,
    )
    run.close()
