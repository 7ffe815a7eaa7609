"""Checkpoints that survive a kill: written whole or not at all, verified when read, tied to the settings."""

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
from collm.runs.distributed import Processes

MISSING = "(absent)"


class Checkpoints:
    """The checkpoints of one run in `folder`, newest last; `fingerprint` is everything that the run depends on.

    Of several processes the main one looks after the folder, and all read the checkpoint that it names.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any], keep: int, processes: Processes | None = None):
        """`keep` is the number of checkpoints that stay; older ones go with every new one."""
        self.folder, self.keep, self._processes = folder, keep, processes or Processes()
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
                write_json(temporary / "checkpoint.json", {**facts, "fingerprint": self.fingerprint})
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
            CheckpointError: an unfinished run with other settings left checkpoints here; says which key
            differs.
        """
        newest: dict[Path, dict[str, Any]] = {}  # filled in the main process alone

        def look() -> Path | None:
            newest.update(self._newest())
            return next(iter(newest), None)

        path = self._processes.from_main(look)
        if path is None:
            return None
        return newest[path] if newest else torch.load(path / "state.pt", weights_only=False)

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
            changed = self._changed(facts["fingerprint"])
            if changed and facts["finished"]:
                self._set_aside()
                return {}
            if changed:
                raise CheckpointError(self._refusal(changed))
            try:
                return {path: torch.load(path / "state.pt", weights_only=False)}
            except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
                self._say(f"checkpoint {path} cannot be read ({_reason(error)}); using the one before it")
        if self._folders():
            self._say(f"no checkpoint in {self.folder} is intact; starting from the beginning")
        return {}

    def _changed(self, stored: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
        keys = sorted({*stored, *self.fingerprint})
        pairs = [(key, stored.get(key, MISSING), self.fingerprint.get(key, MISSING)) for key in keys]
        return [(key, old, new) for key, old, new in pairs if old != new]

    def _refusal(self, changed: list[tuple[str, Any, Any]]) -> str:
        listed = "; ".join(f"{key} was {old!r} and is now {new!r}" for key, old, new in changed[:5])
        more = f" (and {len(changed) - 5} more)" if len(changed) > 5 else ""
        return (
            f"{self.folder} holds checkpoints of an unfinished run with other settings: {listed}{more}. "
            f"Restore the setting to go on, or remove the folder to start over"
        )

    def _set_aside(self) -> None:
        """A finished run with other settings makes room; nothing of it is deleted."""
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}.before{number}")).exists():
            number += 1
        self.folder.rename(aside)
        self._say(f"settings changed since the finished run in {self.folder}; its checkpoints are now in {aside}")

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


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
