import json
import os
import random
from pathlib import Path

import pytest

import rlreason
from rlreason.config.corpus import CorpusConfig
from rlreason.data.corpus.records import Record
from rlreason.data.corpus.units import (
    UNIT_BYTES,
    InputFile,
    Samples,
    _judged,
    clean_unit,
    group_files,
    order_of,
    remove_folder,
    schema,
)
from rlreason.types import UserError


def config(**keys: object) -> CorpusConfig:
    return CorpusConfig.model_validate({"stage": "corpus", "sources": {"s": {"path": "/data"}}} | keys)


def input_file(name: str, num_bytes: int) -> InputFile:
    return InputFile(source="s", path=f"/data/{name}", num_bytes=num_bytes, modified_ns=1)


def test_small_files_share_a_unit_and_a_large_one_ends_it() -> None:
    least = UNIT_BYTES[0]
    files = [input_file("a", least // 2), input_file("b", least // 2), input_file("c", 3 * least), input_file("d", 1)]
    units = group_files(files, config(), "")
    assert [[file.path[-1] for file in unit.files] for unit in units] == [["a", "b"], ["c"], ["d"]]
    assert len({unit.name for unit in units}) == 3


def test_a_units_name_changes_with_whatever_decides_its_rows_and_with_nothing_else() -> None:
    files = [input_file("a", 1)]
    [plain] = group_files(files, config(), "")
    assert group_files(files, config(cpus=0.5, rows_per_file=3), "") == [plain]
    for changed in (
        group_files([input_file("a", 2)], config(), ""),
        group_files(files, config(seed=1), ""),
        group_files(files, config(c4=None), ""),
        group_files(files, config(), "another benchmark"),
    ):
        assert changed[0].name != plain.name


def test_samples_are_the_same_in_any_order_and_in_any_parts() -> None:
    rows = [{"id": f"s/a#{n}", "url": "", "reason": "r", "text": "x" * 900} for n in range(300)]
    whole, parts = Samples(5, seed=3), Samples(5, seed=3)
    for row in rows:
        whole.add("c4", row)
    random.Random(0).shuffle(rows)
    for start in range(0, 300, 50):
        part = Samples(5, seed=3)
        for row in rows[start : start + 50]:
            part.add("c4", row)
        parts.merge(part.rows())
    assert parts.rows() == whole.rows()
    found = whole.rows()["c4"]
    assert [row["id"] for row in found] == sorted((row["id"] for row in rows), key=lambda id: order_of(3, id))[:5]
    assert {len(row["text"]) for row in found} == {500}


def test_a_unit_accounts_for_every_record_and_appears_whole(tmp_path: Path) -> None:
    pages = tmp_path / "pages.jsonl"
    pages.write_text('{"text": "Too short."}\n{"text": \n{"text": "Short as well."}\n')
    size = pages.stat().st_size
    [unit] = group_files([InputFile(source="s", path=str(pages), num_bytes=size, modified_ns=1)], config(), "")
    rules = config(language=None, gopher_repetition=None)
    summary = clean_unit(unit, rules.sources, rules, None, tmp_path)
    assert summary["counts"] == {"gopher_quality": 2, "broken": 1}
    assert [file["bytes"] for file in summary["files"]] == [size]
    assert sorted(path.name for path in (tmp_path / unit.name).iterdir()) == [
        "aside.jsonl",
        "documents.parquet",
        "summary.json",
    ]
    assert len((tmp_path / unit.name / "aside.jsonl").read_text().splitlines()) == 1
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert summary["changes"] == {}


def test_a_record_that_a_library_cannot_take_is_broken_and_not_fatal() -> None:
    off = dict.fromkeys(("language", "gopher_repetition", "gopher_quality", "c4", "fineweb"))
    row, keys = _judged(Record(id="s/a#0", source="s", payload="half a character \ud800"), config(**off), None)
    assert (row["dropped_by"], row["id"], row["text"], keys) == ("broken", "s/a#0", "", [])
    assert row["reason"].startswith("UnicodeEncodeError: ")
    row, keys = _judged(Record(id="s/a#1", source="s", payload="a whole one"), config(**off), None)
    assert row["dropped_by"] is None and keys


def test_a_mistake_of_the_users_is_no_broken_record(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="url.blocked_domains"):
        _judged(Record(id="s/a#0", source="s"), config(url={"blocked_domains": str(tmp_path / "gone")}), None)


def test_a_units_name_changes_with_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [input_file("a", 1)]
    before = group_files(files, config(), "")
    monkeypatch.setattr(rlreason, "__version__", "999")
    assert group_files(files, config(), "") != before


def test_names_that_are_not_utf8_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff.txt")
    path.write_text("Short.")
    [unit] = group_files([InputFile(source="s", path=str(path), num_bytes=6, modified_ns=1)], config(), "")
    summary = clean_unit(unit, config().sources, config(), None, tmp_path)
    assert summary["files"][0]["path"].endswith("/a%FF.txt")
    json.dumps(summary, ensure_ascii=False).encode()


def test_text_of_more_than_two_gib_has_room() -> None:
    assert str(schema(config()).field("text").type) == "large_string"


def test_a_folder_that_is_half_removed_is_out_of_the_way(tmp_path: Path) -> None:
    (tmp_path / ".removing-work").mkdir()
    (tmp_path / ".removing-work/left").write_text("by one that was killed")
    (tmp_path / "work/unit").mkdir(parents=True)
    remove_folder(tmp_path / "work")
    remove_folder(tmp_path / "work")
    assert list(tmp_path.iterdir()) == []
