"""Main text of 181 real pages against what people marked: not below the libraries alone.

Data: article_extraction_gt (scrapinghub/article-extraction-benchmark) under RLREASON_TEST_DATA. Measured as there:
precision and recall of each page's multiset of 4-grams of words, averaged over the pages; F1 of the two averages.
"""

import gzip
import json
import os
import re
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Literal

import pytest

from rlreason.config.corpus import CorpusSource
from rlreason.data.corpus.extract import extract
from rlreason.data.corpus.records import read_records


def shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3)))


def f1(texts: dict[str, str], truth: dict[str, str]) -> float:
    precision, recall = [], []
    for name, expected in truth.items():
        true, found = shingles(expected), shingles(texts[name])
        common = (true & found).total()
        precision.append(common / found.total())
        recall.append(common / true.total())
    return 2 / (1 / mean(precision) + 1 / mean(recall))


def library_alone(html: str, extractor: str) -> str:
    if extractor == "trafilatura":
        import trafilatura

        return trafilatura.extract(html, favor_precision=True) or ""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, main_content=True, alt_texts=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extractor", "floor"), [pytest.param("trafilatura", 0.963, marks=pytest.mark.long), ("resiliparse", 0.916)]
)
def test_extraction_is_no_worse_than_the_library_alone(
    extractor: Literal["trafilatura", "resiliparse"], floor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    if "RLREASON_TEST_DATA" not in os.environ:
        pytest.skip("RLREASON_TEST_DATA is not set: no pages to extract")
    folder = Path(os.environ["RLREASON_TEST_DATA"]) / "article_extraction_gt"
    truth = {name: page["articleBody"] for name, page in json.loads((folder / "ground-truth.json").read_text()).items()}
    ours, alone = {}, {}
    for name in truth:
        path = folder / "html" / f"{name}.html.gz"
        (record,) = read_records(path, CorpusSource(path=str(folder)), "gt")
        ours[name] = extract(record.payload, extractor)
        alone[name] = library_alone(gzip.decompress(path.read_bytes()).decode("utf-8", "replace"), extractor)
    found, reference = f1(ours, truth), f1(alone, truth)
    with capsys.disabled():
        print(f"\n{extractor}: F1 {found:.4f}, the library alone {reference:.4f}, {len(truth)} pages")
    assert found >= reference and found >= floor
