r"""Brings an answer to one plain LaTeX spelling before anything compares it. Pure text, no sympy.

Unicode to LaTeX, thousands separators, units, currency, `\text`, mixed numbers, "or" lists.
Does not change a value: what it cannot rewrite safely it leaves. Units are dropped, never converted.
"""

import re
import unicodedata

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_VULGAR = {c: unicodedata.normalize("NFKC", c).split("\u2044") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
_CHARACTERS = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/", "\u2044": "/",
    "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "π": r"\pi ", "∪": r"\cup ", "∩": r"\cap ",
    "∅": r"\emptyset ", "∈": r"\in ", "±": r"\pm ", "°": "", "º": "", "ℝ": r"\mathbb{R}", "θ": r"\theta ",
    "€": "", "£": "", "¥": "", "₹": "", "\ufeff": "", "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "",
}  # fmt: skip
_REPLACEMENTS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\*\*|\\displaystyle|\\(?:left|right)(?![a-zA-Z])|\\[!]|\\(?:big|Big|bigg|Bigg)[lr]?(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:dollar|euro|pounds)(?![a-zA-Z])|\\?\$", ""),
        (r"\^\s*(?:\{\s*)?\\circ(?:\s*\})?|\\degree(?![a-zA-Z])|\\circ\s*$", ""),
        (r"\\varnothing", r"\\emptyset"),
        (r"\\(?:leq|leqslant)(?![a-zA-Z])", r"\\le"),
        (r"\\(?:geq|geqslant)(?![a-zA-Z])", r"\\ge"),
        (r"(?<=\d)\{,\}(?=\d{3}(?!\d))", ","),
        (r"(?<=\d)\\[,;: ](?=\d{3}(?!\d))", ","),
        (r"(?<=\d)[\u202f\u2009\u00a0](?=\d{3}(?!\d))", ","),
        (r"\\[,;:]|\\(?:quad|qquad)(?![a-zA-Z])|\\ |~", " "),
        (r"[\u00a0\u2000-\u200a\u202f\u205f\s]+", " "),
        (r"\\(?:lor|vee)(?![a-zA-Z])", ","),
        (r"\s*,?\s*\\(?:text|textrm|mathrm)\s*\{\s*(?:,?\s*or|and)\s*\}\s*", ", "),
        (r"(?<=[\d\s)}])\s*,?\s*\b(?:or|and)\b\s+", ", "),
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"√\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])(sin|cos|tan|cot|sec|csc|ln|log|exp|pi|infty)(?![a-zA-Z])", r"\\\1 "),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"(?<![{\\a-zA-Z])\{?\s*(-?\w+)\s*\\over\s+(\w+)\s*\}?", r"\\frac{\1}{\2}"),
        (r"\\(?:textbf|mathbf|boldsymbol|bm|textit|emph|mbox)(?=\s*\{)", r"\\text"),
    )
]
_SPECIALS = re.compile("[" + "".join(_SUPERSCRIPTS) + "]+|[" + "".join(_SUBSCRIPTS) + "]+|[" + "".join(_VULGAR) + "]")


def normalise(text: str) -> str:
    """Example: `normalise("1\\,234 cm²")` -> `"1,234 cm^{2}"`; units go in `split_unit`."""
    text = text.translate(_TRANSLATION)
    text = _SPECIALS.sub(_special, text)
    text = unicodedata.normalize("NFKC", _space_codes(text))
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    text = text.strip()
    while text and text[-1] in ".,;:!" and not (text[-1] == "!" and len(text) > 1 and text[-2] in "0123456789)}n"):
        text = text[:-1].rstrip()
    return _unwrap_text(text)


def _special(match: re.Match[str]) -> str:
    found = match.group()
    if found[0] in _SUPERSCRIPTS:
        return "^{" + "".join(_SUPERSCRIPTS[c] for c in found) + "}"
    if found[0] in _SUBSCRIPTS:
        return "_{" + "".join(_SUBSCRIPTS[c] for c in found) + "}"
    numerator, denominator = _VULGAR[found]
    return rf"\frac{{{numerator}}}{{{denominator}}}"


