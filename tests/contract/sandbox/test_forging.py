"""A program that does not know the answer cannot make itself right: the verdict is not made where it runs."""

import json

import pytest

ANSWERS = {3: 8461, 5: 9173}
CALLS = [{"type": "call", "args": [x], "kwargs": {}, "expected": y} for x, y in ANSWERS.items()]
ASSERTS = [{"type": "assert", "code": f"assert f({x}) == {y}"} for x, y in ANSWERS.items()]
CHECK = [
    {
        "type": "assert",
        "code": "import math\ndef check(candidate):\n"
        + "".join(
            f"    assert math.isclose(candidate({x}), {y})\n    assert candidate({x}) == {y}\n"
            for x, y in ANSWERS.items()
        ),
    }
]
STYLES = {"call": CALLS, "assert": ASSERTS, "check": CHECK}
F = "\ndef f(x): return 0\n"
HEAD = "import ctypes, gc, json, os, pickle, signal, sys, threading, time, types\n"

EXITS = {
    "sys.exit on import": "sys.exit(0)",
    "os._exit on import": "os._exit(0)",
    "sys.exit in the function": "def f(x): sys.exit(0)",
    "os._exit in the function": "def f(x): os._exit(0)",
    "SystemExit subclass": "class Done(SystemExit): pass\ndef f(x): raise Done(0)",
    "raise on import": "raise ImportError('tests passed')",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "SkipTest": "import unittest\ndef f(x): raise unittest.SkipTest('passed')",
    "AssertionError": "def f(x): raise AssertionError",
    "StopIteration": "def f(x): raise StopIteration",
    "GeneratorExit": "def f(x): raise GeneratorExit",
    "atexit": "import atexit\natexit.register(os._exit, 0)" + F,
    "excepthook": "sys.excepthook = lambda *_: os._exit(0)\ndef f(x): raise ValueError",
    "unraisablehook": "sys.unraisablehook = lambda *_: os._exit(0)" + F,
    "__del__": "class D:\n    def __del__(self): os._exit(0)\nd = D()\ndef f(x):\n    global d\n    del d",
    "thread race": (
        "threading.Thread(target=lambda: (time.sleep(0.005), os._exit(0)), daemon=True).start()\n"
        "def f(x): time.sleep(1)"
    ),
    "signal handler": (
        "signal.signal(signal.SIGALRM, lambda *_: os._exit(0))\nsignal.setitimer(0, 0.01)\ndef f(x): time.sleep(1)"
    ),
    "execv": "def f(x): os.execv('/bin/true', ['true'])",
    "kill itself": "def f(x): os.kill(os.getpid(), 9)",
    "abort": "def f(x): os.abort()",
    "null pointer": "def f(x): ctypes.string_at(0)",
    "endless recursion": "def f(x): return f(x)",
    "bad bytecode": "f = lambda x: 0\nf.__code__ = f.__code__.replace(co_code=b'\\x64\\xff' * 4, co_stacksize=1)",
    "closed descriptors": "os.closerange(0, 200)" + F,
    "no function": "x = 1",
    "a value for a function": "f = 8461",
}
OPERATORS = {
    "__eq__": "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "__eq__ and hash": "class A:\n    __eq__ = lambda *_: True\n    __hash__ = lambda _: 0\ndef f(x): return A()",
    "int": "class A(int):\n    __eq__ = lambda *_: True\n    __hash__ = int.__hash__\ndef f(x): return A(0)",
    "float": (
        "class A(float):\n    __eq__ = lambda *_: True\n    __sub__ = __rsub__ = lambda *_: 0\ndef f(x): return A(0)"
    ),
    "str": "class A(str):\n    __eq__ = lambda *_: True\ndef f(x): return A()",
    "list": "class A(list):\n    __eq__ = lambda *_: True\ndef f(x): return A()",
    "dict": "class A(dict):\n    __eq__ = lambda *_: True\ndef f(x): return A()",
    "mock.ANY": "from unittest import mock\ndef f(x): return mock.ANY",
    "MagicMock": "from unittest import mock\ndef f(x): return mock.MagicMock()",
    "__class__": "class A:\n    __class__ = int\n    __eq__ = lambda *_: True\ndef f(x): return A()",
    "__index__": (
        "class A:\n    __index__ = __int__ = __float__ = lambda _: 8461\n    __eq__ = lambda *_: True\n"
        "def f(x): return A()"
    ),
    "metaclass": (
        "class M(type):\n    __eq__ = lambda *_: True\n    __hash__ = type.__hash__\n"
        "class A(metaclass=M): pass\ndef f(x): return A"
    ),
    "__ne__ and order": (
        "class A:\n    __ne__ = lambda *_: False\n    __lt__ = __gt__ = __le__ = __ge__ = lambda *_: True\n"
        "def f(x): return A()"
    ),
    "nan": "def f(x): return float('nan')",
    "infinity": "def f(x): return float('inf')",
    "NotImplemented": "def f(x): return NotImplemented",
    "callable class": "class f:\n    def __init__(self, x): pass\n    __eq__ = lambda *_: True",
    "iterator of everything": (
        "class A:\n    __next__ = __iter__ = __contains__ = lambda *_: 0\n    __eq__ = lambda *_: True\n"
        "def f(x): return A()"
    ),
    "reduce in a value": "class A:\n    def __reduce__(self): return (print, ('passed',))\ndef f(x): return A()",
    "reduce in an exception": (
        "class A(Exception):\n    def __reduce__(self): return (os._exit, (0,))\ndef f(x): raise A()"
    ),
    "forged type name": (
        "A = type('int', (), {'__eq__': lambda *_: True, '__module__': 'builtins'})\ndef f(x): return A()"
    ),
    "exception named as a builtin": (
        "A = type('Warning', (BaseException,), {'__module__': 'builtins'})\ndef f(x): raise A()"
    ),
}
PATCHES = {
    "AssertionError": "import builtins\nbuiltins.AssertionError = ZeroDivisionError" + F,
    "builtins": (
        "import builtins\n"
        "for n in ('abs', 'all', 'any', 'len', 'isinstance', 'sorted', 'exec', 'compile'): "
        "setattr(builtins, n, lambda *a, **k: True)"
    )
    + F,
    "math.isclose": "import math\nmath.isclose = lambda *a, **k: True" + F,
    "unittest": "import unittest\nunittest.TestCase.assertEqual = lambda *a: None" + F,
    "json": "json.dumps = lambda *a, **k: '{\"loaded\": true}'\njson.loads = lambda *a, **k: True" + F,
    "pickle": "pickle.loads = pickle.load = lambda *a, **k: True" + F,
    "sys.modules": "sys.modules['math'] = sys.modules['json'] = types.SimpleNamespace(isclose=lambda *a, **k: True)"
    + F,
    "import system": "sys.meta_path.insert(0, object())\nsys.path_hooks.clear()" + F,
    "os.write": "write = os.write\nos.write = lambda fd, b: write(fd, bytes(b).replace(b'0', b'8461'))" + F,
    "code of all functions": (
        "for g in gc.get_objects():\n"
        "    if isinstance(g, types.FunctionType) and g.__name__ in ('same', 'run_tests', '_run_one', "
        "'_same_number'):\n        g.__code__ = (lambda *a, **k: True).__code__"
    )
    + F,
    "settrace": (
        "def t(frame, event, arg):\n    if 'expected' in frame.f_locals: frame.f_locals['expected'] = 0\n"
        "    return t\nsys.settrace(t)\nthreading.settrace(t)"
    )
    + F,
    "changed constants": "ctypes.memmove(id(8461) + 24, id(0) + 24, 4)" + F,
    "changed arguments": (
        "def f(x):\n    for d in gc.get_objects():\n"
        "        if type(d) is dict and 'expected' in d: d['expected'] = 0\n    return 0"
    ),
    "own check": "def check(candidate): pass" + F,
    "candidate": "candidate = lambda x: {3: 0}" + F,
    "module named tests": "sys.modules['tests'] = sys.modules['test'] = sys.modules['solution']" + F,
    "the link's globals": (
        "frame = sys._getframe()\nwhile frame:\n    frame.f_globals.update(same=lambda *a: True)\n"
        "    frame = frame.f_back"
    )
    + F,
}
PEEKS = {
    "frames": """
def f(x):
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if value in (8461, 9173): return value
        frame = frame.f_back
""",
    "garbage collector": """
def f(x):
    for found in gc.get_objects():
        if isinstance(found, dict) and ("expected" in found or "tests" in found):
            return found.get("expected", 0)
        if isinstance(found, (list, tuple)) and 9173 + 0 * x in [v for v in found if type(v) is int][:9]: return 8461
""",
    "code constants": (
        "def f(x):\n    return next((c for g in gc.get_objects() if isinstance(g, types.FunctionType) and "
        "g.__code__.co_filename == 'test' for c in g.__code__.co_consts), 0)"
    ),
    "stack inspection": (
        "import inspect\n"
        "def f(x): return next((fr.frame.f_locals['expected'] for fr in inspect.stack() if 'expected' in "
        "fr.frame.f_locals), 0)"
    ),
    "descriptors": """
def f(x):
    for fd in range(201):
        try:
            data = os.pread(fd, 1 << 16, 0)
        except OSError:
            continue
        for answer in (8461, 9173):
            if str(answer).encode() in data: return answer
""",
    "descriptors read to the end": """
def f(x):
    for fd in range(201):
        try:
            os.set_blocking(fd, False)
            if b"8461" in os.read(fd, 1 << 16): return 8461
        except (OSError, BlockingIOError):
            continue
""",
    "arguments": "def f(x): return int(([a for a in sys.argv if '8461' in a] or [0])[0])",
    "environment": "def f(x): return 8461 if '8461' in str(os.environ) else 0",
    "folder": "def f(x): return int(open(os.listdir('.')[0]).read())",
    "/tmp": "def f(x): return int(open('/tmp/' + os.listdir('/tmp')[0]).read())",
    "command line of the parent": (
        "def f(x): return 8461 if '8461' in open(f'/proc/{os.getppid()}/cmdline').read() else 0"
    ),
    "own memory": (
        "def f(x):\n    memory = open('/proc/self/mem', 'rb')\n"
        "    memory.seek(id(x)); return 8461 if b'8461' in memory.read(1 << 20) else 0"
    ),
    "the judge's memory": (
        "def f(x):\n    for pid in range(2, 40):\n"
        "        if b'8461' in open(f'/proc/{pid}/mem', 'rb').read(99): return 8461"
    ),
}
PIPES = {
    "passed on stdout": "print('passed', 'OK', '1.0', sep='\\n', flush=True)" + F,
    "JSON on every descriptor": (
        'for fd in range(201):\n    try: os.write(fd, b\'[[true, ""], [true, ""]]\')\n    except OSError: pass'
    )
    + F,
    "pickle on every descriptor": (
        "for fd in range(201):\n    try: os.write(fd, pickle.dumps((True, 1.0)))\n    except OSError: pass"
    )
    + F,
    "answers ahead": """
def put(message):
    body = json.dumps(message).encode()
    for fd in range(3, 201):
        try: os.write(fd, len(body).to_bytes(4, "big") + body)
        except OSError: pass
put({"loaded": True})
for answer in (8461, 9173): put({"value": answer, "args": {"tuple": []}})
"""
    + F,
    "answers with guessed ids": """
def f(x):
    for number in range(200):
        body = json.dumps({"id": str(number), "value": 8461}).encode()
        for fd in range(3, 20):
            try: os.write(fd, len(body).to_bytes(4, "big") + body)
            except OSError: pass
    return 0
""",
    "a verdict for an answer": "def f(x): return [True, '']",
    "a reference that is not": "class A(dict): pass\ndef f(x): return {'ref': 0}",
    "a length that is not": (
        "def f(x):\n    for fd in range(3, 20):\n        try: os.write(fd, b'\\xff' * 8)\n"
        "        except OSError: pass\n    return 0"
    ),
    "descriptors swapped": "for fd in range(3, 20):\n    try: os.dup2(1, fd)\n    except OSError: pass" + F,
    "half an answer": (
        "def f(x):\n    for fd in range(3, 20):\n"
        "        try: os.write(fd, (99).to_bytes(4, 'big') + b'{')\n        except OSError: pass\n"
        "    os._exit(0)"
    ),
    "a constant": "def f(x): return 8461",
    "True": "def f(x): return True",
    "all answers": "def f(x): return [8461, 9173]",
    "text": "def f(x): return '8461'",
    "cyclic": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "deep": "def f(x):\n    a = []\n    for _ in range(100000): a = [a]\n    return a",
    "huge integer": "def f(x): return 10 ** 100000",
    "generator": "def f(x): yield 8461",
}
TABLES = (EXITS, OPERATORS, PATCHES, PEEKS, PIPES)


