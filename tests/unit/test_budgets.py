"""The budgets of CONTRIBUTING.md, read off the syntax tree of every file in `rlreason/`.

Each check maps {path: source} to a list of faults, so that the same function runs on the package and on a planted
bad file. Import direction is import-linter's business, not this file's.
"""

import ast
import graphlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

Sources = dict[str, str]
"""{"rlreason/stages/rl.py": source text}."""
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_LINES = 500
MAX_LOOP_FILE_LINES = 300
LOOP_FILE = "rlreason/stages/rl.py"
MAX_FUNCTION_LINES = 80
MIN_RETURN_TYPES_PERCENT = 95
MAY_CATCH_ALL = (
    *("rlreason/rewards/", "rlreason/sandbox/", "rlreason/paths.py"),  # where user code runs
    "rlreason/workers/_compat.py",  # where Ray raises no more than Exception
)


def package_sources() -> Sources:
    return {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in sorted(ROOT.glob("rlreason/**/*.py"))}


def functions(sources: Sources) -> Iterator[tuple[str, FunctionNode]]:
    for path, source in sources.items():
        for node in ast.walk(ast.parse(source, path)):
            if isinstance(node, FunctionNode):
                yield path, node


def long_files(sources: Sources) -> list[str]:
    faults = []
    for path, source in sources.items():
        num_lines = len(source.splitlines())
        limit = MAX_LOOP_FILE_LINES if path == LOOP_FILE else MAX_FILE_LINES
        if num_lines > limit:
            faults.append(f"{path}: {num_lines} lines, at most {limit}")
    return faults


def long_functions(sources: Sources) -> list[str]:
    faults = []
    for path, node in functions(sources):
        assert node.end_lineno is not None
        num_lines = node.end_lineno - node.lineno + 1
        if num_lines > MAX_FUNCTION_LINES:
            faults.append(f"{path}:{node.lineno} {node.name}: {num_lines} lines, at most {MAX_FUNCTION_LINES}")
    return faults


def missing_return_types(sources: Sources) -> list[str]:
    found = list(functions(sources))
    bare = [f"{path}:{node.lineno} {node.name}: no return type" for path, node in found if node.returns is None]
    percent = 100 * (1 - len(bare) / len(found)) if found else 100.0
    if percent >= MIN_RETURN_TYPES_PERCENT:
        return []
    return [*bare, f"{percent:.1f} % of {len(found)} functions have one, at least {MIN_RETURN_TYPES_PERCENT} %"]


def catch_all(sources: Sources) -> list[str]:
    faults = []
    for path, source in sources.items():
        if path.startswith(MAY_CATCH_ALL):
            continue
        for handler in ast.walk(ast.parse(source, path)):
            if not isinstance(handler, ast.ExceptHandler):
                continue
            caught = ast.unparse(handler.type) if handler.type else "bare except"
            names = {name.strip() for name in caught.strip("()").split(",")}
            for name in sorted(names & {"bare except", "Exception", "BaseException"}):
                faults.append(f"{path}:{handler.lineno}: catches everything ({name}); name what can happen")
    return faults


