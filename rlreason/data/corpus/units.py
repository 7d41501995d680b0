"""What one task of the corpus stage does: a few input files to a folder of clean rows. Knows no Ray.

A unit's folder holds documents.parquet (what the rules keep, with deduplication keys), aside.jsonl (broken records)
and summary.json (counts, samples of what was dropped, the files' sizes and times). It appears whole or not at all.
"""

import hashlib
import heapq
import json
import shutil
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rlreason
from rlreason.config.corpus import CorpusConfig, CorpusSource
from rlreason.data.corpus.clean import VERDICT, active_rules, clean
from rlreason.data.corpus.decontaminate import Benchmarks
from rlreason.data.corpus.dedup import band_keys
from rlreason.data.corpus.records import Record, one_line, plain_name, read_records
from rlreason.data.faults import FAULTS
from rlreason.runlog import commit_folder
from rlreason.types import UserError

if TYPE_CHECKING:
    import pyarrow

UNIT_BYTES = (256 << 10, 64 << 20)
"""Least and most of the files in one unit; between them a 64th of the corpus. A file is never parted."""
BATCH_ROWS = 256
CHANGES = ("lines_cut", "pii_masked")
"""Counted over the documents that are written."""
KEPT = "kept"
"""In the counts: what no rule drops. Duplicates are still among it."""
SNIPPET_CHARACTERS = 500

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file of a source: read with the source's settings, named relative to its path."""

    source: str
    path: str
    num_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Files that are cleaned together: the grain of restarting."""

    name: str
    """Of its folder; a hash of what decides its rows."""
    files: tuple[InputFile, ...]


def order_of(seed: int, id: str) -> int:
    """[0, 2**64): a document's place in the shuffled corpus, and which dropped documents are sampled."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{id}".encode(), digest_size=8).digest())


