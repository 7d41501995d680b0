"""Rows of any data set, and tasks from rows. Raises UserError with the path, the column and what there is."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlreason.config.data import DataConfig, TaskConfig
from rlreason.paths import find_function, require_arguments
from rlreason.runlog import file_hash
from rlreason.types import Task, UserError, read_tests

SEPARATORS = {".csv": ",", ".tsv": "\t"}
FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"} | dict.fromkeys(
    SEPARATORS, "csv"
)
Rows = Sequence[dict[str, Any]]


def open_rows(config: DataConfig) -> Rows:
    """The rows in the data set's order, at least one; a data set's are read from disk as they are asked for."""
    rows = _generated(config) if config.generate is not None else _data_set(config)
    if config.limit is not None and config.limit < len(rows):
        rows = rows[: config.limit] if isinstance(rows, list) else rows.select(range(config.limit))
    if not len(rows):
        raise UserError(f"data `{origin(config)}`: no rows")
    return rows


def load_rows(config: DataConfig) -> list[dict[str, Any]]:
    """All rows of `open_rows`, in memory."""
    rows: Any = open_rows(config)
    return rows if isinstance(rows, list) else list(rows.to_list())


def fingerprint(config: DataConfig) -> str:
    """A hash of the rows that a run reads and of their order: the same wherever the files lie and whenever they were
    written. Local files are read whole, at about 1 GB/s; a function is called unless this process has its rows' hash.
    UserError as in `open_rows`.
    """
    if config.generate is not None:
        if _made_by(config) not in _made:
            _generated(config)
        found = [_made[_made_by(config)]]
    else:
        files, builder = _files(config)
        found = [file_hash(file) for file in files] if builder else [_data_set(config)._fingerprint]
    return hashlib.sha256(json.dumps([found, config.name, config.split, config.limit]).encode()).hexdigest()


def texts_of(rows: Any, column: str, config: DataConfig) -> Iterator[str]:
    """One column of `open_rows`, read as it is asked for. UserError where there is none of that name, or no text."""
    require_column(rows, column, config)
    if isinstance(rows, list):
        values = (row[column] for row in rows)
    else:
        values = (value for batch in rows.select_columns([column]).iter(1000) for value in batch[column])
    for number, text in enumerate(values):
        if not isinstance(text, str):
            raise UserError(f"data `{origin(config)}`, row {number}: `{column}` is not text")
        yield text


def load_tasks(config: TaskConfig, source: str = "") -> list[Task]:
    return tasks_of(load_rows(config), config, source)


def tasks_of(rows: list[dict[str, Any]], config: TaskConfig, source: str = "") -> list[Task]:
    """One task a row, with ids that are stable over runs: the source's name and the row number."""
    wanted = [config.prompt_column] + ([config.answer_column] if config.answer_column else [])
    for column in wanted:
        require_column(rows, column, config)
    name = source or origin(config)
    return [_task(row, index, name, config) for index, row in enumerate(rows)]


def require_column(rows: Rows, column: str, config: DataConfig) -> None:
    """Raises UserError for a row without it. A data set's rows have the same columns, a function's may not."""
    for number, row in enumerate(rows if isinstance(rows, list) else [rows[0]]):
        where = f"data `{origin(config)}`" + (f", row {number}" if number else "")
        if not isinstance(row, Mapping):
            raise UserError(f"{where}: a row is a {type(row).__name__}, not a dict of columns")
        if column not in row:
            raise UserError(f"{where}: no column `{column}`; its columns are {', '.join(map(str, row))}")


def origin(config: DataConfig) -> str:
    return str(config.path or config.generate)


def _task(row: dict[str, Any], index: int, source: str, config: TaskConfig) -> Task:
    where = f"data `{source}`, row {index}"
    prompt = row[config.prompt_column]
    if _is_chat(prompt):
        prompt = tuple(prompt)
    elif not isinstance(prompt, str):
        raise UserError(
            f"{where}: `{config.prompt_column}` is neither text nor a list of messages, each with role and content"
        )
    if config.template is not None:
        if not isinstance(prompt, str):
            raise UserError(f"{where}: `template` is for text, this prompt is a list of messages")
        prompt = fill(config.template, row, prompt, f"data `{source}`: `template`")
    answer = row[config.answer_column] if config.answer_column else None
    used = {config.prompt_column, config.answer_column, "tests", "source"}
    return Task(
        id=f"{source}:{index}",
        prompt=prompt,
        answer=tuple(map(str, answer)) if isinstance(answer, list) else None if answer is None else str(answer),
        tests=read_tests(row.get("tests"), where),
        source=str(row.get("source") or source),
        columns={key: value for key, value in row.items() if key not in used},
    )


