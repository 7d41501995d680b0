"""Files to records: WARC and WET, HTML, JSONL, Parquet, plain text; as they are or in .gz, .zst, .xz.

Nothing is lost in silence: what is no document is yielded as well, with `dropped_by` set. Nothing is fatal: a torn or
broken part of a file is a record with `dropped_by="broken"`, and reading goes on behind it where the format allows
(WARC: at the next record; JSONL: the next line; Parquet: the next row group). No document is larger than
MAX_PAGE_BYTES, however small its file. Does not extract and does not judge text.
"""

import gzip
import io
import itertools
import json
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote_from_bytes

from rlreason.config.corpus import CorpusSource
from rlreason.data.corpus.encoding import BOMS, decode, sound
from rlreason.data.faults import FAULTS

if TYPE_CHECKING:
    import pyarrow

FORMATS = {
    ".warc": "warc",
    ".wet": "warc",
    ".wat": "warc",
    ".html": "html",
    ".htm": "html",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}
COMPRESSIONS = (".gz", ".zst", ".xz")
TORN = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What a damaged compressed file raises; gzip.BadGzipFile and Arrow's input errors are OSErrors."""
MAX_PAGE_BYTES = 16 << 20
"""A larger page is no text that anybody wrote, and takes minutes to extract."""
MAX_WHOLE_BYTES = 1 << 30
"""Of a compressed Parquet file, which is held in memory."""
ZEROS = re.compile(r"\.0+$")
TOO_LARGE = f"more than {MAX_PAGE_BYTES} bytes"

File = io.BufferedReader | gzip.GzipFile | lzma.LZMAFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One document as it was found, or what stands in a file instead of one."""

    id: str
    """`source/relative-file#place`: byte offset in a WARC file, row elsewhere, 0 for a file that is one document."""
    source: str
    url: str = ""
    date: str = ""
    """As the file writes it: ISO 8601 in WARC."""
    kind: Literal["html", "text"] = "text"
    payload: str = ""
    """A page's HTML or a document's text, decoded; empty where `dropped_by` is set."""
    dropped_by: str | None = None
    """not_a_page: a WARC record that holds none. not_text: another type, or an HTTP status other than 200. broken."""
    reason: str = ""
    """One line that says why, where `dropped_by` is set."""


def format_of(path: Path) -> str | None:
    """warc, html, jsonl, parquet or text, by the file's name; None for any other file."""
    name = path.name.lower()
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    return FORMATS.get(Path(name).suffix)


def read_records(path: Path, source: CorpusSource, name: str) -> Iterator[Record]:
    """Every record of one file, in its order, at most `source.limit`. `name` is the source's in the configuration.

    Ids are relative to `source.path`, so that they are the same wherever the data lies; for files that `generate`
    wrote, pass a source whose `path` is their folder. A file without a record is one broken record.
    """
    return islice(_records(path, source, name), source.limit)


def plain_name(name: str) -> str:
    """A file's name as text that can be stored and shown: what is not is percent-encoded, byte by byte."""
    return name if name.isprintable() and "%" not in name else quote_from_bytes(os.fsencode(name))


def _records(path: Path, source: CorpusSource, name: str) -> Iterator[Record]:
    stem = f"{name}/{plain_name(_relative(path, source.path))}"
    records = _of_file(path, stem, source, name)
    try:
        first = next(records, None)
        yield first or Record(id=f"{stem}#0", source=name, dropped_by="broken", reason="no record in the file")
        yield from records
    except (OSError, *FAULTS) as error:
        yield Record(id=f"{stem}#rest", source=name, dropped_by="broken", reason=f"cannot be read: {one_line(error)}")


def _of_file(path: Path, stem: str, source: CorpusSource, name: str) -> Iterator[Record]:
    kind = format_of(path) if source.format == "auto" else source.format
    readers = {"html": _document, "text": _document, "jsonl": _jsonl, "parquet": _parquet}
    if path.stat().st_size == 0:
        yield Record(id=f"{stem}#0", source=name, dropped_by="broken", reason="the file is empty")
    elif kind == "warc":
        from rlreason.data.corpus.warc import read_warc

        yield from read_warc(path, stem, name)
    elif kind is None:
        yield Record(id=f"{stem}#0", source=name, dropped_by="not_text", reason="no known ending of a file's name")
    else:
        yield from readers[kind](path, stem, name, source)


def one_line(error: Exception) -> str:
    return " ".join(sound(f"{type(error).__name__}: {error}").split())[:300]


def opened(path: Path) -> File:
    """The file's bytes, decompressed by its name."""
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path)
        case ".xz":
            return lzma.open(path)
        case ".zst":
            import pyarrow

            return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
        case _:
            return path.open("rb")


def _relative(path: Path, root: str | None) -> str:
    """Below the folder that `root` names, or the part of a pattern before its first wildcard."""
    if root is None:
        return path.name
    fixed = Path(root)
    if not fixed.exists():
        fixed = Path(*itertools.takewhile(lambda part: not set(part) & set("*?["), fixed.parts))
    return path.relative_to(fixed).as_posix() if path != fixed and path.is_relative_to(fixed) else path.name


def _document(path: Path, stem: str, name: str, source: CorpusSource) -> Iterator[Record]:
    """A file that is one document."""
    is_html = (format_of(path) if source.format == "auto" else source.format) == "html"
    try:
        with opened(path) as file:
            data = file.read(MAX_PAGE_BYTES + 1)
    except TORN as error:
        yield Record(id=f"{stem}#0", source=name, dropped_by="broken", reason=one_line(error))
        return
    if len(data) > MAX_PAGE_BYTES:
        yield Record(id=f"{stem}#0", source=name, dropped_by="broken", reason=TOO_LARGE)
    else:
        text = decode(data, is_html=is_html)
        yield Record(id=f"{stem}#0", source=name, kind="html" if is_html else "text", payload=text)


