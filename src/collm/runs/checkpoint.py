"""Checkpoints that survive a kill: written whole or not at all, verified when read, tied to settings and code.

They are read into main memory, whatever device wrote them; members and optimisers take them to their own.
"""

from __future__ import annotations

import errno
import json
import pickle
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from collm.common.errors import CheckpointError
from collm.common.files import atomic_folder, sha256, write_json
from collm.common.mappings import flatten
from collm.pipeline import code_version
from collm.runs import device
from collm.runs.distributed import Processes

MISSING = "(absent)"
CODE = "code."  # what keys of the fingerprint that name modules begin with


class Checkpoints:
    """The checkpoints of one run in `folder`, newest last; `fingerprint` is everything that the run depends on.

    Of several processes the main one looks after the folder, and all read the checkpoint that it names.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: Mapping[str, Any],
        keep: int,
        processes: Processes | None = None,
        reuse: bool = False,
        notes: Mapping[str, str | None] | None = None,
        device_named: bool = True,
    ):
        """Nothing is read or written yet.

        Args:
            fingerprint: what the run depends on; under "code" the modules that decide it (`pipeline.code_version`).
            keep: the number of checkpoints that stay; older ones go with every new one.
            reuse: go on with, or export, what other code made.
            notes: facts that are kept with every checkpoint and bind nothing: "device" and "commit".
            device_named: whether the user chose the device; if not, what was begun on a GPU does not go on on a CPU.
        """
        self.device_named = device_named
        self.folder, self.keep, self._processes = folder, keep, processes or Processes()
        self.reuse, self.notes = reuse, dict(notes or {})
        self.fingerprint = json.loads(json.dumps(flatten(fingerprint)))

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step_*") if re.fullmatch(r"step_\d{8}", path.name))

    def save(self, step: int, state: Mapping[str, Any], finished: bool = False) -> Path:
        """Write the checkpoint of `step`, then drop the oldest beyond `keep`.

        Raises:
            CheckpointError: the disk takes no more; the checkpoints from before are intact.
        """
        path = self.folder / f"step_{step:08d}"
        try:
            with atomic_folder(path) as temporary:
                _write_state(state, temporary / "state.pt")
                facts = {"step": step, "finished": finished, "sha256": sha256(temporary / "state.pt")}
                write_json(temporary / "checkpoint.json", {**facts, **self.notes, "fingerprint": self.fingerprint})
        except OSError as error:
            raise CheckpointError(
                f"cannot write checkpoint {path} ({_reason(error)}); the checkpoints before it are intact: "
                "free some space and run the same command again"
            ) from error
        for old in [other for other in self._folders() if other <= path][: -self.keep]:
            shutil.rmtree(old)
        return path

    def latest(self) -> dict[str, Any] | None:
        """State of the newest intact checkpoint, None if there is none.

        A damaged checkpoint is left out with a message, and the one before it is used. What a killed process left
        half written is removed.

        Raises:
            CheckpointError: an unfinished run with other settings or of other code left checkpoints here; says which
            key or module differs. Or the newest one is whole, and this version of torch or of the code cannot read it,
            or it was written on a GPU, none is found, and nobody asked for a CPU.
        """
        newest: dict[Path, dict[str, Any]] = {}  # filled in the main process alone

        def look() -> Path | None:
            newest.update(self._newest())
            return next(iter(newest), None)

        path = self._processes.from_main(look)
        if path is None:
            return None
        return newest[path] if newest else _read_state(path)

    def _newest(self) -> dict[Path, dict[str, Any]]:
        """Place and state of the newest intact checkpoint; empty if there is none."""
        for unfinished in self.folder.glob(".step_*"):
            shutil.rmtree(unfinished)
        for path in reversed(self._folders()):
            try:
                facts = json.loads((path / "checkpoint.json").read_text(encoding="utf-8"))
                damaged = facts["sha256"] != sha256(path / "state.pt")
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._say(f"checkpoint {path} is damaged ({_reason(error)}); using the one before it")
                continue
            if damaged:
                self._say(f"checkpoint {path} is damaged (checksum differs); using the one before it")
                continue
            if not self._fits(path, facts):
                self._set_aside(facts)
                return {}
            self._say_device(path, facts)
            return {path: _read_state(path)}
        if self._folders():
            self._say(f"no checkpoint in {self.folder} is intact; starting from the beginning")
        return {}

    def _fits(self, path: Path, facts: Mapping[str, Any]) -> bool:
        """Whether a checkpoint is of this run; False if it is of a finished run that makes room.

        Raises:
            CheckpointError: it is of an unfinished run with other settings or of other code.
        """
        settings, modules = self._changed(facts["fingerprint"]), self._changed_modules(facts["fingerprint"])
        if not settings and not modules:
            return True
        if self.reuse and not settings:
            act = "exported" if facts["finished"] else "continued"
            self._say(f"checkpoint {path} is of other code ({modules}); it is {act} all the same, as --reuse says")
            return True
        if not facts["finished"]:
            raise CheckpointError(self._refusal(settings, modules, facts.get("commit")))
        return False

    def _changed(self, stored: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
        """(key, then, now) of settings and inputs that differ."""
        keys = sorted(key for key in {*stored, *self.fingerprint} if not key.startswith(CODE))
        pairs = [(key, stored.get(key, MISSING), self.fingerprint.get(key, MISSING)) for key in keys]
        return [(key, old, new) for key, old, new in pairs if old != new]

    def _changed_modules(self, stored: Mapping[str, Any]) -> str:
        """Modules of the code that differ, in words; "" if none does."""
        then, now = _code_of(stored), _code_of(self.fingerprint)
        if now and not then:
            return "which one was not recorded"
        return code_version.in_words(code_version.changed(then, now))

    def _refusal(self, settings: list[tuple[str, Any, Any]], modules: str, commit: str | None) -> str:
        if not settings:
            return (
                f"{self.folder} holds checkpoints of an unfinished run of other code: {modules} "
                f"(begun at commit {commit or 'unknown'}). Check that commit out to go on, remove the folder to start "
                "over, or add --reuse to go on with the code as it is now"
            )
        listed = "; ".join(f"{key} was {old!r} and is now {new!r}" for key, old, new in settings[:5])
        more = f" (and {len(settings) - 5} more)" if len(settings) > 5 else ""
        code = f"; the code changed, too: {modules}" if modules else ""
        return (
            f"{self.folder} holds checkpoints of an unfinished run with other settings: {listed}{more}{code}. "
            f"Restore the setting to go on, or remove the folder to start over"
        )

    def _set_aside(self, facts: Mapping[str, Any]) -> None:
        """A finished run with other settings or of other code makes room; nothing of it is deleted."""
        settings, modules = self._changed(facts["fingerprint"]), self._changed_modules(facts["fingerprint"])
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}.before{number}")).exists():
            number += 1
        self.folder.rename(aside)
        if settings:
            names = code_version.in_words([key for key, _, _ in settings])
            what, advice = f"settings changed since the finished run in {self.folder} ({names})", ""
        else:
            what = f"the code changed since the finished run in {self.folder} ({modules})"
            advice = "; to export them as they are, move them back and add --reuse"
        self._say(f"{what}; it is trained anew, its checkpoints are now in {aside}{advice}")

    def _say_device(self, path: Path, facts: Mapping[str, Any]) -> None:
        then, now = facts.get("device"), self.notes.get("device")
        if then and now and then.split(":")[0] != now.split(":")[0]:
            if now == "cpu" and not self.device_named:
                raise CheckpointError(
                    f"checkpoint {path} was written on {then}, and no CUDA device is found ({device.reason()}); mend "
                    "that, or use --device cpu to go on on the CPU"
                )
            self._say(
                f"checkpoint {path} was written on {then} and this attempt runs on {now}: sums may round differently "
                f"(--device {then.split(':')[0]} is an error where there is none)"
            )

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _code_of(fingerprint: Mapping[str, Any]) -> dict[str, str]:
    """The part of a fingerprint that is the code: digests by module."""
    return {key.removeprefix(CODE): value for key, value in fingerprint.items() if key.startswith(CODE)}


def _read_state(path: Path) -> dict[str, Any]:
    """State of an intact checkpoint, in main memory.

    Raises:
        CheckpointError: it cannot be read although it is as it was written.
    """
    try:
        state: dict[str, Any] = torch.load(path / "state.pt", map_location="cpu", weights_only=False)
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
        raise CheckpointError(
            f"checkpoint {path} is whole, but cannot be read here ({_reason(error)}); go on with the versions of torch "
            f"and of the code that wrote it, or remove {path.parent} to start over"
        ) from error
    return state


def _write_state(state: Mapping[str, Any], path: Path) -> None:
    """torch.save through a stream of our own: torch hides a full disk behind an error about file positions."""
    with path.open("wb") as stream:
        try:
            torch.save(dict(state), stream)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the disk"
    return " ".join(str(error).split())[:200] or type(error).__name__
