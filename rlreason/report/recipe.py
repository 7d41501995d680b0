"""The page of a recipe: what each stage did to the model.

Compares the stages that were evaluated, on the same sets and the same prompts, with intervals over the prompts; shows
what the artifacts were made of. Reads summary.json and the stages' run directories. A stage that is missing, failed or
is not finished is shown as such. Does not: evaluate, or compare two recipes.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from rlreason.algorithms.intervals import Interval, bootstrap_mean, wilson
from rlreason.report.files import RunFiles, manifest, verdicts
from rlreason.report.html import duration_text, table, text_block
from rlreason.report.plots import Row, marks, number, plots
from rlreason.report.sections import continuations, corpus, figure_text, guard, signal, tokenizer

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
NOTE: Final = (
    "In brackets 95 % intervals over the prompts: Wilson's for greedy accuracy, pass@k and maj@k, a percentile "
    "bootstrap for avg@k and length. They say nothing about another training run with another seed."
)


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
    manifest: dict[str, Any]


def body(run_dir: Path) -> str:
    """The page's body. The directory has a summary.json."""
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    stages = [_stage(run_dir, entry) for entry in [*summary["stages"], *_unfinished(run_dir, summary["stages"])]]
    shown = [stage for stage in stages if stage.figures]
    parts = [
        f'<div class="soft">recipe of {len(stages)} stages · {duration_text(number(summary.get("duration_s")))}</div>',
        f"<h2>Stages</h2>{_stage_table(run_dir, stages)}",
    ]
    if shown:
        parts.append(f"<h2>What each stage did to the model</h2>{_comparison(shown)}")
    parts.append(_plots(stages, shown))
    parts.append(_answers(shown))
    for stage in stages:
        parts.append(signal(stage.files, stage.name))
        parts.append(guard(stage.files, f"Over-optimisation: {stage.name}"))
        parts.append(continuations(stage.files, f"Held-out prompts, continued during {stage.name}"))
        parts.append(corpus(stage.files, f"Corpus: {stage.name}"))
        parts.append(tokenizer(stage.files, f"Tokenizer: {stage.name}"))
    return "\n".join(part for part in parts if part)


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
    files = RunFiles(folder)
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
        evaluations=_evaluations(files.samples(("eval/",)), manifest(folder).get("step")),
        manifest=manifest(folder),
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


def _stage_table(run_dir: Path, stages: Sequence[Stage]) -> str:
    hashes = {stage.name: str(stage.manifest.get("artifact_hash", "")) for stage in stages}
    rows = []
    for stage in stages:
        name = escape(stage.name)
        report = stage.files.folder / "report.html"
        if report.is_relative_to(run_dir) and report.exists():
            name = f'<a href="./{quote(str(report.relative_to(run_dir)))}">{name}</a>'
        rows.append(
            f'<tr><td>{name}</td><td>{escape(stage.kind)}</td><td class="{"ok" if stage.status == "done" else "bad"}">'
            f'{escape(stage.status)}</td><td class="n">{duration_text(stage.duration_s)}</td>'
            f"<td><code>{escape(hashes[stage.name][:8]) or '–'}</code></td><td>{_parents(stage, hashes)}</td></tr>"
        )
    return table(["name", "stage", "status", "n:duration", "artifact", "made of"], rows, style="fit")


def _parents(stage: Stage, hashes: dict[str, str]) -> str:
    parents = stage.manifest.get("parents")
    cells = []
    for name, parent in (parents if isinstance(parents, dict) else {}).items():
        made_of = str(parent.get("hash", "") if isinstance(parent, dict) else parent)
        is_old = bool(hashes.get(name)) and hashes[name] != made_of
        note = ' <span class="bad">since made anew</span>' if is_old else ""
        cells.append(f"{escape(name)} <code>{escape(made_of[:8])}</code>{note}")
    return "<br>".join(cells)


