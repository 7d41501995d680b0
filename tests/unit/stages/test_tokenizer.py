"""The tokenizer stage on small sources: its artifact, its measures, and what it refuses."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from rlreason.config.corpus import TokenizerConfig
from rlreason.data.chat import encode_conversation, load_tokenizer, template_hash, tokenizer_hash
from rlreason.data.tokenizer import CHAT_TEMPLATE, compression, train
from rlreason.runlog import RunLog, read_rows
from rlreason.running.interrupts import Interrupts
from rlreason.running.job import Job
from rlreason.stages.tokenizer import is_held_out, run
from rlreason.types import UserError

SENTENCE = "the theory of numbers is that every number has one more after it and so on"
WORDS = SENTENCE.split()
DOCUMENTS = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 30)) + f" {i}." for i in range(300)]
HELD_OUT = [text for text in DOCUMENTS if is_held_out(text)]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """As the corpus stage writes it."""
    (tmp_path / "corpus").mkdir()
    for part in range(2):
        rows = [{"id": str(i), "text": text} for i, text in enumerate(DOCUMENTS[part::2])]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"corpus/part-{part:05}.parquet")
    return str(tmp_path / "corpus")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    log = RunLog(tmp_path / "run", config_yaml="")
    yield Job(name="20-tokenizer", log=log, interrupts=Interrupts())
    log.close()


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[list[dict[str, Any]]], str]:
    def write(rows: list[dict[str, Any]]) -> str:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / "rows.jsonl")

    return write


def config(path: str, source: dict[str, Any] | None = None, **settings: Any) -> TokenizerConfig:
    data = {"web": {"path": path} | (source or {})}
    return TokenizerConfig.model_validate({"stage": "tokenizer", "data": data, "vocab_size": 320} | settings)


def test_it_writes_a_tokenizer_with_its_measures_and_hashes(
    job: Job, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 < len(HELD_OUT) < 30
    (tmp_path / "other").mkdir()
    run(config(corpus, vocab_size=290), Job(name="other", log=job.log, interrupts=job.interrupts))
    other = tmp_path / "other" / "final"
    job.log.final.rename(other)
    assert run(config(corpus, compare_with=[str(other)]), job) == {}
    tokenizer = load_tokenizer(str(job.log.final))
    assert len(tokenizer) == 320 and tokenizer.chat_template == CHAT_TEMPLATE
    (figures,) = read_rows(job.log.path / "metrics.jsonl")  # the second run forgets the first
    assert figures["step"] == 0 and figures["tokenizer/vocab_size"] == 320
    measured = sorted(HELD_OUT)
    assert figures["tokenizer/bytes_per_token"] == pytest.approx(compression(tokenizer, measured))
    shorter = compression(load_tokenizer(str(other)), measured)
    assert figures["tokenizer/other/bytes_per_token"] == pytest.approx(shorter)
    assert 1 < shorter < figures["tokenizer/bytes_per_token"]
    assert "held-out documents; other (290)" in capsys.readouterr().out
    samples = read_rows(job.log.path / "samples.jsonl")
    assert {row["prompt"] for row in samples} <= {text[:300] for text in HELD_OUT}
    assert all(row["response"].replace("|", "") == row["prompt"] for row in samples) and samples
    manifest = json.loads((job.log.path / "manifest.json").read_text())
    assert manifest["kind"] == "tokenizer" and manifest["measured_held_out"] is True
    assert manifest["tokenizer_hash"] == tokenizer_hash(tokenizer)
    assert manifest["chat_template_hash"] == template_hash(tokenizer)
    assert not (job.log.path / ".writing-final").exists()


def test_tokenizers_of_one_name_and_without_an_end_are_compared(job: Job, corpus: str, tmp_path: Path) -> None:
    texts = [tmp_path / "a" / "tok", tmp_path / "b" / "tok", tmp_path / "c"]
    sizes = [280, 290, 300]
    for path, size in zip(texts, sizes, strict=True):
        other = train(iter(DOCUMENTS), vocab_size=size, min_frequency=2, reserved_tokens=0)
        other.eos_token = None
        other.save_pretrained(path)
    run(config(corpus, compare_with=list(map(str, texts))), job)
    (figures,) = read_rows(job.log.path / "metrics.jsonl")
    found = [figures[f"tokenizer/{name}/bytes_per_token"] for name in (*map(str, texts[:2]), "c")]
    assert found == sorted(set(found))


def test_a_source_counts_as_often_as_it_is_repeated_and_limited(job: Job, rows: Callable[..., str]) -> None:
    path = rows([{"text": "zebra zebra"}, {"text": "quagga quagga"}])
    run(config(path, {"repeat": 3, "limit": 1}, min_frequency=6, vocab_size=300), job)
    vocabulary = load_tokenizer(str(job.log.final)).get_vocab()
    assert "zebra" in vocabulary and "qu" not in vocabulary
    run(config(path, {"repeat": 3, "limit": 1}, min_frequency=7, vocab_size=300), job)
    assert "ze" not in load_tokenizer(str(job.log.final)).get_vocab()


def test_a_source_is_made_once_however_often_it_is_repeated(job: Job, tmp_path: Path) -> None:
    """Unseeded rows would be others for training than for the split."""
    (tmp_path / "made.py").write_text(
        "from pathlib import Path\n"
        "def rows():\n"
        "    with Path(__file__).with_suffix('.calls').open('a') as file:\n"
        "        file.write('x')\n"
        f"    return [{{'text': text}} for text in {DOCUMENTS[:100]!r}]\n"
    )
    source = {"generate": f"{tmp_path}/made.py:rows", "repeat": 3}
    run(TokenizerConfig.model_validate({"stage": "tokenizer", "data": {"made": source}, "vocab_size": 300}), job)
    assert (tmp_path / "made.calls").read_text() == "x"


def test_so_few_documents_that_none_is_held_out_are_measured_and_said_to_be_trained_on(
    job: Job, rows: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for text in (DOCUMENTS[0], HELD_OUT[0]):
        run(config(rows([{"text": text}])), job)
        assert "1 documents that it was trained on" in capsys.readouterr().out
        assert json.loads((job.log.path / "manifest.json").read_text())["measured_held_out"] is False


def test_a_template_of_ones_own(job: Job, corpus: str, tmp_path: Path) -> None:
    own = CHAT_TEMPLATE.replace("{{- bos_token }}", "{{- bos_token + '[chat]' }}")
    (tmp_path / "own.jinja").write_text(own)
    run(config(corpus, chat_template=str(tmp_path / "own.jinja")), job)
    tokenizer = load_tokenizer(str(job.log.final))
    talk = [{"role": "user", "content": "so"}, {"role": "assistant", "content": "on"}]
    assert tokenizer.decode(encode_conversation(tokenizer, talk).tokens).startswith("<|begin|>[chat]<|user|>so")


def refusal(settings: TokenizerConfig, job: Job) -> str:
    with pytest.raises(UserError) as error:
        run(settings, job)
    assert "\n" not in str(error.value) and not job.log.final.exists()
    return str(error.value)


def test_bad_input_is_refused_in_one_line(job: Job, corpus: str, rows: Callable[..., str], tmp_path: Path) -> None:
    assert "no column `body`; its columns are id, text" in refusal(config(corpus, {"text_column": "body"}), job)
    assert "at least" in refusal(config(corpus, vocab_size=200), job)
    assert "chat_template" in refusal(config(corpus, chat_template=str(tmp_path / "none.jinja")), job)
    (tmp_path / "bad.jinja").write_text("{% for m in messages %}")
    assert "chat template" in refusal(config(corpus, chat_template=str(tmp_path / "bad.jinja")), job)
    assert "no tokenizer" in refusal(config(corpus, compare_with=[str(tmp_path / "none")]), job)
    assert "no rows" in refusal(config(rows([])), job)
    assert "no text" in refusal(config(rows([{"text": ""}])), job)
    assert "row 1: `text` is not text" in refusal(config(rows([{"text": "so"}, {"text": None}])), job)
