"""The learner engine on one rank, against plain PyTorch and transformers.

The engine runs in child processes (learner_child.py), which write what they saw; everything is judged here.
"""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlreason.types import NotFinite
from rlreason.workers.learner_fleet import require_finite

CHILD = Path(__file__).with_name("learner_child.py")
SCENARIOS = [
    "base", "splits", "packed", "unpackable", "greedy", "empty_micro_batch", "training", "schedule", "policy",
    "on_policy", "penalty", "refreshed", "critic", "saved", "unused_parameter",
    "short_first_step", "checkpointing", "uninterrupted", "stopped", "full_disk", "broken", "poisoned", "extremes",
    "broken_file", "hostile",
]  # fmt: skip
RESUME_SCENARIOS = ["resumed", "other_layout"]
Results = Callable[[str], Any]

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What a scenario returned, by its name; raises what ended it."""
    folder = tmp_path_factory.mktemp("learner")
    for names in (SCENARIOS, RESUME_SCENARIOS):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command = [sys.executable, str(CHILD), str(folder), port, *names]
        child = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        assert child.returncode == 0, child.stdout

    def result(name: str) -> Any:
        # Our own child wrote it.
        found = torch.load(folder / f"{name}.pt", weights_only=False)
        if isinstance(found, BaseException):
            raise found
        return folder if name == "base" else found

    return result


@pytest.fixture(scope="module")
def child() -> Any:
    """The child's constants and sequences."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("learner_child", CHILD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path)


def plain_logprobs(model: Any, sequence: Any, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logprobs and entropies of the trained tokens, from the sequence alone: no batch, no padding."""
    tokens_T = torch.tensor(sequence.tokens)
    all_TV = (model(tokens_T[None]).logits[0, :-1] / temperature).log_softmax(-1)
    trained_T = torch.tensor(sequence.mask[1:], dtype=torch.bool)
    logprob_T = all_TV[torch.arange(len(tokens_T) - 1), tokens_T[1:]]
    return logprob_T[trained_T], -(all_TV.exp() * all_TV).sum(-1)[trained_T]


def assert_same_weights(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To 1e-5 of their norm; a step moves them by 1e-2 of it. Not one by one: where a gradient is near zero, AdamW's
    division by its size makes rounding visible.
    """
    assert found.keys() == expected.keys()
    difference, size = (
        torch.cat([weight.flatten() for weight in weights]).norm().item()
        for weights in ([found[name] - expected[name] for name in found], list(expected.values()))
    )
    assert difference < 1e-5 * size


def test_the_update_is_the_same_for_any_split_into_micro_batches(results: Results) -> None:
    """Trap 1."""
    runs = results("splits")
    assert [run["split"] for run in runs] == [1, 3, 9] * 4
    for first in (0, 3, 6, 9):
        whole = runs[first]
        for part in runs[first + 1 : first + 3]:
            assert part["stats"].grad_norm == pytest.approx(whole["stats"].grad_norm, rel=1e-5)
            assert part["stats"].loss == pytest.approx(whole["stats"].loss, rel=1e-5)
            assert part["stats"].sums == pytest.approx(whole["stats"].sums, rel=1e-5)
            assert ("policy/entropy" in whole["stats"].sums) == ("policy" in whole["loss"]), "it is dear"
            assert part["stats"].num_tokens == whole["stats"].num_tokens
            assert_same_weights(part["weights"], whole["weights"])
    assert len({round(runs[first]["stats"].grad_norm, 4) for first in (0, 3, 6, 9)}) == 4, "four losses, one gradient?"


def test_sequences_that_share_a_row_are_trained_as_if_each_had_its_own(results: Results) -> None:
    """Loss, gradient and logprobs, to rounding, for two families and both ways to compute attention."""
    runs = results("packed")
    assert len(runs) == 8
    for name, (plain, *others) in runs.items():
        assert [pack_tokens for pack_tokens, *_ in (plain, *others)] == [None, 16, 32, 100], name
        assert [num_rows for *_, num_rows in (plain, *others)] == [9, 6, 3, 1], name
        for _, stats, logprobs, _ in others:
            assert stats.loss == pytest.approx(plain[1].loss, rel=1e-6), name
            assert stats.grad_norm == pytest.approx(plain[1].grad_norm, rel=1e-6), name
            assert stats.num_tokens == plain[1].num_tokens
            assert logprobs.keys() == plain[2].keys()
            for tokens, mine in logprobs.items():
                assert mine == pytest.approx(plain[2][tokens], abs=1e-5), name


def test_a_model_in_which_sequences_of_a_row_see_one_another_is_refused(results: Results) -> None:
    """A state-space model, one that ignores the positions for its mask, and one that counts positions itself."""
    errors = results("unpackable")
    for name in ("mamba", "falcon", "opt"):
        assert f"model of type `{name}`" in errors[name] and "take pack_tokens out" in errors[name]
    assert errors["gpt2"] == "no error"


def test_a_greedy_continuation_is_that_of_transformers(results: Results) -> None:
    model = load(results("base") / "base")
    found = results("greedy")
    for prompt, tokens in zip(found["prompts"], found["found"], strict=True):
        row = list(prompt)
        for _ in range(6):
            row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
        assert row == [*prompt, *tokens]
    assert len(set(found["found"])) > 1


def test_an_empty_micro_batch_changes_nothing(results: Results) -> None:
    without, with_it = results("empty_micro_batch")
    assert with_it["stats"] == without["stats"]
    assert all(weight.equal(without["weights"][name]) for name, weight in with_it["weights"].items())


def test_training_is_that_of_plain_pytorch(results: Results, child: Any) -> None:
    """Loss without padding, gradient norm before clipping, clipping, AdamW with decay on matrices only."""
    model = load(results("base") / "base")
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95))
    found = results("training")
    for stats in found["stats"]:
        optimizer.zero_grad()
        logprobs = torch.cat([plain_logprobs(model, sequence)[0] for sequence in child.sequences()])
        loss = -logprobs.mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
        assert stats.num_tokens == len(logprobs) == child.SIZE.num_tokens
        assert stats.loss == pytest.approx(loss.item(), rel=1e-5)
        assert stats.grad_norm == pytest.approx(norm.item(), rel=1e-4) and norm > 0.5, "it must have clipped"
    assert_same_weights(found["weights"], dict(model.named_parameters()))


