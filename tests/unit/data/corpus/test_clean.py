"""A record becomes one row: the rules in their order, what drops is named, what is kept is masked."""

import pickle
from functools import partial
from typing import Any

import pytest

from rlreason.config.corpus import CorpusConfig
from rlreason.data.corpus.clean import RULES, VERDICT, active_rules, clean
from rlreason.data.corpus.decontaminate import benchmarks_of
from rlreason.data.corpus.records import Record

PARAGRAPHS = [
    "The river rises in the hills to the north of the town and flows for forty miles before it meets the sea.",
    "In spring, when the snow melts, the water often stands a metre above the fields that lie along its banks.",
    "Farmers have learned to live with that, and they build their barns on the few mounds that stay dry all year.",
    "A narrow railway once carried stone from the quarries, but the last train left the valley in the year 1962.",
    "Today visitors come by bicycle, and most of them stop at the old mill, which somebody has made into a cafe.",
    "Its owner will tell you, with some pride, that the wheel still turns; write to miller@example.net to see it.",
]
TEXT = "\n".join(PARAGRAPHS)
COOKIES = "This site uses cookies to remember you."


def config(**keys: Any) -> CorpusConfig:
    return CorpusConfig(stage="corpus", sources={"web": {"path": "x"}}, **keys)


def record(text: str = TEXT, **keys: Any) -> Record:
    return Record(**{"id": "web/a#0", "source": "web", "url": "https://a.org/b", "payload": text, **keys})


def test_a_good_document_is_kept_and_masked() -> None:
    row = clean(record(), config())
    assert row["dropped_by"] is None and row["reason"] is None
    assert row["text"] == TEXT.replace("miller@example.net", "email@example.com")
    assert (row["id"], row["source"], row["url"], row["date"]) == ("web/a#0", "web", "https://a.org/b", "")
    assert row["language"] == "en" and row["language_score"] > 0.9 and 120 < row["num_words"] < 150
    assert clean(record(), config(mask_pii=False))["text"] == TEXT


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse"])
def test_the_main_text_of_a_page_is_judged(extractor: str) -> None:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in PARAGRAPHS)
    html = f"<html><body><nav><a href=/>Home</a></nav><article><h1>River</h1>{body}</article></body></html>"
    row = clean(record(html, kind="html"), config(extractor=extractor))
    assert row["dropped_by"] is None
    assert PARAGRAPHS[0] in row["text"] and "Home" not in row["text"]


GERMAN = "Der Fluss entspringt in den Hügeln nördlich der Stadt und fließt vierzig Meilen weit bis zum Meer. " * 8


@pytest.mark.parametrize(
    ("rule", "text", "reason"),
    [
        ("language", GERMAN, "language: de"),
        ("gopher_repetition", "\n".join([PARAGRAPHS[0]] * 5 + PARAGRAPHS), "duplicate"),
        ("gopher_quality", "\n".join(PARAGRAPHS[:2]), "42 words < 50"),
        ("c4", TEXT + "\nfunction f() { return 1; }", "c4: a curly bracket"),
        ("fineweb", TEXT.replace(".", ""), "punctuated lines < 0.12"),
        ("decontamination", TEXT, "decontamination: quiz: the last train left the valley in the year"),
    ],
)
def test_each_rule_drops_and_lets_pass_where_it_is_off(rule: str, text: str, reason: str) -> None:
    keys: dict[str, Any] = {
        "decontamination": {"data": {"quiz": {"path": "x"}}, "ngram": 9},
        "fineweb": {"max_short_lines": 0.5},
    }
    keys = {rule: keys[rule]} if rule in keys else {}
    if rule == "fineweb":
        keys["c4"] = None  # it would miss the sentences first
    benchmarks = benchmarks_of({"quiz": [{"question": "So: the last train left the valley in the year 1962?"}]}, 9)
    row = clean(record(text), config(**keys), benchmarks)
    assert row["dropped_by"] == rule and reason in row["reason"] and row["text"] == text.strip()
    assert row["num_words"] == 0 and row["lines_cut"] == 0
    assert clean(record(text), config(**{**keys, rule: None}), benchmarks)["dropped_by"] != rule


def test_the_address_is_judged_before_the_page_is_extracted() -> None:
    row = clean(record("<html>", kind="html"), config(url={"blocked_domains": ["a.org"]}))
    assert (row["dropped_by"], row["reason"], row["text"]) == ("url", "url: domain a.org", "")


def test_a_library_that_fails_on_a_page_drops_it() -> None:
    row = clean(record("<div>" * 4000 + "text", kind="html"), config(extractor="resiliparse"))
    assert row["dropped_by"] == "extraction_failed" and "nested" in row["reason"]


@pytest.mark.parametrize("html", ["", "<html></html>", "<html><body><script>x</script></body></html>"])
def test_a_page_without_text_is_empty(html: str) -> None:
    for extractor in ("trafilatura", "resiliparse"):
        assert clean(record(html, kind="html"), config(extractor=extractor))["dropped_by"] == "empty"
    assert clean(record(" \n"), config())["dropped_by"] == "empty"


def test_what_the_reader_dropped_stays_dropped() -> None:
    row = clean(record("", dropped_by="broken", reason="torn"), config())
    assert (row["dropped_by"], row["reason"], row["text"], row["num_words"]) == ("broken", "torn", "", 0)


def test_tags_select_what_filtering_keeps() -> None:
    """With `tag_only` every row has every verdict; rows without one are, text and all, those that are kept."""
    texts = [TEXT, f"{COOKIES}\n{TEXT}", GERMAN, PARAGRAPHS[0], TEXT + "\nfunction f() { return 1; }", ""]
    filtering, tagging = config(url=None), config(url=None, tag_only=True)
    assert active_rules(filtering) == [rule for rule in RULES if rule not in ("url", "decontamination")]
    for text in texts:
        kept, tagged = (clean(record(text), one) for one in (filtering, tagging))
        verdicts = {key: tagged.pop(key) for key in list(tagged) if key.startswith(VERDICT)}
        assert list(verdicts) == [VERDICT + rule for rule in active_rules(filtering)]
        if kept["dropped_by"] in RULES:
            first = next(key for key, verdict in verdicts.items() if verdict)
            assert first == VERDICT + kept["dropped_by"] and verdicts[first] == kept["reason"]
            assert tagged["dropped_by"] is None and tagged["text"]
        else:
            assert not any(verdicts.values()) and tagged == kept
    both = [key for key, verdict in clean(record(GERMAN), tagging).items() if key.startswith(VERDICT) and verdict]
    assert len(both) > 1, "every rule speaks, not the first alone"


def test_lines_that_c4_cuts_are_gone_from_the_row() -> None:
    row = clean(record(f"{COOKIES}\n\n{TEXT}"), config())
    assert COOKIES not in row["text"] and (row["lines_cut"], row["pii_masked"]) == (1, 1)


def test_a_page_of_which_c4_leaves_no_line_is_dropped() -> None:
    keys = dict.fromkeys(("language", "gopher_repetition", "gopher_quality", "fineweb"), None)
    row = clean(record("Two words\nTwo more"), config(c4={"min_sentences": 0}, **keys))
    assert (row["dropped_by"], row["reason"]) == ("c4", "c4: no line is left")


def test_cleaning_and_its_input_can_be_sent_to_another_process() -> None:
    function = pickle.loads(pickle.dumps(partial(clean, config=config(), benchmarks=benchmarks_of({}, 9))))
    assert function(pickle.loads(pickle.dumps(record()))) == clean(record(), config())
