"""The report page of a small run written here: what it shows, and what hostile text cannot do to it."""

import base64
import hashlib
import itertools
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rlreason.report.files import sample_rows
from rlreason.report.html import duration_text
from rlreason.report.page import write_report
from rlreason.report.plots import number, number_text, plots, ticks
from rlreason.types import UserError

HOSTILE = "</pre></td><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\ud800\u202e\x1b]0;x\x07\x00"


def write_lines(path: Path, rows: list[dict], tail: str = "") -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail, encoding="utf-8")


def metric_row(step: int) -> dict:
    return {
        "step": step,
        "time_s": 2.5 * step,
        "reward/mean": step / 20,
        "reward/std": 0.2,
        "reward/math/mean": step / 20,
        "policy/loss": math.sin(step),
        "policy/entropy": 2 - step / 20,
        "policy/grad_norm": math.nan if step == 7 else 1.0,
        "mismatch/logprob_gap_mean": 10 ** (-7 + step / 10),
        "response/tokens_mean": 40.0 + step,
        "time/rollout_s": 1.0,
        "time/update_s": 0.5,
        "throughput/rollout_tokens_per_s": 4000.0,
    } | ({"eval/chains/greedy_accuracy": step / 25} if step % 5 == 0 else {})


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "40-rl"
    folder.mkdir()
    (folder / "config.yaml").write_text(f"stage: rl\nname: '{HOSTILE[:30]}'\n")
    write_lines(folder / "metrics.jsonl", [metric_row(step) for step in range(1, 21)], tail='{"step": 21, "rew')
    sample = {
        "step": 1,
        "prompt": "1+1=",
        "response": HOSTILE,
        "reward": 1.0,
        "policy_version": 0,
        "answer": HOSTILE,
        "split": HOSTILE,
    }
    verdicts = {"math": {"value": 1.0, "status": "ok"}, HOSTILE: {"value": 0.0, "status": "timeout"}}
    write_lines(folder / "samples.jsonl", [sample | {"verdicts": verdicts, "rewards": {"math": 0.25, HOSTILE: 0.0}}])
    write_lines(folder / "events.jsonl", [{"time": 0.0, "event": "start", "note": HOSTILE}, {"event": "worker_died"}])
    return folder