def test_the_learning_rate_of_the_step_is_the_one_used(results: Results) -> None:
    found = results("schedule")
    assert found["lrs"] == pytest.approx([5e-3, 1e-2, 1e-2, 7e-3, 4e-3, 1e-3])
    # AdamW's first step moves a weight by the learning rate, whatever the gradient.
    assert found["moved"] == pytest.approx(5e-3, rel=1e-3)


def test_policy_statistics_are_those_of_plain_pytorch_at_the_temperature(results: Results, child: Any) -> None:
    """Trap 8: loss, entropy and logprobs speak of the distribution that was sampled from."""
    model = load(results("base") / "base")
    found = results("policy")
    ordered = [sequence for micro_batch in child.micro_batches(40) for sequence in micro_batch]
    loss = entropy = gap = mismatch = 0.0
    num_clipped = 0
    with torch.no_grad():
        for sequence, logprobs in zip(ordered, found["logprobs"], strict=True):
            logprob_N, entropy_N = plain_logprobs(model, sequence, 0.7)
            assert logprobs == pytest.approx(logprob_N.tolist(), abs=1e-5)
            old = [logprob for logprob, mask in zip(sequence.logprobs[1:], sequence.mask[1:], strict=True) if mask]
            log_ratio_N = logprob_N - torch.tensor(old)
            ratio_N, advantage = log_ratio_N.exp(), sequence.advantages[0]
            low_N, clipped_N = ratio_N * advantage, ratio_N.clamp(0.8, 1.28) * advantage
            loss -= torch.minimum(low_N, clipped_N).sum().item() / child.SIZE.num_tokens
            num_clipped += (low_N > clipped_N).sum().item()
            entropy += entropy_N.sum().item()
            gap += log_ratio_N.abs().sum().item()
            mismatch += (ratio_N - 1 - log_ratio_N).sum().item()
    stats = found["stats"]
    assert stats.loss == pytest.approx(loss, rel=1e-5)
    assert stats.sums == pytest.approx(
        {
            "policy/entropy": entropy,
            "policy/clip_fraction": num_clipped,
            "mismatch/logprob_gap_mean": gap,
            "mismatch/kl": mismatch,
        },
        rel=1e-5,
    )
    assert num_clipped > 0


