"""What a notebook does: the quickstart runs from first cell to last, and its run is looked at from all sides."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support import notebooks
from support.places import ROOT

import collm
from collm.api import ask, experiment
from collm.api.trained import open_team
from collm.common.errors import ConfigError, DataError, ModelError, RowError

TINY = ROOT / "tests" / "workflow" / "tiny.yaml"
SETTINGS = {"config": TINY, "training": {"max_updates": 1}}
POST = "My dog ate my shoe. It was new, and I am late for work. What should I do now?"


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The names that the notebook leaves, what its cells show, and its folder."""
    folder = tmp_path_factory.mktemp("notebook") / "quickstart"
    names, shown = notebooks.run("quickstart.ipynb", folder=str(folder), settings=SETTINGS)
    return names, shown, folder


@pytest.fixture(scope="module")
def run(quickstart):
    return quickstart[0]["run"]


@pytest.fixture
def seed0(quickstart):
    return quickstart[2] / "results" / "tldr" / "collm_cc" / "seed0"


def test_the_notebook_keeps_no_outputs():
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in notebooks.cells("quickstart.ipynb")
    )


def test_the_notebook_runs(quickstart):
    names, shown, folder = quickstart
    assert len(names["rewards"]) == 1  # one rollout was heard
    assert set(names["answer"].texts) == {"summariser", "elaborator"}
    assert sorted(path.name for path in (folder / "results/tldr").iterdir()) == ["collm_cc", "warm_start"]
    pictures = [value for value in shown if isinstance(value, experiment.Picture)]
    assert pictures[0]._repr_png_().startswith(b"\x89PNG")
    assert sum(isinstance(value, pd.DataFrame) for value in shown) == 2


def test_frames_are_tidy(run, quickstart):
    found = collm.results(quickstart[2] / "results")
    assert sorted(found.runs["method"]) == ["collm_cc", "warm_start"]
    assert set(found.runs["evaluated"]) == {True} and found.runs["counts.update"].max() == 1
    assert list(found.updates["update"]) == [1] and {"rollout", "evaluation"} == set(found.curves["event"])
    assert len(found.samples) == 4 and "metric.score" in found.samples and "part.length" in found.samples
    alone = collm.results(quickstart[2] / "results", methods=["warm_start"])
    assert set(alone.samples["method"]) == {"warm_start"} and len(alone.curves) == 0
    table = run.table(100)
    assert {"score", "tokens"} <= set(table["metric"]) and "interval over tasks" in set(table["interval"])
    assert run.curve().data.equals(run.results.curves)


def test_what_is_not_evaluated_has_a_curve_and_no_table(run, quickstart, tmp_path):
    kept = shutil.ignore_patterns("samples.jsonl", "evaluation.json")
    shutil.copytree(quickstart[2] / "results", tmp_path / "results", ignore=kept)
    alone = experiment.Experiment(run.config, "tldr", tmp_path, "cpu")
    assert alone.curve().data.equals(run.results.curves)
    with pytest.raises(DataError, match="call collm.evaluate first"):
        alone.table()


def test_a_finished_run_is_kept_and_other_settings_are_refused(quickstart, monkeypatch):
    folder = quickstart[2]
    monkeypatch.setattr("collm.stages.train.train", lambda *_, **__: pytest.fail("trained again"))
    collm.train("tldr", "collm_cc", folder=folder, **SETTINGS)
    with pytest.raises(ModelError, match=r"training.max_updates 1, this run says 2; .*another folder, or say `again`"):
        collm.train("tldr", "collm_cc", folder=folder, config=TINY, training={"max_updates": 2})
    with pytest.raises(DataError, match=r"data\.train"):
        collm.train("tldr", "collm_cc", folder=folder, data={"train": "train[0:3]"}, **SETTINGS)


def test_an_answer_is_an_episode(run, seed0):
    answer = run.ask(POST)
    assert answer == collm.ask(seed0, POST) and answer != run.ask(POST, draw=1)
    (turn,) = answer.turns
    assert POST in turn.prompts[0][-1]["content"] and turn.reward == answer.reward == sum(turn.parts.values())
    assert "[elaborator]" in str(answer) and "reward" in str(answer) and POST not in str(answer)
    assert POST in answer.as_text(prompts=True)
    assert json.loads(json.dumps(answer.as_json()))["roles"] == ["summariser", "elaborator"]
    with pytest.raises(ConfigError, match="seed 7 is not part"):
        run.ask(POST, seed=7)


def test_what_is_no_run_is_refused(tmp_path, seed0, quickstart):
    with pytest.raises(DataError, match=r"holds no run\.json; name the folder of a finished run, like .*seed0"):
        open_team(quickstart[2])
    with pytest.raises(RowError, match="'prompt'"):
        collm.ask(seed0, "{}")
    alone = shutil.copytree(seed0, tmp_path / "seed0")
    with pytest.raises(ModelError, match="--models"):
        open_team(alone)
    assert open_team(alone, quickstart[2] / "resources/models").job.method == "collm_cc"
    facts = json.loads((alone / "run.json").read_text())
    facts["config"]["models"]["scratch"]["hidden"] = 64
    (alone / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="made anew with other settings"):
        open_team(alone, quickstart[2] / "resources/models")
    del facts["config"]["team"]
    (alone / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="version"):
        open_team(alone)


LOAD = """
import sys
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer("a post", return_tensors="pt")["input_ids"]
print(tuple(model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape))
"""


