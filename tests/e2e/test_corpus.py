"""The corpus stage on one Ray node and on four, over files of every kind, sound and damaged."""

import gzip
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlreason.config.corpus import CorpusConfig
from rlreason.data.corpus import pipeline, units
from rlreason.runlog import RunLog
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.stages import corpus
from rlreason.types import RunError, UserError
from tests.conftest import read_lines

pytestmark = [pytest.mark.engines, pytest.mark.slow]

NOUNS = (
    "river engine garden letter window teacher market winter bridge story doctor island kitchen ticket museum valley "
    "painter harbour village tower forest captain library orchard railway journal theatre hospital mountain cathedral "
    "farmer blanket lantern pencil mirror carpet bottle ladder basket wagon hammer saddle curtain candle kettle pillow "
    "student merchant soldier neighbour lawyer baker tailor printer sailor gardener miller weaver singer dancer writer"
)
VERBS = (
    "crosses repairs describes remembers follows carries paints measures visits opens watches answers builds leaves "
    "borrows cleans draws explains finds guards hides inspects joins keeps likes moves needs offers protects questions"
)
ADJECTIVES = (
    "quiet broken ancient bright narrow famous wooden distant gentle crowded heavy simple foreign golden empty modern "
    "curious patient honest silver purple sleepy careful hungry lonely clever stubborn cheerful rusty dusty frozen mild"
)
WHEN = "before after during without near behind beyond despite against around beside under over through"


def prose(seed: int, num_sentences: int = 20) -> str:
    """English sentences that pass every rule, no two documents alike."""
    draw = random.Random(seed)

    def thing() -> str:
        article = draw.choice(["the", "a", "that", "our", "his", "her", "this", "every"])
        return f"{article} {draw.choice(ADJECTIVES.split())} {draw.choice(NOUNS.split())}"

    def sentence() -> str:
        parts = [thing(), draw.choice(VERBS.split()), thing(), draw.choice(WHEN.split()), thing()]
        if draw.random() < 0.5:
            parts += ["and", draw.choice(VERBS.split()), thing()]
        return " ".join(parts).capitalize() + "."

    sentences = [sentence() for _ in range(num_sentences)]
    return "\n\n".join(" ".join(sentences[start : start + 5]) for start in range(0, num_sentences, 5))


def edited(text: str, seed: int) -> str:
    """With one word in a hundred replaced."""
    draw = random.Random(seed)
    return " ".join("meadow" if draw.random() < 0.01 else word for word in text.split(" "))


def page(text: str) -> str:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in text.split("\n\n"))
    links = "".join(f'<li><a href="/{name}">{name}</a></li>' for name in ("home", "about", "contact"))
    return f"<html><head><title>A page</title></head><body><nav><ul>{links}</ul></nav><main>{body}</main></body></html>"


