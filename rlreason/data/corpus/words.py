"""Words and sentences, as the quality rules count them, and the plainer words of duplicate and benchmark search.

The thresholds of the quality rules were set on spaCy's English tokens, so `words` parts text as spaCy does: at white
space; then punctuation, quotes, currency signs and units off both ends; then at hyphens, commas, slashes and full stops
between letters; contractions (do + n't, it + 's). Known abbreviations and addresses stay whole. Not all of spaCy's
emoticons and informal spellings are known: about one word in a thousand of real text is parted otherwise.
"""

import re
import string
import unicodedata
from functools import lru_cache

PLAIN = re.compile(r"[^\W_]+")
MAX_STRETCH = 1000
"""A longer stretch without white space is no prose; it is parted at inner signs only, which takes linear time."""
MAX_SUFFIX = 4
"""Characters of the longest sign that is taken off an end, but for a run of full stops."""
MAX_CACHED = 50
"""Characters: a longer stretch hardly comes again."""
PUNCTUATION = frozenset(string.punctuation + "—–“”’„´…«»►━、。，．：；！？（）【】「」《》〈〉～％∶")
TERMINAL_PUNCTUATION = tuple(".!?‼‽⁇⁈⁉。．｡！？﹒﹖﹗؟۔؞։።፧፨।॥။၊។៕᠃᠉܀܁܂")
"""What ends a sentence, in scripts that the web is written in; quotes and ellipses do not."""

_QUOTES = r"'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
_MARKS = r"…,:;!?¿؟¡()\[\]{}<>_#*&。？！，、；：～·।،۔؛٪"
_CURRENCY = r"$£€¥฿₽₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_ICONS = r"¦©®°҂←-⇿⌀-⏿─-◿☀-➿⬀-⯿\U0001f000-\U0001faff"
_PREFIX = re.compile(rf"\.\.+|\+(?![0-9])|[§%=—–{_MARKS}{_QUOTES}{_CURRENCY}{_ICONS}]")
_UNITS = (
    r"km²|km³|km|m²|m³|m|dm²|dm³|dm|cm²|cm³|cm|mm²|mm³|mm|ha|µm|nm|yd|in|ft|kg|mg|µg|g|t|lb|oz|m/s|km/h|mph|hPa|Pa|mbar"
    r"|mb|MB|kb|KB|gb|GB|tb|TB|T|G|M|K|%"
)
_SUFFIX = re.compile(
    rf"(?:\.\.+|['’][sS]|[—–{_MARKS}{_QUOTES}{_ICONS}]|(?<=[0-9])(?:[+{_CURRENCY}]|{_UNITS})"
    rf"|(?<=[^\W_A-Z%²+-])\.|(?<=[%²+{_MARKS}{_QUOTES}-])\.|(?<=[A-Z][A-Z])\.)\Z"
)
_LETTER = r"[^\W\d_]"
_INFIX = re.compile(
    rf"(\.\.+|…|[{_ICONS}]|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[a-zß-ÿ{_QUOTES}])\.(?=[A-ZÀ-Þ{_QUOTES}])"
    rf"|(?<={_LETTER}),(?={_LETTER})|(?<=[^\W_])(?:---?|——?|[-–~])(?={_LETTER})|(?<=[^\W_])[:<>=/](?={_LETTER}))"
)
_CONTRACTION = re.compile(
    r"(?i)((?:1[0-2]|[1-9])(?=[ap]))([ap]\.?m\.?)|((?:ai|are|could|could|dare|did|does|do|had|has|have|is|may|might|must|need|ought|shall|should|was|were|would"
    r"|ca|sha|wo)(?=n['’]t))(n['’]t)(['’]ve)?|(i|you|he|she|it|we|they|what|who|where|how|why|when|that|there|this"
    r"|could|should|would|might|must)(['’](?:ll|ve|re|d|m))(['’]ve)?|(can)(not)|(go[nt])(na|ta)"
)
_ADDRESS = re.compile(rf"(?:https?|ftp)://[^\s/]+\.{_LETTER}{{2,}}(?:[:/]\S*)?|www\.\S+\.{_LETTER}{{2,}}(?:/\S*)?")
_LETTERS = re.compile(rf"{_LETTER}+")
_ABBREVIATIONS = """
Adm. Ak. Ala. Apr. Ariz. Ark. Aug. Bros. Calif. Co. Colo. Conn. Corp. Dec. Del. Dr. Feb. Fla. Ga. Gen. Gov. Ia. Id. Ill.
Inc. Ind. Jan. Jr. Jul. Jun. Kan. Kans. Ky. La. Ltd. Mar. Mass. Md. Messrs. Mich. Minn. Miss. Mo. Mont. Mr. Mrs. Ms. Mt.
Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. Ph.D. Prof. Rep. Rev. Sen. Sep. Sept. St. Tenn. Va. Wash. Wis. co. vs. v.s.
a.m. p.m. e.g. i.e. E.g. I.e. and/or w/o ma'am o'clock 'em 'bout 'cause 'cos 'd 'll 're 's doin' goin' havin' lovin'
"""
_WHOLE = frozenset(_ABBREVIATIONS.split())
_EMOTICONS = frozenset((":)", ":(", ";)", ":-)", ":-(", ";-)", ":D", ":P", ":*", ":/", "):", "(:", "<3", "=)", "''"))


