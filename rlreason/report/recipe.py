"""The page of a recipe: what each stage did to the model.

Compares the stages that were evaluated, on the same sets and the same prompts, with intervals over the prompts; shows
what the artifacts were made of. Reads summary.json and the stages' run directories. A stage that is missing, failed or
is not finished is shown as such. Does not: evaluate, or compare two recipes.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rlreason.algorithms.intervals import Interval, bootstrap_mean, wilson
from rlreason.report.files import RunFiles, manifest, verdicts
from rlreason.report.html import render
from rlreason.report.plots import Row, marks, number, number_text, plots

NUM_PROMPTS: Final = 5
"""Of the first evaluation set that stages share; of each other set one."""
NAMES: Final = {
    "greedy_accuracy": "accuracy, greedy",
    "response_tokens_mean": "answer length, tokens",
}
PLOTS: Final = {
    "pretrain": ("Bits per byte", "Loss"),
    "sft": ("Bits per byte", "Loss"),
    "rl": ("Reward", "Score of the reward model", "Reward in evaluation", "Response length", "Loss"),
}
HELD_OUT: Final = "held-out text, bits per byte"
"""Its sources are data, not evaluation sets, and may have the name of one."""


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """One set's samples after one stage, by task."""

    step: int = -1
    greedy: dict[str, Row] = field(default_factory=dict)
    sampled: dict[str, dict[Any, Row]] = field(default_factory=dict)
    """Task -> sample's index -> row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage as its files show it."""

    name: str
    kind: str
    status: str
    duration_s: float
    files: RunFiles
    figures: dict[str, float]
    """`SET/FIGURE` of its last evaluation."""
    evaluations: dict[str, Evaluation]
    artifact_hash: str
    parents: list[tuple[str, str]]
    """(name, hash that its artifact had then)"""


def page(run_dir: Path) -> str:
    """The recipe's page. The directory has a summary.json."""
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    stages = [_stage(run_dir, entry) for entry in [*summary["stages"], *_unfinished(run_dir, summary["stages"])]]
    compared = [stage for stage in stages if stage.figures]
    return render(
        "recipe.html",
        title=run_dir.resolve().name,
        run_dir=run_dir,
        duration_s=summary.get("duration_s"),
        stages=stages,
        hashes={stage.name: stage.artifact_hash for stage in stages},
        compared=compared,
        comparison=_comparison(compared),
        plots=_plots(stages, compared),
        answers=list(_answers(compared)),
    )


