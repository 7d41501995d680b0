"""Finds the program in a model's answer. Pure text, linear time; the program is not parsed or run here.

After the thought: the last fenced block that is labelled with a wanted language, else the last without a label; without
fences what stands between the last `<answer>` or `[PYTHON]` marks, else the whole text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rlreason.rewards.runtime.response import after_thought, blocks

MAX_PROGRAM_BYTES = 256 << 10
PYTHON_TAGS = ("python", "py", "python3")
_MARKS = {"<answer>": "</answer>", "[python]": "[/python]"}
# An unlabelled block that shows what the program prints has none of these.
_CODE = re.compile(r"^[ \t]*+(?:def|class|import|from|for|while|if|try|with|print)\b|[\w\])][ \t]*+=[^=]", re.MULTILINE)


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
    labelled = [(text, known[tag]) for tag, text in found if tag in known]
    plain = [text for tag, text in found if not tag]
    if labelled:
        text, language = labelled[-1]
    elif plain:
        text, language = next((text for text in reversed(plain) if _CODE.search(text)), plain[-1]), "python"
    elif found:
        return f"no block of a known language: {', '.join(sorted({tag for tag, _ in found}))}"
    else:
        text, language = _between_marks(answer), "python"
    if not text.strip():
        return "no program in the response"
    try:
        source = text.encode()
    except UnicodeEncodeError:
        return "the program is not valid Unicode"
    if len(source) > MAX_PROGRAM_BYTES:
        return f"the program is longer than {MAX_PROGRAM_BYTES >> 10} KiB"
    return Program(source=source, language=language)


def _between_marks(answer: str) -> str:
    """What follows the last opening mark, up to its closing one if there is one; all of it without marks."""
    folded = answer.lower()
    for opening, closing in sorted(_MARKS.items(), key=lambda marks: folded.rfind(marks[0]), reverse=True):
        place = folded.rfind(opening)
        # Not in a string of the program, where a quote comes before it, nor an index.
        if place >= 0 and not re.match(r"[\"'`\w]", folded[place - 1 : place]):
            start = place + len(opening)
            end = folded.find(closing, start)
            return answer[start:] if end < 0 else answer[start:end]
    return answer
