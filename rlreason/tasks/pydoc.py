"""Web pages that are on every machine: pydoc's documentation of installed packages, written into WARC files.

Each module, class and function is one page, as `pydoc -w` writes them, headings and links and all; the standard library
brings the topics of the language reference as well. Modules are imported in a child process with an empty environment,
and what would differ between machines is left out: values of data, paths, addresses in memory. The same packages give
the same bytes. Does not render tests, private names, what has no docstring, or what cannot be imported.
"""

import inspect
import io
import json
import os
import pkgutil
import pydoc
import random
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from rlreason.types import RunError, UserError

STDLIB = "stdlib"
"""Stands for all modules of the standard library in a list of packages."""
DEFAULT_PACKAGES = (STDLIB, "networkx", "jinja2", "click", "fsspec")
URL = "http://localhost/pydoc/"
DATE = "2025-01-01T00:00:00Z"
FILE_BYTES = 1 << 20
"""A WARC file ends after so much HTML: the unit of work of the corpus stage."""
TIMEOUT_S = 300.0

# They draw windows, open browsers, print poems, or are no documentation at all.
_SKIPPED = {"antigravity", "this", "test", "tests", "testing", "conftest", "setup", "idlelib", "turtle", "turtledemo"}
_SKIPPED |= {"tkinter", "lib2to3", "ensurepip", "msilib", "encodings", "distutils"}
_TYPED = re.compile(r"^(\s|[-*+>=|.]|\d+[.)] )", re.MULTILINE)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def write_warc(
    folder: Path, *, packages: Sequence[str] = DEFAULT_PACKAGES, limit_bytes: int | None = None, seed: int = 0
) -> list[Path]:
    """Writes `pydoc-000.warc.gz` and so on into `folder`: one response record a page, in an order drawn by `seed`.

    `limit_bytes`: stop after so many bytes of HTML. Raises UserError for a package that is not installed or ends the
    process, RunError where rendering takes longer than five minutes.
    """
    for name in packages:
        if name != STDLIB and not _is_installed(name):
            raise UserError(f"pydoc: there is no package `{name}` here; install it, or take it out of `packages`")
    folder.mkdir(parents=True, exist_ok=True)
    order = {"folder": str(folder.resolve()), "packages": list(packages), "limit_bytes": limit_bytes, "seed": seed}
    # Sets print in the order of their hashes; packages read the environment, and pages would show it.
    environment = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
    environment["PYTHONPATH"] = f"{Path(__file__).parents[3]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with tempfile.TemporaryDirectory() as empty:
        words = [sys.executable, "-P", "-W", "ignore", "-m", "rlreason.tasks.pydoc", json.dumps(order)]
        try:
            done = subprocess.run(
                words, cwd=empty, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise RunError(f"pydoc: rendering {', '.join(packages)} took longer than {TIMEOUT_S:g} s") from None
    names = done.stdout.decode().splitlines()
    if done.returncode or not names:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        raise UserError(f"pydoc: rendering {', '.join(packages)} failed: {last}; take that one out of `packages`")
    return [folder / name for name in names]


def _is_installed(name: str) -> bool:
    return name.isidentifier() and any(module.name == name for module in pkgutil.iter_modules())


class _Pages(pydoc.HTMLDoc):
    """pydoc's own pages, without what depends on the machine, and with paragraphs for browsers to wrap.

    pydoc types each docstring's lines as they stand, with spaces that do not break.
    """

    def markup(self, text: str, escape: Any = None, *links: Any) -> str:
        if escape != self.preformat:
            return str(super().markup(text, escape, *links))
        blocks = []
        for block in re.split(r"\n\s*\n", text.expandtabs().strip("\n")):
            # Examples, lists, tables and underlined headings stay as they are typed.
            tag = "pre" if _TYPED.search(block) else "p"
            blocks.append(f"<{tag}>{super().markup(block, self.escape, *links)}</{tag}>")
        return "\n".join(blocks)

    def docmodule(self, object: Any, *_: Any) -> str:
        """What the module says of itself; its classes and functions have pages of their own."""
        return self.section("Description", "title", self.markup(inspect.getdoc(object) or "", self.preformat))

    def docclass(self, object: Any, name: str | None = None, *_: Any) -> str:
        """Its own documented members alone: pydoc repeats those of all base classes on every page."""
        bases = ", ".join(self.classlink(base, object.__module__) for base in object.__bases__)
        parts = [self.markup(inspect.getdoc(object) or "", self.preformat)]
        for key, value in vars(object).items():
            member = getattr(value, "__func__", value)
            if key.startswith("_") or not inspect.getdoc(member):
                continue
            if inspect.isroutine(member):
                parts.append(self.docroutine(member, key, None, {}, {}, {}, object))
            elif inspect.isdatadescriptor(member):
                parts.append(self.docdata(member, key))
        return self.section(f"class <strong>{name or object.__name__}</strong>({bases})", "title", "\n".join(parts), 3)


def _render(packages: Sequence[str], seed: int) -> Iterator[tuple[str, str]]:
    """(address, HTML) of each page."""
    pages = _Pages()
    objects = _objects([name for package in packages for name in _module_names(package)])
    topics = _topics() if STDLIB in packages else {}
    keys = sorted({*objects, *(f"topics/{name}" for name in topics)})
    random.Random(seed).shuffle(keys)
    for key in keys:
        if key.startswith("topics/"):
            title, body = key, pages.section(key, "title", pages.markup(topics[key[7:]], pages.preformat))
        else:
            try:
                title, body = pydoc.describe(objects[key]), pages.document(objects[key], key.rpartition(".")[2])
            except (AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError):
                continue  # an object of theirs that cannot be looked at
        head = pages.heading(f"<strong>{key}</strong>", '<a href=".">index</a><br>' + _parents(key))
        html = _ADDRESS.sub("", pages.page(title, head + body))
        for place in (sys.prefix, sys.base_prefix):
            html = html.replace(place, "/usr")
        yield f"{URL}{key}.html", html


def _objects(modules: list[str]) -> dict[str, Any]:
    """What has a docstring, by its name in the first module that it is found in."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for name in modules:
        module = sys.modules.get(name)
        if module is None:
            continue  # it has put something else in its place
        found[name] = module
        public = getattr(module, "__all__", ())
        for key, value in sorted(vars(module).items()):
            is_own = getattr(value, "__module__", None) == name or key in public
            is_documented = (inspect.isclass(value) or inspect.isroutine(value)) and inspect.getdoc(value)
            if is_own and is_documented and not key.startswith("_") and id(value) not in seen:
                seen.add(id(value))
                found[f"{name}.{key}"] = value
    return found


def _parents(key: str) -> str:
    parts = key.split(".")
    return " ".join(f'<a href="{".".join(parts[:end])}.html">{part}</a>' for end, part in enumerate(parts, start=1))


def _module_names(package: str) -> list[str]:
    roots = sorted(sys.stdlib_module_names) if package == STDLIB else [package]
    found = []
    for root in roots:
        module = _imported(root) if _is_wanted(root) else None
        if module is None:
            continue
        found.append(root)
        if hasattr(module, "__path__"):
            found += _children(module.__path__, root)
    return found


def _children(paths: Sequence[str], parent: str) -> list[str]:
    found = []
    for info in pkgutil.iter_modules(paths):
        name = f"{parent}.{info.name}"
        module = _imported(name) if _is_wanted(info.name) else None
        if module is None:
            continue
        found.append(name)
        if info.ispkg and hasattr(module, "__path__"):
            found += _children(module.__path__, name)
    return found


def _is_wanted(name: str) -> bool:
    return not name.startswith("_") and name not in _SKIPPED and not name.startswith("test_")


def _imported(name: str) -> ModuleType | None:
    try:
        module = pydoc.safeimport(name)
    except pydoc.ErrorDuringImport:
        return None
    return module if isinstance(module, ModuleType) else None


def _topics() -> dict[str, str]:
    """The language reference, as `help("LOOPING")` shows it."""
    from pydoc_data.topics import topics

    return topics


def _write(pages: Iterator[tuple[str, str]], folder: Path, limit_bytes: int | None) -> list[str]:
    """Names of the files."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    names: list[str] = []
    total_bytes, file_bytes = 0, FILE_BYTES
    with ExitStack() as files:
        for url, html in pages:
            body = html.encode("utf-8", errors="replace")
            if limit_bytes is not None and total_bytes and total_bytes + len(body) > limit_bytes:
                break
            if file_bytes >= FILE_BYTES:
                names.append(f"pydoc-{len(names):03d}.warc.gz")
                files.close()
                writer = WARCWriter(files.enter_context((folder / names[-1]).open("wb")), gzip=True)
                file_bytes = 0
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            identity = {"WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>", "WARC-Date": DATE}
            record = writer.create_warc_record(
                url, "response", payload=io.BytesIO(body), http_headers=headers, warc_headers_dict=identity
            )
            writer.write_record(record)
            total_bytes, file_bytes = total_bytes + len(body), file_bytes + len(body)
    return names


def _main() -> None:
    """The child process. What the packages print at import goes nowhere; the files' names go to stdout."""
    order = json.loads(sys.argv[1])
    os.environ.clear()  # default values of arguments show it
    os.environ["HOME"] = "/"
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    names = _write(_render(order["packages"], order["seed"]), Path(order["folder"]), order["limit_bytes"])
    os.write(answer, "\n".join(names).encode())
    # Threads and exit handlers of a hundred packages have nothing to say.
    os._exit(0)


if __name__ == "__main__":
    _main()
