"""The process that keeps sympy loaded, and the workers that it forks. Started by `workers` and by nothing else.

The template imports the parser once, never sees text of a model, and forks a worker in milliseconds when one was
killed. A worker compares answers until its socket closes, it is told to end, or a limit kills it. Both die with the
process that started them. Messages are those of `sandbox.codec`; descriptors travel over the control socket.
A worker is confined as the sandbox's programs are, and may read the installed packages. Does not choose the limits.
"""

import gc
import os
import resource
import signal
import socket
import struct
import sysconfig
from typing import Any

from rlreason.sandbox import codec
from rlreason.sandbox.confine import confine_reader
from rlreason.sandbox.syscalls import die_with

FORK, END = b"F", b"E"
"""Orders to the template: fork a worker onto the descriptor that comes along; kill worker PID and report how it ended.
"""
ORDER = struct.Struct("!cQ")
REPLY = struct.Struct("!Q")
"""The new worker's pid; or an ended worker's status as `os.waitpid` gives it."""
MAX_DETAIL_CHARS = 2000
_WARM_UP = (
    (r"\frac{1}{2}", "0.5"), ("x^2-1", "(x-1)(x+1)"), (r"\sin 2x", r"2\sin x\cos x"), (r"\log_2 8", r"\frac{6}{2}"),
    (r"\begin{pmatrix}1&x\\0&2\end{pmatrix}", r"\begin{bmatrix}1&x\\0&\sqrt 4\end{bmatrix}"), (r"(1,\infty)", "x>1"),
    (r"\{1,2\}", "2,1"), (r"1+\sqrt2", r"\frac{1}{\sqrt2-1}"), (r"e^{i\pi/3}", r"\frac12+\frac{\sqrt3}{2}i"),
    (r"x^2+y^2=1", "y^2=1-x^2"), (r"\binom{5}{2}+5!", "130"), (r"\int_0^1 x\,dx", r"\frac12"), (r"\sqrt[3]{x}", "|x|"),
    (r"(-\infty,1)\cup(2,3]", r"\mathbb{R}"), (r"\lfloor 2.5\rfloor", r"\lceil y\rceil"), (r"\pm 3", r"\emptyset"),
    (r"\sum_{k=1}^{n}k", r"\frac{n(n+1)}{2}"), (r"\lim_{x\to 0}\frac{\sin x}{x}", "1"), ("a_n", r"\theta"),
    (r"\frac{x^2-1}{x-1}", "x+1"), (r"\arctan 1", r"\frac{\pi}{4}"), (r"\text{yes}", r"\cosh x"), ("2xy=3", "y=3x-1"),
    ("((x+1)(x-2))^{n+1}", "x^{-(n^{2})}"), (r"a_{n+1}\cdot 2^{x}", r"\sin(2(x+1))"),
    (r"2\ln(x^2)", r"3x/y\times 10^{2}"),
)  # fmt: skip
"""They load what sympy imports late and fill the parser's tables."""


def main(parent_pid: int) -> None:
    """Serve orders on descriptor 0 until the parent closes it or dies."""
    die_with(parent_pid)
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # what a library prints must not mix with the trainer's output
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the end of a worker's processor time; a parent may have ignored it
    from rlreason.rewards.math.child import compare

    for gold, answer in _WARM_UP:
        compare(gold, answer)
    gc.collect()
    gc.freeze()  # the collector of a worker would copy every page that it shares with this process
    control.sendall(REPLY.pack(os.getpid()))
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, ORDER.size, 1)
        if len(order) < ORDER.size:
            return
        kind, argument = ORDER.unpack(order)
        if kind == FORK:
            pid = os.fork()
            if pid == 0:
                control.close()
                _work(socket.socket(fileno=descriptors[0]), os.getppid(), memory_bytes=argument)
            os.close(descriptors[0])
            control.sendall(REPLY.pack(pid))
        else:
            control.sendall(REPLY.pack(_end(argument)))


def _work(channel: socket.socket, template_pid: int, memory_bytes: int) -> None:
    """The life of one worker; never returns."""
    try:
        os.setsid()
        die_with(template_pid)
        packages = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
        _serve(channel.fileno(), confine_reader(packages, memory_bytes))
    finally:
        os._exit(1)


def _serve(channel: int, abi: int) -> None:
    from rlreason.rewards.math.child import compare

    while True:
        try:
            message = codec.receive(channel)
        except EOFError:
            os._exit(0)
        if not message:  # the question how it is confined
            codec.send(channel, {"abi": abi})
            continue
        # The kernel kills at the end of the processor time, whatever the code is doing.
        signal.setitimer(signal.ITIMER_PROF, message["cpu_s"])
        try:
            reply: dict[str, Any] = {"verdict": compare(message["gold"], message["answer"])}
        except MemoryError:
            os._exit(1)  # what is left of an interpreter that ran out of memory is not to be relied on
        # The boundary: sympy raises anything at all on odd input.
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:MAX_DETAIL_CHARS]}
        signal.setitimer(signal.ITIMER_PROF, 0)
        codec.send(channel, reply)


def _end(pid: int) -> int:
    """SIGKILL the worker's session and reap it. Until the reaping nobody else can be given its number."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)  # it has not yet come to its setsid
    return os.waitpid(pid, 0)[1]
