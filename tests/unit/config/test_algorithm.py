"""The algorithm section: what presets stand for, what overrides what, and each refusal in its own words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from rlreason.config.algorithm import PRESETS, AlgorithmConfig
from rlreason.config.learner import LearnerConfig, LoRAConfig
from rlreason.config.load import dump, load_stage
from rlreason.config.schema import RLConfig
from rlreason.types import UserError
from tests.unit.stages.conftest import rl_config

PLAIN: dict[str, Any] = {
    "preset": None,
    "advantage": "grpo",
    "advantage_args": {},
    "normalize_std": False,
    "gamma": None,
    "lam": None,
    "loss": "ppo_clip",
    "loss_args": {},
    "clip_low": 0.2,
    "clip_high": 0.28,
    "dual_clip": None,
    "aggregation": "token_mean",
    "loss_divisor": None,
    "entropy_coef": 0.0,
    "kl": None,
    "off_policy": None,
    "dynamic_sampling": None,
    "overlong": None,
    "mask_truncated": False,
    "epochs": 1,
    "minibatches": 1,
    "value_clip": None,
    "critic_warmup_steps": None,
    "shuffle_rewards": False,
}
K1, K3 = ({"estimator": name, "target": None, "horizon": None, "refresh_every": None} for name in ("k1", "k3"))
PAPERS: dict[str, dict[str, Any]] = {
    "grpo": {
        "advantage": "grpo", "normalize_std": True, "clip_low": 0.2, "clip_high": 0.2, "aggregation": "sequence_mean",
        "kl": K3 | {"coef": 0.04},
    },
    "dr_grpo": {"advantage": "dr_grpo", "clip_low": 0.2, "clip_high": 0.2, "aggregation": "sequence_sum"},
    # Its experiments: a ramp over the last 4,096 of 20,480 tokens.
    "dapo": {
        "advantage": "grpo", "normalize_std": True, "clip_low": 0.2, "clip_high": 0.28, "aggregation": "token_mean",
        "dynamic_sampling": {"max_draws": 3.0}, "overlong": {"buffer_share": 0.2, "penalty": 1.0},
        "mask_truncated": True,
    },
    "rloo": {
        "advantage": "rloo", "loss": "reinforce", "clip_low": None, "clip_high": None, "aggregation": "sequence_sum",
        "kl": K1 | {"coef": 0.01},
    },
    "reinforce_pp": {"advantage": "reinforce_pp", "gamma": 1.0, "clip_high": 0.2, "kl": K1 | {"coef": 0.001}},
    "gspo": {
        "advantage": "grpo", "normalize_std": True, "loss": "gspo", "clip_low": 3e-4, "clip_high": 4e-4,
        "aggregation": "sequence_mean",
    },
    # The weight is at most 1 + 4 and has no lower bound.
    "cispo": {"advantage": "grpo", "normalize_std": True, "loss": "cispo", "clip_low": None, "clip_high": 4.0},
    "ppo": {
        "advantage": "gae", "gamma": 1.0, "lam": 1.0, "value_clip": 0.2, "critic_warmup_steps": 0, "clip_high": 0.2,
        "kl": K1 | {"coef": 0.001},
    },
}  # fmt: skip


def algorithm(**keys: Any) -> AlgorithmConfig:
    return AlgorithmConfig.model_validate(keys)


def values(**keys: Any) -> dict[str, Any]:
    """The resolved section."""
    return algorithm(**keys).model_dump()


def refusal(model: type[BaseModel], raw: dict[str, Any]) -> str:
    """The one message."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(raw)
    (error,) = caught.value.errors()
    return error["msg"].removeprefix("Value error, ")


def test_without_a_preset_all_is_plain() -> None:
    assert values() == PLAIN


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_the_values_of_its_paper(preset: str) -> None:
    assert values(preset=preset) == PLAIN | {"preset": preset} | PAPERS[preset]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_resolved_section_is_read_as_it_stands(preset: str) -> None:
    """Each key stands in it, so that even another preset's name changes nothing."""
    resolved = values(preset=preset)
    assert values(**resolved) == resolved
    assert values(**resolved | {"preset": None}) == resolved | {"preset": None}
    for other in PRESETS:
        assert values(**resolved | {"preset": other}) == resolved | {"preset": other}


