"""Runs one stage or a whole recipe, in the driver process.

A recipe's run directory holds one run directory per stage, named like its file, and summary.json.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlreason.config.load import dump, load_stage, own_keys, recipe_files
from rlreason.config.schema import AnyStage, StageConfig
from rlreason.mirrors import open_mirror
from rlreason.recipes.resume import (
    check_resume,
    keep_overrides,
    kept_overrides,
    lines_without_checkpoint,
    require_same,
    require_steps_left,
)
from rlreason.report.files import RunFiles
from rlreason.report.page import write_report
from rlreason.rewards.dryrun.trial import Trials
from rlreason.runlog import (
    FULL_DISK,
    RunLog,
    has_run,
    lock_folder,
    newest_checkpoint,
    require_stage_folder,
    write_whole,
)
from rlreason.running.console import say
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job, Stage
from rlreason.running.lineage import (
    changes,
    changes_within,
    check_parents,
    check_references,
    fingerprint,
    parents,
    read_manifest,
    references,
    resolve,
)
from rlreason.running.placement import fitted, placed
from rlreason.types import NotFinite, RunError, Stuck, UserError, raise_all
from rlreason.workers.cluster import cluster, num_cpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of what is to be run."""

    name: str
    """The file's name without its ending."""
    config: AnyStage
    shares_rewards: bool = False
    """`rewards` come from a file that it extends."""


