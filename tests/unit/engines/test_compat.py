"""Workarounds that need no engine to be seen at work."""

import glob
from pathlib import Path

import pytest

from rlreason.engines._compat import without_wildcards


@pytest.mark.parametrize("name", ["m[1]", "m*", "m?", "[ab]"])
def test_files_of_a_folder_with_signs_of_patterns_are_found(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    for folder in (str(tmp_path / name), name):
        with without_wildcards(folder) as found:
            (file,) = glob.glob(f"{found}/*.safetensors")
            assert Path(file).samefile(tmp_path / name / "model.safetensors")
        assert not Path(found).exists()
    assert (tmp_path / name / "model.safetensors").exists()


def test_other_names_stay(tmp_path: Path) -> None:
    for plain in (str(tmp_path), "Qwen/Qwen2.5-0.5B"):
        with without_wildcards(plain) as found:
            assert found == plain
