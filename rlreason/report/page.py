"""Writes a run's report.html: one self-contained page with figures, plots, samples and events.

Reads only the files of the run directory. A directory with summary.json is a recipe's: its page compares the stages
and links to their reports. Works on a run that is still going or that died: torn lines are left out, keys that a
stage does not write give no plot.
Prompts, responses and verdicts are hostile text. All text is escaped, and a content policy forbids every load and
every script but the one below, which only filters the sample table; the page reads as well without it.
Does not: recompute metrics, show all samples (at most 200, spread over the file), or need a network.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from rlreason.report.plots import MAX_POINTS, Row, number, number_text, plots
from rlreason.types import UserError

NUM_STRATA, ROWS_PER_STRATUM = 10, 20
"""Samples are read at 10 places spread evenly over the file, 20 lines at each: at most 200."""
MAX_EVENTS: Final = 400
MAX_TEXT_CHARS: Final = 4000

STYLE: Final = """
:root{color-scheme:light dark;--bg:#fff;--panel:#f6f7f9;--line:#d9dde3;--ink:#1a2129;--soft:#5a6673;--bad:#b3261e;
--ok:#157347;--c0:#2463b4;--c1:#c4501b;--c2:#1a8754;--c3:#8a3fa0;--c4:#8f6c00;--c5:#b3305f;--c6:#4a5a6a;--c7:#0b7d86}
@media(prefers-color-scheme:dark){:root{--bg:#12161b;--panel:#1a2027;--line:#36404b;--ink:#e6eaef;--soft:#a3b0bd;
--bad:#ff9a92;--ok:#63d29b;--c0:#74abff;--c1:#ff9e6b;--c2:#5fd39a;--c3:#d394ec;--c4:#e2c054;--c5:#ff8ab0;--c6:#adbccb;
--c7:#5cd0da}}
body{margin:0 auto;padding:24px;max-width:1500px;background:var(--bg);color:var(--ink);
font:15px/1.45 system-ui,sans-serif}
h1{margin:0;font-size:24px}h2{margin:32px 0 12px;font-size:18px}h3{margin:0;font-size:14px}a{color:var(--c0)}
.soft,.tile span,figcaption{color:var(--soft);font-size:13px}.bad{color:var(--bad)}.ok{color:var(--ok)}
.tiles,.plots{display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));margin-top:16px}
.plots{grid-template-columns:repeat(auto-fill,minmax(min(380px,100%),1fr))}
.tile,figure{margin:0;padding:12px 14px;background:var(--panel);border:1px solid var(--line);border-radius:8px}
.tile{overflow-wrap:anywhere}.tile span{display:block}
.tile b{display:block;font-size:19px;font-weight:600;white-space:nowrap}
figure{display:flex;flex-direction:column;padding-bottom:6px}figure svg{margin-top:auto}h3 span{font-weight:400}
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line)}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.band{opacity:.18;stroke:none}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.c6{--c:var(--c6)}.c7{--c:var(--c7)}.line{stroke:var(--c)}.fill{fill:var(--c)}.rest{fill:var(--line)}
.key{margin-right:12px;white-space:nowrap}.key::before{content:"";display:inline-block;width:10px;height:10px;
margin-right:5px;border-radius:2px;background:var(--c)}
.wide{overflow-x:auto}.v{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{padding:6px 10px;text-align:left;
vertical-align:top;border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:600;white-space:nowrap}
td:first-child,.n{white-space:nowrap}th.e{white-space:normal}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n svg{width:90px;margin:4px 0 0 auto}
pre{margin:0;font:12px/1.4 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
.texts{table-layout:fixed;min-width:900px}.texts pre{max-height:15em;overflow:auto}.texts .n{width:60px}
.texts .v{width:170px}.texts .p{width:32%}#filter{margin:0 0 10px}input,select{font:inherit;padding:4px 8px}
"""

SCRIPT: Final = """
const bar = document.getElementById("filter"), rows = [...document.querySelectorAll("#samples tbody tr")];
if (bar) {
  const [text, status] = bar.querySelectorAll("input, select");
  const apply = () => rows.forEach(row => row.hidden =
    !row.textContent.toLowerCase().includes(text.value.toLowerCase()) ||
    (status.value && !row.dataset.status.split(" ").includes(status.value)));
  bar.hidden = false;
  bar.addEventListener("input", apply);
}
"""


def write_report(run_dir: Path) -> Path:
    """Writes `run_dir`/report.html and returns its path. UserError where the directory holds no run."""
    if (run_dir / "summary.json").exists():
        body = _recipe_body(run_dir)
    elif any((run_dir / name).exists() for name in ("metrics.jsonl", "events.jsonl", "config.yaml")):
        body = _stage_body(run_dir)
    else:
        raise UserError(f"{run_dir} holds no run: it has neither metrics.jsonl nor summary.json")
    path = run_dir / "report.html"
    aside = run_dir / "report.html.tmp"
    # A response may hold half of a surrogate pair, which UTF-8 cannot write.
    aside.write_text(_page(run_dir.resolve().name, body), encoding="utf-8", errors="replace")
    aside.replace(path)
    return path


def _page(title: str, body: str) -> str:
    hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (STYLE, SCRIPT)]
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{hashes[0]}'; "
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}script-src \'sha256-{hashes[1]}\'">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} · rlreason</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{body}\n<script>{SCRIPT}</script></body></html>\n"
    )


def _stage_body(run_dir: Path) -> str:
    config_path = run_dir / "config.yaml"
    config = config_path.read_text(encoding="utf-8", errors="replace") if config_path.exists() else ""
    stage = re.search(r"^stage:\s*(\w+)", config, re.MULTILINE)
    metrics = [row for row in _rows(run_dir / "metrics.jsonl") if isinstance(row.get("step"), int)]
    drawn = plots(metrics)
    num_averaged = math.ceil(len(metrics) / MAX_POINTS)
    averaged = f" · each point is the mean of up to {num_averaged} steps" if num_averaged > 1 else ""
    parts = [
        f'<div class="soft">{escape(stage[1]) if stage else "stage"} · rlreason report{averaged}</div>',
        f'<div class="tiles">{_tiles(metrics)}</div>',
        f'<div class="plots">{drawn}</div>' if drawn else '<p class="soft">No metrics were written.</p>',
        _sample_table(list(sample_rows(run_dir / "samples.jsonl"))),
        _event_table(list(_rows(run_dir / "events.jsonl"))),
    ]
    if config:
        parts.append(
            f"<h2>Configuration</h2><details><summary>config.yaml</summary><pre>{escape(config)}</pre></details>"
        )
    return "\n".join(parts)


def _recipe_body(run_dir: Path) -> str:
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    stages = summary["stages"]
    figures = list(dict.fromkeys(key for stage in stages for key in stage.get("eval") or {}))
    head = "".join(f'<th class="n e">{escape(key).replace("/", "/<wbr>")}</th>' for key in figures)
    rows = []
    for stage in stages:
        href = f"{stage['dir']}/report.html"
        name = escape(str(stage["name"]))
        if not Path(href).is_absolute() and (run_dir / href).exists():
            name = f'<a href="./{quote(href)}">{name}</a>'
        status = str(stage.get("status", ""))
        cells = "".join(_figure_cell(key, (stage.get("eval") or {}).get(key)) for key in figures)
        rows.append(
            f"<tr><td>{name}</td><td>{escape(str(stage['stage']))}</td>"
            f'<td class="{"ok" if status == "done" else "bad"}">{escape(status)}</td>'
            f'<td class="n">{duration_text(number(stage.get("duration_s")))}</td>{cells}</tr>'
        )
    return (
        f'<div class="soft">recipe of {len(stages)} stages · {duration_text(number(summary.get("duration_s")))}</div>'
        '<h2>Stages</h2><div class="wide"><table><thead><tr><th>name</th><th>stage</th><th>status</th>'
        f'<th class="n">duration</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _figure_cell(key: str, value: Any) -> str:
    """A number; a share also gets a bar, so that the stages compare at a glance."""
    share = number(value)
    bar = ""
    if re.search(r"accuracy|@", key) and 0 <= share <= 1:
        bar = (
            '<svg viewBox="0 0 90 4" class="c0" aria-hidden="true"><rect class="rest" width="90" height="4"/>'
            f'<rect width="{90 * share:.1f}" height="4" class="fill"/></svg>'
        )
    return f'<td class="n">{number_text(share)}{bar}</td>'


def _tiles(metrics: Sequence[Row]) -> str:
    keys = list(dict.fromkeys(key for row in metrics for key in row))
    tiles = [("steps", f"{len({row['step'] for row in metrics}):,}")]
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


def duration_text(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 07 min; an en dash for NaN."""
    if math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:  # torn by a crash, or in the middle of a character
        return None
    return row if isinstance(row, dict) else None


def _rows(path: Path) -> Iterator[Row]:
    if path.exists():
        with path.open("rb") as file:
            yield from (row for line in file if (row := _parse(line)) is not None)


def sample_rows(path: Path) -> Iterator[Row]:
    """All rows, or 200 from places spread over the file, the first and the last lines among them.

    Reads only those places, so the time does not grow with the file.
    """
    if not path.exists():
        return
    if _tail_offset(path, NUM_STRATA * ROWS_PER_STRATUM) == 0:
        yield from _rows(path)
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        for stratum in range(NUM_STRATA):
            last = stratum == NUM_STRATA - 1
            start = _tail_offset(path, ROWS_PER_STRATUM) if last else size * stratum // (NUM_STRATA - 1)
            if start > file.tell():
                file.seek(start - 1)
                file.readline()  # to the next line's start, which is `start` itself where a line ends just before it
            for _ in range(ROWS_PER_STRATUM):
                row = _parse(file.readline())
                if row is not None:
                    yield row


def _tail_offset(path: Path, num_lines: int) -> int:
    """Where the last `num_lines` lines begin."""
    size = path.stat().st_size
    window = 1 << 16
    with path.open("rb") as file:
        while True:
            start = max(0, size - window)
            file.seek(start)
            tail = file.read()
            if start == 0 or tail.count(b"\n") > num_lines:
                break
            window *= 2
    return start + len(tail) - len(b"".join(tail.splitlines(keepends=True)[-num_lines:]))


def _status_class(status: str) -> str:
    return {"ok": "ok", "wrong": "", "": ""}.get(status, "bad")


def _verdicts(row: Row) -> list[tuple[str, str]]:
    """(name, status) of each reward; `verdicts` maps names to a status or to a score with its status."""
    found = row.get("verdicts")
    if not isinstance(found, dict):
        return []
    return [(str(name), str(v.get("status", "")) if isinstance(v, dict) else str(v)) for name, v in found.items()]


def _text_cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    half = MAX_TEXT_CHARS // 2
    if len(text) > MAX_TEXT_CHARS:
        text = f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"
    return f"<td><pre>{escape(text)}</pre></td>"


def _sample_table(samples: Sequence[Row]) -> str:
    if not samples:
        return ""
    body = []
    for row in samples:
        verdicts = _verdicts(row)
        statuses = escape(" ".join(status for _, status in verdicts))
        chips = "<br>".join(
            f'{escape(name)}: <span class="{_status_class(status)}">{escape(status)}</span>'
            for name, status in verdicts
        )
        notes = " · ".join(
            f"{key}: {str(row[key])[:200]}"
            for key in ("answer", "split", "policy_version", "finish_reason")
            if row.get(key) is not None
        )
        body.append(
            f'<tr data-status="{statuses}"><td class="n">{escape(str(row.get("step", "–")))}</td>'
            f"{_text_cell(row.get('prompt', ''))}{_text_cell(row.get('response', ''))}"
            f'<td class="n">{number_text(number(row.get("reward")))}</td>'
            f'<td class="v">{chips}<div class="soft">{escape(notes)}</div></td></tr>'
        )
    options = "".join(
        f"<option>{escape(status)}</option>" for status in sorted({s for row in samples for _, s in _verdicts(row)})
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
        mark = "bad" if re.search("error|fail|died|crash|restart|stall", kind) else ""
        text = " ".join(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in details.items()
        )
        body.append(f'<tr><td class="n">{moment}</td><td class="{mark}">{escape(kind)}</td>{_text_cell(text)}</tr>')
    note = f"the last {MAX_EVENTS} of {len(events)}, " if len(events) > MAX_EVENTS else ""
    return (
        f'<h2>Events</h2><p class="soft">{note}times in UTC</p><div class="wide"><table><thead><tr>'
        '<th class="n">time</th><th>event</th><th>details</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
