"""What a stage is made of: references to earlier stages, and when a stage need not run again."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from rlreason.config.load import load_stage
from rlreason.config.schema import STAGES, AnyStage
from rlreason.recipes.recipe import _again, _Recipe, load_steps, run_path
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.lineage import (
    MAY_CHANGE,
    artifact_hash,
    changes,
    check_parents,
    check_references,
    fingerprint,
    parents,
    references,
    resolve,
)
from rlreason.types import UserError

PRETRAIN = """
stage: pretrain
tokenizer: "stage:20-tok"
architecture: { model_type: llama }
data: { web: { path: "stage:10-corpus" }, mine: { path: mine.jsonl, weight: 2 } }
steps: 3
tokens_per_step: 8
learner: { lr: 0.001 }
"""
TOKENIZER = 'stage: tokenizer\ndata: { web: { path: "stage:10-corpus" } }\n'
CORPUS = "stage: corpus\nsources: { web: { path: pages } }\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "10-corpus.yaml").write_text(CORPUS)
    (folder / "20-tok.yaml").write_text(TOKENIZER)
    (folder / "30-pretrain.yaml").write_text(PRETRAIN)
    return folder


def pretrain(tmp_path: Path, text: str = PRETRAIN) -> AnyStage:
    path = tmp_path / "30-pretrain.yaml"
    path.write_text(text)
    return load_stage(path)


def artifact(run: Path, name: str, content: str, **manifest: Any) -> Path:
    final = run / name / "final"
    final.mkdir(parents=True)
    (final / "a").write_text(content)
    (final.parent / "manifest.json").write_text(json.dumps(manifest))
    return final


def test_references_are_found_by_their_keys_and_become_paths(tmp_path: Path) -> None:
    config = pretrain(tmp_path)
    assert references(config) == {"data.web.path": "10-corpus", "tokenizer": "20-tok"}
    found = resolve(config, tmp_path / "run")
    assert found.tokenizer == str(tmp_path / "run/20-tok/final")
    assert found.data["web"].path == str(tmp_path / "run/10-corpus/final")
    assert found.data["mine"] == config.data["mine"]
    assert parents(config, tmp_path / "run") == {
        "10-corpus": tmp_path / "run/10-corpus/final",
        "20-tok": tmp_path / "run/20-tok/final",
    }
    with pytest.raises(UserError, match="names a stage of a recipe; to run this stage alone give"):
        resolve(config, None)


def test_a_reference_must_be_to_an_earlier_stage_of_the_right_kind(tmp_path: Path, recipe: Path) -> None:
    assert [step.name for step in load_steps(recipe, [])] == ["10-corpus", "20-tok", "30-pretrain"]
    config = pretrain(tmp_path)
    with pytest.raises(UserError, match="x.yaml: tokenizer `stage:20-tok`: no earlier stage"):
        check_references(config, "x.yaml", {"10-corpus": "corpus"})
    with pytest.raises(UserError, match=r"data.web.path `stage:10-corpus`: .* kind rl; wanted .* kind corpus"):
        check_references(config, "x.yaml", {"10-corpus": "rl", "20-tok": "tokenizer"})


def test_a_local_model_is_a_parent_by_its_path(tmp_path: Path) -> None:
    text = (
        f"stage: sft\nmodel: {tmp_path}\ndata: {{ path: a }}\nsteps: 1\ntokens_per_step: 1\nlearner: {{ lr: 1e-3 }}\n"
    )
    assert parents(pretrain(tmp_path, text), None) == {str(tmp_path): tmp_path}


def test_a_fingerprint_changes_with_config_parents_and_local_files_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.jsonl").write_text("{}")
    (tmp_path / "train").write_text("a file that is called like a split")
    run = tmp_path / "run"
    made_of = {name: artifact(run, name, name) for name in ("10-corpus", "20-tok")}
    config = pretrain(tmp_path)
    first = fingerprint(config, made_of)
    assert first == fingerprint(pretrain(tmp_path), made_of) == json.loads(json.dumps(first))
    assert set(first["data"]) == {"data.mine"} and not first["files"]

    def changed(text: str = PRETRAIN) -> list[str]:
        return list(changes(first, fingerprint(pretrain(tmp_path, text), made_of)))

    assert changed() == []
    assert changed(PRETRAIN.replace("steps: 3", "steps: 4")) == ["config.steps"]
    assert changed(PRETRAIN.replace("lr: 0.001", "lr: 0.002, threads: 4")) == ["config.learner.lr"]
    assert changed(PRETRAIN + "checkpoints: { every: 5 }\nloggers: [tensorboard]\nreward_workers: { workers: 3 }") == []
    assert (
        changed(PRETRAIN.replace("lr: 0.001", "lr: 0.001, micro_batch_tokens: 8, gradient_checkpointing: true")) == []
    )
    assert changed(PRETRAIN + "rollout: { cpus: 2, gpu_memory_utilization: 0.5, sync_bucket_bytes: 9 }") == []
    assert changed(PRETRAIN.replace("path: mine", "path: ~/mine")) == ["config.data.mine.path"]
    (tmp_path / "mine.jsonl").write_text("{ }")
    assert changed() == ["data.data.mine"]
    (made_of["20-tok"] / "a").write_text("other")
    assert changed() == ["parents.20-tok", "data.data.mine"]


def test_names_that_users_give_are_not_taken_for_keys_without_effect(recipe: Path) -> None:
    path = recipe / "10-corpus.yaml"
    base = {"stage": "corpus", "sources": {"threads": {"generate": "m:f", "args": {"cpus": 1}}}}

    def changed(*overrides: str) -> list[str]:
        path.write_text(json.dumps(base))
        return list(changes(fingerprint(load_stage(path), {}), fingerprint(load_stage(path, list(overrides)), {})))

    assert changed("cpus=2", "loggers=[wandb]") == []
    assert changed("sources.threads.args.cpus=2") == ["config.sources.threads.args.cpus"]
    assert changed("sources.threads.limit=3") == ["config.sources.threads.limit"]


@pytest.mark.parametrize("key", MAY_CHANGE)
def test_every_key_that_may_change_is_one_of_the_configuration(key: str) -> None:
    def has(kind: Any, parts: list[str]) -> bool:
        if not parts:
            return True
        if parts[0] == "*":
            return any(has(part, parts[1:]) for part in get_args(kind))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return parts[0] in kind.model_fields and has(kind.model_fields[parts[0]].annotation, parts[1:])
        return any(has(part, parts) for part in get_args(kind))

    assert any(has(stage, key.split(".")) for stage in STAGES.values())


@pytest.mark.parametrize("path", ["pages", "pages/**/*.html"])
def test_a_fingerprint_changes_with_the_files_of_a_folder_or_pattern(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pages/deep").mkdir(parents=True)
    (tmp_path / "pages/deep/a.html").write_text("a")
    config = load_stage(recipe / "10-corpus.yaml", [f"sources.web.path={path}"])
    first = fingerprint(config, {})
    assert set(first["files"]) == {path} and fingerprint(config, {}) == first
    (tmp_path / "pages/deep/b.html").write_text("b")
    second = fingerprint(config, {})
    assert second != first
    (tmp_path / "pages/deep/b.html").write_text("bb")
    assert fingerprint(config, {}) != second


def test_the_hash_of_an_artifact_is_the_one_that_its_manifest_tells(tmp_path: Path) -> None:
    final = artifact(tmp_path, "a", "x", artifact_hash="abc")
    assert artifact_hash(final) == "abc"
    (tmp_path / "a/manifest.json").write_text("{}")
    assert len(artifact_hash(final)) == 64
    assert artifact_hash(tmp_path / "nowhere") == ""


def test_a_parent_with_another_tokenizer_or_template_than_its_manifest_tells_is_refused(tmp_path: Path) -> None:
    from rlreason.data.chat import template_hash, tokenizer_hash
    from rlreason.tasks import chains

    tokenizer = chains.tokenizer()
    final = artifact(tmp_path, "20-sft", "x")
    tokenizer.save_pretrained(final)
    hashes = {"tokenizer_hash": tokenizer_hash(tokenizer), "chat_template_hash": template_hash(tokenizer)}
    (final.parent / "manifest.json").write_text(json.dumps(hashes))
    check_parents({"20-sft": final})
    tokenizer.chat_template += " "
    tokenizer.save_pretrained(final)
    with pytest.raises(UserError, match=r"20-sft .*: its chat template is not the one .* --from 20-sft"):
        check_parents({"20-sft": final})
    tokenizer.add_tokens(["word"])
    tokenizer.save_pretrained(final)
    with pytest.raises(UserError, match="its tokenizer is not the one"):
        check_parents({"20-sft": final})


def done(run: Path, recipe: Path, *names: str) -> None:
    """The stages' folders as finished runs leave them."""
    stages = []
    for step in load_steps(recipe, []):
        if step.name in names:
            artifact(run, step.name, step.name)
            inputs = fingerprint(step.config, parents(step.config, run))
            (run / step.name / "manifest.json").write_text(json.dumps({"inputs": inputs, "status": "done"}))
            stage = {"name": step.name, "stage": step.config.stage, "status": "done"}
            stages.append({**stage, "duration_s": 1, "eval": {}})
    (run / "summary.json").write_text(json.dumps({"stages": stages}))


