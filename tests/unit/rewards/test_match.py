r"""Plain answers: exact text, last number, chosen letter."""

import time

import pytest

from rlreason.rewards.match import choice, exact_text, numeric
from rlreason.types import Task, UserError


def task(answer: str | tuple[str, ...] | None) -> Task:
    return Task(id="t", prompt="?", answer=answer)


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        ("Paris", "Paris"),
        ("  New \n York ", "New York"),
        ("<think>London?</think>\nParis", "Paris"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("b", ("a", "b")),
    ],
)
def test_exact_text_is_right(response: str, gold: str | tuple[str, ...]) -> None:
    assert exact_text(response, task(gold)).value == 1.0


@pytest.mark.parametrize("response", ["paris", "Paris!", "It is Paris", "NewYork", "Paris</think>London"])
def test_other_text_is_wrong(response: str) -> None:
    score = exact_text(response, task(("Paris", "New York")))
    assert (score.value, score.status) == (0.0, "wrong")


def test_exact_text_ignores_case_on_demand() -> None:
    assert exact_text("STRASSE", task("straße"), ignore_case=True).value == 1.0


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        ("42", "42"),
        ("so 6*7=42.", "42"),
        ("5-3", "3"),
        ("x = −3", "-3"),
        ("It costs $1,234.50.", "1234.5"),
        ("3/4 of it", "0.75"),
        ("1 1/2", "3/2"),
        (r"$-\dfrac{3}{4}$", "-0.75"),
        ("50%", "0.5"),
        ("1e5", "100000"),
        ("2, 3", "3"),
        ("12345678901234567890123", "12345678901234567890123"),
        (r"\boxed{18}", "She sells 9 eggs.\n#### 18"),
        ("10 apples", "10"),
        ("7", ("six", "7")),
    ],
)
def test_the_last_number_is_right(response: str, gold: str | tuple[str, ...]) -> None:
    score = numeric(response, task(gold))
    assert (score.value, score.status) == (1.0, "ok"), score.detail


@pytest.mark.parametrize(
    ("response", "gold"),
    [("42 or 43", "42"), ("12345678901234567890124", "12345678901234567890123"), ("3.0000001", "3"), ("-3", "3")],
)
def test_another_last_number_is_wrong(response: str, gold: str) -> None:
    assert numeric(response, task(gold)).status == "wrong"


@pytest.mark.parametrize(
    "response",
    [
        "682", "682.", "**682**", "$682", r"\(682\)", "<think>237?</think>\n682", r"\boxed{682}", r"so \boxed{\$682}",
        r"so \boxed{682\text{ eggs}}", "2 + 2 = 5\n#### 682", "<answer>682</answer>", "The answer is 682.",
        "The larger number comes second, so the answer is **682**, since 682 > 237.", "ANSWER: 682", "Answer:\n682",
        r"The answer is $\boxed{682}$.", r"The answer is \frac{1364}{2}", "The answer is 682 eggs.",
    ],
)  # fmt: skip
def test_a_number_alone_or_marked_is_right(response: str) -> None:
    score = numeric(response, task("682"), alone=True)
    assert (score.value, score.status) == (1.0, "ok"), score.detail


@pytest.mark.parametrize(
    "response",
    [
        "237 is larger than 682.", "237 > 682", "2 + 2 = 682", "The larger number is 682", "682 682", "1, 2, 682",
        "The answer is that 237 > 682", "The answer is 2 + 682", "The answer is 237 or 682", "The answer is 1, 2, 682",
        r"\boxed{237 > 682}", r"\boxed{237, 682}", r"\boxed{682} \boxed{", "#### 2 682", "<answer>237 < 682</answer>",
        "<answer>682</answer> <answer>6",
    ],
)  # fmt: skip
def test_a_sentence_that_ends_in_the_number_is_no_number_alone(response: str) -> None:
    score = numeric(response, task("682"), alone=True)
    assert (score.value, score.status) == (0.0, "unparseable"), score.detail
    assert numeric("The answer is 237.", task("682"), alone=True).status == "wrong"


def test_tolerances_are_exact_and_the_wider_one_holds() -> None:
    assert numeric("3.14", task("3.15"), abs_tolerance=0.01).value == 1.0  # |3.14 - 3.15| is 0.01, not more
    assert numeric("3.139", task("3.15"), abs_tolerance=0.01).value == 0.0
    assert numeric("98", task("100"), rel_tolerance=0.02).value == 1.0
    assert numeric("97.9", task("100"), rel_tolerance=0.02).value == 0.0
    assert numeric("98", task("100"), abs_tolerance=1, rel_tolerance=0.02).value == 1.0
    with pytest.raises(UserError, match="0 or above"):
        numeric("3", task("3"), abs_tolerance=-1)


