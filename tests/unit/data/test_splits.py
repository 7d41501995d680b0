"""Which files of a folder belong to a split, by the words of their names; what is in doubt is refused with a list."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rlreason.config.data import DataConfig
from rlreason.data.rows import load_rows
from rlreason.data.splits import local_path, split_files
from rlreason.types import UserError

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f'{{"name": "{name}"}}\n')
        return tmp_path

    return made


def chosen(folder: Path, split: str) -> list[str]:
    return [str(file.relative_to(folder)) for file in split_files(folder, split, None)]


@pytest.mark.parametrize(
    "other",
    ["test", "validation", "valid", "val", "dev", "eval", "my_test", "test-00000-of-00001", "dev2", "myTest", "TEST",
     "data.test", "train_eval", "test_train", "testset", "held_out", "holdout", "evaluation", "a-test-b", "train.test",
     "trainEval", "testset1"],
)  # fmt: skip
def test_a_name_that_says_another_split_is_never_in(make: Make, other: str) -> None:
    assert chosen(make("data.jsonl", f"{other}.jsonl"), "train") == ["data.jsonl"]


@pytest.mark.parametrize("other", ["test", "validation", "train_eval", "eval", "my_test"])
def test_nor_is_it_beside_one_that_says_the_split(make: Make, other: str) -> None:
    folder = make("train.jsonl", f"{other}.jsonl")
    assert chosen(folder, "train") == ["train.jsonl"]
    assert [row["name"] for row in load_rows(DataConfig(path=str(folder), split="train[:1]"))] == ["train.jsonl"]


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["part-00000", "part-00001"], "train", ["part-00000", "part-00001"]),
        (["web-0", "books-0"], "train", ["books-0", "web-0"]),
        (["train-00000-of-00002-0123456789abcdef", "train-00001-of-00002-fedcba9876543210", "test-00000-of-00001"],
         "train", ["train-00000-of-00002-0123456789abcdef", "train-00001-of-00002-fedcba9876543210"]),
        (["train-a", "train-b", "test-a"], "test", ["test-a"]),
        (["train", "val"], "validation", ["val"]),
        (["train", "dev", "test"], "val", ["dev"]),
        (["training", "testing"], "train", ["training"]),
        (["train_sft", "train_gen", "test_sft"], "train_sft", ["train_sft"]),
        (["algebra", "geometry"], "algebra", ["algebra"]),
        (["train/0", "train/1", "test/0"], "train", ["train/0", "train/1"]),
        (["data/train-0", "data/test-0"], "test", ["data/test-0"]),
    ],
)  # fmt: skip
def test_the_files_of_a_split(make: Make, names: list[str], split: str, expected: list[str]) -> None:
    folder = make(*(f"{name}.jsonl" for name in names))
    assert chosen(folder, split) == [f"{name}.jsonl" for name in expected]


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["train", "extra"], "train"),  # is it more of train, or all of it?
        (["data", "mytest"], "train"),
        (["data", "latest"], "train"),
        (["test", "validation"], "train"),
        (["train_eval"], "train"),
        (["data"], "test"),
        (["train_small", "train_large"], "train"),
        (["main/train", "socratic/train"], "train"),
    ],
)
def test_what_is_in_doubt_is_refused_with_the_files(make: Make, names: list[str], split: str) -> None:
    folder = make(*(f"{name}.jsonl" for name in names))
    with pytest.raises(UserError) as error:
        chosen(folder, split)
    assert f"split: {split}" in str(error.value) and f"{names[-1]}.jsonl" in str(error.value)


def test_formats_are_not_mixed_and_metadata_is_no_data(make: Make) -> None:
    folder = make("train.jsonl", "dataset_info.json", "_notes.json", ".hidden.jsonl", "README.md")
    assert chosen(folder, "train") == ["train.jsonl"]
    (folder / "train.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match="train.csv, train.jsonl files of several formats"):
        chosen(folder, "train")


def test_a_configuration_is_a_folder(make: Make) -> None:
    folder = make("main/train.jsonl", "socratic/train.jsonl")
    assert [row["name"] for row in load_rows(DataConfig(path=str(folder), name="main"))] == ["main/train.jsonl"]
    with pytest.raises(UserError, match="no folder `mian`"):
        load_rows(DataConfig(path=str(folder), name="mian"))


def test_splits_are_joined_and_sliced(make: Make) -> None:
    folder = make("train-0.jsonl", "train-1.jsonl", "test.jsonl")

    def names(split: str) -> list[str]:
        return [row["name"][:-6] for row in load_rows(DataConfig(path=str(folder), split=split))]

    assert names("test+train[1:]") == ["test", "train-1"]
    assert names("train[:50%]") == ["train-0"] and names("train[-1:]+train[:1]") == ["train-1", "train-0"]
    with pytest.raises(UserError, match="train\\[:x\\]` cannot be taken"):
        names("train[:x]")
    with pytest.raises(UserError, match="one file is one split"):
        load_rows(DataConfig(path=str(folder / "test.jsonl"), split="train+test"))


@pytest.mark.parametrize(
    "where",
    ["nowhere.jsonl", "nowhere/a.JSONL.gz", "./nowhere", "/nowhere/data", "a/b/c", "nowhere/", "../x/y", "a.txt"],
)
def test_what_looks_like_a_path_is_not_looked_for_on_the_hub(where: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        local_path(where)


def test_a_folder_beside_is_no_owner_of_the_hub(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make("data/train.jsonl"))
    assert local_path("data") == Path("data")
    with pytest.raises(UserError, match="no such file"):
        local_path("data/tests")
    assert local_path("openai/gsm8k") is None and local_path("teknium/OpenHermes-2.5") is None


def test_links_in_a_circle_end(make: Make) -> None:
    folder = make("a/train.jsonl")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "b").symlink_to(folder)
    assert chosen(folder, "train")[0] == "a/train.jsonl"