@pytest.mark.parametrize("source", [pytest.param(s, id=name) for table in TABLES for name, s in table.items()])
def test_a_wrong_function_is_not_taken_for_right(arena, source: str) -> None:
    for style, tests in STYLES.items():
        score = arena.check(HEAD + source, tests, entry_point="f", timeout_s=2.0)
        assert score.value == 0.0, f"{style}: {score.detail}"


@pytest.mark.parametrize("ending", ["sys.exit(0)", "os._exit(0)", "raise ValueError", "1 / 0", "os.abort()"])
def test_a_crash_is_no_none(arena, ending: str) -> None:
    tests = [{"type": "call", "args": [1], "expected": None}]
    assert arena.check(f"import os, sys\ndef f(x): {ending}", tests, entry_point="f").value == 0.0


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (True, 1),
        (False, 0),
        ("1", 1),
        ([True], [1]),
        ({True}, {1}),
        ({True: 2}, {1: 2}),
        (None, False),
        (2, True),
        (1.0, True),
    ],
)
def test_values_of_other_kinds_are_not_equal(arena, returned: object, expected: object) -> None:
    tests = [{"type": "call", "args": [1], "expected": expected}]
    assert arena.check(f"def f(x): return {returned!r}", tests, entry_point="f").value == 0.0


