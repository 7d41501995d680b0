"""The cases of 19 other graders' own tests, each judged by hand where this verifier disagreed with it.

Real data: RLREASON_TEST_DATA names a folder that holds `peer_math_suites/cases.jsonl`. `expected` is the other
project's verdict. Where it was `judged` a convention, theirs to mend or unclear, any verdict will do.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlreason.rewards.math import verify

NUM_AGREED, NUM_OURS = 758, 47


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    folder = os.environ.get("RLREASON_TEST_DATA")
    if not folder:
        pytest.skip("RLREASON_TEST_DATA is not set: no cases of other suites")
    with (Path(folder) / "peer_math_suites" / "cases.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def faults_of(cases: list[dict[str, Any]]) -> list[str]:
    faults = []
    for case in cases:
        score = verify(case["prediction"], case["gold"], timeout_s=20.0)
        if score.value != float(case["expected"]):
            faults.append(f"{case['gold'][-80:]!r} {case['prediction'][-120:]!r}: {score.status} {score.detail!r}")
    return faults


def test_agreement_with_other_graders_is_kept(cases: list[dict[str, Any]]) -> None:
    agreed = [case for case in cases if case["judged"] == "agree"]
    assert len(agreed) == NUM_AGREED
    faults = faults_of(agreed)
    assert not faults, f"{len(faults)} lost\n" + "\n".join(faults)


def test_what_other_graders_had_right_and_we_wrong(cases: list[dict[str, Any]]) -> None:
    ours = [case for case in cases if case["judged"] == "ours-wrong"]
    assert len(ours) == NUM_OURS
    faults = faults_of(ours)
    assert not faults, f"{len(faults)} of {NUM_OURS} wrong\n" + "\n".join(faults)
