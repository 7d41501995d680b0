"""Speed of the corpus stage on the pages that every machine has."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Command

pytestmark = [pytest.mark.bench, pytest.mark.engines]

CONFIG = Path(__file__).resolve().parents[2] / "configs/tiny-cpu/10-corpus.yaml"


def test_the_default_pages_are_clean_documents_within_ninety_seconds(
    start: Callable[..., Command], tmp_path: Path
) -> None:
    start_s = time.monotonic()
    status, out, errors = start("run", CONFIG, "--run-dir", tmp_path / "run").finish(300)
    took_s = time.monotonic() - start_s
    assert (status, errors) == (0, "")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    records, megabytes = sum(manifest["counts"].values()), manifest["characters"] / 1e6
    print(f"{took_s:.0f} s, Ray's start included: {records / took_s:.0f} pages/s; {megabytes:.2f} MB in {out}")
    assert took_s < 90
    assert megabytes > 1.5 and manifest["documents"] > 1000
