"""One record to one row: extracted, judged by every rule in order, masked. Pure and picklable, to be mapped.

Order: url, extraction, language, gopher_repetition, gopher_quality, c4, fineweb, decontamination; personal data is
masked last, in what is kept. Duplicates need the other documents and are not judged here.
"""

from collections.abc import Iterator
from typing import Any

from rlreason.config.corpus import CorpusConfig
from rlreason.data.corpus import c4, fineweb, gopher, language, pii, url
from rlreason.data.corpus.decontaminate import Benchmarks, contaminated
from rlreason.data.corpus.extract import ExtractionError, extract
from rlreason.data.corpus.records import Record
from rlreason.data.corpus.words import words

RULES = ("url", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb", "decontamination")
"""In their order; each is a section of the configuration and a value of `dropped_by`."""
VERDICT = "verdict_"
"""Prefix of the columns that `tag_only` adds: `verdict_c4`."""


def active_rules(config: CorpusConfig) -> list[str]:
    """Those of RULES that the configuration switches on."""
    return [rule for rule in RULES if getattr(config, rule) is not None]


def clean(record: Record, config: CorpusConfig, benchmarks: Benchmarks | None = None) -> dict[str, Any]:
    """One flat row: id, source, url, date, text, language, language_score, num_words, dropped_by, reason, and what was
    changed: lines_cut (by c4) and pii_masked (addresses).

    `dropped_by` is None in a row to keep; else a rule, what the reader said, `extraction_failed` or `empty`, with
    `reason` in one line and `text` as it was then, "" where there is none. language is "" and its score 0.0 where
    nobody looked. num_words is 0 where the row is dropped. `benchmarks` come from `decontaminate.load_benchmarks`. What
    a library raises over a strange record is not caught here.

    With `tag_only` no rule drops; each adds `verdict_RULE`: why it would have, or None. The rows without a verdict
    are, text and all, those that are kept without `tag_only`.
    """
    row: dict[str, Any] = {
        **{"id": record.id, "source": record.source, "url": record.url, "date": record.date, "text": ""},
        **{"language": "", "language_score": 0.0, "num_words": 0, "dropped_by": record.dropped_by},
        **{"reason": record.reason or None, "lines_cut": 0, "pii_masked": 0},
    }
    if config.tag_only:
        row |= {f"{VERDICT}{rule}": None for rule in active_rules(config)}
    for rule, verdict in _verdicts(record, row, config, benchmarks) if record.dropped_by is None else ():
        if verdict and rule in RULES and config.tag_only:
            row[f"{VERDICT}{rule}"] = verdict
        elif verdict:
            row["dropped_by"], row["reason"] = rule, verdict
            break
    if row["dropped_by"] is None:
        if config.mask_pii:
            row["text"], row["pii_masked"] = pii.mask(row["text"])
        row["num_words"] = len(words(row["text"]))
    return row


def _verdicts(
    record: Record, row: dict[str, Any], config: CorpusConfig, benchmarks: Benchmarks | None
) -> Iterator[tuple[str, str | None]]:
    """Each step's name and why it drops the page, one after the other; fills in the row's text and language."""
    if config.url:
        yield "url", url.check(record.url, config.url)
    try:
        row["text"] = extract(record.payload, config.extractor) if record.kind == "html" else record.payload.strip()
    except ExtractionError as error:
        yield "extraction_failed", str(error)
    yield "empty", None if row["text"] else "empty: no text"
    if config.language:
        row["language"], row["language_score"] = language.identify(row["text"])
        yield "language", language.check(row["language"], row["language_score"], config.language)
    if config.gopher_repetition:
        yield "gopher_repetition", gopher.check_repetition(row["text"], config.gopher_repetition)
    if config.gopher_quality:
        yield "gopher_quality", gopher.check_quality(row["text"], config.gopher_quality)
    if config.c4:
        num_lines = _num_lines(row["text"])
        row["text"], verdict = c4.apply(row["text"], config.c4)
        row["lines_cut"] = num_lines - _num_lines(row["text"])
        yield "c4", verdict
    if config.fineweb:
        yield "fineweb", fineweb.check(row["text"], config.fineweb)
    if config.decontamination and benchmarks:
        found = contaminated(row["text"], benchmarks)
        yield "decontamination", f"decontamination: {found}" if found else None


def _num_lines(text: str) -> int:
    """Without blank ones."""
    return sum(bool(line.strip()) for line in text.splitlines())
