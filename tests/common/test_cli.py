"""Scripts: a user error is one line and status 2, Ctrl-C is 130, our own faults keep their traceback."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys

import pytest
from support.places import ROOT

from collm.common import cli
from collm.common.errors import DataError


def failing(error):
    def main(argv):
        raise error

    return main


def test_status_of_the_script_is_passed_on():
    assert cli.run(lambda argv: len(argv), ["a", "b", "c"]) == 3


def test_user_error_is_one_line(capsys):
    assert cli.run(failing(DataError("no\n  rows"))) == 2
    assert capsys.readouterr().err == "error: no rows\n"


def test_full_disk_names_the_file(capsys):
    assert cli.run(failing(OSError(errno.ENOSPC, "No space left on device", "data/x"))) == 2
    assert "cannot read or write data/x: No space left on device; what was there" in capsys.readouterr().err


def test_ctrl_c(capsys):
    assert cli.run(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "stopped; nothing lost, run the same command again\n"


@pytest.mark.parametrize("error", [KeyError("x"), OSError(errno.EIO, "Input/output error")])
def test_other_errors_keep_their_traceback(error):
    with pytest.raises(type(error)):
        cli.run(failing(error))


def test_common_options():
    parser = cli.parser("what for", method=True, seed=True)
    arguments = parser.parse_args(["--domain", "tldr", "--method", "magrpo", "--config", "a.yaml", "b.yaml"])
    assert vars(arguments) == {"config": ["a.yaml", "b.yaml"], "domain": "tldr", "method": "magrpo", "seed": 0}
    assert vars(cli.parser("what for", domain=False).parse_args([])) == {"config": ["config/config.yaml"]}


def test_options_of_stages_that_load_a_model():
    parser = cli.parser("what for")
    cli.add_device(parser)
    cli.add_reuse(parser)
    plain = parser.parse_args(["--domain", "tldr"])
    assert plain.device == "auto" and plain.reuse is False
    given = parser.parse_args(["--domain", "tldr", "--device", "cuda:1", "--reuse"])
    assert given.device == "cuda:1" and given.reuse is True


def test_missing_option_is_a_user_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parser("what for").parse_args([])
    assert stopped.value.code == 2
    assert "--domain" in capsys.readouterr().err


def test_python_looks_for_garbage_again_after_loading(tmp_path, monkeypatch):
    (tmp_path / "never_loaded_before.py").write_text(
        "import gc\nlooked = gc.isenabled()\nkept = [[] for _ in range(500)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    gc.unfreeze()
    with cli.loading():
        import never_loaded_before
    assert not never_loaded_before.looked and gc.isenabled() and gc.get_freeze_count() > 500
    gc.unfreeze()
    with cli.loading():
        import never_loaded_before  # noqa: F811  nothing new
    assert gc.get_freeze_count() == 0
    with pytest.raises(ImportError), cli.loading():
        import never_written  # noqa: F401
    assert gc.isenabled()


PRINTS = """
import pathlib, subprocess, sys
from collm.common import cli
log = pathlib.Path("new/run.log")
for words in ("first", "second"):
    print("before", words)
    with cli.printed_to(log):
        print("own", words)
        print("error", words, file=sys.stderr)
        subprocess.run(["echo", "child", words], check=True)
with cli.printed_to(None):
    print("after")
with cli.printed_to(log):
    sys.exit("last words")
"""


def test_output_goes_to_the_end_of_a_file_and_back(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", PRINTS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "before first\nbefore second\nafter\n" and done.stderr == "last words\n", "Python's own end"
    lines = (tmp_path / "new/run.log").read_text(encoding="utf-8").splitlines()
    for part, words in ((lines[:3], "first"), (lines[3:], "second")):
        assert sorted(part) == [f"child {words}", f"error {words}", f"own {words}"]
