r"""Parts a unit from a number: `42 apples`, `5\mathrm{~m/s^2}`, `60 mi/hr`. Takes normalised text, converts nothing.

A unit may be missing on one side and an unknown word ("apples") is no evidence; two different known units are.
"""

import re

_NAMES = {
    "cm": "cm", "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m", "km": "km", "kilometer": "km",
    "kilometre": "km", "mm": "mm", "millimeter": "mm", "millimetre": "mm", "in": "inch", "inch": "inch",
    "inche": "inch", "ft": "foot", "foot": "foot", "feet": "foot", "yd": "yard", "yard": "yard", "mi": "mile",
    "mile": "mile", "kg": "kg", "kilogram": "kg", "gram": "g", "mg": "mg", "milligram": "mg", "lb": "pound",
    "pound": "pound", "oz": "ounce", "ounce": "ounce", "sec": "second", "second": "second", "ms": "ms",
    "millisecond": "ms", "min": "minute", "minute": "minute", "hr": "hour", "hour": "hour", "day": "day",
    "week": "week", "month": "month", "year": "year", "dollar": "dollar", "cent": "cent", "degree": "degree",
    "radian": "radian", "rad": "radian", "am": "am", "pm": "pm", "liter": "liter", "litre": "liter", "ml": "ml",
    "gallon": "gallon", "gal": "gallon", "newton": "newton", "joule": "joule", "kj": "kj", "kilojoule": "kj",
    "calorie": "calorie", "cal": "calorie", "kcal": "kcal", "volt": "volt", "tesla": "tesla", "watt": "watt",
    "kw": "kw", "kilowatt": "kw", "ampere": "ampere", "amp": "ampere", "kelvin": "kelvin", "ohm": "ohm",
    "coulomb": "coulomb", "farad": "farad", "henry": "henry", "henrie": "henry", "pascal": "pascal", "kpa": "kpa",
    "atm": "atm", "bar": "bar", "hertz": "hertz", "khz": "khz", "ev": "ev", "mol": "mole", "mole": "mole",
    "weber": "weber", "unit": "unit", "kohm": "kohm", "mohm": "megohm", "microm": "micrometre",
    "micrometer": "micrometre", "micrometre": "micrometre", "micros": "microsecond", "microsecond": "microsecond",
    "microg": "microgram", "microgram": "microgram", "microf": "microfarad", "microc": "microcoulomb",
}  # fmt: skip
_SYMBOLS = {
    "m": "m", "g": "g", "s": "second", "h": "hour", "l": "liter", "L": "liter", "d": "day", "N": "newton", "J": "joule",
    "V": "volt", "T": "tesla", "W": "watt", "A": "ampere", "K": "kelvin", "C": "coulomb", "F": "farad", "H": "henry",
    "Pa": "pascal", "Hz": "hertz", "Wb": "weber",
}  # fmt: skip
"""Case counts, and where they stand bare after a number the capitals may be variables."""
_COMPOUNDS = {"mph": "mi/hr", "kmh": "km/hr", "kph": "km/hr", "kmph": "km/hr", "mps": "m/s"}
_KNOWN = frozenset(_NAMES.values()) | frozenset(_SYMBOLS.values())
# A word after a number that changes the value or makes it a statement; such a text is left alone.
_NOT_UNIT = re.compile(
    r"(?:hundred|thousand|million|billion|trillion|dozen|quarter|third|fourth|fifth|time)s?|half|halves|double|triple|"
    r"pi|x?or|and|not|more|less|than|about|least|most|if|mod|modulo|plus|minus|squared|cubed|factorial|to|percent|pct|"
    r"base|choose|over|is|sqrt|sin|cos|tan|ln|log|exp|infinity|approximately|around|between|even|odd|when|where|for|"
    r"with|only|maybe|either|nor|but|no|yes|true|false|nan|none|undefined"
)
_POWER = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))"
_IN_COMMAND = rf"\\(?:text|textrm|mathrm|operatorname)\s*\{{(?:[a-zA-Z ./*()-]|\\cdot|{_POWER})*\}}{_POWER}?"
_UNIT_TAIL = re.compile(
    rf"(?P<command>(?:(?:{_IN_COMMAND}|\\frac\s*\{{\s*{_IN_COMMAND}\s*\}}\s*\{{\s*{_IN_COMMAND}\s*\}})\s*(?:/|\\cdot)?\s*)+"
    rf"|(?<=[\s\d)}}])(?P<bare>(?<=\s)[a-zA-Z. ]+(?:/ ?[a-zA-Z]+)?|(?<=\d)(?:cm|mm|km|m|kg|g|km/hr?|m/s))){_POWER}?$"
)
_ATOM = re.compile(r"(?P<divides>/|\bper\b|\}\s*\{)|(?P<word>[a-zA-Z]+)(?:[\s}]*\^\s*\{?\s*(?P<power>-?\d))?")
_COMMAND_NAME = re.compile(r"\\(?:text|textrm|mathrm|operatorname|frac|cdot)(?![a-zA-Z])")
_MAX_WORDS = 4


