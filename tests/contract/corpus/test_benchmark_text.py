"""Planted benchmark text is removed and clean text is kept, on real problems.

Data: gsm8k and tinyshakespeare under RLREASON_TEST_DATA.
"""

import json
import os
from pathlib import Path

import pytest

from rlreason.config.corpus import CorpusConfig, DecontaminationRule
from rlreason.data.corpus.clean import clean
from rlreason.data.corpus.decontaminate import load_benchmarks
from rlreason.data.corpus.records import Record
from rlreason.types import UserError


@pytest.mark.slow
def test_planted_problems_are_removed_and_plays_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    if "RLREASON_TEST_DATA" not in os.environ:
        pytest.skip("RLREASON_TEST_DATA is not set: no benchmark to plant")
    data = Path(os.environ["RLREASON_TEST_DATA"])
    path = data / "gsm8k/test.jsonl"
    rule = DecontaminationRule(data={"gsm8k": {"path": str(path)}})
    off = dict.fromkeys(("url", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb"))
    config = CorpusConfig(stage="corpus", sources={"a": {"path": "x"}}, decontamination=rule, **off)
    benchmarks = load_benchmarks(rule)
    play = (data / "tinyshakespeare/input.txt").read_text()
    parts = [play[i : i + 2000] for i in range(0, 400_000, 2000)]
    questions = [json.loads(line)["question"] for line in path.read_text().splitlines()][:200]
    planted = [
        f"{part[:900]}\n{question.upper()}\n{part[900:]}" for part, question in zip(parts, questions, strict=True)
    ]

    def removed(texts: list[str]) -> int:
        rows = [clean(Record(id=str(i), source="a", payload=text), config, benchmarks) for i, text in enumerate(texts)]
        assert {row["dropped_by"] for row in rows} <= {None, "decontamination"}
        return sum(row["dropped_by"] is not None for row in rows)

    with capsys.disabled():
        print(
            f"\n{benchmarks.counts} n-grams; planted {len(planted)}, removed {removed(planted)}; clean {removed(parts)}"
        )
    assert removed(planted) == len(planted) and removed(parts) == 0


@pytest.mark.slow
def test_a_missing_benchmark_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone.jsonl"):
        load_benchmarks(DecontaminationRule(data={"gone": {"path": str(tmp_path / "gone.jsonl")}}))
