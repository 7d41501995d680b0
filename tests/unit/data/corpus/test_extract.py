"""Extraction of pages that no author would write: a text, an empty text or an ExtractionError, never another error."""

import pytest

from rlreason.data.corpus.extract import ExtractionError, extract

PAGES = {
    "declared encoding": '<?xml version="1.0" encoding="foobar"?><html><body><p>Some words of text.</p></body></html>',
    "deep": "<html><body>" + "<span>" * 2000 + "text" + "</span>" * 2000,
    "unclosed": "<html><body><p>hi<b>there<table><tr><td>x" * 200,
    "control characters": "<html>\x01\x02\x0b<p>abc \x7f</p>",
    "entities": "<p>" + "&#xFFFFFFFF; &#0; &bogus; &#55296;" * 100 + "</p>",
    "open comment": "<!--" * 1000,
    "no markup": "just words and nothing else",
    "brackets": "<" * 1000,
    "names": '<p><a:b:c x:y=1>hi</a:b:c><1a><é></p><o:p xmlns:o="x">hello</o:p>',
    "bytes": bytes(range(256)).decode("latin1") * 10,
}


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize("page", PAGES)
def test_strange_pages_give_text_or_nothing(page: str, extractor: str) -> None:
    assert isinstance(extract(PAGES[page], extractor), str)  # type: ignore[arg-type]


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse"])
def test_a_fragment_is_a_page(extractor: str) -> None:
    text = "The river rises in the hills and flows for forty miles before it meets the sea near the old town."
    assert extract(f"<div><p>{text}</p><p>{text[::-1]}</p></div>", extractor).startswith(text)  # type: ignore[arg-type]


def test_a_library_error_becomes_one_kind_of_error() -> None:
    with pytest.raises(ExtractionError, match=r"resiliparse: \w+Error"):
        extract("<p>a lone surrogate \ud800</p>", "resiliparse")


def test_nesting_that_would_take_minutes_is_refused() -> None:
    with pytest.raises(ExtractionError, match="10001 deep, more than 3000"):
        extract("<div>" * 10_000 + "text", "resiliparse")
    assert extract("<html><body>" + "<p>A flat page of many elements.</p>" * 4000, "resiliparse").count("flat") == 4000