def fill(template: str, row: Mapping[str, Any], prompt: str, where: str) -> str:
    """The template with `prompt`, and the row's other columns by their names. `where`: for UserError."""
    try:
        return template.format(**{**row, "prompt": prompt})
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{where} cannot be filled in: {error!r}; write braces twice; the columns are {', '.join(map(str, row))}"
        ) from None


def _is_chat(prompt: Any) -> bool:
    """Messages, with roles and text; which roles there are the chat template knows."""
    return (
        isinstance(prompt, list)
        and bool(prompt)
        and all(isinstance(item, Mapping) for item in prompt)
        and all(isinstance(item.get(key), str) for item in prompt for key in ("role", "content"))
    )


_made: dict[str, str] = {}
"""Hashes of the rows that functions returned, by `_made_by`."""


def _made_by(config: DataConfig) -> str:
    """The function, its arguments and, where it names one, the contents of its file."""
    code = Path(str(config.generate).rpartition(":")[0])
    return config.model_dump_json(include={"generate", "args"}) + (file_hash(code) if code.is_file() else "")


def _generated(config: DataConfig) -> list[dict[str, Any]]:
    """What the function itself raises is its author's to see, and is not caught."""
    assert config.generate is not None
    name, function = f"data `{config.generate}`", find_function(config.generate)
    require_arguments(function, name, **config.args)
    rows = function(**config.args)
    if not isinstance(rows, Iterable):
        raise UserError(f"{name}: returned {type(rows).__name__}, not rows; let it return a list of dicts")
    found, digest = list(rows), hashlib.sha256()
    for number, row in enumerate(found):
        try:
            digest.update(json.dumps(row, ensure_ascii=False, default=str, skipkeys=True).encode() + b"\n")
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])
            raise UserError(
                f"{name}, row {number}: holds half a character, {half}; decode its text with errors='replace'"
            ) from None
    _made[_made_by(config)] = digest.hexdigest()
    return found


def _files(config: DataConfig) -> tuple[list[Path], str | None]:
    """The local files that hold the rows, and the builder of `datasets` that reads them; None for a hub's name."""
    path = Path(str(config.path))
    if not path.is_dir():
        if path.suffix in FORMATS and not path.is_file():
            raise UserError(f"data `{path}`: no such file")
        return [path], FORMATS.get(path.suffix)
    # A folder of Parquet files is one split too, unless their names begin with those of several.
    parts, name = sorted(path.glob("*.parquet")), config.split.partition("[")[0]
    files = [part for part in parts if part.name.startswith(name)] or (parts if name == "train" else [])
    return files, "parquet" if files else None


def _data_set(config: DataConfig) -> Any:
    """A `datasets.Dataset`, or [] for an empty file."""
    import datasets

    datasets.disable_progress_bars()
    path = Path(str(config.path))
    # A file is one split, which the library calls train; a slice of it is a slice of the file.
    _, bracket, places = config.split.partition("[")
    options: dict[str, Any] = {}
    files, builder = _files(config)
    try:
        if builder is None:
            return datasets.load_dataset(str(config.path), config.name, split=config.split)
        if not sum(file.stat().st_size for file in files):
            return []
        if builder == "csv":
            options = _as_text(path, SEPARATORS[path.suffix])
        data_files = [str(file) for file in files]
        return datasets.load_dataset(builder, data_files=data_files, split="train" + bracket + places, **options)
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError, ConnectionError) as error:
        if isinstance(error, UserError):
            raise
        cause = error.__cause__ or error
        raise UserError(f"data `{path}`: cannot be read: {' '.join(str(cause).split())[:300]}") from None


def _as_text(path: Path, separator: str) -> dict[str, Any]:
    """Options with which every cell of a CSV file stays as it is written: `007` is no 7 and `NA` not missing. An empty
    cell is None.
    """
    import datasets
    import pandas  # type: ignore[import-untyped]

    head = pandas.read_csv(path, sep=separator, nrows=1, dtype=str)
    if not isinstance(head.index, pandas.RangeIndex):  # else the first column would silently be an index
        raise UserError(f"data `{path}`: row 0 has more cells than the header; name every column")
    columns = datasets.Features({str(name): datasets.Value("string") for name in head.columns})
    return {"sep": separator, "keep_default_na": False, "na_values": [""], "features": columns}
