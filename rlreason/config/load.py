"""Reads a configuration file: YAML with `extends:`, overrides `a.b=value`, one line for each error.

`extends: other.yaml` (path relative to the file) is read first; mappings merge key by key, anything else
replaces. Overrides come last. Raises UserError for every mistake a user can make.
"""

import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from rlreason.config import foreign
from rlreason.config.algorithm import PRESETS
from rlreason.config.schema import STAGES, AnyStage
from rlreason.types import UserError, raise_all


class _Loader(yaml.SafeLoader):
    """YAML as everyone means it: 1e-5 is a number; 010, 1:30 and 2024-01-31 are text; a key stands once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, Any] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value in first and key.tag != "tag:yaml.org,2002:merge":
                problem = f"`{key.value}` stands twice, here and in line {first[key.value].line + 1}; take one out"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                first[key.value] = key.start_mark
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, regex) for tag, regex in known if tag.rpartition(":")[2] not in ("int", "float", "timestamp")]
    for letter, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][\d_]*|0x[\da-fA-F_]+|0b[01_]+)$"), list("-+0123456789")
)


def load_stage(path: Path, overrides: list[str] | None = None) -> AnyStage:
    """The validated configuration of the stage in `path`. UserError, or UserErrors with all that is wrong in it."""
    raw = _read(path)
    for override in overrides or []:
        _apply_override(raw, override)
    raw = _written_out(raw)
    stage = raw.get("stage")
    if not isinstance(stage, str) or stage not in STAGES:
        raise UserError(f"{path}: `stage: {stage}` is not one of {', '.join(STAGES)}{_stage_hint(str(stage))}")
    raise_all([UserError(f"{path}: {key}: {value} is no finite number") for key, value in _not_finite(raw)])
    try:
        return STAGES[stage].model_validate(raw)
    except ValidationError as error:
        mistakes = explain(error, STAGES[stage])
    raise_all([UserError(f"{path}: {mistake}") for mistake in mistakes])
    raise AssertionError(mistakes)


def own_keys(path: Path) -> set[str]:
    """The sections that the file itself has; those of a file that it extends are not in it."""
    return set(read_mapping(path))


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
        raise UserError(f"{path}: {_yaml_problem(error)}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected `key: value` lines, found {type(raw).__name__}")
    return raw


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    line = f"line {mark.line + 1}: " if mark is not None else ""
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"{line}{problem}"
    return f"{line}bad YAML: {problem or ' '.join(str(error).split())}"


def _written_out(raw: dict[str, Any]) -> dict[str, Any]:
    """With the short forms `algorithm: dapo` and `lora: true` as the sections that they stand for."""
    found = dict(raw)
    if isinstance(found.get("algorithm"), str):
        found["algorithm"] = {"preset": found["algorithm"]}
    for key in ("learner", "critic"):
        section = found.get(key)
        if isinstance(section, dict) and isinstance(section.get("lora"), bool):
            found[key] = section | {"lora": {} if section["lora"] else None}
    return found


def _not_finite(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Dotted key and value of numbers that are infinite or none, wherever they stand."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from _not_finite(child, f"{key}.{name}" if key else str(name))
    if isinstance(value, float) and not math.isfinite(value):
        yield key, value


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in seen:
        raise UserError(f"{path}: `extends` goes round in a circle")
    raw = _written_out(read_mapping(path))
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
        raise UserError(f"override `{override}`: {_yaml_problem(error)}") from None
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
    if child is None or (child is True and key == "lora"):
        child = node[key] = {}
    if not isinstance(child, dict | list):
        raise UserError(f"override `{override}`: `{key}` is a value, not a section")
    return child


def _index(node: list[Any], key: str, override: str) -> int:
    if not (key.isascii() and key.isdigit()) or int(key) >= len(node):
        raise UserError(f"override `{override}`: `{key}` is not an index of a list of {len(node)}")
    return int(key)


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """The mistakes, one line each; an unknown key names the one that was meant."""
    found = [_mistake(one, model) for one in error.errors()]
    meant = " ".join(line for line in found if line.startswith("unknown key"))
    # A missing key that an unknown one stands for is the same mistake.
    return [line for line in found if not (line.startswith("missing key") and line.split("`")[1] in meant)]


def _mistake(error: Any, model: type[BaseModel]) -> str:
    loc = error["loc"]
    # One set alone may stand without a name, and its keys are then those of `tasks` or `data` itself.
    where = ".".join(str(part) for place, part in enumerate(loc) if not place or part != loc[place - 1])
    if error["type"] == "extra_forbidden":
        return f"unknown key `{where}`{_hint(model, loc, where, error['input'])}"
    if error["type"] == "missing":
        return f"missing key `{where}`"
    if error["type"] == "string_too_short":
        return f"{where}: is empty; give a text, or take it out"
    message = error["msg"].removeprefix("Value error, ")
    value = "" if isinstance(error["input"], dict | BaseModel) else f", got {error['input']!r}"
    return f"{where + ': ' if where else ''}{message}{value}"


def _hint(model: type[BaseModel], loc: tuple[int | str, ...], where: str, value: Any) -> str:
    """What an unknown key probably means: another trainer's word, one of another section, or a slip of the pen."""
    known = [".".join(key) for key in _all_keys(model)]
    siblings = _keys_at(model, loc[:-1])
    pairs: dict[str, str] = {}
    for leaf in foreign.leaves(value, where):
        meant = [key for key in foreign.ours(leaf) if key in known or key in siblings]
        pairs |= {leaf: meant[0]} if meant else {}
    if list(pairs) == [where]:
        return f"; did you mean `{pairs[where]}`?"
    if pairs:
        return "; " + ", ".join(f"`{leaf}` is `{key}` here" for leaf, key in list(pairs.items())[:5])
    elsewhere = [key for key in known if key.rpartition(".")[2] == loc[-1]]
    if len(elsewhere) == 1 or (elsewhere and len(loc) == 1):
        return f"; did you mean `{elsewhere[0]}`?"
    return _nearest(str(loc[-1]), siblings)


def _all_keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of all sections, as paths; of lists and of sections by name nothing below."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        if field.annotation is not None and get_origin(field.annotation) not in (list, dict):
            section = _section(field.annotation)
            if section is not None:
                yield from _all_keys(section, (*above, name))


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


def _stage_hint(word: str) -> str:
    if word in PRESETS:
        return f"; `{word}` is an algorithm: write `stage: rl` and `algorithm: {word}`"
    if word in foreign.STAGES:
        return f"; did you mean `{foreign.STAGES[word]}`?"
    return _nearest(word, STAGES)


def _nearest(word: str, valid: Any) -> str:
    near = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    return _nearest(path.name, [entry.name for entry in path.parent.iterdir()])