def open_recipe(recipe: Path, run: Path, *overrides: str, **options: Any) -> _Recipe:
    found = _Recipe(load_steps(recipe, list(overrides)), run, Interrupts())
    found.prepare(**{"resume": True, "again": set(), "only": None, **options})
    found.lock.close()
    return found


def same(recipe: _Recipe) -> list[bool]:
    return [recipe._is_done(step.name) and not recipe._changes(step) for step in recipe.steps]


ALL = ("10-corpus", "20-tok", "30-pretrain")


def test_stages_that_are_done_and_unchanged_are_known(tmp_path: Path, recipe: Path) -> None:
    run = tmp_path / "run"
    done(run, recipe, *ALL)
    assert same(open_recipe(recipe, run)) == [True, True, True]
    changed = open_recipe(recipe, run, "20-tok.vocab_size=300")
    assert same(changed) == [True, False, True]
    assert changed._changes(changed.steps[1]) == ["config.vocab_size"]
    (run / "20-tok/final/a").write_text("made again, and different")
    assert same(open_recipe(recipe, run)) == [True, True, False]


def test_a_stage_is_done_only_if_its_folder_says_so_too(tmp_path: Path, recipe: Path) -> None:
    """A kill leaves a summary of what was there before, or a folder that was only begun."""
    run = tmp_path / "run"
    done(run, recipe, *ALL)
    shutil.rmtree(run / "20-tok")
    manifest = run / "30-pretrain/manifest.json"
    manifest.write_text(manifest.read_text().replace('"done"', '"running"'))
    found = open_recipe(recipe, run)
    assert [found._is_done(name) for name in ALL] == [True, False, False]
    found._put_aside("10-corpus", "as asked")
    assert not open_recipe(recipe, run)._is_done("10-corpus"), "the summary on disk knows at once"


