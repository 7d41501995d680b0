r"""One spelling for what LaTeX lets people write in several ways: braces around arguments, names of functions, letters
in upright or bold type, primes. Pure text, linear time; part of `normalise`. Changes no value.
"""

import re

_ACCENTS = ("hat", "vec", "tilde", "ddot")
_FUNCTIONS = (
    "arcsinh|arccosh|arctanh|arcsin|arccos|arctan|arccot|arcsec|arccsc|sinh|cosh|tanh|coth|sin|cos|tan|cot|sec|csc|"
    "ln|log|exp|max|min|gcd|lcm|det|lim|deg|arg|sup|inf"
)
_SYNONYMS = {"tg": "tan", "ctg": "cot", "cotg": "cot", "cosec": "csc", "arctg": "arctan", "arcctg": "arccot",
             "sh": "sinh", "ch": "cosh", "th": "tanh", "arsinh": "arcsinh", "arcosh": "arccosh", "artanh": "arctanh",
             "lg": "log", "asin": "arcsin", "acos": "arccos", "atan": "arctan"}  # fmt: skip
_TYPES = r"(?:text|textrm|textup|textit|textsf|mathrm|mathit|mathsf|mathnormal|operatorname\*?)"
_UPRIGHT_FUNCTION = re.compile(rf"(?<!_)(?<!_\{{)\\{_TYPES}\s*\{{\s*({_FUNCTIONS}|{'|'.join(_SYNONYMS)})\s*\}}")
_SYNONYM = re.compile(rf"\\({'|'.join(_SYNONYMS)})(?![a-zA-Z])")
_ACCENT = re.compile(r"\\(?:wide)?(hat|tilde)(?=\s*\{)|\\(bar|dot)\s+([a-zA-Z])(?![a-zA-Z])")
_CHOOSE = re.compile(r"^\s*(\w+)\s*\\choose\s+(\w+)\s*$")
_BOLD_TYPES = r"\\(?:mathbf|boldsymbol|bm|pmb)"
_BOLD = re.compile(rf"(?:{_BOLD_TYPES}|\\textbf)\s*\{{\s*(\\?[a-zA-Z]+)\s*\}}|{_BOLD_TYPES}\s+([a-zA-Z])(?![a-zA-Z])")
_LETTER = re.compile(rf"\\{_TYPES}\s*\{{\s*([a-zA-Z])\s*\}}")
_UNIT_LETTERS = frozenset("mgshdlLNJVTWAKCFHyt")
_ROUNDED = re.compile(
    r"\\(?:text|mathrm|operatorname)\s*\{\s*(floor|ceil|ceiling)\s*\}\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)"
    r"|(?<![\\a-zA-Z])(floor|ceil|ceiling)\(([^()]*(?:\([^()]*\)[^()]*)*)\)"
)
_SIGNS = {"cdots": "ldots", "dots": "ldots", "dotsc": "ldots", "dotsb": "ldots", "Rightarrow": "implies",
          "Longrightarrow": "implies", "Leftrightarrow": "iff", "Longleftrightarrow": "iff", "rightarrow": "to",
          "longrightarrow": "to", "lnot": "neg", "wedge": "land", "divides": "mid", "intercal": "top"}  # fmt: skip
_SIGN = re.compile(rf"\\({'|'.join(_SIGNS)})(?![a-zA-Z])")
_ABOUT = r"\s*(?:\\(?:approx|simeq|thickapprox)(?![a-zA-Z])|≈|≃)\s*"
_ROUNDED_VALUE = re.compile(
    rf"^(?:{_ABOUT}|\s*~\s*(?=[\d.]))|(?P<name>(?<![\w}}\\])[a-zA-Z](?:_\w|_\{{\w+\}})?){_ABOUT}|{_ABOUT}[^,;]*"
)
_PRIMES = re.compile(r"\^\s*(?:\{\s*((?:\\prime\s*|'\s*)+)\}|(\\prime)(?![a-zA-Z])\s*)")