def _unfinished(run_dir: Path, known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stages that have begun and are not in the summary: the run is still going, or was killed."""
    names = {entry["dir"] for entry in known}
    folders = sorted(path.parent for path in run_dir.glob("*/config.yaml") if path.parent.name not in names)
    return [
        {"name": f.name, "dir": f.name, "stage": RunFiles(f).setting("stage") or "–", "status": "not finished"}
        for f in folders
    ]


def _stage(run_dir: Path, entry: dict[str, Any]) -> Stage:
    folder = run_dir / str(entry["dir"])
    files, made = RunFiles(folder), manifest(folder)
    parents = made.get("parents")
    figures = {key: number(value) for key, value in (entry.get("eval") or {}).items() if "/" in key}
    status = str(entry.get("status", "")) if folder.is_dir() else "missing"
    if status == "failed" and _was_interrupted(files):
        status = "interrupted"
    if status == "done" and files.nothing_learned:
        status = "done, nothing learned"
    return Stage(
        name=str(entry["name"]),
        kind=str(entry["stage"]),
        status=status,
        duration_s=number(entry.get("duration_s")),
        files=files,
        figures={key: value for key, value in figures.items() if value == value},
        evaluations=_evaluations(files.samples(("eval/",)), made.get("step")),
        artifact_hash=str(made.get("artifact_hash", "")),
        parents=[
            (name, str(parent.get("hash", "") if isinstance(parent, dict) else parent))
            for name, parent in (parents if isinstance(parents, dict) else {}).items()
        ],
    )


def _was_interrupted(files: RunFiles) -> bool:
    """The summary knows only that the stage is not done; a killed one has written no ending."""
    states = [row["event"] for row in files.events if row.get("event") in ("start", "interrupted")]
    return states[-1:] == ["interrupted"]


def _evaluations(samples: Iterable[Row], last: int | None) -> dict[str, Evaluation]:
    """The last evaluation of each set, no later than step `last`, whose model a stage ended with."""
    found: dict[str, Evaluation] = {}
    for row in samples:
        name, _, mode = str(row["split"]).removeprefix("eval/").rpartition("/")
        step, task = row.get("step"), str(row.get("task_id"))
        if not isinstance(step, int) or (last is not None and step > last):
            continue
        if step < found.setdefault(name, Evaluation()).step:
            continue
        if step > found[name].step:
            found[name] = Evaluation(step=step)
        if mode == "greedy":
            found[name].greedy[task] = row
        else:
            found[name].sampled.setdefault(task, {})[row.get("index")] = row
    return found


def _is_right(row: Row) -> bool:
    """The first reward judges."""
    judged = verdicts(row)
    return number(row.get("reward")) >= 1.0 and (not judged or judged[0][1] == "ok")


Cell = tuple[str, str]
"""(figure, its interval in brackets or "")"""


def _comparison(stages: Sequence[Stage]) -> list[tuple[str, list[tuple[str, list[Cell]]]]]:
    """Title and rows of each set; a row is the name of a figure and one cell a stage."""
    keys = [key.rpartition("/")[::2] for key in dict.fromkeys(key for stage in stages for key in stage.figures)]
    groups = []
    # Sets that most stages answered stand first.
    names = dict.fromkeys(name for name, figure in keys if figure != "bits_per_byte")
    for name in sorted(names, key=lambda name: -sum(f"{name}/greedy_accuracy" in stage.figures for stage in stages)):
        sizes = sorted({len(s.evaluations[name].greedy) for s in stages if name in s.evaluations} - {0})
        title = name + (f" · {' or '.join(map(str, sizes))} prompts" if sizes else "")
        figures = [figure for other, figure in keys if other == name and figure != "bits_per_byte"]
        groups.append((title, [(NAMES.get(f, f), [_cell(stage, name, f) for stage in stages]) for f in figures]))
    texts = [name for name, figure in keys if figure == "bits_per_byte"]
    if texts:
        groups.append((HELD_OUT, [(name, [_cell(stage, name, "bits_per_byte") for stage in stages]) for name in texts]))
    return groups


def _cell(stage: Stage, name: str, figure: str) -> Cell:
    value = stage.figures.get(f"{name}/{figure}")
    if value is None:
        return "–", ""
    edges = interval(figure, value, stage.evaluations.get(name)) or ()
    texts = [_figure_text(figure, edge).removesuffix(" %") for edge in edges]
    return _figure_text(figure, value), f"[{'–'.join(texts)}]" if texts else ""


def _figure_text(figure: str, value: float) -> str:
    """Shares in percent, all else as a number."""
    is_share = re.search(r"accuracy|(avg|pass|maj)@|rate$", figure) is not None
    return f"{100 * value:.1f} %" if is_share and 0 <= value <= 1 else number_text(value)


def interval(figure: str, value: float, evaluation: Evaluation | None) -> Interval | None:
    """None for a figure that is no mean over prompts, or whose samples are not there."""
    if evaluation is None:
        return None
    if figure == "greedy_accuracy" and evaluation.greedy:
        return wilson(value, len(evaluation.greedy))
    if figure == "response_tokens_mean" and evaluation.greedy:
        lengths = [number(row.get("num_tokens")) for row in evaluation.greedy.values()]
        return bootstrap_mean(lengths) if all(length == length for length in lengths) else None
    if figure.startswith(("pass@", "maj@")) and evaluation.sampled:
        return wilson(value, len(evaluation.sampled))
    if figure.startswith("avg@") and evaluation.sampled:
        return bootstrap_mean([sum(map(_is_right, k.values())) / len(k) for k in evaluation.sampled.values()])
    return None


def _plots(stages: Sequence[Stage], compared: Sequence[Stage]) -> str:
    drawn = [plots(stage.files.metrics, PLOTS[stage.kind], of=stage.name) for stage in stages if stage.kind in PLOTS]
    lines: dict[str, list[tuple[float, float, float] | None]] = {}
    for place, stage in enumerate(compared):
        for key, value in stage.figures.items():
            name, _, figure = key.rpartition("/")
            if figure == "greedy_accuracy":
                low, high = interval(figure, value, stage.evaluations.get(name)) or (value, value)
                lines.setdefault(name, [None] * len(compared))[place] = (value, low, high)
    if lines:
        drawn.insert(0, marks("Accuracy", "greedy, 95 % intervals", [stage.name for stage in compared], lines))
    return "".join(drawn)


Card = tuple[str, bool, str, str, str]
"""(stage, whether it is right, verdict, its length, response)"""


def _answers(stages: Sequence[Stage]) -> Iterator[tuple[str, str, str | None, list[Card]]]:
    """The same prompts, answered after each stage: set, prompt, right answer, and one card a stage."""
    sets = dict.fromkeys(name for stage in stages for name, e in stage.evaluations.items() if e.greedy)
    asked = {name: [s for s in stages if name in s.evaluations and s.evaluations[name].greedy] for name in sets}
    shared = next((name for name, answering in asked.items() if len(answering) > 1), next(iter(asked), None))
    for name in sorted(asked, key=lambda name: name != shared):
        tasks = dict.fromkeys(task for stage in asked[name] for task in stage.evaluations[name].greedy)
        for task in list(tasks)[: NUM_PROMPTS if name == shared else 1]:
            rows = [(s.name, row) for s in asked[name] if (row := s.evaluations[name].greedy.get(task)) is not None]
            last = rows[-1][1]
            gold = last.get("answer")
            gold = ", ".join(map(str, gold)) if isinstance(gold, list) else gold
            yield name, last.get("prompt", ""), gold, [_card(stage, row) for stage, row in rows]


def _card(stage: str, row: Row) -> Card:
    is_right = _is_right(row)
    status = next((status for _, status in verdicts(row)), "")
    verdict = "✓ right" if is_right else f"✗ {status if status not in ('ok', '') else 'wrong'}"
    length = number(row.get("num_tokens"))
    tokens = f" · {length:.0f} tokens" if length == length else ""
    return stage, is_right, verdict, tokens, row.get("response", "")
