"""The walls: what a template does once (namespaces, a root of its own) and what each child does before it starts.

Order in a child: own session, own temporary folder, no new privileges, Landlock, no open files but its channel, limits,
another user (when started by root), no capabilities, seccomp. Each step raises OSError where it fails;
nothing is skipped silently: a layer is either in `Walls.layers` and applied, or not in it.
"""

from __future__ import annotations

import fcntl
import os
import resource
import sys
import sysconfig
from dataclasses import dataclass, field
from typing import Any

from . import kernel, landlock, seccomp

NAMESPACES = {
    "user": kernel.CLONE_NEWUSER,
    "mount": kernel.CLONE_NEWNS,
    "pid": kernel.CLONE_NEWPID,
    "net": kernel.CLONE_NEWNET,
    "ipc": kernel.CLONE_NEWIPC,
    "uts": kernel.CLONE_NEWUTS,
}
NOBODY = 65534  # who model-written code is: inside a user namespace, and on the machine too when root starts it
SYSTEM_FOLDERS = ("/lib", "/lib64", "/lib32", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")
CHANNEL_FD, SCRATCH, OTHER_SCRATCH, FOLDER = 3, "/tmp", "/scratch", "box"
_SEALS = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass
class Walls:
    """Which layers are on, the limits of a child, and where its temporary folder is."""

    layers: frozenset[str]
    limits: dict[str, Any]
    as_root: bool
    folder: str = ""  # the temporary folder; private to each child where there is a mount namespace
    rulesets: dict[bool, int] = field(default_factory=dict)  # Landlock rules by "has a temporary folder"
    filter: bytes = b""  # of seccomp, for process 1

    def prepare(self) -> None:
        """Make once, in the template, what all children share: with namespaces their folder and pid are known."""
        if "landlock" in self.layers and "mount" in self.layers:
            above = os.path.dirname(self.folder)  # a rule on the mount point itself would not hold for the mount
            self.rulesets = {writes: self.ruleset(above if writes else None) for writes in (False, True)}
        if "seccomp" in self.layers:
            self.filter = seccomp.program(1)

    def ruleset(self, folder: str | None) -> int:
        """Landlock rules of a child that may write below a folder, or nowhere."""
        writable = ["/dev/null"] if folder is None else [folder, "/dev/null"]
        return landlock.ruleset([*stdlib_folders(), *SYSTEM_FOLDERS, *DEVICES], writable)


def enter_namespaces(layers: frozenset[str], as_root: bool) -> None:
    """Leave the host's namespaces. A pid namespace begins with the next child. Raises OSError."""
    flags = sum(flag for name, flag in NAMESPACES.items() if name in layers)
    if not flags:
        return
    uid, gid = os.getuid(), os.getgid()
    if as_root and "user" in layers:
        _unshare_mapped_by_helper(flags)
        return
    kernel.unshare(flags)
    if "user" in layers:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{NOBODY} {uid} 1")
        _write("/proc/self/gid_map", f"{NOBODY} {gid} 1")


def _unshare_mapped_by_helper(flags: int) -> None:
    """As root, root and `NOBODY` must both exist inside: only a process left outside may map two users."""
    parent, (ready, go) = os.getpid(), os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(go)
        os.read(ready, 1)
        status = 1
        try:
            for name in ("uid_map", "gid_map"):
                _write(f"/proc/{parent}/{name}", f"0 0 1\n{NOBODY} {NOBODY} 1")
            status = 0
        finally:
            os._exit(status)
    try:
        kernel.unshare(flags)
    finally:
        os.close(go)
        _, status = os.waitpid(helper, 0)
        os.close(ready)
    if status != 0:
        raise PermissionError(1, f"users 0 and {NOBODY} cannot be mapped into a user namespace")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def stdlib_folders() -> list[str]:
    """Folders of the interpreter's standard library."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    return list(dict.fromkeys(os.path.realpath(path) for path in paths if os.path.isdir(path)))


def build_root() -> str:
    """Enter a root directory that holds the standard library, shared libraries and five devices, all read-only.

    Built in a file system in memory; installed packages are covered by empty folders; the old root is detached.
    Returns where children may mount their temporary folder.
    """
    library = stdlib_folders()
    scratch = OTHER_SCRATCH if any(path.startswith(SCRATCH + "/") for path in library) else SCRATCH
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", SCRATCH, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    os.mkdir(f"{SCRATCH}/old")
    kernel.pivot_root(SCRATCH, f"{SCRATCH}/old")
    os.chdir("/")
    visible = _show_folders([*library, os.path.realpath(os.path.join(sys.base_prefix, "lib"))])
    _cover_packages(visible)
    _show_devices()
    folder = os.path.join(scratch, FOLDER)
    os.makedirs(folder)
    kernel.umount("/old")
    os.rmdir("/old")
    for path in visible:
        kernel.seal_mount(path)
    kernel.seal_mount("/", devices=True)
    return folder


def _show_folders(library: list[str]) -> list[str]:
    """Bind the folders below /old to the same places below /; links among them are made anew."""
    present = [path for path in (*SYSTEM_FOLDERS, *library) if os.path.isdir("/old" + path)]
    visible: list[str] = []
    for path in sorted(path for path in present if not os.path.islink("/old" + path)):
        if not any(path == other or path.startswith(other + "/") for other in visible):
            os.makedirs(path, exist_ok=True)
            kernel.mount("/old" + path, path, None, kernel.MS_BIND | kernel.MS_REC)
            visible.append(path)
    for path in (path for path in present if os.path.islink("/old" + path)):
        os.symlink(os.readlink("/old" + path), path)
    return visible


def _cover_packages(visible: list[str]) -> None:
    names = ("site-packages", "dist-packages")
    for folder in visible:
        below = [os.path.join(folder, entry, name) for entry in ("", *os.listdir(folder)) for name in names]
        for path in filter(os.path.isdir, below):
            kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=4k,mode=755")


def _show_devices() -> None:
    os.mkdir("/dev")
    for path in (device for device in DEVICES if os.path.exists("/old" + device)):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        kernel.mount("/old" + path, path, None, kernel.MS_BIND)


def close_in(walls: Walls, writes: bool) -> None:
    """Make this fresh child harmless; only descriptor 3, its channel, stays. `writes`: it gets a temporary folder."""
    os.setsid()
    if writes and "mount" in walls.layers:
        _private_folder(walls)
    os.chdir(walls.folder if writes else "/")
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1, what="no new privileges")
    if "landlock" in walls.layers:
        folder = walls.folder if writes else None
        landlock.restrict(walls.rulesets[writes] if walls.rulesets else walls.ruleset(folder))
    _descriptors(walls.limits["output_bytes"])
    _lower(resource.RLIMIT_CPU, walls.limits["cpu_seconds"])
    _become_nobody(walls)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0, what="not dumpable")
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9, what="die with the parent")
    if "seccomp" in walls.layers:
        pid = os.getpid()
        seccomp.install(walls.filter if pid == 1 else seccomp.program(pid))


def _private_folder(walls: Walls) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    options = f"size={walls.limits['folder_bytes']},nr_inodes={walls.limits['files']}"
    options += f",mode=700,uid={NOBODY},gid={NOBODY}"
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("tmpfs", walls.folder, "tmpfs", flags, options)


def _descriptors(output_bytes: int) -> None:
    """Nothing is open but: the null device as input, an output of a fixed size that nobody reads, and the channel."""
    output = os.memfd_create("output", os.MFD_ALLOW_SEALING)
    os.ftruncate(output, output_bytes)
    fcntl.fcntl(output, fcntl.F_ADD_SEALS, _SEALS)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(CHANNEL_FD + 1, 4096)


def limit_children(walls: Walls) -> None:
    """Resource limits, set once in the template and inherited; processor time is counted for each process anew."""
    chosen = walls.limits
    values = {
        resource.RLIMIT_AS: chosen["memory_bytes"],
        resource.RLIMIT_FSIZE: max(chosen["file_bytes"], chosen["output_bytes"]),
        resource.RLIMIT_NOFILE: chosen["open_files"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    if "user" in walls.layers:  # elsewhere it counts every process of this user on the machine
        values[resource.RLIMIT_NPROC] = chosen["tasks"]
    for kind, value in values.items():
        _lower(kind, value)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _become_nobody(walls: Walls) -> None:
    if walls.as_root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
