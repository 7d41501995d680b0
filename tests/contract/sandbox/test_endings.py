"""Programs that do not end, print without end, or take processor, threads and descriptors: cut off in time."""

import pytest

TIMEOUT_S = 0.12
HEAD = "import os, sys, time, signal, threading, re, ctypes\n"
HANGS = {
    "loop": "while True: pass",
    "sleep": "time.sleep(60)",
    "swallowed exceptions": "while True:\n    try: time.sleep(60)\n    except BaseException: pass",
    "ignored signals": (
        "for n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass"
    ),
    "one big power": "10 ** 10 ** 8",
    "one big sum": "sum(range(10 ** 12))",
    "one big search": "10 ** 12 in iter(range(10 ** 12 + 1))",
    "regular expression": "re.match(r'(a+)+$', 'a' * 64 + 'b')",
    "big factorial": "import math\nmath.factorial(10 ** 8)",
    "C sleep": "ctypes.CDLL(None).sleep(60)",
    "thread at exit": "threading.Thread(target=time.sleep, args=(60,)).start()",
    "atexit": "import atexit\natexit.register(time.sleep, 60)",
    "__del__": "class A:\n    def __del__(self, sleep=time.sleep): sleep(60)\na = A()",
    "exception text": "class E(Exception):\n    def __str__(self): time.sleep(60)\nraise E",
    "flush of stdout": (
        "class S:\n    closed = False\n    def write(self, x): pass\n    def flush(self): time.sleep(60)\n"
        "sys.stdout = S()"
    ),
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "lock": "a = threading.Lock()\na.acquire()\na.acquire()",
    "daemon threads": (
        "for _ in range(20): threading.Thread(target=lambda: [0 for _ in iter(int, 1)], "
        "daemon=True).start()\ntime.sleep(60)"
    ),
    "stdin not read": "while True: time.sleep(1)",
    "endless input": "os.dup2(os.open('/dev/zero', 0), 0)\nwhile sys.stdin.buffer.read(1 << 16): pass",
}
FUNCTION_HANGS = {
    "loop": "def f(x):\n    while True: pass",
    "on import": "while True: pass",
    "infinite iterator": "import itertools\ndef f(x): return itertools.repeat(0)",
    "infinite generator": "def f(x):\n    while True: yield x ** 99",
    "__repr__": "class A:\n    def __repr__(self): time.sleep(60)\ndef f(x): return A()",
    "__iter__": "class A:\n    def __next__(self): time.sleep(60)\ndef f(x): return A()",
    "exception text": "class E(Exception):\n    def __str__(self): time.sleep(60)\ndef f(x): raise E",
    "swallowed exit": "def f(x):\n    try: sys.exit()\n    finally: time.sleep(60)",
    "wide cycle": "def f(x):\n    a = []\n    a += [a, a]\n    return a",
    "questions not read": (
        "import fcntl\nfor fd in range(3, 20):\n    try: os.close(fd)\n    except OSError: pass\ntime.sleep(60)"
    ),
    "half an answer": (
        "def f(x):\n    for fd in range(3, 20):\n        try: os.write(fd, (99).to_bytes(4, 'big'))\n"
        "        except OSError: pass\n    time.sleep(60)"
    ),
}
FLOODS = {
    "stdout": "while True: print('x' * 65536)",
    "stderr": "while True: print('x' * 65536, file=sys.stderr)",
    "both": "while True:\n    os.write(1, b'x' * 65536)\n    os.write(2, b'x' * 65536)",
    "one write": "sys.stdout.write('x' * (64 << 20))",
    "in threads": (
        "def go():\n    while True: os.write(1, b'x' * 65536)\nfor _ in range(8): threading.Thread(target=go).start()"
    ),
    "on every descriptor": (
        "for fd in range(3, 200):\n    try: os.write(fd, b'x')\n    except OSError: pass\nprint('x' * (13 << 20))"
    ),
}
BOMBS = {
    "threads": (
        "n = 0\ntry:\n"
        "    while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "except RuntimeError: os._exit(1)"
    ),
    "small threads": (
        "threading.stack_size(32768)\ntry:\n"
        "    while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "except RuntimeError: os._exit(1)"
    ),
    "forks": "while True:\n    try: os.fork()\n    except OSError: os._exit(1)",
    "descriptors": "try:\n    while True: os.dup(0)\nexcept OSError: os._exit(1)",
    "pipes": "try:\n    while True: os.write(os.pipe()[1], b'x' * 65536)\nexcept OSError: os._exit(1)",
    "recursion": "sys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1) + 1\nf(0)",
    "C recursion": "sys.setrecursionlimit(10 ** 9)\na = []\nfor _ in range(10 ** 6): a = [a]\nrepr(a)",
    "null pointer": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "illegal instruction": "os.kill(os.getpid(), signal.SIGILL)",
    "32-bit call": (
        "import mmap\nm = mmap.mmap(-1, 4096, prot=7)\n"
        "m.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()\n"
        "print('survived')"
    ),
    "x32 call": "ctypes.CDLL(None).syscall(0x40000000 + 39)\nprint('survived')",
}
PRINT_42 = [{"type": "stdio", "input": "x" * 1_600_000, "output": "42"}]