def _comparison(stages: Sequence[Stage]) -> str:
    """A row for each figure, a column for each stage."""
    keys = list(dict.fromkeys(key for stage in stages for key in stage.figures))
    measured = [key for key in keys if key.endswith("/bits_per_byte")]
    keys = [key for key in keys if key not in measured]
    rows = []
    # Sets that most stages answered stand first.
    names = list(dict.fromkeys(key.rpartition("/")[0] for key in keys))
    for name in sorted(names, key=lambda name: -sum(f"{name}/greedy_accuracy" in stage.figures for stage in stages)):
        sizes = sorted({len(s.evaluations[name].greedy) for s in stages if name in s.evaluations} - {0})
        size = f" · {' or '.join(map(str, sizes))} prompts" if sizes else ""
        rows.append(f'<tr class="set"><th colspan="{len(stages) + 1}">{escape(name)}{size}</th></tr>')
        for key in [key for key in keys if key.rpartition("/")[0] == name]:
            figure = key.rpartition("/")[2]
            cells = "".join(_cell(stage, name, figure) for stage in stages)
            rows.append(f"<tr><td>{escape(NAMES.get(figure, figure))}</td>{cells}</tr>")
    if measured:
        rows.append(f'<tr class="set"><th colspan="{len(stages) + 1}">{HELD_OUT}</th></tr>')
    for name in [key.rpartition("/")[0] for key in measured]:
        cells = "".join(_cell(stage, name, "bits_per_byte") for stage in stages)
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    heads = ["", *(f"n:{stage.name}" for stage in stages)]
    return f'{table(heads, rows, style="fit compare")}<p class="soft">{NOTE}</p>'


def _cell(stage: Stage, name: str, figure: str) -> str:
    value = stage.figures.get(f"{name}/{figure}")
    if value is None:
        return '<td class="n">–</td>'
    found = interval(figure, value, stage.evaluations.get(name))
    brackets = "–".join(figure_text(figure, edge).removesuffix(" %") for edge in found) if found else ""
    return f'<td class="n">{figure_text(figure, value)}<div class="soft">{f"[{brackets}]" if found else ""}</div></td>'


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


def _plots(stages: Sequence[Stage], shown: Sequence[Stage]) -> str:
    drawn = [plots(s.files.metrics, PLOTS[s.kind], of=s.name) for s in stages if s.kind in PLOTS]
    lines: dict[str, list[tuple[float, float, float] | None]] = {}
    for place, stage in enumerate(shown):
        for key, value in stage.figures.items():
            name, _, figure = key.rpartition("/")
            if figure == "greedy_accuracy":
                low, high = interval(figure, value, stage.evaluations.get(name)) or (value, value)
                lines.setdefault(name, [None] * len(shown))[place] = (value, low, high)
    if lines:
        drawn.insert(0, marks("Accuracy", "greedy, 95 % intervals", [stage.name for stage in shown], lines))
    return f'<h2>Plots</h2><div class="plots">{"".join(drawn)}</div>' if any(drawn) else ""


def _answers(stages: Sequence[Stage]) -> str:
    """The same prompts, answered after each stage."""
    asked = {name: [s for s in stages if s.evaluations.get(name, Evaluation()).greedy] for name in _sets(stages)}
    shared = next((name for name, found in asked.items() if len(found) > 1), next(iter(asked), None))
    blocks = []
    for name in sorted(asked, key=lambda name: name != shared):
        tasks = dict.fromkeys(task for stage in asked[name] for task in stage.evaluations[name].greedy)
        for task in list(tasks)[: NUM_PROMPTS if name == shared else 1]:
            blocks.append(_answered(name, task, asked[name]))
    return f"<h2>The same prompts, answered after each stage</h2>{''.join(blocks)}" if blocks else ""


def _sets(stages: Sequence[Stage]) -> dict[str, None]:
    return dict.fromkeys(name for stage in stages for name, e in stage.evaluations.items() if e.greedy)


def _answered(name: str, task: str, stages: Sequence[Stage]) -> str:
    rows = {stage.name: row for stage in stages if (row := stage.evaluations[name].greedy.get(task)) is not None}
    last = list(rows.values())[-1]
    gold = last.get("answer")
    gold = ", ".join(map(str, gold)) if isinstance(gold, list) else gold
    cards = []
    for stage, row in rows.items():
        status = next((status for _, status in verdicts(row)), "")
        if _is_right(row):
            verdict, mark = "✓ right", "ok"
        else:
            verdict, mark = f"✗ {status if status not in ('ok', '') else 'wrong'}", "bad"
        length = number(row.get("num_tokens"))
        tokens = f" · {length:.0f} tokens" if length == length else ""
        cards.append(
            f'<div class="tile"><span>{escape(stage)} · <b class="{mark}">{escape(verdict)}</b>{tokens}</span>'
            f"{text_block(row.get('response', ''))}</div>"
        )
    answer = f'<div class="soft">{escape(name)} · right answer: {escape(str(gold))}</div>' if gold is not None else ""
    return f'<section>{text_block(last.get("prompt", ""))}{answer}<div class="answers">{"".join(cards)}</div></section>'
