"""Small ordinary conversation: greetings, thanks, plain questions, follow-ups; short sentences of common words.

Also what the builders of conversations share: `conversation` (turns to a row) and `phrasings` (which wordings are
trained on and which are held out). Everything is deterministic in its arguments.
Does not: say who the assistant is (identity.py), refuse (safety.py), or teach facts that matter.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from rlreason.types import Message, UserError

HELD_OUT_SHARE = 5
"""One wording in so many is held out."""

Exchanges = dict[tuple[str, ...], tuple[str, ...]]
"""Wordings of what the user says: what the assistant may answer."""
Answers = dict[tuple[str, ...], str]

GREETINGS: Exchanges = {
    ("Hello.", "Hello!", "Hi.", "Hi there.", "Hey.", "Hello there!"): (
        "Hello! How can I help you?",
        "Hi! What can I do for you?",
        "Hello! What would you like to talk about?",
    ),
    ("Good morning.", "Good morning!"): ("Good morning! How can I help you?",),
    ("Good evening.", "Good evening!"): ("Good evening! What can I do for you?",),
    ("How are you?", "How are you today?", "Hello, how are you?", "How is it going?", "Are you well?"): (
        "I am well, thank you. How are you?",
        "I am fine, thanks. How can I help you?",
    ),
}
FACTS: Answers = {
    ("What day comes after Monday?", "Which day is after Monday?"): "Tuesday comes after Monday.",
    ("What day comes before Sunday?", "Which day is before Sunday?"): "Saturday comes before Sunday.",
    ("How many days are in a week?", "How many days does a week have?"): "A week has seven days.",
    ("How many months are in a year?", "How many months does a year have?"): "A year has twelve months.",
    ("What is the opposite of hot?", "What is not hot?"): "The opposite of hot is cold.",
    ("What is the opposite of big?", "What is not big?"): "The opposite of big is small.",
    ("What is the opposite of day?", "What comes when the day ends?"): "The opposite of day is night.",
    ("Which season comes after winter?", "What comes after winter?"): "Spring comes after winter.",
}
TALK: Answers = {
    (
        "I am tired.",
        "I am so tired today.",
        "I did not sleep well.",
    ): "I am sorry to hear that. Take a rest if you can.",
    ("I am happy today.", "Today is a good day.", "I had a great day."): "That is good to hear! What happened?",
    (
        "I am sad.",
        "I feel sad today.",
        "Today was a bad day.",
    ): "I am sorry. Do you want to talk about it?",
    ("Can you help me?", "I need help.", "Will you help me?"): "Yes. Tell me what you need.",
    ("I have a question.", "May I ask you something?", "Can I ask a question?"): "Of course. What is your question?",
}
ADVICE: Answers = {
    ("What can I do today?", "I am bored.", "What should I do now?"): "You could read a book or go for a walk.",
    ("I am hungry.", "What should I eat?", "What can I cook?"): "You could make some soup, or bread with cheese.",
    ("It is cold today.", "It is so cold outside."): "Then put on a warm coat.",
    ("It is raining.", "It rains all day."): "Then it is a good day to stay in and read.",
    ("How do I make tea?", "Tell me how to make tea."): "Boil water, pour it over the tea, and wait three minutes.",
    ("How do I learn a new word?", "How can I learn new words?"): "Say it aloud, write it down, and use it soon.",
    ("How do I sleep better?", "How can I sleep well?"): "Go to bed at the same time each day and keep the room dark.",
}
AFTER_FACTS: Exchanges = {("Are you sure?", "Is that right?", "Really?"): ("Yes, I am sure.",)}
AFTER_ADVICE: Exchanges = {
    ("That is a good idea.", "Good idea.", "I will try that."): ("I hope that it helps.", "I am glad to help.")
}
AGAIN = ("Can you say that again?", "Say that again, please.")
ENDINGS: Exchanges = {
    ("Thank you.", "Thanks!", "Thank you very much.", "Thanks a lot.", "Thank you for your help."): (
        "You are welcome!",
        "You are welcome. Is there anything else?",
        "I am glad that I could help.",
    ),
    ("Goodbye.", "Bye!", "See you later.", "Good night.", "I have to go now."): (
        "Goodbye! Have a nice day.",
        "Goodbye! See you soon.",
    ),
}
TOPICS: list[tuple[Answers, Exchanges]] = [(FACTS, AFTER_FACTS), (TALK, {}), (ADVICE, AFTER_ADVICE)]


def conversations(*, num: int, seed: int) -> list[dict[str, Any]]:
    """SFT rows of one to six exchanges. Columns: `messages`."""
    rng = random.Random(f"dialogue/{seed}")
    return [conversation(*_turns(rng)) for _ in range(num)]


def texts(*, num: int, seed: int) -> list[dict[str, Any]]:
    """Pretraining rows: the same sentences as plain text, a line a turn. Columns: `text`."""
    return [
        {"text": "\n".join(message["content"] for message in row["messages"])}
        for row in conversations(num=num, seed=seed)
    ]


def conversation(*turns: str) -> dict[str, list[Message]]:
    """A row: the user and the assistant in turn, the user first.

    Example: conversation("Hi.", "Hello!") gives {"messages": [{"role": "user", "content": "Hi."}, ...]}
    """
    assert turns and len(turns) % 2 == 0, f"{len(turns)} turns do not end with the assistant"
    roles = ("user", "assistant") * (len(turns) // 2)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]}


def phrasings(wordings: Sequence[str], *, held_out: bool) -> list[str]:
    """One side of the split: by a hash, a fifth of the wordings is held out, at least one of them on each side.

    UserError for fewer than two wordings, which cannot be split.
    """
    if len(wordings) < 2:
        raise UserError(f"{list(wordings)}: give at least two wordings, so that one of them can be held out")
    ranked = sorted(wordings, key=lambda wording: hashlib.sha256(wording.encode()).digest())
    cut = max(1, len(ranked) // HELD_OUT_SHARE)
    return ranked[:cut] if held_out else ranked[cut:]


def _turns(rng: random.Random) -> list[str]:
    turns: list[str] = []
    if rng.random() < 0.5:
        turns += _exchange(GREETINGS, rng)
    for _ in range(rng.randint(0 if turns else 1, 2)):
        topic, after = rng.choice(TOPICS)
        asked = rng.choice(list(topic))
        turns += [rng.choice(asked), topic[asked]]
        if after and rng.random() < 0.3:
            turns += _exchange(after, rng)
        elif rng.random() < 0.1:
            turns += [rng.choice(AGAIN), turns[-1]]
    if rng.random() < 0.4:
        turns += _exchange(ENDINGS, rng)
    return turns


def _exchange(table: Exchanges, rng: random.Random) -> list[str]:
    asked = rng.choice(list(table))
    return [rng.choice(asked), rng.choice(table[asked])]
