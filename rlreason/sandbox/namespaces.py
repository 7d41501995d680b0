"""Moves the calling process into namespaces of its own, with a root that holds programs and libraries only.

User, mount, process, network, IPC, host name and cgroup namespaces; the root is a read-only tmpfs without /proc, /etc,
/home and /tmp. Needs user namespaces that the kernel and the container allow, no root. Where they are not allowed,
OSError; nothing is half done that outlives the process.
"""

import os
import sys
from collections.abc import Iterable

from rlreason.sandbox import syscalls as sc

NOBODY = 65534
WORK = "/box"
"""The one writable folder, for compilers: a tmpfs."""
STDIN = f"{WORK}/stdin"
"""What /dev/stdin is there: without a /proc no path leads to a descriptor."""
WORK_BYTES = 256 << 20
_SPACES = (
    sc.CLONE_NEWUSER
    | sc.CLONE_NEWNS
    | sc.CLONE_NEWPID
    | sc.CLONE_NEWNET
    | sc.CLONE_NEWIPC
    | sc.CLONE_NEWUTS
    | sc.CLONE_NEWCGROUP
)
_MOUNT_POINTS = ("/tmp", "/dev/shm", "/mnt", "/var/tmp")
_FOLDERS = ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives")
_FILES = ("/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def enter(readable: Iterable[str] = ()) -> None:
    """Returns in the first process of the new namespaces; the calling one waits for it and ends with its status.

    Dies with its parent. Must be called by a process of one thread. readable: paths that the new root has as well.
    """
    as_root = os.geteuid() == 0
    user, group = os.geteuid(), os.getegid()
    maps = f"0 0 1\n{NOBODY} {NOBODY} 1" if as_root else None
    # A map of two users may only be written from outside.
    ready, mapped = (os.pipe(), os.pipe()) if maps else ((-1, -1), (-1, -1))
    helper = _write_maps_for_parent(maps, ready, mapped[1]) if maps else 0
    try:
        sc.unshare(_SPACES)
        if maps is None:
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{NOBODY} {user} 1")
            _write("/proc/self/gid_map", f"{NOBODY} {group} 1")
        else:
            os.write(ready[1], b"x")
            if os.read(mapped[0], 1) != b"x":
                raise PermissionError("the user map was refused")
    finally:
        for fd in {*ready, *mapped} - {-1}:
            os.close(fd)
        if helper:
            os.waitpid(helper, 0)
    _make_root(readable)
    sc.set_host_name("sandbox")
    first = os.fork()
    if first:
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 255)
    if as_root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    sc.drop_capabilities()
    sc.prctl(sc.PR_SET_PDEATHSIG, 9)


def _write_maps_for_parent(maps: str, ready: tuple[int, int], mapped: int) -> int:
    parent = os.getpid()
    helper = os.fork()
    if helper:
        return helper
    os.close(ready[1])
    if os.read(ready[0], 1) != b"x":
        os._exit(0)
    try:
        _write(f"/proc/{parent}/uid_map", maps)
        _write(f"/proc/{parent}/gid_map", maps)
        os.write(mapped, b"x")
    except OSError:
        os.write(mapped, b"-")
    os._exit(0)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _make_root(readable: Iterable[str]) -> None:
    """Builds the new root under a mount point that exists anywhere, then lets go of the old one."""
    sc.mount("none", "/", "", sc.MS_REC | sc.MS_PRIVATE)
    below = next(path for path in _MOUNT_POINTS if os.path.isdir(path))
    own = {os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)}
    more = {path for path in (*own, *readable) if not path.startswith(_FOLDERS)}
    files = {*_FILES, *filter(os.path.isfile, more)}
    folders = sorted({*_FOLDERS, *more} - files)
    # Old and new roots overlap where a folder lies under the mount point, so the sources are opened first.
    sources = {path: os.open(path, os.O_PATH) for path in (*folders, *files) if os.path.exists(path)}
    links = {path: os.readlink(path) for path in folders if os.path.islink(path)}
    sc.mount("tmpfs", below, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "size=1m,mode=755")
    for path, fd in sources.items():
        target = below + path
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        if path in links:
            os.symlink(links[path], target)
            continue
        if path in folders:
            os.makedirs(target, mode=0o755, exist_ok=True)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        sc.mount(f"/proc/self/fd/{fd}", target, "", sc.MS_BIND | sc.MS_REC)
    for fd in sources.values():
        os.close(fd)
    os.mkdir(below + WORK)
    os.symlink(STDIN, below + "/dev/stdin")
    sc.make_read_only(below)
    options = f"size={WORK_BYTES},mode=1777"
    sc.mount("tmpfs", below + WORK, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, options)
    sc.change_root(below)
