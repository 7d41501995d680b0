"""WARC and WET files to records (ISO 28500). Reads what FastWARC reads, and goes on behind what it does not.

After a damaged place reading starts again at the next WARC header (in a .gz file: at the next gzip member that holds
one); what lies between is one broken record. Not so in .zst, .xz and in a .gz that is a single member: there the rest
of the file is one broken record; so is it where lying lengths make the reader come back too often. A record that ends
before its stated length is broken, not half a page; a page that the crawler cut is taken as it is.
"""

import io
import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rlreason.data.corpus.encoding import decode, sound
from rlreason.data.corpus.records import COMPRESSIONS, MAX_PAGE_BYTES, TOO_LARGE, TORN, Record, one_line, opened

if TYPE_CHECKING:
    from fastwarc.warc import WarcRecord

HTML_TYPES = ("text/html", "application/xhtml+xml")
TEXT_TYPES = ("text/plain", "text/markdown")
MAX_REREAD = 16
"""Times that a file may be read over again, behind records that claim more bytes than it has."""
GZIP_MAGIC = b"\x1f\x8b\x08"
ENCODINGS = ("Transfer-Encoding", "Content-Encoding")
HEADER = re.compile(rb"WARC/[01]\.\d\r?\n")


def read_warc(path: Path, stem: str, source: str) -> Iterator[Record]:
    """All records; ids are `stem#offset`, in bytes of the file as it lies on the disk (.xz: of its contents)."""
    from fastwarc.warc import ArchiveIterator

    start: int | None = 0
    size = path.stat().st_size
    end = size if _is_plain(path) else None
    reread = 0
    gap = ""  # why the place before `start` could not be read
    while start is not None:
        last, same = -1, 0
        try:
            with _stream(path, start) as stream:
                for found in ArchiveIterator(stream, parse_http=True, auto_decode="none"):
                    offset = found.stream_pos  # of the file: the library asks the stream where it stands
                    if gap:
                        yield Record(id=f"{stem}#{offset}-gap", source=source, dropped_by="broken", reason=gap)
                        gap = ""
                    same = same + 1 if offset == last else 0  # records that share one gzip member
                    last = offset
                    room = None if end is None else end - offset
                    record, is_torn = _record(found, f"{stem}#{offset}" + f"-{same}" * (same > 0), source, room)
                    yield record
                    if is_torn:
                        reread += 0 if room is not None else size - offset
                        break
                else:
                    return
        except (*TORN, ValueError) as error:
            gap = one_line(error)
            if last < 0:
                yield Record(id=f"{stem}#{start}", source=source, dropped_by="broken", reason=gap)
                gap = ""
        if reread > MAX_REREAD * max(size, MAX_PAGE_BYTES):
            gap = gap or "too many records claim more bytes than the file has; the rest was not read"
            break
        start = _next_header(path, max(start, last) + 1)
    if gap:
        yield Record(id=f"{stem}#{last}-gap", source=source, dropped_by="broken", reason=gap)


def _is_plain(path: Path) -> bool:
    """Not compressed: places in the file are places in its contents."""
    with path.open("rb") as file:
        return path.suffix.lower() not in COMPRESSIONS and file.read(3) != GZIP_MAGIC


def _stream(path: Path, start: int) -> io.BufferedIOBase:
    if path.suffix.lower() == ".xz":
        return opened(path)
    file = path.open("rb")
    file.seek(start)
    return file


def _next_header(path: Path, start: int) -> int | None:
    """Where the first WARC record at or behind `start` begins, as far as the bytes show it."""
    if path.suffix.lower() in (".xz", ".zst") or start >= path.stat().st_size:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if _is_plain(path):
            header = HEADER.search(data, start)
            return header.start() if header else None
        place = data.find(GZIP_MAGIC, start)
        while place >= 0 and not _holds_header(data[place : place + 512]):
            place = data.find(GZIP_MAGIC, place + 1)
        return place if place >= 0 else None


