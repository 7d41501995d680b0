"""Files to records: WARC and WET, HTML, JSONL, Parquet, plain text; as they are or in .gz, .zst, .xz.

Nothing is lost in silence: what is no document is yielded as well, with `dropped_by` set. Nothing is fatal: a torn or
broken part of a file is a record with `dropped_by="broken"`, and reading goes on behind it where the format allows
(WARC: at the next record; JSONL: the next line; Parquet: the next row group). Does not extract and does not judge text.
"""

import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from rlreason.config.corpus import CorpusSource
from rlreason.data.corpus.encoding import decode, sound

FORMATS = {
    ".warc": "warc",
    ".wet": "warc",
    ".wat": "warc",
    ".html": "html",
    ".htm": "html",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}
COMPRESSIONS = (".gz", ".zst", ".xz")
TORN = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What a damaged compressed file raises; gzip.BadGzipFile and Arrow's input errors are OSErrors."""


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
    wrote, pass a source whose `path` is their folder. A file without a byte is one broken record.
    """
    return islice(_records(path, source, name), source.limit)


def _records(path: Path, source: CorpusSource, name: str) -> Iterator[Record]:
    stem = sound(f"{name}/{_relative(path, source.path)}".encode("utf-8", "replace").decode())
    kind = format_of(path) if source.format == "auto" else source.format
    readers = {"html": _document, "text": _document, "jsonl": _jsonl, "parquet": _parquet}
    try:
        if path.stat().st_size == 0:
            yield Record(id=f"{stem}#0", source=name, dropped_by="broken", reason="the file is empty")
        elif kind == "warc":
            from rlreason.data.corpus.warc import read_warc

            yield from read_warc(path, stem, name)
        elif kind is None:
            yield Record(id=f"{stem}#0", source=name, dropped_by="not_text", reason="no known ending of a file's name")
        else:
            yield from readers[kind](path, stem, name, source)
    except OSError as error:
        yield Record(id=f"{stem}#0", source=name, dropped_by="broken", reason=f"cannot be read: {one_line(error)}")


def one_line(error: Exception) -> str:
    return " ".join(sound(f"{type(error).__name__}: {error}").split())[:300]


def opened(path: Path) -> io.BufferedIOBase:
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
    parts = Path(root).parts
    fixed = Path(*parts[: next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))])
    return path.relative_to(fixed).as_posix() if path != fixed and path.is_relative_to(fixed) else path.name


def _document(path: Path, stem: str, name: str, source: CorpusSource) -> Iterator[Record]:
    """A file that is one document."""
    is_html = (format_of(path) if source.format == "auto" else source.format) == "html"
    try:
        with opened(path) as file:
            text = decode(file.read(), is_html=is_html)
    except TORN as error:
        yield Record(id=f"{stem}#0", source=name, dropped_by="broken", reason=one_line(error))
    else:
        yield Record(id=f"{stem}#0", source=name, kind="html" if is_html else "text", payload=text)


def _jsonl(path: Path, stem: str, name: str, source: CorpusSource) -> Iterator[Record]:
    row = 0
    try:
        with opened(path) as file:
            for line in file:
                if line.strip():
                    yield _json_record(line, f"{stem}#{row}", name, source)
                    row += 1
    except TORN as error:
        yield Record(id=f"{stem}#{row}", source=name, dropped_by="broken", reason=one_line(error))


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
        # Footers point anywhere in the file, so a compressed one is read whole.
        whole = pyarrow.BufferReader(opened(path).read()) if path.suffix.lower() in COMPRESSIONS else path
        file = pyarrow.parquet.ParquetFile(whole)
    except (pyarrow.ArrowException, *TORN) as error:
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
                for values in batch.to_pylist():
                    yield _row_record(values, f"{stem}#{row}", name, source)
                    row += 1
        except (pyarrow.ArrowException, UnicodeError, *TORN) as error:
            for torn in range(row, end):
                yield Record(id=f"{stem}#{torn}", source=name, dropped_by="broken", reason=one_line(error))
        row = end


def _columns(source: CorpusSource) -> tuple[str, str, str]:
    return source.text_column, source.url_column, source.date_column


def _row_record(row: dict[str, Any], id: str, name: str, source: CorpusSource) -> Record:
    """A row of a table; `html` as the text column holds pages."""
    text, url, date = (row.get(column) for column in _columns(source))
    is_html = source.text_column == "html"
    if isinstance(text, bytes):
        text = decode(text, is_html=is_html)
    if not isinstance(text, str):
        has = f"it is {text!r:.40}" if source.text_column in row else f"the columns are {', '.join(row)[:200]}"
        reason = sound(f"no text in column `{source.text_column}`; {has}")
        return Record(id=id, source=name, dropped_by="broken", reason=reason)
    return Record(
        id=id,
        source=name,
        url=sound("" if url is None else str(url)),
        date=sound("" if date is None else date.isoformat() if hasattr(date, "isoformat") else str(date)),
        kind="html" if is_html else "text",
        payload=sound(text),
    )
