"""Runs one stage or a whole recipe, in the driver process.

A recipe's run directory holds one run directory per stage, named like its file, and summary.json.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlreason.config.load import dump, load_stage, recipe_files
from rlreason.config.schema import AnyStage, PretrainConfig
from rlreason.mirrors import open_mirror
from rlreason.report.page import write_report
from rlreason.runlog import RunLog
from rlreason.stages.console import say
from rlreason.stages.interrupts import Interrupts
from rlreason.stages.job import Job, Stage
from rlreason.types import RunError, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of what is to be run."""

    name: str
    """The file's name without its ending."""
    config: AnyStage


def load_steps(path: Path, overrides: list[str]) -> list[Step]:
    """The stages of a file or a recipe folder, all validated. In a recipe an override starts with its stage's name."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; a configuration is a .yaml file, a recipe a folder of them")
    if not path.is_dir():
        return [Step(name=path.stem, config=load_stage(path, overrides))]
    steps = []
    for file in recipe_files(path):
        for override in overrides:
            name, dot, _ = override.partition(".")
            if not dot or not any(name == other.stem for other in recipe_files(path)):
                raise UserError(f"override `{override}`: in a recipe, start with the stage: {file.stem}.{override}")
        mine = [o.removeprefix(f"{file.stem}.") for o in overrides if o.startswith(f"{file.stem}.")]
        steps.append(Step(name=file.stem, config=load_stage(file, mine)))
    known: set[str] = set()
    for step in steps:
        parent = parent_stage(step.config)
        if parent is not None and parent not in known:
            raise UserError(
                f"{path / step.name}.yaml: model `stage:{parent}`: no earlier stage of the recipe has that name"
            )
        known.add(step.name)
    return steps


def parent_stage(config: AnyStage) -> str | None:
    """NAME of `model: stage:NAME`."""
    if isinstance(config, PretrainConfig) or not config.model.startswith("stage:"):
        return None
    return config.model.removeprefix("stage:")


def default_run_dir(path: Path) -> Path:
    return (Path("runs") / f"{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}").resolve()


def run_path(path: Path, overrides: list[str], run_dir: Path | None, resume: bool) -> None:
    """`rlreason run`: a file is one stage, a folder a recipe."""
    steps = load_steps(path, overrides)
    if resume and run_dir is None:
        raise UserError("--resume: say which run with --run-dir")
    where = default_run_dir(path) if run_dir is None else run_dir.resolve()
    from rlreason.workers.cluster import cluster

    try:
        with Interrupts().installed() as interrupts:
            if path.is_dir():
                _run_recipe(steps, where, resume, interrupts, cluster)
                return
            model = _resolve(steps[0].config, None)
            say(f"{steps[0].name}: run directory {where}")
            log = _open(steps[0], where, resume)
            with cluster():
                _run_stage(steps[0], log, model, interrupts)
    except KeyboardInterrupt:
        raise RunError(f"interrupted; to go on from the last step add --run-dir {where} --resume") from None


def _run_recipe(steps: list[Step], where: Path, resume: bool, interrupts: Interrupts, cluster: Any) -> None:
    if where.exists() and any(where.iterdir()) and not resume:
        raise UserError(f"run directory {where} holds a run already; add --resume, or choose another with --run-dir")
    where.mkdir(parents=True, exist_ok=True)
    say(f"recipe of {len(steps)} stages: {', '.join(step.name for step in steps)}; run directory {where}")
    old = _old_summary(where) if resume else {}
    summaries: list[dict[str, Any]] = []
    with cluster():
        for step in steps:
            done = old.get(step.name, {})
            if done.get("status") == "done":
                say(f"{step.name}: done before")
                summaries.append(done)
                continue
            summary: dict[str, Any] = {"name": step.name, "stage": step.config.stage, "dir": step.name}
            summary |= {"status": "failed", "eval": {}}
            summaries.append(summary)
            stage_start_s = time.time()
            try:
                log = _open(step, where / step.name, resume)
                figures = _run_stage(step, log, _resolve(step.config, where), interrupts)
                summary |= {"status": "done", "eval": {k.removeprefix("eval/"): v for k, v in figures.items()}}
            finally:
                # A stage that was resumed took its earlier time as well.
                summary["duration_s"] = round(done.get("duration_s", 0.0) + time.time() - stage_start_s, 1)
                _write_summary(where, summaries)
    write_report(where)
    say(_table(summaries))
    say(f"report: {where / 'report.html'}")


def _open(step: Step, path: Path, resume: bool) -> RunLog:
    log = RunLog(path, config_yaml=dump(step.config), resume=resume)
    values = step.config.model_dump(mode="json")
    log.mirrors = [open_mirror(name, path, values) for name in step.config.loggers]
    return log


def _run_stage(step: Step, log: RunLog, model: str | None, interrupts: Interrupts) -> dict[str, float]:
    outcome, reason = "failed", ""
    try:
        stage = _stage(step.config.stage)
        figures = stage(step.config, Job(name=step.name, log=log, model=model, interrupts=interrupts))
        outcome = "done"
        return figures
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    except (UserError, RunError) as error:
        reason = str(error)
        raise
    finally:
        log.event(outcome, error=reason)
        log.close()
        write_report(log.path)


def _stage(name: str) -> Stage:
    """The stage's `run`; imported late, each one pulls its own engines."""
    from rlreason.stages import evaluate, rl, supervised

    stages: dict[str, Stage] = {
        "pretrain": supervised.run,
        "sft": supervised.run,
        "rl": rl.run,
        "evaluate": evaluate.run,
    }
    return stages[name]


def _resolve(config: AnyStage, recipe_dir: Path | None) -> str | None:
    """The model that the stage starts from: a path or a hub name."""
    parent = parent_stage(config)
    if parent is None:
        return None if isinstance(config, PretrainConfig) else config.model
    if recipe_dir is None:
        raise UserError(f"model `stage:{parent}` names a stage of a recipe; to run this stage alone give model=PATH")
    return str(recipe_dir / parent / "final")


def _old_summary(where: Path) -> dict[str, dict[str, Any]]:
    path = where / "summary.json"
    return {stage["name"]: stage for stage in json.loads(path.read_text())["stages"]} if path.exists() else {}


def _write_summary(where: Path, stages: list[dict[str, Any]]) -> None:
    body = {"stages": stages, "duration_s": round(sum(stage["duration_s"] for stage in stages), 1)}
    (where / "summary.json").write_text(json.dumps(body, indent=2))


def _table(summaries: list[dict[str, Any]]) -> str:
    """The recipe's figures, a line a stage."""
    keys = list(dict.fromkeys(key for summary in summaries for key in summary["eval"]))
    rows = [["stage", "seconds", *keys]]
    for summary in summaries:
        figures = [f"{summary['eval'][key]:.4g}" if key in summary["eval"] else "-" for key in keys]
        rows.append([summary["name"], f"{summary['duration_s']:.0f}", *figures])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
