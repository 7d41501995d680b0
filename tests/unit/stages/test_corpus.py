"""Which files a source has, and when the files of a function are written again."""

import os
from pathlib import Path

import pytest

from rlreason.config.corpus import CorpusConfig, CorpusSource
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.stages.corpus import _code_hash, _located, _walk, _with_domains
from rlreason.types import UserError


def test_folders_behind_links_are_searched_and_loops_end(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    for folder in (root / "real", root / ".hidden", other):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text("text")
    (root / ".b.txt").write_text("text")
    (root / "c.txt").symlink_to(other / "a.txt")
    (root / "away").symlink_to(other)
    (root / "real/loop").symlink_to(root)
    (root / "again").symlink_to(root / "real")
    found = sorted(path.relative_to(root).as_posix() for path in _walk(root))
    assert found == ["away/a.txt", "c.txt", "real/a.txt"]


def test_an_edited_function_is_another_source(tmp_path: Path) -> None:
    from rlreason.paths import find_function

    path = tmp_path / "pages.py"
    path.write_text("def write(folder): return []\n")
    before = _code_hash(find_function(f"{path}:write"))
    path.write_text("def write(folder): return [1]\n")
    assert before and _code_hash(find_function(f"{path}:write")) != before
    assert _code_hash(len) == ""


def test_only_arguments_that_do_not_fit_are_called_wrong(tmp_path: Path) -> None:
    (tmp_path / "pages.py").write_text("def write(folder, num): return 'a' + num\n")
    job = Job(name="a", log=RunLog(tmp_path / "run", config_yaml=""), interrupts=Interrupts())

    def located(args: dict[str, int]) -> None:
        _located("s", CorpusSource(generate=f"{tmp_path}/pages.py:write", args=args), job)

    with pytest.raises(UserError, match=r"sources.s: `.*pages.py:write`: wrong `args`: .*'nun'"):
        located({"nun": 1})
    assert not (tmp_path / "run/inputs").exists()
    with pytest.raises(TypeError, match="can only concatenate"):  # its author's own mistake
        located({"num": 1})


def test_the_list_of_domains_is_part_of_what_decides_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "domains.txt"
    path.write_text("bad.org\n")
    keys = {"stage": "corpus", "sources": {"s": {"path": "/data"}}}
    config = CorpusConfig.model_validate({**keys, "url": {"blocked_domains": os.path.relpath(path)}})
    found, digest = _with_domains(config)
    assert found.url is not None and found.url.blocked_domains == str(path) and len(digest) == 64
    plain = CorpusConfig.model_validate(keys)
    assert _with_domains(plain) == (plain, "")
