"""Reads a configuration file: YAML with `extends:`, overrides `a.b=value`, errors of one line.

`extends: other.yaml` (path relative to the file) is read first; mappings merge key by key, anything else
replaces. Overrides come last. Raises UserError for every mistake a user can make.
"""

import difflib
import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from rlreason.config.schema import STAGES, AnyStage
from rlreason.types import UserError


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-5 as text; a number is what everyone means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_stage(path: Path, overrides: list[str] | None = None) -> AnyStage:
    """The validated configuration of the stage in `path`."""
    raw = _read(path)
    for override in overrides or []:
        _apply_override(raw, override)
    stage = raw.get("stage")
    if not isinstance(stage, str) or stage not in STAGES:
        raise UserError(f"{path}: `stage: {stage}` is not one of {', '.join(STAGES)}{_nearest(str(stage), STAGES)}")
    try:
        return STAGES[stage].model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, STAGES[stage])}") from None


def recipe_files(folder: Path) -> list[Path]:
    """The stage files of a recipe, in run order: `NN-name.yaml`, sorted by name."""
    files = sorted(path for path in folder.glob("*.yaml") if path.name[:1].isdigit())
    if not files:
        raise UserError(f"{folder}: no stage files; a recipe is a folder of NN-name.yaml files")
    return files


def dump(config: BaseModel) -> str:
    """The resolved configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file as they stand there. UserError where it cannot be read or is no mapping."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{_nearest_file(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: bad YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected `key: value` lines, found {type(raw).__name__}")
    return raw


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in seen:
        raise UserError(f"{path}: `extends` goes round in a circle")
    raw = read_mapping(path)
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    return _merge(_read((path.parent / str(parent)).resolve(), (*seen, path)), raw)


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"override `{override}`: expected key=value, such as learner.lr=1e-5")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"override `{override}`: bad YAML: {' '.join(str(error).split())}") from None
    node: Any = raw
    *parents, last = key.split(".")
    for parent in parents:
        node = _child(node, parent, override)
    if isinstance(node, list):
        node[_index(node, last, override)] = value
    else:
        node[last] = value


def _child(node: Any, key: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, key, override)]
    child = node.setdefault(key, {})
    if not isinstance(child, dict | list):
        raise UserError(f"override `{override}`: `{key}` is a value, not a section")
    return child


def _index(node: list[Any], key: str, override: str) -> int:
    if not (key.isascii() and key.isdigit()) or int(key) >= len(node):
        raise UserError(f"override `{override}`: `{key}` is not an index of a list of {len(node)}")
    return int(key)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake in one line; an unknown key names the nearest valid one."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        keys = _keys_at(model, first["loc"][:-1])
        return f"unknown key `{where}`{_nearest(str(first['loc'][-1]), keys)}{more}"
    if first["type"] == "missing":
        return f"missing key `{where}`{more}"
    message = first["msg"].removeprefix("Value error, ")
    value = "" if isinstance(first["input"], dict | BaseModel) else f", got {first['input']!r}"
    return f"{where + ': ' if where else ''}{message}{value}{more}"


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the section at `loc`."""
    current: Any = model
    for part in loc:
        if isinstance(part, int):
            continue
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = _section(current.model_fields[part].annotation)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _section(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _section(argument)
        if found is not None:
            return found
    return None


def _nearest(word: str, valid: Any) -> str:
    near = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    return _nearest(path.name, [entry.name for entry in path.parent.iterdir()])
