"""Configuration files: what is refused, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from rlreason.config import foreign
from rlreason.config.data import TaskConfig
from rlreason.config.load import _all_keys, dump, load_stage, recipe_files
from rlreason.config.schema import STAGES, PretrainConfig, RLConfig
from rlreason.types import UserError, UserErrors

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
        ("stage: rl\nlearner: {lr: 1", "line 2: bad YAML"),
        ("stage: rl\n\tsteps: 1", "line 2: bad YAML"),
        ("- stage: rl", "found list"),
        ("rl", "found str"),
        ("", "found NoneType"),
        ("stage: rl\nlearner:\n  lr: 1\n  dtype: float32\n  lr: 2\n", "line 5: `lr` stands twice, here and in line 3"),
        ("stage: rl\nlearner: {lr: 1, lr: 1}", "line 2: `lr` stands twice"),
        ("stage: rl\nrewards:\n- {name: a,\n   args: {x: {y: 1, y: 1}}}", "line 4: `y` stands twice"),
        ("stage: rl\nstage: rl\n7: 8", "line 2: `stage` stands twice"),
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


def test_keys_of_an_anchor_may_be_replaced_where_it_is_merged(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        yaml.safe_dump({**RL, "learner": "MERGED"}).replace("MERGED", "{<<: &base {lr: 1.0, dtype: float32}, lr: 2.0}")
    )
    assert load_stage(tmp_path / "a.yaml").learner.lr == 2.0


def test_a_key_that_stands_twice_in_a_shared_file_or_an_override_is_refused(tmp_path: Path, file: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\nseed: 2\n")
    (tmp_path / "a.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(UserError, match="base.yaml: line 2: `seed` stands twice"):
        load_stage(tmp_path / "a.yaml")
    assert "`num` stands twice" in override_refusal(file, "tasks.args={num: 1, num: 2}")


@pytest.mark.parametrize("value", [".inf", "-.Inf", ".NAN", "1e999", "-1e400"])
@pytest.mark.parametrize(
    "key",
    ["learner.lr", "learner.max_grad_norm", "rollout.temperature", "algorithm.clip_high", "algorithm.entropy_coef",
     "rewards.0.weight", "rewards.0.timeout_s", "rewards.0.args.tolerance", "tasks.args.limits", "learner.betas",
     "guard.max_kl", "reward_workers.stall_s", "eval.temperature", "parity_tolerance"],
)  # fmt: skip
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(file: Path, key: str, value: str) -> None:
    written = f"[0.9, {value}]" if key in ("learner.betas", "tasks.args.limits") else value
    text = refusal(file, f"{key}={written}")
    assert text.startswith(f"{key}") and "is no finite number" in text


def test_a_text_that_means_no_finite_number_is_none_either(file: Path) -> None:
    assert refusal(file, "learner.lr='nan'").startswith("learner.lr: ")
    assert refusal(file, "learner.lr='inf'").startswith("learner.lr: ")


@pytest.mark.parametrize(
    "override",
    ["rollout.stop=['a', '']", "model=''", "rewards.0.name=''", "tasks.template=''", "tasks.split=''",
     "algorithm.loss=''", "rewards.0.sources=['']", "learner.lora={targets: ['']}"],
)  # fmt: skip
def test_an_empty_text_is_refused(file: Path, override: str) -> None:
    text = refusal(file, override)
    assert text.startswith(override.partition("=")[0]) and "is empty" in text


@pytest.mark.parametrize("override", ["steps=true", "learner.lr=yes", "seed=off", "rollout.cpus=no", "keep=true"])
def test_yes_and_no_are_no_numbers(file: Path, override: str) -> None:
    override = override.replace("keep", "checkpoints.keep")
    assert refusal(file, override).startswith(f"{override.partition('=')[0]}: true and false")


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_that_no_library_takes_is_refused(file: Path, seed: str) -> None:
    assert refusal(file, f"seed={seed}").startswith("seed: ")


def test_what_yaml_1_1_took_for_octal_minutes_and_dates_is_what_it_looks_like(file: Path) -> None:
    config = load_stage(file, ["steps=010", "tasks.split=2024-01-31", "tasks.args={zip: 010, at: 1:30}"])
    assert isinstance(config, RLConfig)
    assert (config.steps, config.tasks["tasks"].split) == (10, "2024-01-31")
    assert config.tasks["tasks"].args == {"zip": "010", "at": "1:30"}


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", stepps=3, learner={"lr": -1.0}, model=None)
    with pytest.raises(UserErrors) as error:
        load_stage(path)
    assert [line.removeprefix(f"{path}: ").partition(",")[0] for line in error.value.lines] == [
        "learner.lr: Input should be greater than 0",
        "missing key `model`",
        "unknown key `stepps`; did you mean `steps`?",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sample_per_prompt": 4}, "did you mean `samples_per_prompt`?"),
        ({"num_generations": 4}, "did you mean `samples_per_prompt`?"),
        ({"beta": 0.04}, "did you mean `algorithm.kl.coef`?"),
        ({"max_completion_length": 9}, "did you mean `rollout.max_response_tokens`?"),
        ({"max_prompt_length": 9}, "did you mean `rollout.max_context_tokens`?"),
        ({"per_device_train_batch_size": 9}, "did you mean `prompts_per_step`?"),
        ({"rollout": {"n": 8}}, "unknown key `rollout.n`; did you mean `samples_per_prompt`?"),
        ({"rollout": {"max_new_tokens": 8}}, "did you mean `rollout.max_response_tokens`?"),
        ({"actor": {"optim": {"lr": 1.0}}}, "unknown key `actor`; `actor.optim.lr` is `learner.lr` here"),
        ({"actor_rollout_ref": {"rollout": {"n": 8}}}, "`actor_rollout_ref.rollout.n` is `samples_per_prompt` here"),
        ({"algorithm": {"kl_ctrl": {"kl_coef": 1}}}, "`algorithm.kl_ctrl.kl_coef` is `algorithm.kl.coef` here"),
        ({"algorithm": {"adv_estimator": "grpo"}}, "did you mean `algorithm.advantage`?"),
        ({"kl_coef": 1}, "did you mean `algorithm.kl.coef`?"),
        ({"num_train_epochs": 1}, "did you mean `steps`?"),
        ({"temperature": 1}, "did you mean `rollout.temperature`?"),
        ({"lr": 1}, "did you mean `learner.lr`?"),
        ({"warmup_steps": 1}, "did you mean `learner.warmup_steps`?"),
        ({"learner": {"learning_rate": 1}}, "unknown key `learner.learning_rate`; did you mean `learner.lr`?"),
        ({"learner": {"lora": {"r": 8}}}, "unknown key `learner.lora.r`; did you mean `learner.lora.rank`?"),
        ({"learner": {"lora": {"rnak": 8}}}, "unknown key `learner.lora.rnak`; did you mean `rank`?"),
        ({"lora": {"rank": 8}}, "unknown key `lora`; did you mean `learner.lora`?"),
        ({"tasks": {"path": "a", "prompt_key": "q"}}, "did you mean `prompt_column`?"),
    ],
)
def test_a_misspelt_or_foreign_key_finds_ours(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(write(tmp_path / "a.yaml", **changes))


def test_every_hint_names_a_key_that_some_stage_has() -> None:
    known = {".".join(key) for model in STAGES.values() for key in _all_keys(model)}
    known |= TaskConfig.model_fields.keys()
    assert {key for keys in foreign.KEYS.values() for key in keys} <= known
    assert not foreign.KEYS.keys() & {"lr", "model", "steps", "rewards"} and set(foreign.STAGES.values()) <= set(STAGES)


@pytest.mark.parametrize("word", ["grpo", "ppo", "dapo", "dr_grpo"])
def test_an_algorithm_as_the_stage_says_where_it_goes(tmp_path: Path, word: str) -> None:
    assert f"write `stage: rl` and `algorithm: {word}`" in refusal(write(tmp_path / "a.yaml", stage=word))


def test_short_forms_stand_for_their_sections(tmp_path: Path) -> None:
    short = load_stage(write(tmp_path / "a.yaml", algorithm="dapo", learner={"lr": 1e-4, "lora": True}))
    long = load_stage(write(tmp_path / "b.yaml", algorithm={"preset": "dapo"}, learner={"lr": 1e-4, "lora": {}}))
    assert short == long
    off = load_stage(tmp_path / "a.yaml", ["learner.lora=false", "algorithm=gspo"])
    assert isinstance(off, RLConfig) and off.learner.lora is None and off.algorithm.preset == "gspo"
    assert "algorithm.preset: " in refusal(tmp_path / "a.yaml", "algorithm=dappo")


def test_a_short_form_is_a_section_for_extends_and_overrides_too(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", algorithm="dapo", learner={"lr": 1e-4, "lora": True})
    (tmp_path / "a.yaml").write_text("extends: base.yaml\nalgorithm: {clip_high: 0.3}\n")
    config = load_stage(tmp_path / "a.yaml", ["algorithm.clip_low=0.1", "learner.lora.rank=4"])
    assert isinstance(config, RLConfig) and config.learner.lora is not None and config.learner.lora.rank == 4
    assert (config.algorithm.preset, config.algorithm.clip_low, config.algorithm.clip_high) == ("dapo", 0.1, 0.3)


def test_an_rl_file_needs_no_more_than_model_tasks_rewards_and_steps(tmp_path: Path) -> None:
    given = ("stage", "model", "tasks", "rewards", "steps")
    path = tmp_path / "rl.yaml"
    path.write_text(yaml.safe_dump({key: RL[key] for key in given}))
    config = load_stage(path)
    assert isinstance(config, RLConfig)
    assert (config.prompts_per_step, config.samples_per_prompt, config.learner.lr) == (16, 8, 1e-6)
    assert (config.rollout.context_tokens, config.rollout.response_tokens) == (2048, 512)
    assert load_stage(path, ["learner.lora=true"]).learner.lr == 1e-5
    ppo = load_stage(path, ["algorithm=ppo"])
    assert isinstance(ppo, RLConfig) and ppo.critic is not None and ppo.critic.lr == pytest.approx(1e-5)


def test_the_readmes_rl_file_is_whole(tmp_path: Path) -> None:
    text = (CONFIGS.parent / "README.md").read_text(encoding="utf-8").partition("# rl.yaml\n")[2].partition("```")[0]
    (tmp_path / "rl.yaml").write_text(text)
    config = load_stage(tmp_path / "rl.yaml")
    assert isinstance(config, RLConfig) and set(yaml.safe_load(text)) == {"stage", "model", "tasks", "rewards", "steps"}