def test_stop_iteration_does_not_end_the_loop_of_a_test(arena) -> None:
    tests = [{"type": "assert", "code": "assert all(map(lambda x: f(x) == x + 1, range(5)))"}]
    assert arena.check("def f(x): raise StopIteration", tests, entry_point="f").value == 0.0
    assert arena.check("def f(x): return x + 1", tests, entry_point="f").value == 1.0


@pytest.mark.parametrize("test", ["f(3) in [1, 2]", "1 in f(3)", "f(3) == 1", "f(3) != 1 and f(3) == 2", "f(3) < 2"])
def test_an_object_of_the_program_does_not_answer_for_a_value(arena, test: str) -> None:
    names = ("eq", "ne", "lt", "le", "gt", "ge", "contains", "hash", "bool")
    source = "class A:\n" + "".join(f"    __{name}__ = lambda *_: 1\n" for name in names) + "def f(x): return A()"
    assert arena.check(source, [{"type": "assert", "code": f"assert {test}"}], entry_point="f").value == 0.0


def test_hostile_attributes_are_data(arena) -> None:
    source = """
class A:
    def __getattribute__(self, name): return 1 if name == "size" else object.__getattribute__(self, name)
    __len__ = lambda self: -1
    __iter__ = lambda self: 5
    __str__ = lambda self: 3
def f(x): return A()
"""
    for test, value in {
        "f(3).size == 2": 0.0,
        "f(3).size == 1": 1.0,
        "len(f(3)) == 3": 0.0,
        "list(f(3)) == [5]": 0.0,
    }.items():
        assert arena.check(source, [{"type": "assert", "code": f"assert {test}"}], entry_point="f").value == value
    assert arena.check(source, [{"type": "assert", "code": "assert str(f(3)) == 3"}], entry_point="f").value == 0.0