class Elements(HTMLParser):
    """Start tags and attributes as a browser's tokenizer sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_shows_tiles_plots_samples_and_events(run_dir: Path) -> None:
    path = write_report(run_dir)
    page = path.read_text(encoding="utf-8")
    assert path == run_dir / "report.html"
    for title in ("Reward", "Evaluation", "Response length", "Loss", "Entropy", "Gradient norm", "Time per phase"):
        assert f"<h3>{title}" in page
    assert "<span>steps</span><b>20</b>" in page  # the torn line is left out
    assert "<span>last reward</span><b>1</b>" in page
    assert "<span>last evaluation: chains/greedy_accuracy</span><b>0.8</b>" in page
    assert "<span>values that are not finite</span><b>1</b>" in page
    assert "<span>duration</span><b>50.0 s</b>" in page
    assert "1+1=" in page
    assert 'math: <span class="ok">ok</span> 0.25<br>' in page
    assert 'class="bad">worker_died' in page
    assert "NaN" not in page
    assert ">nan" not in page


def test_hostile_text_adds_no_element_and_no_handler(run_dir: Path) -> None:
    seen = Elements(write_report(run_dir).read_text(encoding="utf-8"))
    assert seen.tags.count("script") == 1
    assert "img" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "style")]


def test_hostile_text_keeps_no_character_that_acts(run_dir: Path) -> None:
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert page.count("\ufffd\ufffd\ufffd]0;x\ufffd\ufffd") >= 5
    assert not set(page) & set("\x1b\x07\x00\u202e")


def test_the_page_loads_nothing(run_dir: Path) -> None:
    seen = Elements(write_report(run_dir).read_text(encoding="utf-8"))
    policy = next(value for _, value in seen.attributes if value and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert not {"link", "iframe", "object", "base", "form"} & set(seen.tags)


def test_the_policy_admits_the_pages_own_style_and_script(run_dir: Path) -> None:
    page = write_report(run_dir).read_text(encoding="utf-8")
    for tag in ("style", "script"):
        text = page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page


def test_the_measurement_before_the_first_step_is_no_step(tmp_path: Path) -> None:
    write_lines(tmp_path / "metrics.jsonl", [{"step": step, "policy/loss": 1.0} for step in (0, 1, 2, 2)])
    assert "<span>steps</span><b>2</b>" in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_run_that_wrote_nothing_yet_gets_a_page(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    assert "No metrics were written" in write_report(tmp_path).read_text()


def test_a_folder_without_a_run_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        write_report(tmp_path)


def test_a_torn_character_at_the_end_of_a_file_is_left_out(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("ab") as file:
        file.write("é".encode()[:1])
    assert "<b>20</b>" in write_report(run_dir).read_text(encoding="utf-8")


def test_samples_of_a_long_run_are_spread_and_keep_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    write_lines(path, [{"step": i, "response": "x" * (i % 97)} for i in range(5000)])
    steps = [row["step"] for row in sample_rows(path)]
    assert len(steps) == len(set(steps)) == 200
    assert steps == sorted(steps)
    assert steps[:20] == list(range(20))
    assert steps[-20:] == list(range(4980, 5000))
    assert max(b - a for a, b in itertools.pairwise(steps)) < 700


def test_samples_of_a_short_run_are_all_there(tmp_path: Path) -> None:
    write_lines(tmp_path / "samples.jsonl", [{"step": i} for i in range(199)])
    assert [row["step"] for row in sample_rows(tmp_path / "samples.jsonl")] == list(range(199))


def test_long_responses_keep_their_beginning_and_their_answer(tmp_path: Path) -> None:
    write_lines(tmp_path / "samples.jsonl", [{"step": 1, "response": "BEGIN" + "x" * 10**6 + "ANSWER"}])
    (tmp_path / "metrics.jsonl").touch()
    page = write_report(tmp_path).read_text()
    assert "BEGIN" in page
    assert "ANSWER" in page
    assert len(page) < 50_000


def test_a_value_that_is_not_finite_breaks_the_line() -> None:
    rows = [{"step": i, "policy/entropy": None if i == 2 else 1.0} for i in range(5)]
    line = plots(rows).split('class="line" d="')[1].split('"')[0]
    assert line.count("M") == 2
    rows = [{"step": i} | ({} if i == 2 else {"policy/entropy": 1.0}) for i in range(5)]
    assert plots(rows).split('class="line" d="')[1].split('"')[0].count("M") == 1


@pytest.mark.parametrize("rows", [[], [{"step": 1}], [{"step": 1, "policy/entropy": math.inf}]])
def test_no_finite_value_gives_no_plot(rows: list[dict]) -> None:
    assert plots(rows) == ""


def test_one_step_a_constant_and_a_gap_of_zero_can_be_drawn() -> None:
    row = {
        "step": 3,
        "reward/mean": 0.0,
        "mismatch/logprob_gap_mean": 0.0,
        "time/sync_s": 0.0,
        "policy/entropy": -1e-12,
    }
    assert plots([row]).count("<figure>") == 4


def test_a_million_steps_make_a_small_plot() -> None:
    assert len(plots([{"step": i, "policy/entropy": 1.0 + i % 3} for i in range(100_000)])) < 20_000


def test_ticks_are_round_and_enclose_the_data() -> None:
    assert ticks(0.03, 0.97) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(0, 40) == [0, 10, 20, 30, 40]
    assert ticks(1, 3, whole=True) == [1, 2, 3]
    assert ticks(5, 5)[0] < 5 < ticks(5, 5)[-1]


def test_texts_of_numbers_and_durations() -> None:
    assert [number_text(x) for x in (0.5123, 0.0, 4210.0, 1.23e-7, math.nan)] == ["0.512", "0", "4,210", "1.2e-07", "–"]
    assert [duration_text(x) for x in (12.34, 245, 7620, math.nan)] == ["12.3 s", "4 min 05 s", "2 h 07 min", "–"]
    assert all(math.isnan(number(x)) for x in (None, "1", True, math.inf))


def test_a_stage_is_read_once_for_its_page(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples twice: once at places spread over the file, once for the splits with tables of their own."""
    dropped = {"step": 0, "split": "dropped/c4", "text": "a page", "reason": "c4: too short"}
    continued = {"step": 0, "split": "continuation", "prompt": "Once", "response": " upon a time"}
    write_lines(run_dir / "samples.jsonl", [dropped, continued])
    figures = {"step": 0, "corpus/c4/dropped": 1, "corpus/documents": 2, "tokenizer/bytes_per_token": 3.5}
    write_lines(run_dir / "metrics.jsonl", [figures])
    opened, open_file = [], Path.open

    def counted(path: Path, *args: object, **kwargs: object) -> object:
        opened.append(path.name)
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counted)
    page = write_report(run_dir).read_text()
    assert all(text in page for text in ("a page", "upon a time", "3.500"))
    assert opened.count("metrics.jsonl") == opened.count("config.yaml") == opened.count("events.jsonl") == 1
    assert opened.count("samples.jsonl") <= 3


