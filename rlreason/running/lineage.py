"""Where an artifact comes from: the stages of a recipe that a configuration names, and what decides its result.

`stage:NAME` anywhere in a configuration stands for the artifact of an earlier stage. A stage's fingerprint covers its
configuration, its parents' artifacts, the rows of its data, and the local files and the source of the modules that it
names (of a corpus' folders and patterns: names, sizes and times). While it is the same, a stage that is done need not
run again, and one that is not may go on. Does not cover: where and how fast things run, the package's own code, and
what a user's module imports.
"""

import glob
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rlreason.config.data import DataConfig
from rlreason.config.schema import STAGES, AnyStage
from rlreason.runlog import file_hash, tree_hash
from rlreason.types import UserError

PREFIX = "stage:"
MODELS = {"pretrain", "sft", "dpo", "rl"}
WITHOUT_EFFECT = (
    *("loggers", "watchdog", "stall_s", "checkpoints", "reward_workers", "cpus"),
    *(f"{of}.{key}" for of in ("learner", "critic") for key in ("cpus", "threads", "micro_batch_tokens")),
    *("scorers.cpus", "scorers.threads", "scorers.batch_tokens"),
    *("learner.gradient_checkpointing", "critic.gradient_checkpointing"),
    *("rollout.cpus", "rollout.threads", "rollout.gpu_memory_utilization", "rollout.sync_bucket_bytes"),
)
"""Keys of a configuration that change no result: where and how fast things run."""
MAY_CHANGE = (
    *WITHOUT_EFFECT,
    *("steps", "parity_tolerance", "rewards.*.timeout_s", "rewards.*.memory_gib"),
    *("eval.every", "held_out.every", "held_out.prompts", "held_out.continuation_tokens"),
    *("learner.gpus", "learner.pack_tokens", "learner.lora.send", "critic.gpus", "critic.pack_tokens"),
    *(f"{of}.{key}" for of in ("rollout", "scorers") for key in ("workers", "gpus")),
    *(f"rollout.{key}" for key in ("max_concurrent", "kv_cache_gib", "tensor_parallel", "weight_sync")),
)
"""Keys that may be others when a stage goes on: a `*` stands for one part."""
SECTIONS = ("config", "parents", "files", "data", "hub")
"""What of a fingerprint is compared, what a user changes first."""
Changes = dict[str, tuple[Any, Any]]
"""Dotted key of a fingerprint -> its value then and now; None where there is none."""


def references(config: AnyStage) -> dict[str, str]:
    """Dotted key -> NAME, for each `stage:NAME` in the configuration."""
    return {key: value.removeprefix(PREFIX) for key, value in _texts(_values(config)) if value.startswith(PREFIX)}


def check_references(config: AnyStage, where: str, earlier: Mapping[str, str]) -> None:
    """`earlier`: NAME -> kind of stage. Raises UserError where NAME is no earlier stage or makes something else."""
    for key, name in references(config).items():
        if name not in earlier:
            raise UserError(f"{where}: {key} `stage:{name}`: no earlier stage of the recipe has that name")
        wanted = {"model": MODELS, "tokenizer": MODELS | {"tokenizer"}}.get(key, {"corpus"})
        if _is_reward_model(key):
            wanted = {"reward_model"}
        elif key == "model" and config.stage == "reward_model":
            wanted = MODELS | {"reward_model"}
        if earlier[name] not in wanted:
            raise UserError(
                f"{where}: {key} `stage:{name}`: that is a stage of kind {earlier[name]}; "
                f"wanted here is one of kind {' or '.join(sorted(wanted))}"
            )


def resolve(config: AnyStage, recipe_dir: Path | None) -> AnyStage:
    """The configuration with the artifacts' paths in place of `stage:NAME`. UserError outside of a recipe."""
    found = references(config)
    if not found:
        return config
    if recipe_dir is None:
        key, name = next(iter(found.items()))
        raise UserError(f"{key} `stage:{name}` names a stage of a recipe; to run this stage alone give {key}=PATH")
    return STAGES[config.stage].model_validate(_replaced(_values(config), recipe_dir))


def parents(config: AnyStage, recipe_dir: Path | None) -> dict[str, Path]:
    """The artifacts that the stage builds on: of earlier stages by NAME, local models and tokenizers by their path."""
    found = {name: recipe_dir / name / "final" for name in references(config).values()} if recipe_dir else {}
    for key, text in _texts(_values(config)):
        if (
            (key in ("model", "tokenizer") or _is_reward_model(key))
            and not text.startswith(PREFIX)
            and Path(text).is_dir()
        ):
            found[text] = Path(text)
    return found


