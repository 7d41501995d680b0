"""A reward model as it scores: a causal language model whose head gives one number at an answer's last token.

Loads what `stage: reward_model` writes, and any decoder for sequence classification with one label. The
score is read at the last real token, never by looking for padding, so a padding token that equals the end token does
no harm. Notation: B = answers of a micro-batch, T = padded tokens.
"""

import json
from pathlib import Path
from typing import Any

import torch

from rlreason.data.batch import plan_micro_batches
from rlreason.data.chat import load_tokenizer
from rlreason.data.preferences import SCORES, Preference, encode_answers, for_score
from rlreason.engines.learner_setup import build_module, describe, num_positions
from rlreason.types import Message, UserError


class RewardModel:
    """Example: RewardModel("runs/x/30-rm/final").score([("2+2=", "4")], batch_tokens=4096)"""

    def __init__(self, path: str, *, dtype: str = "float32", device: str = "cpu") -> None:
        """UserError for what is no reward model: a language model would get a head of random numbers."""
        require_reward_model(path)
        self.tokenizer = load_tokenizer(path)
        self.module = build_module(dtype, path, None, "score").eval().requires_grad_(False).to(device)
        for parameter in self.module.parameters():
            # What is loaded may be the file itself, mapped: one that is written over would crash the process.
            parameter.data = parameter.data.clone()
        self.max_tokens = num_positions(path)
        told = json.loads((Path(path) / SCORES).read_text()) if (Path(path) / SCORES).is_file() else {}
        self.mean = float(told.get("mean", 0.0))
        self._path, self._chat = path, told.get("chat")

    def require_chat(self, chat: bool) -> None:
        """Raises UserError where answers are to be read in another form than the model learned from."""
        if self._chat is not None and self._chat != (chat and self.tokenizer.chat_template is not None):
            form, key = ("in its chat template", "true") if self._chat else ("as plain text", "false")
            raise UserError(f"model `{self._path}` was trained on answers {form}; give its reward `chat: {key}`")

    def score(
        self, answers: list[tuple[str | tuple[Message, ...], str]], *, batch_tokens: int, chat: bool = True
    ) -> list[float | None]:
        """Of (prompt, response) pairs, less the mean of held-out answers. None for one beyond the model's positions."""
        encoded = [self._encode(prompt, response, chat=chat) for prompt, response in answers]
        found: list[float | None] = [None] * len(answers)
        fitting = [at for at, tokens in enumerate(encoded) if self.max_tokens is None or len(tokens) <= self.max_tokens]
        for micro_batch in plan_micro_batches([len(encoded[at]) for at in fitting], 1, batch_tokens)[0]:
            places = [fitting[index] for index in micro_batch]
            for at, value in zip(places, self._forward([encoded[at] for at in places]), strict=True):
                found[at] = value - self.mean
        return found

    def _encode(self, prompt: str | tuple[Message, ...], response: str, *, chat: bool) -> tuple[int, ...]:
        (answer,) = encode_answers(
            self.tokenizer, Preference(prompt=prompt, responses=(response,), places=(1,)), chat=chat
        )
        return tuple(for_score(answer).tokens[:-1])

    @torch.no_grad()
    def _forward(self, rows: list[tuple[int, ...]]) -> list[float]:
        """Rows are padded on the right; attention is causal, so that padding is never seen."""
        if not rows:
            return []
        device: Any = next(self.module.parameters()).device
        last_B = torch.tensor([len(row) - 1 for row in rows], device=device)
        tokens_BT = torch.zeros(len(rows), int(last_B.max()) + 1, dtype=torch.long)
        for number, row in enumerate(rows):
            tokens_BT[number, : len(row)] = torch.tensor(row)
        value_BT = self.module(input_ids=tokens_BT.to(device), use_cache=False).logits.squeeze(-1)
        found: list[float] = value_BT[torch.arange(len(rows), device=device), last_B].float().tolist()
        return found


def require_reward_model(path: str) -> None:
    """Raises UserError for a model without a head of one number."""
    described = describe(path, None)
    names = described.architectures or []
    if described.num_labels != 1 or not any(name.endswith("Classification") for name in names):
        raise UserError(
            f"model `{path}`: {', '.join(names) or 'it'} is no reward model; name one that `stage: reward_model` made, "
            "or one for sequence classification with one label"
        )
