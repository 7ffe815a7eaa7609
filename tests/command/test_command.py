"""The command `collm`: its list, what it refuses, and what it makes before a stage."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from support.places import ROOT

from collm.api.workplace import Workplace
from collm.command import main
from collm.command.ask import questions
from collm.common import cli, shipped
from collm.common.errors import DataError
from collm.config.load import load_config
from collm.stages import train

TINY = str(ROOT / "tests" / "workflow" / "tiny.yaml")
DEFAULT = str(ROOT / "config" / "config.yaml")


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Run `collm ...` in an empty folder; returns status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["collm"])

    def run(*words):
        try:
            status = cli.run(main.dispatch, [str(word) for word in words])
        except SystemExit as left:
            status = left.code
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def test_help_names_all_commands(call):
    status, out, _ = call("--help")
    assert status == 0 and all(f"  {name} " in out for name in main.COMMANDS)
    assert call()[0] == cli.USER_ERROR and call("--version")[1].startswith("collm 0.")


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(call, name):
    status, out, _ = call(name, "--help")
    assert status == 0 and out.startswith(f"usage: collm {name}")


def test_an_unknown_command_is_refused(call):
    status, _, error = call("trian")
    assert status == cli.USER_ERROR and "did you mean 'train'?" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ask", "nowhere", "a question"], "nowhere holds no run.json"),
        (["ask", "nowhere"], "--interactive"),
        (["ask", "nowhere", "a", "--interactive"], "--interactive"),
        (["export", "nowhere", "--to", "there"], "nowhere holds no run.json"),
        (["export", "nowhere", "--to", "."], "is there already"),
        (["prepare", "--domain", "tdlr"], "did you mean 'tldr'?"),
        (["train", "--domain", "tldr", "--method", "parallel"], "it is not trained"),
    ],
)
def test_wrong_arguments(call, words, message):
    status, _, error = call(*words)
    assert status == cli.USER_ERROR and message in error and error.count("\n") == 1


def test_defaults_are_copied_once(call, tmp_path):
    assert DEFAULT in call("defaults")[1]
    assert call("defaults", "--to", "config")[0] == 0
    assert (tmp_path / "config/config.yaml").read_bytes() == (ROOT / "config/config.yaml").read_bytes()
    assert shipped.config_file() == shipped.DEFAULT  # the copy is what commands take from now on
    status, _, error = call("defaults", "--to", "config")
    assert status == cli.USER_ERROR and "nothing was copied" in error


def test_data_are_made_where_they_are_missing(tmp_path):
    config = load_config([DEFAULT, TINY])
    Workplace(config, tmp_path).data("tldr")
    manifest = tmp_path / "data/tldr/manifest.json"
    before = manifest.stat().st_mtime_ns
    Workplace(config, tmp_path).data("tldr")
    assert manifest.stat().st_mtime_ns == before
    other = load_config([DEFAULT, TINY], {"domain": {"tldr": {"data": {"train": "train[0:3]"}}}})
    with pytest.raises(DataError, match=r"data\.train .*say `again`"):
        Workplace(other, tmp_path).data("tldr")
    Workplace(other, tmp_path, again=True).data("tldr")
    assert json.loads(manifest.read_text())["splits"]["train"]["rows"] == 3


def test_processes_of_a_run_are_not_told_to_make_things_again(monkeypatch):
    from collm.runs import distributed

    told, provided = [], []
    monkeypatch.setattr(train, "checked_start", lambda *_, **__: None)
    monkeypatch.setattr(train, "train_each", lambda *_: 0)
    monkeypatch.setattr(distributed, "launch", lambda *what: told.append(what))
    words = ["--config", DEFAULT, "--domain", "tldr", "--method", "magrpo", "--processes", "2"]
    assert train.main([*words, "--again"], lambda *what: provided.append(what[1].method)) == 0
    assert told == [("collm.stages.train", words, 2, None)] and provided == ["magrpo"]


def test_questions_end_with_an_empty_line():
    typed = io.StringIO("one\nmore\n\n\n  \ntwo\n")
    assert list(questions(typed)) == ["one\nmore\n", "two\n"]


def test_the_package_is_a_program(tmp_path):
    command = [sys.executable, "-m", "collm", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)
    assert done.stdout.startswith("collm ")