def _holds_header(member: bytes) -> bool:
    try:
        return zlib.decompressobj(31).decompress(member, 5) == b"WARC/"
    except zlib.error:
        return False


def _record(found: "WarcRecord", id: str, source: str, room: int | None) -> tuple[Record, bool]:
    """The record, and whether it ended before its stated length. `room`: bytes from its header to the file's end."""
    url = sound((found.headers.get("WARC-Target-URI") or "").strip("<> "))
    date = sound(found.headers.get("WARC-Date") or "")
    stated = found.content_length

    def dropped(by: str, reason: str) -> Record:
        return Record(id=id, source=source, url=url, date=date, dropped_by=by, reason=" ".join(sound(reason).split()))

    if room is not None and stated > room:
        return dropped("broken", f"of {stated} bytes, where the file has {room} left"), True
    kind, fault = _kind(found)
    if kind is None or stated > MAX_PAGE_BYTES:
        read = found.reader.consume()
        if read < stated:
            return dropped("broken", f"ends after {read} of {stated} bytes"), True
        if kind is not None:
            return dropped("broken", f"{stated} bytes, more than {MAX_PAGE_BYTES}"), False
        by, why = ("not_text", fault) if fault else ("not_a_page", f"a {found.record_type} record")
        return dropped(by, why), False
    body = found.reader.read()
    if len(body) < stated:
        return dropped("broken", f"ends after {len(body)} of {stated} bytes"), True
    body, fault = _content(found, body)
    if fault:
        return dropped("broken", fault), False
    text = decode(body, found.http_charset, is_html=kind == "html")
    return Record(id=id, source=source, url=url, date=date, kind=kind, payload=text), False


def _kind(found: "WarcRecord") -> tuple[Literal["html", "text"] | None, str]:
    """html or text; else None and why, "" for a record that holds no page at all."""
    kind, mime = str(found.record_type), found.headers.get("Content-Type") or ""
    if kind == "conversion":
        return "text", ""
    if kind not in ("response", "resource"):
        return None, ""
    if found.is_http:
        status = (found.http_headers.status_line or "") if found.http_headers is not None else ""
        if found.http_headers is None or not status.startswith("HTTP/"):
            return None, "a response without an HTTP header"
        if found.http_headers.status_code != 200:
            return None, f"HTTP status: {status[:80]}"
        mime = found.headers.get("WARC-Identified-Payload-Type") or found.http_content_type or ""
    mime = mime.partition(";")[0].strip().lower()
    if mime in HTML_TYPES:
        return "html", ""
    return ("text", "") if mime in TEXT_TYPES else (None, f"content type: {mime[:80] or 'none'}")


def _content(found: "WarcRecord", body: bytes) -> tuple[bytes, str]:
    """The page without its transfer and content encodings, and what is wrong with it."""
    from fastwarc.warc import WarcRecord

    encodings = (
        [f"{name}: {found.http_headers.get(name)}" for name in ENCODINGS if found.http_headers.get(name)]
        if found.is_http
        else []
    )
    if not encodings or not body:
        return body, ""
    block = WarcRecord()
    block.init_headers(record_type=found.record_type)
    block.is_http = True
    block.set_bytes_content("\r\n".join(["HTTP/1.1 200 OK", *encodings, "", ""]).encode("utf-8", "replace") + body)
    try:
        block.parse_http(auto_decode="all")
        plain = block.reader.read(MAX_PAGE_BYTES + 1)
    except OSError as error:
        # Many archives hold the page decoded under its old header.
        return body, "" if b"<" in body[:1024] and not body.startswith(GZIP_MAGIC) else one_line(error)
    if len(plain) > MAX_PAGE_BYTES:
        return b"", f"{TOO_LARGE} when decoded"
    return plain, "" if plain else f"nothing to decode under {', '.join(encodings)}"
