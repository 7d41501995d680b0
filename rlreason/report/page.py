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
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Final

from rlreason.report import recipe
from rlreason.report.files import OWN_TABLES, RunFiles, reward_values, sample_rows, verdicts
from rlreason.report.html import document, duration_text, status_class, text_cell
from rlreason.report.plots import MAX_POINTS, Row, against_kl, number, number_text, plots
from rlreason.report.sections import continuations, corpus, guard, signal, tokenizer
from rlreason.types import UserError

MAX_EVENTS: Final = 400
BAD_EVENTS: Final = (
    "error|fail|died|crash|restart|stuck|over-opt|rolled back|not replaced|not finite|no signal|nothing learned"
)


def write_report(run_dir: Path) -> Path:
    """Writes `run_dir`/report.html and returns its path. UserError where the directory holds no run."""
    if (run_dir / "summary.json").exists():
        body = recipe.body(run_dir)
    elif any((run_dir / name).exists() for name in ("metrics.jsonl", "events.jsonl", "config.yaml")):
        body = _stage_body(run_dir)
    else:
        raise UserError(f"{run_dir} holds no run: it has neither metrics.jsonl nor summary.json")
    path = run_dir / "report.html"
    aside = run_dir / "report.html.tmp"
    aside.write_text(document(run_dir.resolve().name, body), encoding="utf-8")
    aside.replace(path)
    return path


def _stage_body(run_dir: Path) -> str:
    files = RunFiles(run_dir)
    config, metrics = files.config, files.metrics
    # Dropped documents and continuations have tables of their own.
    samples = [
        row for row in sample_rows(run_dir / "samples.jsonl") if not str(row.get("split", "")).startswith(OWN_TABLES)
    ]
    drawn = plots(metrics) + against_kl(metrics)
    num_averaged = math.ceil(len(metrics) / MAX_POINTS)
    averaged = f" · each point is the mean of up to {num_averaged} steps" if num_averaged > 1 else ""
    parts = [
        f'<div class="soft">{escape(files.setting("stage") or "stage")} · rlreason report{averaged}</div>',
        f'<div class="tiles">{_tiles(metrics)}</div>',
        signal(files),
        guard(files, "Over-optimisation"),
        "" if metrics else '<p class="soft">No metrics were written.</p>',
        f'<div class="plots">{drawn}</div>' if drawn else "",
        corpus(files, "Corpus"),
        tokenizer(files, "Tokenizer"),
        continuations(files, "Held-out prompts, continued over training"),
        _sample_table(samples),
        _event_table(files.events),
    ]
    if config:
        parts.append(
            f"<h2>Configuration</h2><details><summary>config.yaml</summary><pre>{escape(config)}</pre></details>"
        )
    return "\n".join(parts)


def _tiles(metrics: Sequence[Row]) -> str:
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
    return "".join(f'<div class="tile"><span>{escape(name)}</span><b>{text}</b></div>' for name, text in tiles)


def _finite(metrics: Sequence[Row], key: str) -> list[float]:
    return [value for row in metrics if not math.isnan(value := number(row.get(key)))]


def _sample_table(samples: Sequence[Row]) -> str:
    if not samples:
        return ""
    body = []
    for row in samples:
        judged, values = verdicts(row), reward_values(row)
        statuses = escape(" ".join(status for _, status in judged))
        chips = "<br>".join(
            f'{escape(name)}: <span class="{status_class(status)}">{escape(status)}</span>'
            + (f" {number_text(values[name])}" if name in values else "")
            for name, status in judged
        )
        notes = " · ".join(
            f"{key}: {str(row[key])[:200]}"
            for key in ("answer", "split", "policy_version", "finish_reason")
            if row.get(key) is not None
        )
        body.append(
            f'<tr data-status="{statuses}"><td class="n">{escape(str(row.get("step", "–")))}</td>'
            f"{text_cell(row.get('prompt', ''))}{text_cell(row.get('response', ''))}"
            f'<td class="n">{number_text(number(row.get("reward")))}</td>'
            f'<td class="v">{chips}<div class="soft">{escape(notes)}</div></td></tr>'
        )
    options = "".join(
        f"<option>{escape(status)}</option>" for status in sorted({s for row in samples for _, s in verdicts(row)})
    )
    return (
        f'<h2>Samples</h2><p class="soft">{len(samples)} of the run, from places spread over it.</p>'
        '<p id="filter" hidden><input type="search" placeholder="contains" aria-label="contains"> '
        f'<select aria-label="verdict"><option value="">any verdict</option>{options}</select></p>'
        '<div class="wide"><table class="texts" id="samples"><thead><tr><th class="n">step</th>'
        '<th class="p">prompt</th><th>response</th><th class="n">reward</th><th class="v">verdicts</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _event_table(events: Sequence[Row]) -> str:
    if not events:
        return ""
    body = []
    for event in events[-MAX_EVENTS:]:
        kind = str(event.get("event", ""))
        details = {key: value for key, value in event.items() if key not in ("time", "event")}
        when = number(event.get("time"))
        moment = "–" if math.isnan(when) else f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S}"
        mark = "bad" if re.search(BAD_EVENTS, kind) else ""
        text = " ".join(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in details.items()
        )
        body.append(f'<tr><td class="n">{moment}</td><td class="{mark}">{escape(kind)}</td>{text_cell(text)}</tr>')
    note = f"the last {MAX_EVENTS} of {len(events)}, " if len(events) > MAX_EVENTS else ""
    return (
        f'<h2>Events</h2><p class="soft">{note}times in UTC</p><div class="wide"><table><thead><tr>'
        '<th class="n">time</th><th>event</th><th>details</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