def load(agent: Path) -> subprocess.CompletedProcess[str]:
    """Plain peft, from another folder and without collm."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", LOAD, str(agent)]
    return subprocess.run(command, cwd="/", env=environment, text=True, capture_output=True)


def test_plain_peft_loads_an_export_also_after_it_was_moved(quickstart, tmp_path):
    team = quickstart[2] / "team"
    done = load(team / "agent_1")
    assert done.returncode == 0 and done.stdout.startswith("(1, "), done.stderr[-2000:]
    moved = shutil.move(shutil.copytree(team, tmp_path / "copied"), tmp_path / "moved")
    subprocess.run([sys.executable, "-I", str(Path(moved) / "here.py")], check=True, capture_output=True)
    base = json.loads((Path(moved) / "agent_0/adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(Path(moved) / "base" / "scratch")
    shutil.rmtree(tmp_path / "copied", ignore_errors=True)
    done = load(Path(moved) / "agent_0")
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_export_is_whole(quickstart, seed0):
    team = quickstart[2] / "team"
    files = [path for path in team.rglob("*") if path.is_file()]
    umask = os.umask(0)
    os.umask(umask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}
    card = (team / "README.md").read_text()
    for words in ("CoLLM-CC", "AutoPeftModelForCausalLM", "vllm serve FOLDER/base/scratch", "agent_1=FOLDER/agent_1"):
        assert words in card
    assert "| Score (%) |" in card and "2 test tasks" in card and "{prompt}" in card and "not comparable" in card
    assert str(quickstart[2]) not in "".join(path.read_text() for path in (team / "README.md", team / "run.json"))
    assert collm.ask(team, POST) == collm.ask(seed0, POST)  # an export can be asked, too
    with pytest.raises(ConfigError, match="is there already"):
        collm.export(seed0, team)
    with pytest.raises(ModelError, match="not trained|no folder above"):
        collm.export(untrained(quickstart[2]), quickstart[2] / "other")
    with pytest.raises(ConfigError, match="ORG/NAME"):
        collm.export(seed0, quickstart[2] / "other", push="name")


def untrained(folder: Path) -> Path:
    """A run's folder as that of a row without training."""
    out = folder / "results" / "tldr" / "parallel" / "seed0"
    out.mkdir(parents=True, exist_ok=True)
    facts = json.loads((folder / "results/tldr/warm_start/seed0/run.json").read_text())
    facts["config"]["method"] = "parallel"
    (out / "evaluation.json").write_text(json.dumps(facts))
    return out


def test_adapters_on_a_base_of_the_hub_name_its_commit(quickstart, seed0, tmp_path, monkeypatch):
    made_here = quickstart[2] / "resources/models/tldr/scratch"
    run = shutil.copytree(seed0, tmp_path / "place/results/tldr/collm_cc/seed0")
    model = shutil.copytree(made_here, tmp_path / "place/resources/models/scratch")
    spec = {"source": "hub", "id": "someone/base", "revision": None}
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["models"]["scratch"] = spec
    (run / "run.json").write_text(json.dumps(facts))
    made = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**made, "spec": spec, "revision": "c0ffee"}))
    team = collm.export(run, tmp_path / "team")
    settings = json.loads((team / "agent_0/adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("someone/base", "c0ffee")
    assert not (team / "base").exists()
    card = (team / "README.md").read_text()
    assert "vllm serve someone/base --revision c0ffee" in card and "base_model: someone/base" in card
    asked = []
    monkeypatch.setattr("collm.data.hub.download_model", lambda *what: asked.append(what) or str(model))
    assert open_team(team).base(1) == model and asked == [("someone/base", "c0ffee")]


def test_a_push_names_no_place_of_this_machine(seed0, tmp_path, monkeypatch):
    sent = {}

    class Hub:
        def create_repo(self, repository, private, exist_ok):
            sent["made"] = repository, private

        def upload_folder(self, repo_id, folder_path, commit_message, ignore_patterns):
            sent["folder"] = folder_path, ignore_patterns

        def upload_file(self, path_or_fileobj, path_in_repo, repo_id):
            sent[path_in_repo] = json.loads(path_or_fileobj)

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    team = collm.export(seed0, tmp_path / "team", push="someone/team")
    assert sent["made"] == ("someone/team", True) and sent["folder"] == (team, "agent_*/adapter_config.json")
    assert sent["agent_1/adapter_config.json"]["base_model_name_or_path"] == "someone/team"
    assert "someone/team" in (team / "README.md").read_text()


def test_settings_of_python_win_over_files():
    config = experiment.configuration(
        "tldr", ["grpo"], [], [3], [], {"rollout": {"max_new_tokens": 9}, "data": {"path": "x", "test": "train[0:2]"}}
    )
    job = experiment.resolve_job(config, "tldr", "grpo")
    assert job.rollout.max_new_tokens == 9 and config["seeds"] == [3] and config["data"]["path"] == "x"
    assert job.data["test"] == "train[0:2]"
    with pytest.raises(ConfigError, match="max_updates"):
        experiment.configuration("tldr", ["grpo"], [], [0], [], {"training": {"max_update": 1}})
    with pytest.raises(ConfigError, match="did you mean 'tldr'"):
        collm.train("tdlr", "collm_cc")
    with pytest.raises(ConfigError, match=r"use collm.evaluate\('tldr', 'parallel'\)"):
        collm.train("tldr", "parallel")


def test_importing_collm_loads_nothing():
    heavy = "assert not {'torch', 'transformers', 'pandas', 'matplotlib'} & set(sys.modules)"
    code = f"import sys, collm; {heavy}; assert 'train' in dir(collm); collm.train; {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = collm.nothing


def test_nothing_is_asked_before_the_question_is_read(seed0, monkeypatch):
    monkeypatch.setattr(ask, "Asked", lambda *_: pytest.fail("models were loaded"))
    with pytest.raises(RowError):
        collm.ask(seed0, '{"prompt": ""}')
