"""Takes every right from the calling process but to compute: rlimits, no_new_privs, Landlock, seccomp.

Needs no root and no package; works in an unprivileged container. Stops: writing and reading files outside of the
rights given, network, new processes, signals, ptrace, namespaces, mode and owner changes, core dumps, more memory or
CPU time than allowed. Does not stop: `stat` of a path that it can name, busy CPUs, bugs of the kernel itself.
"""

import errno
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from rlreason.sandbox import syscalls as sc

Role = Literal["python", "run", "compile"]
"""`python`: code in this very process. `run`: may exec once more, as a program. `compile`: may start processes too."""

MAX_OPEN_FILES = 64
STACK_BYTES = 112 << 20
"""Of a program's first thread: `prelude.RECURSION_LIMIT` calls through C fit. The kernel leaves 128 MiB free."""
MAX_COMPILED_BYTES = 64 << 20
_READ = sc.LANDLOCK_READ_FILE | sc.LANDLOCK_READ_DIR
_WRITE = (1 << 13) - 1 | 1 << 13 | sc.LANDLOCK_TRUNCATE
_NOT_MADE = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # device nodes, sockets, pipes
_NOT_STANDARD = ("site-packages", "dist-packages", "test")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/libexec", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")

# Denied to all roles.
_DENIED = (
    "socket", "connect", "bind", "listen", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp",
    "process_madvise", "process_mrelease", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "tkill",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "unshare", "setns", "chroot", "mount", "umount2", "pivot_root",
    "mount_setattr", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount", "fspick", "bpf",
    "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key",
    "request_key", "open_by_handle_at", "name_to_handle_at", "fanotify_init", "init_module", "finit_module",
    "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "settimeofday", "clock_settime",
    "clock_adjtime", "sethostname", "setdomainname", "acct", "quotactl", "personality", "syslog", "shmget", "msgget",
    "semget", "mq_open", "memfd_secret", "setpriority", "setsid", "setpgid", "capset", "ioperm", "iopl", "modify_ldt",
    "mknod", "mknodat", "inotify_init", "inotify_init1", "ioprio_set", "migrate_pages", "move_pages", "shmat",
    "shmctl", "msgsnd", "msgrcv", "msgctl", "semop", "semtimedop", "semctl", "mq_unlink", "quotactl_fd", "ioprio_get",
    # Buffers of sockets are memory that no limit counts, and timers are counted for all processes of the user together.
    "setsockopt", "timer_create",
    # Rulesets and filters take memory of the kernel's, and there is nothing left to take away.
    "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    # What tells of the host, and waits for its disks.
    "listmount", "statmount", "sync", "syncfs",
)  # fmt: skip
# Landlock does not see these, so a process could change, or read of, files of its own user that it cannot open.
_ATTRIBUTES = (
    "readlink", "readlinkat", "getxattr", "lgetxattr", "fgetxattr", "getxattrat", "listxattr", "llistxattr",
    "flistxattr", "listxattrat", "file_getattr",
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
    "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr",
    "fremovexattr", "removexattrat", "file_setattr",
)  # fmt: skip
_PROCESSES = ("fork", "vfork")
_EXEC = ("execve", "execveat")
_HOST_NAME = ("uname",)
"""Denied to Python alone: V8 aborts without it."""
# Calls that name a process: their own is 0. Without a namespace the others of the same user would be in reach.
_OF_A_PROCESS = (
    "prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "sched_getaffinity",
    "sched_getscheduler", "sched_getparam", "sched_getattr", "sched_rr_get_interval", "getpgid", "getsid",
    "get_robust_list",
)  # fmt: skip
# What a stream needs of ioctl: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. Others change files.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# fcntl's F_SETOWN, F_SETSIG and F_SETOWN_EX send any signal to any process of the user; F_SETLEASE, F_NOTIFY watch;
# F_SETPIPE_SZ takes memory that no limit counts.
_FCNTLS = (8, 10, 15, 1024, 1026, 1031)
_AF_UNIX = 1
_CLOSE_RANGE_UNSHARE = 2
_NOT_STREAM = 0xE
"""Bits of a socket's type. A datagram may be sent elsewhere than to the other end of its pair."""

