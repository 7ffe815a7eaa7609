"""Seccomp: the list of system calls that a Python program needs; every other call fails with EPERM.

Left out on purpose: new processes and programs (fork, vfork, clone of anything but a thread, execve), sockets,
ptrace and other processes' memory, mounts, namespaces, keys, bpf, io_uring, SysV and POSIX message queues,
changes of owner, mode or times of files, priorities and user ids, memfd. Calls with a number unknown here
are refused as well. clone3 answers ENOSYS so that libc falls back to clone, whose flags a filter can read.
Source: Linux Documentation/userspace-api/seccomp_filter.rst; numbers: asm/unistd_64.h (x86_64), asm-generic (aarch64).
"""

from __future__ import annotations

import ctypes
import errno
import struct

from . import kernel

_X86_64 = """
read:0 write:1 close:3 fstat:5 newfstatat:262 stat:4 lstat:6 statx:332 lseek:8 mmap:9 mprotect:10 munmap:11
brk:12 mremap:25 madvise:28 rt_sigaction:13 rt_sigprocmask:14 rt_sigreturn:15 rt_sigpending:127
rt_sigtimedwait:128 rt_sigsuspend:130 sigaltstack:131 pread64:17 pwrite64:18 preadv:295 pwritev:296 readv:19
writev:20 access:21 faccessat:269 faccessat2:439 pipe:22 pipe2:293 select:23 pselect6:270 poll:7 ppoll:271
sched_yield:24 sched_getaffinity:204 sched_getparam:143 sched_getscheduler:145 sched_get_priority_max:146
sched_get_priority_min:147 dup:32 dup2:33 dup3:292 pause:34 nanosleep:35 clock_nanosleep:230 clock_gettime:228
clock_getres:229 gettimeofday:96 time:201 getitimer:36 setitimer:38 alarm:37 timer_create:222 timer_settime:223
timer_gettime:224 timer_getoverrun:225 timer_delete:226 timerfd_create:283 timerfd_settime:286
timerfd_gettime:287 getpid:39 getppid:110 gettid:186 getuid:102 geteuid:107 getgid:104 getegid:108 getresuid:118
getresgid:120 getgroups:115 getpgrp:111 getpgid:121 getsid:124 exit:60 exit_group:231 uname:63 umask:95
getcwd:79 chdir:80 fchdir:81 fcntl:72 flock:73 fsync:74 fdatasync:75 truncate:76 ftruncate:77 fallocate:285
fadvise64:221 getdents:78 getdents64:217 open:2 openat:257 creat:85 close_range:436 mkdir:83 mkdirat:258
rmdir:84 unlink:87 unlinkat:263 rename:82 renameat:264 renameat2:316 link:86 linkat:265 symlink:88 symlinkat:266
readlink:89 readlinkat:267 statfs:137 fstatfs:138 sendfile:40 copy_file_range:326 splice:275
getrlimit:97 getrusage:98 sysinfo:99 times:100 getrandom:318 futex:202 futex_waitv:449 set_robust_list:273
get_robust_list:274 set_tid_address:218 rseq:334 membarrier:324 restart_syscall:219 arch_prctl:158
epoll_create:213 epoll_create1:291 epoll_ctl:233 epoll_wait:232 epoll_pwait:281 epoll_pwait2:441 eventfd:284
eventfd2:290 getcpu:309 getpriority:140 recvfrom:45 sendto:44 recvmsg:47 sendmsg:46 shutdown:48 getsockopt:55
setsockopt:54 getsockname:51 getpeername:52 mincore:27 msync:26 wait4:61 waitid:247
"""
_X86_64_BY_ARGUMENT = "clone:56 clone3:435 kill:62 tgkill:234 ioctl:16 prlimit64:302 socketpair:53"
_AARCH64 = """
read:63 write:64 close:57 fstat:80 newfstatat:79 statx:291 lseek:62 mmap:222 mprotect:226 munmap:215 brk:214
mremap:216 madvise:233 rt_sigaction:134 rt_sigprocmask:135 rt_sigreturn:139 rt_sigpending:136
rt_sigtimedwait:137 rt_sigsuspend:133 sigaltstack:132 pread64:67 pwrite64:68 preadv:69 pwritev:70 readv:65
writev:66 faccessat:48 faccessat2:439 pipe2:59 pselect6:72 ppoll:73 sched_yield:124 sched_getaffinity:123
sched_getparam:121 sched_getscheduler:120 sched_get_priority_max:125 sched_get_priority_min:126 dup:23 dup3:24
nanosleep:101 clock_nanosleep:115 clock_gettime:113 clock_getres:114 gettimeofday:169 getitimer:102
setitimer:103 timer_create:107 timer_settime:110 timer_gettime:108 timer_getoverrun:109 timer_delete:111
timerfd_create:85 timerfd_settime:86 timerfd_gettime:87 getpid:172 getppid:173 gettid:178 getuid:174 geteuid:175
getgid:176 getegid:177 getresuid:148 getresgid:150 getgroups:158 getpgid:155 getsid:156 exit:93 exit_group:94
uname:160 umask:166 getcwd:17 chdir:49 fchdir:50 fcntl:25 flock:32 fsync:82 fdatasync:83 truncate:45
ftruncate:46 fallocate:47 fadvise64:223 getdents64:61 openat:56 close_range:436 mkdirat:34 unlinkat:35
renameat:38 renameat2:276 linkat:37 symlinkat:36 readlinkat:78 statfs:43 fstatfs:44 sendfile:71
copy_file_range:285 splice:76 getrlimit:163 getrusage:165 sysinfo:179 times:153 getrandom:278 futex:98
futex_waitv:449 set_robust_list:99 get_robust_list:100 set_tid_address:96 rseq:293 membarrier:283
restart_syscall:128 epoll_create1:20 epoll_ctl:21 epoll_pwait:22 epoll_pwait2:441 eventfd2:19 getcpu:168
getpriority:141 recvfrom:207 sendto:206 recvmsg:212 sendmsg:211 shutdown:210 getsockopt:209 setsockopt:208
getsockname:204 getpeername:205 mincore:232 msync:227 wait4:260 waitid:95
"""
_AARCH64_BY_ARGUMENT = "clone:220 clone3:435 kill:129 tgkill:131 ioctl:29 prlimit64:261 socketpair:199"
_TABLES = {  # machine -> AUDIT_ARCH value, plain calls, calls judged by an argument
    "x86_64": (0xC000003E, _X86_64, _X86_64_BY_ARGUMENT),
    "aarch64": (0xC00000B7, _AARCH64, _AARCH64_BY_ARGUMENT),
}
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
_CLONE_THREAD, _AF_UNIX = 0x00010000, 1

