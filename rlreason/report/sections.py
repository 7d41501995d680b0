"""Data of the sections that the pages of a stage and of a recipe share: corpus, tokenizers, continuations, guard.

Each function takes one stage's files; nothing comes back where that stage wrote nothing of the kind.
Documents and addresses are hostile text: templates/sections.html shows them and never links them.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from rlreason.report.files import RunFiles
from rlreason.report.plots import Row, number

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What each rule dropped of the documents that were read."""

    total: float
    waterfall: list[tuple[str, float, float]]
    """(rule, documents dropped, documents left) in the order of RULES."""
    kept: float
    written: float
    is_tagged: bool
    """`tag_only`: the filters dropped nothing, so more was written than is kept here."""
    dropped: dict[str, float]
    idle: list[str]
    """Rules that dropped nothing."""
    samples: list[tuple[str, list[Row]]]
    """Dropped documents by rule, in the order of RULES."""


def corpus(files: RunFiles) -> Corpus | None:
    """What each rule dropped, with samples. None where the stage made no corpus."""
    last = files.last
    counts = {m[1]: number(value) for key, value in last.items() if (m := re.fullmatch("corpus/(.+)/dropped", key))}
    dropped = {rule: counts[rule] for rule in sorted(counts, key=_place) if counts[rule] > 0}
    written = number(last.get("corpus/documents"))
    if not counts or written != written:
        return None
    is_tagged = files.setting("tag_only") == "true"
    total = number(last.get("corpus/records"))
    if total != total:
        # With `tag_only` what the filters would drop is written as well.
        total = written + sum(n for rule, n in dropped.items() if not (is_tagged and rule in FILTERS))
    left, waterfall = total, []
    for rule, count in dropped.items():
        left -= count
        waterfall.append((rule, count, left))
    samples: dict[str, list[Row]] = defaultdict(list)
    for row in files.table("dropped/"):
        samples[str(row["split"]).removeprefix("dropped/")].append(row)
    return Corpus(
        total=total,
        waterfall=waterfall,
        kept=left,
        written=written,
        is_tagged=is_tagged,
        dropped=dropped,
        idle=[rule for rule, count in counts.items() if count == 0],
        samples=sorted(samples.items(), key=lambda item: _place(item[0])),
    )


def _place(rule: str) -> int:
    return RULES.index(rule) if rule in RULES else -1


def tokenizers(files: RunFiles) -> list[tuple[str, float, float]]:
    """Name, bytes per token, and their ratio to this stage's own, which stands first."""
    last = files.last
    own = number(last.get("tokenizer/bytes_per_token"))
    if own != own:
        return []
    size = number(last.get("tokenizer/vocab_size"))
    name = "this one" + (f", {size:,.0f} tokens" if size == size else "")
    others = [
        (m[1], number(v)) for key, v in last.items() if (m := re.fullmatch("tokenizer/(.+)/bytes_per_token", key))
    ]
    return [(name, value, value / own) for name, value in [(name, own), *others]]


def continuations(files: RunFiles) -> dict[str, list[tuple[int, str]]]:
    """What the model wrote at each measurement, as (step, text), by prompt."""
    by_step: dict[int, dict[str, str]] = defaultdict(dict)
    for row in files.table("continuation"):
        if isinstance(row.get("step"), int):
            by_step[row["step"]][str(row.get("prompt", ""))] = str(row.get("response", ""))
    steps = sorted(by_step)
    if len(steps) > MAX_STEPS:
        steps = [steps[round(i * (len(steps) - 1) / (MAX_STEPS - 1))] for i in range(MAX_STEPS)]
    prompts = dict.fromkeys(prompt for step in steps for prompt in by_step[step])
    return {prompt: [(step, by_step[step].get(prompt, "–")) for step in steps] for prompt in prompts}


def guard(files: RunFiles) -> list[Row]:
    """Events that say what the guard of an RL stage found, and which policy the stage ended with."""
    return [row for row in files.events if row.get("event") in ("over-optimisation", "rolled back")]


def no_signal(files: RunFiles) -> list[str]:
    """Messages that nothing was learned, or that for some steps no rewards differed."""
    silent = [str(row.get("message", "")) for row in files.events if row.get("event") == "no signal"]
    return [message for message in (files.nothing_learned, *silent) if message]
