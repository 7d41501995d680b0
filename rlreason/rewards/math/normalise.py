r"""Brings an answer to one plain LaTeX spelling before anything compares it. Pure text, no sympy.

Unicode to LaTeX, thousands separators, units, currency, `\text`, degrees, "or" lists.
Does not change a value: what it cannot rewrite safely it leaves. Units are dropped, never converted.
"""

import re
import unicodedata

from rlreason.rewards.math.spelling import one_spelling

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ⁺", "0123456789-n+", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n", strict=True))
_VULGAR = {c: unicodedata.normalize("NFKC", c).split("\u2044") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
_CHARACTERS = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∗": "*", "÷": "/",
    "∕": "/", "\u2044": "/", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ",
    "π": r"\pi ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "∈": r"\in ", "±": r"\pm ", "∓": r"\mp ",
    "∖": r"\setminus ", "∨": r"\lor ", "∧": r"\land ", "⟨": r"\langle ", "⟩": r"\rangle ", "′": "'", "…": r"\ldots ",
    "°": r"^\circ ", "º": r"^\circ ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℕ": r"\mathbb{N}",
    "ℂ": r"\mathbb{C}", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "λ": r"\lambda ",
    "μ": r"\mu ", "σ": r"\sigma ", "φ": r"\phi ", "θ": r"\theta ", "ω": r"\omega ", "€": "", "£": "", "¥": "", "₹": "",
    "、": ", ", "٫": ".", "٬": ",", "٪": "%",
    "\ufeff": "", "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "", "\u2061": "", "\u2062": "",
}  # fmt: skip
_END = r"(?![a-zA-Z])"
_SPACE = r"(?:\s|~|\\[,;: ])"
_ONE = r"(?<!\\)"
r"""Before a command of one sign: in `\\ 3` the second backslash ends a row and does not make a space."""
_REPLACEMENTS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=\d)(?:\\!)?,\s?\\!\s?(?=\d{3}(?!\d))", ","),  # the separator of `1,\! 000`
        # What has no meaning here.
        (rf"\*\*(?!\d)|(?<!\d)\*\*|\\(?:displaystyle|limits|nolimits|textstyle){_END}|\\(?:left|right){_END}\.?", ""),
        (rf"{_ONE}\\[()\[\]]", ""),
        (rf"{_ONE}\\!|\\(?:big|Big|bigg|Bigg)[lr]?{_END}|\\(?:dollar|euro|pounds){_END}|\\?\$", ""),
        (r"\\(?:phantom|label|tag|color)\s*\{[^{}]*\}|\\textcolor\s*\{[^{}]*\}|\\\\\s*$", ""),
        (rf"\\(?:underline|ensuremath)(?=\s*\{{)|\\(?:large|Large|LARGE|huge|Huge|small|bf|rm){_END}", ""),
        (r"\\(?:hat|vec|mathbf)\s*\{\s*\\?([ijk])(?:math)?\s*\}", r"\1"),
        (r"(?<=\\\\)\s*\[[\d.]+\s*(?:pt|em|ex|mm|cm)\]", ""),
        # One command of several that mean the same.
        (rf"\\[dtc]frac{_END}", r"\\frac"),
        (rf"\\[dt]binom{_END}", r"\\binom"),
        (rf"\\varnothing{_END}", r"\\emptyset"),
        (rf"\\(?:leq|leqslant|leqq){_END}", r"\\le "),
        (rf"\\(?:geq|geqslant|geqq){_END}", r"\\ge "),
        (rf"\\neq{_END}", r"\\ne "),
        (rf"\\lbrace{_END}", r"\\{"),
        (rf"\\rbrace{_END}", r"\\}"),
        (rf"\\lvert{_END}|\\rvert{_END}|\\vert{_END}", "|"),
        (rf"\\colon{_END}|(?:\\text)?\{{:\}}", ":"),
        (rf"\\backslash{_END}", r"\\setminus "),
        (r"\\Bbb\s*\{?\s*([RZQNC])\s*\}?|\\mathbf\s*\{\s*([RZQN])\s*\}", r"\\mathbb{\1\2}"),
        (r"\\(?:textbf|mathbf|mathit|boldsymbol|bm|textit|textsf|textnormal|emph|mbox|hbox)(?=\s*\{)", r"\\text"),
        (r"\\(?:math|text)(?:rm|it)?\s*\{\s*i\s*\}", "i"),
        (r"\\text\s*\{\s*(\d+)\s*\}(?!\s*\d)", r"\1"),
        (
            r"(?i)^(?:\\text\s*\{\s*)?(?:the set of )?all real(?: number|value)?s?(?: of)?\s*\}?\s*x?\s*\}?\.?$",
            r"\\mathbb{R}",
        ),
        # Degrees: meant in a trigonometric function, elsewhere a unit.
        (rf"\\deg(?:ree)?{_END}", r"^\\circ "),
        (
            r"\\(sin|cos|tan|cot|sec|csc)(?P<open>\s*[({])?\s*(?P<degrees>\d+(?:\.\d+)?)\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)"
            r"(?(open)\s*[)}])",
            r"\\\1(\\frac{\g<degrees>\\pi}{180})",
        ),
        (r"^(-?[\d.]+)\s*\^\s*\{?\s*\\circ\s*\}?$", r"\1\\text{ degree}"),
        (
            r"\^\s*(?:\{\s*)?\\circ(?:\s*\})?(?:\s*(?:\\text\s*\{\s*|\\mathrm\s*\{\s*)?[CF]\s*\}?$)?|\\circ\s*$",
            "",
        ),
        # Units that have Greek letters; next to a number without a space those may be variables.
        (rf"(?<=\d){_SPACE}+\\Omega$", r"\\text{ ohm}"),
        (rf"(?<=\d){_SPACE}*(?:\\(?:text|mathrm)\s*\{{[\s~]*)?([kM])\s*\}}?\s*\\Omega$", r"\\text{ \1ohm}"),
        (rf"(?<=\d){_SPACE}+\\mu\s*([a-zA-Z])$", r"\\text{ micro\1}"),
        (rf"(?<=\d){_SPACE}*\\mu\s*\\(?:text|mathrm)\s*\{{\s*([a-zA-Z])\s*\}}$", r"\\text{ micro\1}"),
        # Thousands, repeating decimals, large numbers in words.
        (r"(?<=\d)\{,\}(?=\d{3}(?!\d))", ","),
        (r"(?<=\d),\s?\\,(?=\d{3}(?!\d))", ","),
        (r"(?<=\d)\\[,;: ](?=\d{3}(?!\d))", ","),
        (r"(?<=\d)[\u202f\u2009\u00a0](?=\d{3}(?!\d))", ","),
        (r"(?<=[\d.])\\(?:bar|dot)\s*(?:\{\s*(\d+)\s*\}|(\d))", r"\\overline{\1\2}"),
        (r"(?<=\.)(\d*)\((\d+)\)$", r"\1\\overline{\2}"),
        (r"(?<=[\d.])\\overline\s*(\d)", r"\\overline{\1}"),
        # Spaces.
        (rf"{_ONE}\\[,;:]|\\(?:quad|qquad|enspace|thinspace){_END}|{_ONE}\\ |~", " "),
        (r"[\u00a0\u2000-\u200a\u202f\u205f\s]+", " "),
        # Plain text and old TeX to LaTeX.
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"√\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (rf"(?<![\\a-zA-Z])(sin|cos|tan|cot|sec|csc|ln|log|exp|pi|infty){_END}", r"\\\1 "),
        (r"\{\s*(\w+)\s*\\choose\s+(\w+)\s*\}", r"\\binom{\1}{\2}"),
        (r"\{\s*([^{}]+?)\s*\\over(?![a-zA-Z])\s*([^{}]+?)\s*\}", r"\\frac{\1}{\2}"),
        (r"(?<![{\\a-zA-Z])(-?\w+)\s*\\over\s+(\w+)", r"\\frac{\1}{\2}"),
        (r"^\\text\s*\{[^{}]*\b(?:is|[Aa]nswer|equals)\b[ :=]*\}\s*(?=\S)", ""),
        (r"^(?i:(?:the )?(?:final |correct )?answer(?: is|:|=))\s*(?=\S)", ""),
    )
]
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE = re.compile(r"(?<=[\d.])\s*(\\text\s*\{\s*)?\b(thousand|million|billion|trillion)\b\s*([^{}]*\})?")
_SPECIALS = re.compile("[" + "".join(_SUPERSCRIPTS) + "]+|[" + "".join(_SUBSCRIPTS) + "]+|[" + "".join(_VULGAR) + "]")
_JOINT = re.compile(
    r"\s*,?\s*(?:\\(?:text|textrm|mathrm)\s*\{\s*,?\s*(?P<word>or|and)\s*\}|\\(?P<sign>lor|vee)(?![a-zA-Z])"
    r"|(?<=[\d\s)}])(?P<plain>or|and)(?=\s|(?<=[\d)}]or)(?:[-\d(\\]|[a-zA-Z]\s*=)))\s*"
)
_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge|lt|gt|ne)(?![a-zA-Z])")