_LOAD, _JEQ, _JGT, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSED, _NOT_THERE = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_ANYONE = 0x7EEEEEEE
"""Stands for a pid in a filter that is not for one process yet; no pid is so large."""
_NUMBER_AT, _ARCH_AT = 0, 4
_CLONE_FILES, _CLONE_THREAD = 0x00000400, 0x00010000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process may use."""

    memory_bytes: int
    address_space: bool = True
    """Memory is all address space; else, for a runtime that reserves much more than it uses, private data alone."""
    cpu_s: int | None = None
    processes: int | None = None
    """Processes and threads of this user, all told; None: not limited."""


def _argument_at(index: int) -> int:
    return 16 + 8 * index  # the low half: both machines are little-endian


def filter_program(role: Role, pid: int, abi: int) -> bytes:
    """The seccomp filter as the kernel reads it. Denied calls fail with EPERM, later ones than the table ENOSYS."""
    return _filter_for_anyone(role, abi).replace(struct.pack("<I", _ANYONE), struct.pack("<I", pid))


@cache
def _filter_for_anyone(role: Role, abi: int) -> bytes:
    """With _ANYONE for the pid: each run has its own, and to build the filter anew takes half a millisecond."""
    lines: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JEQ, 1, 0, sc.AUDIT_ARCH[sc.MACHINE]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JGE, 0, 1, 0x40000000),  # the x32 way to call
        (_RETURN, 0, 0, _KILL),
        (_JGT, 0, 1, sc.NEWEST),
        (_RETURN, 0, 0, _NOT_THERE),
    ]

    def only(name: str, index: int, test: int, *values: int, allowed: bool) -> None:
        """Allow (or refuse) a call whose argument passes the test with any value, refuse (or allow) it else."""
        if name not in sc.NUMBERS:
            return
        yes, no = (_ALLOW, _REFUSED) if allowed else (_REFUSED, _ALLOW)
        lines.append((_JEQ, 0, 2 + 2 * len(values), sc.NUMBERS[name]))
        lines.append((_LOAD, 0, 0, _argument_at(index)))
        for value in values:
            lines.extend([(test, 0, 1, value), (_RETURN, 0, 0, yes)])
        lines.append((_RETURN, 0, 0, no))

    def all_of(name: str, index: int, *bits: int) -> None:
        """Allow a call whose argument has each of these bits, refuse it else."""
        lines.append((_JEQ, 0, 2 + 2 * len(bits), sc.NUMBERS[name]))
        lines.append((_LOAD, 0, 0, _argument_at(index)))
        for bit in bits:
            lines.extend([(_JSET, 1, 0, bit), (_RETURN, 0, 0, _REFUSED)])
        lines.append((_RETURN, 0, 0, _ALLOW))

    for name in ("kill", "tgkill"):
        only(name, 0, _JEQ, _ANYONE, allowed=True)
    for name in _OF_A_PROCESS:
        only(name, 0, _JEQ, 0, _ANYONE, allowed=True)
    only("getpriority", 1, _JEQ, 0, _ANYONE, allowed=True)
    only("prctl", 0, _JEQ, sc.PR_SET_PDEATHSIG, sc.PR_SET_DUMPABLE, sc.PR_SET_SECCOMP, allowed=False)
    only("fcntl", 1, _JEQ, *_FCNTLS, allowed=False)
    lines += [
        (_JEQ, 0, 7, sc.NUMBERS["socketpair"]),
        (_LOAD, 0, 0, _argument_at(0)),
        (_JEQ, 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, _REFUSED),
        (_LOAD, 0, 0, _argument_at(1)),
        (_JSET, 0, 1, _NOT_STREAM),
        (_RETURN, 0, 0, _REFUSED),
        (_RETURN, 0, 0, _ALLOW),
    ]
    denied, absent = [*_DENIED], ["clone3"]  # clone3's flags lie in memory, out of sight; libc falls back to clone
    if role != "compile":
        # A thread with descriptors of its own would have as many again, and their buffers: here and by close_range.
        only("close_range", 2, _JSET, _CLOSE_RANGE_UNSHARE, allowed=False)
        all_of("clone", 0, _CLONE_THREAD, _CLONE_FILES)
        only("ioctl", 1, _JEQ, *_IOCTLS, allowed=True)
        denied += [*_PROCESSES, *_ATTRIBUTES]
    if role == "python":
        denied += [*_EXEC, *_HOST_NAME]
    if abi < 3 and role != "compile":
        # Before version 3 Landlock does not see truncation; versions 1 and 2 get writing taken away altogether.
        denied += ["truncate", "ftruncate", "creat"]
        absent.append("openat2")
        only("open", 1, _JSET, _WRITING, allowed=False)
        only("openat", 2, _JSET, _WRITING, allowed=False)
    lines += [line for name in absent for line in ((_JEQ, 0, 1, sc.NUMBERS[name]), (_RETURN, 0, 0, _NOT_THERE))]
    numbers = [sc.NUMBERS[name] for name in denied if name in sc.NUMBERS]
    assert len(numbers) < 256, "a jump reaches no further"
    lines += [(_JEQ, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSED)]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


def python_ruleset(abi: int, packages: Iterable[str]) -> int:
    """Landlock ruleset: the standard library, shared libraries and these packages, none of the others installed."""
    standard = sorted({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
    parts = [entry.path for folder in standard for entry in os.scandir(folder) if entry.name not in _NOT_STANDARD]
    own = os.path.join(sys.base_prefix, "lib")
    shared = [os.path.join(own, name) for name in os.listdir(own) if ".so" in name]
    rights = [(path, _READ) for path in (*parts, *shared, *packages, *LIBRARIES, *DEVICES)]
    # The import system lists the folders themselves.
    return sc.landlock_ruleset([*rights, *((folder, sc.LANDLOCK_READ_DIR) for folder in standard)], abi)


def command_ruleset(abi: int, work: str, *, writable: bool, readable: Iterable[str] = ()) -> int:
    """Landlock ruleset of a foreign program: the system's programs, the work folder, and `readable`."""
    programs = ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
    rights = [(path, _READ | sc.LANDLOCK_EXECUTE) for path in programs]
    rights += [(path, _READ | sc.LANDLOCK_WRITE_FILE) for path in DEVICES]
    rights += [(path, _READ) for path in readable]
    inside = _WRITE & ~_NOT_MADE if writable else _READ | sc.LANDLOCK_EXECUTE
    return sc.landlock_ruleset([*rights, (work, inside)], abi)


