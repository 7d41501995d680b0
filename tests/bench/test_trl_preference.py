"""The same preference rows through TRL's RewardTrainer and DPOTrainer and through our losses: loss and gradient.

Run with `pip install --no-deps --target DIR trl==1.16.0 accelerate`, then
`RLREASON_TRL=DIR pytest -m bench -s tests/bench/test_trl_preference.py`. TRL pads, masks, scores and computes its loss
on a tiny model; ours goes through `encode_answers`, `preference_objective` and a forward pass of each answer alone, in
micro-batches of one, two and three rows. They differ by less than 1e-5 of their size, the gradient as one vector over
all parameters. Not compared: rankings of more than two answers and label smoothing with this loss, which TRL lacks.

Notation: S = answers; N = trained tokens.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from rlreason.data.preferences import Preference, encode_answers, for_score, in_groups
from rlreason.engines.learner_setup import build_module
from rlreason.engines.objective import preference_objective
from rlreason.rl.experience import with_columns
from rlreason.tasks import chains
from rlreason.types import BatchSize, PreferenceLoss, TrainSequence

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore")]

LIMIT = 1e-5
MARGINS = (0.5, 0.0, 0.25, 1.0, 0.0, 0.75)
PAIRS = [
    ("2+2=", "4", "5"),
    ("3*3=", "9;9", "1"),
    ("1+1=", "2", "7777"),
    ("8-3=", "5", ""),
    ("4*2=", "8", "6;"),
    ("0+1=", "1;1;1", "0"),
]
MICRO_BATCHES = (1, 2, 3)
"""Rows in each of ours."""


@pytest.fixture(scope="module")
def trl() -> ModuleType:
    if folder := os.environ.get("RLREASON_TRL"):
        sys.path.append(folder)
    found: ModuleType = pytest.importorskip("trl", reason="no TRL: RLREASON_TRL names no folder that holds it")
    return found


def moved(model: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def rows(*, scored: bool) -> list[list[TrainSequence]]:
    found = []
    for (prompt, chosen, rejected), margin in zip(PAIRS, MARGINS, strict=True):
        preference = Preference(prompt=prompt, responses=(chosen, rejected), places=(1, 2), margin=margin)
        row = encode_answers(chains.tokenizer(), preference, chat=False)
        found.append([for_score(sequence) for sequence in row] if scored else row)
    return found


def our_loss(loss: PreferenceLoss, sequences: list[TrainSequence], said: list[Tensor]) -> Tensor:
    """`said`: of each answer its score, or the logprobs of its tokens."""
    size, total, begin = BatchSize.of(sequences), torch.zeros(()), 0
    for num_rows in MICRO_BATCHES:
        part = slice(begin, begin + 2 * num_rows)
        total = total + preference_objective(loss, torch.cat(said[part]), sequences[part], size)[0]
        begin += 2 * num_rows
    assert begin == len(sequences)
    return total


def differences(ours: Tensor, model: Any, theirs: Tensor, peer: Any) -> tuple[float, float]:
    names = [name for name, _ in peer.named_parameters()]
    gradients = []
    for loss, of in ((ours, model), (theirs, peer)):
        parameters = dict(of.named_parameters())
        assert set(parameters) == set(names)
        found = torch.autograd.grad(loss, [parameters[name] for name in names])
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    assert gradients[1].norm() > 0
    gap = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    return ((ours - theirs).abs() / theirs.abs()).item(), gap.item()


def dataset() -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"prompt": prompt, "chosen": a, "rejected": b} for prompt, a, b in PAIRS])


def arguments(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "gradient_checkpointing": False,
    }


@pytest.mark.parametrize(("margin", "centring"), [(False, 0.0), (True, 0.0), (False, 0.01), (True, 0.5)])
def test_reward_model(trl: ModuleType, tiny_model: Path, tmp_path: Path, margin: bool, centring: float) -> None:
    from transformers import AutoModelForSequenceClassification
    from trl.trainer.reward_trainer import DataCollatorForPreference

    ours = moved(build_module("float32", str(tiny_model), None, "score"), 0)
    ours.config.pad_token_id = chains.tokenizer().pad_token_id
    ours.save_pretrained(tmp_path / "model")
    peer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", num_labels=1)
    config = trl.RewardConfig(**arguments(tmp_path), center_rewards_coefficient=centring or None)
    trainer = trl.RewardTrainer(peer, args=config, train_dataset=dataset(), processing_class=chains.tokenizer())
    found = rows(scored=True)
    examples = [
        {"chosen_ids": list(row[0].tokens[:-1]), "rejected_ids": list(row[1].tokens[:-1]), "margin": row[0].margin}
        for row in found
    ]
    if not margin:
        examples = [{key: value for key, value in example.items() if key != "margin"} for example in examples]
    theirs = trainer.compute_loss(trainer.model, DataCollatorForPreference(chains.tokenizer().pad_token_id)(examples))
    sequences = in_groups(found)
    if not margin:
        sequences = [TrainSequence(tokens=s.tokens, mask=s.mask, group=s.group, place=s.place) for s in sequences]
    scores = [ours(input_ids=torch.tensor([s.tokens])).logits[0, -2] for s in sequences]
    gaps = differences(our_loss(PreferenceLoss(centring=centring), sequences, scores), ours, theirs, trainer.model)
    print(f"\nreward model, margin {margin}, centring {centring:g}: loss {gaps[0]:.1e}, gradient {gaps[1]:.1e}")
    assert max(gaps) < LIMIT


def test_dpo(trl: ModuleType, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    reference = moved(AutoModelForCausalLM.from_pretrained(tiny_model), 1)
    policy = moved(AutoModelForCausalLM.from_pretrained(tiny_model), 2)
    peer = AutoModelForCausalLM.from_pretrained(tiny_model)
    peer.load_state_dict(policy.state_dict())
    config = trl.DPOConfig(**arguments(tmp_path), beta=0.3)
    trainer = trl.DPOTrainer(
        peer, ref_model=reference, args=config, train_dataset=dataset(), processing_class=chains.tokenizer()
    )
    found = rows(scored=False)
    examples = []
    for chosen, rejected in found:
        start = chosen.mask.index(1)
        examples.append(
            {
                "prompt_ids": list(chosen.tokens[:start]),
                "chosen_ids": list(chosen.tokens[start:]),
                "rejected_ids": list(rejected.tokens[start:]),
            }
        )
    batch = DataCollatorForPreference(chains.tokenizer().pad_token_id)(examples)
    theirs = trainer._compute_loss(trainer.model, batch, return_outputs=False)

    plain = [TrainSequence(tokens=s.tokens, mask=s.mask, group=s.group, place=s.place) for s in in_groups(found)]

    def logprobs(model: Any, sequence: TrainSequence) -> Tensor:
        tokens_T = torch.tensor(sequence.tokens)
        all_TV = model(input_ids=tokens_T[None]).logits[0, :-1].float().log_softmax(-1)
        chosen_T = all_TV.gather(1, tokens_T[1:, None])[:, 0]
        return chosen_T[torch.tensor(sequence.mask[1:], dtype=torch.bool)]

    with torch.no_grad():
        reference_N = torch.cat([logprobs(reference, sequence) for sequence in plain])
    sequences = with_columns(plain, {"reference_logprobs": reference_N})
    ours = our_loss(PreferenceLoss(beta=0.3), sequences, [logprobs(policy, s) for s in sequences])
    gaps = differences(ours, policy, theirs, trainer.model)
    print(f"\nDPO: loss {gaps[0]:.1e}, gradient {gaps[1]:.1e}")
    assert max(gaps) < LIMIT
