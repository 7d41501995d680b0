"""Each quality rule just on either side of its threshold, and figures that were counted by hand."""

import timeit
from pathlib import Path

import pytest
from pydantic import ValidationError

from rlreason.config.corpus import (
    C4Rule,
    FineWebRule,
    GopherQualityRule,
    GopherRepetitionRule,
    LanguageRule,
    UrlRule,
)
from rlreason.data.corpus import c4, fineweb, gopher, language, url
from rlreason.types import UserError

WORDS = [f"{first}{second}{third}" for first in "bcdfg" for second in "aeiou" for third in ("lt", "nk", "rn", "st")]
"""100 different words of four letters."""


def prose(num_words: int, extra: str = "") -> str:
    """So many words, "the" and "of" among them."""
    return " ".join((["the", "of"] + WORDS * (num_words // len(WORDS) + 1))[:num_words]) + extra


@pytest.mark.parametrize(
    ("good", "bad", "figure"),
    [
        (prose(50), prose(49), "49 words < 50"),
        (prose(50, " ."), prose(49, " ."), "49 words < 50"),  # punctuation is no word here
        ("and the " + "abc " * 98, "and the " + "abc " * 97 + "ab", "2.99 characters in the mean word < 3"),
        (
            "the of" + " abcdefghijk" * 15 + " abcdefghij" * 50,
            "the of" + " abcdefghijk" * 16 + " abcdefghij" * 49,
            "10.01",
        ),
        (prose(90, " #" * 10), prose(90, " #" * 11), "0.1089 hash signs per word > 0.1"),
        (prose(90, " …" * 10 + " end"), prose(90, " …" * 11 + " end"), "0.1078 ellipses per word > 0.1"),
        (
            "- words of the text\n" * 18 + "  words of the text\n" * 2,
            " • words of the text\n" * 20,
            "1 bullet lines > 0.9",
        ),
        (f"{prose(10)}...\n" * 3 + f"{prose(10)}\n" * 7, f"{prose(10)}...\n" * 4 + f"{prose(10)}\n" * 6, "0.4 ell"),
        (prose(80, " 1234" * 20), prose(79, " 1234" * 21), "0.79 alphabetic words < 0.8"),
        (prose(60), prose(60).replace("of", "on"), "1 stop words < 2"),
    ],
)
def test_gopher_quality_on_either_side_of_each_threshold(good: str, bad: str, figure: str) -> None:
    assert gopher.check_quality(good, GopherQualityRule()) is None
    found = gopher.check_quality(bad, GopherQualityRule())
    assert found is not None and found.startswith("gopher_quality: ") and figure in found


def test_gopher_quality_has_a_largest_number_of_words() -> None:
    rule = GopherQualityRule(max_words=60)
    assert gopher.check_quality(prose(60), rule) is None
    assert gopher.check_quality(prose(61), rule) == "gopher_quality: 61 words > 60"


def lines(distinct: int, again: int, size: int = 20) -> str:
    """So many different lines of one length, then the first one again."""
    made = [f"{i:03d}".ljust(size, "abcdefghijklmnopqrstuvw"[i % 20]) for i in range(distinct)]
    return "\n".join(made + made[:1] * again)


ONLY = {"top_ngrams": {}, "duplicate_ngrams": {}}


@pytest.mark.parametrize(
    ("good", "bad", "rule", "figure"),
    [
        (lines(7, 3, 5), lines(13, 6, 5), {"duplicate_line_characters": 1}, "0.3158 duplicate lines > 0.3"),
        (lines(80, 20), lines(78, 22), {}, "characters in duplicate lines > 0.2"),
        (
            lines(7, 3, 5).replace("\n", "\n\n"),
            lines(13, 6, 5).replace("\n", "\n\n"),
            {"duplicate_paragraph_characters": 1, "duplicate_lines": 1, "duplicate_line_characters": 1},
            "0.3158 duplicate paragraphs > 0.3",
        ),
        (
            lines(80, 20).replace("\n", "\n\n"),
            lines(77, 23).replace("\n", "\n\n"),
            {"duplicate_lines": 1, "duplicate_line_characters": 1},
            "characters in duplicate paragraphs > 0.2",
        ),
    ],
)
def test_gopher_repetition_of_lines_and_paragraphs(good: str, bad: str, rule: dict[str, float], figure: str) -> None:
    assert gopher.check_repetition(good, GopherRepetitionRule(**ONLY, **rule)) is None
    found = gopher.check_repetition(bad, GopherRepetitionRule(**ONLY, **rule))
    assert found is not None and found.startswith("gopher_repetition: ") and figure in found


def test_the_most_frequent_ngram_is_measured_with_its_spaces() -> None:
    text = "ab cd ef ab cd"  # 14 characters; "ab cd" twice is 10, "ab cd ef" once 8
    figures = {f.name: f.value for f in gopher.repetition(text, GopherRepetitionRule())}
    assert figures["characters in the most frequent 2-gram"] == 10 / 14
    assert figures["characters in the most frequent 3-gram"] == 8 / 14
    rule = {"duplicate_ngrams": {}, "top_ngrams": {2: 10 / 14}}
    assert gopher.check_repetition(text, GopherRepetitionRule(**rule)) is None
    assert gopher.check_repetition(text, GopherRepetitionRule(**{**rule, "top_ngrams": {2: 0.714}})) is not None


def test_overlapping_duplicate_ngrams_count_each_word_once() -> None:
    text = "aa bb cc aa bb cc aa"  # from the fourth word on 3-grams are repeats: "aa bb cc" is taken, "aa" remains
    rule = GopherRepetitionRule(top_ngrams={}, duplicate_ngrams={3: 6 / 20})
    assert [f.value for f in gopher.repetition(text, rule)][-1] == 6 / 20
    assert gopher.check_repetition(text, rule) is None
    assert gopher.check_repetition(text, GopherRepetitionRule(top_ngrams={}, duplicate_ngrams={3: 0.29})) is not None


SENTENCE = "This is one sentence."


def test_c4_counts_sentences_after_it_has_cut_lines() -> None:
    for lines, verdict in (
        ([SENTENCE] * 5, None),
        ([SENTENCE] * 4, "c4: 4 sentences < 5"),
        ([SENTENCE] * 4 + ["Please enable JavaScript."], "c4: 4 sentences < 5"),
        ([" ".join([SENTENCE] * 5)], None),
    ):
        assert c4.apply("\n".join(lines), C4Rule())[1] == verdict


@pytest.mark.parametrize(
    "line",
    [
        "Please enable JavaScript to go on.",
        "This site uses cookies.",
        "Read our Privacy Policy first.",
        "Two words",
        "A line with " + "x" * 1001,
    ],
)
def test_c4_cuts_the_line_and_keeps_the_page(line: str) -> None:
    page = [SENTENCE] * 5
    assert c4.apply("\n".join([line, *page]), C4Rule()) == ("\n".join(page), None)


def test_c4_keeps_what_is_just_below_its_thresholds() -> None:
    page = "\n".join([*[SENTENCE] * 5, "Now three words", "A line with " + "x" * 1000])
    assert c4.apply(page, C4Rule()) == (page, None)


def test_c4_removes_citation_marks() -> None:
    page = "\n".join([SENTENCE] * 5)
    assert c4.apply(page.replace("one", "one[12][edit][citation needed]"), C4Rule()) == (page, None)


@pytest.mark.parametrize(
    ("line", "key", "reason"),
    [
        ("Lorem Ipsum dolor sit amet.", "drop_lorem_ipsum", "c4: lorem ipsum"),
        ("if (a) { return; } or not", "drop_curly_bracket", "c4: a curly bracket"),
    ],
)
def test_c4_drops_the_page_as_it_was(line: str, key: str, reason: str) -> None:
    page = "\n".join([*[SENTENCE] * 5, "Two words", line])
    assert c4.apply(page, C4Rule()) == (page, reason)
    assert c4.apply(page, C4Rule(**{key: False}))[1] is None


def test_c4_leaves_javascript_lines_where_it_is_told_to() -> None:
    page = "\n".join([*[SENTENCE] * 5, "We write JavaScript and use cookies."])
    assert c4.apply(page, C4Rule(drop_javascript_lines=False)) == (page, None)


def page(*ends: str, words: int = 8) -> str:
    return "\n".join(f"{prose(words)} {i:02d}{end}" for i, end in enumerate(ends))


@pytest.mark.parametrize(
    ("good", "bad", "figure"),
    [
        (page(*["."] * 3, *[" a"] * 22), page(*["."] * 2, *[" a"] * 23), "0.08 punctuated lines < 0.12"),
        (page(*["."] * 5, *['."'] * 0), page(*['."'] * 5), "0 punctuated lines < 0.12"),
        ("A" * 30 + ".\n" + page("."), "A" * 29 + ".\n" + "B" * 29 + ".\n" + "C" * 29 + ".", "1 short lines > 0.67"),
        (page(*["."] * 101), page(*["."] * 60) + "\n" + page("."), "characters in duplicate lines > 0.01"),
        (page(*["."] * 10), page(*["."] * 10).replace("\n", "\n\n\n\n"), "newlines per word > 0.3"),
    ],
)
def test_fineweb_on_either_side_of_each_threshold(good: str, bad: str, figure: str) -> None:
    assert fineweb.check(good, FineWebRule()) is None
    found = fineweb.check(bad, FineWebRule())
    assert found is not None and found.startswith("fineweb: ") and figure in found


def test_fineweb_takes_values_on_the_bound() -> None:
    text = "\n".join(["x" * 30, "y" * 31 + ".", "y" * 31 + "."])
    assert [f.value for f in fineweb.figures(text, FineWebRule())] == [2 / 3, 1 / 3, 32 / 94, 2 / 5]
    bounds = {"max_duplicate_line_characters": 32 / 94, "max_newlines_per_word": 2 / 5}
    assert fineweb.check(text, FineWebRule(**bounds)) is None
    assert fineweb.check(text, FineWebRule(**{**bounds, "max_newlines_per_word": 0.39})) is not None


@pytest.mark.parametrize("text", ["\n \n", "…", "#", "{", "\n"])
def test_no_rule_fails_on_text_without_words(text: str) -> None:
    for verdict in (
        gopher.check_quality(text, GopherQualityRule()),
        c4.apply(text, C4Rule())[1],
        fineweb.check(text, FineWebRule()),
    ):
        assert verdict is not None
    gopher.check_repetition(text, GopherRepetitionRule())


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("https://bad.org/x", "url: domain bad.org"),
        ("http://www.BAD.org.:80/x", "url: domain bad.org"),
        ("bad.org/x", "url: domain bad.org"),
        ("https://user@bad.org", "url: domain bad.org"),
        ("https://notbad.org/x", None),
        ("https://bad.org.example.com/", None),
        ("a.b.bad.org/go?u=http://other.org", "url: domain bad.org"),
        ("good.com/go?u=http://bad.org", None),
        ("//bad.org/x", "url: domain bad.org"),
        ("/bad.org/x", None),
        ("bad.org:80", "url: domain bad.org"),
        ("https://good.com/bad.org", None),
        ("https://good.com/win-Casino/1", "url: word casino"),
        ("https://casino.com/", "url: word casino"),
        ("https://good.com/casinos", None),
        ("", None),
        ("http://[broken", None),
    ],
)
def test_blocked_addresses(address: str, verdict: str | None) -> None:
    assert url.check(address, UrlRule(blocked_domains=["Bad.org"], blocked_words=["casino"])) == verdict


def test_a_long_list_of_domains_is_not_gone_through_for_each_page() -> None:
    rule = UrlRule(blocked_domains=[f"bad{number}.org" for number in range(100_000)])
    assert url.check("http://x.bad99999.org/", rule) == "url: domain bad99999.org"
    took_s = min(timeit.repeat(lambda: url.check("http://good.org/", rule), number=20, repeat=5))
    assert took_s < 20 * 250e-6, "800 us a page if the list is hashed"
    assert UrlRule.model_validate(rule.model_dump(mode="json")) == rule


def test_blocked_domains_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "domains.txt"
    path.write_text("# a list\nBad.org  # spam\n\n.worse.com.\n")
    rule = UrlRule(blocked_domains=str(path))
    assert url.check("http://x.worse.com/", rule) == "url: domain worse.com"
    assert url.check("http://bad.org/", rule) and url.check("http://good.org/", rule) is None
    other = tmp_path / "other.txt"
    other.write_text("https://bad.org/\n")
    with pytest.raises(UserError, match=r"other.txt: `https://bad.org/` is no domain; write it as example.org"):
        url.check("http://good.org/", UrlRule(blocked_domains=str(other)))
    with pytest.raises(UserError, match="gone.txt: No such file"):
        url.check("http://good.org/", UrlRule(blocked_domains=str(tmp_path / "gone.txt")))


@pytest.mark.parametrize("entry", [" ", ".", "https://a.org", "a.org/x", "*.a.org", "a.org:80", "a b"])
def test_what_is_no_domain_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError, match="is no domain"):
        UrlRule(blocked_domains=[entry])


