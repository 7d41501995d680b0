"""JSON and CSV files as rows that are parsed when they are asked for. Nothing is guessed.

A number prints as the file spells it (`1e5`, `7.0`, integers of any length); the cells of CSV are text; rows need not
have the same keys. Compressed files, UTF-16, CSV and arrays of JSON are first copied to a temporary file. Raises
UserError with the file and the line.
"""

import codecs
import csv
import io
import json
import os
import re
import shutil
import sys
import tempfile
from array import array
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from rlreason.data.corpus.encoding import BOMS
from rlreason.data.corpus.records import COMPRESSIONS, TORN, opened
from rlreason.types import UserError, first_line

Row = dict[str, Any]
MAX_DIGITS = 4000
"""Of an integer that Python reads and prints by itself; it refuses longer ones, for the time that they take."""
SPACE = re.compile(r"[ \t\r\n]*")


class Spelled(float):
    """A number that prints as its file spells it; a plain float in a copy or another process."""

    text: str

    @classmethod
    def of(cls, text: str) -> "Spelled":
        found = cls(text)
        found.text = text
        return found

    def __str__(self) -> str:
        return self.text

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else self.text

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


class SpelledInteger(int):
    """An integer that Python would print otherwise, or not at all; a plain int in a copy or another process."""

    text: str

    @classmethod
    def of(cls, text: str) -> "SpelledInteger":
        found = cls(Decimal(text))
        found.text = text
        return found

    def __str__(self) -> str:
        return self.text

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else self.text

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


def plain(value: Any) -> Any:
    """The same with Python's own numbers, in lists and mappings too."""
    match value:
        case Spelled():
            return float(value)
        case SpelledInteger():
            return int(value)
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
    return value


def _integer(text: str) -> int:
    return SpelledInteger.of(text) if text == "-0" or len(text) > MAX_DIGITS else int(text)


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"one object has the key `{twice}` twice")
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=Spelled.of, parse_int=_integer)


class JsonRows:
    """JSON objects at known places of a file."""

    def __init__(self, path: Path, file: IO[bytes], starts: "array[int]", ends: "array[int]", *, lines: bool) -> None:
        """path: for messages; file: the same, or a copy of it; starts, ends: of each row, in bytes; lines: `file` has
        the lines of `path`, else messages tell the row.
        """
        self._path, self._file, self._starts, self._ends, self._lines = path, file, starts, ends, lines
        file.flush()
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return len(self._starts)

    def only(self, column: str) -> "JsonRows":
        return self

    def read(self, places: range) -> Iterator[Row]:
        for place in places:
            raw = os.pread(self._file.fileno(), self._ends[place] - self._starts[place], self._starts[place])
            yield self._parsed(raw, place)

    def _parsed(self, raw: bytes, place: int) -> Row:
        try:
            text = raw.decode()
            row = _decoder.decode(text)
            if "\\ud" in text or "\\uD" in text:
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            said = half_a_character(error)
        except UnicodeDecodeError as error:
            said = _not_utf8(raw[error.start])
        except json.JSONDecodeError as error:
            said = f"not JSON: {error.msg} at character {error.pos + 1}"
        except (ValueError, RecursionError) as error:
            said = first_line(error)
        else:
            if isinstance(row, dict):
                return row
            said = f'a row is to be a JSON object, {{"column": value}}, not {text.strip():.40}'
        if os.fstat(self._file.fileno()).st_size != self._size:
            said = "the file has changed since the run began to read it"
        raise UserError(f"data `{self._path}`, {self._where(place)}: cannot be read: {said}")

    def _where(self, place: int) -> str:
        if not self._lines:
            return f"row {place}"
        self._file.seek(0)
        return f"line {_num_lines(self._file, self._starts[place]) + 1}"


def half_a_character(error: UnicodeEncodeError) -> str:
    return f"holds half a character, {error.object[error.start]!a}"


def _num_lines(file: IO[bytes], num_bytes: int) -> int:
    found = 0
    while num_bytes > 0 and (piece := file.read(min(num_bytes, 1 << 20))):
        found += piece.count(b"\n")
        num_bytes -= len(piece)
    return found


def _not_utf8(byte: int) -> str:
    return (
        f"byte 0x{byte:02x} is no UTF-8; save the file as UTF-8 (where it is Latin-1: "
        "`iconv -f LATIN1 -t UTF-8 OLD > NEW`)"
    )


