"""Files of JSON and CSV as they are written: spelling, endings, encodings, and what is told with its line."""

import gzip
import json
import lzma
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from rlreason.config.data import DataConfig
from rlreason.data.rows import fingerprint, load_rows, open_rows
from rlreason.types import UserError

ROWS = [{"prompt": "3+4=", "answer": "7"}, {"prompt": "\u00e9=", "answer": "5"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # the same name of a test in every process


def zstd(data: bytes) -> bytes:
    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


def read(path: Path) -> list[dict[str, Any]]:
    return load_rows(DataConfig(path=str(path)))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    text = str(error.value)
    assert "\n" not in text and str(path) in text
    return text


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.ndjson", LINES.encode()),
        ("A.JSONL", LINES.encode()),
        ("a.jsonl.gz", gz(LINES.encode())),
        ("a.JSONL.GZ", gz(LINES.encode())),
        ("a.jsonl.zst", zstd(LINES.encode())),
        ("a.jsonl.xz", lzma.compress(LINES.encode())),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
        ("a.jsonl.gz", gz(b"\xef\xbb\xbf" + LINES.encode())),
        ("a.jsonl", LINES.encode("utf-16")),
        ("a.jsonl", LINES.replace("\n", "\r\n\r\n").encode()),
        ("a.jsonl", LINES.rstrip().encode()),
        ("a.json", LINES.encode()),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(ROWS, indent=2).encode("utf-16")),
        ("a.json.gz", gz(json.dumps(ROWS, indent=2).encode())),
        ("a.json", "".join(json.dumps(row, indent=2) for row in ROWS).encode()),
        ("a.csv", "prompt,answer\n3+4=,7\n\u00e9=,5\n".encode()),
        ("A.CSV", b"\xef\xbb\xbf" + 'prompt,answer\r\n"3+4=",7\r\n\r\n\u00e9=,5\r\n'.encode()),
        ("a.tsv.gz", gz("prompt\tanswer\n3+4=\t7\n\u00e9=\t5\n".encode())),
    ],
)
def test_the_forms_of_a_file_give_the_same_rows(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path / name) == ROWS
    sliced = open_rows(DataConfig(path=str(tmp_path / name), split="train[1:]"))
    assert list(sliced) == ROWS[1:] and sliced[0] == sliced[-1] == ROWS[1]


def test_numbers_print_as_they_are_spelled_and_are_numbers(tmp_path: Path) -> None:
    spellings = ["7", "7.5", "7.0", "1e5", "1E+2", "-0", "-0.0", "0.10", "9" * 30, "9" * 5000, "1e999", "true", "null"]
    (tmp_path / "a.jsonl").write_text("".join(f'{{"n": {text}, "in": [{{"n": {text}}}]}}\n' for text in spellings))
    rows = read(tmp_path / "a.jsonl")
    assert [str(row["n"]) for row in rows[:-2]] == [f"{row['in'][0]['n']}" for row in rows[:-2]] == spellings[:-2]
    for row, text in zip(rows, spellings, strict=True):
        sent = pickle.loads(pickle.dumps(row))["n"]
        assert sent == row["n"]
        if text not in ("9" * 5000, "-0"):
            assert sent == json.loads(text) and type(sent) is type(json.loads(text))
    assert json.dumps(rows[2]) == '{"n": 7.0, "in": [{"n": 7.0}]}' and f"{rows[3]['n']:.1f}" == "100000.0"


