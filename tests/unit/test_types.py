"""The shared types, and what importing the light modules pulls in."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from rlreason.engines.shard import moments
from rlreason.types import Moments, TrainSequence, first_line
from tests.batches import token_arrays


def test_the_arrays_of_samples_are_aligned() -> None:
    first, second = ((5, 6, 7, 2), (0, 0, 1, 1), (0.0, 0.0, -0.5, -0.25)), ((8, 2), (0, 1), (0.0, -1.0))
    arrays = token_arrays([first, second])
    assert [tuple(column.tolist()) for column in arrays.row(1)] == [(8, 2), (False, True), (0.0, -1.0)]
    for name in ("tokens", "mask", "logprobs", "starts"):
        with pytest.raises(AssertionError, match="differ in length"):
            replace(arrays, **{name: getattr(arrays, name)[:-1]})


def test_moments_of_parts_add_up_and_equal_numbers_do_not_deviate() -> None:
    parts = [[0.1, 0.1], [0.1], []]
    total = sum((moments(torch.tensor(part, dtype=torch.float64)) for part in parts), start=NOTHING)
    assert (total.count, total.mean, total.squares) == (3, 0.1, 0.0)
    total = sum((moments(torch.tensor(part, dtype=torch.float64)) for part in ([1.0, 4.0], [7.0])), start=NOTHING)
    assert (total.count, total.mean, total.variance) == (3, 4.0, 6.0)


NOTHING = Moments(count=0, mean=0.0, squares=0.0)
COLUMNS = ["logprobs", "old_logprobs", "reference_logprobs", "advantages", "weights", "values", "returns"]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_train_sequence_is_aligned(column: str) -> None:
    assert getattr(TrainSequence(tokens=(1, 2), mask=(0, 1)), column) == ()
    with pytest.raises(AssertionError, match="tokens and mask"):
        TrainSequence(tokens=(1, 2), mask=(1,))
    with pytest.raises(AssertionError, match="differs from tokens"):
        TrainSequence(tokens=(1, 2), mask=(0, 1), **{column: (0.0,)})


@pytest.mark.parametrize(("mask", "count"), [((1, 1, 1), 2), ((0, 1, 1), 2), ((1, 0, 0), 0), ((0, 0, 1), 1), ((1,), 0)])
def test_nothing_predicts_the_first_token(mask: tuple[int, ...], count: int) -> None:
    assert TrainSequence(tokens=(4,) * len(mask), mask=mask).num_trained_tokens == count


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("\n no such file\nsee ...")) == "no such file"
    assert first_line(KeyError()) == "KeyError"


def loaded_by(code: str, names: set[str]) -> set[str]:
    """Which of `names` a fresh interpreter has loaded after `code`."""
    code += f"\nimport sys; print('LOADED', *(name for name in {sorted(names)} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


HEAVY = {"torch", "ray", "vllm", "deepspeed"}


@pytest.mark.parametrize(
    "modules",
    ["rlreason.types, rlreason.config.load, rlreason.config.schema, rlreason.runlog, rlreason.paths",
     "rlreason.rewards.math, rlreason.rewards.runtime.combine, rlreason.data.tasks, rlreason.data.order"],
)  # fmt: skip
def test_the_light_modules_load_no_engine(modules: str) -> None:
    assert loaded_by(f"import {modules}", HEAVY) == set()


HELP = """
import sys
sys.argv = ["rlreason", "--help"]
from rlreason.cli import main
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
"""


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by(HELP, HEAVY | {"transformers", "pydantic", "datasets", "numpy"}) == set()


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_by("import pydantic", {"pydantic", "torch"}) == {"pydantic"}