def test_programs_do_not_replace_the_builtins_of_the_tests(arena) -> None:
    source = "def sorted(x): return x\ndef abs(x): return 0\ndef f(x): return x"
    tests = [
        {"type": "assert", "code": "assert sorted(f([2, 1])) == f([2, 1])"},
        {"type": "assert", "code": "assert abs(f(3) - 4) < 1"},
    ]
    for test in tests:
        assert arena.check(source, [test], entry_point="f").value == 0.0
        assert arena.check(source, [test]).value == 0.0


CODED = [
    {"fraction": ["1e999999999", None]}, {"range": [1, 2, 3, 4]}, {"ref": -1}, {"ref": "9" * 5000}, {}, [1],
    {"int": "z"}, {"dict": [[{"ref": 0}, 1]]},
    {"set": [{"list": []}]}, {"decimal": "sNaN"}, {"decimal": "1E+999999999"},
    {"iterator": {"int": "1"}}, {"timedelta": ["a"]}, {"datetime": "x"}, {"nonsense": 1}, {"list": 5}, {"float": "nan"},
    {"ListNode": []}, {"ListNode": [[1, 0]]}, {"ListNode": [[1, "x"]]}, {"TreeNode": [[8461, None]]}, {"ListNode": 5},
    {"values": []}, {"values": [{"list": []}]}, {"array": ["|O", {"list": [8461]}]},
    {"array": ["<f8", {"list": ["x"]}]},
    {"list": [], "int": "0x210d"}, {"complex": ["8461", "0"]}, {"bytes": "8461"}, {"tuple": [{"ref": 0}]},
]  # fmt: skip


