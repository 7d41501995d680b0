"""The tokenizer stage: trains a byte-level BPE tokenizer on the sources and measures it.

One document in fifty, chosen by a hash of its text, is held out of training; compression is measured on the held-out
ones, beside other tokenizers. With so few documents that one side of the split is empty it trains and measures on all
of them, and says so. The stage is short and has no checkpoints: `--resume` does it again.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rlreason.config.corpus import TokenizerConfig, TokenizerSource
from rlreason.data.chat import load_tokenizer
from rlreason.data.rows import Row, open_rows, texts_of
from rlreason.data.tokenizer import CHAT_TEMPLATE, compression, not_restored, train, utilisation
from rlreason.runlog import commit_folder
from rlreason.running.console import say
from rlreason.running.job import Job, write_manifest
from rlreason.types import RunError, UserError

HELD_OUT = 50
"""One document in so many."""
MEASURED = 200
"""Documents of each source that are measured, at most."""
SAMPLES, SAMPLE_CHARACTERS = 10, 300
Sources = list[tuple[TokenizerSource, Sequence[Row]]]
HARD_TEXTS = [
    "",
    " ",
    "\x00\r\n\t \u200b\ufeff",
    "123456789.5e-7",
    "Ωé e\u0301 नमस्ते שלום 你好 👩‍👩‍👧 \U0010ffff",
    "<|end|><think>",
]


def run(config: TokenizerConfig, job: Job) -> dict[str, float]:
    """Writes final/: tokenizer and template. No evaluation figures. Raises UserError for a bad source or template."""
    job.log.cut_after(-1)
    others = {label: load_tokenizer(name, needs_eos=False) for name, label in _labels(config.compare_with).items()}
    template = CHAT_TEMPLATE if config.chat_template is None else _read(config.chat_template)
    sources = [(source, open_rows(source)) for source in config.data.values()]
    measured = _first_texts(sources, held_out=True)
    is_split = bool(measured) and next(_training_texts(sources, is_split=True), None) is not None
    if not is_split:
        measured = _first_texts(sources, held_out=False)
    tokenizer = train(
        _training_texts(sources, is_split=is_split),
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        reserved_tokens=config.reserved_tokens,
        chat_template=template,
    )
    lost = not_restored(tokenizer, [*HARD_TEXTS, *measured])
    if lost:
        raise RunError(f"{job.name}: a text does not come back from its tokens: {lost[0][:80]!r}")
    figures = {
        "tokenizer/vocab_size": float(len(tokenizer)),
        "tokenizer/utilisation": utilisation(tokenizer, measured),
        "tokenizer/bytes_per_token": compression(tokenizer, measured),
    } | {f"tokenizer/{name}/bytes_per_token": compression(other, measured) for name, other in others.items()}
    job.log.metrics(0, figures)
    job.log.samples(_sample(tokenizer, text) for text in measured[:SAMPLES])
    what = f"{len(measured)} {'held-out ' if is_split else ''}documents{'' if is_split else ' that it was trained on'}"
    job.log.event("measured", documents=len(measured), held_out=is_split)
    beside = (
        f"; {name} ({len(other):,}): {figures[f'tokenizer/{name}/bytes_per_token']:.3f}"
        for name, other in others.items()
    )
    say(
        f"{job.name}: {len(tokenizer):,} tokens, {figures['tokenizer/bytes_per_token']:.3f} bytes a token on {what}"
        + "".join(beside)
    )
    aside = job.log.path / ".writing-final"
    shutil.rmtree(aside, ignore_errors=True)
    tokenizer.save_pretrained(aside)
    commit_folder(aside, job.log.final)
    write_manifest(job, config.model_dump(mode="json"), kind="tokenizer", **figures, measured_held_out=is_split)
    return {}


def is_held_out(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % HELD_OUT == 0


def _training_texts(sources: Sources, *, is_split: bool) -> Iterator[str]:
    """Every source so many times as its `repeat` says; empty texts are left out."""
    for source, rows in sources:
        for _ in range(source.repeat):
            for text in texts_of(rows, source.text_column, source):
                if text and not (is_split and is_held_out(text)):
                    yield text


def _first_texts(sources: Sources, *, held_out: bool) -> list[str]:
    """Of each source, those to be measured."""
    found = (texts_of(rows, source.text_column, source) for source, rows in sources)
    wanted = ((text for text in texts if text and (is_held_out(text) or not held_out)) for texts in found)
    return list(chain.from_iterable(islice(texts, MEASURED) for texts in wanted))


def _sample(tokenizer: Any, text: str) -> dict[str, Any]:
    """A row of samples.jsonl: the beginning of a text, and its tokens parted by bars."""
    shown = text[:SAMPLE_CHARACTERS]
    ids = tokenizer(shown, add_special_tokens=False)["input_ids"]
    pieces = "|".join(tokenizer.decode([token]) for token in ids)
    return {"step": 0, "split": "tokens", "prompt": shown, "response": pieces, "num_tokens": len(ids)}


def _labels(names: list[str]) -> dict[str, str]:
    """The last part of each path or hub name, of a stage's `RUN/final` RUN's; the whole where two end alike."""
    last = {name: next((part for part in reversed(Path(name).parts) if part != "final"), name) for name in names}
    shared = Counter(last.values())
    return {name: part if shared[part] == 1 else name for name, part in last.items()}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"chat_template `{path}`: cannot be read: {error}; give the path of a Jinja file") from None
