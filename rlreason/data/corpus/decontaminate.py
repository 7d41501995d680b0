"""Benchmark text in documents: n-grams of words that both share (GPT-3, arXiv 2005.14165, appendix C).

Words are lower case and without punctuation, so that other markup or line breaks hide nothing. A paraphrase is not
found, nor is a benchmark text of fewer than n words.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rlreason.config.corpus import DecontaminationRule
from rlreason.data.corpus.words import plain_words


def load_hashes(rule: DecontaminationRule) -> frozenset[int]:
    """`ngram_hashes` of everything that `rule.data` names. UserError for what cannot be read."""
    return frozenset(ngram_hashes((row for name in rule.data for row in _rows(name, rule)), rule.ngram))


def _rows(name: str, rule: DecontaminationRule) -> list[dict[str, Any]]:
    from rlreason.config.data import DataConfig
    from rlreason.data.tasks import FORMATS, load_rows

    is_file = Path(name).suffix in FORMATS
    return load_rows(DataConfig(path=name) if is_file else DataConfig(generate=name, args=rule.args))


def ngram_hashes(rows: Iterable[Mapping[str, Any]], n: int) -> set[int]:
    """64-bit hashes of all n-grams of words in all text of the rows, that in lists and mappings as well.

    Each text stands alone: no n-gram reaches over two columns.
    """
    return {_hash(gram) for row in rows for text in _texts(row) for gram in _ngrams(text, n)}


def contaminated(text: str, hashes: Collection[int], n: int) -> str | None:
    """The first n-gram that the text shares with the benchmarks, as normalised words; None if there is none.

    `hashes` is a set. Takes time linear in the text; a false match has a probability of about 1e-11 a document.
    """
    return next((gram for gram in _ngrams(text, n) if _hash(gram) in hashes), None)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _ngrams(text: str, n: int) -> Iterator[str]:
    words = plain_words(text)
    return (" ".join(words[i : i + n]) for i in range(len(words) - n + 1))


def _hash(gram: str) -> int:
    return int.from_bytes(blake2b(gram.encode(), digest_size=8).digest(), "little")