def one_spelling(text: str) -> str:
    r"""Example: `\frac\pi2+\mathrm{e}` gives `\frac{\pi}{2}+e`.

    Of `\sqrt2 \approx 1.41` the exact value stays.
    """
    text = _ROUNDED_VALUE.sub(lambda match: f"{match['name']}=" if match["name"] else "", text)
    if "\\" not in text and "floor" not in text and "ceil" not in text:
        return text
    text = _BOLD.sub(_bold, text)
    text = _ACCENT.sub(lambda match: rf"\{match[1]}" if match[1] else rf"\{match[2]}{{{match[3]}}}", text)
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    text = _UPRIGHT_FUNCTION.sub(lambda match: "\\" + _SYNONYMS.get(match[1], match[1]) + " ", text)
    text = _SYNONYM.sub(lambda match: "\\" + _SYNONYMS[match[1]] + " ", text)
    text = _SIGN.sub(lambda match: "\\" + _SIGNS[match[1]], text)
    text = _ROUNDED.sub(_round, text)
    text = _LETTER.sub(_letter, text)
    text = _PRIMES.sub(lambda match: "'" * (match[0].count("\\prime") + match[0].count("'")), text)
    return _braced(text)


def _bold(match: re.Match[str]) -> str:
    r"""`\mathbf{x}`, `\boldsymbol{\alpha}`. Words stay, and so do the sets of numbers."""
    name = match[1] or match[2]
    return match[0] if (len(name) > 1 and not name.startswith("\\")) or name in "RZQNC" else name


def _round(match: re.Match[str]) -> str:
    side = (match[1] or match[3])[:4] if (match[1] or match[3]).startswith("c") else "floor"
    return rf"\l{side} {match[2] or match[4]}\r{side} "


def _letter(match: re.Match[str]) -> str:
    r"""`\mathrm{e}` is e; after a number it may be a unit, and a lone `\text{B}` a choice."""
    before, after = match.string[: match.start()], match.string[match.end() :].strip()
    if match[1] in _UNIT_LETTERS and any(map(str.isdigit, before)):
        return match[0]
    if not before.strip() and match[1] in "ABCDEFGHIJ" and (not after or after[0] not in "_^*+-=/(<>|"):
        return match[0]
    return match[1]


def plain_letters(text: str) -> str:
    """Without upright type, where no letter can be a unit any more."""
    return _LETTER.sub(r"\1", text)


_TAKES_ARGUMENTS = re.compile(
    rf"\\([dtc]?frac|[dt]?binom|{'|'.join(_ACCENTS)}|sqrt)(?![a-zA-Z])"
    r"|[\^_](?=\s*\\(?:[dtc]?frac|sqrt)(?![a-zA-Z]))"
)
_ARGUMENT = re.compile(r"\s*(?:(\\[a-zA-Z]+)|(\\?.))", re.DOTALL)
_GROUP = re.compile(r"\s*(?:\[[^\[\]]*\]\s*)?\{")
_ROOT = re.compile(r"\s*(\[[^\[\]]*\])?\s*(\d+)?")


def _braced(text: str) -> str:
    r"""Braces around arguments that are a single token or a command: `\frac\pi2`, `\sqrt\frac12`, `x^\frac12`.

    From the right, so that a command which is itself an argument has its own braces already.
    """
    for match in reversed(list(_TAKES_ARGUMENTS.finditer(text))):
        name = match[1] or "^"
        at, num_arguments = match.end(), 2 if name.endswith(("frac", "binom")) else 1
        if name == "sqrt":
            root = _ROOT.match(text, at)
            assert root is not None
            at = root.end(1) if root[1] else at
            if root[2]:  # `\sqrt12` is the root of 12, whatever TeX would print
                text = f"{text[:at]}{{{root[2]}}}{text[root.end() :]}"
                continue
        for _ in range(num_arguments):
            end = _end_of_argument(text, at)
            argument = text[at:end].strip()
            if not argument or argument in "})]&":
                break
            if not argument.startswith("{"):
                text = f"{text[:at]}{{{argument}}}{text[end:]}"
                end = at + len(argument) + 2
            at = end
    return text


def _end_of_argument(text: str, at: int) -> int:
    match = _ARGUMENT.match(text, at)
    if match is None:
        return len(text)
    if match[2] == "{":
        return _end_of_group(text, match.end() - 1)
    end = match.end()
    if match[1] and _TAKES_ARGUMENTS.fullmatch(match[1]):
        while (group := _GROUP.match(text, end)) is not None:
            end = _end_of_group(text, group.end() - 1)
    return end


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def _end_of_group(text: str, opening: int) -> int:
    depth = 0
    for brace in _BRACE.finditer(text, opening):
        depth += (brace.group() == "{") - (brace.group() == "}")
        if depth == 0:
            return brace.end()
    return len(text)
