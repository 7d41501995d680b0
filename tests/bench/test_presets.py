"""Each preset of the algorithm section on the tiny recipe's task: held-out accuracy against steps, three seeds.

Opt-in, an hour and more on two idle cores. Starts from one SFT checkpoint, which `make run` leaves behind:
`RLREASON_SFT=RUN_DIR/40-sft/final pytest -m bench -s tests/bench/test_presets.py`. Curves, the README's table and the
plot go to configs/tiny-cpu/presets; curves that are there already are not run again.
"""

import importlib.util
import json
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from rlreason.config.algorithm import PRESETS
from rlreason.report.plots import plots

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7200)]

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("drawing", ROOT / "tests" / "drawing.py")
assert spec is not None and spec.loader is not None
drawing = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drawing)
FOLDER = ROOT / "configs" / "tiny-cpu" / "presets"
SEEDS = (0, 1, 2)
KEY = "eval/chains/greedy_accuracy"
Curve = dict[str, float]
"""Accuracy by step."""


@pytest.fixture(scope="module")
def sft() -> str:
    model = os.environ.get("RLREASON_SFT")
    if not model:
        pytest.skip("RLREASON_SFT does not name the SFT checkpoint to start from")
    return model


@pytest.mark.parametrize("preset", list(PRESETS))
def test_preset_learns(preset: str, sft: str, tmp_path: Path) -> None:
    """It ends above its start by more than twice the standard error over seeds."""
    path = FOLDER / "curves" / f"{preset}.json"
    curves: dict[str, Curve] = json.loads(path.read_text()) if path.exists() else {}
    for seed in SEEDS:
        if str(seed) in curves:
            continue
        run_dir = tmp_path / str(seed)
        command = ["run", str(FOLDER / "60-rl.yaml"), "--run-dir", str(run_dir), f"model={sft}", f"seed={seed}"]
        subprocess.run([sys.executable, "-m", "rlreason", *command, f"algorithm.preset={preset}"], cwd=ROOT, check=True)
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        curves[str(seed)] = {str(row["step"]): row[KEY] for row in rows if KEY in row}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(curves, indent=1) + "\n")
    start, end, error = gain(curves)
    print(f"{preset}: {start:.1%} -> {end:.1%}, standard error {error:.1%}")
    assert end - start > 2 * error


def test_table_and_plot() -> None:
    """Writes both, the table in place of the README's first, from the curves that are there."""
    found = {p: FOLDER / "curves" / f"{p}.json" for p in PRESETS}
    curves = {preset: json.loads(path.read_text()) for preset, path in found.items() if path.exists()}
    if not curves:
        pytest.skip("no curves yet")
    lines = ["| preset | start | step 5 | step 10 | end | standard error of the end |", "|---|---|---|---|---|---|"]
    rows: dict[str, dict[str, float]] = {}
    for preset, of_seeds in curves.items():
        start, end, error = gain(of_seeds)
        fifth, tenth = (statistics.fmean(curve[step] for curve in of_seeds.values()) for step in ("5", "10"))
        lines.append(f"| `{preset}` | {start:.1%} | {fifth:.1%} | {tenth:.1%} | {end:.1%} | {error:.1%} |")
        for step in next(iter(of_seeds.values())):
            row = rows.setdefault(step, {"step": float(step)})
            row[f"eval/{preset}/greedy_accuracy"] = statistics.fmean(curve[step] for curve in of_seeds.values())
    readme, table = FOLDER / "README.md", "\n".join(lines) + "\n"
    readme.write_text(re.sub(r"(^\|.*\n)+", lambda _: table, readme.read_text(), count=1, flags=re.MULTILINE))
    (FOLDER / "accuracy.svg").write_text(drawing.drawing(plots(list(rows.values()), ["Evaluation"]), list(curves)))


def gain(curves: dict[str, Curve]) -> tuple[float, float, float]:
    """Means over seeds at the first and the last step; the standard error of the last."""
    last = max(next(iter(curves.values())), key=int)
    ends = [curve[last] for curve in curves.values()]
    start = statistics.fmean(curve["0"] for curve in curves.values())
    return start, statistics.fmean(ends), statistics.stdev(ends) / math.sqrt(len(ends))
