"""Parts of a report that a stage's page and its recipe's page share: corpus, tokenizer, continuations, guard.

Each function takes one stage's files and returns HTML, empty text where that stage wrote nothing of the kind.
Documents and addresses are hostile text: they are shown, never linked.
"""

import re
from collections import defaultdict
from html import escape
from typing import Final

from rlreason.report.files import RunFiles
from rlreason.report.html import table, text_cell
from rlreason.report.plots import Row, number, number_text

RULES: Final = (
    "broken",
    "not_text",
    "url",
    "extraction_failed",
    "empty",
    "language",
    "gopher_repetition",
    "gopher_quality",
    "c4",
    "fineweb",
    "decontamination",
    "exact_duplicate",
    "near_duplicate",
)
"""The order in which rules see a document; other names come before these."""
FILTERS: Final = {"url", *RULES[RULES.index("language") :]}
"""Rules that drop nothing with `tag_only`."""
MAX_STEPS: Final = 10
"""Measurements whose continuations are shown, the first and the last among them."""


def corpus(files: RunFiles, title: str) -> str:
    """What each rule dropped, with its dropped samples."""
    last = files.last
    found = {m[1]: number(value) for key, value in last.items() if (m := re.fullmatch("corpus/(.+)/dropped", key))}
    dropped = {rule: count for rule, count in found.items() if count > 0}
    written = number(last.get("corpus/documents"))
    if not found or written != written:
        return ""
    is_tagged = files.setting("tag_only") == "true"
    left = total = number(last.get("corpus/records"))
    if total != total:
        # With `tag_only` what the filters would drop is written as well.
        left = total = written + sum(n for rule, n in dropped.items() if not (is_tagged and rule in FILTERS))
    rows = [f"<tr><td>read</td><td></td><td></td>{_count(total)}{_bar(total, total, total)}</tr>"]
    for rule in sorted(dropped, key=_place):
        before, left = left, left - dropped[rule]
        share = f'<td class="n">{100 * dropped[rule] / total:.1f} %</td>'
        rows.append(
            f"<tr><td>{escape(rule)}</td>{_count(dropped[rule])}{share}{_count(left)}{_bar(before, left, total)}</tr>"
        )
    share = f'<td class="n">{100 * left / total:.1f} %</td>' if total else "<td></td>"
    rows.append(f"<tr><td><b>kept</b></td><td></td>{share}{_count(left)}{_bar(left, left, total)}</tr>")
    idle = ", ".join(rule for rule, count in found.items() if count == 0)
    note = f'<p class="soft">Nothing was dropped by {escape(idle)}.</p>' if idle else ""
    if is_tagged:
        note += (
            '<p class="soft">With <code>tag_only</code> the filters drop nothing: counted is what they would drop; '
            f"all {written:,.0f} documents that could be read were written.</p>"
        )
    heads = ["rule", "n:dropped", "n:of all", "n:left", ""]
    return f"<h2>{escape(title)}</h2>{table(heads, rows)}{note}{_dropped_samples(files, dropped)}"


def _place(rule: str) -> int:
    return RULES.index(rule) if rule in RULES else -1


def _count(value: float) -> str:
    return f'<td class="n">{value:,.0f}</td>'


def _bar(before: float, left: float, total: float) -> str:
    """What is left, and what this rule took, as shares of all that was read."""
    width = 200 / total if total else 0.0
    return (
        '<td class="fall"><svg viewBox="0 0 200 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="c0 fill" width="{left * width:.1f}" height="10"/>'
        f'<rect class="c1 fill" x="{left * width:.1f}" width="{(before - left) * width:.1f}" height="10"/></svg></td>'
    )


