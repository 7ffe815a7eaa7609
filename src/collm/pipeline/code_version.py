"""The version of the code that decides a result: a digest of every module that a stage runs through.

A module counts by what it says: comments, docstrings and formatting are left aside, and the digest is the same in every
version of Python. The modules of a stage are those that it imports, and those that they import, found by reading the
sources; nothing is imported, least of all torch.

Left out is what decides no number, or what reaches a run by its content:

- bookkeeping: progress, command line, files, messages, memory estimates, reports, and of `collm.runs` the record, the
  lock, signals, folders and the way checkpoints reach the disk;
- `collm.config`: its resolved settings are compared one by one;
- `collm.data` and `collm.llm.sources`: the rows and models that they make are compared by their own digests;
- domains other than the job's, and vLLM where it does not sample.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from collm import domains
from collm.config.resolve import resolve_settings
from collm.domains import reward
from collm.methods.registry import METHODS, WARM_STARTS
from collm.pipeline import variants
from collm.pipeline.places import Places
from collm.pipeline.targets import all_rows

PlayingStage = Literal["warm_start", "train", "evaluate"]
ROOT = Path(__file__).resolve().parents[2]  # of the sources
STAGES: dict[PlayingStage, tuple[str, ...]] = {
    "warm_start": ("collm.training.warm_start",),
    "train": ("collm.training.trainer",),
    "evaluate": ("collm.training.evaluation", "collm.training.text_quality", "collm.training.setup"),
}
VLLM = "collm.llm.vllm"
SANDBOX = "collm.sandbox"
GUEST = "collm.sandbox.guest"  # programs that the sandbox starts by their paths: nothing imports them
# Packages and modules that decide no number.
LEFT_OUT = (
    "collm.config",
    "collm.data",
    "collm.pipeline",
    "collm.planning",
    "collm.report",
    "collm.common.cli",
    "collm.common.clock",
    "collm.common.errors",
    "collm.common.files",
    "collm.common.mappings",
    "collm.common.modules",
    "collm.common.progress",
    "collm.llm.sources",
    "collm.runs.checkpoint",
    "collm.runs.folders",
    "collm.runs.journal",
    "collm.runs.lock",
    "collm.runs.out_of_memory",
    "collm.runs.record",
    "collm.runs.resumable",
    "collm.runs.signals",
    "collm.training.nonfinite",
)
UNKNOWN = "(not recorded)"


def modules(
    stage: PlayingStage,
    domain: str,
    backend: str = "transformers",
    method: str = "",
    options: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, str]:
    """Digests of the modules that decide what a stage computes, by their names.

    Args:
        domain: the job's benchmark; one that is not in the table adds nothing.
        backend: `rollout.backend` of the job.
        method: the job's row; counts where a plugin brought it. Of a plugin its own module counts, not those beside it.
        options: of the domain; a function named by `reward` counts with its module, as what pays by it does.
    """
    waiting = list(STAGES[stage])
    if domain in domains.names():
        waiting.append(domains.get(domain).__module__)
    if method in METHODS and (advantage := METHODS[method].advantage) is not None:
        waiting.append(advantage.partition(":")[0])
    if reward.changed(options):
        waiting.append(reward.__name__)
    if place := options.get("reward"):
        waiting.append(place.partition(":")[0])
    digests: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name in digests or (name == VLLM and backend != "vllm"):
            continue
        digests[name], imports = _read(name, ROOT)
        waiting += imports
        if name == SANDBOX:
            waiting += [f"{GUEST}.{path.stem}" for path in _file(GUEST, ROOT).parent.glob("[!_]*.py")]
    return dict(sorted(digests.items()))


def digest(digests: Mapping[str, str]) -> str:
    """One digest of what `modules` gives."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the modules that differ, that are new or that are gone."""
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def notices(config: Mapping[str, Any], root: Path = Path(".")) -> list[str]:
    """What to say before the workflow starts: which finished runs other code made while `revision` stayed the same.

    Snakemake does not look at code, so it would keep these results without a word. Reads run.json and evaluation.json
    alone.

    Args:
        config: merged and checked.
        root: folder of results, data and logs.
    Returns:
        One line for every set of modules that changed, with the runs that they were part of.
    """
    runs: dict[tuple[PlayingStage, tuple[str, ...], str], list[str]] = {}
    named: set[Path] = set()
    for own, stage, domain, row, seed in _jobs(config):
        run, places = (domain, row, seed), Places.of(own)
        evaluated = stage == "evaluate"
        folder = root / (places.run(*run) if evaluated else places.trained(*run))
        path = folder / ("evaluation.json" if evaluated else "run.json")
        if folder in named or not path.is_file():  # what is trained again is evaluated again
            continue
        facts = json.loads(path.read_text(encoding="utf-8"))
        settings = resolve_settings(own, domain, row)
        if facts["config"].get("revision") != settings["revision"]:
            continue
        then = facts.get("code", {}).get("modules")
        now = modules(stage, domain, settings["rollout"]["backend"], row, settings["options"])
        names = (UNKNOWN,) if then is None else tuple(changed(then, now))
        if names:
            named.add(folder)
            runs.setdefault((stage, names, settings["revision"]), []).append(str(folder))
    return [_notice(stage, names, paths, revision) for (stage, names, revision), paths in runs.items()]


