"""Which walls exist: their names, what this kernel offers, and in which combinations to try them."""

from __future__ import annotations

import os

from . import landlock, seccomp
from .isolation import NAMESPACES

ALL = (*NAMESPACES, "landlock", "seccomp")


def combinations(without: list[str]) -> list[list[str]]:
    """Sets of layers to try, most first. Namespaces can be offered and yet forbidden, so trying is the only test."""
    filters = []
    if landlock.abi() > 0:
        filters.append("landlock")
    if seccomp.supported():
        filters.append("seccomp")
    spaces = [name for name in NAMESPACES if os.path.exists(f"/proc/self/ns/{_FILES.get(name, name)}")]
    tries = [spaces]
    if os.geteuid() == 0:
        tries.append([name for name in spaces if name != "user"])
    tries += [[name for name in spaces if name != "mount"], []]
    chosen = [[name for name in layers + filters if name not in without] for layers in tries]
    return [layers for place, layers in enumerate(chosen) if layers not in chosen[:place]]


_FILES = {"mount": "mnt"}


def protections(layers: list[str]) -> dict[str, bool]:
    """Whether files, network and other processes are out of reach with these layers."""
    ruled = "landlock" in layers and landlock.abi() >= landlock.FILE_ISOLATION_ABI and "seccomp" in layers
    return {
        "files": "mount" in layers or ruled,
        "network": "net" in layers or "seccomp" in layers,
        "processes": "pid" in layers or "seccomp" in layers,
    }
