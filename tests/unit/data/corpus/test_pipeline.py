"""What of the pipeline needs no cluster: where a document goes, and what a dead worker leaves to tell."""

from pathlib import Path

import numpy
import pyarrow
import pytest
import ray.exceptions

from rlreason.data.corpus.pipeline import SAMPLED, Routes, _duplicates, _readable_errors, _routed
from rlreason.data.corpus.units import InputFile, Unit
from rlreason.types import RunError


def places(*numbers: int) -> numpy.ndarray:
    return numpy.array(numbers, dtype=numpy.uint64)


TABLE = pyarrow.table({"id": list("abcde"), "order": pyarrow.array([5, 10, 2**63, 30, 7], pyarrow.uint64())})


def test_documents_go_to_their_files_and_duplicates_out() -> None:
    routes = Routes(
        cuts=places(10, 31), duplicates=places(5, 30), verdicts=pyarrow.array([], "string"), chosen=places(30)
    )
    found = _routed(TABLE, routes, tag_only=False)
    assert dict(zip(found["id"].to_pylist(), found["part"].to_pylist(), strict=True)) == {
        **{"b": 1, "c": 2, "d": SAMPLED, "e": 0},
    }


def test_with_tags_duplicates_stay_and_say_of_what() -> None:
    verdicts = pyarrow.array(["exact_duplicate of b", "near_duplicate of e"], pyarrow.large_string())
    routes = Routes(cuts=places(10), duplicates=places(5, 2**63), verdicts=verdicts, chosen=places())
    found = _routed(TABLE, routes, tag_only=True)
    assert found["verdict_dedup"].to_pylist() == ["exact_duplicate of b", None, "near_duplicate of e", None, None]
    assert found["part"].to_pylist() == [0, 1, 1, 1, 0]


def test_a_document_is_an_exact_duplicate_only_of_one_with_the_same_text() -> None:
    """b and c have one text and d and a another; a is like b in one band."""
    pairs = [("a", "a", True), ("d", "a", True), ("b", "b", True), ("c", "b", True), ("a", "a", False)]
    pairs += [("b", "a", False), ("c", "c", False), ("e", "c", False)]
    for order in (pairs, pairs[::-1]):
        found = _duplicates({"id": id, "of": of, "is_exact": is_exact} for id, of, is_exact in order)
        assert {id: row["rule"] for id, row in found.items()} == {
            **{"b": "near_duplicate", "c": "near_duplicate", "d": "exact_duplicate", "e": "near_duplicate"},
        }
        assert {row["of"] for row in found.values()} == {"a"}


def test_a_worker_that_dies_is_told_with_the_files_it_had(tmp_path: Path) -> None:
    def unit(name: str, *files: str) -> Unit:
        told = (InputFile(source="s", path=f"/data/{file}", num_bytes=1, modified_ns=1) for file in files)
        return Unit(name=name, files=tuple(told))

    (tmp_path / ".writing-u1-123").mkdir()
    units = [unit("u0", "a.txt"), unit("u1", *(f"{number}.txt" for number in range(7)))]
    with (
        pytest.raises(
            RunError, match=r"^a worker failed: WorkerCrashedError: .*of /data/0.txt, .*4.txt and 2 more; wi"
        ),
        _readable_errors(units, tmp_path),
    ):
        raise ray.exceptions.WorkerCrashedError
