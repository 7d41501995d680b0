"""Writes a run's report.html: one self-contained page with figures, plots, samples and events.

Reads only the files of the run directory. A directory with summary.json is a recipe's: `recipe` writes its page.
Works on a run that is still going or that died: torn lines are left out, keys that a stage does not write give no plot.
Prompts, responses and verdicts are hostile text. All text is escaped, and a content policy forbids every load and
every script but one, which only filters the sample table; the page reads as well without it.
Does not: recompute metrics, show all samples (at most 200, spread over the file), or need a network.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rlreason.report import recipe
from rlreason.report.files import OWN_TABLES, RunFiles, reward_values, sample_rows, verdicts
from rlreason.report.html import duration_text, moment_text, render
from rlreason.report.plots import MAX_POINTS, Row, against_kl, number, number_text, plots
from rlreason.types import UserError

MAX_EVENTS: Final = 400
BAD_EVENTS: Final = (
    "error|fail|died|crash|restart|stuck|over-opt|rolled back|not replaced|not finite|no signal|nothing learned"
)


def write_report(run_dir: Path) -> Path:
    """Writes `run_dir`/report.html and returns its path. UserError where the directory holds no run."""
    if (run_dir / "summary.json").exists():
        page = recipe.page(run_dir)
    elif any((run_dir / name).exists() for name in ("metrics.jsonl", "events.jsonl", "config.yaml")):
        page = _stage_page(run_dir)
    else:
        raise UserError(f"{run_dir} holds no run: it has neither metrics.jsonl nor summary.json")
    path = run_dir / "report.html"
    aside = run_dir / "report.html.tmp"
    aside.write_text(page, encoding="utf-8")
    aside.replace(path)
    return path


def _stage_page(run_dir: Path) -> str:
    files = RunFiles(run_dir)
    # Dropped documents and continuations have tables of their own.
    samples = [
        row for row in sample_rows(run_dir / "samples.jsonl") if not str(row.get("split", "")).startswith(OWN_TABLES)
    ]
    return render(
        "stage.html",
        title=run_dir.resolve().name,
        files=files,
        num_averaged=math.ceil(len(files.metrics) / MAX_POINTS),
        tiles=_tiles(files.metrics),
        plots=plots(files.metrics) + against_kl(files.metrics),
        samples=[(row, verdicts(row), reward_values(row)) for row in samples],
        statuses=sorted({status for row in samples for _, status in verdicts(row)}),
        events=[_event(row) for row in files.events[-MAX_EVENTS:]],
    )


def _tiles(metrics: Sequence[Row]) -> list[tuple[str, str]]:
    """Name and value of each tile."""
    keys = list(dict.fromkeys(key for row in metrics for key in row))
    # At step 0 a stage measures what it starts from.
    tiles = [("steps", f"{len({row['step'] for row in metrics} - {0}):,}")]
    for label, pattern in (
        ("last reward", r"reward/mean"),
        ("last evaluation", r"eval/.+/greedy_accuracy"),
        ("last evaluation", r"eval/.+/avg@\w+"),
        ("last loss", r"(\w+/)?loss"),
    ):
        key = next((key for key in keys if re.fullmatch(pattern, key) and _finite(metrics, key)), None)
        if key is not None and label not in [tile[0].split(":")[0] for tile in tiles]:
            name = f"{label}: {key.removeprefix('eval/')}" if key.startswith("eval/") else label
            tiles.append((name, number_text(_finite(metrics, key)[-1])))
    gaps = _finite(metrics, "mismatch/logprob_gap_mean")
    if gaps:
        tiles.append(("largest logprob gap, nats", number_text(max(gaps))))
    if metrics:
        tiles.append(("duration", duration_text(number(metrics[-1].get("time_s")))))
    num_bad = sum(math.isnan(number(value)) for row in metrics for value in row.values())
    if num_bad:
        tiles.append(("values that are not finite", str(num_bad)))
    return tiles


def _finite(metrics: Sequence[Row], key: str) -> list[float]:
    return [value for row in metrics if not math.isnan(value := number(row.get(key)))]


def _event(row: Row) -> tuple[str, str, bool, str]:
    """An event's time, its kind, whether it is bad, and its other fields as text."""
    kind = str(row.get("event", ""))
    fields = {key: value for key, value in row.items() if key not in ("time", "event")}
    details = " ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in fields.items())
    return moment_text(row.get("time")), kind, re.search(BAD_EVENTS, kind) is not None, details