def test_on_policy_the_ratio_is_exactly_one(results: Results, child: Any) -> None:
    """Trap 12: behaviour logprobs that differ by noise, or here by far, clip nothing."""
    stats = results("on_policy")
    gain = sum(sequence.advantages[0] * sequence.num_trained_tokens for sequence in child.sequences())
    assert stats.loss == pytest.approx(-gain / child.SIZE.num_tokens, rel=1e-5)
    assert stats.sums["policy/clip_fraction"] == 0 and stats.sums["mismatch/logprob_gap_mean"] > 1


def test_the_kl_penalty_pulls_in_proportion_to_its_coefficient(results: Results) -> None:
    """Trap 10. At the start policy and reference are equal, so the first step is that of no penalty."""
    runs = results("penalty")
    firsts, seconds = zip(*runs.values(), strict=True)
    assert [stats.grad_norm for stats in firsts] == pytest.approx([firsts[0].grad_norm] * 3, rel=1e-4)
    assert [stats.sums.get("policy/kl") for stats in firsts] == [None, 0.0, 0.0], "exactly"
    small_kl, large_kl = (stats.sums["policy/kl"] for stats in seconds[1:])
    assert small_kl > 1e-4 and large_kl == pytest.approx(small_kl, rel=1e-2)
    none, small, large = (stats.loss for stats in seconds)
    assert large - none == pytest.approx(10 * (small - none), rel=2e-2) and small > none
    none, small, large = (stats.grad_norm for stats in seconds)
    assert abs(large - none) > 2 * abs(small - none) > 0


def test_the_reference_stays_until_it_is_refreshed_and_is_resumed(results: Results) -> None:
    found = results("refreshed")
    for name in ("start", "refreshed"):
        policy, reference = found[name]
        assert policy == reference, name
    assert found["apart"][0] != found["apart"][1] == found["start"][1]
    assert found["saved"][0] != found["saved"][1] == found["refreshed"][1]
    assert found["resumed"] == found["saved"]


def test_the_critic_learns_the_returns(results: Results, child: Any) -> None:
    """Its first loss is the mean of half the squared error of its values; every tensor is trained."""
    found = results("critic")
    ordered = [sequence for micro_batch in child.micro_batches(40) for sequence in micro_batch]
    squares = [
        (value - sequence.returns[0]) ** 2 / 2
        for sequence, values in zip(ordered, found["values"], strict=True)
        for value in values
    ]
    assert found["stats"][0].loss == pytest.approx(sum(squares) / child.SIZE.num_tokens, rel=1e-5)
    assert found["stats"][-1].loss < 0.5 * found["stats"][0].loss
    assert found["moved"] == found["names"] and any("score" in name for name in found["names"])


def test_a_saved_model_loads_in_transformers_and_says_the_same(results: Results, child: Any) -> None:
    """Untied, and with tied embeddings, whole and in shards."""
    ordered = [sequence for micro_batch in child.micro_batches(40) for sequence in micro_batch]
    for path, found in results("saved").items():
        assert {"model.safetensors", "config.json"} <= {file.name for file in Path(path).iterdir()}
        model = load(Path(path))
        assert model.config.tie_word_embeddings == ("-tied" in path)
        with torch.no_grad():
            for sequence, logprobs in zip(ordered, found, strict=True):
                assert logprobs == pytest.approx(plain_logprobs(model, sequence)[0].tolist(), abs=1e-5)


def test_a_parameter_that_never_trains_is_an_error(results: Results) -> None:
    """Trap 24."""
    assert "parameters did not move in step 1" in results("unused_parameter")
    assert "crossattention" in results("unused_parameter")


