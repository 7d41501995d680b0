"""Right programs, however they are written, score 1.0 at every level; wrong ones 0.0."""

from typing import Any

import pytest

from rlreason.rewards.code import checker as code

pytestmark = pytest.mark.usefixtures("level")

GIVEN, SUMS = "3\n1 2\n3 4\n5 6\n", "3\n7\n11\n"
# Each prints the sum of every pair of GIVEN.
READERS = {
    "input": "for _ in range(int(input())): print(sum(map(int, input().split())))",
    "sys.stdin.readline": "import sys\n"
    "for _ in range(int(sys.stdin.readline())): print(sum(map(int, sys.stdin.readline().split())))",
    "readline as input": "import sys\ninput = sys.stdin.readline\n"
    "for _ in range(int(input())): print(sum(map(int, input().split())))",
    "sys.stdin.read": "import sys\nn, *x = map(int, sys.stdin.read().split())\n"
    "for i in range(n): print(x[2 * i] + x[2 * i + 1])",
    "iterated stdin": "import sys\nnext(sys.stdin)\nfor line in sys.stdin: print(sum(map(int, line.split())))",
    "readlines": "import sys\nfor line in sys.stdin.readlines()[1:]: print(sum(map(int, line.split())))",
    "buffer.read": "import sys\nn, *x = map(int, sys.stdin.buffer.read().split())\n"
    "for i in range(n): print(x[2 * i] + x[2 * i + 1])",
    "buffer.readline": "import sys\nr = sys.stdin.buffer.readline\n"
    "for _ in range(int(r())): print(sum(map(int, r().split())))",
    "os.read": "import os\nn, *x = map(int, os.read(0, 1 << 20).split())\n"
    "for i in range(n): print(x[2 * i] + x[2 * i + 1])",
    "os.read by fstat": "import os, io\ndata = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\n"
    "for _ in range(int(data())): print(sum(map(int, data().split())))",
    "open(0)": "n, *x = map(int, open(0).read().split())\nfor i in range(n): print(x[2 * i] + x[2 * i + 1])",
    "open(0) by lines": "_, *lines = open(0)\nfor line in lines: print(sum(map(int, line.split())))",
    "descriptor of stdin": "import sys\nsys.stdin = open(sys.stdin.fileno())\nnext(sys.stdin)\n"
    "for line in sys.stdin: print(sum(map(int, line.split())))",
    "fileinput": "import fileinput\nfor i, line in enumerate(fileinput.input()):\n"
    "    if i: print(sum(map(int, line.split())))",
    "mmap": "import mmap\nm = mmap.mmap(0, 0, access=mmap.ACCESS_READ)\nm.readline()\n"
    "for line in iter(m.readline, b''): print(sum(map(int, line.split())))",
    "iter(input)": "input()\ntry:\n    while True: print(sum(map(int, input().split())))\nexcept EOFError: pass",
    "input with a prompt": (
        "import sys\nn = int(input(''))\nfor _ in range(n): print(sum(int(x) for x in input('').split()))"
    ),
    "wrapped stdin": "import io, sys\nsys.stdin = io.TextIOWrapper(sys.stdin.buffer, encoding='utf-8')\n"
    "next(sys.stdin)\nfor l in sys.stdin: print(sum(map(int, l.split())))",
    "detached stdin": "import io, sys\nf = io.TextIOWrapper(sys.stdin.detach())\nnext(f)\n"
    "for l in f: print(sum(map(int, l.split())))",
}
MAIN = "def main():\n    for _ in range(int(input())): print(sum(map(int, input().split())))\n"
LOOP = "out = [sum(map(int, input().split())) for _ in range(int(input()))]\n"
WRITERS = {
    "main": MAIN + "if __name__ == '__main__':\n    main()",
    "exit()": MAIN + "main()\nexit()",
    "quit()": MAIN + "main()\nquit()",
    "sys.exit": MAIN + "import sys\nsys.exit(main())",
    "exit(0)": MAIN + "main()\nexit(0)",
    "raise SystemExit": MAIN + "main()\nraise SystemExit",
    "os._exit after a flush": MAIN + "main()\nimport sys, os\nsys.stdout.flush()\nos._exit(0)",
    "os.write": LOOP + "import os\nos.write(1, '\\n'.join(map(str, out)).encode())",
    "sys.stdout.write": LOOP + "import sys\nsys.stdout.write('\\n'.join(map(str, out)))",
    "writelines": LOOP + "import sys\nsys.stdout.writelines(f'{x}\\n' for x in out)",
    "buffer.write": LOOP + "import sys\nsys.stdout.buffer.write('\\n'.join(map(str, out)).encode())",
    "print to a file object": LOOP + "f = open(1, 'w')\nprint(*out, sep='\\n', file=f)",
    "StringIO at exit": "import sys, io, os, atexit\nsys.stdout = io.StringIO()\n"
    "atexit.register(lambda: os.write(1, sys.stdout.getvalue().encode()))\n" + MAIN + "main()",
    "closed stdout": MAIN + "main()\nimport sys\nsys.stdout.close()",
    "another stdout": MAIN + "main()\nimport io, sys\nsys.stdout = io.StringIO()",
    "wrapped stdout": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, write_through=True)\n"
    + MAIN
    + "main()",
    "detached stdout": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach())\n" + MAIN + "main()",
    "reconfigured stdout": "import sys\nsys.stdout.reconfigure(line_buffering=True)\n" + MAIN + "main()",
    "windows lines": LOOP + "print(*out, sep='\\r\\n', end='\\r\\n')",
    "trailing space": LOOP + "for x in out: print(x, end=' \\n')\nprint('\\n')",
    "error stream": LOOP + "import sys\nprint('debug', file=sys.stderr)\nprint(*out, sep='\\n')",
    "thread": MAIN + "import threading\nt = threading.Thread(target=main)\nt.start()\nt.join()",
    "thread not joined": MAIN + "import threading\nthreading.Thread(target=main).start()",
    "thread pool": "from concurrent.futures import ThreadPoolExecutor\n"
    + LOOP
    + "with ThreadPoolExecutor(4) as pool: print(*pool.map(abs, out), sep='\\n')",
    "asyncio": "import asyncio\nasync def main():\n    for _ in range(int(input())):\n"
    "        await asyncio.sleep(0)\n        print(sum(map(int, input().split())))\nasyncio.run(main())",
    "asyncio threads": "import asyncio\n"
    + LOOP
    + "async def main(): return await asyncio.gather(*(asyncio.to_thread(abs, x) for x in out))\n"
    "print(*asyncio.run(main()), sep='\\n')",
    "deep recursion": "import sys\nsys.setrecursionlimit(10 ** 6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
    "assert f(100000) == 100000\n" + MAIN + "main()",
    "deep recursion in a thread": "import sys, threading\nsys.setrecursionlimit(10 ** 6)\n"
    "threading.stack_size(256 << 20)\n"
    "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
    + MAIN
    + "def go():\n    assert f(100000) == 100000\n    main()\nt = threading.Thread(target=go)\nt.start()\nt.join()",
    "stack limit": "import resource, sys\n"
    "resource.setrlimit(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))\n" + MAIN + "main()",
    "signals": "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\nsignal.alarm(5)\n"
    + MAIN
    + "main()\nsignal.alarm(0)",
    "processors": "import os\nassert os.cpu_count() and os.getpid()\nos.sched_setaffinity(0, os.sched_getaffinity(0))\n"
    + MAIN
    + "main()",
    "caught exceptions": "try:\n    open('/etc/passwd')\nexcept OSError: pass\n" + MAIN + "main()",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int\n"
    "for _ in range(int(input())):\n    p = P(*map(int, input().split()))\n    print(p.x + p.y)",
    "pickle": "import pickle, copy\nclass A:\n    def __init__(self, x): self.x = x\n"
    + LOOP
    + "for x in out: print(copy.deepcopy(pickle.loads(pickle.dumps(A(x)))).x)",
    "exec": "exec('''" + MAIN + "''')\nmain()",
    "coding line": "# -*- coding: utf-8 -*-\n# öäü\n" + MAIN + "main()",
    "byte order mark": "\ufeff" + MAIN + "main()",
    "tabs and windows lines": MAIN.replace("    ", "\t").replace("\n", "\r\n") + "main()\r\n",
    "imports": "import bisect, cmath, decimal, fractions, heapq, itertools, functools, operator, random, re, "
    "statistics, string, zlib, sqlite3, ctypes, unittest.mock, xml.etree.ElementTree, email, "
    "http.client, numbers, typing, enum, array\n" + MAIN + "main()",
    "sockets of a pair": "import socket\na, b = socket.socketpair()\na.send(b'x')\nassert b.recv(1) == b'x'\n"
    + MAIN
    + "main()",
    "pipes and polling": (
        "import os, select\nr, w = os.pipe()\nos.write(w, b'x')\nassert select.select([r], [], [], 1)[0]\n"
    )
    + MAIN
    + "main()",
}