def group_files(files: list[InputFile], config: CorpusConfig, fingerprint: str) -> list[Unit]:
    """Units in the files' order; one ends with the file that makes it large enough, however large that is.

    `fingerprint`: of what else decides the rows, such as benchmark text.
    """
    wanted = min(max(sum(file.num_bytes for file in files) // 64, UNIT_BYTES[0]), UNIT_BYTES[1])
    groups: list[list[InputFile]] = []
    num_bytes = wanted
    for file in files:
        if num_bytes >= wanted:
            groups.append([])
            num_bytes = 0
        groups[-1].append(file)
        num_bytes += file.num_bytes
    basis = config.model_dump_json(exclude={"cpus", "rows_per_file", "loggers"}) + rlreason.__version__ + fingerprint
    names = (hashlib.sha256(f"{basis}{group}".encode()).hexdigest()[:20] for group in groups)
    return [Unit(name=name, files=tuple(group)) for name, group in zip(names, groups, strict=True)]


def clean_unit(
    unit: Unit, sources: dict[str, CorpusSource], config: CorpusConfig, benchmarks: Benchmarks | None, work: Path
) -> Row:
    """Writes work/UNIT/: documents.parquet (kept so far, with their keys), aside.jsonl (broken), summary.json."""
    import pyarrow.parquet

    aside = work / f".writing-{unit.name}-{uuid.uuid4().hex}"
    aside.mkdir()
    counts: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    num_documents = 0
    samples = Samples(config.dropped_samples, config.seed)
    rows: list[Row] = []
    columns = schema(config)
    with (
        pyarrow.parquet.ParquetWriter(aside / "documents.parquet", columns, compression="zstd") as documents,
        (aside / "aside.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as broken,
    ):
        for file in unit.files:
            for record in read_records(Path(file.path), sources[file.source], file.source):
                row, keys = _judged(record, config, benchmarks)
                rule, reason = _verdict(row)
                order = order_of(config.seed, row["id"])
                counts[rule or KEPT] += 1
                if rule == "broken":
                    broken.write(json.dumps({key: row[key] for key in ("id", "url", "reason")}) + "\n")
                if rule is not None:
                    samples.add(rule, {**row, "reason": reason})
                if row["dropped_by"] is None:
                    changes.update({key: row[key] for key in CHANGES})
                    rows.append({**row, "order": order, "keys": keys})
                    num_documents += 1
                if len(rows) == BATCH_ROWS:
                    documents.write_table(pyarrow.Table.from_pylist(rows, columns))
                    rows = []
        documents.write_table(pyarrow.Table.from_pylist(rows, columns))
    summary = {
        "unit": unit.name,
        "counts": counts,
        "changes": changes,
        "documents": num_documents,
        "samples": samples.rows(),
        "files": [_told(file) for file in unit.files],
    }
    (aside / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    commit_folder(aside, work / unit.name)
    return summary


def _judged(record: Record, config: CorpusConfig, benchmarks: Benchmarks | None) -> tuple[Row, list[bytes]]:
    """The row and its keys: none for what a rule drops or would drop, which takes no part in the search."""
    try:
        row = clean(record, config, benchmarks)
        row["text"].encode()  # a lone surrogate cannot be stored
        is_searched = config.dedup is not None and _verdict(row)[0] is None
        return row, band_keys(row["text"], config.dedup, config.seed) if config.dedup and is_searched else []
    except FAULTS as error:
        if isinstance(error, UserError):
            raise
        return clean(replace(record, payload="", dropped_by="broken", reason=one_line(error)), config), []


def _verdict(row: Row) -> tuple[str | None, str | None]:
    """Which rule drops the record, or would with `tag_only`, and why."""
    tagged = ((name, value) for name, value in row.items() if name.startswith(VERDICT) and value is not None)
    for name, why in tagged if row["dropped_by"] is None else ():
        return name.removeprefix(VERDICT), why
    return row["dropped_by"], row["reason"]


class Samples:
    """Of each rule the few rows whose place in the seed's order is first: the same ones whatever order they come in."""

    def __init__(self, num: int, seed: int) -> None:
        self._num, self._seed = num, seed
        self._found: dict[str, list[Row]] = {}

    def add(self, rule: str, row: Row) -> None:
        """`row`: id, url, reason and text, of which the beginning is kept."""
        kept = {key: row[key] for key in ("id", "url", "reason")}
        self.merge({rule: [{**kept, "text": row["text"][:SNIPPET_CHARACTERS]}]})

    def merge(self, rows: dict[str, list[Row]]) -> None:
        """`rows`: of other Samples, by rule."""
        for rule, more in rows.items():
            found = self._found.setdefault(rule, [])
            found += more
            if len(found) > 4 * self._num:
                self._found[rule] = self._first(found)

    def rows(self) -> dict[str, list[Row]]:
        return {rule: self._first(found) for rule, found in sorted(self._found.items())}

    def _first(self, found: list[Row]) -> list[Row]:
        return heapq.nsmallest(self._num, found, key=lambda row: (order_of(self._seed, row["id"]), row["id"]))


def _told(file: InputFile) -> Row:
    """For the manifest. No hash: it would take a second pass over every input."""
    return {
        **{"source": file.source, "path": plain_name(file.path)},
        **{"bytes": file.num_bytes, "modified_ns": file.modified_ns},
    }


def remove_folder(path: Path) -> None:
    """Out of the way first: who is killed in the middle leaves no folder that looks whole."""
    aside = path.with_name(f".removing-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    if path.is_dir():
        path.rename(aside)
        shutil.rmtree(aside)


def schema(config: CorpusConfig) -> "pyarrow.Schema":
    """Of a unit's documents; `order` and `keys` do not reach the Parquet files."""
    import pyarrow

    # Text of one output file may pass 2 GiB.
    large = {"text": pyarrow.large_string()}
    names = ("id", "source", "url", "date", "text", "language")
    text = [(name, large.get(name, pyarrow.string())) for name in names]
    verdicts = [(f"{VERDICT}{rule}", pyarrow.string()) for rule in active_rules(config)] if config.tag_only else []
    figures = [("language_score", pyarrow.float64()), ("num_words", pyarrow.int64())]
    inner = [("order", pyarrow.uint64()), ("keys", pyarrow.list_(pyarrow.binary()))]
    return pyarrow.schema([*text, *figures, *verdicts, *inner])
