"""The script for one GPU: every line of it on a CPU, without any package that it does not name, and its kit."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
from support.places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from on_gpu import kit  # noqa: E402

SCRIPT = ROOT / "benchmarks" / "on_gpu.py"
ABSENT = ("jsonschema", "snakemake", "dvc", "datasets", "pandas", "matplotlib", "trl", "comlrl")
START = f"""
import importlib.machinery, runpy, sys
class Found(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {ABSENT} else super().find_spec(name, path, target)
sys.meta_path = [Found if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What a smoke run writes, where only what the script names is installed."""
    root = tmp_path_factory.mktemp("on_gpu")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", START, str(SCRIPT), "--smoke", "--device", "cpu", "--work", str(root / "work")]
    done = subprocess.run([*command, "--out", str(root / "out.json")], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((root / "out.json").read_text())


def test_all_parts_come_to_their_end(results):
    assert [name for name in results if name != "machine"] == ["right", "fast", "beside", "learns"]
    assert all(part["finished"] and part["lines"] for name, part in results.items() if name != "machine")
    assert not [
        line for name, part in results.items() if name != "machine" for line in part["lines"] if "error" in line
    ]


def test_a_cpu_is_right_against_itself(results):
    lines = results["right"]["lines"]
    assert {line["check"] for line in lines} == {"float32", "bfloat16", "tokens", "static", "resume"}
    assert all(line["right"] is True for line in lines)
    assert all(line["scores"] == line["gradients"] == 0 for line in lines if line["check"] == "float32")


def test_fast_measures_decoding_both_ways_and_jobs(results):
    card, *lines = [line for line in results["fast"]["lines"] if "what" in line]
    decoding = [line for line in lines if "cache" in line]
    assert card["matmul_tera"] > 0 and card["bandwidth_gb"] > 0
    assert {(line["cache"], line["sampling"]) for line in decoding} == {
        (cache, sampling) for cache in ("static", "growing") for sampling in ("plain", "top-p 0.9")
    }
    assert all(0 < line["share_of_bandwidth"] for line in decoding)
    jobs = [line for line in results["fast"]["lines"] if "method" in line]
    assert {line["method"] for line in jobs} == {"collm_cc", "magrpo"}
    for line in jobs:
        assert line["rollouts"] >= 1 and line["samples_per_second"] > 0 and line["planned_gb"] > 0
        assert 0 < line["update_share_of_matmul"] and 0 < line["play_share"] < 1


def test_fast_measures_five_seeds_together(results):
    (line,) = (line for line in results["fast"]["lines"] if line.get("what") == "5 seeds together")
    assert line["times_one"] == line["seconds_of_all"] / line["seconds_of_one"] > 0


def test_peers_that_are_missing_are_skipped_by_name(results):
    skipped = {line["skipped"]: line["why"] for line in results["beside"]["lines"]}
    assert "no comlrl: name a folder with its wheel" in skipped["CoLLM-CC beside comlrl"]
    assert "no trl:" in skipped["GRPO beside TRL"]


def test_learning_leaves_curves(results):
    (line,) = results["learns"]["lines"]
    assert line["updates"] >= 1 and len(results["learns"]["curves"][f"tldr/{line['method']}/0"]) == line["rollouts"]


def script():
    spec = importlib.util.spec_from_file_location("on_gpu_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_part_that_takes_too_long_or_fails_leaves_time_for_the_others(tmp_path, monkeypatch, capsys):
    module, limits = script(), {}

    def run(command, env, timeout):
        part = command[command.index("--part") + 1]
        limits[part] = float(command[command.index("--seconds") + 1])
        if part == "fast":
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 1 if part == "beside" else 0)

    monkeypatch.setattr(module.subprocess, "run", run)
    assert module.main(["--minutes", "8", "--out", str(tmp_path / "out.json")]) == 1
    said = capsys.readouterr().out
    assert "== fast stopped after" in said and "== beside ended with status 1" in said
    assert list(limits) == ["right", "fast", "beside", "learns"]
    assert limits["right"] == pytest.approx(96, abs=2) and limits["learns"] > 200  # what others did not take


def test_without_the_device_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device found"):
        script().main(["--smoke", "--parts", "right", "--out", str(tmp_path / "o.json"), "--work", str(tmp_path)])


def test_the_kit_is_complete_and_small(tmp_path, monkeypatch):
    model = tmp_path / "model.gguf"
    model.write_bytes(bytes(range(250)))
    monkeypatch.setattr(kit, "PIECE", 100)
    monkeypatch.setattr(kit, "_download", lambda packages, folder, python: (folder / "a.whl").write_bytes(b"wheel"))
    folders = kit.build(tmp_path / "kit", model, peers=True)
    assert [folder.name for folder in folders] == ["kit-1", "kit-2", "kit-3", "kit-peers-1"]
    pieces = sorted(tmp_path.glob("kit-*/*.gguf.part*"), key=lambda path: path.name)
    assert b"".join(piece.read_bytes() for piece in pieces) == model.read_bytes()
    for needed in ("benchmarks/on_gpu.py", "src/collm/llm/static/decoding.py", "config/paper.yaml"):
        assert (folders[0] / needed).is_file()
    assert kit.build(tmp_path / "kit", model)[0] == folders[0]  # again in the same place
    monkeypatch.setattr(kit, "MOST", 1000)
    with pytest.raises(RuntimeError, match="kit-1 has .* MB"):
        kit.build(tmp_path / "kit", model)
    (tmp_path / "other-1").mkdir()
    with pytest.raises(RuntimeError, match="was not made by this script"):
        kit.build(tmp_path / "other", model)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here; docs/gpu.md says how to run it")
def test_this_device_is_right(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), "--parts", "right", "--work", str(tmp_path / "work"), "--out", str(out)]
    assert subprocess.run(command).returncode == 0
    assert all(line.get("right") is not False for line in json.loads(out.read_text())["right"]["lines"])
