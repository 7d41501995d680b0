"""A container that allows no namespaces, as a process: the attacks of the tests beside this file are run inside it.

    python pod.py root|bare|restricted FOLDER

`root`: user 0 with the capabilities that Docker leaves. `bare`: user 0 with none. `restricted`: user 1000, none,
no_new_privs, the owner of everything it attacks. In each a seccomp filter refuses what a container runtime's default
profile refuses. Prints JSON: the sandbox's level, the user and what went wrong with each attack or right program.
Emulates the calls that are refused, not a cluster.
"""

import errno
import json
import os
import struct
import sys
import tempfile
from pathlib import Path

import test_effects
import test_forging
from conftest import DOUBLE, SECRET, Arena

from rlreason.rewards.code import checker as code
from rlreason.sandbox import syscalls as sc
from rlreason.sandbox.pool import Sandbox, SandboxUnavailable

USER = 1000
DOCKER_CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
LAST_CAPABILITY = 40
PR_CAPBSET_DROP = 24
REFUSED = "unshare setns mount umount2 pivot_root bpf perf_event_open keyctl userfaultfd kexec_load open_by_handle_at"
NEW_NAMESPACE = 0x7E020000
RIGHT = (
    "print(int(input()) * 2)",
    "import sys\nprint(2 * int(sys.stdin.read()))",
    "import os\nprint(int(os.read(0, 9)) * 2)",
)
LOAD, JEQ, JSET, RETURN, ALLOW, ERROR = 0x20, 0x15, 0x45, 0x06, 0x7FFF0000, 0x00050000


def refuse_namespaces() -> None:
    """The seccomp filter of a container runtime, in short."""
    lines = [(LOAD, 0, 0, 0)]
    for name in REFUSED.split():
        lines += [(JEQ, 0, 1, sc.NUMBERS[name]), (RETURN, 0, 0, ERROR | errno.EPERM)]
    lines += [(JEQ, 0, 1, sc.NUMBERS["clone3"]), (RETURN, 0, 0, ERROR | errno.ENOSYS)]
    lines += [(JEQ, 0, 3, sc.NUMBERS["clone"]), (LOAD, 0, 0, 16), (JSET, 0, 1, NEW_NAMESPACE)]
    lines += [(RETURN, 0, 0, ERROR | errno.EPERM), (RETURN, 0, 0, ALLOW)]
    sc.install_filter(b"".join(struct.pack("<HBBI", *line) for line in lines))


def keep_capabilities(kept: tuple[int, ...]) -> None:
    for capability in range(LAST_CAPABILITY + 1):
        if capability not in kept:
            sc.prctl(PR_CAPBSET_DROP, capability)
    low = sum(1 << capability for capability in kept)
    sc._call("capset", struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", low, low, 0, 0, 0, 0))


def enter(kind: str, folder: Path) -> None:
    if kind in ("root", "bare"):
        refuse_namespaces()
        keep_capabilities(DOCKER_CAPABILITIES if kind == "root" else ())
        return
    if os.geteuid() == 0:
        os.chown(folder, USER, USER)
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    sc.prctl(sc.PR_SET_DUMPABLE, 1)  # as any program is that was started under this user
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    refuse_namespaces()


def attacks(arena: Arena) -> list[str]:
    """What went wrong."""
    wrong = []
    effects = (getattr(test_effects, name) for name in ("FILES", "NETWORK", "PROCESSES", "LEAKS", "MEMORY"))
    for name, body in (item for table in effects for item in table.items()):
        try:
            arena.attempt(body)
            arena.assert_untouched()
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    for name, source in (item for table in test_forging.TABLES for item in table.items()):
        score = arena.check(test_forging.HEAD + source, test_forging.CALLS, entry_point="f", timeout_s=2.0)
        if score.value != 0.0:
            wrong.append(f"{name}: {score}")
    arena.assert_untouched()
    for program in RIGHT:
        score = code.check(program, DOUBLE)
        if score.value != 1.0:
            wrong.append(f"right, but refused: {program!r}: {score}")
    score = code.check("def f(x): return {3: 8461, 5: 9173}[x]", test_forging.CALLS, entry_point="f")
    return wrong if score.value == 1.0 else [*wrong, f"right, but refused: {score}"]


def main(kind: str, folder: Path) -> None:
    os.environ["RLREASON_TEST_SECRET"] = SECRET
    enter(kind, folder)
    tempfile.tempdir = str(folder)
    inner = folder / "arena"
    inner.mkdir()
    sandbox = code._backend("landlock", None, None)
    assert isinstance(sandbox, Sandbox)
    try:
        said = sandbox.start()
    except SandboxUnavailable as error:
        print(json.dumps({"unavailable": str(error)}))
        return
    arena = Arena(sandbox, inner)
    print(json.dumps({"said": said, "level": sandbox.level, "user": os.geteuid(), "wrong": attacks(arena)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
