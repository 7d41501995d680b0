"""The page of a recipe, from run directories that real RunLogs wrote."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlreason.report.page import write_report
from rlreason.report.recipe import Evaluation, interval
from rlreason.runlog import RunLog

HOSTILE = "</pre></td><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\ud800\u202e\x1b]0;x\x07\x00"
NUM_PROMPTS = 40


def eval_rows(step: int, split: str, num_right: int, length: int, samples: int = 1) -> list[dict[str, Any]]:
    rows = []
    for number in range(NUM_PROMPTS):
        for index in range(samples):
            right = (number + index) % NUM_PROMPTS < num_right
            rows.append(
                {
                    "step": step,
                    "split": split,
                    "task_id": f"chains:{number}",
                    "index": index,
                    "prompt": f"<user>{number}+1=",
                    "response": f"step by step to {number + 1}" if right else HOSTILE,
                    "answer": str(number + 1),
                    "reward": float(right),
                    "verdicts": {"math": "ok" if right else "wrong"},
                    "num_tokens": length + number % 3,
                }
            )
    return rows


class Recipe:
    """A recipe's run directory, stage after stage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages: list[dict[str, Any]] = []
        self.logs: list[RunLog] = []

    def stage(self, name: str, kind: str, *, status: str = "done", **figures: float) -> RunLog:
        self.stages.append(
            {"name": name, "stage": kind, "dir": name, "status": status, "duration_s": 61.0, "eval": figures}
        )
        self.logs.append(RunLog(self.path / name, config_yaml=f"stage: {kind}\n"))
        return self.logs[-1]

    def write(self) -> str:
        for log in self.logs:
            log.close()
        (self.path / "summary.json").write_text(json.dumps({"stages": self.stages, "duration_s": 7685}))
        return write_report(self.path).read_text(encoding="utf-8")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(tmp_path)


@pytest.fixture
def page(recipe: Recipe) -> str:
    """Every kind of stage, one that failed, one that is missing, one that is not in the summary yet."""
    corpus = recipe.stage("10-corpus", "corpus", documents=60.0)
    corpus.metrics(0, {"corpus/url/dropped": 0, "corpus/c4/dropped": 10, "corpus/gopher_quality/dropped": 30})
    corpus.metrics(0, {"corpus/documents": 60.0})
    dropped = {"id": "a:1", "url": f"http://x/{HOSTILE}", "reason": "c4: 2 sentences < 5", "text": HOSTILE}
    corpus.samples([{"step": 0, "split": "dropped/c4", **dropped}])
    corpus.manifest(kind="corpus", artifact_hash="c0ffee00aaaa", parents={})
    tokenizer = recipe.stage("20-tokenizer", "tokenizer")
    tokenizer.metrics(0, {"tokenizer/bytes_per_token": 3.0, "tokenizer/gpt2/bytes_per_token": 4.5})
    base = recipe.stage(
        "30-pretrain", "pretrain", **{"chains/bits_per_byte": 1.875, "chains/greedy_accuracy": 0.9, "chains/avg@4": 0.9}
    )
    for step in (0, 100):
        base.metrics(step, {"policy/loss": 3.0 - step / 100, "eval/web/bits_per_byte": 4.0 - step / 50})
        base.samples(
            [{"step": step, "split": "continuation", "prompt": "The", "response": f"text at {step} {HOSTILE}"}]
        )
    base.samples(eval_rows(100, "eval/chains/greedy", 36, 28))
    base.samples(eval_rows(100, "eval/chains/sampled", 36, 28, samples=4))
    base.manifest(kind="pretrain", artifact_hash="ba5e0000bbbb", parents={"10-corpus": {"hash": "0ld00000cccc"}})
    sft = recipe.stage("40-sft", "sft", **{"chains/greedy_accuracy": 0.2, "chains/response_tokens_mean": 5.0})
    sft.samples(eval_rows(50, "eval/chains/greedy", 8, 4))
    rl = recipe.stage("50-rl", "rl", **{"chains/greedy_accuracy": 1.0, "other/greedy_accuracy": 0.5})
    rl.samples(eval_rows(0, "eval/chains/greedy", 8, 4))
    for step in range(1, 5):
        rl.metrics(step, {"reward/mean": step / 4, "reward/std": 0.1, "response/tokens_mean": 7.0 * step})
    rl.samples(eval_rows(4, "eval/chains/greedy", 40, 28))
    rl.samples(eval_rows(4, "eval/other/greedy", 20, 28))
    recipe.stage("60-evaluate", "evaluate", status="failed")
    recipe.stages.append({"name": "65-gone", "stage": "rl", "dir": "65-gone", "status": "done", "duration_s": 1.0})
    recipe.stage("70-running", "rl")
    recipe.stages.pop()
    write_report(recipe.path / "50-rl")
    return recipe.write()


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_hostile_text_keeps_no_character_that_acts(page: str) -> None:
    assert "\ufffd]0;x\ufffd\ufffd" in page
    assert not set(page) & set("\x1b\x07\x00\u202e")


