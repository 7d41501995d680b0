"""Every record of a file is accounted for, whatever state the file is in."""

import gzip
import io
import json
import lzma
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from rlreason.config.corpus import CorpusSource
from rlreason.data.corpus import records as records_module
from rlreason.data.corpus import warc as warc_module
from rlreason.data.corpus.encoding import decode
from rlreason.data.corpus.records import Record, format_of, read_records

HTML = b"<html><body><p>The caf\xc3\xa9 is open.</p></body></html>"
HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"


def warc_record(kind: bytes, block: bytes, mime: bytes = b"application/http") -> bytes:
    head = b"WARC/1.0\r\nWARC-Type: %b\r\nWARC-Target-URI: https://example.com/\r\nWARC-Date: 2024-01-02T03:04:05Z\r\n"
    return (head + b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n%b\r\n\r\n") % (kind, mime, len(block), block)


def response(body: bytes = HTML, extra: bytes = b"", header: bytes = HEADER) -> bytes:
    return warc_record(b"response", header + extra + b"\r\n" + body)


def read(path: Path, data: bytes, **keys: object) -> list[Record]:
    path.write_bytes(data)
    return list(read_records(path, CorpusSource(path=str(path.parent), **keys), "web"))


def kinds(records: list[Record]) -> list[str]:
    return [record.dropped_by or record.kind for record in records]


PARTS = [
    warc_record(b"warcinfo", b"software: test\r\n", b"application/warc-fields"),
    warc_record(b"request", b"GET / HTTP/1.1\r\n\r\n"),
    *[response(HTML * 9) for _ in range(4)],
    warc_record(b"metadata", b"x: y\r\n", b"application/warc-fields"),
]
KINDS = ["not_a_page", "not_a_page", "html", "html", "html", "html", "not_a_page"]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.warc", b"".join),
        ("a.warc.gz", lambda parts: b"".join(map(gzip.compress, parts))),
        ("one-member.warc.gz", lambda parts: gzip.compress(b"".join(parts))),
        ("a.warc.xz", lambda parts: lzma.compress(b"".join(parts))),
    ],
)
def test_warc_records_are_read_from_each_compression(tmp_path: Path, name: str, pack: object) -> None:
    records = read(tmp_path / name, pack(PARTS))  # type: ignore[operator]
    assert kinds(records) == KINDS
    assert len({record.id for record in records}) == len(records)
    page = records[2]
    assert page.id.startswith(f"web/{name}#") and page.url == "https://example.com/"
    assert page.date == "2024-01-02T03:04:05Z" and page.payload == HTML.decode() * 9
    assert records[1].reason == "a request record"


def test_zstandard_files_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    squeezed = pyarrow.compress(b"".join(PARTS), codec="zstd", asbytes=True)
    assert kinds(read(tmp_path / "a.warc.zst", squeezed)) == KINDS
    rows = pyarrow.compress(b'{"text": "a"}\n', codec="zstd", asbytes=True)
    assert [record.payload for record in read(tmp_path / "a.jsonl.zst", rows)] == ["a"]


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_a_truncated_warc_ends_in_a_broken_record(tmp_path: Path, compress: object) -> None:
    parts = [compress(part) for part in PARTS]  # type: ignore[operator]
    cut = sum(map(len, parts[:4])) + len(parts[4]) * 3 // 4
    records = read(tmp_path / ("a.warc.gz" if compress is gzip.compress else "a.warc"), b"".join(parts)[:cut])
    assert kinds(records) == [*KINDS[:4], "broken"]


@pytest.mark.parametrize("places", [(0,), (3,), (6,), (3, 4)])
def test_reading_goes_on_behind_a_corrupt_gzip_member(tmp_path: Path, places: tuple[int, ...]) -> None:
    parts = [gzip.compress(part) for part in PARTS]
    for place in places:
        middle = len(parts[place]) // 2
        parts[place] = parts[place][:middle] + b"\xff" * 20 + parts[place][middle + 20 :]
    expected = ["broken" if i in places else kind for i, kind in enumerate(KINDS)]
    assert kinds(read(tmp_path / "a.warc.gz", b"".join(parts))) == expected


def test_reading_goes_on_behind_bytes_that_are_no_record(tmp_path: Path) -> None:
    parts = [gzip.compress(part) for part in PARTS]
    records = read(tmp_path / "a.warc.gz", b"".join([*parts[:3], b"garbage between records", *parts[3:]]))
    assert kinds(records) == [*KINDS[:3], "broken", *KINDS[3:]]
    records = read(tmp_path / "a.warc", b"".join([*PARTS[:3], b"garbage between records\r\n", *PARTS[3:]]))
    assert kinds(records) == [*KINDS[:3], "broken", *KINDS[3:]]