def confine(role: Role, ruleset: int, limits: Limits, abi: int) -> None:
    """For good, and for whatever this process becomes. OSError if any layer cannot be put in place."""
    file_bytes = MAX_COMPILED_BYTES if role == "compile" else 0
    wanted = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_SIGPENDING, MAX_OPEN_FILES),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_AS if limits.address_space else resource.RLIMIT_DATA, limits.memory_bytes),
    ]
    wanted += [
        (which, value)
        for which, value in ((resource.RLIMIT_CPU, limits.cpu_s), (resource.RLIMIT_NPROC, limits.processes))
        if value is not None
    ]
    for which, value in wanted:
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    most = STACK_BYTES if hard < 0 else min(STACK_BYTES, hard)
    # What is executed takes the soft limit for the stacks of its threads too.
    resource.setrlimit(resource.RLIMIT_STACK, (most if role == "python" or soft < 0 else min(soft, most), most))
    sc.prctl(sc.PR_SET_DUMPABLE, 0)
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    sc.landlock_restrict(ruleset)
    sc.install_filter(filter_program(role, os.getpid(), abi))


def confine_reader(readable: Iterable[str], memory_bytes: int) -> int:
    """For a process of our own that parses hostile text: memory always, the rest if the kernel has all of it.

    It keeps reading `readable`, from which it may still import, and the files that are open. The version of Landlock;
    0 where only the memory is limited.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    try:
        sc.require_machine()
        abi = sc.landlock_abi()
        if abi < 1:
            return 0
        rights = [(path, _READ) for path in (*readable, *LIBRARIES, *DEVICES) if os.path.exists(path)]
        ruleset = sc.landlock_ruleset(rights, abi)
        confine("python", ruleset, Limits(memory_bytes=memory_bytes), abi)
        os.close(ruleset)
        return abi
    except OSError:
        return 0