def test_a_step_too_short_for_float32_is_none(results: Results) -> None:
    """Norms begin at 1.0, where numbers lie 6e-8 apart: they wait for a longer step. Others are judged at once."""
    waiting, error = results("short_first_step")
    assert len(waiting[0]) == 3 and all("norm" in name for name in waiting[0])
    assert waiting[1] == []
    assert "parameters did not move in step 1" in error and "crossattention" in error


def test_gradient_checkpointing_recomputes_and_is_not_silently_off(results: Results) -> None:
    assert results("checkpointing") == {False: 1, True: 2}


def test_a_resumed_run_goes_on_bit_for_bit(results: Results) -> None:
    whole, first, rest = results("uninterrupted"), results("stopped"), results("resumed")
    assert rest["start"] == 2
    assert [*first, *rest["stats"]] == whole["stats"]
    assert rest["weights"].keys() == whole["weights"].keys()
    assert all(weight.equal(whole["weights"][name]) for name, weight in rest["weights"].items())


def test_a_checkpoint_of_another_layout_is_refused(results: Results) -> None:
    stage, dtype = results("other_layout")
    assert stage.endswith("was made with learner zero_stage 0, now 1; resume with the same")
    assert dtype.endswith("was made with learner dtype float32, now bfloat16; resume with the same")


def test_no_file_of_a_checkpoint_runs_code(results: Results) -> None:
    """At each ZeRO stage, with LoRA and in bfloat16; the files as they were written are loaded."""
    found = results("hostile")
    assert not found["ran"] and found["set"] is None
    assert len(found["errors"]) == 4 * 2 + 3, "parameters and random states; from stage 1 on, the optimizer apart"
    for name, error in found["errors"].items():
        said = (
            "holds no random states" if "random" in name else "or holds more than tensors and numbers, which is never"
        )
        assert said in error and "resume from" in error and "\n" not in error


def test_a_checkpoint_that_cannot_be_written_is_one_line(results: Results) -> None:
    assert results("full_disk").startswith("cannot write") and "\n" not in results("full_disk")


def test_numbers_that_are_not_finite_are_seen_in_the_step_that_makes_them(results: Results, child: Any) -> None:
    rows = [one.origin for one in child.sequences()]
    for name, (first, second) in results("broken").items():
        require_finite([first], "policy", 1, rows)  # the weights jump, and are finite still
        with pytest.raises(NotFinite, match=r"^step 2: policy/loss is nan, policy/grad_norm is inf") as error:
            require_finite([second], "policy", 2, rows)
        assert "lower learner.lr (1e+18)" in str(error.value) and "\n" not in str(error.value), name
        assert error.value.batch == tuple(f"data row {number}" for number in range(9)), name


def test_the_weights_of_an_adapter_are_checked_whole_or_in_shards(results: Results, child: Any) -> None:
    for before, stats in results("poisoned").values():
        assert 0 < before < 1
        with pytest.raises(NotFinite, match=r"policy/loss is nan, .*a trained weight is nan; trained on data row 0, "):
            require_finite([stats], "policy", 1, [one.origin for one in child.sequences()])


def test_the_sequence_that_breaks_a_batch_is_named(results: Results, child: Any) -> None:
    found, rows = results("extremes"), [one.origin for one in child.sequences()]
    for name in ("nan", "infinite", "1e308"):
        with pytest.raises(NotFinite, match="policy/loss is (nan|inf|-inf), .* trained on data row 3; lower") as error:
            require_finite([found[name]], "policy", 7, rows)
        assert error.value.batch == ("data row 3",)
    with pytest.raises(NotFinite, match="^step 7: policy/grad_norm is inf; trained on data row 0, .* and 5 more; "):
        require_finite([found["1e30"]], "policy", 7, rows)
    assert found["masked"] == ["this batch has no token to train on: every one is masked"] * 2


def test_a_model_whose_weights_are_not_numbers_is_refused(results: Results) -> None:
    assert "1 of its weights are NaN or infinite, model.embed_tokens.weight among them" in results("broken_file")