@pytest.mark.parametrize("program", [*READERS.values(), *WRITERS.values()], ids=[*READERS, *WRITERS])
def test_a_right_script_scores_one(program: str) -> None:
    score = code.check(program, [{"type": "stdio", "input": GIVEN, "output": SUMS}])
    assert score.value == 1.0, score.detail


# name: (program, entry point, {call or assert: expected})
FUNCTIONS: dict[str, tuple[str, str | None, list[tuple[list[Any], Any]]]] = {
    "function": ("def f(x): return x * 2", "f", [([21], 42), (["a"], "aa"), ([[1]], [1, 1])]),
    "lambda": ("f = lambda x: x * 2", "f", [([21], 42)]),
    "partial": ("from functools import partial\nf = partial(pow, 2)", "f", [([5], 32)]),
    "decorated": (
        "from functools import lru_cache\n@lru_cache(None)\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)",
        "f",
        [([80], 23416728348467685)],
    ),
    "recursive": (
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)",
        "f",
        [([50000], 50000)],
    ),
    "Solution().f": ("class Solution:\n    def f(self, x): return x * 2", "Solution().f", [([21], 42)]),
    "Solution.f": ("class Solution:\n    def f(self, x): return x * 2", "Solution.f", [([21], 42)]),
    "f of Solution": ("class Solution:\n    def f(self, x): return x * 2", "f", [([21], 42)]),
    "static method": ("class Solution:\n    @staticmethod\n    def f(x): return x * 2", "Solution.f", [([21], 42)]),
    "class method": (
        "class Solution:\n    @classmethod\n    def f(cls, x): return x * 2",
        "Solution().f",
        [([21], 42)],
    ),
    "typed method": (
        "from typing import List\nclass Solution:\n    def f(self, x: List[int]) -> List[int]: return sorted(x)",
        "Solution().f",
        [([[2, 1]], [1, 2])],
    ),
    "float": ("def f(x): return x / 3", "f", [([1], 1 / 3), ([1], 0.33333333333333), ([6], 2), ([0.3], 0.1)]),
    "infinity": ("def f(x): return float(x)", "f", [(["inf"], float("inf")), (["nan"], float("nan"))]),
    "big integer": ("def f(x): return 3 ** x", "f", [([1000], 3**1000), ([0], 1)]),
    "tuple for list": ("def f(x): return (x, x)", "f", [([1], [1, 1]), ([1], (1, 1))]),
    "generator for list": ("def f(x): yield from range(x)", "f", [([3], [0, 1, 2])]),
    "map for list": ("def f(x): return map(str, x)", "f", [([[1, 2]], ["1", "2"])]),
    "chain for list": ("import itertools\ndef f(x): return itertools.chain(x, x)", "f", [([[1]], [1, 1])]),
    "range for list": ("def f(x): return range(x)", "f", [([3], [0, 1, 2])]),
    "keys for list": ("def f(x): return x.keys()", "f", [([{"a": 1}], ["a"])]),
    "None": ("def f(x): pass", "f", [([1], None)]),
    "bool": ("def f(x): return x > 1", "f", [([2], True), ([1], False)]),
    "set": ("def f(x): return set(x)", "f", [([[1, 2, 2]], {1, 2}), ([[]], set())]),
    "dict": ("def f(x): return {c: x.count(c) for c in x}", "f", [(["aab"], {"a": 2, "b": 1})]),
    "Counter": ("from collections import Counter\ndef f(x): return Counter(x)", "f", [(["aab"], {"a": 2, "b": 1})]),
    "defaultdict": (
        "from collections import defaultdict\ndef f(x):\n    d = defaultdict(list)\n    d[x].append(x)\n    return d",
        "f",
        [([1], {1: [1]})],
    ),
    "deque": ("from collections import deque\ndef f(x): return deque(x)", "f", [([[1, 2]], [1, 2])]),
    "named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(x): return P(x, x)",
        "f",
        [([1], (1, 1))],
    ),
    "integer enum": ("import enum\nclass E(enum.IntEnum):\n    A = 5\ndef f(): return E.A", "f", [([], 5)]),
    "bytes": ("def f(x): return x.encode()", "f", [(["é"], "é".encode())]),
    "complex": ("def f(x): return x * 1j", "f", [([2], 2j)]),
    "unicode": ("def f(x): return x[::-1]", "f", [(["añ漢😀\x00"], "\x00😀漢ña")]),
    "nested": ("def f(x): return [[x, {'a': (x, [x])}]]", "f", [([1], [[1, {"a": (1, [1])}]])]),
    "1 MB": ("def f(n): return 'x' * n", "f", [([1 << 20], "x" * (1 << 20))]),
    "many": ("def f(n): return list(range(n))", "f", [([100000], list(range(100000)))]),
    "prints": ("print('loading')\ndef f(x):\n    print('debug', x)\n    return x", "f", [([1], 1)]),
    "main guard": ("def f(x): return x\nif __name__ == '__main__':\n    f(int(input()))", "f", [([1], 1)]),
    "state": ("calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls)", "f", [([1], 1), ([1], 2)]),
    "threads": (
        "import threading\ndef f(x):\n    out = []\n"
        "    ts = [threading.Thread(target=out.append, args=(i,)) for i in range(x)]\n"
        "    for t in ts: t.start()\n    for t in ts: t.join()\n    return sorted(out)",
        "f",
        [([5], [0, 1, 2, 3, 4])],
    ),
    "asyncio": ("import asyncio\nasync def g(x): return x\ndef f(x): return asyncio.run(g(x))", "f", [([1], 1)]),
}