def load_steps(path: Path, overrides: list[str]) -> list[Step]:
    """The stages of a file or a recipe folder, all validated. In a recipe an override starts with its stage's name."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; a configuration is a .yaml file, a recipe a folder of them")
    if not path.is_dir():
        return [_step(path, overrides)]
    steps, errors, files = [], list[UserError](), recipe_files(path)
    for override in overrides:
        name, dot, _ = override.partition(".")
        if not dot or not any(name == file.stem for file in files):
            raise UserError(f"override `{override}`: in a recipe, start with the stage: {files[0].stem}.{override}")
    for file in files:
        mine = [o.removeprefix(f"{file.stem}.") for o in overrides if o.startswith(f"{file.stem}.")]
        try:
            steps.append(_step(file, mine))
        except UserError as error:
            errors.append(error)
    raise_all(errors)
    earlier: dict[str, str] = {}
    for step in steps:
        check_references(step.config, f"{path / step.name}.yaml", earlier)
        earlier[step.name] = step.config.stage
    return steps


def _step(file: Path, overrides: list[str]) -> Step:
    config = load_stage(file, overrides)
    return Step(
        name=file.stem, config=config, shares_rewards="rewards" not in own_keys(file) and bool(_rewards(config))
    )


def _rewards(config: AnyStage) -> list[Any]:
    return config.rewards if isinstance(config, StageConfig) else []


def default_run_dir(path: Path) -> Path:
    return (Path("runs") / f"{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}").resolve()


def run_path(
    path: Path,
    overrides: list[str],
    run_dir: Path | None,
    *,
    resume: bool = False,
    force: bool = False,
    start: str | None = None,
    only: str | None = None,
    dry_run: bool = False,
) -> None:
    """`rlreason run`: a file is one stage, a folder a recipe.

    `start` (--from) runs that stage of a recipe and all later ones again, `only` that stage alone; the others are taken
    as they are in the run directory. `force` resumes in spite of what `check_resume` refuses. `dry_run` ends with the
    checks before anything starts.
    """
    where = default_run_dir(path) if run_dir is None else run_dir.resolve()
    if (resume or start or only) and run_dir is not None:
        overrides = kept_overrides(where, overrides)
    steps = load_steps(path, overrides)
    again = _again(steps, path, start, only)
    if force and not resume:
        raise UserError("--force: has a meaning with --resume alone")
    if resume and again:
        raise UserError("--resume goes on with what is not done, --from and --only begin again: give one of them")
    if (resume or again) and run_dir is None:
        raise UserError(f"{'--resume' if resume else '--from and --only'}: say which run with --run-dir")
    interrupts = Interrupts()
    try:
        with interrupts.installed():
            recipe = _Recipe(steps, where, interrupts, force=force)
            todo = recipe.todo(again) if path.is_dir() else steps
            start_s = time.monotonic()
            _require_ready(todo, where, is_recipe=path.is_dir(), resume=resume or bool(again), force=force)
            if dry_run:
                say(f"ready: {_names(todo)} checked in {time.monotonic() - start_s:.1f} s; nothing was started")
                return
            if path.is_dir():
                recipe.prepare(resume=resume, again=again, only=only)
                keep_overrides(where, overrides)
                say("starting Ray")
                with recipe.lock, cluster():
                    recipe.run(again)
                return
            step = steps[0]
            config = fitted(resolve(step.config, None))
            say(f"{step.name}: run directory {where}")
            made_of = parents(step.config, None)
            log, inputs = _open(step, config, where, made_of, resume=resume, force=force)
            keep_overrides(where, overrides)
            say("starting Ray")
            with cluster():
                _run_stage(step, config, log, made_of, inputs, interrupts)
            say(f"report: {where / 'report.html'}")
            _say_final(where)
            _say_last([where])
    except KeyboardInterrupt:
        instead = " in place of --from or --only" if again else ""
        remark = f"; {interrupts.remark}" if interrupts.remark else ""
        raise RunError(
            f"interrupted{remark}; to go on from the last checkpoint add --run-dir {where} --resume{instead}"
        ) from None
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise RunError(f"cannot write {error.filename or where}: {error.strerror}") from None


def _require_ready(steps: list[Step], where: Path, *, is_recipe: bool, resume: bool, force: bool) -> None:
    """Raises UserError with all that can be known to be wrong before Ray starts."""
    names = {step.name for step in steps}
    stages = []
    for step in steps:
        # What an earlier stage has made is looked at; what is yet to be made cannot be.
        is_there = not names & set(references(step.config).values())
        config = resolve(step.config, where if is_recipe else None) if is_there or not is_recipe else step.config
        stages.append((step.name, config, step.shares_rewards))
    errors: list[UserError] = []

    def require_folder() -> None:
        if not is_recipe:
            require_stage_folder(where, resume=resume)
        if resume and not is_recipe and (where / "config.yaml").exists():
            config = steps[0].config
            require_steps_left(config, where)
            if not force:
                require_same(config, where, fingerprint(config, parents(config, None)))

    rewards = [reward for _, config, _ in stages if isinstance(config, StageConfig) for reward in config.rewards]
    with Trials(rewards) as trials:
        from rlreason.recipes.preflight import require_ready  # takes seconds, in which the rewards load

        for check in (require_folder, lambda: require_ready(stages, where, trials)):
            try:
                check()
            except UserError as error:
                errors.append(error)
    raise_all(errors)


def _names(steps: list[Step]) -> str:
    return ", ".join(step.name for step in steps) or "no stage is left to run;"


def _again(steps: list[Step], path: Path, start: str | None, only: str | None) -> set[str]:
    """The stages to run again whatever their state."""
    if start is None and only is None:
        return set()
    option, name = ("--from", start) if start is not None else ("--only", only)
    names = [step.name for step in steps]
    if start is not None and only is not None:
        raise UserError("--from and --only: give one of the two")
    if not path.is_dir():
        raise UserError(f"{option}: {path} is one stage; a recipe is a folder of them")
    if name not in names:
        raise UserError(f"{option} {name}: no such stage; the recipe has {', '.join(names)}")
    return {name} if only is not None else set(names[names.index(name) :])


class _Recipe:
    """The stages of one recipe and what is known of each in its run directory."""

    def __init__(self, steps: list[Step], where: Path, interrupts: Interrupts, *, force: bool = False) -> None:
        self.steps, self.where, self.interrupts, self.force = steps, where, interrupts, force
        self.summaries = _read_summaries(where / "summary.json")

    def todo(self, again: set[str]) -> list[Step]:
        """Those that are to be run as far as can be told before the first one does."""
        return [step for step in self.steps if (step.name in again if again else not self._is_done(step.name))]

    def prepare(self, *, resume: bool, again: set[str], only: str | None) -> None:
        """Raises UserError where the run directory is not fit for what is asked. Starts nothing."""
        where, names = self.where, [step.name for step in self.steps]
        try:
            if (where / "config.yaml").exists():
                raise UserError(f"run directory {where} is that of a single stage; choose another with --run-dir")
            if where.exists() and has_run(where) and not resume and not again:
                raise UserError(
                    f"run directory {where} holds a run already; add --resume, or choose another with --run-dir"
                )
            if again:
                self._require_done(names[: min(names.index(name) for name in again)], only)
            where.mkdir(parents=True, exist_ok=True)
            self.lock = lock_folder(where)
        except OSError as error:
            raise UserError(f"run directory {where}: {error.strerror}; choose another with --run-dir") from None
        say(f"recipe of {len(names)} stages: {', '.join(names)}; run directory {where}")

    def _require_done(self, names: list[str], only: str | None) -> None:
        missing = [name for name in names if not self._is_done(name)]
        if missing:
            option = f"--only {only}" if only else "--from"
            raise UserError(f"{option}: {missing[0]} is not done in {self.where}; run it first, or start with --resume")

    def run(self, again: set[str]) -> None:
        try:
            for step in self.steps:
                if step.name in again:
                    self._put_aside(step.name, "as asked")
                    self._run(step)
                elif not again:
                    self._run_if_needed(step)
        finally:
            _report(self.where)
        stale = [step.name for step in self.steps if self._is_done(step.name) and self._changes(step)]
        if stale:
            say(f"made from older inputs: {', '.join(stale)}; --resume makes them again")
        say(_table([self.summaries[step.name] for step in self.steps if step.name in self.summaries]))
        say(f"report: {self.where / 'report.html'}")
        made = [step.name for step in self.steps if (self.where / step.name / "final").is_dir()]
        if made:
            _say_final(self.where / made[-1])
        _say_last([self.where / step.name for step in self.steps])

    def _run_if_needed(self, step: Step) -> None:
        found, is_done = self._changes(step), self._is_done(step.name)
        if found and (is_done or not self.force):
            self._put_aside(step.name, f"changed: {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}")
        elif is_done:
            say(f"{step.name}: done before, and nothing that it depends on has changed")
            return
        elif not self.force and lines_without_checkpoint(step.config, self.where / step.name):
            self._put_aside(step.name, "it has no checkpoint to go on from")
        self._run(step)

    def _run(self, step: Step) -> None:
        took_s = self.summaries.get(step.name, {}).get("duration_s", 0.0)
        summary: dict[str, Any] = {"name": step.name, "stage": step.config.stage, "dir": step.name}
        summary |= {"status": "failed", "duration_s": took_s, "eval": {}}
        self.summaries[step.name] = summary
        self._write_summary()
        start_s = time.time()
        try:
            config, made_of = fitted(resolve(step.config, self.where)), parents(step.config, self.where)
            log, inputs = _open(step, config, self.where / step.name, made_of, resume=True, force=self.force)
            figures = _run_stage(step, config, log, made_of, inputs, self.interrupts)
            shown = {key.removeprefix("eval/"): value for key, value in figures.items() if key.startswith("eval/")}
            summary |= {"status": "done", "eval": shown}
        except KeyboardInterrupt:
            summary["status"] = "interrupted"
            raise
        finally:
            # A stage that was resumed took its earlier time as well.
            summary["duration_s"] = round(took_s + time.time() - start_s, 1)
            try:
                self._write_summary()
            except RunError:
                if summary["status"] == "done":
                    raise

    def _is_done(self, name: str) -> bool:
        manifest = _read_manifest(self.where / name)
        return self.summaries.get(name, {}).get("status") == "done" and manifest.get("status") == "done"

    def _changes(self, step: Step) -> list[str]:
        """In what the stage was begun with otherwise than it would be now; [] where there is no stage yet.

        A stage that is not done may go on with some other keys, such as more steps, but not on other data.
        """
        manifest = _read_manifest(self.where / step.name)
        if not manifest:
            return []
        now = fingerprint(step.config, parents(step.config, self.where))
        begun = manifest.get("inputs", {})
        return list(changes(begun, now) if self._is_done(step.name) else changes_within(begun, now))

    def _put_aside(self, name: str, reason: str) -> None:
        """Nothing is lost: the folder moves to RUN_DIR/old."""
        self.summaries.pop(name, None)
        self._write_summary()
        folder = self.where / name
        if not folder.exists():
            return
        old = self.where / "old"
        numbers = [int(path.name.rpartition("-")[2]) for path in old.glob(f"{name}-*")]
        target = old / f"{name}-{max(numbers, default=0) + 1}"
        old.mkdir(exist_ok=True)
        folder.rename(target)
        say(f"{name}: made again ({reason}); what was there is now {target}")

    def _write_summary(self) -> None:
        stages = [self.summaries[step.name] for step in self.steps if step.name in self.summaries]
        body = {"stages": stages, "duration_s": round(sum(stage["duration_s"] for stage in stages), 1)}
        write_whole(self.where / "summary.json", json.dumps(body, indent=2))


def _say_final(run_dir: Path) -> None:
    final = run_dir / "final"
    if (final / "config.json").is_file():
        say(f"model: {final}; talk to it with: rlreason chat {run_dir}")
    elif final.is_dir():
        say(f"result: {final}")


def _say_last(folders: list[Path]) -> None:
    """The last lines of a run: what must not look like success."""
    for folder in folders:
        if message := RunFiles(folder).nothing_learned:
            say(message)


def _read_summaries(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return {stage["name"]: stage for stage in json.loads(path.read_text(encoding="utf-8"))["stages"]}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is no summary of a recipe; remove it, and all stages are made again") from None


def _read_manifest(folder: Path) -> dict[str, Any]:
    return read_manifest(folder / "final")


def _open(
    step: Step, config: AnyStage, path: Path, made_of: dict[str, Path], *, resume: bool, force: bool
) -> tuple[RunLog, dict[str, Any]]:
    """The run directory, and the fingerprint of what the stage is made of. `config`: with paths and contexts."""
    inputs = fingerprint(step.config, made_of)
    log = RunLog(
        path,
        config_yaml=dump(config),
        resume=resume,
        accept=lambda: check_resume(step.config, path, inputs, force=force),
    )
    values = config.model_dump(mode="json")
    log.mirrors = [open_mirror(name, path, values) for name in config.loggers]
    return log, inputs


def _run_stage(
    step: Step,
    config: AnyStage,
    log: RunLog,
    made_of: dict[str, Path],
    inputs: dict[str, Any],
    interrupts: Interrupts,
) -> dict[str, float]:
    outcome, reason = "failed", ""
    try:
        check_parents(made_of)
        job = Job(name=step.name, log=log, interrupts=interrupts, parents=made_of, inputs=inputs, kind=config.stage)
        if not log.final.is_dir():
            job.begin()
        figures = _stage(config.stage)(placed(config, num_cpus()), job)
        outcome = "done"
        return figures
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    except NotFinite as error:
        newest = newest_checkpoint(log.checkpoints)
        kept = f"{newest}, where --resume begins" if newest else "none was written"
        reason = f"{error}; the last finite checkpoint: {kept}"
        log.event("not finite", error=reason, batch=error.batch)
        raise RunError(reason) from None
    except Stuck as error:
        reason = str(error)
        log.event("stuck", processes=error.processes)
        raise
    except (UserError, RunError, OSError) as error:
        reason = str(error)
        raise
    finally:
        try:
            log.event(outcome, error=reason)
        except RunError:
            if outcome == "done":
                raise
        finally:
            log.close()
            _report(log.path)


def _report(path: Path) -> None:
    """The report, where the disk takes it: what ended the run is told, not what followed from it."""
    try:
        write_report(path)
    except OSError as error:
        say(f"{path / 'report.html'}: not written: {error.strerror}")


def _stage(name: str) -> Stage:
    """The stage's `run`; imported late, each one pulls its own engines."""
    from rlreason.stages import corpus, evaluate, preferences, rl, supervised, tokenizer

    stages: dict[str, Stage] = {
        "corpus": corpus.run,
        "tokenizer": tokenizer.run,
        "pretrain": supervised.run,
        "sft": supervised.run,
        "reward_model": preferences.run,
        "dpo": preferences.run,
        "rl": rl.run,
        "evaluate": evaluate.run,
    }
    return stages[name]


def _table(summaries: list[dict[str, Any]]) -> str:
    """The recipe's figures: a line for each, a column for each stage that was evaluated."""
    shown = [summary for summary in summaries if summary["eval"]]
    keys = list(dict.fromkeys(key for summary in shown for key in summary["eval"]))
    rows = [["", *(summary["name"] for summary in shown)]]
    for key in keys:
        rows.append([key, *(f"{summary['eval'][key]:.4g}" if key in summary["eval"] else "-" for summary in shown)])
    seconds = ", ".join(f"{summary['name']} {summary['duration_s']:.0f} s" for summary in summaries)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*(lines if keys else []), seconds])