def test_a_stage_that_is_not_done_goes_on_with_more_steps_but_not_on_other_data(tmp_path: Path, recipe: Path) -> None:
    run = tmp_path / "run"
    done(run, recipe, *ALL)
    manifest = run / "30-pretrain/manifest.json"
    manifest.write_text(manifest.read_text().replace('"done"', '"running"'))

    def changed(*overrides: str) -> list[str]:
        found = open_recipe(recipe, run, *overrides)
        return found._changes(found.steps[2])

    assert changed("30-pretrain.steps=9") == []
    assert changed("30-pretrain.data.mine.weight=3", "30-pretrain.steps=9") == ["config.data.mine.weight"]
    assert changed("30-pretrain.seed=1") == ["config.seed"]
    (run / "20-tok/final/a").write_text("made again, and different")
    assert changed() == ["parents.20-tok"]


def test_what_is_made_again_is_put_aside_and_not_lost(tmp_path: Path, recipe: Path) -> None:
    run = tmp_path / "run"
    done(run, recipe, "10-corpus", "20-tok")
    found = open_recipe(recipe, run)
    found._put_aside("20-tok", "as asked")
    assert not (run / "20-tok").exists() and (run / "old/20-tok-1/final/a").read_text() == "20-tok"
    for number in (2, 3):
        artifact(run, "20-tok", str(number))
        found._put_aside("20-tok", "as asked")
        assert (run / f"old/20-tok-{number}/final/a").read_text() == str(number)
        shutil.rmtree(run / "old/20-tok-1", ignore_errors=True)


def test_from_and_only_say_what_is_wrong(tmp_path: Path, recipe: Path) -> None:
    steps, run = load_steps(recipe, []), tmp_path / "run"
    assert _again(steps, recipe, "20-tok", None) == {"20-tok", "30-pretrain"}
    assert _again(steps, recipe, None, "20-tok") == {"20-tok"}
    assert _again(steps, recipe, None, None) == set()
    for arguments, message in (
        ((recipe, "20-tok", "30-pretrain"), "give one of the two"),
        ((recipe, "9", None), "--from 9: no such stage; the recipe has 10-corpus, 20-tok, 30-pretrain"),
        ((recipe / "20-tok.yaml", None, "20-tok"), "--only: .* is one stage"),
    ):
        with pytest.raises(UserError, match=message):
            _again(steps, *arguments)
    with pytest.raises(UserError, match="--resume goes on with what is not done, --from and --only begin again"):
        run_path(recipe, [], run, resume=True, start="20-tok")
    with pytest.raises(UserError, match="say which run with --run-dir"):
        run_path(recipe, [], None, only="20-tok")
    done(run, recipe, "10-corpus")
    with pytest.raises(UserError, match="20-tok is not done in .*; run it first"):
        open_recipe(recipe, run, resume=False, again={"30-pretrain"})
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        open_recipe(recipe, run, resume=False)


def test_a_run_directory_that_is_not_fit_is_one_line(tmp_path: Path, recipe: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match="10-corpus is not done"):
        open_recipe(recipe, run, resume=False, again={"20-tok"})
    assert not run.exists(), "a mistyped --run-dir leaves nothing behind"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: Not a directory; choose another"):
        open_recipe(recipe, tmp_path / "file")
    run.mkdir()
    (run / "summary.json").write_text('{"stages": [')
    with pytest.raises(UserError, match="is no summary of a recipe; remove it"):
        open_recipe(recipe, run)
    (run / "summary.json").unlink()
    first = _Recipe(load_steps(recipe, []), run, Interrupts())
    first.prepare(resume=True, again=set(), only=None)
    with pytest.raises(UserError, match=r"is in use by process \d+"):
        open_recipe(recipe, run)
    first.lock.close()
    (run / "summary.json").write_text('{"stages": []}')
    with pytest.raises(UserError, match="is that of a recipe"):
        RunLog(run, config_yaml="", resume=True)
    (run / "config.yaml").write_text("")
    with pytest.raises(UserError, match="is that of a single stage"):
        open_recipe(recipe, run)
