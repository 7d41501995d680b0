r"""Language consistency: the share of a response's words that are written in the script of the wanted language.

After DeepSeek-R1's reward (arXiv 2501.12948, section 2.3.2: the proportion of target-language words). It sees scripts,
not languages: English, French and Vietnamese look alike to it, and Chinese and Japanese share their ideographs.
Ignores LaTeX, code, tags and URLs, so foreign text can hide in them. Does not judge grammar or sense.
"""

import re
import unicodedata
from functools import lru_cache
from itertools import groupby

from rlreason.types import Score, Task, UserError

_LATIN = ("cs", "da", "de", "en", "es", "fi", "fr", "hu", "id", "it", "nl", "no", "pl", "pt", "ro", "sv", "tr", "vi")
_SCRIPTS = {code: ["LATIN"] for code in _LATIN} | {
    "ar": ["ARABIC"], "bg": ["CYRILLIC"], "bn": ["BENGALI"], "el": ["GREEK"], "fa": ["ARABIC"], "he": ["HEBREW"],
    "hi": ["DEVANAGARI"], "ja": ["HIRAGANA", "KATAKANA", "CJK"], "ka": ["GEORGIAN"], "ko": ["HANGUL"],
    "ru": ["CYRILLIC"], "ta": ["TAMIL"], "te": ["TELUGU"], "th": ["THAI"], "uk": ["CYRILLIC"], "ur": ["ARABIC"],
    "zh": ["CJK"],
}  # fmt: skip
_NO_SPACES = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"})
"""Each letter counts as a word: these scripts do not part words."""

_OPENING = re.compile(r"```|`|\$\$?|\\[(\[]|\\[A-Za-z]+|https?://\S+|</?[A-Za-z][\w-]{0,20}>")
_CLOSING = {"```": "```", "`": "`", "$$": "$$", "$": "$", r"\(": r"\)", r"\[": r"\]"}


def consistency(response: str, task: Task, *, language: str = "en") -> Score:
    """Share of words, 0.0 to 1.0, in the script of `language` (a two-letter code). Names of one letter do not count.

    A response without words is `unparseable`. UserError for an unknown code.
    """
    if language not in _SCRIPTS:
        raise UserError(f"language {language!r} is not known; known are {', '.join(sorted(_SCRIPTS))}")
    words: dict[str, int] = {}
    for script, letters in groupby(_prose(response), key=_script):
        if script:
            num_letters = sum(1 for _ in letters)
            num_words = num_letters if script in _NO_SPACES else int(num_letters > 1)
            words[script] = words.get(script, 0) + num_words
    total = sum(words.values())
    if not total:
        return Score(value=0.0, status="unparseable", detail="no words outside of mathematics and code")
    share = sum(words.get(script, 0) for script in _SCRIPTS[language]) / total
    counts = ", ".join(f"{script} {count}" for script, count in sorted(words.items()))
    return Score(value=share, status="ok" if share > 0 else "wrong", detail=f"words: {counts}")


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """First word of the Unicode name ("LATIN", "CJK"), "" for what is no letter."""
    # NFKC: full-width and mathematical letters count as what they stand for.
    character = unicodedata.normalize("NFKC", character)[0]
    # Vowel signs of Indic scripts are marks: they must not cut a word in two.
    if not (character.isalpha() or unicodedata.category(character)[0] == "M"):
        return ""
    name = re.split("[ -]", unicodedata.name(character, ""))[0]
    return "" if name in ("COMBINING", "VARIATION") else name


def _prose(text: str) -> str:
    """Without mathematics, code, tags and URLs. Linear: a closing mark that is missing is looked for once."""
    parts: list[str] = []
    missing: set[str] = set()
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        parts.append(text[position : opening.start()])
        position = opening.end()
        closing = _CLOSING.get(opening.group())
        if closing is None or closing in missing:
            continue
        end = text.find(closing, position)
        if end < 0:
            missing.add(closing)
        elif closing not in ("$", "`") or "\n" not in text[position:end]:  # a price, a stray quote: same line only
            position = end + len(closing)
    parts.append(text[position:])
    return " ".join(parts)