@pytest.mark.parametrize("length", [b"abc", b"-5", b"999999999"])
def test_a_wrong_length_costs_one_record(tmp_path: Path, length: bytes) -> None:
    parts = [*PARTS[:3], re.sub(rb"Content-Length: \d+", b"Content-Length: " + length, PARTS[3]), *PARTS[4:]]
    records = read(tmp_path / "a.warc", b"".join(parts))
    found = Counter(kinds(records))
    assert found["broken"] >= 1 and found["html"] >= 3 and found["not_a_page"] == 3


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (response(header=b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n"), "not_text"),
        (response(header=b"HTTP/1.1 abc\r\nContent-Type: text/html\r\n"), "not_text"),
        (response(header=b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"), "not_text"),
        (response(header=b"HTTP/1.1 200 OK\r\n"), "not_text"),
        (warc_record(b"response", b"no http at all"), "not_text"),
        (warc_record(b"response", b""), "not_text"),
        (warc_record(b"revisit", HEADER + b"\r\n"), "not_a_page"),
        (warc_record(b"conversion", b"Plain words.", b"text/plain"), "text"),
        (warc_record(b"resource", HTML, b"text/html"), "html"),
        (response(header=b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"), "text"),
        (response(gzip.compress(HTML), b"Content-Encoding: gzip\r\n"), "html"),
        (response(b"%x\r\n%b\r\n0\r\n\r\n" % (len(HTML), HTML), b"Transfer-Encoding: chunked\r\n"), "html"),
        (response(HTML, b"Content-Encoding: gzip\r\n"), "html"),  # decoded by the crawler, its header left
        (response(HTML, b"Transfer-Encoding: chunked\r\n"), "html"),
        (response(gzip.compress(HTML)[:10], b"Content-Encoding: gzip\r\n"), "broken"),
    ],
)
def test_what_a_warc_record_holds(tmp_path: Path, record: bytes, expected: str) -> None:
    found, after = read(tmp_path / "a.warc", record + response())
    assert (found.dropped_by or found.kind) == expected
    assert bool(found.reason) == bool(found.dropped_by)
    assert found.payload == (HTML.decode() if expected == "html" else found.payload)
    assert after.payload == HTML.decode()


@pytest.mark.parametrize("name", ["a.warc.gz", "a.jsonl", "a.parquet", "a.html", "a.txt.xz"])
def test_an_empty_file_is_a_broken_record(tmp_path: Path, name: str) -> None:
    (record,) = read(tmp_path / name, b"")
    assert record.dropped_by == "broken" and record.reason == "the file is empty"


@pytest.mark.parametrize("name", ["a.warc", "a.jsonl", "a.parquet", "a.jsonl.gz", "a.txt.gz", "a.html.zst", "a.md.xz"])
def test_a_file_of_another_kind_is_broken_and_not_fatal(tmp_path: Path, name: str) -> None:
    records = read(tmp_path / name, b"\x00\x01\xfe this is none of those\n" * 3)
    assert records and {record.dropped_by for record in records} == {"broken"}
    assert all(record.reason and "\n" not in record.reason for record in records)


def test_other_and_missing_files_are_counted(tmp_path: Path) -> None:
    assert kinds(read(tmp_path / "LICENSE", b"text")) == ["not_text"]
    missing = list(read_records(tmp_path / "gone.txt", CorpusSource(path=str(tmp_path)), "web"))
    assert kinds(missing) == ["broken"]


def test_json_lines_go_on_behind_a_broken_line(tmp_path: Path) -> None:
    rows = [
        json.dumps({"text": "One.", "url": "https://a.org", "date": "2024"}).encode(),
        b'{"text": "torn',
        b"",
        b"[1, 2]",
        b'{"body": "Two."}',
        b'{"text": null}',
        b'{"text": "caf\xe9"}',
        b'{"text": "\\ud800 alone\\u0000"}',
    ]
    records = read(tmp_path / "a.jsonl", b"\n".join(rows))
    assert kinds(records) == ["text", "broken", "broken", "broken", "broken", "text", "text"]
    assert (records[0].url, records[0].date, records[0].payload) == ("https://a.org", "2024", "One.")
    assert "the columns are body" in records[3].reason
    assert [record.payload for record in records[5:]] == ["café", "? alone"]
    assert [record.id for record in records[:2]] == ["web/a.jsonl#0", "web/a.jsonl#1"]


def test_a_torn_gzip_file_gives_the_lines_before_the_tear(tmp_path: Path) -> None:
    lines = b"".join(b'{"text": "%d %b"}\n' % (i, str(hash(i * 7919)).encode() * 30) for i in range(2000))
    data = gzip.compress(lines)
    records = read(tmp_path / "a.jsonl.gz", data[: len(data) // 2])
    assert len(records) > 100 and {record.dropped_by for record in records[:-1]} <= {None, "broken"}
    assert records[-1].dropped_by == "broken" and "EOFError" in records[-1].reason


def test_a_torn_parquet_row_group_is_counted_by_its_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(
        {"text": [f"row {i} " * 50 for i in range(30)], "url": [f"https://a.org/{i}" for i in range(30)]}
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, row_group_size=10, compression="zstd", use_dictionary=False)
    data = bytearray(buffer.getvalue())
    group = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0)
    start = group.data_page_offset
    data[start : start + group.total_compressed_size] = b"\xff" * group.total_compressed_size
    records = read(tmp_path / "a.parquet", bytes(data))
    assert kinds(records) == ["text"] * 10 + ["broken"] * 10 + ["text"] * 10
    assert records[29].url == "https://a.org/29" and records[29].id == "web/a.parquet#29"
    assert (
        kinds(read(tmp_path / "b.parquet.gz", gzip.compress(buffer.getvalue()), text_column="body")) == ["broken"] * 30
    )


def parquet(columns: dict[str, object]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def test_a_date_that_python_does_not_know_costs_no_text(tmp_path: Path) -> None:
    import pyarrow

    days = 86400
    for kind, values, dates in (
        (pyarrow.timestamp("s"), [days, 10**14, None], ["1970-01-02T00:00:00", "", ""]),
        (pyarrow.date32(), [1, 2**31 - 1, None], ["1970-01-02", "", ""]),
        (pyarrow.timestamp("us", "Mars/Base"), [days * 10**6, 1, 0], ["1970-01-02T00:00:00Z", None, None]),
        (pyarrow.duration("s"), [1, 2**62, 0], ["1", str(2**62), "0"]),
    ):
        data = parquet({"text": ["a", "b", "c"], "date": pyarrow.array(values, kind)})
        records = read(tmp_path / "a.parquet", data)
        assert [record.payload for record in records] == ["a", "b", "c"]
        for record, date in zip(records, dates, strict=True):
            assert date is None or record.date == date


def test_text_that_is_not_utf8_costs_no_other_row(tmp_path: Path) -> None:
    import pyarrow

    raw = pyarrow.array([b"caf\xe9", b"plain"], pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), 2, raw.buffers())
    records = read(tmp_path / "a.parquet", parquet({"text": text, "url": text}))
    assert [(record.payload, record.url) for record in records] == [("café", "café"), ("plain", "plain")]


def test_a_small_file_cannot_become_a_huge_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = b"0" * 3_000_000
    for module in (records_module, warc_module):
        monkeypatch.setattr(module, "MAX_PAGE_BYTES", 1_000_000)
    line = b'{"text": "%b"}\n'
    files = {
        "a.txt.gz": gzip.compress(zeros),
        "a.html.xz": lzma.compress(zeros),
        "a.warc": response(gzip.compress(zeros), b"Content-Encoding: gzip\r\n"),
        "a.parquet": parquet({"text": [zeros.decode()]}),
    }
    for name, data in files.items():
        (record,) = read(tmp_path / name, data)
        assert record.dropped_by == "broken" and "more than" in record.reason, name
    for encoding in ("utf-8", "utf-16"):
        lines = (line % b"a" + line % zeros + line % b"b").decode().encode(encoding)
        found = read(tmp_path / "a.jsonl.gz", gzip.compress(lines))
        assert kinds(found) == ["text", "broken", "text"] and found[2].payload == "b"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_lines_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    lines = '{"text": "café\u2028one"}\n{"text": "two"}\n'.encode(encoding)
    assert [record.payload for record in read(tmp_path / "a.ndjson", lines)] == ["café\u2028one", "two"]


def test_a_file_without_a_record_is_counted(tmp_path: Path) -> None:
    for name, data in (("a.jsonl", b"\n \n"), ("a.parquet", parquet({"text": []})), ("a.jsonl.gz", gzip.compress(b""))):
        (record,) = read(tmp_path / name, data)
        assert (record.dropped_by, record.reason) == ("broken", "no record in the file")


def test_names_that_are_not_utf8_give_ids_that_differ_and_can_be_stored(tmp_path: Path) -> None:
    names = [b"a\xff.txt", b"a\xfe.txt", b"a%FF.txt", "é.txt".encode()]
    found = [read(tmp_path / os.fsdecode(name), b"text")[0].id for name in names]
    assert found == ["web/a%FF.txt#0", "web/a%FE.txt#0", "web/a%25FF.txt#0", "web/é.txt#0"]


def test_a_hole_in_a_warc_costs_no_record_behind_it(tmp_path: Path) -> None:
    parts = [*PARTS[:3], b"\0" * len(PARTS[3]), *PARTS[4:]]
    assert kinds(read(tmp_path / "a.warc", b"".join(parts))) == [*KINDS[:3], "broken", *KINDS[4:]]


def test_lying_lengths_do_not_make_the_file_be_read_again_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = re.sub(rb"Content-Length: \d+", b"Content-Length: 99999999999", response(os.urandom(3000)))
    parts = [lie] * 200 + [response()]
    assert kinds(read(tmp_path / "a.warc", b"".join(parts))) == ["broken"] * 200 + ["html"]
    packed = b"".join(map(gzip.compress, parts))
    assert kinds(read(tmp_path / "a.warc.gz", packed)) == ["broken"] * 200 + ["html"]
    monkeypatch.setattr(warc_module, "MAX_REREAD", 0)
    records = read(tmp_path / "a.warc.gz", packed)
    assert kinds(records) == ["broken", "broken"] and "claim more bytes" in records[1].reason
    assert kinds(read(tmp_path / "a.warc", b"".join(parts))) == ["broken"] * 200 + ["html"], "one pass is enough here"


def test_a_column_called_html_is_extracted_later(tmp_path: Path) -> None:
    (record,) = read(tmp_path / "a.jsonl", json.dumps({"html": HTML.decode()}).encode(), text_column="html")
    assert record.kind == "html"


def test_ids_are_relative_to_the_source_and_the_limit_counts_records(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    path = tmp_path / "deep/er/a.jsonl"
    path.write_text('{"text": "a"}\n' * 5)
    for root in (tmp_path, tmp_path / "**/*.jsonl"):
        records = list(read_records(path, CorpusSource(path=str(root), limit=3), "web"))
        assert [record.id for record in records] == [f"web/deep/er/a.jsonl#{row}" for row in range(3)]
    (record, *_) = read_records(path, CorpusSource(path=str(path)), "web")
    assert record.id == "web/a.jsonl#0"


def test_formats_by_name() -> None:
    names = [
        "a.WARC.gz",
        "a.warc.wet.gz",
        "a.htm",
        "a.jsonl.xz",
        "a.parquet",
        "a.md",
        "a.json.gz",
        "a.ndjson",
        "a.tar.gz",
        "README",
    ]
    expected = ["warc", "warc", "html", "jsonl", "parquet", "text", "jsonl", "jsonl", None, None]
    assert [format_of(Path(name)) for name in names] == expected


@pytest.mark.parametrize(
    ("data", "charset", "expected"),
    [
        ("café “x”".encode(), "iso-8859-1", "café “x”"),  # the server lies
        ("café".encode("cp1252"), "utf-8", "café"),  # and so does this one
        ("café".encode("cp1252"), None, "café"),
        ("café".encode("cp1252"), "no-such-charset", "café"),
        ("Привет, мир".encode("cp1251"), "windows-1251", "Привет, мир"),
        ("日本語".encode("shift_jis"), "Shift_JIS", "日本語"),
        ("日本語".encode("iso2022_jp"), "iso-2022-jp", "日本語"),
        ("café".encode("utf-16"), None, "café"),
        ("\ufeffcafé".encode(), "latin1", "café"),
        ("café ".encode() * 20 + b"\xff", "utf-8", "café " * 20 + "\ufffd"),  # one bad byte
        ("naïve café".encode()[:-1], None, "naïve caf"),  # torn within a character
        (b"a\r\nb\rc\x00", None, "a\nb\nc"),
        (b"", "utf-8", ""),
    ],
)
def test_charsets_and_those_that_lie(data: bytes, charset: str | None, expected: str) -> None:
    assert decode(data, charset) == expected


def test_the_page_names_its_charset() -> None:
    page = '<html><head><meta charset="windows-1251"></head><body>Привет</body></html>'
    assert "Привет" in decode(page.encode("cp1251"), is_html=True)


def test_no_bytes_raise() -> None:
    for data in (bytes(range(256)) * 4, b"\xff\xfe\x00", b"\xef\xbb\xbf\xff", b"\x00" * 100, b"\xed\xa0\x80"):
        for charset in (None, "utf-8", "utf-16", "utf-7", "gb18030", "hex", "idna", "unicode_escape", ""):
            decode(data, charset, is_html=True).encode("utf-8")