@pytest.mark.parametrize(("program", "entry_point", "cases"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_right_function_scores_one(program: str, entry_point: str, cases: list[tuple[list[Any], Any]]) -> None:
    tests = [{"type": "call", "args": args, "expected": expected} for args, expected in cases]
    score = code.check(program, tests, entry_point=entry_point)
    assert score.value == 1.0, score.detail


IN_PLACE = "def f(x):\n    x.sort()\n"
POINT = (
    "from dataclasses import dataclass\n@dataclass(order=True)\nclass Point:\n    x: int\n"
    "    y: int = 0\n    ORIGIN = 0\n"
    "    def add(self, other): return Point(self.x + other.x, self.y + other.y)\n    def __len__(self): return self.x\n"
    "    def __getitem__(self, i): return (self.x, self.y)[i]\n    @classmethod\n    def of(cls, x): return cls(x, x)\n"
    "def make(x): return Point(x)\ndef adder(n): return lambda x: x + n\n"
)
RAISES = "try:\n    f(0)\nexcept {0}:\n    pass\nelse:\n    assert False"
# name: (program, entry point, test code)
ASSERTS: dict[str, tuple[str, str | None, str]] = {
    "check with a call": ("def f(x): return x", "f", "def check(candidate):\n    assert candidate(1) == 1\ncheck(f)"),
    "check without a call": (
        "def f(x): return x",
        "f",
        "METADATA = {}\n\ndef check(candidate):\n    assert candidate(1) == 1\n",
    ),
    "check of candidate": (
        "def f(x): return x",
        "f",
        "def check(candidate):\n    assert candidate(1) == 1\ncheck(candidate)",
    ),
    "check of Solution().f": (
        "class Solution:\n    def f(self, x): return x",
        "Solution().f",
        "def check(candidate):\n    assert candidate(x=1) == 1",
    ),
    "candidate": ("def f(x): return x", "f", "assert candidate(1) == 1"),
    "no entry point": ("def f(x): return x", None, "assert f(1) == 1"),
    "named as a builtin": ("def sum(a, b): return a + b", None, "assert sum(10, 15) == 25"),
    "two functions": (
        "def f(x): return x\ndef g(x): return f(x) + 1",
        None,
        "from solution import f, g\nassert g(f(1)) == 2",
    ),
    "sorted result": ("def f(x): return set(x)", None, "assert sorted(f([2, 1])) == [1, 2]"),
    "math without import": ("def f(x): return x ** 0.5", None, "assert math.isclose(f(4), 2)"),
    "import in the test": ("def f(x): return x ** 0.5", None, "import math\nassert math.isclose(f(2), math.sqrt(2))"),
    "tolerance": ("def f(x): return x / 3", "f", "assert abs(candidate(1) - 0.3333) < 1e-3"),
    "in place": (IN_PLACE, "f", "a = [3, 1, 2]\nassert f(a) is None\nassert a == [1, 2, 3]"),
    "in place, dict": ("def f(d): d['b'] = d.pop('a')", "f", "d = {'a': 1}\nf(d)\nassert d == {'b': 1}"),
    "ValueError": ("def f(x): raise ValueError('no')", "f", RAISES.format("ValueError")),
    "message": (
        "def f(x): raise ValueError('no')",
        "f",
        "try: f(0)\nexcept ValueError as e: assert str(e) == 'no'\nelse: assert False",
    ),
    "subclass of KeyError": ("class E(KeyError): pass\ndef f(x): raise E", "f", RAISES.format("KeyError")),
    "ZeroDivisionError": ("def f(x): return 1 / x", "f", RAISES.format("ZeroDivisionError")),
    "UnicodeDecodeError": ("def f(x): return b'\\xff'.decode()", "f", RAISES.format("Exception")),
    "unittest": ("def f(x): return x", "f", "import unittest\nunittest.TestCase().assertEqual(f(1), 1)"),
    "Decimal": (
        "from decimal import Decimal\ndef f(x): return Decimal(x) / 3",
        "f",
        "from decimal import Decimal\nassert f('1.5') == Decimal('0.5')",
    ),
    "Fraction": (
        "from fractions import Fraction\ndef f(x): return Fraction(x, 3)",
        "f",
        "from fractions import Fraction\nassert f(2) == Fraction(2, 3)",
    ),
    "date": (
        "from datetime import date, timedelta\ndef f(x): return x + timedelta(1)",
        "f",
        "from datetime import date\nassert f(date(2024, 2, 28)) == date(2024, 2, 29)",
    ),
    "datetime": (
        "from datetime import datetime\ndef f(x): return datetime(2024, 1, x, 3)",
        "f",
        "import datetime\nassert f(2) == datetime.datetime(2024, 1, 2, 3)",
    ),
    "islice of a generator": (
        "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1",
        "f",
        "from itertools import islice\nassert list(islice(f(), 3)) == [0, 1, 2]",
    ),
    "keyword arguments": ("def f(a, *, b=1, **c): return a + b + sum(c.values())", "f", "assert f(1, b=2, z=3) == 6"),
    "object": (POINT, None, "p = Point(1, 2)\nassert p.x == 1 and p.add(Point(1)).y == 2"),
    "equal objects": (
        POINT,
        None,
        "assert Point(1, 2) == Point(1, 2) and Point(1) != Point(2) and Point(1) < Point(2)",
    ),
    "object passed back": (POINT, "make", "assert make(1).add(make(2)).x == 3"),
    "length and items": (POINT, None, "assert len(Point(3)) == 3 and Point(3, 4)[1] == 4"),
    "class method": (POINT, None, "assert Point.of(2).y == 2"),
    "closure": (POINT, None, "assert adder(2)(3) == 5"),
    "text of an object": (
        "class A:\n    def __str__(self): return 'a'\n    __repr__ = __str__",
        "A",
        "assert str(A()) == 'a' and f'{A()!r}' == 'a'",
    ),
    "iterable object": (
        "class A:\n    def __iter__(self): return iter([1, 2])",
        "A",
        "assert list(A()) == [1, 2] and 2 in A()",
    ),
    "match object": ("import re\ndef f(x): return re.match('a', x)", "f", "assert f('ab') and not f('b')"),
    "loop of tests": ("def f(x): return x * x", "f", "for i in range(50): assert f(i) == i * i"),
    "random tests": (
        "def f(x): return sorted(x)",
        "f",
        "import random\nfor _ in range(20):\n    a = [random.random() for _ in range(9)]\n"
        "    assert f(a[:]) == sorted(a)",
    ),
}


@pytest.mark.parametrize(("program", "entry_point", "test"), ASSERTS.values(), ids=ASSERTS)
def test_a_right_program_passes_its_asserts(program: str, entry_point: str | None, test: str) -> None:
    score = code.check(program, [{"type": "assert", "code": test}], entry_point=entry_point)
    assert score.value == 1.0, score.detail


def test_keyword_arguments_of_call_tests() -> None:
    tests = [{"type": "call", "args": [1], "kwargs": {"b": 2}, "expected": 3}]
    assert code.check("def f(a, b): return a + b", tests, entry_point="f").value == 1.0


def test_a_megabyte_of_output_is_compared() -> None:
    tests = [{"type": "stdio", "input": "", "output": "".join(f"{i}\n" for i in range(150_000))}]
    assert code.check("print(*range(150_000), sep='\\n')", tests).value == 1.0
    assert code.check("print(*range(149_999), sep='\\n')\nprint(1)", tests).value == 0.0


def test_a_megabyte_of_input_is_read() -> None:
    tests = [{"type": "stdio", "input": "7 " * 800_000, "output": "5600000"}]
    assert code.check("import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))", tests).value == 1.0


WRONG = {
    "nothing": "pass",
    "one too many": MAIN + "main()\nprint(1)",
    "one too few": "for _ in range(int(input()) - 1): print(sum(map(int, input().split())))",
    "off by one": "for _ in range(int(input())): print(sum(map(int, input().split())) + 1)",
    "product": "for _ in range(int(input())): a, b = map(int, input().split()); print(a * b)",
    "one line": LOOP + "print(out)",
    "joined": LOOP + "print(*out, sep='')",
    "text before": LOOP + "print('Answer:')\nprint(*out, sep='\\n')",
    "order": LOOP + "print(*out[::-1], sep='\\n')",
    "constant": "print(3)\nprint(7)\nprint(12)",
    "float": LOOP + "for x in out: print(x + 0.5)",
    "exit status": MAIN + "main()\nexit(1)",
    "exit with a message": MAIN + "main()\nexit('done')",
    "exception at the end": MAIN + "main()\nraise ValueError",
    "syntax": "print(3",
    "name": "print(undefined)",
    "input read twice": "input()\ninput()\n" + MAIN + "main()",
    "thread fails, nothing printed": "import threading\nthreading.Thread(target=lambda: 1 / 0).start()",
}
WRONG_FUNCTIONS: dict[str, tuple[str, list[Any], Any]] = {
    "off by one": ("def f(x): return x + 1", [1], 3),
    "nearly": ("def f(x): return 0.1 + 1e-6", [1], 0.1),
    "no argument": ("def f(): return 1", [1], 1),
    "prints instead": ("def f(x): print(x)", [1], 1),
    "text": ("def f(x): return str(x)", [1], 1),
    "subset": ("def f(x): return {'a': 1}", [1], {"a": 1, "b": 2}),
    "longer": ("def f(x): return [1, 2, 3]", [1], [1, 2]),
    "order": ("def f(x): return [2, 1]", [1], [1, 2]),
    "characters": ("def f(x): return list('ab')", [1], "ab"),
    "list for set": ("def f(x): return [1, 2]", [1], {1, 2}),
    "large integers": ("def f(x): return 10 ** 20", [1], 10**20 + 1),
    "negative zero text": ("def f(x): return '-0'", [1], "0"),
}


@pytest.mark.parametrize("program", WRONG.values(), ids=WRONG)
def test_a_wrong_script_scores_nothing(program: str) -> None:
    assert code.check(program, [{"type": "stdio", "input": GIVEN, "output": SUMS}]).value == 0.0


@pytest.mark.parametrize(("program", "args", "expected"), WRONG_FUNCTIONS.values(), ids=WRONG_FUNCTIONS)
def test_a_wrong_function_scores_nothing(program: str, args: list[Any], expected: object) -> None:
    tests = [{"type": "call", "args": args, "expected": expected}]
    assert code.check(program, tests, entry_point="f").value == 0.0
