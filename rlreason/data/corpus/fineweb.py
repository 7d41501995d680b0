"""FineWeb's own rules (Penedo et al., arXiv 2406.17557, section 3.6): lists, menus and repeated lines."""

from collections.abc import Iterator

from rlreason.config.corpus import FineWebRule
from rlreason.data.corpus.figures import Figure, failure, repeated
from rlreason.data.corpus.words import TERMINAL_PUNCTUATION, words


def check(text: str, rule: FineWebRule) -> str | None:
    """The first figure out of bounds, as `fineweb: 0.05 punctuated lines < 0.12`; None where there is none."""
    return failure("fineweb", figures(text, rule))


def figures(text: str, rule: FineWebRule) -> Iterator[Figure]:
    """Shares of lines that are not blank, and of characters. The text is not empty."""
    lines = [line for line in text.split("\n") if line.strip()]
    num_lines = max(len(lines), 1)
    ended = sum(line.endswith(TERMINAL_PUNCTUATION) for line in lines)
    yield Figure(name="punctuated lines", value=ended / num_lines, low=rule.min_punctuated_lines)
    short = sum(len(line) <= rule.short_line_characters for line in lines)
    yield Figure(name="short lines", value=short / num_lines, high=rule.max_short_lines)
    size = max(len(text.replace("\n", "")), 1)
    value = repeated(lines)[1] / size
    yield Figure(name="characters in duplicate lines", value=value, high=rule.max_duplicate_line_characters)
    value = text.count("\n") / max(len(words(text)), 1)
    yield Figure(name="newlines per word", value=value, high=rule.max_newlines_per_word)
