"""Every record of real WARC files is accounted for, counted independently with warcio; and the speed of it.

Data: warc_aut, warc_dolma, warc_resiliparse and warc_whirlwind under RLREASON_TEST_DATA.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from rlreason.config.corpus import CorpusConfig, CorpusSource
from rlreason.data.corpus.clean import RULES, clean
from rlreason.data.corpus.records import read_records

FOLDERS = {"warc_aut": 299, "warc_dolma": 37, "warc_resiliparse": 16, "warc_whirlwind": 1}
"""Responses in each, as their sources state."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("warc_aut", marks=pytest.mark.long), *list(FOLDERS)[1:]])
def test_kept_and_dropped_and_broken_are_all_records(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from warcio.archiveiterator import ArchiveIterator

    if "RLREASON_TEST_DATA" not in os.environ:
        pytest.skip("RLREASON_TEST_DATA is not set: no WARC files")
    folder = Path(os.environ["RLREASON_TEST_DATA"]) / name
    source = CorpusSource(path=str(folder))
    config = CorpusConfig(stage="corpus", sources={"web": source})
    true: Counter[str] = Counter()
    found: Counter[str] = Counter()
    urls, pages = set(), set()
    for path in sorted(folder.glob("*.gz")):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream):
                true[record.rec_type] += 1
                if record.rec_type in ("response", "resource", "conversion"):
                    urls.add(record.rec_headers["WARC-Target-URI"].strip("<>"))
        for read in read_records(path, source, "web"):
            row = clean(read, config)
            found[row["dropped_by"] or "kept"] += 1
            assert row["dropped_by"] in {None, "not_a_page", "not_text", "broken", "empty", "extraction_failed", *RULES}
            assert (row["dropped_by"] is None) == (row["reason"] is None)
            if row["dropped_by"] != "not_a_page":
                pages.add(row["url"])
    with capsys.disabled():
        print(f"\n{name}: {true.total()} records: {dict(found.most_common())}")
    assert true["response"] == FOLDERS[name]
    assert found.total() == true.total()
    documents = true["response"] + true["conversion"] + true["resource"]
    assert found["not_a_page"] == true.total() - documents and pages == urls
    assert found["broken"] == 0
