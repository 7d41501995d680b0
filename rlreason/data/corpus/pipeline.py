"""The corpus on Ray Data: units of files to clean rows, duplicates out over all nodes, shuffled Parquet files.

Three passes, each a stream of tasks on any number of nodes that share the run directory:
`clean_units` writes work/UNIT/ for each group of input files, whole or not at all, and skips those that are there;
`find_duplicates` groups the documents' keys; `write_parts` sorts what is left by a seeded hash of its id. The result
depends on the files, the configuration and the seed alone, not on nodes, blocks or timing.
The driver holds a number for each document and the ids of the duplicates, never text. Does not print and knows no job.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.exceptions

from rlreason.config.corpus import CorpusConfig, CorpusSource
from rlreason.data.corpus.clean import VERDICT
from rlreason.data.corpus.decontaminate import Benchmarks
from rlreason.data.corpus.dedup import clusters
from rlreason.data.corpus.records import plain_name
from rlreason.data.corpus.units import (
    BATCH_ROWS,
    Row,
    Samples,
    Unit,
    clean_unit,
    order_of,
    remove_folder,
    schema,
)
from rlreason.types import RunError, UserError

if TYPE_CHECKING:
    import numpy
    import pyarrow

BUCKET_KEYS = 1_000_000
"""Deduplication keys that one task groups."""
SAMPLED = -1
"""In place of a file's number: a duplicate to look at."""
NUM_NAMED = 5
"""Files that an error names, at most."""
Apply = Callable[["pyarrow.Table"], "pyarrow.Table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Where each document goes. Documents stand for themselves by their place in the seed's order, `order_of`."""

    cuts: "numpy.ndarray"
    """uint64 [files - 1]: at which each file but the first begins."""
    duplicates: "numpy.ndarray"
    """uint64 [duplicates], rising."""
    verdicts: "pyarrow.Array"
    """[duplicates]: why each of them is one; of length 0 where nobody asks."""
    chosen: "numpy.ndarray"
    """uint64: the duplicates to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What is in the Parquet files."""

    num_documents: int
    num_characters: int
    samples: dict[str, list[Row]]
    """Of duplicates, by rule."""


def clean_units(
    units: list[Unit],
    sources: dict[str, CorpusSource],
    config: CorpusConfig,
    benchmarks: Benchmarks | None,
    work: Path,
) -> Iterator[Row]:
    """Each unit's summary, as it gets ready; at once for those that an earlier run finished.

    {"unit", "resumed", "counts": {rule or "kept": records}, "changes": {one of CHANGES: number}, "documents": rows
    written, "samples": {rule: rows}, "files": [{source, path, bytes, modified_ns}]}. RunError, with the files that were
    being cleaned, where a worker fails.
    """
    work.mkdir(exist_ok=True)
    for left in {path.name for path in work.iterdir()} - {unit.name for unit in units}:
        remove_folder(work / left)  # another configuration's, or cut short
    todo = []
    for unit in units:
        summary = work / unit.name / "summary.json"
        if summary.is_file():
            yield {**json.loads(summary.read_text(encoding="utf-8")), "resumed": True}
        else:
            todo.append(unit)
    if not todo:
        return
    shared = ray.put(benchmarks)

    def task(row: Row) -> Row:
        return {"summary": json.dumps(clean_unit(row["item"], sources, config, ray.get(shared), work))}

    found = _data().from_items(todo, override_num_blocks=len(todo)).map(task, num_cpus=config.cpus)
    with _readable_errors(todo, work):
        for row in found.iter_rows():
            yield {**json.loads(row["summary"]), "resumed": False}


def find_duplicates(units: list[Unit], config: CorpusConfig, work: Path, num_documents: int) -> dict[str, Row]:
    """{id: {"rule": "exact_duplicate" or "near_duplicate", "of": id of the one that is kept}}; {} without `dedup`."""
    if config.dedup is None or num_documents < 2:
        return {}
    num_buckets = num_documents * (config.dedup.bands + 1) // BUCKET_KEYS + 1

    def keyed(table: "pyarrow.Table") -> "pyarrow.Table":
        import pyarrow

        ids, keys = table["id"].to_pylist(), table["keys"].to_pylist()
        rows = [(id, place == 0, key) for id, own in zip(ids, keys, strict=True) for place, key in enumerate(own)]
        buckets = [int.from_bytes(key[:4]) % num_buckets for _, _, key in rows]
        columns = zip(*rows, strict=True) if rows else ([], [], [])
        arrays = dict(zip(("id", "is_exact", "key"), map(list, columns), strict=True))
        types = [("bucket", pyarrow.int64()), ("id", pyarrow.string())]
        types += [("is_exact", pyarrow.bool_()), ("key", pyarrow.binary())]
        return pyarrow.table({"bucket": buckets, **arrays}, schema=pyarrow.schema(types))

    keys = _documents(units, work, ["id", "keys"], lambda: keyed, config)
    pairs = keys.groupby("bucket").map_groups(_sharing, batch_format="pyarrow", num_cpus=config.cpus)
    with _readable_errors():
        return _duplicates(pairs.iter_rows())


def _duplicates(pairs: Iterable[Row]) -> dict[str, Row]:
    """Exact: with the same text as the one that is kept, which has the smallest id of all, so of that text's too."""
    same_text: dict[str, str] = {}

    def found() -> Iterator[tuple[str, bytes]]:
        for row in pairs:
            if row["is_exact"]:
                same_text[row["id"]] = row["of"]
            yield row["id"], row["of"].encode()

    kept = clusters(found())
    return {
        id: {"rule": "exact_duplicate" if same_text.get(id) == of else "near_duplicate", "of": of}
        for id, of in kept.items()
        if id != of
    }


def _sharing(bucket: "pyarrow.Table") -> "pyarrow.Table":
    """(id, smallest id with the same key, is_exact) for each key that several documents have."""
    import pyarrow.compute as compute

    groups = bucket.group_by(["key", "is_exact"]).aggregate([("id", "min"), ("id", "count")])
    groups = groups.filter(compute.field("id_count") > 1).rename_columns({"id_min": "of"}).drop_columns(["id_count"])
    return bucket.join(groups, ["key", "is_exact"], join_type="inner").select(["id", "of", "is_exact"])


def write_parts(
    units: list[Unit], duplicates: dict[str, Row], config: CorpusConfig, work: Path, folder: Path
) -> Written:
    """Writes `part-00000.parquet` and so on into `folder`: `rows_per_file` documents each, in the seed's order."""
    samples = Samples(config.dropped_samples, config.seed)
    for id, row in duplicates.items():
        samples.add(row["rule"], {"id": id, "url": "", "reason": row["of"], "text": ""})
    chosen = {row["id"] for rows in samples.rows().values() for row in rows}
    shared = ray.put(_routes(units, duplicates, chosen, config, work))

    def routing() -> Apply:
        routes = ray.get(shared)  # once for each task, not for each table
        return lambda table: _routed(table, routes, tag_only=config.tag_only)

    def written(group: "pyarrow.Table") -> "pyarrow.Table":
        return _written(group, folder)

    names = [name for name in schema(config).names if name != "keys"]
    parts = _documents(units, work, names, routing, config).groupby("part")
    documents, characters, samples = 0, 0, Samples(config.dropped_samples, config.seed)
    with _readable_errors():
        for row in parts.map_groups(written, batch_format="pyarrow", num_cpus=config.cpus).iter_rows():
            documents += row["documents"]
            characters += row["characters"]
            for sample in json.loads(row["dropped"]):
                copy = duplicates[sample["id"]]
                samples.add(copy["rule"], {**sample, "reason": f"{copy['rule']} of {copy['of']}"})
    for left in folder.glob(".*"):
        left.unlink()  # of a task that was tried twice
    return Written(num_documents=documents, num_characters=characters, samples=samples.rows())


def _routes(
    units: list[Unit], duplicates: dict[str, Row], chosen: set[str], config: CorpusConfig, work: Path
) -> Routes:
    """With `tag_only` duplicates stay in their files and get a verdict; otherwise they are left out of the count."""
    import numpy
    import pyarrow
    import pyarrow.dataset

    paths = [str(work / unit.name / "documents.parquet") for unit in units]
    orders = pyarrow.dataset.dataset(paths, format="parquet").to_table(columns=["order"])["order"].to_numpy()
    places = {id: order_of(config.seed, id) for id in duplicates}
    ids = sorted(duplicates, key=places.__getitem__)
    dropped = numpy.array([places[id] for id in ids], dtype=numpy.uint64)
    staying = numpy.sort(orders if config.tag_only else orders[~numpy.isin(orders, dropped)])
    verdicts = [f"{duplicates[id]['rule']} of {duplicates[id]['of']}" for id in ids] if config.tag_only else []
    return Routes(
        cuts=staying[config.rows_per_file :: config.rows_per_file],
        duplicates=dropped,
        verdicts=pyarrow.array(verdicts, pyarrow.large_string()),
        chosen=numpy.array(sorted(places[id] for id in chosen), dtype=numpy.uint64),
    )


def _routed(table: "pyarrow.Table", routes: Routes, *, tag_only: bool) -> "pyarrow.Table":
    """With the number of the file that each row goes to; SAMPLED for chosen duplicates, the others are taken out."""
    import numpy
    import pyarrow

    orders = table["order"].to_numpy()
    parts = numpy.searchsorted(routes.cuts, orders, side="right").astype(numpy.int64)
    is_copy = numpy.isin(orders, routes.duplicates)
    if tag_only:
        places = pyarrow.array(numpy.searchsorted(routes.duplicates, orders), mask=~is_copy)
        table = table.append_column(f"{VERDICT}dedup", routes.verdicts.take(places).cast(pyarrow.string()))
        return table.append_column("part", pyarrow.array(parts))
    parts[is_copy] = SAMPLED
    stays = ~is_copy | numpy.isin(orders, routes.chosen)
    return table.append_column("part", pyarrow.array(parts)).filter(pyarrow.array(stays))


def _written(group: "pyarrow.Table", folder: Path) -> "pyarrow.Table":
    """Writes one file; a row about it. The rows of part SAMPLED come back as JSON."""
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet

    part = group["part"][0].as_py()
    group = group.drop_columns(["part"]).sort_by([("order", "ascending"), ("id", "ascending")])
    if part == SAMPLED:
        samples = group.select(["id", "url", "text"]).to_pylist()
        return pyarrow.table({"documents": [0], "characters": [0], "dropped": [json.dumps(samples)]})
    aside = folder / f".writing-{part:05d}-{uuid.uuid4().hex}"
    pyarrow.parquet.write_table(group.drop_columns(["order"]), aside, compression="zstd")
    aside.rename(folder / f"part-{part:05d}.parquet")
    characters = compute.sum(compute.utf8_length(group["text"])).as_py()
    return pyarrow.table({"documents": [group.num_rows], "characters": [characters], "dropped": ["[]"]})


def _documents(
    units: list[Unit],
    work: Path,
    columns: list[str],
    applying: Callable[[], Apply],
    config: CorpusConfig,
) -> "ray.data.Dataset":
    """The kept documents of all units, a table of BATCH_ROWS at a time through what `applying` gives each task."""

    def read(batch: "pyarrow.Table") -> Iterator["pyarrow.Table"]:
        import pyarrow
        import pyarrow.parquet

        apply = applying()
        for path in batch["path"].to_pylist():
            file = pyarrow.parquet.ParquetFile(path)
            for table in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                yield apply(pyarrow.Table.from_batches([table]))

    paths = [{"path": str(work / unit.name / "documents.parquet")} for unit in units]
    found = _data().from_items(paths, override_num_blocks=len(paths))
    return found.map_batches(read, batch_size=1, batch_format="pyarrow", num_cpus=config.cpus)


class Pulse:
    """Ray Data calls this in each round of its loop, also where nothing happens."""

    moved_s = 0.0
    """When a task last gave something or ended, on time.monotonic's clock."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, int]] = []
        Pulse.moved_s = time.monotonic()

    def before_execution_starts(self, executor: Any) -> None: ...

    def on_execution_step(self, executor: Any) -> None:
        operators = [operator.metrics for operator in executor._topology]
        seen = [(one.num_tasks_finished, one.num_task_outputs_generated) for one in operators]
        if seen != self._seen:
            self._seen, Pulse.moved_s = seen, time.monotonic()

    def after_execution_succeeds(self, executor: Any) -> None: ...

    def after_execution_fails(self, executor: Any, error: Exception) -> None: ...


def standstill_s(folder: Path) -> float:
    """Seconds since a task gave something, or one of any node wrote into `folder`."""
    newest_s = 0.0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            newest_s = max(newest_s, path.stat().st_mtime)
    return max(0.0, min(time.monotonic() - Pulse.moved_s, time.time() - newest_s))


def _data() -> Any:
    """Ray Data, silent on the terminal; its log files stay."""
    import ray.data
    from ray.data.context import ShuffleStrategy

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.custom_execution_callback_classes = [Pulse]
    context.raise_original_map_exception = True
    # Of tasks alone: the hash shuffle holds a core for each aggregator, and one core would wait for ever.
    context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    logger = logging.getLogger("ray.data")
    logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, logging.StreamHandler)]
    return ray.data


@contextmanager
def _readable_errors(units: Sequence[Unit] = (), work: Path | None = None) -> Iterator[None]:
    """A worker's failure as one line; a mistake of the user's that a worker found stays one.

    `units` are those that are being cleaned in `work`: a unit that was begun and not finished is named by its files.
    """
    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException = error
        while isinstance(inner := getattr(cause, "cause", None) or cause.__cause__, BaseException):
            cause = inner
        if isinstance(cause, UserError):
            raise UserError(str(cause)) from None
        lines = str(cause).strip().splitlines() or ["no message"]
        # Ray Data adds advice of its own below a message of ours.
        said = lines[0] if isinstance(cause, RunError) else f"{type(cause).__name__}: {lines[-1]}"
        raise RunError(
            f"a worker failed: {said}{_begun(units, work) if work else ''}; "
            "with --resume the run goes on from its finished units"
        ) from error


def _begun(units: Sequence[Unit], work: Path) -> str:
    """`; it was cleaning one of A, B`: a process that dies cannot say which."""
    names = [path.name for path in work.glob(".writing-*")]
    begun = [unit for unit in units if any(name.startswith(f".writing-{unit.name}-") for name in names)]
    files = [plain_name(file.path) for unit in begun for file in unit.files]
    more = f" and {len(files) - NUM_NAMED} more" if len(files) > NUM_NAMED else ""
    return f"; it was cleaning one of {', '.join(files[:NUM_NAMED])}{more}" if files else ""
