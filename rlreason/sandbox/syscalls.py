"""Linux system calls that Python does not wrap, by ctypes: Landlock, seccomp, namespaces, mounts, capabilities.

Raises OSError with the kernel's errno. x86-64 and AArch64; the AArch64 numbers are the kernel's generic table and
have not been run. Does not decide any policy: `confine` and `namespaces` do.
"""

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Sequence

_libc = ctypes.CDLL(None, use_errno=True)

MACHINE = os.uname().machine
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# The generic table that newer machines share, and what x86-64 numbers differently or has on top.
_GENERIC = {
    "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "getxattr": 8, "lgetxattr": 9, "fgetxattr": 10, "listxattr": 11,
    "llistxattr": 12, "flistxattr": 13, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "fcntl": 25,
    "inotify_init1": 26, "ioctl": 29, "ioprio_set": 30, "ioprio_get": 31, "mknodat": 33, "umount2": 39, "mount": 40,
    "pivot_root": 41, "truncate": 45, "ftruncate": 46, "chroot": 51, "fchmod": 52, "fchmodat": 53, "fchownat": 54,
    "fchown": 55, "openat": 56, "quotactl": 60, "readlinkat": 78, "sync": 81, "utimensat": 88, "acct": 89,
    "capset": 91, "personality": 92, "unshare": 97, "get_robust_list": 100, "kexec_load": 104, "init_module": 105,
    "delete_module": 106, "timer_create": 107, "clock_settime": 112, "syslog": 116, "ptrace": 117,
    "sched_setparam": 118, "sched_setscheduler": 119, "sched_getscheduler": 120, "sched_getparam": 121,
    "sched_setaffinity": 122, "sched_getaffinity": 123, "sched_rr_get_interval": 127, "kill": 129, "tkill": 130,
    "tgkill": 131, "rt_sigqueueinfo": 138, "setpriority": 140, "getpriority": 141, "reboot": 142, "setpgid": 154,
    "getpgid": 155, "getsid": 156, "setsid": 157, "uname": 160, "sethostname": 161, "setdomainname": 162,
    "setrlimit": 164, "prctl": 167, "settimeofday": 170, "mq_open": 180, "mq_unlink": 181, "msgget": 186,
    "msgctl": 187, "msgrcv": 188, "msgsnd": 189, "semget": 190, "semctl": 191, "semtimedop": 192, "semop": 193,
    "shmget": 194, "shmctl": 195, "shmat": 196, "socket": 198, "socketpair": 199, "bind": 200, "listen": 201,
    "connect": 203, "setsockopt": 208, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "execve": 221,
    "swapon": 224, "swapoff": 225, "migrate_pages": 238, "move_pages": 239, "rt_tgsigqueueinfo": 240,
    "perf_event_open": 241, "prlimit64": 261, "fanotify_init": 262, "name_to_handle_at": 264, "open_by_handle_at": 265,
    "clock_adjtime": 266, "syncfs": 267, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
    "finit_module": 273, "sched_setattr": 274, "sched_getattr": 275, "seccomp": 277, "bpf": 280, "execveat": 281,
    "userfaultfd": 282, "kexec_file_load": 294,
}  # fmt: skip
_X86_64 = {
    "open": 2, "ioctl": 16, "shmget": 29, "shmat": 30, "shmctl": 31, "socket": 41, "connect": 42, "bind": 49,
    "listen": 50, "socketpair": 53, "setsockopt": 54, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62,
    "uname": 63, "semget": 64, "semop": 65, "semctl": 66, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71,
    "fcntl": 72, "truncate": 76, "ftruncate": 77, "creat": 85, "readlink": 89, "chmod": 90, "fchmod": 91, "chown": 92,
    "fchown": 93, "lchown": 94, "ptrace": 101, "syslog": 103, "setpgid": 109, "setsid": 112, "getpgid": 121,
    "getsid": 124, "capset": 126, "rt_sigqueueinfo": 129, "utime": 132, "mknod": 133, "personality": 135,
    "getpriority": 140, "setpriority": 141, "sched_setparam": 142, "sched_getparam": 143, "sched_setscheduler": 144,
    "sched_getscheduler": 145, "sched_rr_get_interval": 148, "modify_ldt": 154, "pivot_root": 155, "prctl": 157,
    "setrlimit": 160, "chroot": 161, "sync": 162, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166,
    "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    "init_module": 175, "delete_module": 176, "quotactl": 179, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
    "getxattr": 191, "lgetxattr": 192, "fgetxattr": 193, "listxattr": 194, "llistxattr": 195, "flistxattr": 196,
    "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "tkill": 200, "sched_setaffinity": 203,
    "sched_getaffinity": 204, "semtimedop": 220, "timer_create": 222, "clock_settime": 227, "tgkill": 234,
    "utimes": 235, "mq_open": 240, "mq_unlink": 241, "kexec_load": 246, "add_key": 248, "request_key": 249,
    "keyctl": 250, "ioprio_set": 251, "ioprio_get": 252, "inotify_init": 253, "migrate_pages": 256, "openat": 257,
    "mknodat": 259, "fchownat": 260, "futimesat": 261, "readlinkat": 267, "fchmodat": 268, "unshare": 272,
    "get_robust_list": 274, "move_pages": 279, "utimensat": 280, "inotify_init1": 294, "rt_tgsigqueueinfo": 297,
    "perf_event_open": 298, "fanotify_init": 300, "prlimit64": 302, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "clock_adjtime": 305, "syncfs": 306, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "finit_module": 313, "sched_setattr": 314, "sched_getattr": 315, "seccomp": 317, "kexec_file_load": 320,
    "bpf": 321, "execveat": 322, "userfaultfd": 323,
}  # fmt: skip
_COMMON = {  # one number on every machine
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "close_range": 436, "openat2": 437, "pidfd_getfd": 438, "process_madvise": 440,
    "mount_setattr": 442, "quotactl_fd": 443, "landlock_create_ruleset": 444, "landlock_add_rule": 445,
    "landlock_restrict_self": 446, "memfd_secret": 447, "process_mrelease": 448, "fchmodat2": 452,
    "statmount": 457, "listmount": 458, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465,
    "removexattrat": 466, "open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469,
}  # fmt: skip
NUMBERS: dict[str, int] = {**(_X86_64 if MACHINE == "x86_64" else _GENERIC), **_COMMON}
"""System call numbers of this machine."""
NEWEST = 469
"""Calls above this number were added to the kernel later than this table."""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38