def test_rows_are_independent_of_one_another(tmp_path: Path) -> None:
    """Null first and text a million characters on; dates among text; keys that only some rows have."""
    rows = [{"a": None}, {"a": "x" * (11 << 20)}, {"a": "2024-01-01"}, {"a": [1]}, {"b": 1}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(tmp_path / "a.jsonl") == rows


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b'{"a": 1}\n\n{"a": \n{"a": 3}\n', "line 3: cannot be read: not JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": "x', "line 2: cannot be read: not JSON"),
        ("a.jsonl", b'{"a": 1}\n[1, 2]\n', "line 2: cannot be read: a row is to be a JSON object"),
        ("a.jsonl", b'{"a": 1, "a": 2}\n', "line 1: cannot be read: one object has the key `a` twice"),
        ("a.jsonl", b'{"a": "\\ud800"}\n', "line 1: cannot be read: holds half a character"),
        ("a.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}\n', "line 2: cannot be read: byte 0xe9 is no UTF-8"),
        ("a.jsonl", b'{"a": 1}\n' + b"[" * 100_000, "line 2: cannot be read"),
        ("a.json", b'[\n{"a": 1},\n{"a": }]', "line 3: cannot be read: not JSON"),
        ("a.json", b'[\n{"a": 1},\n', "line 3: cannot be read: not JSON"),
        ("a.json", b'[{"a": 1}\n', "cannot be read: not JSON"),
        ("a.json", b'[{"a": 1}] 2', "line 1: cannot be read: not JSON: Extra data"),
        ("a.json", b'{\n"a": "caf\xe9"}', "line 2: cannot be read: byte 0xe9"),
        ("a.json", b'{\n"a": 1,\n"a": 2}', "cannot be read: one object has the key `a` twice"),
        ("a.json", b"[1, 2]", "row 0: cannot be read: a row is to be a JSON object"),
        ("a.csv", b"p,a\n1,2\ncaf\xe9,3\n", "line 3: cannot be read: byte 0xe9"),
        ("a.csv", b"p,a\n1,2\n1\n", "line 3: cannot be read: 1 cells"),
        ("a.csv", b'p,a\n1,"2\n', "line 2: cannot be read"),
        ("a.jsonl.gz", gz(LINES.encode())[:-9], "cannot be read"),
        ("a.jsonl.gz", LINES.encode(), "cannot be read"),
        ("a.jsonl.zst", LINES.encode(), "cannot be read"),
        ("a.jsonl.xz", LINES.encode(), "cannot be read"),
        ("a.jsonl", b"\xff\xfe" + LINES.encode("utf-16-le")[:-1], "cannot be read"),
        ("a.jsonl", zlib.compress(LINES.encode()), "line 1: cannot be read"),
        ("a.txt", LINES.encode(), "its ending is none of .jsonl"),
        ("a", LINES.encode(), "its ending is none of .jsonl"),
        ("a.jsonl.zip", LINES.encode(), "its ending is none of .jsonl"),
        ("a.parquet.gz", LINES.encode(), "its ending is none of .jsonl"),
        ("a.parquet", LINES.encode(), "cannot be read"),
        ("a.jsonl", b"\n\n", "no rows"),
        ("a.csv", b"p,a\n", "no rows"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert says in refusal(tmp_path / name)


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to("a.jsonl")
    assert "no such file" in refusal(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *((folder, "r[0].jsonl") for folder in ("x[1]", "a*", "b?", "{c}", "d e", "[ab]*", "~")),
        ("x[1]", "r*.jsonl"), ("a*", "r[2].csv"), ("[ab]*", "r[1]?.parquet"),
    ],
)  # fmt: skip
def test_signs_of_patterns_in_a_path_are_literal(
    tmp_path: Path, folder: str, name: str, write: Callable[[Path, list[dict[str, Any]]], None]
) -> None:
    (tmp_path / folder).mkdir()
    for other in ("x1", "ab", "bc", "a", "b"):
        (tmp_path / other).mkdir()
        write(tmp_path / other / name.replace("[", "").replace("]", "").replace("*", "0").replace("?", "0"), ROWS[1:])
    write(tmp_path / folder / name, ROWS[:1])
    assert read(tmp_path / folder / name) == ROWS[:1]
    assert read(tmp_path / folder) == ROWS[:1]
    assert fingerprint(DataConfig(path=str(tmp_path / folder))) == fingerprint(
        DataConfig(path=str(tmp_path / folder / name))
    )


@pytest.fixture
def write() -> Callable[[Path, list[dict[str, Any]]], None]:
    def written(path: Path, rows: list[dict[str, Any]]) -> None:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        elif path.suffix == ".csv":
            path.write_text("prompt,answer\n" + "".join(f"{row['prompt']},{row['answer']}\n" for row in rows))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return written