def normalise(text: str) -> str:
    """Example: `normalise("1\\,234 cm²")` -> `"1,234 cm^{2}"`; units go in `units.split_unit`."""
    text = text.translate(_TRANSLATION)
    text = _SPECIALS.sub(_special, text)
    # NFKC turns the thin spaces that separate thousands into common ones; keep those apart.
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", ",", text)
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(?![0-9])\d", lambda match: str(unicodedata.decimal(match[0])), text)  # digits of other scripts
    text = one_spelling(text)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    text = _SCALE.sub(_scale, text).strip()
    text = _joined(text)
    if re.fullmatch(r"-?\d{1,3}(?: \d{3})+", text):
        text = text.replace(" ", ",")
    while text and text[-1] in ".,;:!" and not (text[-1] == "!" and len(text) > 1 and text[-2] in "0123456789)}n"):
        text = text[:-1].rstrip()
    return _unwrap_text(text)


def plain_words(text: str) -> str:
    r"""Without the commands around words: `\text{not even}` -> `not even`."""
    return _TEXT_GROUP.sub(r"\1", text).strip().rstrip(".")


_TRANSLATION = str.maketrans(_CHARACTERS)


def _special(match: re.Match[str]) -> str:
    found = match.group()
    if found[0] in _SUPERSCRIPTS:
        return "^{" + "".join(_SUPERSCRIPTS[c] for c in found) + "}"
    if found[0] in _SUBSCRIPTS:
        return "_{" + "".join(_SUBSCRIPTS[c] for c in found) + "}"
    numerator, denominator = _VULGAR[found]
    return rf"\frac{{{numerator}}}{{{denominator}}}"


def _scale(match: re.Match[str]) -> str:
    """`2.5 million` is a number; what follows in the same `\\text` is its unit."""
    power, rest = rf"\cdot 10^{{{_SCALES[match[2]]}}}", match[3] or ""
    if match[1]:
        return power + (rf"\text{{ {rest}" if rest.strip(" }") else "")
    return f"{power} {rest}"


def _joined(text: str) -> str:
    """ "3 or 5" is a list; between inequalities the word joins two sets."""
    if not _INEQUALITY.search(text):
        return _JOINT.sub(", ", text)
    return _JOINT.sub(lambda m: r" \land " if "and" in (m["word"], m["plain"]) else r" \lor ", text)


_TEXT_GROUP = re.compile(r"\\(?:text|textrm|mathrm|operatorname)\s*\{([^{}]*)\}")


def _unwrap_text(text: str) -> str:
    whole = _TEXT_GROUP.fullmatch(text)
    return whole.group(1).strip() if whole else text
