"""Gopher's rules (Rae et al., arXiv 2112.11446, section A1.1 and table A1), measured as FineWeb's datatrove does.

Repetition: shares of the text's lines, paragraphs and characters that occurred before. Quality: what natural text looks
like. English: the stop words are. Words are those of `words.py`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from rlreason.config.corpus import GopherQualityRule, GopherRepetitionRule
from rlreason.data.corpus.figures import Figure, failure, repeated
from rlreason.data.corpus.words import is_punctuation, words

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
PARAGRAPHS = re.compile(r"\n{2,}")
LINES = re.compile(r"\n+")


def check_repetition(text: str, rule: GopherRepetitionRule) -> str | None:
    """The first figure out of bounds, as `gopher_repetition: 0.4 duplicate lines > 0.3`; None where there is none."""
    return failure("gopher_repetition", repetition(text, rule))


def check_quality(text: str, rule: GopherQualityRule) -> str | None:
    """The first figure out of bounds, as `gopher_quality: 23 words < 50`; None where there is none."""
    return failure("gopher_quality", quality(text, rule))


def repetition(text: str, rule: GopherRepetitionRule) -> Iterator[Figure]:
    """Shares from 0 to 1, of the whole text's characters or of its parts. The text is not empty."""
    paragraphs = PARAGRAPHS.split(text.strip())
    count, size = repeated(paragraphs)
    yield Figure(name="duplicate paragraphs", value=count / len(paragraphs), high=rule.duplicate_paragraphs)
    name = "characters in duplicate paragraphs"
    yield Figure(name=name, value=size / len(text), high=rule.duplicate_paragraph_characters)
    lines = LINES.split(text)
    count, size = repeated(lines)
    yield Figure(name="duplicate lines", value=count / len(lines), high=rule.duplicate_lines)
    name = "characters in duplicate lines"
    yield Figure(name=name, value=size / len(text), high=rule.duplicate_line_characters)
    found = words(text)
    for n, high in rule.top_ngrams.items():
        name = f"characters in the most frequent {n}-gram"
        yield Figure(name=name, value=_top_ngram(found, n) / len(text), high=high)
    for n, high in rule.duplicate_ngrams.items():
        name = f"characters in duplicate {n}-grams"
        yield Figure(name=name, value=_duplicate_ngrams(found, n) / len(text), high=high)


def quality(text: str, rule: GopherQualityRule) -> Iterator[Figure]:
    """Counts and shares. The text is not empty."""
    found = words(text)
    spoken = [len(word) for word in found if not is_punctuation(word)]
    yield Figure(name="words", value=len(spoken), low=rule.min_words, high=rule.max_words)
    mean = sum(spoken) / max(len(spoken), 1)
    low, high = rule.min_mean_word_length, rule.max_mean_word_length
    yield Figure(name="characters in the mean word", value=mean, low=low, high=high)
    num_words = max(len(found), 1)
    high = rule.max_symbols_per_word
    yield Figure(name="hash signs per word", value=text.count("#") / num_words, high=high)
    yield Figure(name="ellipses per word", value=(text.count("...") + text.count("…")) / num_words, high=high)
    lines = text.splitlines() or [""]
    bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
    yield Figure(name="bullet lines", value=bullets / len(lines), high=rule.max_bullet_lines)
    ellipses = sum(line.rstrip().endswith(("...", "…")) for line in lines)
    yield Figure(name="ellipsis lines", value=ellipses / len(lines), high=rule.max_ellipsis_lines)
    letters = sum(any(map(str.isalpha, word)) for word in found)
    yield Figure(name="alphabetic words", value=letters / num_words, low=rule.min_alphabetic_words)
    yield Figure(name="stop words", value=len(STOP_WORDS.intersection(found)), low=rule.min_stop_words)


def _top_ngram(found: Sequence[str], n: int) -> int:
    """Characters, spaces included, of all occurrences of the most frequent n-gram; of equals, the first."""
    counts = Counter(zip(*(found[i:] for i in range(n)), strict=False))
    if not counts:
        return 0
    gram, count = counts.most_common(1)[0]
    return count * (sum(map(len, gram)) + n - 1)


def _duplicate_ngrams(found: Sequence[str], n: int) -> int:
    """Characters in n-grams that occurred before; of overlapping ones each word counts once."""
    seen: set[str] = set()
    size, i = 0, 0
    while i <= len(found) - n:
        gram = "".join(found[i : i + n])
        if gram in seen:
            size += len(gram)
            i += n
        else:
            seen.add(gram)
            i += 1
    return size
