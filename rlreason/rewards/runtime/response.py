"""The parts of a model's response that several rewards read: what follows its thoughts, and its fenced blocks.

Pure text, linear time. Does not look into the parts.
"""

import re
import textwrap
from collections.abc import Iterator

# Possessive, or a line with a stray backtick at its end would take quadratic time.
_FENCE = re.compile(r"^[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]*+)[^\n`]*+$", re.MULTILINE)


def after_thought(response: str) -> str:
    """What follows the last `</think>`; empty where a `<think>` outside of fenced blocks never ends."""
    text = response.rpartition("</think>")[2]
    if "<think>" not in text:
        return text
    start = 0
    for opening, end in _fenced(text):
        if "<think>" in text[start : opening.start()]:
            return ""
        start = end
    return "" if "<think>" in text[start:] else text


def blocks(text: str) -> list[tuple[str, str]]:
    """(label in lower case, content) of each fenced block; one that never ends runs to the end of the text."""
    return [(opening[2].lower(), _body(text, opening, end)) for opening, end in _fenced(text)]


def _fenced(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """The opening fence of each block and where its content ends."""
    opening = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif fence[1].startswith(opening[1]) and not fence[2]:
            yield opening, fence.start()
            opening = None
    if opening is not None:
        yield opening, len(text)


def _body(text: str, opening: re.Match[str], end: int) -> str:
    body = text[opening.end() + 1 : end]
    return textwrap.dedent(body) if opening[0][0].isspace() else body  # the block of a list item is indented with it
