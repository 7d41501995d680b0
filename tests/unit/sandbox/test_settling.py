"""Changes of a call are seen from the next statement on, by whom it concerns."""

import ast
from typing import Any

import pytest

from rlreason.sandbox.settling import FILE_NAME, SETTLE, running, settling


def order_of(code: str) -> list[Any]:
    """What the code marks, and None for each call of SETTLE."""
    marked: list[Any] = []
    scope = {SETTLE: lambda: marked.append(None), "mark": marked.append}
    exec(compile(settling(ast.parse(code)), FILE_NAME, "exec"), scope)
    return marked


@pytest.mark.parametrize(
    ("code", "order"),
    [
        ("mark(1); mark(2)", [None, 1, None, 2]),
        ("mark([mark(1), mark(2)])", [None, 1, 2, [None, None]]),
        ("if mark(1): pass\nelif not mark(2): mark(3)", [None, 1, None, 2, None, 3]),
        ("for _ in 1, 2: mark(1)", [None, None, 1, None, 1]),
        ("try:\n    mark(1 / 0)\nexcept ZeroDivisionError: mark(2)\nfinally: mark(3)", [None, None, None, 2, None, 3]),
        ("match mark(1):\n    case None: mark(2)", [None, 1, None, 2]),
        ("(lambda: mark(1))()", [None, 1]),
        ("def f():\n    '''Doc.'''\n    return mark(1)\nmark(f.__doc__)\nf()", [None, None, "Doc.", None, None, 1]),
        ("'''Doc.'''\nfrom __future__ import annotations\nmark(__doc__)", [None, "Doc."]),
    ],
)
def test_each_statement_settles_first(code: str, order: list[Any]) -> None:
    assert order_of(code) == order


def test_the_frames_of_the_tests_are_known_by_their_file() -> None:
    scope: dict[str, Any] = {"running": running, "sys": __import__("sys")}
    exec(compile("def f(): return running(sys._getframe())\nfound = f()", FILE_NAME, "exec"), scope)
    assert sorted(frame.f_code.co_name for frame in scope["found"]) == ["<module>", "f"]
