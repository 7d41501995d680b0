"""Rows of any data set, read as they are asked for: local files, a data set of the hub, what a function returns.

JSON and CSV are kept as they are written (json_rows.py). Parquet and Arrow keep their types; they are read through the
cache of `datasets`, as is the hub, where numbers and dates of JSON files are what `datasets` made of them.
Raises UserError with the path, the line or row, and what is wrong there.
"""

import glob
import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, groupby, islice
from pathlib import Path
from typing import Any, Protocol

from rlreason.config.data import DataConfig
from rlreason.data.json_rows import Row, Spelled, csv_rows, half_a_character, json_rows
from rlreason.data.splits import file_format, local_path, split_files
from rlreason.paths import find_function, require_arguments
from rlreason.runlog import file_hash
from rlreason.types import UserError

ROWS_AT_ONCE = 1000


class Table(Protocol):
    """The rows of one file, or of several of one type."""

    def __len__(self) -> int: ...

    def read(self, places: range) -> Iterator[Row]: ...

    def only(self, column: str) -> "Table": ...


class Rows(Sequence[Row]):
    """Rows of one or more tables, read as they are asked for."""

    def __init__(self, parts: Iterable[tuple[Table, range]]) -> None:
        """`parts`: tables, each with the places of the rows that are taken."""
        self._parts = [(table, places) for table, places in parts if places]
        self._ends = list(accumulate(len(places) for _, places in self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        """One row; a list of rows for a slice."""
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        part = bisect_right(self._ends, places)
        table, taken = self._parts[part]
        place = taken[places - self._ends[part]]  # counted from the end: both are negative
        return next(table.read(range(place, place + 1)))

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(table.read(places) for table, places in self._parts)

    def only(self, column: str) -> "Rows":
        """The same rows; other columns need not be read."""
        return Rows((table.only(column), places) for table, places in self._parts)

    def first(self, num: int) -> "Rows":
        begun = [end - len(places) for (_, places), end in zip(self._parts, self._ends, strict=True)]
        return Rows(
            (table, places[: max(0, num - start)]) for (table, places), start in zip(self._parts, begun, strict=True)
        )


def open_rows(config: DataConfig) -> Sequence[Row]:
    """The rows in the data set's order, at least one."""
    found: Sequence[Row]
    if config.generate is not None:
        found = _generated(config)
    else:
        stored = _stored(config)
        found = stored if config.limit is None else stored.first(config.limit)
    if not len(found):
        raise UserError(f"data `{origin(config)}`: no rows")
    return found


def load_rows(config: DataConfig) -> list[Row]:
    """All rows of `open_rows`, in memory."""
    return list(open_rows(config))


def texts_of(rows: Sequence[Row], column: str, config: DataConfig) -> Iterator[str]:
    """One column of `open_rows`, read as it is asked for. UserError where there is none of that name, or no text."""
    for number, row in enumerate(rows.only(column) if isinstance(rows, Rows) else rows):
        require_column(row, column, number, config)
        text = row[column]
        if not isinstance(text, str):
            raise UserError(f"data `{origin(config)}`, row {number}: `{column}` is not text")
        yield text


def require_column(row: Any, column: str, number: int, config: DataConfig) -> None:
    """Raises UserError for a row without the column."""
    where = f"data `{origin(config)}`, row {number}"
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: a row is a {type(row).__name__}, not a dict of columns")
    if column not in row:
        raise UserError(f"{where}: no column `{column}`; its columns are {', '.join(map(str, row))}")


def origin(config: DataConfig) -> str:
    return str(config.path or config.generate)


def fingerprint(config: DataConfig) -> str:
    """A hash of the rows that a run reads and of their order: the same wherever the files lie and whenever they were
    written. Local files are read whole, at about 1 GB/s; a function is called unless this process has its rows' hash.
    UserError as in `open_rows`.
    """
    if config.generate is not None:
        if _made_by(config) not in _made:
            _generated(config)
        found = [_made[_made_by(config)]]
    elif (path := local_path(str(config.path))) is not None:
        files = [file for name in _split_names(config) for file in split_files(path, name, config.name)]
        with _readable(path):
            found = [file_hash(file) for file in files]
    else:
        found = [_of_hub(config)._fingerprint]
    return hashlib.sha256(json.dumps([found, config.name, config.split, config.limit]).encode()).hexdigest()


_made: dict[str, str] = {}
"""Hashes of the rows that functions returned, by `_made_by`."""


def _made_by(config: DataConfig) -> str:
    """The function, its arguments, how many of its rows, and, where it names one, the contents of its file."""
    code = Path(str(config.generate).rpartition(":")[0])
    return config.model_dump_json(include={"generate", "args", "limit"}) + (file_hash(code) if code.is_file() else "")


def _generated(config: DataConfig) -> list[Row]:
    """Its first rows, of a generator no more than are wanted. What the function itself raises is its author's to see,
    and is not caught.
    """
    assert config.generate is not None
    name, function = f"data `{config.generate}`", find_function(config.generate)
    require_arguments(function, name, **config.args)
    rows = function(**config.args)
    if not isinstance(rows, Iterable):
        raise UserError(f"{name}: returned {type(rows).__name__}, not rows; let it return a list of dicts")
    found, digest = list(islice(rows, config.limit)), hashlib.sha256()
    for number, row in enumerate(found):
        try:
            digest.update(json.dumps(row, ensure_ascii=False, default=str, skipkeys=True).encode() + b"\n")
        except UnicodeEncodeError as error:
            raise UserError(
                f"{name}, row {number}: {half_a_character(error)}; decode its text with errors='replace'"
            ) from None
    _made[_made_by(config)] = digest.hexdigest()
    return found


def _split_names(config: DataConfig) -> list[str]:
    """`train[:10%]+test`: train, test."""
    return list(dict.fromkeys(part.partition("[")[0].strip() for part in config.split.split("+")))


def _stored(config: DataConfig) -> Rows:
    path = local_path(str(config.path))
    if path is None:
        found = _of_hub(config)
        return Rows([(ArrowRows(found, str(config.path)), range(len(found)))])
    names = _split_names(config)
    if path.is_file() and len(names) > 1:
        raise UserError(f"data `{path}`: one file is one split; `split: {config.split}` names {len(names)}")
    tables = {name: _tables(split_files(path, name, config.name)) for name in names}
    parts = []
    for name, taken in _slices(config, {name: sum(map(len, found)) for name, found in tables.items()}):
        start = 0
        for table in tables[name]:
            first, last = max(taken.start - start, 0), min(taken.stop - start, len(table))
            parts.append((table, range(first, max(first, last))))
            start += len(table)
    return Rows(parts)


def _slices(config: DataConfig, lengths: dict[str, int]) -> list[tuple[str, range]]:
    """The places that `split` takes of each name."""
    if "[" not in config.split:
        return [(name, range(length)) for name, length in lengths.items()]
    import datasets

    # The library knows no name such as `train-a`.
    plain = {name: f"split{number}" for number, name in enumerate(lengths)}
    parts = [part.strip().partition("[") for part in config.split.split("+")]
    text = "+".join(f"{plain[name.strip()]}{bracket}{places}" for name, bracket, places in parts)
    try:
        found = datasets.ReadInstruction.from_spec(text).to_absolute({plain[name]: lengths[name] for name in lengths})
    except (ValueError, AssertionError):
        has = ", ".join(f"`{name}` has {length} rows" for name, length in lengths.items())
        raise UserError(
            f"data `{config.path}`: `split: {config.split}` cannot be taken ({has}); write `train[:100]`"
        ) from None
    names = {made: name for name, made in plain.items()}
    return [(names[one.splitname], range(one.from_ or 0, lengths[names[one.splitname]] if one.to is None else one.to))
            for one in found]  # fmt: skip


def _tables(files: Sequence[Path]) -> list[Table]:
    """The tables of files of one format, in their order."""
    with _readable(files[0]):
        match file_format(files[0]):
            case "parquet" | "arrow" as builder:
                found = [path for path in files if path.stat().st_size]
                return [_arrow_rows(builder, list(group)) for _, group in groupby(found, key=_schema)]
            case "csv":
                return [csv_rows(path, ",") for path in files]
            case "tsv":
                return [csv_rows(path, "\t") for path in files]
            case form:
                return [json_rows(path, may_be_array=form == "json") for path in files]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"data `{error.filename or path}`: cannot be read: {error.strerror or error}") from None


def _schema(path: Path) -> str:
    """Files of one schema are read together; "" where there is none, which is told when the file is read."""
    import pyarrow
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".parquet":
            return str(pyarrow.parquet.read_schema(path).remove_metadata())
        return str(path)
    except (pyarrow.ArrowException, ValueError):
        return str(path)


def _arrow_rows(builder: str, files: list[Path]) -> Table:
    import datasets

    names = [glob.escape(str(path.absolute())) for path in files]
    return ArrowRows(_loaded(str(files[0]), builder, data_files=names, split=datasets.Split.TRAIN), str(files[0]))


def _of_hub(config: DataConfig) -> Any:
    return _loaded(str(config.path), str(config.path), config.name, split=config.split)


def _loaded(where: str, *args: Any, **options: Any) -> Any:
    """A `datasets.Dataset`."""
    import datasets
    import pyarrow

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(*args, **options)
    except (
        datasets.exceptions.DatasetGenerationError, pyarrow.ArrowException, ValueError, OSError, ConnectionError
    ) as error:  # fmt: skip
        cause = error.__cause__ or error
        raise UserError(f"data `{where}`: cannot be read: {' '.join(str(cause).split())[:300]}") from None


class ArrowRows:
    """The rows of a `datasets.Dataset`."""

    def __init__(self, dataset: Any, where: str) -> None:
        self._dataset, self._where = dataset, where
        types = {name: str(feature) for name, feature in dataset.features.items()}
        self._short = [name for name, kind in types.items() if kind in ("Value('float32')", "Value('float16')")]

    def __len__(self) -> int:
        return len(self._dataset)

    def only(self, column: str) -> "ArrowRows":
        has = column in self._dataset.column_names
        return ArrowRows(self._dataset.select_columns([column]), self._where) if has else self

    def read(self, places: range) -> Iterator[Row]:
        for start in places[::ROWS_AT_ONCE]:
            stop = min(start + ROWS_AT_ONCE, places.stop)
            columns = self._columns(start, stop)
            for values in zip(*columns.values(), strict=True):
                row = dict(zip(columns, values, strict=True))
                yield row | {name: _short(row[name]) for name in self._short} if self._short else row

    def _columns(self, start: int, stop: int) -> dict[str, list[Any]]:
        import pyarrow

        try:
            found: dict[str, list[Any]] = self._dataset[start:stop]
            return found
        except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # text that is no UTF-8, the year 20000
            if stop - start > 1:
                for place in range(start, stop):
                    self._columns(place, place + 1)
            said = " ".join(str(error).split())[:200]
            raise UserError(f"data `{self._where}`, row {start}: cannot be read: {said}") from None


def _short(value: float | None) -> float | None:
    """0.1 and not 0.10000000149011612: the shortest text that is this number in 32 bits."""
    import numpy

    return None if value is None else Spelled.of(repr(float(str(numpy.float32(value)))))