def _jobs(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], PlayingStage, str, str, int]]:
    """(configuration of its variant, stage, domain, row, seed) of every job that plays."""
    rows = all_rows(config)
    trained = [row for row in rows if row in METHODS]
    for own in variants.each(config).values():
        for domain in own["domains"]:
            for seed in own["seeds"]:
                yield from ((own, "warm_start", domain, row, seed) for row in WARM_STARTS)
                yield from ((own, "train", domain, row, seed) for row in trained)
                yield from ((own, "evaluate", domain, row, seed) for row in rows)


def _notice(stage: PlayingStage, names: tuple[str, ...], paths: list[str], revision: Any) -> str:
    what = "a version that recorded no code" if names == (UNKNOWN,) else f"other code (changed: {in_words(names)})"
    advice = (
        "to have them made again: snakemake --forcerun evaluate evaluate_together"
        if stage == "evaluate"
        else f"revision is still {revision!r}, so that they are kept; set another revision to have them made again"
    )
    return f"{stage}: {in_words(paths, 3)}: made by {what}; {advice}"


def in_words(names: Sequence[str], most: int = 8) -> str:
    """Names of modules, keys or folders in one line."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read(name: str, root: Path) -> tuple[str, list[str]]:
    """Digest of a module, and the modules of ours that it imports and that count."""
    own, imports = _parse(name, _file(name, root).read_bytes())
    return own, sorted(name for name in imports if _counts(name) and _file(name, root).is_file())


@functools.cache
def _parse(name: str, source: bytes) -> tuple[str, frozenset[str]]:
    """Digest of a source, and all names that it may import."""
    tree = ast.parse(source)
    text = json.dumps(_content(tree), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12], frozenset(_imports(tree, name))


def _file(name: str, root: Path) -> Path:
    if name.partition(".")[0] != "collm":  # a plugin, wherever it lies
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin)
    path = root.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(tree: ast.Module, importer: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = importer.split(".")[: -node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def _counts(name: str) -> bool:
    if name in ("collm", "collm.domains") or not name.startswith("collm."):
        return False
    return not any(name == out or name.startswith(f"{out}.") for out in LEFT_OUT)


def _content(node: Any) -> Any:
    """A syntax tree as plain lists without places, docstrings and fields that are empty (versions of Python differ in
    which of those there are)."""
    if isinstance(node, list):
        return [_content(part) for part in node if not _is_text(part)]
    if not isinstance(node, ast.AST):
        return repr(node)
    content: list[Any] = [type(node).__name__]
    for name in node._fields:
        value = node.__dict__.get(name)
        if value is not None and (inner := _content(value)) != []:
            content.append([name, inner])
    return content


def _is_text(node: Any) -> bool:
    """A statement that is nothing but a text: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