@lru_cache(maxsize=2)  # decontamination and both kinds of duplicates ask for those of the same text
def plain_words(text: str) -> tuple[str, ...]:
    """Runs of letters and digits, lower case, compatibility forms unified: what is left without punctuation.

    A language that is written without spaces gives one word for each stretch between punctuation.
    """
    return tuple(PLAIN.findall(unicodedata.normalize("NFKC", text).lower()))


@lru_cache(maxsize=2)  # several rules ask for the words of the same text
def words(text: str) -> tuple[str, ...]:
    """Words and punctuation marks in their order: "It's 5km (so)." is It, 's, 5, km, (, so, ) and a full stop."""
    return _words(text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for chunk in text.split() for word in _parted(chunk))


def is_punctuation(word: str) -> bool:
    return PUNCTUATION.issuperset(word)


def count_sentences(line: str) -> int:
    """A sentence begins at the line's start and at each word that follows a full stop, `!` or `?`."""
    count, ended = 0, True
    for word in _words(line):
        if word in TERMINAL_PUNCTUATION:
            ended = True
        elif ended and not all(unicodedata.category(character)[0] == "P" for character in word):
            count, ended = count + 1, False
    return max(count, 1) if line.strip() else 0


def _parted(chunk: str) -> tuple[str, ...]:
    """The words of a stretch without white space."""
    return _parted_short(chunk) if len(chunk) <= MAX_CACHED else _parted_anew(chunk)


@lru_cache(maxsize=1 << 16)
def _parted_short(chunk: str) -> tuple[str, ...]:
    return _parted_anew(chunk)


def _parted_anew(chunk: str) -> tuple[str, ...]:
    if len(chunk) > MAX_STRETCH:
        return tuple(part for part in _INFIX.split(chunk) if part)
    before: list[str] = []
    after: list[str] = []
    while chunk and not _is_whole(chunk):
        if found := _PREFIX.match(chunk):
            before.append(found[0])
            chunk = chunk[found.end() :]
        elif chunk.endswith(".."):
            after.append(chunk[len(chunk.rstrip(".")) :])
            chunk = chunk.rstrip(".")
        elif found := _SUFFIX.search(chunk, max(len(chunk) - MAX_SUFFIX, 0)):
            after.append(found[0])
            chunk = chunk[: found.start()]
        else:
            break
    if _is_whole(chunk):
        middle: tuple[str, ...] = (chunk,) if chunk else ()
    elif chunk[1:] == chunk[1:].lower() and (found := _CONTRACTION.fullmatch(chunk)):
        middle = tuple(part for part in found.groups() if part)
    else:
        middle = tuple(part for part in _INFIX.split(chunk) if part)
    return _with_emoticons([*before, *middle, *reversed(after)])


def _with_emoticons(parts: list[str]) -> tuple[str, ...]:
    """Neighbours that are one sign together are one word."""
    for size in (3, 2):
        for i in range(len(parts) - size, -1, -1):
            if (sign := "".join(parts[i : i + size])) in _EMOTICONS:
                parts[i : i + size] = [sign]
    return tuple(parts)


def _is_whole(chunk: str) -> bool:
    if chunk.replace("’", "'") in _WHOLE or (len(chunk) == 2 and chunk[1] == "." and "a" <= chunk[0] <= "z"):
        return True
    if chunk.startswith(("http", "ftp", "www.")) and _ADDRESS.fullmatch(chunk):
        return True
    name, dot, ending = chunk.rpartition(".")
    return "@" in name[1:-1] and bool(dot) and len(ending) > 1 and _LETTERS.fullmatch(ending) is not None
