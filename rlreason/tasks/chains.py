"""Chains of arithmetic modulo 10: a task small enough to watch reasoning appear in minutes on two cores.

A problem is `3+4*7-9+2=`: take a digit, apply each operation in turn, keep the last digit. It can be answered at
once (`\\boxed{2}`) or worked step by step (`3+4=7;7*7=9;9-9=0;0+2=2;\\boxed{2}`).

Whether a prompt is held out is a property of its text (a hash), so that training and held-out prompts are
disjoint by construction, whatever the seeds and counts. Everything here is deterministic in its arguments.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator
from typing import Any

from rlreason.types import UserError

ANSWER = r"\boxed{"
VOCABULARY = ["<pad>", "<s>", "</s>", ANSWER, "}", "=", ";", "+", "-", "*", *"0123456789"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message.content }}{% endif %}{% endfor %}"
)
HELD_OUT_SHARE = 10
"""One prompt in so many is held out."""


def is_held_out(prompt: str) -> bool:
    return hashlib.sha256(prompt.encode()).digest()[0] % HELD_OUT_SHARE == 0


def problem(rng: random.Random, num_operations: int) -> tuple[str, str, str]:
    """A random problem. Returns: prompt, worked solution, answer digit."""
    value = rng.randint(0, 9)
    prompt, work = str(value), ""
    for _ in range(num_operations):
        sign, operand = rng.choice("+-*"), rng.randint(1, 9)
        result = {"+": value + operand, "-": value - operand, "*": value * operand}[sign] % 10
        prompt += f"{sign}{operand}"
        work += f"{value}{sign}{operand}={result};"
        value = result
    return prompt + "=", work, str(value)


def problems(*, seed: int, held_out: bool, max_operations: int, mixed: bool) -> Iterator[tuple[str, str, str]]:
    """Endless problems of one side of the split. `mixed`: 70 % of a random length, the others of the full one."""
    rng = random.Random(seed)
    while True:
        short = mixed and rng.random() < 0.7
        found = problem(rng, rng.randint(1, max_operations) if short else max_operations)
        if is_held_out(found[0]) == held_out:
            yield found


def texts(*, num: int, seed: int, max_operations: int = 4) -> Iterator[dict[str, Any]]:
    """Pretraining rows: problems with worked solutions, as plain text. Columns: `text`."""
    source = problems(seed=seed, held_out=False, max_operations=max_operations, mixed=True)
    for prompt, work, answer in itertools.islice(source, num):
        yield {"text": f"{prompt}{work}{ANSWER}{answer}}}"}


def conversations(*, num: int, seed: int, worked_share: float, max_operations: int = 4) -> Iterator[dict[str, Any]]:
    """SFT rows: `worked_share` of the answers are worked, the others direct. Columns: `messages`."""
    source = problems(seed=seed, held_out=False, max_operations=max_operations, mixed=True)
    rng = random.Random(seed + 1)
    for prompt, work, answer in itertools.islice(source, num):
        reply = (work if rng.random() < worked_share else "") + f"{ANSWER}{answer}}}"
        yield {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]}


def tasks(*, num: int, seed: int, held_out: bool = False, max_operations: int = 4) -> list[dict[str, Any]]:
    """RL and evaluation rows, all of full length and no two alike. Columns: `prompt`, `answer`.

    Raises UserError where that many are not found: of 10 * 27**max_operations prompts about a tenth are held out.
    """
    source = problems(seed=seed, held_out=held_out, max_operations=max_operations, mixed=False)
    found: dict[str, str] = {}
    for prompt, _, answer in itertools.islice(source, 20 * num):
        found.setdefault(prompt, answer)
        if len(found) == num:
            break
    else:
        side = "held-out" if held_out else "training"
        raise UserError(
            f"chains: {num} tasks are asked for but only {len(found)} {side} prompts were found; ask for fewer"
        )
    return [{"prompt": prompt, "answer": answer} for prompt, answer in found.items()]


def tokenizer() -> Any:
    """A tokenizer with one token a character (`\\boxed{` is one), as a Hugging Face fast tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCABULARY)}, unk_token="<pad>"))
    pieces = Regex(r"\\boxed\{|[\s\S]")
    core.pre_tokenizer = pre_tokenizers.Split(pieces, behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )
