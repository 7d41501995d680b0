"""Words as spaCy parts them: the expected lists are spaCy 3.8's."""

import time

import pytest

from rlreason.data.corpus.words import count_sentences, plain_words, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", "Hello , world !"),
        ("(well-known) mother-in-law", "( well - known ) mother - in - law"),
        (
            "don't can’t it's I'm they'll John's cannot gonna",
            "do n't ca n’t it 's I 'm they 'll John 's can not gon na",
        ),
        ("word... ...word word…", "word ... ... word word …"),
        ("$5.00 50% 10km 5pm 3.14 1,000 1990s 1st", "$ 5.00 50 % 10 km 5 pm 3.14 1,000 1990s 1st"),
        ("U.S. e.g., p.m. Mr. Ph.D. etc. end.", "U.S. e.g. , p.m. Mr. Ph.D. etc . end ."),
        ("end.Next hello.world hello,world", "end . Next hello.world hello , world"),
        ("foo—bar a--b 3-4 a/b 3/4 12:30 a:b", "foo — bar a -- b 3 - 4 a / b 3/4 12:30 a : b"),
        ("#tag @me a_b AT&T", "# tag @me a_b AT&T"),
        ("O'Brien rock'n'roll 'tis James'", "O'Brien rock'n'roll ' tis James '"),
        ("see https://example.com/a/b?c=1 or me@example.com.", "see https://example.com/a/b?c=1 or me@example.com ."),
        ("fine :-) (really):", "fine :-) ( really ):"),
        ("", ""),
    ],
)
def test_words_are_parted_as_by_spacy(text: str, expected: str) -> None:
    assert list(words(text)) == expected.split()


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith of the U.S. paid $3.50, e.g. for tea.", 1),
        ("Really?! Yes.", 2),
        ('He said "stop." Then he left.', 2),
        ("and so on... and on", 1),
        ("no full stop", 1),
        ("...", 1),
        ("  ", 0),
    ],
)
def test_sentences_end_at_punctuation_and_not_at_abbreviations(line: str, count: int) -> None:
    assert count_sentences(line) == count


def test_plain_words_are_the_same_whatever_case_punctuation_and_width() -> None:
    assert plain_words("The “CAT”—sat;\non_the ﬁrst ＭＡＴ.") == ("the", "cat", "sat", "on", "the", "first", "mat")


def test_a_long_stretch_without_spaces_takes_linear_time() -> None:
    """A page of one million signs is one stretch; a quadratic search would take hours."""
    assert len(words("a" * 1_000_000)) == 1
    assert len(words("x@" * 200_000)) >= 1


@pytest.mark.parametrize(
    "stretch", ["a" + "." * 500 + "b" + ")" * 490, "www." + "." * 900 + ")" * 90, "a@" * 490 + ")"]
)
def test_signs_at_the_end_of_a_stretch_do_not_cost_its_length_each(stretch: str) -> None:
    """The first of these took a second each."""
    start = time.monotonic()
    for number in range(10):
        assert words(f"{number}{stretch}")
    assert time.monotonic() - start < 2
