"""Configuration files: what is refused, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from rlreason.config.load import dump, load_stage, recipe_files
from rlreason.config.schema import PretrainConfig, RLConfig
from rlreason.types import UserError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
STAGE_FILES = sorted(CONFIGS.glob("**/[0-9]*.yaml"))
RL: dict[str, Any] = {
    "stage": "rl",
    "model": "somewhere/model",
    "tasks": {"path": "tasks.jsonl"},
    "steps": 10,
    "prompts_per_step": 4,
    "samples_per_prompt": 2,
    "learner": {"lr": 1e-4},
    "rewards": [{"name": "math", "path": "rlreason.rewards.math:reward"}],
}

SHIPPED = {"name": "math", "path": "rlreason.rewards.math:reward"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "30-rl.yaml"
    path.write_text(yaml.safe_dump(RL))
    return path


def write(path: Path, **changes: Any) -> Path:
    """The good configuration with some keys changed; None takes a key out."""
    path.write_text(yaml.safe_dump({key: value for key, value in {**RL, **changes}.items() if value is not None}))
    return path


def refusal(path: Path, *overrides: str) -> str:
    """The error: one line that names the file."""
    with pytest.raises(UserError) as error:
        load_stage(path, list(overrides))
    text = str(error.value)
    assert "\n" not in text and text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def override_refusal(path: Path, override: str) -> str:
    """The error: one line that names the override, which is where the mistake is."""
    with pytest.raises(UserError) as error:
        load_stage(path, [override])
    text = str(error.value)
    assert "\n" not in text and f"`{override}`" in text
    return text


def test_the_shipped_configurations_are_found() -> None:
    assert len(STAGE_FILES) >= 3
    assert {path.parent.name for path in STAGE_FILES} > {"tiny-cpu", "controls"}


def test_the_tiny_corpus_leaves_out_the_requests_that_are_evaluated() -> None:
    base = yaml.safe_load((CONFIGS / "tiny-cpu/base.yaml").read_text())
    corpus = yaml.safe_load((CONFIGS / "tiny-cpu/10-corpus.yaml").read_text())
    left_out, asked = corpus["decontamination"]["data"]["safe-requests"], base["eval"]["tasks"]["safe"]
    assert left_out == {key: asked[key] for key in ("generate", "args")}


@pytest.mark.parametrize("path", STAGE_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_shipped_configuration_loads_and_survives_a_dump(path: Path, tmp_path: Path) -> None:
    config = load_stage(path)
    again = tmp_path / "config.yaml"
    again.write_text(dump(config))
    assert load_stage(again) == config


def test_a_dump_holds_every_default_and_loads_to_the_same(file: Path, tmp_path: Path) -> None:
    config = load_stage(file, ["learner.lr=1.5e-7", "rollout.stop=['</answer>', '×']", "tasks.template='{prompt}\\n'"])
    again = tmp_path / "again.yaml"
    again.write_text(dump(config), encoding="utf-8")
    assert load_stage(again) == config
    assert yaml.safe_load(again.read_text(encoding="utf-8"))["algorithm"]["clip_high"] == 0.28


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prompts_per_stepp": 4}, "unknown key `prompts_per_stepp`; did you mean `prompts_per_step`?"),
        ({"learner": {"lr": 1e-4, "warmup_step": 3}}, "`learner.warmup_step`; did you mean `warmup_steps`?"),
        ({"eval": {"tasks": {"a": {"path": "x", "spllit": "y"}}}}, "`eval.tasks.a.spllit`; did you mean `split`?"),
        (
            {"rewards": [{"name": "a", "path": "m:f"}, {"name": "b", "path": "m:f", "wieght": 2}]},
            "`rewards.1.wieght`; did you mean `weight`?",
        ),
        ({"zzz": 1}, "unknown key `zzz`"),
        ({"steps": "many"}, "steps: "),
        ({"steps": 0}, "steps: "),
        ({"steps": 1.5}, "got 1.5"),
        ({"learner": 7}, "learner: "),
        ({"learner": {"lr": -1.0}}, "learner.lr: "),
        ({"learner": {"lr": float("nan")}}, "learner.lr: "),
        ({"learner": {"lr": 1e-4, "zero_stage": 4}}, "learner.zero_stage: "),
        ({"steps": None}, "missing key `steps`"),
        ({"learner": {}}, "missing key `learner.lr`"),
        ({"tasks": {"generate": None}}, "exactly one of `path`"),
        ({"tasks": {"path": "x", "generate": "m:f"}}, "exactly one of `path`"),
        ({"rewards": [SHIPPED | {"env": ["A_KEY"]}]}, "rewards.0: env has no effect on rlreason.rewards.math:reward"),
        ({"rewards": [SHIPPED | {"memory_gib": 1}]}, "rewards.0: memory_gib has no effect on rlreason.rewards"),
        ({"rewards": [SHIPPED | {"on_status": {"timeout": "skip"}}]}, "rewards.0.on_status.timeout: "),
        ({"rewards": [SHIPPED | {"on_status": {"wrong": "mask"}}]}, "unknown key `rewards.0.on_status.wrong`"),
        ({"reward_workers": {"gpus": 1}}, "reward_workers.gpus: "),
        ({"combine": {"mode": "max"}}, "combine.mode: "),
        ({"combine": {"mode": "gate"}}, "combine: `gate` names the deciding reward"),
        (
            {"stage": "reinforce"},
            "`stage: reinforce` is not one of corpus, tokenizer, pretrain, sft, reward_model, dpo, rl",
        ),
        ({"stage": "evalute"}, "did you mean `evaluate`?"),
        ({"stage": None}, "is not one of"),
        ({"stage": ["rl"]}, "is not one of"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(write(tmp_path / "30-rl.yaml", **changes))


def test_an_evaluation_without_rewards_or_tasks_is_refused(tmp_path: Path) -> None:
    body = {"stage": "evaluate", "model": "m"}
    path = tmp_path / "40-eval.yaml"
    path.write_text(yaml.safe_dump(body | {"eval": {"tasks": {"a": {"path": "x"}}}}))
    assert "needs at least one entry in `rewards`" in refusal(path)
    path.write_text(yaml.safe_dump(body))
    assert "`eval.tasks`" in refusal(path)


def test_a_key_without_effect_in_a_supervised_stage_is_refused(tmp_path: Path) -> None:
    body = {key: RL[key] for key in ("model", "steps", "learner", "rewards")} | {"stage": "sft", "tokens_per_step": 64}
    path = tmp_path / "40-sft.yaml"
    path.write_text(yaml.safe_dump(body | {"data": {"path": "x"}, "eval": {"tasks": {"a": {"path": "x"}}}}))
    load_stage(path)
    assert "unknown key `eval.every`" in refusal(path, "eval.every=5")
    assert "context_tokens: " in refusal(path, "context_tokens=1"), "one token predicts nothing"
    assert load_stage(write(tmp_path / "rl.yaml", eval={"tasks": {"a": {"path": "x"}}, "every": 5})).eval.every == 5


def test_rewards_and_their_combination_are_read_and_survive_a_dump(tmp_path: Path) -> None:
    rewards = [
        {"name": "math", "path": "rlreason.rewards.math:reward", "sources": ["gsm8k"], "args": {"strict": True}},
        {"name": "mine", "path": "a.py:f", "memory_gib": 0.5, "env": ["A_KEY"], "on_status": {"timeout": "zero"}},
    ]
    path = write(tmp_path / "a.yaml", rewards=rewards, combine={"mode": "gate", "gate": "math"})
    config = load_stage(path)
    assert isinstance(config, RLConfig) and config.combine.gate == ["math"]
    math, mine = config.rewards
    assert math.args == {"strict": True} and math.applies_to("gsm8k") and not math.applies_to("code")
    assert mine.applies_to("code") and mine.action("timeout") == "zero" and mine.action("ok") is None
    again = tmp_path / "again.yaml"
    again.write_text(dump(config))
    assert load_stage(again) == config


def test_group_size_one_is_right_where_samples_are_not_compared(tmp_path: Path) -> None:
    config = load_stage(write(tmp_path / "a.yaml", samples_per_prompt=1, algorithm={"advantage": "none"}))
    assert isinstance(config, RLConfig) and config.samples_per_prompt == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stage: rl\nlearner: {lr: 1", "bad YAML"),
        ("stage: rl\n\tsteps: 1", "bad YAML"),
        ("- stage: rl", "found list"),
        ("rl", "found str"),
        ("", "found NoneType"),
        ("stage: rl\nstage: rl\n7: 8", ""),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert expected in refusal(path)


def test_files_that_cannot_be_read(tmp_path: Path, file: Path) -> None:
    assert "did you mean `30-rl.yaml`?" in refusal(tmp_path / "30-lr.yaml")
    assert "no such file" in refusal(tmp_path / "nowhere" / "a.yaml")
    assert "cannot be read" in refusal(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"stage: \xff\xfe")
    assert "cannot be read" in refusal(tmp_path / "binary.yaml")


def test_extends_merges_sections_and_replaces_the_rest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    base = {key: value for key, value in RL.items() if key != "model"}
    base["learner"] = {"lr": 1e-4, "weight_decay": 0.1}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "sub" / "middle.yaml").write_text("extends: ../base.yaml\nlearner: {lr: 2.0e-4}\nsteps: 20\n")
    (tmp_path / "top.yaml").write_text(
        "extends: sub/middle.yaml\nmodel: m\nsteps: 30\nrewards: [{name: mine, path: 'a.py:f'}]\n"
    )
    config = load_stage(tmp_path / "top.yaml")
    assert isinstance(config, RLConfig)
    assert (config.steps, config.model) == (30, "m")
    assert (config.learner.lr, config.learner.weight_decay) == (2e-4, 0.1)
    assert [reward.name for reward in config.rewards] == ["mine"]


@pytest.mark.parametrize("chain", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_extends_in_a_circle_is_refused(tmp_path: Path, chain: list[str]) -> None:
    for name, parent in zip(chain, [*chain[1:], chain[0]], strict=True):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {parent}.yaml\n")
    with pytest.raises(UserError, match="circle") as error:
        load_stage(tmp_path / "a.yaml")
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: bass.yaml\n")
    (tmp_path / "base.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match="bass.yaml: no such file; did you mean `base.yaml`?"):
        load_stage(tmp_path / "a.yaml")


def test_overrides_reach_nested_keys_and_list_items(file: Path) -> None:
    config = load_stage(
        file,
        ["learner.lr=1e-5", "algorithm.clip_high=0.3", "rewards.0.weight=2", "seed=7", "checkpoints.every=null",
         "tasks.args={num: 3}", "tasks.path=b.jsonl", "steps=1e3"],
    )  # fmt: skip
    assert isinstance(config, RLConfig)
    assert config.learner.lr == 1e-5 and config.algorithm.clip_high == 0.3 and config.seed == 7
    assert config.rewards[0].weight == 2.0 and config.rewards[0].name == "math"
    assert (
        config.checkpoints.every is None
        and config.tasks["tasks"].args == {"num": 3}
        and config.tasks["tasks"].path == "b.jsonl"
    )
    assert config.steps == 1000


def test_a_number_in_scientific_notation_is_one_in_a_file_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({**RL, "learner": "LR"}).replace("LR", "{lr: 1e-5}"))
    assert load_stage(path).learner.lr == 1e-5


def test_a_number_in_scientific_notation_is_one_where_no_type_is_declared(tmp_path: Path) -> None:
    """`rms_norm_eps: 1e-5` is how everyone writes it; as text it breaks the model's arithmetic, far from here."""
    (tmp_path / "pretrain.yaml").write_text(
        "stage: pretrain\ntokenizer: t\narchitecture: {model_type: llama, rms_norm_eps: 1e-5, rope_theta: 1e6}\n"
        "data: {path: a.jsonl}\nsteps: 1\ntokens_per_step: 1\nlearner: {lr: 1e-3}\n"
    )
    config = load_stage(tmp_path / "pretrain.yaml", ["architecture.initializer_range=2e-2"])
    assert isinstance(config, PretrainConfig)
    assert config.architecture["initializer_range"] == 0.02
    assert (config.architecture["rms_norm_eps"], config.architecture["rope_theta"]) == (1e-5, 1e6)


