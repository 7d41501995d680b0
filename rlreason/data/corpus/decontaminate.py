"""Benchmark text in documents: n-grams of words that both share (GPT-3, arXiv 2005.14165, appendix C).

Words are lower case and without punctuation, so that other markup or line breaks hide nothing. A text of fewer than n
but at least MIN_WORDS words is looked for as a whole. A paraphrase is not found, nor is a shorter text.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any

from rlreason.config.corpus import DecontaminationRule
from rlreason.data.corpus.words import plain_words
from rlreason.types import UserError

if TYPE_CHECKING:
    import numpy

MIN_WORDS = 8
"""Fewer words, such as those of a short answer, are in many documents that know nothing of the benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarks:
    """What no document may hold. Arrays, since every task gets a copy."""

    hashes: "numpy.ndarray"
    """uint64 [N], rising: of all n-grams."""
    owners: "numpy.ndarray"
    """uint32 [N]: place in `counts` of the first set that has the n-gram."""
    sizes: tuple[int, ...]
    """Lengths of the n-grams in words, rising."""
    counts: dict[str, int]
    """Different n-grams of each set."""

    def fingerprint(self) -> str:
        names = f"{self.sizes} {list(self.counts)}".encode()
        return sha256(self.hashes.tobytes() + self.owners.tobytes() + names).hexdigest()


def load_benchmarks(rule: DecontaminationRule) -> Benchmarks:
    """UserError for a set that cannot be read, or in which nothing is long enough to be looked for."""
    from rlreason.data.rows import open_rows

    found = benchmarks_of({name: open_rows(config) for name, config in rule.data.items()}, rule.ngram)
    for name, count in found.counts.items():
        if not count:
            least = min(MIN_WORDS, rule.ngram)
            raise UserError(
                f"decontamination.data.{name}: no text of at least {least} words, so nothing to look for; "
                "take the set out, or set `decontamination.ngram` lower"
            )
    return found


def benchmarks_of(sets: Mapping[str, Iterable[Mapping[str, Any]]], n: int) -> Benchmarks:
    """Of all text of the rows, in lists and mappings too. Each text stands alone: no n-gram reaches over two."""
    import numpy

    owner: dict[int, int] = {}
    sizes, counts = set(), {}
    for place, (name, rows) in enumerate(sets.items()):
        own: set[int] = set()
        for words in (plain_words(text) for row in rows for text in _texts(row)):
            if min(n, MIN_WORDS) <= len(words):
                sizes.add(min(n, len(words)))
                own.update(map(_hash, _ngrams(words, min(n, len(words)))))
        counts[name] = len(own)
        owner.update((number, place) for number in own if number not in owner)
    hashes = numpy.array(sorted(owner), dtype=numpy.uint64)
    owners = numpy.array([owner[number] for number in sorted(owner)], dtype=numpy.uint32)
    return Benchmarks(hashes=hashes, owners=owners, sizes=tuple(sorted(sizes)), counts=counts)


def contaminated(text: str, benchmarks: Benchmarks) -> str | None:
    """`gsm8k: WORDS`, a set and the first n-gram that the text shares with it; None if there is none.

    Takes time linear in the text for each length of n-grams; a false match has a probability of about 1e-11 a document.
    """
    import numpy

    words = plain_words(text)
    for n in reversed(benchmarks.sizes):
        found = numpy.fromiter(map(_hash, _ngrams(words, n)), dtype=numpy.uint64)
        if not len(found):
            continue
        places = numpy.searchsorted(benchmarks.hashes, found).clip(max=len(benchmarks.hashes) - 1)
        shared = numpy.flatnonzero(benchmarks.hashes[places] == found)
        if len(shared):
            first = int(shared[0])
            owner = list(benchmarks.counts)[benchmarks.owners[places[first]]]
            return f"{owner}: {' '.join(words[first : first + n])}"
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _ngrams(words: tuple[str, ...], n: int) -> Iterator[str]:
    return (" ".join(words[i : i + n]) for i in range(len(words) - n + 1))


def _hash(gram: str) -> int:
    return int.from_bytes(blake2b(gram.encode(), digest_size=8).digest(), "little")