def test_stages_are_listed_with_their_state_and_what_they_were_made_of(page: str) -> None:
    assert 'href="./50-rl/report.html"' in page
    assert "40-sft/report.html" not in page  # not written, so not linked
    assert 'class="bad">failed' in page
    assert 'class="bad">missing' in page
    assert '70-running</td><td>rl</td><td class="bad">not finished' in page
    assert '10-corpus <code>0ld00000</code> <span class="bad">since made anew' in page
    assert "2 h 08 min" in page


def test_figures_stand_side_by_side_with_intervals(page: str) -> None:
    table = page.split("What each stage did")[1].split("</table>")[0]
    assert table.index("30-pretrain") < table.index("40-sft") < table.index("50-rl")
    assert "10-corpus" not in table
    assert "chains · 40 prompts" in table
    assert '20.0 %<div class="soft">[10.5–34.8]' in table  # Wilson, 8 of 40
    assert '100.0 %<div class="soft">[91.2–100.0]' in table
    assert '<td>chains</td><td class="n">1.88<div class="soft"></div>' in table  # bits per byte have none
    # A source of text may be called like an evaluation set.
    assert table.index("other · 40 prompts") < table.index(">held-out text, bits per byte<") < table.index("1.88")
    assert "accuracy, greedy" in table


def test_each_stage_answers_the_same_prompts(page: str) -> None:
    answers = page.split("The same prompts")[1].split("<h2>")[0]
    assert answers.count("<section>") == 5 + 1  # of the shared set, and of the one that RL alone has
    first = answers.split("</section>")[0]
    assert "&lt;user&gt;0+1=" in first
    assert [first.count(mark) for mark in ("✓ right", "✗ wrong")] == [3, 0]
    assert "28 tokens" in first  # of RL's last evaluation, not of the one before its first step
    assert "✗ wrong" not in answers.split("<section>")[6]


def test_a_verdict_other_than_wrong_is_named(recipe: Recipe) -> None:
    log = recipe.stage("10-sft", "sft", **{"chains/greedy_accuracy": 0.0})
    row = eval_rows(1, "eval/chains/greedy", 0, 3)[0]
    log.samples([row | {"verdicts": {"math": "timeout"}}])
    assert "✗ timeout" in recipe.write()


def test_plots_of_the_stages_are_there(page: str) -> None:
    plots = page.split("<h2>Plots")[1].split("<h2>")[0]
    for title in (
        "Accuracy ",
        "Bits per byte, 30-pretrain",
        "Loss, 30-pretrain",
        "Reward, 50-rl",
        "Response length, 50-rl",
    ):
        assert f"<h3>{title}" in plots
    assert "longer: the model works step by step, or it pads" in plots
    assert "chains, 40-sft: 0.2 [0.105, 0.348]" in plots


def test_the_corpus_is_a_waterfall_in_the_order_of_the_rules(page: str) -> None:
    corpus = page.split("<h2>Corpus: 10-corpus")[1].split("<h2>")[0]
    assert corpus.index("gopher_quality") < corpus.index(">c4<")
    assert '<td>c4</td><td class="n">10</td><td class="n">10.0 %</td><td class="n">60</td>' in corpus
    assert "Nothing was dropped by url" in corpus
    assert "c4: 10 dropped, 1 shown" in corpus
    assert "c4: 2 sentences &lt; 5" in corpus
    assert "href" not in corpus