def test_the_last_override_counts_and_the_file_is_not_changed(file: Path) -> None:
    before = file.read_text()
    assert load_stage(file, ["steps=3", "steps=4"]).steps == 4
    assert load_stage(file).steps == 10
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("learner.lr", "expected key=value"),
        ("=1", "expected key=value"),
        ("learner.lr={", "bad YAML"),
        ("steps.more=1", "`steps` is a value"),
        ("rewards.1.weight=2", "not an index of a list of 1"),
        ("rewards.first.weight=2", "not an index"),
        ("rewards.²=2", "not an index"),
        ("rewards.-1=2", "not an index"),
    ],
)
def test_an_override_of_bad_form_is_refused(file: Path, override: str, expected: str) -> None:
    assert expected in override_refusal(file, override)


def test_an_override_with_an_unknown_key_names_the_nearest(file: Path) -> None:
    assert "unknown key `learner.lrr`; did you mean `lr`?" in refusal(file, "learner.lrr=1")
    assert "learner.lr: " in refusal(file, "learner.lr=fast")


@pytest.mark.parametrize("word", ["nan", "infinity", "'1_0'", "'1e3'"])
def test_a_word_in_an_override_stays_a_word(file: Path, word: str) -> None:
    """YAML writes .nan and .inf; Python's float() takes more than that, and quoted text, for a number."""
    assert load_stage(file, [f"model={word}"]).model == word.strip("'")


def test_a_loaded_configuration_is_frozen(file: Path) -> None:
    config = load_stage(file)
    assert isinstance(config, RLConfig)
    with pytest.raises(ValidationError, match="frozen"):
        config.steps = 11  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.learner.lr = 1.0  # type: ignore[misc]


def test_a_recipe_is_its_numbered_files_in_order(tmp_path: Path) -> None:
    for name in ("30-rl.yaml", "10-pretrain.yaml", "base.yaml", "20-sft.yaml", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in recipe_files(tmp_path)] == ["10-pretrain.yaml", "20-sft.yaml", "30-rl.yaml"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no stage files"):
        recipe_files(tmp_path / "empty")
