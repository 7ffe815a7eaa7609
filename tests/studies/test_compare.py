"""Studies that train: what is made once, what is kept, what is printed."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import compare
import compare_tables
import pytest
import stage_jobs
from stage_jobs import StageJob, run_all
from study_plan import Place, configuration, planned_run
from support.places import ROOT

from collm.common.errors import ConfigError

CONFIG = ROOT / "config" / "config.yaml"
TINY = """
models: {scratch: {layers: 1, hidden: 32, heads: 2, pretrain: {steps: 2}, per_domain: {tldr: {pretrain: {steps: 2}}}}}
domain:
  tldr:
    rollout: {max_new_tokens: 8}
    warm_start: {per_task: 1, epochs: 1, max_tasks: 4}
    training: {max_updates: 2, tasks_per_rollout: 2, minibatch_size: 2}
    evaluation: {samples: 1, every: 1, tasks_during: 2}
    methods: {magrpo: {training: {tasks_per_rollout: 1, minibatch_size: 4}}}
"""


def job(folder, name, script, needs=()):
    return StageJob(name, script, folder, (), folder / f"{name}.done", folder / f"{name}.log", needs=needs)


def test_what_needs_a_failed_job_fails_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stage_jobs, "PRELOADED", [])
    monkeypatch.setenv("PYTHONPATH", "")
    first = job(tmp_path, "first", "no_such_script")
    second = job(tmp_path, "second", "no_such_script", (first,))
    third = job(tmp_path, "third", "no_such_script", (second,))
    assert run_all([third], 1) == [first, second, third]
    assert "first: failed with status 1, see" in capsys.readouterr().out
    assert "no_such_script" in first.log.read_text()


def test_what_is_finished_does_not_run(tmp_path, capsys):
    only = job(tmp_path, "only", "no_such_script")
    only.done.touch()
    assert run_all([only], 1) == [] and capsys.readouterr().out == ""


@pytest.fixture
def plans(tmp_path):
    """Plans runs of CoLLM-CC and MAGRPO on TLDR with an overlay."""
    place = Place(tmp_path / "study", 1, "cpu")

    def plan(text: str, method: str = "magrpo", seed: int = 100):
        overlay = tmp_path / "overlay.yaml"
        overlay.write_text(text)
        config = configuration([CONFIG, overlay], "tldr", ["magrpo", "collm_cc"])
        return planned_run(place, "overlay", config, "tldr", method, seed)

    return plan


def test_variants_share_what_agrees(plans):
    base = plans("domain: {tldr: {}}")
    rate = plans("domain: {tldr: {methods: {magrpo: {training: {agent_learning_rate: 1.0e-4}}}}}")
    longer = plans("domain: {tldr: {rollout: {max_new_tokens: 80}}}")
    assert rate.folders.out != base.folders.out and rate.start == base.start
    assert longer.start != base.start
    models = [one.job.needs[0].folder for one in (base, rate, longer)]
    assert models[0] == models[1] == models[2]
    text = "domain: {tldr: {methods: {magrpo: {training: {agent_learning_rate: 1.0e-4}}}}}"
    assert plans(text, "collm_cc").job == plans("domain: {tldr: {}}", "collm_cc").job


def test_bookkeeping_makes_no_other_run(plans):
    assert plans("defaults: {training: {checkpoint_every: 1}}").job == plans("domain: {tldr: {}}").job


def test_relative_data_is_refused(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("data: {source: path, path: rows}")
    with pytest.raises(ConfigError, match="data.path is 'rows'.*absolute"):
        configuration([CONFIG, overlay], "tldr", ["magrpo"])


# tables


def a_run(folder, seed, rewards, finished=True):
    out = folder / f"seed{seed}"
    out.mkdir(parents=True)
    events = [{"event": "evaluation", "iteration": 0, "reward": rewards[0]}]
    for iteration, reward in enumerate(rewards):
        events.append({"event": "rollout", "reward": reward, "seconds": 1.0})
        update = {
            "entropy/agent_0": 2.0 - iteration,
            "entropy/agent_1": 4.0 - iteration,
            "explained_variance/critic": 0.5,
        }
        events.append({"event": "update", "seconds": 2.0, **update})
    events.append({"event": "evaluation", "iteration": len(rewards), "reward": rewards[-1]})
    (out / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return SimpleNamespace(
        job=SimpleNamespace(finished=finished), folders=SimpleNamespace(out=out), seed=seed, start=None
    )


def test_a_run_in_numbers(tmp_path):
    one = compare_tables.outcome(a_run(tmp_path, 3, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), final=False)
    assert (one.seed, one.start, one.end, one.seconds) == (3, 0.0, 6.0, 21.0)
    assert one.train == (2.0, 4.0) and one.curve == ((0, 0.0), (7, 6.0))
    assert one.entropy == (1.0, -1.0) and one.explained == 0.5
    assert compare_tables.outcome(a_run(tmp_path, 4, [0.0], finished=False), final=False) is None


def test_differences_are_paired_by_seed(tmp_path):
    outcomes = [compare_tables.outcome(a_run(tmp_path, seed, [0.0, 1.0 + seed]), False) for seed in (0, 1)]
    better = [dataclasses.replace(one, end=one.end + 0.5) for one in outcomes]
    groups = {
        ("tldr", "base", "magrpo"): outcomes,
        ("tldr", "new", "magrpo"): [*better, dataclasses.replace(better[0], seed=9)],
    }
    assert compare_tables.difference_rows(groups, "base") == [["tldr", "new - base", "magrpo", "2", "+0.500 ± 0.000"]]
    row = dict(zip(compare_tables.HEADER, compare_tables.main_rows(groups)[0], strict=True))
    assert (row["seeds"], row["end"], row["end - start"]) == ("2", "1.500", "+1.500 ± 6.353")
    assert compare_tables.curve_rows(groups)[0][-1] == "0:0.000 2:1.500"


# the real stages


@pytest.mark.workflow
def test_a_study_trains_prints_and_keeps(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", "")
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "rate.yaml").write_text(
        "domain: {tldr: {methods: {magrpo: {training: {agent_learning_rate: 1.0e-4}}}}}"
    )
    line = ["--config", str(CONFIG), str(tmp_path / "tiny.yaml"), "--domain", "tldr", "--methods", "magrpo", "collm_cc"]
    line += ["--seeds", "100", "--variants", "base", str(tmp_path / "rate.yaml"), "--out", str(tmp_path / "study")]
    line += ["--device", "cpu"]
    assert compare.main(line) == 0
    printed = capsys.readouterr().out
    assert "[6/6]" in printed and "| rate    |" in printed and "rate - base" in printed
    assert compare.main([*line, "--final"]) == 0
    printed = capsys.readouterr().out
    assert "train tldr" not in printed and "[4/4] evaluate tldr" in printed
    assert compare.main([*line, "--table"]) == 0
    assert "done" not in capsys.readouterr().out
