"""Finds the program in a model's answer. Pure text, linear time; the program is not parsed or run here.

After the thought, the last fenced block of a wanted language; a text without fences is the program itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rlreason.rewards.response import after_thought, blocks

MAX_PROGRAM_BYTES = 256 << 10
PYTHON_TAGS = ("python", "py", "python3", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    source: bytes
    language: str


def find_program(response: str, tags: Mapping[str, str] | None = None) -> Program | str:
    """The program, or why there is none. `tags`: fence label -> language, beside Python's own."""
    known = {**dict.fromkeys(PYTHON_TAGS, "python"), **(tags or {})}
    answer = after_thought(response)
    if response and not answer:
        return "the response ends inside <think> or with </think>"
    found = blocks(answer)
    wanted = [(text, known[tag]) for tag, text in found if tag in known]
    if found and not wanted:
        return f"no block of a known language: {', '.join(sorted({tag for tag, _ in found}))}"
    text, language = wanted[-1] if wanted else (answer, "python")
    if not text.strip():
        return "no program in the response"
    try:
        source = text.encode()
    except UnicodeEncodeError:
        return "the program is not valid Unicode"
    if len(source) > MAX_PROGRAM_BYTES:
        return f"the program is longer than {MAX_PROGRAM_BYTES >> 10} KiB"
    return Program(source=source, language=language)
