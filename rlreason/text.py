"""Text of models, data and libraries, made safe to show on a terminal or a page."""

import re

_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters: they clear screens, rename windows, paint over lines
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the direction of the text after them
    r"\ud800-\udfff]"  # halves of surrogate pairs, which no encoding writes
)


def shown(text: str) -> str:
    """The text with U+FFFD for each character that would act instead of being seen. Newlines and tabs stay.

    Example: shown("a\\x1b[2Jb\\n") is "a\\ufffd[2Jb\\n"
    """
    return _HIDDEN.sub("\ufffd", text)