@pytest.mark.parametrize("word", [" ", "two words", "web-cam", "käse"])
def test_a_word_that_no_address_has_is_refused(word: str) -> None:
    with pytest.raises(ValidationError, match="can match no word"):
        UrlRule(blocked_words=[word])


def test_ngrams_of_no_words_are_refused() -> None:
    for key in ("top_ngrams", "duplicate_ngrams"):
        with pytest.raises(ValidationError, match="greater than or equal to 1"):
            GopherRepetitionRule.model_validate({key: {0: 0.1}})


def test_language_of_whole_documents() -> None:
    english = "The old man walked slowly down to the river, where his small boat was waiting for him.\n" * 3
    german = "Der alte Mann ging langsam zum Fluss hinunter, wo sein kleines Boot auf ihn wartete.\n"
    assert language.identify(english)[0] == "en" and language.identify(german)[0] == "de"
    # The first 80 characters alone would say German.
    assert language.identify(german + english * 5)[0] == "en"
    assert language.identify("")[0] in ("", "en")


def test_a_language_is_kept_from_its_score_on() -> None:
    rule = LanguageRule(keep=["en", "de"])
    assert language.check("en", 0.65, rule) is None
    assert language.check("de", 0.9, rule) is None
    assert language.check("en", 0.64, rule) == "language: en 0.64 < 0.65"
    assert language.check("fr", 0.99, rule) == "language: fr"
    assert language.check("", 0.0, rule) == "language: none"
