"""Where a test sees what a call left in its arguments: from the next statement on, never within the one that calls.

Else a program that empties its argument passes `assert f(a) == sorted(a)` with an empty list. Lambdas and
comprehensions belong to the statement they stand in. Each statement of a helper function sees what its earlier ones
changed, but not what the statement that called the helper did before the call.
"""

import ast
import types
from collections.abc import Iterator

FILE_NAME = "test"
"""Of the tests' code; its frames are known by it."""
SETTLE = "__settle__"


def running(frame: types.FrameType | None) -> set[types.FrameType]:
    """The frames of the tests among this one and its callers."""
    found = set()
    while frame is not None:
        if frame.f_code.co_filename == FILE_NAME:
            found.add(frame)
        frame = frame.f_back
    return found


def settling(tree: ast.Module) -> ast.Module:
    """The tree, changed in place, with a call of SETTLE before each statement."""
    tree.body = list(_block(tree.body))
    return tree


def _block(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        for part in (statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            for name in ("body", "orelse", "finalbody"):
                if inner := getattr(part, name, None):
                    setattr(part, name, list(_block(inner)))
        if not _comes_first(statement):
            call = ast.Expr(ast.Call(ast.Name(SETTLE, ast.Load()), [], []))
            yield ast.fix_missing_locations(ast.copy_location(call, statement))
        yield statement


def _comes_first(statement: ast.stmt) -> bool:
    """True for a docstring or `from __future__`, before which nothing may stand."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return isinstance(statement.value.value, str)
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