def _is_reward_model(key: str) -> bool:
    return key.startswith("rewards.") and key.endswith(".model")


def fingerprint(config: AnyStage, parents: Mapping[str, Path]) -> dict[str, Any]:
    """What decides the stage's result, as JSON values. `parents`: NAME -> artifact."""
    values = _values(config)
    sets = dict(_data_sections(config))
    # What rows are made of shows in the rows.
    texts = {key: text for key, text in _texts(values) if key.rpartition(".")[0] not in sets}
    return {
        "config": values,
        "parents": {name: artifact_hash(path) for name, path in sorted(parents.items())},
        "files": dict(sorted(_file_hashes(texts))),
        "data": {key: _rows_hash(data) for key, data in sorted(sets.items())},
        "hub": {name: _hub_commit(name) for name in sorted(_hub_names(texts))},
    }


def known_now(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """With the commits of models that came from a hub since it was taken."""
    hub = fingerprint.get("hub", {})
    return {**fingerprint, "hub": {name: commit or _hub_commit(name) for name, commit in hub.items()}}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    """All in which two fingerprints differ. A section that an older one does not have is not compared, and neither is
    what one of them does not know."""
    found: Changes = {}
    for section in SECTIONS:
        if section in old and section in new:
            before, now = (dict(_leaves(side[section], section)) for side in (old, new))
            keys = (before.keys() | now.keys()) - {section}
            if section in ("data", "hub"):
                keys = {key for key in keys if before.get(key) and now.get(key)}
            differ = sorted(key for key in keys if before.get(key, ...) != now.get(key, ...))
            found |= {key: (before.get(key), now.get(key)) for key in differ}
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    """Those differences that make a stage that is done another one."""
    return {key: pair for key, pair in differences(old, new).items() if not _is_one_of(key, WITHOUT_EFFECT)}


def changes_within(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    """Those differences that a stage that is not done cannot go on with: `old` is what it was begun with.

    The same contents in another place are no change, and neither is a reward model whose files were replaced, which a
    running stage takes as well.
    """
    found = {key: pair for key, pair in differences(old, new).items() if not _is_one_of(key, MAY_CHANGE)}
    moved = {key for key, (a, b) in found.items() if key.startswith("config.") and _is_moved(key, a, b, old, new)}
    named = {name for key in found if key.startswith("config.") for value in found[key] for name in _names(value)}
    reward_models = {text.removeprefix(PREFIX) for key, text in _texts(new.get("config", {})) if _is_reward_model(key)}

    def follows(key: str) -> bool:
        """It is told with the key of the configuration that it comes from."""
        section, _, name = key.partition(".")
        is_other_name = section in ("parents", "files") and None in found[key] and name in named
        return is_other_name or (section in ("parents", "hub") and name in reward_models)

    return {key: pair for key, pair in found.items() if key not in moved and not follows(key)}


def _is_moved(key: str, before: Any, now: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    section = key.removeprefix("config.").rpartition(".")[0]
    if key.endswith(".path") and section in old.get("data", {}):
        return bool(old["data"][section]) and old["data"][section] == new["data"].get(section)
    contents = [
        [side.get(part, {}).get(name) for part in ("parents", "files") for name in _names(text)]
        for side, text in ((old, before), (new, now))
    ]
    is_known = isinstance(before, str) and isinstance(now, str) and any(contents[0])
    functions = {text.rpartition(":")[2] for text in (str(before), str(now)) if ":" in text}
    return is_known and contents[0] == contents[1] and len(functions) <= 1


def _names(value: Any) -> list[str]:
    """What a text may name: a file or folder, or with `:function` the file or module that has it."""
    return [value.removeprefix(PREFIX), value.rpartition(":")[0]] if isinstance(value, str) else []


def _is_one_of(key: str, patterns: tuple[str, ...]) -> bool:
    """`config.rewards.0.timeout_s` is one of `rewards.*.timeout_s`, and so is all below a pattern."""
    section, *parts = key.split(".")
    return section == "config" and any(
        len(wanted) <= len(parts) and all(w in ("*", part) for w, part in zip(wanted, parts, strict=False))
        for wanted in (pattern.split(".") for pattern in patterns)
    )


def artifact_hash(path: Path) -> str:
    """Of a folder, as its manifest has it, else of its contents; "" where there is none."""
    found = read_manifest(path).get("artifact_hash")
    return str(found) if found else tree_hash(path) if path.is_dir() else ""


def read_manifest(artifact: Path) -> dict[str, Any]:
    """The manifest of the run that an artifact folder `RUN/final` belongs to; {} where there is none."""
    path = artifact.parent / "manifest.json"
    if artifact.name != "final" or not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path}: is no JSON; put the file back as it was, or choose another --run-dir") from None
    return found


def check_parents(parents: Mapping[str, Path]) -> None:
    """Raises UserError where a parent's tokenizer or chat template is not the one that its manifest tells of."""
    from rlreason.data.chat import load_tokenizer, template_hash, tokenizer_hash

    for name, path in parents.items():
        manifest = read_manifest(path)
        for what, of in (("tokenizer", tokenizer_hash), ("chat template", template_hash)):
            told = manifest.get(f"{what.replace(' ', '_')}_hash")
            if told is not None and of(load_tokenizer(str(path))) != told:
                raise UserError(
                    f"{name} ({path}): its {what} is not the one that it was made with; "
                    f"put that back, or make it again with --from {name}"
                )


def local_files(config: AnyStage) -> list[str]:
    """The files on this machine that the configuration names: data, `file.py:function`, templates."""
    return sorted(set(_local_files(dict(_texts(_values(config))))))


def _values(config: AnyStage) -> dict[str, Any]:
    return config.model_dump(mode="json")


def _leaves(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of whatever is no mapping and no list, and of empty ones."""
    children = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    if not children:
        yield key, values
    for name, child in children:
        yield from _leaves(child, f"{key}.{name}" if key else str(name))


def _texts(values: Any) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in _leaves(values) if isinstance(value, str))


def _replaced(values: Any, recipe_dir: Path) -> Any:
    if isinstance(values, dict):
        return {key: _replaced(child, recipe_dir) for key, child in values.items()}
    if isinstance(values, list):
        return [_replaced(child, recipe_dir) for child in values]
    if isinstance(values, str) and values.startswith(PREFIX):
        return str(recipe_dir / values.removeprefix(PREFIX) / "final")
    return values


def _file_hashes(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in _local_files(texts):
        yield name, file_hash(Path(name))
    for key, name in texts.items():
        if key.endswith(".path") and name and not Path(name).is_file():
            pattern = glob.escape(name) if Path(name).exists() else name
            found = sorted({*glob.glob(pattern, recursive=True), *glob.glob(f"{pattern}/**", recursive=True)})
            # Too much to read: a corpus may be terabytes. Another size or time of change is another file.
            stats = [(path, Path(path).stat()) for path in found if Path(path).is_file()]
            listing = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
            if listing:
                yield name, hashlib.sha256(json.dumps(listing).encode()).hexdigest()
        module = re.fullmatch(r"([A-Za-z_]\w*(?:\.\w+)*):[A-Za-z_]\w*", name)
        if module is not None and (source := _module_file(module[1])) is not None:
            yield module[1], file_hash(source)


def _module_file(name: str) -> Path | None:
    """The source of a user's module, found without running it; None where there is none, which its loader says."""
    if name.partition(".")[0] == "rlreason":
        return None
    found, folders, origin = "", None, None
    for part in name.split("."):
        found = f"{found}.{part}" if found else part
        spec = PathFinder.find_spec(found, folders)
        if spec is None:
            return None
        folders, origin = spec.submodule_search_locations, spec.origin
    return Path(origin) if origin and Path(origin).is_file() else None


def _data_sections(config: BaseModel, key: str = "") -> Iterator[tuple[str, DataConfig]]:
    """Dotted key and section of the data that a stage reads itself; an earlier stage's corpus is a parent."""
    if isinstance(config, DataConfig):
        if not str(config.path).startswith(PREFIX):
            yield key, config
        return
    for name in type(config).model_fields:
        value = getattr(config, name)
        for part, child in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(child, BaseModel):
                yield from _data_sections(child, ".".join(filter(None, (key, name, part))))


def _rows_hash(data: DataConfig) -> str:
    """ "" where there are none, which the stage says."""
    from rlreason.data.rows import fingerprint as rows_fingerprint

    try:
        return rows_fingerprint(data)
    except UserError:
        return ""


def _hub_names(texts: Mapping[str, str]) -> set[str]:
    models = {name for key, name in texts.items() if key in ("model", "tokenizer") or _is_reward_model(key)}
    return {name for name in models if name and ":" not in name and not Path(name).exists()}


def _hub_commit(name: str) -> str:
    """Of the copy on this machine, "" where there is none yet."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return ""
    return Path(path).parent.name if isinstance(path, str) else ""


def _local_files(texts: Mapping[str, str]) -> Iterator[str]:
    """A file has a dot or a slash in its name, lest a file called `train` is taken for every split."""
    for text in texts.values():
        for name in (text, text.rpartition(":")[0]):
            is_name = ("." in name or "/" in name) and len(name) < 1000 and "\n" not in name and "\0" not in name
            if is_name and Path(name).is_file():
                yield name
