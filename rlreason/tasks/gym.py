"""Tasks of reasoning-gym, a library of a hundred generated reasoning tasks, each with its own verifier
(Stojanovski et al. 2025, arXiv 2505.24760). `rlreason.rewards.gym:reward` judges them.

Needs the package's extra `gym`. Does not offer `composite` (a task set is one generator; name several sets) nor the
generators in `UNSOUND`. Does not keep a training and an evaluation set apart beyond their seeds: where a generator
knows few questions, as `count_bits` with small numbers, both may hold the same one.
"""

import difflib
import hashlib
import importlib
import json
from typing import Any, Final

from rlreason.types import UserError

UNSOUND: Final = {
    "coin_flip": "its verifier gives full marks for `0`, whatever the probability",
    "complex_arithmetic": "its verifier gives full marks for `nan`",
    "composite": "it is a mixture; name one generator in each set of tasks",
    "game_of_life_halting": "its verifier gives full marks for any answer",
    "intermediate_integration": "its verifier takes the integral itself, unevaluated, for an answer",
    "puzzle24": "its verifier does not look at the given numbers, so one answer solves all",
}
"""What is refused, and why: RL would learn the hole. Found with reasoning-gym 0.1.25."""
INSTALL: Final = "pip install 'reasoning-gym==0.1.25'"


def tasks(*, name: str, num: int, seed: int, args: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """`num` problems of the generator `name`; `args` are keys of its configuration, such as `max_terms`.

    Columns: `prompt`; `answer`, None where the verifier knows no single one; `gym`, what the verifier needs, as three
    texts. The prompt does not say how to mark the final answer: a `template` such as "{prompt} Put the final answer
    between <answer> and </answer>." does. Deterministic in the arguments. Speed is the generator's: `countdown` makes
    83 a second, `knight_swap` 2.
    Raises UserError for a missing package, an unknown or refused name, and arguments that the generator refuses.
    """
    if num < 1:
        raise UserError(f"gym: num: {num}; ask for at least one task")
    given = args or {}
    for key in ("seed", "size"):
        if key in given:
            raise UserError(f"gym: args: `{key}` is set by `{'seed' if key == 'seed' else 'num'}`; take it out")
    problems = _generator(name, given, num=num, seed=seed)
    rows = []
    for index in range(num):
        entry = _plain(problems[index])
        text = {"name": name, "args": json.dumps(given, sort_keys=True), "entry": repr(entry)}
        rows.append({"prompt": entry["question"], "answer": entry["answer"], "gym": text})
    return rows


def _generator(name: str, args: dict[str, Any], *, num: int, seed: int) -> Any:
    try:
        library = importlib.import_module("reasoning_gym.factory")
    except ImportError:
        raise UserError(f"gym: the tasks need the package reasoning-gym; install it with {INSTALL}") from None
    if name in UNSOUND:
        raise UserError(f"gym: `{name}` is not offered: {UNSOUND[name]}")
    if name not in library.DATASETS:
        near = difflib.get_close_matches(name, library.DATASETS, n=3) or sorted(library.DATASETS)[:3]
        raise UserError(f"gym: reasoning-gym has no generator `{name}`; did you mean {', '.join(near)}?")
    # The library makes problem i from seed + i, so that sets with neighbouring seeds would share nearly all of them.
    spread = int.from_bytes(hashlib.sha256(f"{name}/{seed}".encode()).digest()[:4], "big") >> 1
    try:
        return library.create_dataset(name, seed=spread, size=num, **args)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise UserError(f"gym: `{name}` refuses its args: {' '.join(str(error).split())[:300]}") from None


def _plain(value: Any) -> Any:
    """Python's own types only, tuples kept: what `ast.literal_eval` reads back from `repr`."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(map(_plain, value))
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):  # numpy's strings and floats are subclasses of these
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise TypeError(f"gym: a {type(value).__name__} in a problem cannot be written down")
