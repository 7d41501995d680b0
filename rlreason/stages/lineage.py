"""Where an artifact comes from: the stages of a recipe that a configuration names, and what decides its result.

`stage:NAME` anywhere in a configuration stands for the artifact of an earlier stage. A stage's fingerprint covers its
configuration, its parents' artifacts, and the local files that it names (of folders and patterns: names, sizes and
times): while it is the same, the stage need not run again. Does not cover: where and how fast things run, what a hub
name stands for, and code, of the package or of modules that a path names.
"""

import glob
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlreason.config.schema import STAGES, AnyStage
from rlreason.runlog import file_hash, tree_hash
from rlreason.types import UserError

PREFIX = "stage:"
MODELS = {"pretrain", "sft", "dpo", "rl"}
WITHOUT_EFFECT = (
    *("loggers", "checkpoints", "reward_workers", "cpus"),
    *(f"{of}.{key}" for of in ("learner", "critic") for key in ("cpus", "threads", "micro_batch_tokens")),
    *("scorers.cpus", "scorers.threads", "scorers.batch_tokens"),
    *("learner.gradient_checkpointing", "critic.gradient_checkpointing"),
    *("rollout.cpus", "rollout.threads", "rollout.gpu_memory_utilization", "rollout.sync_bucket_bytes"),
)
"""Keys of a configuration that change no result: where and how fast things run."""
_BEGINNINGS = ("model", "tokenizer", "architecture", "data", "tasks", "sources", "knowledge", "seed")
BEGUN_WITH = ("parents", "files", *(f"config.{key}" for key in _BEGINNINGS))
"""What a stage that is not done cannot go on without; steps, for one, may change."""


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
    return {
        "config": values,
        "parents": {name: artifact_hash(path) for name, path in sorted(parents.items())},
        "files": dict(sorted(_file_hashes(values))),
    }


def changes(old: Any, new: Any) -> list[str]:
    """Dotted names of the parts in which two fingerprints differ, but for what is without effect."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    found = (key for key in before.keys() | after.keys() if before.get(key, ...) != after.get(key, ...))
    without_effect = tuple(f"config.{key}." for key in WITHOUT_EFFECT)
    return sorted(key for key in found if not f"{key}.".startswith(without_effect))


def artifact_hash(path: Path) -> str:
    """Of a folder, as its manifest has it, else of its contents; "" where there is none."""
    found = read_manifest(path).get("artifact_hash")
    return str(found) if found else tree_hash(path) if path.is_dir() else ""


def read_manifest(artifact: Path) -> dict[str, Any]:
    """The manifest of the run that an artifact folder `RUN/final` belongs to; {} where there is none."""
    path = artifact.parent / "manifest.json"
    if artifact.name != "final" or not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
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
    return sorted(set(_local_files(_values(config))))


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


def _file_hashes(values: Any) -> Iterator[tuple[str, str]]:
    for name in _local_files(values):
        yield name, file_hash(Path(name))
    for key, name in _texts(values):
        if key.endswith(".path") and name and not Path(name).is_file():
            found = sorted({*glob.glob(name, recursive=True), *glob.glob(f"{name}/**", recursive=True)})
            # Too much to read: a corpus may be terabytes. Another size or time of change is another file.
            stats = [(path, Path(path).stat()) for path in found if Path(path).is_file()]
            listing = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
            if listing:
                yield name, hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _local_files(values: Any) -> Iterator[str]:
    """A file has a dot or a slash in its name, lest a file called `train` is taken for every split."""
    for _, text in _texts(values):
        for name in (text, text.rpartition(":")[0]):
            is_name = ("." in name or "/" in name) and len(name) < 1000 and "\n" not in name and "\0" not in name
            if is_name and Path(name).is_file():
                yield name
