"""Finds the program in a model's answer. Pure text, linear time; the program is not parsed or run here.

After the last `</think>`, the last fenced block of a wanted language; a text without fences is the program itself.
An unterminated `<think>` means that there is no program; an unterminated fence runs to the end.
"""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

MAX_PROGRAM_BYTES = 256 << 10
PYTHON_TAGS = ("python", "py", "python3", "")
# Possessive, or a line with a stray backtick at its end would take quadratic time.
_FENCE = re.compile(r"^[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]*+)[^\n`]*+$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    source: bytes
    language: str


def find_program(response: str, tags: Mapping[str, str] | None = None) -> Program | str:
    """The program, or why there is none. `tags`: fence label -> language, beside Python's own."""
    known = {**dict.fromkeys(PYTHON_TAGS, "python"), **(tags or {})}
    end = response.rfind("</think>")
    if end >= 0:
        response = response[end + len("</think>") :]
    elif response.lstrip().startswith("<think>"):
        return "the response ends inside <think>"
    blocks = _blocks(response)
    wanted = [(text, known[tag]) for tag, text in blocks if tag in known]
    if blocks and not wanted:
        return f"no block of a known language: {', '.join(sorted({tag for tag, _ in blocks}))}"
    text, language = wanted[-1] if wanted else (response, "python")
    if not text.strip():
        return "no program in the response"
    try:
        source = text.encode()
    except UnicodeEncodeError:
        return "the program is not valid Unicode"
    if len(source) > MAX_PROGRAM_BYTES:
        return f"the program is longer than {MAX_PROGRAM_BYTES >> 10} KiB"
    return Program(source=source, language=language)


def _blocks(text: str) -> list[tuple[str, str]]:
    """(label in lower case, content) of each fenced block."""
    blocks, opening = [], None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif fence[1].startswith(opening[1]) and not fence[2]:
            blocks.append((opening[2].lower(), _body(text, opening, fence.start())))
            opening = None
    if opening is not None:
        blocks.append((opening[2].lower(), _body(text, opening, len(text))))
    return blocks


def _body(text: str, opening: re.Match[str], end: int) -> str:
    body = text[opening.end() + 1 : end]
    return textwrap.dedent(body) if opening[0][0].isspace() else body  # the block of a list item is indented with it
