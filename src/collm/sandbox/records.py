"""What goes into the sandbox and what comes out: programs, limits, verdicts, layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one program may use; seconds are wall time unless they say otherwise.

    `check_seconds` and `load_seconds`: 8 as in paper F.2. After `max_timeouts` time limits (or `max_deaths` ended
    processes) the remaining checks are skipped and count as failed.
    """

    check_seconds: float = 8.0
    load_seconds: float = 8.0
    program_seconds: float = 120.0
    cpu_seconds: int = 60  # processor time of one process
    memory_bytes: int = 512 * MEGABYTE  # address space of one process
    folder_bytes: int = 16 * MEGABYTE  # the temporary folder, where it is in memory
    file_bytes: int = 8 * MEGABYTE
    files: int = 256  # in the temporary folder, where it is in memory
    open_files: int = 64
    output_bytes: int = MEGABYTE  # standard output and error together; beyond it a write raises OSError
    value_bytes: int = 8 * MEGABYTE  # arguments or return value of one call; also the longest program
    tasks: int = 32  # threads (new processes are refused where seccomp is on)
    max_timeouts: int = 3
    max_deaths: int = 3


@dataclass(frozen=True)
class Program:
    """Model-written source and what to check about one of its functions.

    `setup` is run once before the checks, in the checks' process, without the program; then `candidate` and the entry
    point's name stand for the function under test. Each check is source text, most often one assert; it passes if
    it raises nothing. `check_seconds` and `load_seconds` override the sandbox's limits.
    """

    source: str
    checks: tuple[str, ...]
    entry_point: str
    setup: str = ""
    check_seconds: float | None = None
    load_seconds: float | None = None


@dataclass(frozen=True)
class Check:
    """One check's result; a failed one has the exception's type and a short message.

    Types of our own: TimeLimit, Died, Skipped, Malformed (unreadable value), Unsendable (the check passes an argument
    that is no plain data), Opaque (the check compares a returned object that is none), SetupFailed, TooLong, Lost.
    """

    passed: bool
    error: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is known about one program. `problem` says why it could not be loaded."""

    loaded: bool
    checks: tuple[Check, ...]
    timeouts: int
    deaths: int
    seconds: float
    problem: str | None = None

    @property
    def passed(self) -> int:
        """How many checks passed."""
        return sum(check.passed for check in self.checks)

    @property
    def all_passed(self) -> bool:
        """Whether there are checks and every one passed."""
        return bool(self.checks) and self.passed == len(self.checks)


@dataclass(frozen=True)
class Layers:
    """Which walls are on: names, what they protect, why richer sets were refused, what the start-up probe got out of.

    `protections`: files, network, processes -> whether they are out of reach and the probe could not reach them.
    """

    names: tuple[str, ...]
    protections: Mapping[str, bool]
    refused: tuple[str, ...] = ()
    escapes: Mapping[str, list[str]] = field(default_factory=dict)
    user: str = ""

    def line(self) -> str:
        """One line for the log of a run."""
        kept = ", ".join(f"{name} {'isolated' if on else 'NOT ISOLATED'}" for name, on in self.protections.items())
        always = "fresh process, rlimits, no_new_privs, no capabilities"
        return f"sandbox: {kept}; layers: {' '.join(self.names) or 'none'}; always: {always}; {self.user}"

    def missing(self) -> list[str]:
        """What is not isolated, with the reasons known."""
        lacking = [name for name, on in self.protections.items() if not on]
        reasons = [text for name in lacking for text in self.escapes.get(name, [])]
        return [*lacking, *reasons, *self.refused] if lacking else []
