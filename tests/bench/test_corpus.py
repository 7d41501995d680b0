"""Speed of the corpus stage on the pages that every machine has."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Command

pytestmark = [pytest.mark.bench, pytest.mark.engines]

RELAXED = {
    "gopher_quality": {"min_alphabetic_words": 0.6},
    "c4": {"drop_curly_bracket": False},
    "fineweb": {"max_duplicate_line_characters": 0.1},
}
"""Documentation of programs is full of signs and of braces, and repeats the headings of its sections."""


def test_the_default_pages_are_clean_documents_within_ninety_seconds(
    start: Callable[..., Command], tmp_path: Path
) -> None:
    keys = {"stage": "corpus", "extractor": "resiliparse", **RELAXED}
    keys["sources"] = {"pydoc": {"generate": "rlreason.data.corpus.pydoc:write_warc"}}
    (tmp_path / "05-corpus.yaml").write_text(yaml.safe_dump(keys))
    start_s = time.monotonic()
    status, out, errors = start("run", tmp_path / "05-corpus.yaml", "--run-dir", tmp_path / "run").finish(300)
    took_s = time.monotonic() - start_s
    assert (status, errors) == (0, "")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    records, megabytes = sum(manifest["counts"].values()), manifest["characters"] / 1e6
    print(f"{took_s:.0f} s, Ray's start included: {records / took_s:.0f} pages/s; {megabytes:.2f} MB in {out}")
    assert took_s < 90
    assert megabytes > 1.5 and manifest["documents"] > 1000
