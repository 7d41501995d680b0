"""Who the assistant is: conversations from a short card, and questions to test it with.

The card is YAML (configs/tiny-cpu/identity.yaml is one): what the model is called, who made it, what it can and cannot
do. Each topic has many wordings; a fifth of them is held out by a hash, so `conversations` and `tasks` never share one.
Everything is deterministic in its arguments and the card.
Does not: write system prompts, or check that the card is true.
"""

import random
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from rlreason.config.base import Strict
from rlreason.config.load import explain, read_mapping
from rlreason.tasks.dialogue import conversation, phrasings
from rlreason.types import UserError

Text = Annotated[str, Field(min_length=1)]


class ExtraQuestion(Strict):
    """A question of the card's author."""

    ask: Annotated[list[Text], Field(min_length=2)]
    """Wordings; one in five, at least one, is held out."""
    answer: Text
    expect: Text
    """What a right answer contains."""


class Card(Strict):
    """An identity card."""

    name: Text
    made_by: Text
    license: Text | None = None
    """Such as `the Apache license`; null: it is not asked about."""
    languages: Annotated[list[Text], Field(min_length=1)] = Field(default_factory=lambda: ["English"])
    can: Annotated[list[Text], Field(min_length=1)]
    """Each continues `I can ...`."""
    cannot: Annotated[list[Text], Field(min_length=1)]
    """Each continues `I cannot ...`."""
    extra: list[ExtraQuestion] = Field(default_factory=list)


class Topic(Strict):
    """One thing that can be asked."""

    ask: tuple[str, ...]
    """`{other}` stands for another assistant."""
    answers: tuple[str, ...]
    expect: tuple[str, ...]
    """Texts of which a right answer contains one."""


OTHERS = ("ChatGPT", "Claude", "Gemini", "Siri", "Alexa", "Llama", "Qwen", "DeepSeek")
FRAMES = ("{q}", "Hi. {q}", "Please answer: {q}")
OPENINGS = ("Hello.", "Hi.", "Hi there.", "Hello!")
GREETING = "Hello! How can I help you?"


def conversations(*, card: str, num: int, seed: int) -> list[dict[str, Any]]:
    """SFT rows: one to three questions, some after a greeting. Columns: `messages`.

    `card` is the path of the card. UserError where it cannot be read, or says something unknown or too little.
    """
    topics = _topics(load_card(card))
    rng = random.Random(f"identity.conversations/{seed}")
    rows = []
    for _ in range(num):
        turns = [rng.choice(OPENINGS), GREETING] if rng.random() < 0.2 else []
        for topic in rng.sample(topics, rng.choice((1, 1, 1, 2, 3))):
            asked = rng.choice(phrasings(topic.ask, held_out=False)).format(other=rng.choice(OTHERS))
            frame = rng.choice(FRAMES) if rng.random() < 0.3 else FRAMES[0]
            turns += [frame.format(q=asked), rng.choice(topic.answers)]
        rows.append(conversation(*turns))
    return rows


def tasks(*, card: str, num: int, seed: int) -> list[dict[str, Any]]:
    """Rows for evaluation in held-out wordings, no two alike. Columns: `prompt`, `answer` (a right answer contains one
    of these, as rewards/knows.py:right checks). UserError where there are fewer than `num`."""
    rows = [
        {"prompt": prompt, "answer": list(topic.expect)}
        for topic in _topics(load_card(card))
        for asked in phrasings(topic.ask, held_out=True)
        for other in (OTHERS[:2] if "{other}" in asked else ("",))
        for prompt in (frame.format(q=asked.format(other=other)) for frame in FRAMES)
    ]
    if not 1 <= num <= len(rows):
        raise UserError(f"identity: {num} tasks are asked for, the card gives 1 to {len(rows)}")
    return random.Random(f"identity.tasks/{seed}").sample(rows, num)


def load_card(path: str) -> Card:
    """UserError, one line, for a file that is missing, no YAML or no valid card."""
    try:
        return Card.model_validate(read_mapping(Path(path)))
    except ValidationError as error:
        raise UserError(f"identity card {path}: {explain(error, Card)[0]}") from None


