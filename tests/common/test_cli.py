"""Scripts: a user error is one line and status 2, Ctrl-C is 130, our own faults keep their traceback."""

from __future__ import annotations

import errno

import pytest

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