def json_rows(path: Path, *, may_be_array: bool) -> JsonRows:
    """One object a line. `may_be_array`: or one array of them, or objects over several lines, by the first line."""
    file, position = _as_utf8(path)
    file.seek(position)
    starts, ends, begin = array("Q"), array("Q"), position
    for line in file:
        if line.strip():
            if may_be_array and not starts and not _is_object(line):
                file.seek(begin)
                return _whole(path, file.read())
            starts.append(position)
            ends.append(position + len(line))
        position += len(line)
    return JsonRows(path, file, starts, ends, lines=True)


def csv_rows(path: Path, separator: str) -> JsonRows:
    """Cells as they are written: `007` is no 7 and `NA` not missing. An empty cell is None."""
    file, begin = _as_utf8(path)
    file.seek(begin)
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(_decoded(file, path), delimiter=separator, strict=True)
    copy = _Copy()
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise ValueError("the header names a column twice")
        for cells in reader:
            if cells and len(cells) != len(header):
                raise ValueError(f"{len(cells)} cells, and the header has {len(header)}; name every column")
            if cells:
                copy.add(json.dumps({name: cell or None for name, cell in zip(header, cells, strict=True)}))
    except UserError:
        raise
    except (csv.Error, ValueError) as error:
        raise UserError(f"data `{path}`, line {max(1, reader.line_num)}: cannot be read: {first_line(error)}") from None
    return JsonRows(path, copy.file, copy.starts, copy.ends, lines=False)


def _temporary() -> IO[bytes]:
    """A file without a name, gone when the rows are."""
    return tempfile.TemporaryFile()


class _Copy:
    """A temporary file of JSON texts."""

    def __init__(self) -> None:
        self.file, self.starts, self.ends = _temporary(), array("Q"), array("Q")

    def add(self, text: str) -> None:
        self.starts.append(self.ends[-1] if self.ends else 0)
        self.ends.append(self.starts[-1] + self.file.write(text.encode()))


def _decoded(file: IO[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"data `{path}`, line {number}: cannot be read: {_not_utf8(line[error.start])}") from None


def _as_utf8(path: Path) -> tuple[IO[bytes], int]:
    """The file, or a copy of what is compressed or UTF-16; and the length of its byte-order mark."""
    file: Any = opened(path)
    try:
        mark = file.peek(4)[:4]
        encoding = next((name for bom, name in BOMS.items() if mark.startswith(bom)), "utf-8")
        if encoding == "utf-8" and path.suffix.lower() not in COMPRESSIONS:
            return file, len(codecs.BOM_UTF8) if mark.startswith(codecs.BOM_UTF8) else 0
        copy = _temporary()
        with file:
            if encoding == "utf-8":
                shutil.copyfileobj(file, copy)
            else:
                text = io.TextIOWrapper(file, encoding, newline="")
                while piece := text.read(1 << 20):
                    copy.write(piece.encode())
    except UnicodeError as error:
        raise UserError(f"data `{path}`: cannot be read: {first_line(error)}") from None
    except TORN as error:
        raise UserError(f"data `{path}`: cannot be read: {first_line(error)}") from None
    copy.seek(0)
    return copy, len(codecs.BOM_UTF8) if copy.read(3) == codecs.BOM_UTF8 else 0


def _is_object(line: bytes) -> bool:
    """Whether a line is a whole row."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _whole(path: Path, data: bytes) -> JsonRows:
    """The elements of an array, or objects one after the other."""
    copy, place, text = _Copy(), 0, ""

    def skip(place: int) -> int:
        found = SPACE.match(text, place)
        return found.end() if found else place

    try:
        text = data.decode()
        place = skip(0)
        is_array = text[place : place + 1] == "["
        place = skip(place + is_array)
        while place < len(text) and not (is_array and text[place] == "]"):
            start = place
            _, place = _decoder.raw_decode(text, start)
            copy.add(text[start:place])
            place = skip(place)
            if is_array and text[place : place + 1] == ",":
                place = skip(place + 1)
            elif is_array and text[place : place + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
        if is_array and place == len(text):
            raise json.JSONDecodeError("Expecting ']'", text, place)
        if is_array and skip(place + 1) < len(text):
            raise json.JSONDecodeError("Extra data", text, skip(place + 1))
        return JsonRows(path, copy.file, copy.starts, copy.ends, lines=False)
    except UnicodeDecodeError as error:
        line, said = data[: error.start].count(b"\n"), _not_utf8(data[error.start])
    except json.JSONDecodeError as error:
        line, said = error.lineno - 1, f"not JSON: {error.msg} at character {error.colno}"
    except (ValueError, RecursionError) as error:
        line, said = text.count("\n", 0, place), first_line(error)
    raise UserError(f"data `{path}`, line {line + 1}: cannot be read: {said}")