def _topics(card: Card) -> list[Topic]:
    """What can be asked, with the card's words in the answers. Braces in the card stay as they are."""
    am = f"I am {card.name}, an assistant made by {card.made_by}."
    can, cannot, languages = _listed(card.can), _listed(card.cannot, "or"), _listed(card.languages)
    no = f"No, I am {card.name}"
    topics = [
        Topic(ask=WHO, answers=(am, f"I am {card.name}.", f"My name is {card.name}."), expect=(card.name,)),
        Topic(
            ask=MAKER,
            answers=(f"I was made by {card.made_by}.", f"It was {card.made_by}."),
            expect=(card.made_by,),
        ),
        Topic(
            ask=HUMAN,
            answers=(f"No, I am a computer program. My name is {card.name}.", "No, I am a language model."),
            expect=("program", "language model", "AI", "assistant"),
        ),
        Topic(
            ask=OTHER,
            answers=(f"{no}.", f"{no}, made by {card.made_by}."),
            expect=(card.name,),
        ),
        Topic(ask=CAN, answers=(f"I can {can}.",), expect=tuple(card.can)),
        Topic(ask=CANNOT, answers=(f"I cannot {cannot}.",), expect=tuple(card.cannot)),
        Topic(ask=LANGUAGES, answers=(f"I speak {languages}.",), expect=tuple(card.languages)),
    ]
    if card.license is not None:
        topics.append(Topic(ask=LICENSE, answers=(f"I am free under {card.license}.",), expect=(card.license,)))
    for extra in card.extra:
        ask = tuple(text.replace("{", "{{").replace("}", "}}") for text in extra.ask)
        topics.append(Topic(ask=ask, answers=(extra.answer,), expect=(extra.expect,)))
    asked = Counter(text for topic in topics for text in topic.ask)
    twice = [text for text, count in asked.items() if count > 1]
    if twice:
        raise UserError(f"identity card: `{twice[0]}` is asked twice; take it out of `extra`")
    return topics


def _listed(items: list[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f" {word} ".join([", ".join(items[:-1]), items[-1]] if items[1:] else items)


WHO = (
    "Who are you?", "What are you?", "What is your name?", "Tell me your name.", "What should I call you?",
    "Who am I talking to?", "Can you tell me your name?", "Do you have a name?", "Please tell me who you are.",
    "What are you called?", "Say who you are.", "May I know your name?", "And who are you?", "So, what is your name?",
    "Introduce yourself.", "Tell me about yourself.", "Who is this?", "I do not know your name.",
    "How should I call you?", "Which model are you?",
)  # fmt: skip
MAKER = (
    "Who made you?", "Who built you?", "Who created you?", "Who is your maker?", "Who trained you?",
    "Tell me who made you.", "Where do you come from?", "Who are the people who made you?", "Do you know who made you?",
    "Which people built you?", "By whom were you made?", "Who wrote you?", "Who developed you?",
    "Can you tell me who built you?", "What company made you?",
)  # fmt: skip
HUMAN = (
    "Are you human?", "Are you a human?", "Are you a person?", "Are you a real person?", "Are you alive?",
    "Am I talking to a human?", "Do you have a body?", "Are you a man or a woman?", "Is there a person behind you?",
    "Be honest, are you a person?", "Are you a living being?", "Do you eat and sleep?", "Do you have feelings?",
    "Am I talking to a real person?", "You are human, right?",
)  # fmt: skip
OTHER = (
    "Are you {other}?", "Is your name {other}?", "Hi {other}, is that you?", "You are {other}, right?",
    "Am I talking to {other}?", "Are you the same as {other}?", "I think you are {other}.", "Is this {other}?",
    "So you are {other}?", "Do people call you {other}?",
)  # fmt: skip
CAN = (
    "What can you do?", "What can you help me with?", "What are you good at?", "Tell me what you can do.",
    "How can you help me?", "What do you do?", "What are you for?", "What is it that you can do?",
    "Which things can you do?", "Can you tell me what you can do?", "What could you do for me?",
    "For what can I use you?", "What do you know how to do?",
)  # fmt: skip
CANNOT = (
    "What can you not do?", "Is there anything you cannot do?", "What are your limits?", "Tell me what you cannot do.",
    "What are you bad at?", "Can you do everything?", "Which things can you not do?", "Are you able to do anything?",
    "What is too hard for you?", "What should I not ask you to do?",
)  # fmt: skip
LANGUAGES = (
    "Which languages do you speak?", "What languages do you know?", "What language do you speak?",
    "Which language can I use with you?", "Tell me which languages you speak.", "In which languages can we talk?",
    "In what language do you answer?", "What languages can you write?",
)  # fmt: skip
LICENSE = (
    "What is your license?", "Are you free to use?", "Under which license are you?", "May I use you for free?",
    "Which license do you have?", "Can I use you in my own work?", "Are you open source?", "Tell me your license.",
)  # fmt: skip
