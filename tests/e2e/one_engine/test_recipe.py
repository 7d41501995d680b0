"""A recipe from documents to a base model: what is done and unchanged is left alone, what changed is made again."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlreason.recipes.recipe import run_path
from rlreason.types import UserError

pytestmark = [pytest.mark.engines, pytest.mark.slow]

CORPUS = """
stage: corpus
sources: {{ web: {{ path: {path} }} }}
language: null
gopher_repetition: null
gopher_quality: null
c4: null
fineweb: null
"""
TOKENIZER = 'stage: tokenizer\nvocab_size: 320\ndata: { web: { path: "stage:10-corpus" } }\n'
PRETRAIN = """
stage: pretrain
tokenizer: "stage:20-tokenizer"
architecture:
  { model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 1,
    num_key_value_heads: 1, head_dim: 32, max_position_embeddings: 64 }
data: { path: "stage:10-corpus" }
held_out: { share: 0.1, prompts: ["The cat"], continuation_tokens: 4 }
context_tokens: 64
steps: 2
tokens_per_step: 256
learner: { cpus: 0.5, threads: 1, lr: 1.0e-2 }
"""
STAGES = ["10-corpus", "20-tokenizer", "30-pretrain"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    animals = ["cat", "dog", "hen", "fox", "owl"]
    lines = [f"The {animals[i % 5]} number {i} sleeps {i * i} hours a day in house {i}." for i in range(200)]
    (tmp_path / "pages.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in lines))
    (folder / "10-corpus.yaml").write_text(CORPUS.format(path=tmp_path / "pages.jsonl"))
    (folder / "20-tokenizer.yaml").write_text(TOKENIZER)
    (folder / "30-pretrain.yaml").write_text(PRETRAIN)
    return folder


def test_what_is_done_and_unchanged_is_left_alone(local_ray: None, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def go(*overrides: str, **options: Any) -> list[str]:
        """Runs the recipe; returns the stages that ran."""
        before = {name: started(run / name) for name in STAGES}
        run_path(recipe, list(overrides), run, **options)
        return [name for name in STAGES if started(run / name) != before[name]]

    assert go() == STAGES
    check_artifacts(run)
    assert go(resume=True) == []
    assert go("20-tokenizer.vocab_size=300", resume=True) == ["20-tokenizer", "30-pretrain"]
    assert (run / "old/20-tokenizer-1/final/tokenizer.json").exists() and (run / "old/30-pretrain-1/final").exists()
    same = "20-tokenizer.vocab_size=300"
    assert go(same, only="20-tokenizer") == ["20-tokenizer"]
    assert go(same, resume=True) == [], "the same tokenizer came out, so the model need not be made again"
    assert go(same, start="30-pretrain") == ["30-pretrain"]

    file = run / "20-tokenizer/final/tokenizer.json"
    body = json.loads(file.read_text())
    body["model"]["merges"].pop()
    file.write_text(json.dumps(body))
    with pytest.raises(UserError, match="20-tokenizer.*its tokenizer is not the one that it was made with"):
        go(same, start="30-pretrain")


def started(folder: Path) -> list[float]:
    path = folder / "events.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [row["time"] for row in rows if row["event"] == "start"]


def check_artifacts(run: Path) -> None:
    import pyarrow.parquet as parquet

    manifests = {name: json.loads((run / name / "manifest.json").read_text()) for name in STAGES}
    assert {name: sorted(made["parents"]) for name, made in manifests.items()} == {
        "10-corpus": [],
        "20-tokenizer": ["10-corpus"],
        "30-pretrain": ["10-corpus", "20-tokenizer"],
    }
    for name, made in manifests.items():
        for parent, of in made["parents"].items():
            assert of["hash"] == manifests[parent]["artifact_hash"], (name, parent)
    assert manifests["30-pretrain"]["tokenizer_hash"] == manifests["20-tokenizer"]["tokenizer_hash"]
    assert parquet.read_table(run / "10-corpus/final").num_rows == 200
    summary = json.loads((run / "summary.json").read_text())["stages"]
    assert [(stage["name"], stage["status"]) for stage in summary] == [(name, "done") for name in STAGES]
    assert 0 < summary[2]["eval"]["data/bits_per_byte"] < 9
    assert (run / "report.html").stat().st_size > 1000
