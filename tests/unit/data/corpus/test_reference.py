"""The same verdicts as the reference implementation, on a table of texts.

VERDICTS is what datatrove 0.10.1 with spaCy 3.8 said of each text under FineWeb's settings: the filters that drop it.
"""

import pytest

from rlreason.config.corpus import C4Rule, FineWebRule, GopherQualityRule, GopherRepetitionRule
from rlreason.data.corpus import c4, fineweb, gopher

STORY = """The ferry left the harbour at 5pm, and we didn't look back. Nobody had told us how long it would take.
"You'll see," said Dr. Moore, who had been to the island (twice, in fact) with her brother's old dog.
There were thirty-two passengers on board: most of them slept, and a few well-dressed men played cards for $3.50.
By midnight the wind had turned; the captain, a quiet man, said that we could not land before 6 a.m. at the earliest.
I remember the lights of the U.S. base, the cold, and that nobody spoke. Have you ever waited for a morning?
When it came, the sea was flat as glass, and we walked up to the house that my grandfather had built with his own hands.
"""
VERSES = "\n".join(
    f"{first} and {second} of the {first}\nsing with me" for first, second in zip("abcdefgh", "ijklmnop", strict=True)
)
MENU = "\n".join(["Home", "About us", "Our products", "Contact", "News and events", "Jobs", "Legal notice"] * 3)
CODE = "\n".join(f"if (value_{i} > {i}) {{ total += {i} * rate; }} // to be of use with that" for i in range(12))
TEXTS = {
    "story": STORY,
    "story without its last words": STORY[:-40],
    "half a story": STORY[: len(STORY) // 3],
    "story twice": STORY * 2,
    "story with cookies": STORY + "We use cookies.\n",
    "story on one line": STORY.replace("\n", " "),
    "story without punctuation": STORY.translate(dict.fromkeys(map(ord, ".?!"), None)),
    "story in capitals": STORY.upper(),
    "story with code": STORY + "void main() { return; }",
    "story with lorem ipsum": STORY + "Lorem ipsum dolor sit amet.",
    "story with one line again": STORY + STORY.splitlines()[0],
    "story with hash signs": STORY + "# " * 12,
    "story with ellipses": STORY.replace(".\n", "...\n"),
    "story as bullets": "\n".join(f"- {line}" for line in STORY.splitlines()),
    "story with numbers": STORY + " ".join(map(str, range(1000, 1040))),
    "story with spaced lines": STORY.replace(". ", ".\n\n\n"),
    "story in short lines": STORY.replace(" and ", "\nand ").replace(", ", ",\n").replace(". ", ".\n"),
    "verses": VERSES,
    "menu": MENU,
    "code": CODE,
    "one word": "Hello",
    "numbers": " ".join(map(str, range(200))),
    "long words": "supercalifragilistic expialidocious the of " * 20,
    "citations": STORY.replace(",", "[1],").replace(".", "[edit]."),
}
VERDICTS = {
    "story": "",
    "story without its last words": "",
    "half a story": "gopher_quality c4",
    "story twice": "gopher_repetition fineweb",
    "story with cookies": "",
    "story on one line": "fineweb",
    "story without punctuation": "fineweb",
    "story in capitals": "gopher_quality",
    "story with code": "gopher_quality c4",
    "story with lorem ipsum": "c4",
    "story with one line again": "fineweb",
    "story with hash signs": "gopher_quality",
    "story with ellipses": "gopher_quality",
    "story as bullets": "gopher_quality",
    "story with numbers": "gopher_quality",
    "story with spaced lines": "",
    "story in short lines": "",
    "verses": "gopher_repetition gopher_quality fineweb",
    "menu": "gopher_repetition gopher_quality c4 fineweb",
    "code": "gopher_repetition gopher_quality c4 fineweb",
    "one word": "gopher_quality c4 fineweb",
    "numbers": "gopher_quality c4 fineweb",
    "long words": "gopher_repetition c4 fineweb",
    "citations": "gopher_quality",
}
RULES = ("gopher_repetition", "gopher_quality", "c4", "fineweb")


def verdicts(text: str) -> dict[str, str | None]:
    found = (
        gopher.check_repetition(text, GopherRepetitionRule()),
        gopher.check_quality(text, GopherQualityRule()),
        c4.apply(text, C4Rule())[1],
        fineweb.check(text, FineWebRule()),
    )
    return dict(zip(RULES, found, strict=True))


@pytest.mark.parametrize("name", TEXTS)
def test_verdicts_are_those_of_the_reference(name: str) -> None:
    dropping = [rule for rule, verdict in verdicts(TEXTS[name]).items() if verdict]
    assert " ".join(dropping) == VERDICTS[name]