_TRANSLATION = str.maketrans(_CHARACTERS)


def _space_codes(text: str) -> str:
    # NFKC turns the thin spaces that separate thousands into common ones; keep those apart.
    return re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", ",", text)


_TEXT_ONLY = re.compile(r"\\(?:text|textrm|mathrm|operatorname)\s*\{([^{}]*)\}")


def _unwrap_text(text: str) -> str:
    whole = _TEXT_ONLY.fullmatch(text)
    return whole.group(1).strip() if whole else text


_UNITS = {
    "cm": "cm", "centimeter": "cm", "centimetre": "cm", "m": "m", "meter": "m", "metre": "m", "km": "km",
    "kilometer": "km", "kilometre": "km", "mm": "mm", "millimeter": "mm", "in": "inch", "inch": "inch",
    "inche": "inch", "ft": "foot", "foot": "foot", "feet": "foot", "yd": "yard", "yard": "yard", "mi": "mile",
    "mile": "mile", "kg": "kg", "kilogram": "kg", "g": "g", "gram": "g", "lb": "pound", "pound": "pound",
    "oz": "ounce", "ounce": "ounce", "s": "second", "sec": "second", "second": "second", "min": "minute",
    "minute": "minute", "h": "hour", "hr": "hour", "hour": "hour", "day": "day", "week": "week", "month": "month",
    "year": "year", "dollar": "dollar", "cent": "cent", "degree": "degree", "mph": "mph", "liter": "liter",
    "litre": "liter", "ml": "ml", "l": "liter", "gallon": "gallon", "unit": "unit",
}  # fmt: skip
# A word after a number that changes the value or makes it a statement; such a text is left alone.
_NOT_UNIT = re.compile(
    r"(?:hundred|thousand|million|billion|trillion|dozen|quarter|third|fourth|fifth|time)s?|half|halves|double|triple|"
    r"pi|x?or|and|not|more|less|than|about|least|most|if|mod|modulo|plus|minus|squared|cubed|factorial|to|percent|pct|"
    r"base|choose|over|is|sqrt|sin|cos|tan|ln|log|exp|infinity|approximately|around|between|even|odd|when|where|for|"
    r"with|only"
)
_UNIT_TAIL = re.compile(
    r"^(?P<number>[^a-zA-Z]*?(?:\\frac\{[\d.]+\}\{[\d.]+\})?[\d.)}%]*)\s*"
    r"(?P<unit>(?:\\(?:text|textrm|mathrm|operatorname)\s*\{[a-zA-Z .,/]*\}"
    r"|(?<=\s)[a-zA-Z. ]+|(?<=\d)(?:cm|mm|km|m|kg|g))"
    r"(?:\s*\^\s*\{?[23]\}?)?)$"
)


def split_unit(text: str) -> tuple[str, str]:
    """`"42 apples"` -> `("42", "apples")`; the unit in its table spelling, `""` if there is none."""
    match = _UNIT_TAIL.match(text)
    if match is None or not any(c.isdigit() for c in match["number"]):
        return text, ""
    words = re.findall(r"[a-z]+", re.sub(r"\\[a-z]+", "", match["unit"].lower()))
    if len(words) > 4 or any(_NOT_UNIT.fullmatch(w) or (len(w) == 1 and w not in _UNITS) for w in words):
        return text, ""
    number = match["number"].strip()
    return number, " ".join(_UNITS.get(w) or _UNITS.get(w.removesuffix("s")) or w.removesuffix("s") for w in words)


def units_disagree(first: str, second: str) -> bool:
    """True only for two different units of the table: an unknown word ("apples") is no evidence."""
    known = frozenset(_UNITS.values())
    return first != second and first in known and second in known and "unit" not in (first, second)
