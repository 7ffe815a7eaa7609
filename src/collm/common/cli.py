"""What the stage scripts share: common options, and errors as one line with an exit status."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import errno
import gc
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from collm.common import shipped
from collm.common.errors import CollmError, ConfigError, Interrupted

USER_ERROR = 2
INTERRUPTED = 130
DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}
LARGEST_SEED = 2**32 - 1


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one line, as all errors meant for the user are."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with the status of a user error."""
        self.exit(USER_ERROR, f"error: {' '.join(message.split())}; {self.prog} --help lists all options\n")


def seed_number(text: str) -> int:
    """Type of an option that is a seed."""
    return _whole(text, 0, LARGEST_SEED, "a seed")


def count(text: str) -> int:
    """Type of an option that counts something: processes, threads, cores."""
    return _whole(text, 1, 1 << 20, "a count")


def amount(text: str) -> float:
    """Type of an option that is a finite number of at least 0."""
    number = _number(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is refused; write a number of at least 0")
    return number


def rate(text: str) -> float:
    """Type of an option that is a finite number above 0."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is refused; write a number above 0")
    return number


def json_object(option: str, text: str) -> dict[str, Any]:
    """What an option says as a JSON object; ConfigError if it is none."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text!r} is no JSON ({error}); write an object like '{{\"name\": 1}}'") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{option} {text!r} is no JSON object; write one like '{{\"name\": 1}}'")
    return found


def each_once(option: str, names: Iterable[object]) -> None:
    """ConfigError if an option names something twice."""
    names = [*names]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{option} names {twice[0]} twice; name each once")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _whole(text: str, least: int, most: int, what: str) -> int:
    number = _number(text)
    if not (least <= number <= most and number.is_integer()):
        raise argparse.ArgumentTypeError(f"{text!r} is refused; {what} is a whole number from {least} to {most}")
    return int(number)


def run(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Call a script's `main` and return its exit status; errors meant for the user become one line on stderr.

    2 = a user error (or a disk that takes no more), 130 = stopped with Ctrl-C. Any other exception is a fault
    of ours and keeps its traceback.
    """
    atexit.register(gc.freeze)  # no search for cycles among all that torch loaded: two seconds of every job
    return status(lambda: main(argv))


def status(work: Callable[[], int]) -> int:
    """The exit status of some work, with its errors told as `run` does."""
    try:
        return work()
    except CollmError as error:
        return _report(str(error))
    except OSError as error:
        if error.errno not in DISK:
            raise
        place = error.filename or "to disk"
        return _report(f"cannot read or write {place}: {error.strerror}; what was there before is intact")
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("stopped; nothing lost, run the same command again", file=sys.stderr)
        return INTERRUPTED


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """A block that imports torch and what stands on it.

    Modules are not garbage, but while thousands of them load, Python would look through all of them again and again: a
    third of the time. Here it does not look, nor later at what has been loaded.
    """
    modules, looks = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
        if len(sys.modules) > modules:
            gc.freeze()
    finally:
        if looks:
            gc.enable()


@contextlib.contextmanager
def printed_to(file: Path | None) -> Iterator[None]:
    """A block whose output goes to the end of a file, that of libraries and of child processes included.

    Args:
        file: None leaves the output where it is.
    """
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(1), os.dup(2)]
    with file.open("ab") as stream:
        _point_output_to([stream.fileno(), stream.fileno()])
    try:
        yield
    finally:
        _point_output_to(kept)
        for number in kept:
            os.close(number)


def parser(
    description: str, *, domain: bool = True, method: bool | str = False, seed: bool = False
) -> argparse.ArgumentParser:
    """An argument parser with the options that scripts have in common, in one wording; `method` may be its default."""
    layout = argparse.ArgumentDefaultsHelpFormatter
    result = Parser(description=description, formatter_class=layout)
    result.add_argument(
        "--config",
        nargs="+",
        default=[str(shipped.config_file())],
        metavar="FILE",
        help="YAML or JSON files; later ones win key by key",
    )
    if domain:
        result.add_argument("--domain", required=True, help="benchmark, e.g. tldr")
    if method:
        default = method if isinstance(method, str) else None
        words = "method or baseline, e.g. collm_cc"
        result.add_argument("--method", required=default is None, default=default, help=words)
    if seed:
        result.add_argument("--seed", type=seed_number, default=0, help="seed of the run")
    return result


def add_variant(layout: argparse.ArgumentParser) -> None:
    """Option of stages that belong to one variant of a configuration."""
    words = "variant of the configuration, where it has some; '' for inputs that its variants share"
    layout.add_argument("--variant", type=lambda text: text.strip("/"), metavar="NAME", help=words)


def add_threads(layout: argparse.ArgumentParser) -> None:
    """Option of the stages that compute with torch."""
    layout.add_argument("--threads", type=count, help="threads of torch; default: torch's own choice")


def add_device(layout: argparse.ArgumentParser, default: str = "auto") -> None:
    """Option of the stages that load a model."""
    words = "auto (a GPU if there is one), cpu, cuda or cuda:N; a device that is named and not there is an error"
    layout.add_argument("--device", default=default, help=words)


def add_reuse(layout: argparse.ArgumentParser) -> None:
    """Option of the stages that keep checkpoints."""
    words = "go on with, or export, checkpoints of other code; run.json then names both versions"
    layout.add_argument("--reuse", action="store_true", help=words)


def add_again(layout: argparse.ArgumentParser) -> None:
    """Option of commands that make what is missing before they run."""
    layout.add_argument(
        "--again", action="store_true", help="make again what other settings made, instead of refusing it"
    )


def for_processes(argv: Sequence[str] | None) -> list[str]:
    """The words (None: of the command line) that the processes of a stage are started with: without `--again`, which
    is done by then."""
    return [word for word in (sys.argv[1:] if argv is None else argv) if word != "--again"]


def add_processes(layout: argparse.ArgumentParser) -> None:
    """Option of the stages that several processes can share."""
    words = "processes of this machine that share the work, one per GPU; --threads is for all of them together"
    layout.add_argument("--processes", type=count, default=1, help=words)


def _point_output_to(files: Sequence[int]) -> None:
    """Make standard output and error two open files; what Python has not written yet goes to the old ones."""
    for number, (stream, new) in enumerate(zip((sys.stdout, sys.stderr), files, strict=True), start=1):
        stream.flush()
        os.dup2(new, number)


def _report(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return USER_ERROR
