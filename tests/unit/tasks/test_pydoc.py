from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator

from rlreason.data.corpus.extract import extract
from rlreason.tasks.pydoc import URL, write_warc
from rlreason.types import UserError


def pages(files: list[Path]) -> dict[str, str]:
    found = {}
    for path in files:
        with path.open("rb") as file:
            for record in ArchiveIterator(file, parse_http=True):
                assert record.http_headers.status_code == 200
                found[record.headers["WARC-Target-URI"].removeprefix(URL)] = record.reader.read().decode()
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_warc(tmp_path_factory.mktemp("pydoc"), packages=["click"])


def test_a_package_is_a_page_for_each_module_class_and_function(written: list[Path]) -> None:
    found = pages(written)
    assert {"click.html", "click.core.Context.html", "click.utils.echo.html"} <= found.keys()
    assert not [name for name in found if "_compat" in name]
    echo = found["click.utils.echo.html"]
    assert "<title>" in echo and 'href="click.html"' in echo
    text = extract(echo, "resiliparse")
    assert "Print a message and newline to stdout or a file." in text
    assert "\xa0" not in text.partition("Print")[2]


def test_the_same_package_gives_the_same_bytes_whatever_the_environment(
    written: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLREASON_SECRET", "hunter2")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    again = write_warc(tmp_path / "again", packages=["click"])
    assert [path.name for path in again] == [path.name for path in written]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]
    whole = "".join(pages(again).values())
    assert "hunter2" not in whole and str(tmp_path) not in whole and " at 0x" not in whole


def test_the_limit_ends_the_pages_and_the_seed_chooses_them(tmp_path: Path) -> None:
    first, second = (
        pages(write_warc(tmp_path / str(seed), packages=["click"], limit_bytes=20_000, seed=seed)) for seed in (0, 1)
    )
    for found in (first, second):
        assert 1 < len(found) < 40 and sum(map(len, found.values())) <= 20_000
    assert set(first) != set(second)


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no package `clikc` here"):
        write_warc(tmp_path, packages=["clikc"])


def test_a_package_that_ends_the_process_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends_all").mkdir()
    (tmp_path / "ends_all/__init__.py").write_text("import os; os._exit(3)")
    (tmp_path / "prints_all").mkdir()
    (tmp_path / "prints_all/__init__.py").write_text('"""It talks at import."""\nprint("pydoc-999.warc.gz")')
    (tmp_path / "prints_all/raises.py").write_text("raise SystemExit(1)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="rendering ends_all failed: exit status 3"):
        write_warc(tmp_path / "out", packages=["ends_all"])
    found = write_warc(tmp_path / "out", packages=["prints_all"])
    assert list(pages(found)) == ["prints_all.html"]