def split_unit(text: str, *, bare_capitals: bool = False) -> tuple[str, str]:
    r"""`"42 apples"` -> `("42", "apple")`, `"60 mi/hr"` -> `("60", "hour^-1 mile")`; `""` if there is no unit.

    bare_capitals: the V of `12 V` is a unit too; else it may be a variable.
    """
    match = _UNIT_TAIL.search(text)
    if match is None:
        return text, ""
    number, bare = text[: match.start()].strip(), match["bare"] is not None
    without_commands = re.sub(r"\\[a-zA-Z]+", "", number)
    if not number or number[-1] in "=+-*/^_<>,(" or not (any(map(str.isdigit, number)) or match["command"]):
        return text, ""
    if bare and (any(map(str.isalpha, without_commands)) or "\\int" in number):
        return text, ""  # the words may go on with a product of variables
    atoms = _atoms(match.group())
    words = [word for word, _ in atoms]
    if len(words) > _MAX_WORDS or not all(_may_be_unit(word, bare and not bare_capitals) for word in words):
        return text, ""
    return number, " ".join(sorted(_canonical(word) + (f"^{power}" if power != 1 else "") for word, power in atoms))


def _atoms(text: str) -> list[tuple[str, int]]:
    """Words with their powers; those after a stroke have negative ones."""
    for word, meaning in _COMPOUNDS.items():
        text = re.sub(rf"\b{word}\b", meaning, text)
    atoms, sign = [], 1
    for atom in _ATOM.finditer(_COMMAND_NAME.sub("", text).replace(".", "")):
        if atom["divides"]:
            sign = -1
        else:
            atoms.append((atom["word"], sign * int(atom["power"] or 1)))
    return atoms


def _may_be_unit(word: str, no_capitals: bool) -> bool:
    if len(word) == 1:
        return word in _SYMBOLS and not (no_capitals and word.isupper())
    return _NOT_UNIT.fullmatch(word.lower()) is None


def _canonical(word: str) -> str:
    small = word.lower()
    return _SYMBOLS.get(word) or _NAMES.get(small) or _NAMES.get(small.removesuffix("s")) or small.removesuffix("s")


def is_unit(word: str) -> bool:
    """True for a unit that is known, in the singular or plural."""
    return _canonical(word) in _KNOWN


def units_disagree(first: str, second: str) -> bool:
    """True only for two different units that are known. A power tells only where units are joined: `cm` and `cm^{2}`
    are often confused where the number is right."""
    sides = [side.split() for side in (first, second)]
    names = [[part.partition("^")[0] for part in side] for side in sides]
    if not all(names) or any(name not in _KNOWN or name == "unit" for side in names for name in side):
        return False
    return names[0] != names[1] if len(names[0]) == len(names[1]) == 1 else sides[0] != sides[1]
