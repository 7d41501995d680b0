"""A reward as verl knows it: one response, its data source and its ground truth. Works here unchanged."""

from typing import Any


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None
) -> float:
    """1.0 if the text after the last `####` is the ground truth, as in GSM8K."""
    _, marker, answer = solution_str.rpartition("####")
    return float(bool(marker) and answer.strip() == ground_truth)
