"""Exact and near duplicates: MinHash signatures on word n-grams, banded (Broder 1997; FineWeb, arXiv 2406.17557).

Two documents of Jaccard similarity s share a band with probability 1 - (1 - s**rows)**bands. Deterministic by the
seed, on any machine. Finds pairs; joining them across files and machines is the pipeline's work.
"""

import struct
from collections.abc import Iterable
from hashlib import blake2b

from rlreason.config.corpus import DedupRule
from rlreason.data.corpus.words import plain_words


def text_hash(text: str) -> bytes:
    """16 bytes that documents share whose words are the same: case, punctuation, symbols and white space apart."""
    return blake2b(" ".join(_words(text)).encode(), digest_size=16).digest()


def signature(text: str, rule: DedupRule, seed: int) -> list[int]:
    """MinHash of the set of word n-grams: bands x rows numbers of 32 bits. A text of fewer words is one n-gram."""
    from rensa import RMinHash

    words = _words(text)
    sketch = RMinHash(rule.bands * rule.rows, seed % 2**64)
    sketch.update({" ".join(words[i : i + rule.ngram]) for i in range(max(len(words) - rule.ngram, 0) + 1)})
    return list(sketch.digest())


def band_keys(text: str, rule: DedupRule, seed: int) -> list[bytes]:
    """One key of 16 bytes for each band, and `text_hash`: documents with a key in common are duplicates."""
    numbers = signature(text, rule, seed)
    bands = (numbers[band * rule.rows : (band + 1) * rule.rows] for band in range(rule.bands))
    packed = (struct.pack(f"<{rule.rows + 1}I", band, *row) for band, row in enumerate(bands))
    return [text_hash(text), *(blake2b(key, digest_size=16).digest() for key in packed)]


def _words(text: str) -> tuple[str, ...]:
    """A text without letters and digits is one word, lest all of them are alike."""
    return plain_words(text) or (text,)


def clusters(pairs: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """{document id: id of the one document that its cluster keeps} from pairs of id and band key, in any order.

    Clusters are the connected components: duplicates of duplicates are together. The smallest id is kept, whatever
    the order of the pairs. Union-find with path halving; memory is linear in ids and distinct keys.
    """
    parent: dict[str, str] = {}
    holder: dict[bytes, str] = {}

    def root(id: str) -> str:
        while parent[id] != id:
            parent[id] = id = parent[parent[id]]
        return id

    for id, key in pairs:
        parent.setdefault(id, id)
        first, second = root(id), root(holder.setdefault(key, id))
        if first != second:
            parent[max(first, second)] = min(first, second)
    return {id: root(id) for id in parent}
