"""The update is the same for one batch, any split into micro-batches, any number of ranks, padded or packed, any ZeRO
stage: whole gradients, against plain PyTorch on each sequence alone.

The ranks are processes (rank_child.py) that live as long as this module; hypothesis draws what they are asked.

Notation: N = trained tokens, P = parameters.
"""

import importlib.util
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlreason.algorithms.losses import token_logprobs
from rlreason.engines.objective import policy_objective, preference_objective, value_objective
from rlreason.types import (
    BatchSize,
    CrossEntropyLoss,
    Loss,
    PolicyLoss,
    PreferenceLoss,
    TrainSequence,
    UpdateStats,
    ValueLoss,
)

spec = importlib.util.spec_from_file_location("batches", Path(__file__).parents[1] / "batches.py")
assert spec is not None and spec.loader is not None
batches = importlib.util.module_from_spec(spec)
spec.loader.exec_module(batches)

pytestmark = pytest.mark.engines

LLAMA = {
    "vocab_size": batches.VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
    "num_labels": 1,
}
OTHER_LOSSES = {
    "cross_entropy": CrossEntropyLoss(),
    "value": ValueLoss(clip=None),
    "clipped value": ValueLoss(clip=0.2),
}

PREFERENCE_LOSSES = {
    "bradley_terry": PreferenceLoss(label_smoothing=0.1, centring=0.01),
    "plackett_luce": PreferenceLoss(name="plackett_luce"),
    "dpo": PreferenceLoss(beta=0.1),
}


def head_of(loss: Loss) -> str:
    if isinstance(loss, PreferenceLoss) and loss.beta is None:
        return "score"
    return "value" if isinstance(loss, ValueLoss) else "language"