def warc(pages: dict[str, bytes], content_type: str = "text/html; charset=utf-8") -> bytes:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    file = io.BytesIO()
    writer = WARCWriter(file, gzip=True)
    for url, body in pages.items():
        headers = StatusAndHeaders("200 OK", [("Content-Type", content_type)], protocol="HTTP/1.1")
        dated = {"WARC-Date": "2024-05-06T07:08:09Z"}
        record = writer.create_warc_record(
            url, "response", io.BytesIO(body), http_headers=headers, warc_headers_dict=dated
        )
        writer.write_record(record)
    return file.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 documents, four of them copied and six edited in other files; damaged files beside them.

    In the folder above, a benchmark with two sentences of document 41.
    """
    folder = tmp_path_factory.mktemp("data") / "files"
    folder.mkdir()
    question = " ".join(prose(41).split(". ")[2:4]).upper()
    (folder.parent / "benchmark.jsonl").write_text(json.dumps({"question": question, "answer": "42"}))
    texts = [prose(seed) for seed in range(60)]
    pages = {f"https://example.org/{number}": page(text).encode() for number, text in enumerate(texts[:30])}
    (folder / "a.warc.gz").write_bytes(warc(pages))
    (folder / "b.jsonl").write_text(
        "".join(json.dumps({"text": text, "url": "https://b.org"}) + "\n" for text in texts[30:50])
    )
    for number, text in enumerate(texts[50:60]):
        (folder / f"c{number}.txt").write_text(text)
    copies = [*texts[2:6], *(edited(text, seed) for seed, text in enumerate(texts[27:33]))]
    (folder / "d.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in copies))
    whole = warc({f"https://example.com/{seed}": page(prose(seed)).encode() for seed in range(100, 110)})
    (folder / "e-truncated.warc.gz").write_bytes(whole[: len(whole) * 3 // 4])
    lying = page(prose(200).replace(" and ", " – the café’s – and ")).encode("cp1252")
    (folder / "f-encoding.warc.gz").write_bytes(warc({"https://example.net/": lying}))
    (folder / "g-broken.jsonl").write_bytes(
        b'{"text": "half a li\n\xff\xfe\xfa\n' + json.dumps({"text": prose(201)}).encode()
    )
    (folder / "h-empty.txt").write_bytes(b"")
    (folder / "i-spam.html").write_text(page("Buy now. " * 200))
    (folder / "j.txt.gz").write_bytes(gzip.compress(prose(202).encode())[:-300])
    return folder


def benchmark(files: Path) -> dict[str, Any]:
    return {"data": {"quiz": {"path": str(files.parent / "benchmark.jsonl")}}}


def run(folder: Path, sources: dict[str, Any], **keys: Any) -> dict[str, float]:
    keys = {"stage": "corpus", "extractor": "resiliparse", "rows_per_file": 25, "sources": sources} | keys
    log = RunLog(folder, config_yaml="")
    try:
        return corpus.run(CorpusConfig.model_validate(keys), Job(name="05-corpus", log=log, interrupts=Interrupts()))
    finally:
        log.close()


def rows(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    return [
        row for path in sorted((folder / "final").iterdir()) for row in pyarrow.parquet.read_table(path).to_pylist()
    ]


@pytest.fixture(scope="module")
def one_node(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import ray

    folder = tmp_path_factory.mktemp("one") / "run"
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        run(folder, {"pages": {"path": str(files)}}, decontamination=benchmark(files))
    finally:
        ray.shutdown()
    return folder


@pytest.fixture(scope="module")
def four_nodes(one_node: Path) -> Iterator[None]:
    """After `one_node`: a process knows one Ray at a time."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(3):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        assert sum(node["Alive"] for node in ray.nodes()) == 4
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_every_record_is_told_of_and_the_planted_ones_are_found(one_node: Path) -> None:
    manifest = json.loads((one_node / "manifest.json").read_text())
    counts = manifest["counts"]
    kept = rows(one_node)
    assert manifest["kind"] == "corpus" and manifest["documents"] == len(kept) == counts["kept"]
    assert manifest["characters"] == sum(len(row["text"]) for row in kept)
    assert counts["exact_duplicate"] == 4
    assert counts["near_duplicate"] == 6
    assert counts["decontamination"] == 1 and "pages/b.jsonl#11" not in {row["id"] for row in kept}
    # 59 documents, the whole ones of the truncated file, the wrongly labelled page and the line after the broken ones.
    assert 59 + 6 + 2 <= len(kept) <= 59 + 8 + 2
    assert counts["broken"] == len(read_lines(one_node / "aside.jsonl")) == 5
    assert {row["id"].partition("#")[0] for row in read_lines(one_node / "aside.jsonl")} == {
        "pages/e-truncated.warc.gz",
        "pages/g-broken.jsonl",
        "pages/h-empty.txt",
        "pages/j.txt.gz",
    }
    assert len(manifest["files"]) == 19 and all(file["modified_ns"] for file in manifest["files"])
    assert not (one_node / "work").exists()


def test_a_document_keeps_where_it_comes_from(one_node: Path) -> None:
    found = {row["url"]: row for row in rows(one_node) if row["id"].startswith("pages/a.warc.gz#")}
    row = found["https://example.org/7"]
    assert row["source"] == "pages" and row["date"] == "2024-05-06T07:08:09Z"
    assert row["language"] == "en" and row["language_score"] > 0.65
    assert row["text"].split() == prose(7).split()
    [lied] = [row for row in rows(one_node) if row["url"] == "https://example.net/"]
    assert "– the café’s –" in lied["text"]


def test_documents_are_shuffled_into_files_of_the_wanted_size(one_node: Path) -> None:
    import pyarrow.parquet

    sizes = [pyarrow.parquet.read_metadata(path).num_rows for path in sorted((one_node / "final").iterdir())]
    assert sizes[:-1] == [25, 25] and 0 < sizes[-1] <= 25
    assert (one_node / "final/part-00000.parquet").is_file()
    ids = [row["id"] for row in rows(one_node)]
    assert len(set(ids)) == len(ids)
    assert {id.partition("#")[0] for id in ids[:15]} > {"pages/a.warc.gz", "pages/b.jsonl"}


