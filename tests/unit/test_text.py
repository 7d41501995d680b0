"""Foreign text on terminals: the function, and the command line's own two ways out."""

import io
import sys
import unicodedata

import pytest

from rlreason import cli
from rlreason.text import shown
from rlreason.types import UserError

HOSTILE = "a\x1b]0;x\x07b\x00c\u202ed\x9be\r\u200f\x7f\ud800"
SEEN = "a\ufffd]0;x\ufffdb\ufffdc\ufffdd\ufffde\ufffd\ufffd\ufffd\ufffd"
BIDI = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def test_no_character_acts_in_place_of_being_seen() -> None:
    assert shown(HOSTILE) == SEEN
    acting = {chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) in ("Cc", "Cs")}
    acting |= {c for c in map(chr, range(0x3000)) if unicodedata.bidirectional(c) in BIDI or c in "\u061c\u200e\u200f"}
    assert all(shown(c) == "\ufffd" for c in acting - {"\n", "\t"})


def test_all_else_stays() -> None:
    text = "x ≤ ½,\n\t‘日本語’ שלום مرحبا 👩\u200d🔬 \U0010ffff\ufffd\xa0"
    assert shown(text) == text


def test_an_error_that_quotes_data_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise UserError("data `a\x1b]0;x\x07\x00\u202e` is wrong")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as status:
        cli.main()
    assert status.value.code == 2
    assert capsys.readouterr().err == "error: data `a\ufffd]0;x\ufffd\ufffd\ufffd` is wrong\n"


def test_the_sign_is_written_on_a_terminal_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "ascii"))
    monkeypatch.setattr(cli, "app", lambda: print(shown("\x1b½"), flush=True))
    cli.main()
    assert written.getvalue() == b"??\n"