@pytest.mark.parametrize("coded", CODED, ids=lambda coded: json.dumps(coded)[:30])
def test_a_forged_message_is_no_answer(arena, coded: object) -> None:
    forged = f"sys._getframe(1).f_globals['codec'].encode = lambda *a, **k: {coded!r}"
    source = f"import sys\ndef f(x):\n    {forged}\n    return 0"
    for tests in (CALLS, ASSERTS):
        assert arena.check(source, tests, entry_point="f", timeout_s=0.3).value == 0.0


NODES = {
    "own __eq__": (
        "class ListNode:\n    val, next = 1, None\n    __eq__ = __ne__ = lambda *_: True\ndef f(x): return ListNode()"
    ),
    "val that equals": (
        "class A:\n    __eq__ = lambda *_: True\n    __ne__ = lambda *_: False\n"
        "def f(x): return ListNode(A(), ListNode(A()))"
    ),
    "property": (
        "class ListNode:\n    val = property(lambda self: 8461)\n    next = None\n    def __init__(self): pass\n"
        "def f(x): return ListNode()"
    ),
    "another class of the name": (
        "f = lambda x: type('TreeNode', (), {'__bool__': lambda s: False, '__eq__': lambda *_: True})()"
    ),
    "slots": "class ListNode:\n    __slots__ = ('val', 'next')\ndef f(x): return ListNode()",
    "one that never ends": "def f(x):\n    n = ListNode(8461)\n    n.next = n\n    return n",
    "the same": "def f(x): return x",
    "nothing": "def f(x): return None",
    "helpers of its own": "is_same_list = list_node = lambda *_: True\ndef f(x): return True",
}


@pytest.mark.parametrize("source", NODES.values(), ids=NODES)
def test_forged_nodes_are_no_answer(arena, source: str) -> None:
    header = "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n"
    test = "def check(candidate):\n    assert is_same_list(candidate(list_node([9173])), list_node([8461, 9173]))\n"
    for code in (test, header + test):
        assert arena.check(source, [{"type": "assert", "code": code}], entry_point="f", timeout_s=2.0).value == 0.0


def test_a_forged_message_would_be_read(arena) -> None:
    source = (
        "import sys\ndef f(x):\n"
        "    sys._getframe(1).f_globals['codec'].encode = lambda *a, **k: {'int': '0x7'}\n    return 0"
    )
    assert arena.check(source, [{"type": "assert", "code": "assert f(1) == 7"}], entry_point="f").value == 1.0