def test_what_was_dropped_can_be_looked_at(one_node: Path) -> None:
    samples = read_lines(one_node / "samples.jsonl")
    counts = json.loads((one_node / "manifest.json").read_text())["counts"]
    for rule, count in counts.items():
        shown = [row for row in samples if row["split"] == f"dropped/{rule}"]
        assert len(shown) == (0 if rule == "kept" else min(20, count)), rule
        assert all(row["reason"] and row["step"] == 0 for row in shown)
    near = {row["id"]: row["reason"] for row in samples if row["split"] == "dropped/near_duplicate"}
    assert sorted(near) == [f"pages/d.jsonl#{row}" for row in range(4, 10)]
    assert all(
        reason.startswith(("near_duplicate of pages/a.", "near_duplicate of pages/b.")) for reason in near.values()
    )
    [metrics] = read_lines(one_node / "metrics.jsonl")
    assert metrics["corpus/near_duplicate/dropped"] == 6 and metrics["corpus/documents"] == counts["kept"]


def test_four_nodes_and_other_units_give_the_same_files_as_one(
    four_nodes: None,
    one_node: Path,
    files: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(units, "UNIT_BYTES", (1, 1))
    monkeypatch.setattr(pipeline, "BUCKET_KEYS", 100)
    run(tmp_path / "run", {"pages": {"path": str(files)}}, decontamination=benchmark(files))
    for name in ("samples.jsonl", "aside.jsonl", *(f"final/{path.name}" for path in (one_node / "final").iterdir())):
        assert (tmp_path / "run" / name).read_bytes() == (one_node / name).read_bytes(), name
    assert len(list((tmp_path / "run/final").iterdir())) == len(list((one_node / "final").iterdir()))
    for run_dir, number in ((one_node, 1), (tmp_path / "run", 18)):  # the empty file is with another
        assert [row["total"] for row in read_lines(run_dir / "events.jsonl") if row["event"] == "units"] == [number]
    out, err = capfd.readouterr()
    assert err == ""
    assert all(line.startswith("05-corpus") for line in out.splitlines()), out


def test_tagging_keeps_what_can_be_read_with_each_verdict(
    four_nodes: None, one_node: Path, files: Path, tmp_path: Path
) -> None:
    keys = {"tag_only": True, "rows_per_file": 1000, "decontamination": benchmark(files)}
    run(tmp_path / "run", {"pages": {"path": str(files)}}, **keys)
    tagged = rows(tmp_path / "run")
    [copy] = [row for row in tagged if row["id"] == "pages/d.jsonl#0"]
    assert copy["verdict_dedup"].startswith("exact_duplicate of pages/a.warc.gz#")
    [spam] = [row for row in tagged if row["id"] == "pages/i-spam.html#0"]
    assert spam["verdict_gopher_repetition"]
    verdicts = [name for name in tagged[0] if name.startswith("verdict_")]
    clean = {row["id"]: row["text"] for row in tagged if not any(row[name] for name in verdicts)}
    assert clean == {row["id"]: row["text"] for row in rows(one_node)}


def test_a_corpus_of_which_nothing_is_left_names_the_rules(four_nodes: None, files: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no document is left: 0 of 1 records; dropped: gopher_\w+ 1; samples"
    ) as error:
        run(tmp_path / "run", {"spam": {"path": str(files / "i-spam.html")}})
    assert "\n" not in str(error.value)
    assert [row["split"][:15] for row in read_lines(tmp_path / "run/samples.jsonl")] == ["dropped/gopher_"]
    assert not (tmp_path / "run/final").exists()
    run(tmp_path / "tagged", {"spam": {"path": str(files / "i-spam.html")}}, tag_only=True)
    assert [row["id"] for row in rows(tmp_path / "tagged")] == ["spam/i-spam.html#0"]


def test_a_task_that_no_cluster_could_run_is_refused(four_nodes: None, files: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need 99 CPUs \(tasks 1 x 99\), the cluster has 4"):
        run(tmp_path / "run", {"pages": {"path": str(files)}}, cpus=99)


def test_a_worker_that_fails_is_one_line(four_nodes: None, files: Path, tmp_path: Path) -> None:
    config = CorpusConfig.model_validate({"stage": "corpus", "sources": {"pages": {"path": str(files)}}})
    file = units.InputFile(source="pages", path=str(files / "c0.txt"), num_bytes=1000, modified_ns=0)
    [unit] = units.group_files([file], config, "")
    (tmp_path / unit.name).write_text("in the place of the unit's folder")
    says = r"^a worker failed: cannot write .*: Not a directory; it was cleaning one of .*c0\.txt; with --resume .*$"
    with pytest.raises(RunError, match=says):
        list(pipeline.clean_units([unit], config.sources, config, None, tmp_path))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "no/such/*.warc.gz"}, "sources.pages: `no/such/\\*.warc.gz` names no file"),
        ({"generate": "rlreason.tasks.pydoc:write_warc", "args": {"pakages": []}}, "wrong `args`: .*pakages"),
        ({"generate": "rlreason.tasks.pydoc:write"}, "has no function 'write'; did you mean write_warc"),
    ],
)
def test_a_source_without_files_is_one_line(source: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path / "run", {"pages": source})
