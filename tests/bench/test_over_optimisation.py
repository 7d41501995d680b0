"""A reward model of a known score, and a policy that is optimised against it: unwatched, watched, and by PPO.

Opt-in, ten minutes a seed on two idle cores: `pytest -m bench -s tests/bench/test_over_optimisation.py`. Curves, the
README's table and the plots go to configs/tiny-preferences; a seed is not run again while its curve is there, neither
recipe nor guard having changed.
"""

import hashlib
import importlib.util
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlreason.report.plots import against_kl, plots

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("drawing", ROOT / "tests" / "drawing.py")
assert spec is not None and spec.loader is not None
drawing = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drawing)

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

FOLDER = ROOT / "configs" / "tiny-preferences"
CURVES = FOLDER / "curves.json"
SEEDS = (0, 1, 2)
GOLD, SCORE, KL = "eval/held/reward@4", "reward/preference/raw_mean", "policy/kl"
MADE_OF = [*sorted(FOLDER.rglob("*.yaml")), FOLDER / "gold.py"]
MADE_OF += [ROOT / "rlreason" / name for name in ("algorithms/guard.py", "rl/guard.py")]
STAGES = ("10-pretrain", "20-reward-model", "30-rl", "40-rl-ppo")


def rlreason(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "rlreason", *map(str, words)], cwd=ROOT, check=True)


def made_with() -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in MADE_OF)).hexdigest()[:16]


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def gold_of(model: Path, folder: Path) -> float:
    """Of the artifact itself, on the recipe's held-out prompts."""
    config = yaml.safe_load((FOLDER / "30-rl.yaml").read_text())
    keys = ("reward_workers", "rollout", "seed")
    body = {key: config[key] for key in keys} | {"stage": "evaluate", "model": str(model)}
    body |= {"rewards": config["rewards"][:1], "eval": {"tasks": config["eval"]["tasks"], "samples": 4}}
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(body))
    rlreason("eval", path, "--run-dir", folder)
    return float(rows(folder)[-1][GOLD])


def curve(run: Path) -> dict[str, dict[str, float]]:
    """By step, of the weights after it: gold, and of the batch that they write next score and KL."""
    found: dict[str, dict[str, float]] = {}
    for row in rows(run):
        if GOLD in row:
            found.setdefault(str(row["step"]), {})["gold"] = row[GOLD]
        if SCORE in row:
            found.setdefault(str(row["step"] - 1), {}).update(score=row[SCORE], kl=row[KL])
    return {step: all_three for step, all_three in found.items() if len(all_three) == 3}


def measure(seed: int, folder: Path) -> dict[str, Any]:
    recipe, unwatched = folder / "recipe", folder / "unwatched"
    rlreason("run", FOLDER, "--run-dir", recipe, *(f"{stage}.seed={seed}" for stage in STAGES))
    models = [f"model={recipe}/10-pretrain/final", f"rewards.1.model={recipe}/20-reward-model/final"]
    rlreason("run", FOLDER / "controls/30-rl-unguarded.yaml", "--run-dir", unwatched, f"seed={seed}", *models)
    figures = rows(recipe / "20-reward-model")[-1]
    return {
        "made_with": made_with(),
        "accuracy": figures["eval/preference/accuracy"],
        "start": gold_of(recipe / "10-pretrain/final", folder / "start"),
        "unwatched": curve(unwatched),
        "watched": gold_of(recipe / "30-rl/final", folder / "watched"),
        "ppo": gold_of(recipe / "40-rl-ppo/final", folder / "ppo"),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_watched_policy_ends_at_its_best(seed: int, tmp_path: Path) -> None:
    found: dict[str, Any] = json.loads(CURVES.read_text()) if CURVES.exists() else {}
    if found.get(str(seed), {}).get("made_with") != made_with():
        found[str(seed)] = measure(seed, tmp_path)
        CURVES.write_text(json.dumps(found, indent=1) + "\n")
    of_seed = found[str(seed)]
    steps = of_seed["unwatched"]
    best = max(steps, key=lambda step: steps[step]["gold"])
    last = max(steps, key=int)
    print(f"seed {seed}: {line(of_seed)}")
    assert of_seed["accuracy"] >= 0.90
    assert of_seed["start"] < steps[best]["gold"] and steps[last]["gold"] < 0.9 * steps[best]["gold"], (
        "it rises, then falls"
    )
    assert steps[last]["score"] > steps[best]["score"], "while the reward model's score rises"
    assert of_seed["watched"] >= 0.95 * steps[best]["gold"]
    assert of_seed["ppo"] >= 0.95 * steps[best]["gold"]


def line(of_seed: dict[str, Any]) -> str:
    steps = of_seed["unwatched"]
    best, last = max(steps, key=lambda step: steps[step]["gold"]), max(steps, key=int)
    golds = (of_seed["start"], steps[best]["gold"], steps[last]["gold"], of_seed["watched"], of_seed["ppo"])
    return f"{of_seed['accuracy']:.1%} | " + " | ".join(f"{gold:.2f}" for gold in golds)


def test_table_and_plots() -> None:
    """Writes them, the table in place of the README's first, from the curves that are there."""
    if not CURVES.exists():
        pytest.skip("no curves yet")
    curves = json.loads(CURVES.read_text())
    head = "| seed | held-out pairs right | start | unwatched, best | unwatched, end | watched, end | PPO, watched |"
    lines = [head, "|---|---|---|---|---|---|---|", *(f"| {seed} | {line(found)} |" for seed, found in curves.items())]
    readme, table = FOLDER / "README.md", "\n".join(lines) + "\n"
    readme.write_text(re.sub(r"(^\|.*\n)+", lambda _: table, readme.read_text(), count=1, flags=re.MULTILINE))
    steps = sorted(set.intersection(*(set(found["unwatched"]) for found in curves.values())), key=int)
    keys = {"reward/true score/mean": "gold", "reward/reward model/mean": "score", KL: "kl"}

    def mean(step: str) -> dict[str, float]:
        curve = [found["unwatched"][step] for found in curves.values()]
        return {name: statistics.fmean(one[key] for one in curve) for name, key in keys.items()}

    points = [{"step": float(step), "guard/distinct_2": 1.0} | mean(step) for step in steps]
    names = ["true score", "reward model"]
    for name, figure in (("steps", plots(points, ["Reward by function"])), ("kl", against_kl(points))):
        (FOLDER / f"over-optimisation-{name}.svg").write_text(drawing.drawing(figure, names))