def unfinished_marks(sources: Sources) -> list[str]:
    return [
        f"{path}:{number}: {mark[0]}"
        for path, source in sources.items()
        for number, line in enumerate(source.splitlines(), start=1)
        if (mark := re.search(r"\b(TODO|FIXME|XXX)\b", line))
    ]


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports_at_load(nodes: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run when the module is loaded: not those in functions, nor those under TYPE_CHECKING."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            yield from imports_at_load(node.orelse)
        elif not isinstance(node, FunctionNode):
            yield from imports_at_load(ast.iter_child_nodes(node))


def imported_modules(module: str, is_package: bool, source: str, known: set[str]) -> set[str]:
    """Modules of `known` that loading `module` loads, by the names in its own import lines."""
    loaded = set()
    for node in imports_at_load(ast.parse(source, module).body):
        if isinstance(node, ast.Import):
            loaded |= {alias.name for alias in node.names}
            continue
        parts = module.split(".")
        parents = parts[: len(parts) - node.level + is_package] if node.level else []
        base = ".".join([*parents, *([node.module] if node.module else [])])
        loaded |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
    return (loaded & known) - {module}


def import_cycles(sources: Sources) -> list[str]:
    names = {path: path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources}
    known = set(names.values())
    graph = {
        names[path]: imported_modules(names[path], path.endswith("/__init__.py"), source, known)
        for path, source in sources.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["import cycle: " + " <- ".join(error.args[1])]
    return []


CHECKS = [long_files, long_functions, missing_return_types, catch_all, unfinished_marks, import_cycles]


@pytest.mark.parametrize("check", CHECKS)
def test_the_package_keeps_its_budgets(check: Callable[[Sources], list[str]]) -> None:
    sources = package_sources()
    assert "rlreason/types.py" in sources
    faults = check(sources)
    assert not faults, "\n" + "\n".join(faults)


LONG_FUNCTION = "def f() -> None:\n" + "    pass\n" * 80
PLANTED: list[tuple[Callable[[Sources], list[str]], Sources, str]] = [
    (long_files, {"rlreason/a.py": "x = 1\n" * 501}, "rlreason/a.py: 501 lines"),
    (long_files, {LOOP_FILE: "x = 1\n" * 301}, f"{LOOP_FILE}: 301 lines"),
    (long_functions, {"rlreason/a.py": LONG_FUNCTION}, "rlreason/a.py:1 f: 81 lines"),
    (long_functions, {"rlreason/a.py": "async " + LONG_FUNCTION}, "rlreason/a.py:1 f: 81 lines"),
    (missing_return_types, {"rlreason/a.py": "def f():\n    pass"}, "rlreason/a.py:1 f: no return type"),
    (catch_all, {"rlreason/a.py": "try:\n    f()\nexcept Exception:\n    pass"}, "rlreason/a.py:3: catches"),
    (catch_all, {"rlreason/a.py": "try:\n    f()\nexcept:\n    pass"}, "bare except"),
    (catch_all, {"rlreason/a.py": "try:\n    f()\nexcept (OSError, BaseException):\n    pass"}, "BaseException"),
    (unfinished_marks, {"rlreason/a.py": "x = 1\n# TODO: more"}, "rlreason/a.py:2: TODO"),
    (import_cycles, {"rlreason/a.py": "import rlreason.b", "rlreason/b.py": "from rlreason import a"}, "rlreason.a"),
    (import_cycles, {"rlreason/p/__init__.py": "from .q import x", "rlreason/p/q.py": "from . import y"}, "cycle"),
    (import_cycles, {"rlreason/a.py": "if x:\n    import rlreason.b", "rlreason/b.py": "import rlreason.a"}, "cycle"),
]


@pytest.mark.parametrize(("check", "sources", "expected"), PLANTED)
def test_a_planted_fault_is_found(check: Callable[[Sources], list[str]], sources: Sources, expected: str) -> None:
    faults = check(sources)
    assert any(expected in fault for fault in faults), faults


METHOD_IMPORT = "class A:\n    def f(self):\n        import rlreason.b"
ALLOWED: list[tuple[Callable[[Sources], list[str]], Sources]] = [
    (long_files, {"rlreason/a.py": "x = 1\n" * 500, LOOP_FILE: "x = 1\n" * 300}),
    (long_functions, {"rlreason/a.py": "def f() -> None:\n" + "    pass\n" * 79}),
    (catch_all, {"rlreason/rewards/a.py": "try:\n    f()\nexcept Exception:\n    pass"}),
    (catch_all, {"rlreason/a.py": "try:\n    f()\nexcept (OSError, ValueError):\n    pass"}),
    (import_cycles, {"rlreason/a.py": "def f():\n    import rlreason.b", "rlreason/b.py": "import rlreason.a"}),
    (import_cycles, {"rlreason/a.py": METHOD_IMPORT, "rlreason/b.py": "import rlreason.a"}),
    (
        import_cycles,
        {"rlreason/a.py": "if TYPE_CHECKING:\n    import rlreason.b", "rlreason/b.py": "import rlreason.a"},
    ),
    (import_cycles, {"rlreason/p/__init__.py": "from .q import x", "rlreason/p/q.py": "from .r import y"}),
]


@pytest.mark.parametrize(("check", "sources"), ALLOWED)
def test_what_is_just_within_a_budget_passes(check: Callable[[Sources], list[str]], sources: Sources) -> None:
    assert check(sources) == []