@pytest.mark.parametrize("told", [{}, {"corpus/records": 60.0}])
def test_a_tagged_corpus_counts_each_record_once(recipe: Recipe, told: dict[str, float]) -> None:
    """60 records: 5 cannot be read, 55 are written, 20 of which the filters would drop."""
    dropped = {"corpus/broken/dropped": 5, "corpus/c4/dropped": 15, "corpus/near_duplicate/dropped": 5}
    recipe.stage("10-corpus", "corpus").metrics(0, dropped | {"corpus/documents": 55.0} | told)
    (recipe.path / "10-corpus" / "config.yaml").write_text("stage: corpus\ntag_only: true\n")
    page = recipe.write()
    assert '<tr><td>read</td><td></td><td></td><td class="n">60</td>' in page
    assert '<td>c4</td><td class="n">15</td><td class="n">25.0 %</td><td class="n">40</td>' in page
    assert '<b>kept</b></td><td></td><td class="n">58.3 %</td><td class="n">35</td>' in page
    assert "all 55 documents that could be read were written" in page


@pytest.mark.parametrize(
    ("events", "shown"), [(["interrupted"], "interrupted"), (["interrupted", "start"], "failed"), ([], "failed")]
)
def test_an_interrupted_stage_is_not_a_failed_one(recipe: Recipe, events: list[str], shown: str) -> None:
    log = recipe.stage("10-sft", "sft", status="failed")
    for event in events:
        log.event(event)
    assert f'<td class="bad">{shown}</td>' in recipe.write()


def test_tokenizers_and_continuations_are_compared(page: str) -> None:
    assert '<td>gpt2</td><td class="n">4.500</td><td class="n">1.50</td>' in page
    continued = page.split("continued during 30-pretrain")[1].split("<h2>")[0]
    assert continued.index("text at 0 ") < continued.index("text at 100 ")


def test_hostile_text_adds_no_element_and_no_handler(page: str, recipe: Recipe) -> None:
    for text in (page, write_report(recipe.path / "10-corpus").read_text(encoding="utf-8")):
        seen = Elements(text)
        assert seen.tags.count("script") == 1
        assert "img" not in seen.tags
        assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "style")]


def test_a_recipe_whose_first_stage_failed_has_a_page(recipe: Recipe) -> None:
    recipe.stage(HOSTILE.replace("/", "").replace("\ud800", "").replace("\x00", ""), "corpus", status="failed")
    page = recipe.write()
    assert "What each stage did" not in page
    assert Elements(page).tags.count("script") == 1


def test_a_stage_that_went_back_shows_the_answers_of_the_policy_that_it_ended_with(recipe: Recipe) -> None:
    rl = recipe.stage("30-rl", "rl", **{"chains/greedy_accuracy": 0.9, "chains/reward@4": 0.5, "chains/avg@4": 0.25})
    rl.samples([*eval_rows(4, "eval/chains/greedy", 36, 28), *eval_rows(8, "eval/chains/greedy", 2, 99)])
    rl.event("rolled back", step=8, to=4)
    rl.manifest(kind="rl", step=4)
    page = recipe.write()
    assert '90.0 %<div class="soft">[76.9–96.0]' in page and "99 tokens" not in page
    assert "Over-optimisation: 30-rl" in page and "the policy of step 4" in page
    assert '>reward@4</td><td class="n">0.5<' in page, "a mean of rewards is no share"
    assert '>avg@4</td><td class="n">25.0 %<' in page


def test_intervals_without_samples_are_left_out() -> None:
    assert interval("greedy_accuracy", 0.5, None) is None
    assert interval("greedy_accuracy", 0.5, Evaluation()) is None
    assert interval("web/bits_per_byte", 1.0, Evaluation(greedy={"a": {}})) is None
    assert interval("response_tokens_mean", 1.0, Evaluation(greedy={"a": {"num_tokens": None}})) is None


def test_avg_at_k_resamples_prompts_not_samples() -> None:
    """Ten prompts, all of whose k samples agree: n is 10, whatever k."""

    def narrow(k: int) -> float:
        sampled = {str(p): {i: {"reward": float(p < 5)} for i in range(k)} for p in range(10)}
        found = interval("avg@k", 0.5, Evaluation(sampled=sampled))
        assert found is not None
        return found[1] - found[0]

    assert narrow(1) == narrow(64) > 0.5


def test_an_rl_stage_that_learned_nothing_is_marked(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path)
    recipe.stage("10-rl", "rl").event("nothing learned", message="NOTHING WAS LEARNED")
    recipe.stage("20-rl", "rl")
    page = recipe.write()
    assert page.count('<td class="bad">done, nothing learned</td>') == 1 and '<td class="ok">done</td>' in page
    assert '<p class="bad"><b>10-rl</b>: NOTHING WAS LEARNED</p>' in page