class Ranks:
    """Ranks of one learner; `close` ends them."""

    def __init__(self, num_ranks: int, models: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, str(Path(__file__).with_name("rank_child.py"))]
        self._models = models
        self._processes = [
            subprocess.Popen(
                [*command, str(rank), str(num_ranks), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for rank in range(num_ranks)
        ]

    def update(
        self,
        micro_batches: list[list[list[TrainSequence]]],
        loss: Loss,
        size: BatchSize,
        *,
        pack_tokens: int | None = None,
        **options: Any,
    ) -> tuple[list[UpdateStats], Tensor]:
        """Each rank's statistics and the gradient [P], which all ranks must agree on."""
        head = head_of(loss)
        options |= {"head": head, "model": str(self._models / head)}
        for process, mine in zip(self._processes, micro_batches, strict=True):
            pickle.dump((options, pack_tokens, mine, loss, size), process.stdin)
            process.stdin.flush()
        answers = [pickle.load(process.stdout) for process in self._processes]
        gradients = [torch.from_numpy(gradient) for _, gradient in answers]
        assert all(gradient.equal(gradients[0]) for gradient in gradients)
        return [stats for stats, _ in answers], gradients[0]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`language`, `value` and `score`: a model with random weights and each head."""
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        LlamaForSequenceClassification,
        LlamaForTokenClassification,
    )

    folder = tmp_path_factory.mktemp("ranks")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**LLAMA)).save_pretrained(folder / "language")
    LlamaForTokenClassification(LlamaConfig(**LLAMA)).save_pretrained(folder / "value")
    LlamaForSequenceClassification(LlamaConfig(**LLAMA)).save_pretrained(folder / "score")
    return folder


@pytest.fixture(scope="module")
def ranks(models: Path) -> Iterator[dict[int, Ranks]]:
    found = {num_ranks: Ranks(num_ranks, models) for num_ranks in (1, 2)}
    yield found
    for one in found.values():
        one.close()


@pytest.fixture(scope="module")
def plain(models: Path) -> dict[str, torch.nn.Module]:
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    return {
        "language": AutoModelForCausalLM.from_pretrained(models / "language"),
        "value": AutoModelForTokenClassification.from_pretrained(models / "value"),
        "score": AutoModelForSequenceClassification.from_pretrained(models / "score"),
    }


def plain_update(
    models: dict[str, Any], loss: Loss, known: list[TrainSequence]
) -> tuple[float, dict[str, float], Tensor]:
    """Loss, sums and gradient [P] of the batch: each sequence alone through transformers, and no DeepSpeed."""
    model = models[head_of(loss)]
    size = BatchSize.of(known)
    outputs, targets = [], []
    for sequence in known:
        tokens_T, trained_T = torch.tensor(sequence.tokens), torch.tensor(sequence.mask[1:], dtype=torch.bool)
        if (
            head_of(loss) == "score"
        ):  # transformers reads at the last token of a row alone; that token was put there twice
            outputs.append(model(tokens_T[None, :-1]).logits)
        else:
            outputs.append(model(tokens_T[None]).logits[0, :-1][trained_T])
        targets.append(tokens_T[1:][trained_T])
    output_N, target_N = torch.cat(outputs), torch.cat(targets)
    sums: dict[str, Tensor] = {}
    match loss:
        case CrossEntropyLoss():
            total = torch.nn.functional.cross_entropy(output_N, target_N)
        case PolicyLoss():
            logprob_N, entropy_N = token_logprobs(
                output_N, target_N, loss.temperature, entropy_gradient=loss.entropy_coef > 0
            )
            total, sums = policy_objective(loss, logprob_N, entropy_N, known, size)
        case ValueLoss():
            total, sums = value_objective(loss, output_N[:, 0], known, size)
        case PreferenceLoss(beta=None):
            total, sums = preference_objective(loss, output_N[:, 0], known, size)
        case PreferenceLoss():
            logprob_N, _ = token_logprobs(output_N, target_N, 1.0)
            total, sums = preference_objective(loss, logprob_N, known, size)
    gradients = torch.autograd.grad(total, list(model.parameters()))
    gradient_P = torch.cat([gradient.flatten() for gradient in gradients])
    return total.item(), {key: part.item() for key, part in sums.items()}, gradient_P


def assert_the_update_is_the_same(
    ranks: dict[int, Ranks],
    models: dict[str, Any],
    loss: Loss,
    known: list[TrainSequence],
    data: st.DataObject,
    zero_stages: tuple[int, ...] = (0, 1, 2),
) -> None:
    """On one rank and on two, in any split. Sums whose terms cancel have an absolute error."""
    total, sums, gradient_P = plain_update(models, loss, known)
    for num_ranks, those in ranks.items():
        found, found_P = those.update(
            data.draw(batches.layout(known, num_ranks)),
            loss,
            BatchSize.of(known),
            pack_tokens=data.draw(st.sampled_from([None, 8, 24])),
            zero_stage=data.draw(st.sampled_from(zero_stages)),
        )
        assert (found_P - gradient_P).norm() <= 1e-5 * gradient_P.norm() + 1e-8
        assert sum(stats.loss for stats in found) == pytest.approx(total, rel=1e-5, abs=1e-5)
        assert {key for stats in found for key in stats.sums} == set(sums)
        for key, value in sums.items():
            assert sum(stats.sums.get(key, 0.0) for stats in found) == pytest.approx(value, rel=1e-4, abs=1e-4), key
        assert sum(stats.num_tokens for stats in found) == BatchSize.of(known).num_tokens
        assert [stats.grad_norm for stats in found] == pytest.approx(
            [gradient_P.norm().item()] * num_ranks, rel=1e-5, abs=1e-8
        )


POLICY_CASES = [
    pytest.param(
        name,
        aggregation,
        id=f"{name.rpartition(':')[2]}-{aggregation}",
        marks=[pytest.mark.long] if (place + other) % len(batches.AGGREGATIONS) else [],
    )
    for place, name in enumerate(batches.CONSTANTS)
    for other, aggregation in enumerate(batches.AGGREGATIONS)
]
"""Each loss with one aggregation; the other aggregations are long."""


def asked(num_examples: int) -> settings:
    """No other seed on another day, and no shrinking, which would take minutes here."""
    return settings(
        deadline=None,
        max_examples=num_examples,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )


@pytest.mark.parametrize(("name", "aggregation"), POLICY_CASES)
@asked(3)
@given(data=st.data())
def test_the_policy_s_update_is_the_same(
    ranks: dict[int, Ranks], plain: dict[str, Any], name: str, aggregation: str, data: st.DataObject
) -> None:
    """Traps 1, 2, 3 and 6."""
    loss, known = data.draw(batches.policy_loss(name, aggregation)), data.draw(batches.sequences())
    assert_the_update_is_the_same(ranks, plain, loss, known, data)


@pytest.mark.parametrize("name", OTHER_LOSSES)
@asked(8)
@given(data=st.data())
def test_the_other_updates_are_the_same(
    ranks: dict[int, Ranks], plain: dict[str, Any], name: str, data: st.DataObject
) -> None:
    assert_the_update_is_the_same(ranks, plain, OTHER_LOSSES[name], data.draw(batches.sequences()), data)


@pytest.mark.parametrize("name", PREFERENCE_LOSSES)
@asked(8)
@given(data=st.data())
def test_the_update_by_preferences_is_the_same(
    ranks: dict[int, Ranks], plain: dict[str, Any], name: str, data: st.DataObject
) -> None:
    """Rows, not answers, weigh the same, wherever they are."""
    assert_the_update_is_the_same(ranks, plain, PREFERENCE_LOSSES[name], data.draw(batches.rankings()), data)


@pytest.mark.parametrize("name", ["ppo_clip", *(pytest.param(name, marks=pytest.mark.long) for name in OTHER_LOSSES)])
@asked(3)
@given(data=st.data())
def test_the_update_of_sharded_parameters_is_the_same(
    ranks: dict[int, Ranks], plain: dict[str, Any], name: str, data: st.DataObject
) -> None:
    """ZeRO 3, which is slow on so small a model."""
    loss = OTHER_LOSSES[name] if name in OTHER_LOSSES else data.draw(batches.policy_loss(name, "sequence_mean"))
    assert_the_update_is_the_same(ranks, plain, loss, data.draw(batches.sequences()), data, zero_stages=(3,))


def test_each_loss_and_aggregation_has_a_gradient_of_its_own(plain: dict[str, Any]) -> None:
    """Else the tests above could compare one thing with itself."""
    sequence = TrainSequence(
        tokens=(1, 5, 9, 3, 30, 7),
        mask=(0, 0, 1, 1, 0, 1),
        advantages=(0.0, 0.0, 1.0, -0.5, 0.0, 2.0),
        old_logprobs=(0.0, 0.0, -3.0, -4.0, 0.0, -3.5),
        values=(0.0,) * 6,
        returns=(1.0,) * 6,
    )
    known = [sequence, replace(sequence, tokens=(2, 5, 8, 8, 8, 1), mask=(0, 1, 0, 0, 0, 0), advantages=(0.3,) * 6)]
    losses = [
        PolicyLoss(name=name, constants=constants, aggregation=aggregation, divisor=16.0)
        for name, constants in batches.CONSTANTS.items()
        for aggregation in batches.AGGREGATIONS
    ]
    gradients = [plain_update(plain, loss, known)[2] for loss in [*losses, CrossEntropyLoss()]]
    assert all((one - other).norm() > 1e-2 * one.norm() > 0 for one, other in combinations(gradients, 2))