OTHERS: dict[str, Any] = {
    "advantage": "none",
    "normalize_std": False,
    "loss": "ppo_clip",
    "clip_high": 0.7,
    "aggregation": "token_mean",
    "kl": None,
    "dynamic_sampling": None,
    "overlong": None,
    "mask_truncated": False,
}


@pytest.mark.parametrize(("preset", "key"), [(name, key) for name, found in PRESETS.items() for key in found])
def test_a_key_beside_a_preset_wins(preset: str, key: str) -> None:
    assert PAPERS[preset][key] != OTHERS[key]
    assert values(preset=preset, **{key: OTHERS[key]})[key] == OTHERS[key]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_key_that_a_preset_does_not_name_is_set_and_leaves_the_others(preset: str) -> None:
    assert values(preset=preset, entropy_coef=0.5) == values(preset=preset) | {"entropy_coef": 0.5}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"preset": "grpo", "kl": {"coef": 0.5}}, K3 | {"coef": 0.5}),
        ({"preset": "grpo", "kl": {"estimator": "k2"}}, K3 | {"estimator": "k2", "coef": 0.04}),
        ({"preset": "grpo", "kl": {"target": 0.1}}, K3 | {"coef": 0.04, "target": 0.1, "horizon": 10_000.0}),
        ({"preset": "ppo", "kl": {"refresh_every": 5}}, K1 | {"coef": 0.001, "refresh_every": 5}),
        ({"preset": "grpo", "kl": None}, None),
        ({"preset": "dapo", "kl": {"estimator": "k3", "coef": 0.5}}, K3 | {"coef": 0.5}),
    ],
)
def test_a_penalty_beside_a_preset_is_merged_key_by_key_and_null_takes_it_out(
    given: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    assert values(**given)["kl"] == expected


def test_other_sections_of_a_preset_are_merged_as_well() -> None:
    found = values(preset="dapo", dynamic_sampling={"max_draws": 5}, overlong={"penalty": 2})
    assert found["dynamic_sampling"] == {"max_draws": 5.0}
    assert found["overlong"] == {"buffer_share": 0.2, "penalty": 2.0}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # A bound is its loss's, and a deviation its advantage's: what was chosen for another does not stay.
        ({"preset": "grpo", "loss": "gspo"}, {"clip_low": 3e-4, "clip_high": 4e-4, "normalize_std": True}),
        ({"preset": "ppo", "loss": "cispo"}, {"clip_low": None, "clip_high": 4.0}),
        ({"preset": "dr_grpo", "loss": "reinforce"}, {"clip_low": None, "clip_high": None}),
        ({"preset": "gspo", "loss": "ppo_clip"}, {"clip_low": 0.2, "clip_high": 0.28}),
        ({"preset": "gspo", "loss": "gmpo"}, {"clip_low": 0.4, "clip_high": 0.4, "aggregation": "sequence_mean"}),
        ({"preset": "grpo", "advantage": "rloo"}, {"normalize_std": False, "clip_high": 0.2}),
        ({"preset": "cispo", "advantage": "gae"}, {"normalize_std": False, "gamma": 1.0, "value_clip": 0.2}),
        ({"preset": "ppo", "advantage": "grpo"}, {"gamma": None, "lam": None, "value_clip": None, "clip_high": 0.2}),
        # Naming the preset's own choice is no change; a bound that is given stays whatever the loss.
        ({"preset": "grpo", "loss": "ppo_clip", "advantage": "grpo"}, {"clip_high": 0.2, "normalize_std": True}),
        ({"preset": "grpo", "loss": "gspo", "clip_high": 0.1}, {"clip_low": 3e-4, "clip_high": 0.1}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if "preset" in value else "",
)
def test_a_bound_does_not_outlive_what_it_belongs_to(given: dict[str, Any], expected: dict[str, Any]) -> None:
    found = values(**given)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("none", (None, None, None)),
        ("token_truncate", (2.0, None, None)),
        ("sequence_truncate", (2.0, None, None)),
        ("token_mask", (None, 0.5, 2.0)),
        ("sequence_reject", (None, 0.5, 2.0)),
    ],
)
def test_a_correction_has_its_own_bounds(given: str, expected: tuple[float | None, ...]) -> None:
    found = values(off_policy={"correction": given})["off_policy"]
    assert (found["cap"], found["low"], found["high"]) == expected


