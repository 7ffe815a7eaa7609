"""Compare variants of the settings by training with the real stages: several methods and seeds, resumable.

    python studies/compare.py --domain tldr --methods magrpo collm_cc --seeds 100 101 --variants base lr3.yaml \
        --jobs 2 --out /tmp/study

A variant is an overlay over --config ("a.yaml+b.yaml": several), and is called by its file's name; `base` without a
file is no overlay. What is finished in --out is kept, so variants, methods and seeds can be added later; --table only
prints.
Rewards are those of the evaluations while training (`evaluation.every`, `tasks_during`, `samples_during`), or with
--final those of `src/evaluate.py` on the whole test split. Intervals are 95 % over seeds, by Student's t.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import source_path
from compare_tables import HEADER, Groups, curve_rows, difference_rows, main_rows, markdown, outcome
from stage_jobs import run_all
from study_plan import Place, PlannedRun, configuration, planned_run

from collm import domains
from collm.common import cli
from collm.common.errors import ConfigError
from collm.common.files import write_json
from collm.methods.registry import METHODS

BASE = "base"


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, run what is missing, print the tables; 1 if a run failed."""
    arguments = _arguments(argv)
    runs = _planned(arguments)
    failed = 0
    if not arguments.table:
        os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
        with (arguments.out / "lock").open("w") as lock:
            _alone(lock, arguments.out)
            failed = len(run_all([run.job for run in runs], arguments.jobs))
    _print(arguments, runs)
    return 1 if failed else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__ or "", domain=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(config=[str(source_path.ROOT / "config" / "config.yaml")])
    parser.add_argument("--domain", nargs="+", required=True, choices=domains.NAMES, metavar="NAME", help="benchmarks")
    parser.add_argument("--methods", nargs="+", required=True, choices=list(METHODS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=cli.seed_number, required=True)
    parser.add_argument("--variants", nargs="+", default=[BASE], help="overlays; the first one is the reference")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--jobs", type=cli.count, default=1, help="processes at once")
    parser.add_argument("--threads", type=cli.count, default=1, help="threads of torch per process")
    cli.add_device(parser)
    parser.add_argument("--final", action="store_true", help="evaluate on the whole test split at the end")
    parser.add_argument("--table", action="store_true", help="run nothing, print what is finished")
    arguments = parser.parse_args(argv)
    for option in ("domain", "methods", "seeds", "variants"):
        cli.each_once(f"--{option}", getattr(arguments, option))
    return arguments


def _overlays(variant: str) -> list[Path]:
    """Files of a variant."""
    if variant == BASE and not Path(BASE).is_file():
        return []
    return [Path(part) for part in variant.split("+")]


def _name(variant: str) -> str:
    return "+".join(Path(part).stem for part in variant.split("+"))


def _planned(arguments: argparse.Namespace) -> list[PlannedRun]:
    """All runs, those of the first seed first; their list goes to OUT/runs.json."""
    cli.each_once("--variants, by their files' names,", [_name(variant) for variant in arguments.variants])
    place = Place(arguments.out.resolve(), arguments.threads, arguments.device)
    runs = []
    for seed in arguments.seeds:
        for domain in arguments.domain:
            for variant in arguments.variants:
                files = [*map(Path, arguments.config), *_overlays(variant)]
                config = configuration(files, domain, arguments.methods)
                for method in arguments.methods:
                    runs.append(planned_run(place, _name(variant), config, domain, method, seed, arguments.final))
    facts = [
        {"domain": r.domain, "variant": r.variant, "method": r.method, "seed": r.seed, "folder": str(r.folders.out)}
        for r in runs
    ]
    write_json(place.out / "runs.json", facts)
    return runs


def _alone(lock: object, out: Path) -> None:
    """ConfigError if another process runs this study."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"another compare.py runs in {out}; wait for it, or give another --out") from None


def _print(arguments: argparse.Namespace, runs: Sequence[PlannedRun]) -> None:
    groups: Groups = {}
    for run in runs:
        group = groups.setdefault((run.domain, run.variant, run.method), [])
        if (result := outcome(run, arguments.final)) is not None:
            group.append(result)
    groups = dict(sorted(groups.items(), key=lambda item: (item[0][0], item[0][2])))
    print("\n" + markdown(HEADER, main_rows(groups)))
    if rows := difference_rows(groups, _name(arguments.variants[0])):
        print("\n" + markdown(("domain", "variants", "method", "seeds", "difference of the ends"), rows))
    print("\n" + markdown(("domain", "variant", "method", "evaluations, rollouts:reward"), curve_rows(groups)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