def _jsonl(path: Path, stem: str, name: str, source: CorpusSource) -> Iterator[Record]:
    row = 0
    try:
        with opened(path) as file:
            for line in _lines(file):
                if line is None:
                    yield Record(id=f"{stem}#{row}", source=name, dropped_by="broken", reason=TOO_LARGE)
                elif line.strip():
                    yield _json_record(line, f"{stem}#{row}", name, source)
                else:
                    continue
                row += 1
    except TORN as error:
        yield Record(id=f"{stem}#{row}", source=name, dropped_by="broken", reason=one_line(error))


def _lines(file: File) -> Iterator[bytes | None]:
    """As UTF-8 where a byte-order mark says UTF-16 or UTF-32, else as they are; None for a line that is too large."""
    start = file.peek(4)
    wide = next((name for mark, name in BOMS.items() if start.startswith(mark) and name != "utf-8"), None)
    text = io.TextIOWrapper(file, wide, errors="replace", newline="\n") if wide else None

    def piece() -> bytes:
        return text.readline(MAX_PAGE_BYTES + 1).encode() if text else file.readline(MAX_PAGE_BYTES + 1)

    while line := piece():
        if len(line) <= MAX_PAGE_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = piece()
        yield None


def _json_record(line: bytes, id: str, name: str, source: CorpusSource) -> Record:
    try:
        row = json.loads(decode(line))
    except (ValueError, RecursionError) as error:
        return Record(id=id, source=name, dropped_by="broken", reason=one_line(error))
    if not isinstance(row, dict):
        return Record(id=id, source=name, dropped_by="broken", reason=f"a JSON object is expected, not {row!r:.80}")
    return _row_record(row, id, name, source)


def _parquet(path: Path, stem: str, name: str, source: CorpusSource) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        whole: Any = path
        if path.suffix.lower() in COMPRESSIONS:
            # Footers point anywhere in the file, so a compressed one is read whole.
            with opened(path) as packed:
                data = packed.read(MAX_WHOLE_BYTES + 1)
            if len(data) > MAX_WHOLE_BYTES:
                raise ValueError(f"more than {MAX_WHOLE_BYTES} bytes when decompressed")
            whole = pyarrow.BufferReader(data)
        file = pyarrow.parquet.ParquetFile(whole)
    except (pyarrow.ArrowException, ValueError, *TORN) as error:
        yield Record(id=f"{stem}#0", source=name, dropped_by="broken", reason=one_line(error))
        return
    columns = [column for column in _columns(source) if column in file.schema_arrow.names]
    if source.text_column not in columns:
        columns = file.schema_arrow.names  # the reason names them
    row = 0
    for group in range(file.num_row_groups):
        end = row + file.metadata.row_group(group).num_rows
        try:
            for batch in file.iter_batches(batch_size=64, row_groups=[group], columns=columns):
                for values in _rows(batch):
                    yield _row_record(values, f"{stem}#{row}", name, source)
                    row += 1
        except (pyarrow.ArrowException, *FAULTS, *TORN) as error:
            for torn in range(row, end):
                yield Record(id=f"{stem}#{torn}", source=name, dropped_by="broken", reason=one_line(error))
        row = end


def _rows(batch: "pyarrow.RecordBatch") -> list[dict[str, Any]]:
    """Dates as text, since Arrow knows years and time zones that Python does not; bytes where text is not UTF-8."""
    import pyarrow

    names = batch.schema.names
    columns = [_dates(column) if pyarrow.types.is_temporal(column.type) else column for column in batch.columns]
    try:
        return list(pyarrow.RecordBatch.from_arrays(columns, names).to_pylist())
    except UnicodeError:
        columns = [column.cast("binary") if column.type == "string" else column for column in columns]
        return list(pyarrow.RecordBatch.from_arrays(columns, names).to_pylist())


def _dates(column: "pyarrow.Array") -> "pyarrow.Array":
    """ISO 8601, times in UTC where there is a zone; "" for a date that is none."""
    import pyarrow

    zone = ""
    if pyarrow.types.is_timestamp(column.type) and column.type.tz:
        column, zone = column.cast(pyarrow.timestamp(column.type.unit)), "Z"
    found = column.cast("string").to_pylist()
    dates = ["" if date is None or "range" in date else ZEROS.sub("", date).replace(" ", "T") + zone for date in found]
    return pyarrow.array(dates, "string")


def _columns(source: CorpusSource) -> tuple[str, str, str]:
    return source.text_column, source.url_column, source.date_column


def _row_record(row: dict[str, Any], id: str, name: str, source: CorpusSource) -> Record:
    """A row of a table; `html` as the text column holds pages."""
    text, url, date = (row.get(column) for column in _columns(source))
    is_html = source.text_column == "html"
    if isinstance(text, str | bytes) and len(text) > MAX_PAGE_BYTES:
        return Record(id=id, source=name, dropped_by="broken", reason=TOO_LARGE)
    if isinstance(text, bytes):
        text = decode(text, is_html=is_html)
    if not isinstance(text, str):
        has = f"it is {text!r:.40}" if source.text_column in row else f"the columns are {', '.join(row)[:200]}"
        reason = sound(f"no text in column `{source.text_column}`; {has}")
        return Record(id=id, source=name, dropped_by="broken", reason=reason)
    return Record(
        id=id,
        source=name,
        url=_plain(url),
        date=_plain(date),
        kind="html" if is_html else "text",
        payload=sound(text),
    )


def _plain(value: Any) -> str:
    return decode(value) if isinstance(value, bytes) else "" if value is None else sound(str(value))