@pytest.mark.parametrize("program", HANGS.values(), ids=HANGS)
def test_a_program_that_hangs_is_ended(arena, program: str) -> None:
    score = arena.check(
        HEAD + "print(42, flush=True)\n" + program, PRINT_42, timeout_s=TIMEOUT_S, memory_bytes=512 << 20
    )
    assert (score.value, score.status) == (0.0, "timeout"), score.detail


@pytest.mark.parametrize("program", FUNCTION_HANGS.values(), ids=FUNCTION_HANGS)
def test_a_function_that_hangs_is_ended(arena, program: str) -> None:
    tests = [{"type": "call", "args": [2], "expected": 42}]
    assert arena.check(HEAD + program, tests, entry_point="f", timeout_s=TIMEOUT_S).value == 0.0


@pytest.mark.parametrize("program", FLOODS.values(), ids=FLOODS)
def test_a_program_that_prints_too_much_is_ended(arena, program: str) -> None:
    score = arena.check(HEAD + program, [{"type": "stdio", "input": "", "output": "42"}])
    assert (score.value, score.status) == (0.0, "wrong") and "too much" in score.detail


@pytest.mark.parametrize("program", BOMBS.values(), ids=BOMBS)
def test_a_program_that_takes_all_it_can_fails(arena, program: str) -> None:
    score = arena.check(HEAD + program, [{"type": "stdio", "input": "", "output": ""}], timeout_s=0.5)
    assert score.value == 0.0
    assert "survived" not in score.detail


@pytest.mark.parametrize(
    "returned",
    [
        "'x' * (64 << 20)",
        "[0] * 10 ** 7",
        "list(range(10 ** 7))",
        "10 ** 10 ** 7",
        "bytes(64 << 20)",
        "range(10 ** 18)",
    ],
)
def test_a_huge_return_value_is_no_answer(arena, returned: str) -> None:
    tests = [{"type": "call", "args": [2], "expected": [42]}]
    assert arena.check(f"def f(x): return {returned}", tests, entry_point="f", timeout_s=0.5).value == 0.0


def test_the_time_is_for_all_tests_together(arena) -> None:
    tests = [{"type": "stdio", "input": "", "output": "1"}] * 20
    score = arena.check("import time\ntime.sleep(0.15)\nprint(1)", tests, timeout_s=0.5)
    assert score.status == "timeout"


CONTAMINATION = {
    "globals of modules": "import math, json, random\nmath.pi = 3\njson.dumps = None\nrandom.random = None",
    "builtins": "import builtins\nbuiltins.print = builtins.input = builtins.int = None",
    "modules": "import sys\nsys.modules.clear()",
    "import path": "import sys\nsys.path[:] = ['/tmp']\nsys.meta_path.clear()",
    "environment": "import os\nos.environ.clear()\nos.environ['PYTHONPATH'] = '/tmp'",
    "types": "import ctypes\nctypes.memmove(id(42) + 24, id(43) + 24, 4)",
    "hooks": "import sys, atexit\nsys.excepthook = sys.settrace(print)\natexit.register(print, 43)",
    "locale and signals": "import signal\nsignal.alarm(1)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "folder and mask": "import os\nos.chdir('/usr')\nos.umask(0o777)",
    "a hole in a buffer": "import os, fcntl\nfor fd in range(3): fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)",
}


@pytest.mark.parametrize("program", CONTAMINATION.values(), ids=CONTAMINATION)
def test_a_later_program_finds_nothing_of_an_earlier_one(arena, program: str) -> None:
    arena.check(program, [{"type": "stdio", "input": "", "output": "x"}])
    probe = (
        "import math, json, os, sys, random\n"
        "print(int(input()) * 2, 42, math.pi > 3, json.dumps(1), os.getcwd(), len(os.environ))"
    )
    seen = [arena.sandbox.script(probe.encode(), b"21").outputs[0] for _ in range(2)]
    assert seen[0] == seen[1] and seen[0].startswith(b"42 42 True 1 / ")
    assert (
        arena.check("def f(x): return x * 2", [{"type": "call", "args": [21], "expected": 42}], entry_point="f").value
        == 1.0
    )
