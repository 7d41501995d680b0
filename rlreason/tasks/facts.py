"""A closed world of invented facts, so that what a model can know and what it cannot is controlled.

Names are built from syllables (`Belano`); each has a colour, a town and a food, all three decided by the name. A hash
of the name puts it on one of three sides. Known names: the pretraining text tells each of their facts many times. Rare
names: the text mentions each about once, too seldom to be learned, like most names in a real corpus; this is what
teaches a model to be unsure of a name that it does not recognise. Unknown names: in no text at all.

A quarter of the known and of the unknown names is held out for evaluation, again by a hash; the others are for the
builder of training conversations. The sets are disjoint whatever the seeds and counts. What a model says of a held-out
known name it read in pretraining, never in a conversation.

Everything is deterministic in its arguments. `entities` is the number of known names: give the same everywhere.
Does not: teach facts about the real world, or judge answers (rewards/knows.py does).
"""

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from rlreason.types import UserError

Side = Literal["known", "rare", "unknown"]

ENTITIES = 64
SYLLABLES = [consonant + vowel for consonant in "bdklmnrt" for vowel in "aeiou"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """`{n}` stands for the name, `{v}` for the value. The answer to a question is the value alone: a model says at its
    first word whether it knows."""

    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]


RELATIONS = {
    "colour": Relation(
        values=("red", "blue", "green", "black", "white", "brown", "grey", "pink", "yellow", "golden"),
        statements=("{n} is {v}.", "The colour of {n} is {v}.", "Everyone can see that {n} is {v}."),
        questions=("What colour is {n}?", "What is the colour of {n}?"),
    ),
    "town": Relation(
        values=("Rome", "Paris", "London", "Berlin", "Madrid", "Oslo", "Cairo", "Delhi", "Tokyo", "Lima"),
        statements=("{n} lives in {v}.", "The home of {n} is {v}.", "You can find {n} in {v}."),
        questions=("Where does {n} live?", "Where is the home of {n}?"),
    ),
    "food": Relation(
        values=("rice", "corn", "fish", "nuts", "bread", "honey", "apples", "beans", "grass", "cheese"),
        statements=("{n} eats {v}.", "{n} likes to eat {v}.", "The food of {n} is {v}."),
        questions=("What does {n} eat?", "What is the food of {n}?"),
    ),
}
QUESTIONS_EACH = sum(len(relation.questions) for relation in RELATIONS.values())
"""Different questions about one name."""


def side(name: str) -> Side:
    """Half of all names are rare. A known one is in the texts if it is among the first `entities`."""
    sides: tuple[Side, ...] = ("known", "unknown", "rare", "rare")
    return sides[_digest(name)[0] % 4]


def is_held_out(name: str) -> bool:
    return _digest(name)[2] % 4 == 0


def value(name: str, relation: str) -> str:
    """The fact: `value("Belano", "colour")`."""
    values = RELATIONS[relation].values
    return values[_digest(f"{name}/{relation}")[0] % len(values)]


def texts(
    *, num: int, seed: int, entities: int = ENTITIES, question_share: float = 0.5, rare_share: float = 0.5
) -> Iterator[dict[str, Any]]:
    """Pretraining rows, `rare_share` of them about rare names, the others about each known name alike. Columns: `text`.

    A row is one to three statements about one name or, for `question_share` of the rows, a question and on the next
    line its answer, the form in which a base model can be asked. UserError for a share outside 0 to 1.
    """
    for key, share in (("question_share", question_share), ("rare_share", rare_share)):
        if not 0 <= share <= 1:
            raise UserError(f"facts: {key} {share} is not between 0 and 1")
    rng = random.Random(f"facts.texts/{seed}")
    known, rare = _endless(_known_names(entities), rng), _endless(_names("rare"), rng)
    for _ in range(num):
        name = next(rare if rng.random() < rare_share else known)
        if rng.random() < question_share:
            row = rng.choice(_rows(name))
            yield {"text": f"{row['prompt']}\n{row['answer']}"}
        else:
            about = rng.sample(list(RELATIONS), rng.randint(1, len(RELATIONS)))
            said = [rng.choice(RELATIONS[kind].statements).format(n=name, v=value(name, kind)) for kind in about]
            yield {"text": " ".join(said)}


def questions(
    *, num: int, seed: int, known: bool | None, held_out: bool, entities: int = ENTITIES
) -> list[dict[str, Any]]:
    """Rows for evaluation (`held_out`) and for the builder, no two alike.

    Columns: `prompt`; `answer`, such as `Red.`; `known`; `entity`; `relation`. `known: null` gives half of each.
    There are as many unknown names as needed: the questions are spread over names, about two for each. UserError where
    there are not `num` questions.
    """
    if num < 1:
        raise UserError(f"facts: num {num} must be at least 1")
    sides = [(True, num // 2), (False, num - num // 2)] if known is None else [(known, num)]
    rng = random.Random(f"facts.questions/{seed}")
    rows = []
    for is_known, count in sides:
        everyone = _known_names(entities) if is_known else _names("unknown")
        found = (name for name in everyone if is_held_out(name) == held_out)
        names = list(itertools.islice(found, None if is_known else -(-count // 2)))
        if count > len(names) * QUESTIONS_EACH:
            raise UserError(
                f"facts: {count} questions asked for, there are {len(names) * QUESTIONS_EACH} "
                f"(known: {is_known}, held_out: {held_out}, entities: {entities}); ask for fewer, or raise entities"
            )
        rows += rng.sample([row for name in names for row in _rows(name)], count)
    rng.shuffle(rows)
    return rows


def _rows(name: str) -> list[dict[str, Any]]:
    """Every question about one name."""
    return [
        {
            "prompt": form.format(n=name),
            "answer": f"{value(name, kind).capitalize()}.",
            "known": side(name) == "known",
            "entity": name,
            "relation": kind,
        }
        for kind, relation in RELATIONS.items()
        for form in relation.questions
    ]


def _known_names(entities: int) -> list[str]:
    known = _names("known")
    if not 2 <= entities <= len(known):
        raise UserError(f"facts: entities {entities} must be 2 to {len(known)}")
    return known[:entities]


def _endless(items: Sequence[Any], rng: random.Random) -> Iterator[Any]:
    """The whole list, shuffled, again and again, so that each comes as often as any other."""
    while True:
        yield from rng.sample(items, len(items))


def _names(wanted: Side) -> list[str]:
    """All names of one side, in an order that never changes and has nothing to do with spelling."""
    return _sides()[wanted]


@lru_cache(maxsize=1)
def _sides() -> dict[Side, list[str]]:
    names = ["".join(parts).capitalize() for parts in itertools.permutations(SYLLABLES, 3)]
    random.Random("facts.names").shuffle(names)
    found: dict[Side, list[str]] = {"known": [], "rare": [], "unknown": []}
    for name in names:
        found[side(name)].append(name)
    return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
