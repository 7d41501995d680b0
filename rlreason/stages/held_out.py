"""Text that is never trained on and what the model makes of it: bits per byte, and continuations for the log.

Whether a document is held out is a property of its text, so that copies of it, in any source, are held out as well and
a resumed or longer run keeps it apart. Bits per byte compare models with different tokenizers; nats per token do not.
"""

import hashlib
import heapq
import math
from array import array
from collections.abc import Iterable
from itertools import chain
from typing import Any

from rlreason.config.data import HeldOutConfig
from rlreason.running.console import say
from rlreason.running.job import Job
from rlreason.types import TrainSequence, UserError
from rlreason.workers.learner_fleet import LearnerFleet


def split(texts: Iterable[str], share: float, limit: int) -> tuple["array[int]", list[str]]:
    """The places of the texts to train on, and at most `limit` of those held out, in the order of their hashes: any
    first part of them is a fair sample. Copies are held out once.
    """
    trained, held_out = array("Q"), dict[int, str]()
    smallest: list[int] = []  # negative hashes of what is in `held_out`, the largest hash first
    for place, text in enumerate(texts):
        digest = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])
        if digest >= share * 2**64:
            trained.append(place)
        elif digest not in held_out:
            held_out[digest] = text
            heapq.heappush(smallest, -digest)
            if len(smallest) > limit:
                del held_out[-heapq.heappop(smallest)]
    return trained, [held_out[digest] for digest in sorted(held_out)]


def encode_held_out(tokenizer: Any, text: str, context_tokens: int) -> tuple[list[TrainSequence], int]:
    """Sequences in which each token of the text is predicted once, and the UTF-8 bytes that those tokens stand for.

    Each sequence begins with the last token of the one before it, the first with the beginning-of-sequence token.
    Where there is none, the first token is context only and its bytes do not count. The end token is not text.
    """
    encoded = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    ids: list[int] = encoded["input_ids"]
    predicted = text
    if tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id, *ids]
    elif ids:
        predicted = text[encoded["offset_mapping"][0][1] :]
    starts = range(0, max(0, len(ids) - 1), context_tokens - 1)
    pieces = [tuple(ids[start : start + context_tokens]) for start in starts]
    num_bytes = len(predicted.encode("utf-8", "surrogatepass"))
    sequences = [
        TrainSequence(tokens=piece, mask=(0,) + (1,) * (len(piece) - 1), origin="held-out text") for piece in pieces
    ]
    return sequences, num_bytes


def bits_per_byte(total_logprob: float, num_bytes: int) -> float:
    """`total_logprob` in nats over all tokens of texts of `num_bytes` UTF-8 bytes."""
    return -total_logprob / math.log(2) / num_bytes


class HeldOut:
    """The held-out documents of each source, encoded, and the prompts to continue."""

    def __init__(
        self, config: HeldOutConfig, documents: dict[str, list[str]], tokenizer: Any, context_tokens: int
    ) -> None:
        """`documents`: by source. Raises UserError where there are none, or a prompt has no room in the context."""
        self.every = config.every
        self._config, self._tokenizer = config, tokenizer
        self._sources: dict[str, tuple[list[TrainSequence], int]] = {}
        for name, texts in documents.items():
            encoded = [encode_held_out(tokenizer, text, context_tokens) for text in texts]
            num_bytes = sum(count for _, count in encoded)
            if num_bytes:
                self._sources[name] = ([sequence for found, _ in encoded for sequence in found], num_bytes)
        if not self._sources:
            raise UserError(f"held_out: no document falls into a share of {config.share:g}; raise held_out.share")
        start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
        self._prompts = [
            (*start, *tokenizer(prompt, add_special_tokens=False)["input_ids"]) for prompt in config.prompts
        ]
        for prompt, tokens in zip(config.prompts, self._prompts, strict=True):
            if not 0 < len(tokens) <= context_tokens - config.continuation_tokens:
                raise UserError(
                    f"held_out.prompts: {prompt!r} has {len(tokens)} tokens; there must be one, and with "
                    f"continuation_tokens, {config.continuation_tokens}, at most context_tokens, {context_tokens}"
                )

    def measure(self, learners: LearnerFleet, job: Job, step: int) -> dict[str, float]:
        """Bits per byte of each source, `eval/<source>/bits_per_byte`; written to the run directory, with the
        continuations.
        """
        figures = {}
        for name, (sequences, num_bytes) in self._sources.items():
            total = math.fsum(chain(*learners.score(sequences)))
            figures[f"eval/{name}/bits_per_byte"] = bits_per_byte(total, num_bytes)
        rows = []
        if self._prompts:
            continued = learners.continue_greedily(self._prompts, self._config.continuation_tokens)
            rows = [self._sample_row(step, number, tokens) for number, tokens in enumerate(continued)]
        job.log.metrics(step, figures)
        job.log.samples(rows)
        job.log.event("held out", step=step, **figures, continuations=[row["prompt"] + row["response"] for row in rows])
        say(f"{job.name} at step {step}: " + ", ".join(f"{key[5:]} {value:.4g}" for key, value in figures.items()))
        return figures

    def _sample_row(self, step: int, number: int, tokens: tuple[int, ...]) -> dict[str, Any]:
        """A row of samples.jsonl; the text ends before the end token."""
        eos = self._tokenizer.eos_token_id
        stopped = eos in tokens
        written = tokens[: tokens.index(eos)] if stopped else tokens
        return {
            "step": step,
            "split": "continuation",
            "task_id": f"continuation:{number}",
            "index": 0,
            "policy_version": step,
            "prompt": self._config.prompts[number],
            "response": self._tokenizer.decode(written),
            "answer": None,
            "reward": None,
            "verdicts": {},
            "num_tokens": len(written) + stopped,
            "finish_reason": "stop" if stopped else "length",
        }
