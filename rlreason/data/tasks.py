"""Rows of any data set, and tasks from rows. Raises UserError with the path, the column and what there is."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlreason.config.data import DataConfig, TaskConfig
from rlreason.paths import find_function
from rlreason.types import Task, UserError

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"}
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


def open_texts(config: DataConfig, column: str) -> Iterator[str]:
    """One column of `open_rows`, read as it is asked for. Raises UserError as `texts_of` does."""
    return texts_of(open_rows(config), column, config)


def texts_of(rows: Any, column: str, config: DataConfig) -> Iterator[str]:
    """One column. Raises UserError where there is no such column or it holds no text."""
    require_column(rows, column, config)
    if isinstance(rows, list):
        values = (row.get(column) for row in rows)
    else:
        values = (value for batch in rows.select_columns([column]).iter(1000) for value in batch[column])
    for number, text in enumerate(values):
        if not isinstance(text, str):
            raise UserError(f"data `{origin(config)}`, row {number}: `{column}` is not text")
        yield text


def load_tasks(config: TaskConfig, source: str = "") -> list[Task]:
    """Tasks with ids that are stable over runs: the source's name and the row number."""
    rows = load_rows(config)
    wanted = [config.prompt_column] + ([config.answer_column] if config.answer_column else [])
    for column in wanted:
        require_column(rows, column, config)
    name = source or origin(config)
    return [_task(row, index, name, config) for index, row in enumerate(rows)]


def require_column(rows: Rows, column: str, config: DataConfig) -> None:
    if column not in rows[0]:
        raise UserError(f"data `{origin(config)}`: no column `{column}`; its columns are {', '.join(rows[0])}")


def origin(config: DataConfig) -> str:
    return str(config.path or config.generate)


def _task(row: dict[str, Any], index: int, source: str, config: TaskConfig) -> Task:
    prompt = row[config.prompt_column]
    if isinstance(prompt, list):
        prompt = tuple(prompt)
    elif not isinstance(prompt, str):
        raise UserError(
            f"data `{source}`, row {index}: `{config.prompt_column}` is neither text nor a list of messages"
        )
    if config.template is not None:
        if not isinstance(prompt, str):
            raise UserError(f"data `{source}`, row {index}: `template` is for text, this prompt is a list of messages")
        try:
            prompt = config.template.format(**{**row, "prompt": prompt})
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise UserError(f"data `{source}`: `template` cannot be filled in: {error!r}; write braces twice") from None
    answer = row[config.answer_column] if config.answer_column else None
    used = {config.prompt_column, config.answer_column, "tests", "source"}
    return Task(
        id=f"{source}:{index}",
        prompt=prompt,
        answer=tuple(map(str, answer)) if isinstance(answer, list) else None if answer is None else str(answer),
        tests=tuple(row.get("tests") or ()),
        source=str(row.get("source") or source),
        columns={key: value for key, value in row.items() if key not in used},
    )


def _generated(config: DataConfig) -> list[dict[str, Any]]:
    assert config.generate is not None
    try:
        return list(find_function(config.generate)(**config.args))
    except TypeError as error:
        raise UserError(f"data `{config.generate}`: wrong `args`: {error}") from None


def _data_set(config: DataConfig) -> Any:
    """A `datasets.Dataset`, or [] for an empty file."""
    import datasets

    datasets.disable_progress_bars()
    path = Path(str(config.path))
    # A file is one split, which the library calls train; a slice of it is a slice of the file.
    name, bracket, places = config.split.partition("[")
    builder, files = FORMATS.get(path.suffix), [path]
    if path.is_dir():
        # A folder of Parquet files is one split too, unless their names begin with those of several.
        parts = sorted(path.glob("*.parquet"))
        files = [part for part in parts if part.name.startswith(name)] or (parts if name == "train" else [])
        builder = "parquet" if files else None
    try:
        if builder is None:
            return datasets.load_dataset(str(config.path), config.name, split=config.split)
        if not path.exists():
            raise UserError(f"data `{path}`: no such file")
        if not sum(file.stat().st_size for file in files):
            return []
        data_files = [str(file) for file in files]
        return datasets.load_dataset(builder, data_files=data_files, split="train" + bracket + places)
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError, ConnectionError) as error:
        if isinstance(error, UserError):
            raise
        cause = error.__cause__ or error
        raise UserError(f"data `{path}`: cannot be read: {' '.join(str(cause).split())[:300]}") from None
