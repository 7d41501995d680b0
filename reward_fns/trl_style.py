"""A reward as TRL knows it: lists in, a list out, the columns of the data set by name. Works here unchanged."""

import re
from typing import Any


def last_number_matches(prompts: list[Any], completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    """1.0 if the last number of the completion is the answer; None, no verdict, if it has no number."""
    verdicts: list[float | None] = []
    for completion, gold in zip(completions, answer, strict=True):
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        numbers = re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))
        verdicts.append(float(numbers[-1] == gold) if numbers else None)
    return verdicts
