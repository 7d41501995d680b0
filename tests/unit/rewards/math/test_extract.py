"""Where the answer of a response stands, what belongs to it, and when there is none. Starts no comparing process."""

import time

import pytest

from rlreason.rewards.math.expressions import expressions
from rlreason.rewards.math.extract import boxed_gold, final_answer
from rlreason.rewards.math.prose import value_of

EXPRESSIONS = [
    ("There are 2 1/2 pizzas left.", ["2 1/2"]),
    ("so 5 + 1/2.", ["5 + 1/2"]),
    ("we get 2^5", ["2^5"]),
    ("it costs $5 and $6", ["$5", "$6"]),
    ("costs $ 5 and $ 6", ["5", "6"]),
    ("is (2, 5).", ["(2, 5)"]),
    (r"It is \begin{pmatrix}1&2\\3&4\end{pmatrix} here", [r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"]),
    (r"It is $ \begin{pmatrix}1&2\\3&4\end{pmatrix} $.", [r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"]),
    ("COVID-19 hit", ["19"]),
    ("- 13 apples", ["13"]),
    ("1. 5 apples", ["1", "5"]),
    ("72000 / 18 = 4000千克", ["4000"]),
    ("12000升/40升/分钟=300分钟", ["12000", "40", "300"]),
    ("42 (forty-two)", ["42"]),
    ("so we get 5! + 1", ["5! + 1"]),
    ("there are 5!", ["5"]),
    (r"\frac{1}{2} of it", [r"\frac{1}{2}"]),
    (r"\sqrt{5} cm", [r"\sqrt{5}"]),
    ("10^{-3}", ["10^{-3}"]),
    ("5 x 3 = 15", ["15"]),
    ("a ratio of 2:3, at 3:45", ["2:3", "3:45"]),
    ("1,234.5 km and 12 345 people", ["1,234.5", "12 345"]),
    ("\\[\n\\begin{aligned} x &= 3+2 \\\\ &= 5 \\end{aligned}\n\\]", ["5"]),
    ("$$\n58\n$$", ["58"]),
    ("Q3 had <b>5</b>", ["5"]),
]
VALUES = [
    ("58, altogether", "58"),
    ("58 apples in total", "58"),
    ("58 cm in total", "58 cm"),
    ("58 miles per hour", "58 miles per hour"),
    ("that John has 42 apples", "42"),
    ("5 million people", "5 million"),
    ("20 percent of the class", r"20\%"),
    ("minus 58", "-(58)"),
    ("3 and 5, respectively", "3 and 5"),
    ("the number of points of $f(x)$ is 19", "19"),
    ("58 or 59", "58 or 59"),
    ("less than 58", "less than 58"),
    ("58 and a half", "58 and a half"),
    ("58 dozen", "58 dozen"),
    ("58 x", "58 x"),
    ("(C) 15 apples", "(C) 15 apples"),
]
BEGUN = [
    r"\boxed{12} is the first. So the answer is \boxed{",
    r"\boxed{12}. Corrected: \boxed{13",
    r"\boxed{12}. Final: <answer>1",
    "<answer>7</answer> Then <answer>8",
    "<answer>8",
    "#### 12\nCheck again.\n####",
    "The answer is 12. Let me check. The answer is",
    "The answer is 12. So the final answer is: $",
    r"The answer is 12. So the answer is $\frac{1",
    r"The answer is \frac{1}{2",
    "The answer is 12,",
    "**Answer:** 12\n\n**Answer:**",
    r"We have $x=5$. Now \[ x = ",
    "so 3 + 4 =",
]
PARTS = [
    (r"$x=\boxed{1}$ and $y=\boxed{2}$", ("x = 1", "y = 2")),
    (r"$x=\boxed{3}$ or $x=\boxed{5}$", ("x = 3", "x = 5")),
    (r"The width is \boxed{3} and the length is \boxed{5}.", ("3", "5")),
    (r"First, \boxed{3}. Then we square it and get \boxed{9}.", ("9",)),
    ("The answer is 3. The answer is 5.", ("3", "5")),
    ("The answer is 3. Wait, the answer is 5.", ("5",)),
    ("Answer: 41 was a wrong guess.\nAnswer: 42", ("42",)),
    ("It is 3 or 5.", ("3", "5")),
    ("we get x = 3 and y = 5.", ("x = 3", "y = 5")),
    ("it is 7, not 5.", ("7",)),
    ("three apples * 5", None),
    ("we take floor(5)", None),
    ("two and 1/2 cups", ("two and 1/2",)),
]
SCRIPTS = [
    "所以答案是58。", "答案：58个苹果", "一共有58个苹果。", "したがって、答えは58です。", "따라서 정답은 58입니다.",
    "الجواب هو 58.", "Ответ: 58 яблок.", "Итого осталось 58 яблок.", "ดังนั้นคำตอบคือ 58 บาท", "इसलिए उत्तर 58 है।",
    "La respuesta es 58 manzanas.", "Die Antwort ist 58 Äpfel.", "Η απάντηση είναι 58 μήλα.", "Đáp án: 58 quả táo",
]  # fmt: skip
DISPLAYED = [
    "The final answer is\n\\[\n58\n\\]", "The final answer is:\n$$\n58\n$$\n", r"The final answer is \(58\).",
    "Answer $$\n58\n$$", "**Final Answer**\n\n58", "## Answer\n\n$$58$$\n\nBecause 29*2 = 58 and 3 is odd.",
    "Answer:\nThere are 50 + 8 = 58 apples in 3 boxes. So 58.",
]  # fmt: skip
GOLDS = [
    (r"\boxed{1}\boxed{2}", "1, 2"),
    (r"\boxed{1} papers and \boxed{2} bins", "1, 2"),
    (r"$x=\boxed{1}$, $y=\boxed{2}$", "x = 1, y = 2"),
    (r"First \boxed{12}, so the sum is \boxed{30}.", "30"),
    (r"\boxed{5}, that is \boxed{5}", "5"),
    ("no box", None),
]


@pytest.mark.parametrize(("text", "contents"), EXPRESSIONS)
def test_expressions_are_whole(text: str, contents: list[str]) -> None:
    assert [found.content for found in expressions(text)] == contents


@pytest.mark.parametrize(("clause", "value"), VALUES)
def test_a_value_counts_where_the_words_around_it_cannot_change_it(clause: str, value: str) -> None:
    assert value_of(clause) == value


@pytest.mark.parametrize("response", BEGUN)
def test_an_answer_begun_and_not_ended_is_none(response: str) -> None:
    assert final_answer(response) is None


@pytest.mark.parametrize(("response", "parts"), PARTS)
def test_what_is_offered_side_by_side_belongs_together(response: str, parts: tuple[str, ...] | None) -> None:
    found = final_answer(response)
    assert (found and found.parts) == parts


@pytest.mark.parametrize("response", SCRIPTS + DISPLAYED)
def test_an_answer_in_any_script_and_on_its_own_lines(response: str) -> None:
    found = final_answer(response)
    assert found is not None and len(found.parts) == 1
    assert found.parts[0].split()[0] == "58"


@pytest.mark.parametrize(("solution", "gold"), GOLDS)
def test_all_boxes_of_a_gold_count(solution: str, gold: str | None) -> None:
    assert boxed_gold(solution) == gold


def test_time_is_linear_in_the_response() -> None:
    floods = [
        "the answer is $5$ is ",
        "{",
        "5!",
        "(5 ",
        "$ 5 ",
        "answer to ",
        "1 1/1 ",
        "x=\\boxed{1} and ",
        "<a",
        "*",
        "a1",
        "半",
        "x = 3, ",
    ]
    for flood in floods:
        began = time.process_time()
        final_answer(flood * (200_000 // len(flood)))
        assert time.process_time() - began < 0.5, flood
