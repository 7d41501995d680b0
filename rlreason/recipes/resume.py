"""What a resumed run is allowed to be: the one that was begun, or what the user forces it to be.

Overrides of the command line stay with a run directory (overrides.json): a resumed run has them, and its own on top.
Does not load checkpoints (running/job.py).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlreason.config.schema import AnyStage, TrainConfig
from rlreason.runlog import newest_checkpoint, package_versions, parse_row, write_whole
from rlreason.running.console import say
from rlreason.running.lineage import Changes, changes_within, differences, read_manifest
from rlreason.types import UserError

OVERRIDES = "overrides.json"
FILES_WITH_STEPS = ("metrics.jsonl", "samples.jsonl")


def kept_overrides(run_dir: Path, overrides: list[str]) -> list[str]:
    """Those that the run has had so far, and `overrides`, which come last; of one key the last one."""
    path = run_dir / OVERRIDES
    try:
        kept: list[str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        kept = []
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}; remove it and give the overrides again") from None
    again = {override.partition("=")[0] for override in overrides}
    kept = [override for override in kept if override.partition("=")[0] not in again]
    if kept:
        say(f"goes on with the overrides that the run was begun with: {' '.join(kept)}")
    return [*kept, *overrides]


def keep_overrides(run_dir: Path, overrides: list[str]) -> None:
    write_whole(run_dir / OVERRIDES, json.dumps(overrides, ensure_ascii=False))


def begun_with(run_dir: Path) -> dict[str, Any]:
    """The fingerprint of the newest checkpoint, else of the manifest; {} where there is none."""
    checkpoint = newest_checkpoint(run_dir / "checkpoints")
    state = _state(checkpoint) if checkpoint else {}
    found: dict[str, Any] = state.get("inputs") or read_manifest(run_dir / "final").get("inputs") or {}
    return found


def has_results(config: AnyStage, run_dir: Path) -> bool:
    """There is something that was made with what the run was begun with. What a training stage measures before its
    first step is done again.
    """
    first = 1 if isinstance(config, TrainConfig) else 0
    return (
        newest_checkpoint(run_dir / "checkpoints") is not None
        or (run_dir / "final").is_dir()
        or any(step >= first for step in _steps(run_dir))
    )


def lines_without_checkpoint(config: AnyStage, run_dir: Path) -> int:
    """Lines of metrics and samples that a resumed training stage would drop, since it begins at its first step."""
    if not isinstance(config, TrainConfig) or newest_checkpoint(run_dir / "checkpoints") is not None:
        return 0
    steps = list(_steps(run_dir))
    return len(steps) if any(steps) else 0


def require_steps_left(config: AnyStage, run_dir: Path) -> None:
    """Raises UserError where more steps are done than are wanted."""
    checkpoint = newest_checkpoint(run_dir / "checkpoints")
    if checkpoint is None or not isinstance(config, TrainConfig):
        return
    num_done = _state(checkpoint)["step"]
    if num_done > config.steps:
        raise UserError(
            f"steps: {config.steps}, but {num_done} are done; raise it, or start anew with another --run-dir"
        )


def require_same(config: AnyStage, run_dir: Path, inputs: dict[str, Any]) -> None:
    """Raises UserError for what only --force may do: dropping lines, and other inputs than those of the steps that are
    done.
    """
    if num_lines := lines_without_checkpoint(config, run_dir):
        raise UserError(
            f"run directory {run_dir}: there is no checkpoint to go on from, and {num_lines} lines of "
            "metrics.jsonl and samples.jsonl would be dropped; choose another with --run-dir, or add --force"
        )
    if refused := _refused(config, run_dir, inputs):
        raise UserError(
            f"run directory {run_dir}: --resume goes on with what the run was begun with, but {_told(refused)}; "
            "put that back, choose another directory with --run-dir, or add --force"
        )


def check_resume(config: AnyStage, run_dir: Path, inputs: dict[str, Any], *, force: bool) -> dict[str, Any]:
    """What a resumed run's start is logged with; what differs is said. Raises as `require_same` does, unless `force`:
    then `inputs` are told what was forced.
    """
    require_steps_left(config, run_dir)
    num_lines = 0
    refused: Changes = {}
    if force:
        num_lines, refused = lines_without_checkpoint(config, run_dir), _refused(config, run_dir, inputs)
    else:
        require_same(config, run_dir, inputs)
    begun = begun_with(run_dir)
    allowed = {key: pair for key, pair in differences(begun, inputs).items() if key not in refused}
    # Files and models that come or go do so because the configuration names others.
    others = {key: allowed.pop(key) for key in list(allowed) if not key.startswith("config.") and None in allowed[key]}
    forced = _rows(refused | others) if refused else []
    if begun.get("forced") or forced:
        inputs["forced"] = [*begun.get("forced", []), *forced]
    before, now = read_manifest(run_dir / "final").get("packages", {}), package_versions()
    for name in sorted(before.keys() | now.keys()) if before else ():
        if before.get(name) != now.get(name):
            allowed[f"packages.{name}"] = (before.get(name), now.get(name))
    if refused:
        say(f"goes on by force although {_told(refused)}")
    if allowed:
        say(f"differs from what the run was begun with: {_told(allowed)}")
    details = {"forced": forced, "changed": _rows(allowed), "dropped_lines": num_lines}
    return {key: value for key, value in details.items() if value}


def _refused(config: AnyStage, run_dir: Path, inputs: dict[str, Any]) -> Changes:
    return changes_within(begun_with(run_dir), inputs) if has_results(config, run_dir) else {}


def _state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return state


def _steps(run_dir: Path) -> Iterator[int]:
    """Of each whole line."""
    for name in FILES_WITH_STEPS:
        if (run_dir / name).exists():
            with (run_dir / name).open(encoding="utf-8", errors="replace") as file:
                yield from (row["step"] for row in map(parse_row, file) if row is not None)


def _rows(changes: Changes) -> list[dict[str, Any]]:
    return [{"key": key, "then": then, "now": now} for key, (then, now) in changes.items()]


def _told(changes: Changes) -> str:
    """The first few: `learner.lr is 0.002, was 0.001; the rows of tasks.train are others (...)`."""
    shown = [_line(key, then, now) for key, (then, now) in list(changes.items())[:3]]
    return "; ".join([*shown, *([f"and {len(changes) - 3} more"] if len(changes) > 3 else [])])


def _line(key: str, then: Any, now: Any) -> str:
    section, _, name = key.partition(".")
    if section in ("config", "packages"):
        return f"{name} is {_short(now)}, was {_short(then)}"
    what = {"data": "rows", "files": "contents", "parents": "files", "hub": "files"}[section]
    return f"the {what} of {name} are others ({_short(now)[:12]}, were {_short(then)[:12]})"


def _short(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 70 else f"{text[:25]}...{text[-42:]}"