# classic BPF: load a word, jump if equal / if any bit is set / if not below / always, return
_LOAD, _EQUAL, _BITS, _AT_LEAST, _JUMP, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x05, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data; argument i is at 16 + 8 i (low word, little endian)
_X32_BIT = 0x40000000


def supported() -> bool:
    """Whether the calls of this machine are listed here and its kernel can filter."""
    if kernel.MACHINE not in _TABLES:
        return False
    action = ctypes.c_uint32(_ALLOW)
    number = {"x86_64": 317, "aarch64": 277}[kernel.MACHINE]
    try:
        kernel.syscall("seccomp", number, 2, 0, ctypes.byref(action))  # 2: SECCOMP_GET_ACTION_AVAIL
    except OSError:
        return False
    return True


def _numbers(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (pair.split(":") for pair in text.split())}


def _word(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("<HBBI", code, then, otherwise, value)


def _by_argument(number: int, argument: int, test: int, values: tuple[int, ...]) -> list[bytes]:
    """Allow call `number` where its argument passes `test` against one of the values, refuse it otherwise."""
    refuse = _word(_RETURN, _ERRNO | errno.EPERM)
    inner = [_word(_LOAD, 16 + 8 * argument)]
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        inner.append(_word(test, value, left, 0))  # jumps over the tests that follow and the refusal
    inner += [refuse, _word(_RETURN, _ALLOW)]
    return [_word(_EQUAL, number, 0, len(inner)), *inner]


def program(pid: int) -> bytes:
    """The filter for the process `pid` (it may signal itself only), as an array of struct sock_filter."""
    arch, plain, special = _TABLES[kernel.MACHINE]
    calls = _numbers(special)
    code = [_word(_LOAD, _ARCH), _word(_EQUAL, arch, 1, 0), _word(_RETURN, _KILL), _word(_LOAD, _NUMBER)]
    code += [_word(_AT_LEAST, _X32_BIT, 0, 1), _word(_RETURN, _KILL)]
    code += _by_argument(calls["clone"], 0, _BITS, (_CLONE_THREAD,))
    code += _by_argument(calls["kill"], 0, _EQUAL, (pid,))
    code += _by_argument(calls["tgkill"], 0, _EQUAL, (pid,))
    code += _by_argument(calls["ioctl"], 1, _EQUAL, _IOCTLS)
    code += _by_argument(calls["prlimit64"], 0, _EQUAL, (0,))
    code += _by_argument(calls["socketpair"], 0, _EQUAL, (_AF_UNIX,))
    code += [_word(_EQUAL, calls["clone3"], 0, 1), _word(_RETURN, _ERRNO | errno.ENOSYS)]
    return b"".join([*code, *_search(_borders(sorted(_numbers(plain).values())))])


def _borders(numbers: list[int]) -> list[tuple[int, bool]]:
    """Where permission begins and ends along the call numbers: (first number, allowed from there on), from 0."""
    allowed = {number: number in numbers for number in range(numbers[-1] + 2)}
    return [(number, on) for number, on in allowed.items() if number == 0 or on != allowed[number - 1]]


def _search(borders: list[tuple[int, bool]]) -> list[bytes]:
    """A binary search for the interval of the call's number; a short way for every call keeps the kernel quick."""
    if len(borders) == 1:
        return [_word(_RETURN, _ALLOW if borders[0][1] else _ERRNO | errno.EPERM)]
    middle = len(borders) // 2
    below, above = _search(borders[:middle]), _search(borders[middle:])
    if len(below) < 256:
        return [_word(_AT_LEAST, borders[middle][0], len(below), 0), *below, *above]
    return [_word(_AT_LEAST, borders[middle][0], 0, 1), _word(_JUMP, len(below)), *below, *above]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(code: bytes) -> None:
    """Filter this process from now on, threads to come included. Needs no_new_privs. Raises OSError."""
    filters = _Program(len(code) // 8, code)
    kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, ctypes.byref(filters), "seccomp filter")