LANDLOCK_EXECUTE, LANDLOCK_WRITE_FILE, LANDLOCK_READ_FILE, LANDLOCK_READ_DIR = 1, 2, 4, 8
LANDLOCK_TRUNCATE = 1 << 14
_LANDLOCK_OF_FILES = LANDLOCK_EXECUTE | LANDLOCK_WRITE_FILE | LANDLOCK_READ_FILE | LANDLOCK_TRUNCATE

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(name: str, *args: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(NUMBERS[name]), *args), name)


def prctl(option: int, value: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def die_with(parent_pid: int) -> None:
    """SIGKILL for this process when the thread that forked it ends; ends it now if its parent is gone already."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)  # it died before the line above took effect


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    encoded = [text.encode() or None for text in (source, target, kind, options)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {target}")


def make_read_only(path: str) -> None:
    """The mount at `path` and all below it; other flags stay."""
    attributes = struct.pack("<QQQQ", MS_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(len(attributes))
    flags = ctypes.c_uint(_AT_RECURSIVE)
    _call("mount_setattr", ctypes.c_int(_AT_FDCWD), os.fsencode(path), flags, attributes, size)


def change_root(path: str) -> None:
    """Makes the mount at `path` the root of this mount namespace and lets go of the old one."""
    os.chdir(path)
    _call("pivot_root", b".", b".")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/")


def set_host_name(name: str) -> None:
    """Of this namespace."""
    _call("sethostname", name.encode(), ctypes.c_size_t(len(name.encode())))


def drop_capabilities() -> None:
    """All of them, in every set that an unprivileged process has."""
    header = struct.pack("<Ii", 0x20080522, 0)  # version 3, this process
    _call("capset", header, bytes(24))


def landlock_abi() -> int:
    """0 where the kernel has no Landlock or it is switched off."""
    result = _libc.syscall(
        ctypes.c_long(NUMBERS["landlock_create_ruleset"]), None, ctypes.c_size_t(0), ctypes.c_uint32(1)
    )
    return max(result, 0)


def landlock_ruleset(rights: Sequence[tuple[str, int]], abi: int) -> int:
    """File descriptor of a ruleset that allows just `rights` (path, access bits), TCP and outside signals nothing.

    A path that does not exist is left out.
    """
    handled = (1 << 13) - 1
    for version, bit in ((2, 13), (3, 14), (5, 15)):
        if abi >= version:
            handled |= 1 << bit
    attributes = struct.pack("<Q", handled)
    if abi >= 4:
        attributes += struct.pack("<Q", 3)  # TCP: bind, connect
    if abi >= 6:
        attributes += struct.pack("<Q", 3)  # abstract Unix sockets, signals
    ruleset = _call("landlock_create_ruleset", attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    for path, access in rights:
        try:
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if not os.path.isdir(path):
                access &= _LANDLOCK_OF_FILES
            rule = struct.pack("<Qi", access & handled, beneath)
            _call("landlock_add_rule", ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
        finally:
            os.close(beneath)
    return ruleset


def landlock_restrict(ruleset: int) -> None:
    _call("landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint32(0))


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install_filter(program: bytes) -> None:
    """A seccomp filter for this process, for good. Needs no_new_privs."""
    buffer = ctypes.create_string_buffer(program, len(program))
    described = _FilterProgram(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    pointer = ctypes.c_ulong(ctypes.addressof(described))
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), pointer, zero, zero), "seccomp")


def require_machine() -> None:
    """OSError where the tables above do not fit."""
    if MACHINE not in AUDIT_ARCH or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no system call table for {MACHINE}")
