"""Landlock: rules on files, TCP ports and signals that a process puts on itself and can never lift again.

Source: Linux Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h (ABI 1 is Linux 5.13,
3 is 6.2, 4 is 6.7, 6 is 6.12). Called through syscalls 444 to 446, the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os

from . import kernel

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
FILE_ISOLATION_ABI = 3  # from here on truncation is covered, so that files outside cannot be emptied

_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # ABI -> how many of the rights below it knows
_WRITE, _READ, _LIST, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_FIFO, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 10, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14
READ_ONLY = _READ | _LIST
READ_WRITE = READ_ONLY | _WRITE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_FIFO | _MAKE_SYM
READ_WRITE |= _REFER | _TRUNCATE
_FOR_FILES = _WRITE | _READ | _TRUNCATE
_TCP_RIGHTS, _SCOPES = 0b11, 0b11  # bind and connect; abstract Unix sockets and signals


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def abi() -> int:
    """The kernel's Landlock version; 0 where it is missing or switched off."""
    try:
        return kernel.syscall("landlock_create_ruleset", _CREATE, ctypes.c_void_p(None), 0, _VERSION_FLAG)
    except OSError:
        return 0


def ruleset(readable: list[str], writable: list[str]) -> int:
    """A descriptor of rules: read only below `readable`, write only below `writable`, open no TCP port.

    Paths that do not exist are skipped (nothing is allowed below them). A rule holds for what is mounted below its
    path later, though not on the very path. Raises OSError.
    """
    version = abi()
    known = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    network, scoped = (_TCP_RIGHTS if version >= 4 else 0), (_SCOPES if version >= 6 else 0)
    rules = _Ruleset(known, network, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    descriptor = kernel.syscall("landlock_create_ruleset", _CREATE, ctypes.byref(rules), size, 0)
    for paths, rights in ((readable, READ_ONLY), (writable, READ_WRITE)):
        for path in paths:
            _allow(descriptor, path, rights & known)
    return descriptor


def restrict(descriptor: int) -> None:
    """From now on this process obeys the rules. Needs no_new_privs. Raises OSError."""
    kernel.syscall("landlock_restrict_self", _RESTRICT, descriptor, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        allowed = rights if os.path.isdir(path) else rights & _FOR_FILES
        rule = _PathRule(allowed, descriptor)
        kernel.syscall("landlock_add_rule", _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
