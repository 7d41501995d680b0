"""The local files that a data section means: their formats, and which of a folder's belong to a split.

A name that says another split is never in: the words of `test-00000.parquet`, `my_test.jsonl`, `train_eval.csv` or
`dev/a.parquet` are read, not their beginnings. Files that say no split are those of `train` where no other file says
it. What is in doubt is refused with the list of files: name one of them as `path`, or put the others elsewhere.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from rlreason.data.corpus.records import COMPRESSIONS
from rlreason.types import UserError

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
BINARY = ("parquet", "arrow")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "validate", "val", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("test", "tests", "testing"), "test"),
    **dict.fromkeys(("eval", "evals", "evaluation", "evaluate"), "eval"),
    **dict.fromkeys(("held", "heldout", "holdout"), "held out"),
}
"""Words that say a split, also with `set`, `data` or `split` behind them: `testset`."""
NEARLY = re.compile(r"^(train|test|valid|eval)|(train|test|valid|eval)$")
"""A word such as `testbed` or `mytest`: perhaps it says one."""
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
HASH = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{8,}(?![0-9A-Za-z])")
SHARD = re.compile(r"\d+|of|part|shard|chunk|file|data|set|split|[a-z]")
"""Words that only count files."""
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What `datasets` writes beside the rows."""
NUM_LISTED = 10


def local_path(where: str) -> Path | None:
    """The file or folder; None for a name of the hub. UserError for what looks like a path and is not there."""
    path = Path(where)
    if os.path.exists(path):
        return path
    name = path.name.lower()
    is_file_name = any(name.endswith(ending) for ending in (*FORMATS, *COMPRESSIONS, ".txt", ".xlsx", ".pkl", ".zip"))
    is_path = where.startswith((".", "/", "~")) or where.endswith("/") or where.count("/") > 1
    # A folder of this machine is no owner of the hub.
    if is_file_name or is_path or os.path.islink(path) or (len(path.parts) > 1 and os.path.isdir(path.parent)):
        raise UserError(f"data `{where}`: no such file")
    return None


def file_format(path: Path) -> str | None:
    """jsonl, json, csv, tsv, parquet or arrow by the name's ending, compressed or not; None for any other."""
    name = path.name.lower()
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    found = FORMATS.get(Path(name).suffix)
    return None if found in BINARY and name != path.name.lower() else found


def split_files(path: Path, split: str, name: str | None) -> list[Path]:
    """The files of one split, sorted by name, all of one format. `name`: a folder in `path`. UserError for doubt."""
    if path.is_file():
        if file_format(path) is None:
            raise UserError(
                f"data `{path}`: cannot be read: its ending is none of {', '.join(FORMATS)}; all but the last two may "
                f"be compressed: {', '.join(COMPRESSIONS)}"
            )
        return [path]
    folder = path / name if name is not None else path
    if not folder.is_dir():
        raise UserError(f"data `{path}`: " + (f"there is no folder `{name}` in it" if name else "is no file"))
    try:
        files = sorted(_data_files(folder))
    except OSError as error:
        raise UserError(f"data `{error.filename or folder}`: cannot be read: {error.strerror}") from None
    if not files:
        raise UserError(f"data `{folder}`: no file that ends in one of {', '.join(FORMATS)}")
    found = _of_split(folder, files, split)
    formats = {file_format(file) for file in found}
    if len(formats) > 1:
        raise _doubt(folder, found, split, "files of several formats")
    return found


def _data_files(folder: Path, seen: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Those in the folder itself, else those in the folders below it; links are followed, but not in circles."""
    real = os.path.realpath(folder)
    found = [path for path in folder.iterdir() if not path.name.startswith((".", "_"))] if real not in seen else []
    own = [path for path in found if path.is_file() and file_format(path) and path.name not in METADATA]
    yield from own
    for path in found if not own else ():
        if path.is_dir():
            yield from _data_files(path, seen | {real})


def _of_split(folder: Path, files: list[Path], split: str) -> list[Path]:
    words = {file: _words(file.relative_to(folder)) for file in files}
    said = {file: _said(words[file]) for file in files}
    asked = _words(Path(f"{split}.jsonl"))
    wanted, rest = _said(asked), {word for word in asked if _split_of(word) is None}
    own = [file for file in files if said[file] == wanted and rest <= set(words[file])]
    silent = [file for file in files if not said[file]]
    if split == "train" and not own:
        own = silent
    elif wanted and own and silent:
        raise _doubt(folder, silent, split, "say no split beside others that do")
    unclear = [file for file in own if any(NEARLY.search(word) and not _split_of(word) for word in words[file])]
    if unclear:
        raise _doubt(folder, unclear, split, "may be of another")
    if not own:
        raise UserError(
            f"data `{folder}`: no file is of `split: {split}` by its name; there are {_listed(folder, files)}"
        )
    kinds = {tuple(word for word in words[file] if not _split_of(word) and not SHARD.fullmatch(word)) for file in own}
    if wanted and own != silent and len(kinds) > 1:
        raise _doubt(folder, own, split, "are of several kinds")
    return own


def _words(path: Path) -> list[str]:
    """`my_testSet-01/a.parquet`: my, test, set, 01, a."""
    name = path.name
    for ending in COMPRESSIONS:
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    parts = [*path.parts[:-1], Path(name).stem]
    return [word.lower() for part in parts for word in WORD.findall(HASH.sub(" ", part))]


def _said(words: list[str]) -> set[str]:
    return {found for word in words if (found := _split_of(word)) is not None}


def _split_of(word: str) -> str | None:
    return SPLITS.get(word) or SPLITS.get(re.sub(r"(set|data|split)$", "", word))


def _doubt(folder: Path, files: list[Path], split: str, why: str) -> UserError:
    return UserError(
        f"data `{folder}`: which files are of `split: {split}` is in doubt: {_listed(folder, files)} {why}; "
        "name one of them as `path`, or keep the others elsewhere"
    )


def _listed(folder: Path, files: list[Path]) -> str:
    names = [str(file.relative_to(folder)) for file in files]
    return ", ".join(names[:NUM_LISTED]) + (f" and {len(names) - NUM_LISTED} more" if len(names) > NUM_LISTED else "")