def test_a_guarded_run_shows_what_was_found_and_the_true_score_against_the_distance(run_dir: Path) -> None:
    """The score as it comes stands beside the standardised one, whose mean is always near 0."""
    figures = [
        {"step": step, "policy/kl": kl, "policy/kl_coef": 0.1, "guard/distinct_2": 0.9, "guard/disagreement": 0.2,
         "reward/gold/mean": 1.0 - kl, "reward/liked/mean": 0.0, "reward/liked/raw_mean": 7.0 + step}
        for step, kl in ((1, 0.001), (2, 0.25), (3, 0.5))
    ]  # fmt: skip
    write_lines(run_dir / "metrics.jsonl", figures)
    found = {"event": "over-optimisation", "what": "gold", "message": f"it fell {HOSTILE}", "action": "rollback"}
    write_lines(run_dir / "events.jsonl", [found | {"step": 3}, {"event": "rolled back", "step": 3, "to": 2}])
    page = write_report(run_dir).read_text(encoding="utf-8")
    section = page.split("<h2>Over-optimisation")[1].split("</table>")[0]
    assert section.index("it fell") < section.index("final/ is the policy of step 2, which had the best true score")
    assert page.index("<h2>Over-optimisation") < page.index("<h3>Score of the reward model")
    assert "<title>step 3: 10</title>" in page.split("<h3>Score of the reward model")[1].split("</figure>")[0]
    drawn = page.split("<h3>Reward against KL")[1].split("</figure>")[0]
    assert "KL to the reference, nats a token 0.25: 0.75</title>" in drawn, "the true score"
    assert "KL to the reference, nats a token 0.5: 10</title>" in drawn, "the reward model's, not standardised"
    for title in ("Disagreement of reward models", "Weight of the KL penalty"):
        assert f"<h3>{title}" in page
    assert Elements(page).tags.count("script") == 1


def test_a_run_without_a_guard_has_none_of_it(run_dir: Path) -> None:
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert "Over-optimisation" not in page and "Reward against KL" not in page


def test_a_run_that_learned_nothing_does_not_look_like_success(run_dir: Path) -> None:
    """A key that is absent is no value that is not finite; what an earlier run of the directory said is over."""
    rows = [{"step": step, "reward/mean": 0.0, "reward/zero_std_fraction": 1.0} for step in (1, 2)]
    write_lines(run_dir / "metrics.jsonl", [*rows, {"step": 3, "policy/loss": None}])
    events = [{"event": "start"}, {"event": "nothing learned", "message": f"NOTHING {HOSTILE}"}]
    write_lines(run_dir / "events.jsonl", [*events, {"event": "no signal", "message": "rewards have not differed"}])
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert '<p class="bad">NOTHING &lt;/pre&gt;' in page and '<p class="bad">rewards have not differed</p>' in page
    assert "<h3>Groups whose rewards do not differ" in page and "values that are not finite</span><b>1</b>" in page
    write_lines(run_dir / "events.jsonl", [*events, {"event": "start"}])
    assert '<p class="bad">' not in write_report(run_dir).read_text(encoding="utf-8")
