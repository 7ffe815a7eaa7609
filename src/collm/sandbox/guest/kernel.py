"""Linux calls that the standard library of Python 3.11 does not wrap, through libc and syscall numbers.

Numbers below are those shared by all architectures (asm-generic unistd.h: everything since 5.1 has one number);
constants are those of the kernel's uapi headers sched.h, mount.h, prctl.h, capability.h.
Raises OSError with the call's name where a call fails.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
SECCOMP_MODE_FILTER = 2

_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522

MACHINE = os.uname().machine
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def checked(result: int, what: str) -> int:
    """The result of a call, or OSError naming it where the result is negative."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(what: str, number: int, *arguments: object) -> int:
    """One raw system call; integers are passed as longs."""
    words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return checked(_libc.syscall(ctypes.c_long(number), *words), what)


def _number(table: dict[str, int], what: str) -> int:
    if MACHINE not in table:
        raise OSError(38, f"{what}: the number of this call on {MACHINE} is not known here")
    return table[MACHINE]


def unshare(flags: int) -> None:
    """Give this process namespaces of its own (for CLONE_NEWPID: its next child)."""
    checked(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace behind an open file."""
    checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    words = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    checked(result, f"mount {source} on {target}")


def umount(target: str) -> None:
    """Detach a mount and everything below it."""
    checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of this mount namespace and put the old root at `old`."""
    number = _number(_SYS_PIVOT_ROOT, "pivot_root")
    syscall("pivot_root", number, ctypes.c_char_p(os.fsencode(new)), ctypes.c_char_p(os.fsencode(old)))


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "namespace")]


def seal_mount(target: str, devices: bool = False) -> None:
    """Make a mount and all below it read-only and free of set-user-id (and, without `devices`, of device nodes)."""
    flags = _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | (0 if devices else _MOUNT_ATTR_NODEV)
    attributes = _MountAttributes(flags, 0, 0, 0)
    path, size = ctypes.c_char_p(os.fsencode(target)), ctypes.sizeof(attributes)
    what = f"mount_setattr {target}"
    syscall(what, _SYS_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, ctypes.byref(attributes), size)


def prctl(option: int, value: int = 0, pointer: object = 0, what: str = "prctl") -> None:
    """prctl(2)."""
    third = ctypes.c_ulong(pointer) if isinstance(pointer, int) else pointer
    words = (ctypes.c_ulong(value), third, ctypes.c_ulong(0), ctypes.c_ulong(0))
    checked(_libc.prctl(ctypes.c_int(option), *words), what)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def drop_capabilities() -> None:
    """Empty the effective, permitted, inheritable and ambient sets of this process."""
    header, nothing = _CapabilityHeader(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, what="drop ambient capabilities")
    syscall("capset", _number(_SYS_CAPSET, "capset"), ctypes.byref(header), ctypes.byref(nothing))
