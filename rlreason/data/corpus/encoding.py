"""Bytes of a page to text. Never raises: what no encoding explains becomes U+FFFD, NUL characters go.

Order: byte-order mark; UTF-8 where the bytes are valid UTF-8, since real text in another encoding hardly ever is; what
the server says; what the page says; detection. A charset that the bytes contradict is passed over.
"""

import codecs

BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16: its mark begins with UTF-16's
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
MAX_BAD_SHARE = 0.1
"""Of the characters beyond ASCII: a page with a few torn ones is still UTF-8."""


def decode(data: bytes, charset: str | None = None, *, is_html: bool = False) -> str:
    """Text without lone surrogates. `charset` is the one that the HTTP header names."""
    return sound(_decoded(data, charset, is_html))


def sound(text: str) -> str:
    """The same text in a form that can be stored: no NUL, no lone surrogate, lines that end in a newline alone."""
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode("utf-8")


def _decoded(data: bytes, charset: str | None, is_html: bool) -> str:
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    for bom, encoding in BOMS.items():
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace")
    declared = map_encoding_to_html5(charset, fallback_utf8=False) if charset else None
    seven_bit = declared is not None and declared.startswith(("iso2022", "utf-16"))
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)  # a character torn off at the end goes
    if not seven_bit and b"\0" not in data[:64] and text.isascii() == data.isascii() and _is_utf8(text):
        return text
    guesses = [declared, detect_encoding(data, from_html_meta=True) if is_html else None, detect_encoding(data)]
    for encoding in dict.fromkeys(guess for guess in guesses if guess):
        try:
            return data.decode(encoding)
        except (UnicodeError, LookupError):
            continue
    return text if declared == "utf-8" else data.decode("cp1252", "replace")


def _is_utf8(text: str) -> bool:
    """Of bytes decoded as UTF-8 with replacement: hardly anything had to be replaced."""
    bad = text.count("\N{REPLACEMENT CHARACTER}")
    return bad == 0 or bad <= MAX_BAD_SHARE * sum(character > "\x7f" for character in text)