def _dropped_samples(files: RunFiles, dropped: dict[str, float]) -> str:
    samples: dict[str, list[Row]] = defaultdict(list)
    for row in files.table("dropped/"):
        samples[str(row["split"]).removeprefix("dropped/")].append(row)
    parts = []
    for rule, found in sorted(samples.items(), key=lambda item: _place(item[0])):
        rows = [
            f'<tr><td class="v">{escape(str(row.get("url") or row.get("id") or "–"))}'
            f'<div class="soft">{escape(str(row.get("reason") or ""))}</div></td>'
            f"{text_cell(row.get('text') or '')}</tr>"
            for row in found
        ]
        count = f"{dropped[rule]:,.0f} dropped, " if rule in dropped else ""
        parts.append(
            f"<details><summary>{escape(rule)}: {count}{len(found)} shown</summary>"
            f"{table(['v:document and reason', 'text'], rows, style='texts')}</details>"
        )
    return f"<h3>Documents that were dropped</h3>{''.join(parts)}" if parts else ""


def tokenizer(files: RunFiles, title: str) -> str:
    """Compression beside that of other tokenizers."""
    last = files.last
    own = number(last.get("tokenizer/bytes_per_token"))
    if own != own:
        return ""
    size = number(last.get("tokenizer/vocab_size"))
    name = "this one" + (f", {size:,.0f} tokens" if size == size else "")
    found = {name: own} | {
        m[1]: number(value) for key, value in last.items() if (m := re.fullmatch("tokenizer/(.+)/bytes_per_token", key))
    }
    rows = [
        f'<tr><td>{escape(other)}</td><td class="n">{value:.3f}</td><td class="n">{value / own:.2f}</td></tr>'
        for other, value in found.items()
    ]
    return f"<h2>{escape(title)}</h2>{table(['tokenizer', 'n:bytes per token', 'n:relative'], rows, style='fit')}"


def continuations(files: RunFiles, title: str) -> str:
    """The same beginnings of text, continued by the model as it was at each measurement."""
    by_step: dict[int, dict[str, str]] = defaultdict(dict)
    for row in files.table("continuation"):
        if isinstance(row.get("step"), int):
            by_step[row["step"]][str(row.get("prompt", ""))] = str(row.get("response", ""))
    steps = sorted(by_step)
    if not steps:
        return ""
    if len(steps) > MAX_STEPS:
        steps = [steps[round(i * (len(steps) - 1) / (MAX_STEPS - 1))] for i in range(MAX_STEPS)]
    blocks = []
    for prompt in dict.fromkeys(prompt for step in steps for prompt in by_step[step]):
        rows = [f'<tr><td class="n">{step:,}</td>{text_cell(by_step[step].get(prompt, "–"))}</tr>' for step in steps]
        blocks.append(f"<h3><pre>{escape(prompt)} …</pre></h3>{table(['n:step', 'continuation'], rows, style='steps')}")
    return f"<h2>{escape(title)}</h2>{''.join(blocks)}"


def guard(files: RunFiles, title: str) -> str:
    """What the guard of an RL stage found, and which policy the stage ended with."""
    found = [row for row in files.events if row.get("event") in ("over-optimisation", "rolled back")]
    if not found:
        return ""
    body = []
    for row in found:
        what, action = (escape(str(row.get(key) or "")) for key in ("what", "action"))
        told = row.get("message") or f"final/ is the policy of step {row.get('to')}, which had the best true score"
        body.append(
            f'<tr><td class="n">{escape(str(row.get("step", "–")))}</td><td class="bad">{what or "rolled back"}</td>'
            f"{text_cell(str(told))}<td>{action}</td></tr>"
        )
    return f"<h2>{escape(title)}</h2>{table(['n:step', 'what', 'found', 'action'], body)}"


def signal(files: RunFiles, name: str = "") -> str:
    """That nothing was learned, or that for some steps no rewards differed."""
    silent = [str(row.get("message", "")) for row in files.events if row.get("event") == "no signal"]
    messages = [message for message in (files.nothing_learned, *silent) if message]
    where = f"<b>{escape(name)}</b>: " if name and messages else ""
    return "".join(f'<p class="bad">{where}{escape(message)}</p>' for message in messages)


def figure_text(key: str, value: float) -> str:
    """Shares in percent, all else as a number."""
    is_share = re.search(r"accuracy|(avg|pass|maj)@|rate$", key) is not None
    return f"{100 * value:.1f} %" if is_share and 0 <= value <= 1 else number_text(value)