def test_advantages_that_are_of_sequences_go_with_gmpo() -> None:
    """Without k1 and discount, each token of reinforce_pp has the return of its sequence."""
    for advantage in ("reinforce_pp", "remax", "none"):
        assert algorithm(advantage=advantage, loss="gmpo", aggregation="sequence_mean").loss == "gmpo"
    for advantage, estimator in (("reinforce_pp", "k3"), ("grpo", "k1")):  # k1 is taken from a sample's whole reward
        kl = {"estimator": estimator, "coef": 0.1}
        assert algorithm(advantage=advantage, loss="gmpo", aggregation="sequence_mean", kl=kl).loss == "gmpo"
    for_tokens = algorithm(preset="ppo", loss="gspo")
    assert (for_tokens.advantage, for_tokens.clip_high) == ("gae", 4e-4), "GSPO-token is made for these"


GMPO = {"loss": "gmpo", "aggregation": "sequence_mean"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kl": {"estimator": "k1", "coef": 0.1, "horizon": 9}}, "horizon has no effect without `target`; take it out"),
    *(
        ({"off_policy": {"correction": name, key: 1.5}},
         f"{key} has no effect with `correction: {name}`; take it out")
        for key, names in (
            ("cap", ("none", "token_mask", "sequence_reject")),
            ("low", ("none", "token_truncate", "sequence_truncate")),
            ("high", ("none", "token_truncate", "sequence_truncate")),
        )
        for name in names
    ),
    ({"off_policy": {"correction": "token_mask", "low": 1}}, "low 1 and high 2 must lie on both sides of 1"),
    ({"off_policy": {"correction": "sequence_reject", "high": 0.9}},
     "low 0.5 and high 0.9 must lie on both sides of 1"),
    ({"advantage": "gpro"},
     "advantage: `gpro` is not one of grpo, dr_grpo, rloo, reinforce_pp, reinforce_pp_baseline, remax, gae, none, "
     "nor FILE.py:FUNCTION"),
    ({"loss": "mine.py"},
     "loss: `mine.py` is not one of ppo_clip, gspo, cispo, gmpo, reinforce, nor FILE.py:FUNCTION"),
    *(
        (given, f"{next(iter(given))} has no effect with `{choice}`; take one of them out")
        for given, choice in (
            ({"advantage_args": {"scale": 1}}, "advantage: grpo"),
            ({"normalize_std": True, "advantage": "rloo"}, "advantage: rloo"),
            ({"gamma": 1.0}, "advantage: grpo"),
            ({"lam": 1.0, "advantage": "reinforce_pp"}, "advantage: reinforce_pp"),
            ({"value_clip": 0.2, "advantage": "reinforce_pp"}, "advantage: reinforce_pp"),
            ({"critic_warmup_steps": 0}, "advantage: grpo"),
            ({"loss_args": {"bound": 1}, "loss": "cispo"}, "loss: cispo"),
            ({"clip_low": 0.2, "loss": "reinforce"}, "loss: reinforce"),
            ({"clip_high": 0.2, "loss": "a.py:f"}, "loss: a.py:f"),
            ({"clip_high": 0.2, "preset": "rloo"}, "loss: reinforce"),
            ({"dual_clip": 3, "loss": "cispo"}, "loss: cispo"),
            ({"loss_divisor": 100}, "aggregation: token_mean"),
            ({"loss_divisor": 100, "preset": "grpo"}, "aggregation: sequence_mean"),
        )
    ),
    ({"clip_low": 1}, "clip_low: 1 is no bound on a ratio; it must be below 1"),
    ({"loss": "cispo", "clip_low": 2}, "clip_low: 2 is no bound on a ratio; it must be below 1"),
    ({"loss": "gmpo"}, "`loss: gmpo` is a mean over sequences; set `aggregation: sequence_mean`"),
    *(
        (GMPO | given,
         f"`loss: gmpo` takes one advantage a sequence, but with `{choice}` those of `{given['advantage']}` differ "
         "from token to token; take another loss, such as gspo, or another advantage")
        for given, choice in (
            ({"advantage": "gae"}, "advantage: gae"),
            ({"advantage": "reinforce_pp", "gamma": 0.9}, "gamma: 0.9"),
            ({"advantage": "reinforce_pp", "kl": {"estimator": "k1", "coef": 0.1}}, "kl.estimator: k1"),
        )
    ),
    *(
        ({"loss": "reinforce"} | several,
         "`loss: reinforce` has no ratio, so that updates after a batch's first would be off-policy; "
         "set `epochs: 1` and `minibatches: 1`, or take another loss")
        for several in ({"epochs": 2}, {"minibatches": 2})
    ),
    ({"shuffle_rewards": True, "preset": "dapo"},
     "`shuffle_rewards` would deal out what `dynamic_sampling` chose; take one of them out"),
    *(
        ({"advantage": "remax"} | given,
         f"{next(iter(given))} does not go with `advantage: remax`: {reason}; take one of them out")
        for given, reason in (
            ({"shuffle_rewards": True}, "the baseline would be the greedy answer's true reward"),
            ({"overlong": {}}, "the greedy answer's reward, the baseline, is not punished"),
            ({"dynamic_sampling": {}},
             "it drops groups of equal rewards, which teach where the greedy answer's is another"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_does_not_go_together_is_refused_with_the_reason(given: dict[str, Any], message: str) -> None:
    assert refusal(AlgorithmConfig, given) == message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "30-rl.yaml"
    path.write_text(yaml.safe_dump(rl_config().model_dump(mode="json", exclude={"algorithm", "critic"})))
    return path


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_may_stand_on_the_command_line_and_its_dump_loads_to_the_same(file: Path, preset: str) -> None:
    config = load_stage(file, [f"algorithm.preset={preset}"])
    assert isinstance(config, RLConfig) and config.algorithm == algorithm(preset=preset)
    assert (config.critic is not None) == (preset == "ppo")
    file.write_text(dump(config))
    assert load_stage(file) == config


def test_overrides_reach_into_a_preset_on_the_command_line(file: Path) -> None:
    config = load_stage(file, ["algorithm.preset=grpo", "algorithm.kl.coef=0.5", "algorithm.clip_high=0.3"])
    assert isinstance(config, RLConfig)
    assert config.algorithm == algorithm(preset="grpo", kl={"coef": 0.5}, clip_high=0.3)
    without = load_stage(file, ["algorithm.preset=grpo", "algorithm.kl=null"])
    assert isinstance(without, RLConfig) and without.algorithm.kl is None
    with pytest.raises(UserError, match="algorithm.preset: Input should be 'grpo', 'dr_grpo', 'dapo'"):
        load_stage(file, ["algorithm.preset=dappo"])


LEARNER = {"lr": 1e-4, "workers": 2, "weight_decay": 0.1, "lora": {"rank": 4}}


def critic_of(**fields: Any) -> LearnerConfig | None:
    return rl_config(**{"learner": LEARNER, "algorithm": {"advantage": "gae"}} | fields).critic


def test_the_critic_is_as_the_learner_with_ten_times_its_rate_and_no_adapters() -> None:
    expected = LearnerConfig(lr=1e-3, workers=2, weight_decay=0.1)
    assert critic_of() == critic_of(algorithm={"preset": "ppo"}) == critic_of(critic=None) == critic_of(critic={})
    assert critic_of() == expected
    assert critic_of(learner=LEARNER | {"lr": "1e-4"}) == expected, "a number that is written as text is one"
    assert critic_of(algorithm={"advantage": "grpo"}) is critic_of(algorithm={}) is None
    assert critic_of(algorithm={"preset": "ppo", "advantage": "grpo"}) is None


def test_what_is_given_of_the_critic_wins() -> None:
    given = {"lr": 5e-4, "workers": 1, "lora": {"rank": 8}}
    expected = LearnerConfig(lr=5e-4, workers=1, weight_decay=0.1, lora=LoRAConfig(rank=8))
    assert critic_of(critic=given) == expected


def test_a_configuration_of_objects_gets_its_critic_as_well() -> None:
    learner, chosen = LearnerConfig.model_validate(LEARNER), AlgorithmConfig(preset="ppo")
    assert critic_of(learner=learner, algorithm=chosen) == critic_of()
    assert critic_of(learner=learner, algorithm=chosen, critic={"lr": 1}) == critic_of(critic={"lr": 1})
    own = LearnerConfig(lr=1.0)
    assert critic_of(critic=own) == own, "nothing of an object is left open"


def test_a_mistake_in_the_learner_is_told_once() -> None:
    assert refusal(RLConfig, rl_config().model_dump() | {"learner": {"lr": -1}}) == "Input should be greater than 0"