@pytest.mark.parametrize(
    "response",
    [
        "B", "(B)", "The answer is B.", "The answer is (b).", r"\boxed{B}", r"$\boxed{\text{(B)}}$",
        "<answer>B</answer>", "**Answer:** B", "Answer: **B**", "Answer - B", "B) because it fits", "B. Paris",
        "The answer is A. Wait, no. The answer is B.", r"\boxed{A}... Wait, the answer is B",
        "The correct option is B because A is small", "I think the answer is B, I am sure",
        "The correct answer is option B", "Option A is 3. Option B is 4. Answer: B", "The answer is B, not A.",
        "The answer is B. C is too small.", "Answer: A\nHmm, that fails since 3 > 2.\nAnswer: B",
        "<think>The answer is A.</think>So:\n\nB", "I choose B",
        "ANSWER: B", "FINAL ANSWER: (B)", "Ans: B", "ans = B", "#### B", "Answer: 'B'", "answer: b", "b", "(b)", "b)",
        "The answer is: option B", "The answer must be B", "The final answer is $\\boxed{B}$. I hope it is correct.",
        "B) A, C and D", "(B) A, C and D", "B. A, C and D.", "B: A and D", "B - A, C and D", "B (A, C and D)", "B) A.",
        "The answer is B) A, C and D", "Answer: B. A and C", r"\boxed{B) A, C and D}", r"\boxed{\text{(B) A, C and D}}",
        "B is the correct answer.", "Option A is wrong, so (B) is right", "Therefore, B is the answer.",
        r"Answer: \(B\)", "the answer is b.",
        "**B)** A, C", "B) A, C and D are prime", "B) (A) and (C)", "B) Both A and C",
    ],
)  # fmt: skip
def test_the_choice_committed_to_last_is_right(response: str) -> None:
    score = choice(response, task("B"))
    assert (score.value, score.status) == (1.0, "ok"), score.detail


@pytest.mark.parametrize(
    "response",
    [
        "A", "A or B", "The answer is A or B", "A, B, C, D", "A B C D", "(A) (B) (C) (D)", "A\nB\nC\nD",
        r"\boxed{A} \boxed{B}", r"\boxed{A, B}", r"\boxed{A B C D}", "Answer: A\nAnswer: B",
        "The answer is A. The answer is B.", "The answer is A, B, C and D", "The answer is B / C",
        "Answer: A. B. C. D.", "The answer is B. Wait, no. The answer is C.", "A) B) C) D)", "A) or B)", "A), B)",
        "B. A.", "B) and A)", "[A] [B]", "A: B: C: D", "ANSWER: A, B", "**B**, **A**", "ANSWER: C",
    ],
)  # fmt: skip
def test_another_choice_or_several_are_wrong(response: str) -> None:
    score = choice(response, task("B"))
    assert (score.value, score.status) == (0.0, "wrong"), score.detail


def test_several_choices_are_wrong_even_where_each_is_right() -> None:
    assert choice("A or B", task(("A", "B"))).status == "wrong"
    assert choice("A", task(("A", "B"))).value == 1.0


@pytest.mark.parametrize(
    "response",
    [
        "", "because", "The answer is Big", "ABCD", "<think>B", "A dog", "I am sure.", "a dog", "answer: dog",
        "answer a question", "ANSWER: Big", "the answer is a", "B is not the answer",
        "A or B is correct", "A, B is correct",
    ],
)  # fmt: skip
def test_no_choice_is_unparseable(response: str) -> None:
    assert choice(response, task("B")).status == "unparseable"


@pytest.mark.parametrize("gold", ["B", "(B)", "B. Paris", ("C", "B"), "B) A, C and D"])
def test_a_gold_choice_may_be_written_in_several_ways(gold: str | tuple[str, ...]) -> None:
    assert choice("The answer is B.", task(gold)).value == 1.0


def test_an_unusable_gold_is_an_error_and_no_answer_is_unparseable() -> None:
    for reward, bad in ((exact_text, " "), (numeric, "forty"), (choice, "Paris")):
        assert reward("B 4", task(None)).status == "verifier_error"
        assert reward("B 4", task(bad)).status == "verifier_error"
    assert exact_text(" ", task("a")).status == "unparseable"
    assert numeric("none", task("4")).status == "unparseable"


def test_hostile_text_takes_no_time() -> None:
    pieces = (
        "A",
        "1 ",
        "answer ",
        "{",
        r"\boxed{",
        "answer is ((((",
        "1,",
        "1/",
        " ",
        "A, ",
        r"\text{",
        "A or ",
        "*",
        "A) ",
    )
    start = time.perf_counter()
    for piece in pieces:
        text = piece * (1_000_000 // len(piece))
        for reward, gold in ((exact_text, "B"), (numeric, "3"), (choice, "B")):
            assert reward(text, task(gold)).value == 0.0
        assert numeric(text, task("3"), alone=True).value == 0.0
    assert time.perf_counter() - start < 5.0
