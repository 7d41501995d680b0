"""Rows of any data set, and tasks from rows. Raises UserError with the path, the column and what there is."""

from pathlib import Path
from typing import Any

from rlreason.config.schema import DataConfig
from rlreason.paths import find_function
from rlreason.types import Task, UserError

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"}


def load_rows(config: DataConfig) -> list[dict[str, Any]]:
    """All rows, in the data set's order; at least one."""
    rows = _generated(config) if config.generate is not None else _data_set(config)
    rows = rows[: config.limit]
    if not rows:
        raise UserError(f"data `{origin(config)}`: no rows")
    return rows


def load_tasks(config: DataConfig, source: str = "") -> list[Task]:
    """Tasks with ids that are stable over runs: the source's name and the row number."""
    rows = load_rows(config)
    wanted = [config.prompt_column] + ([config.answer_column] if config.answer_column else [])
    for column in wanted:
        require_column(rows, column, config)
    name = source or origin(config)
    return [_task(row, index, name, config) for index, row in enumerate(rows)]


def require_column(rows: list[dict[str, Any]], column: str, config: DataConfig) -> None:
    if column not in rows[0]:
        raise UserError(f"data `{origin(config)}`: no column `{column}`; its columns are {', '.join(rows[0])}")


def origin(config: DataConfig) -> str:
    return str(config.path or config.generate)


def _task(row: dict[str, Any], index: int, source: str, config: DataConfig) -> Task:
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


def _data_set(config: DataConfig) -> list[dict[str, Any]]:
    import datasets

    datasets.disable_progress_bars()
    path = str(config.path)
    builder = FORMATS.get(Path(path).suffix)
    try:
        if builder is None:
            return datasets.load_dataset(path, config.name, split=config.split).to_list()
        if not Path(path).is_file():
            raise UserError(f"data `{path}`: no such file")
        if not Path(path).stat().st_size:
            return []
        # A file is one split, which the library calls train; a slice of it is a slice of the file.
        split = "train" + config.split[config.split.find("[") :] if "[" in config.split else "train"
        return datasets.load_dataset(builder, data_files=path, split=split).to_list()
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError, ConnectionError) as error:
        if isinstance(error, UserError):
            raise
        cause = error.__cause__ or error
        raise UserError(f"data `{path}`: cannot be read: {' '.join(str(cause).split())[:300]}") from None
