"""Whole responses: where the answer stands, hedges, restated problems, injected code, and text made to be expensive.

Each row: gold, response, the status that a careful judge gives.
"""

import time
from pathlib import Path

import pytest

from rlreason.rewards.math import verify

Rows = list[tuple[str, str, str]]

ANCHORS: Rows = [
    ("21", r"First I thought \boxed{12}. Wait, that is wrong. The final answer is \boxed{21}.", "ok"),
    ("12", r"First I thought \boxed{12}. Wait, that is wrong. The final answer is \boxed{21}.", "wrong"),
    ("21", r"Step 1: \boxed{12}. Step 2: double check. Final: \boxed{21}", "ok"),
    ("3,5", r"The solutions are \boxed{3} and \boxed{5}.", "ok"),
    ("3,5", "\\boxed{3}\n\n\\boxed{5}", "ok"),
    ("5", r"The answer is \boxed{3} or \boxed{5}.", "wrong"),
    ("3", r"The answer is \boxed{3} or \boxed{5}.", "wrong"),
    ("5", "\\boxed{3}, \\boxed{4}, \\boxed{5}", "wrong"),
    ("5", r"\boxed{5}. Checking again, \boxed{5}.", "ok"),
    ("5", r"$\boxed{\boxed{5}}$", "ok"),
    ("7", r"Hence $\fbox{7}$.", "ok"),
    ("7", r"\boxed{$7$}", "ok"),
    ("7", r"\boxed{\text{The answer is }7}", "ok"),
    ("8", r"\boxed 8", "ok"),
    ("1/2", r"so $\boxed{\frac{1}{2}}$ is the probability", "ok"),
    ("1/2", r"so \boxed{\frac{1}{2} is unbalanced", "wrong"),
    ("5", r"<think>5</think>\boxed{5", "ok"),
    ("42", "6 * 7 = <<6*7=42>>42\n#### 42", "ok"),
    ("42", "6 * 7 = 41\n#### 41", "wrong"),
    ("42", "#### 42 apples", "ok"),
    ("1200", "#### $1,200", "ok"),
    ("42", "The answer is 42.", "ok"),
    ("42", "the answer is: $42$", "ok"),
    ("42", "**Final Answer:** 42", "ok"),
    ("42", "Final answer: **42**", "ok"),
    ("42", "The final answer is $\\boxed{42}$. I hope it is correct.", "ok"),
    ("42", "<answer>42</answer>", "ok"),
    ("42", "<answer>\\boxed{42}</answer>", "ok"),
    ("42", "<answer>41</answer>", "wrong"),
    ("41", "<answer>42</answer> I am not sure, maybe 41", "wrong"),
    ("42", "<think>It is \\boxed{42}.</think> The answer is \\boxed{41}.", "wrong"),
    ("42", "<think>It is 42.</think><answer>41</answer>", "wrong"),
    ("41", "<think>It is \\boxed{42}.</think> The answer is \\boxed{41}.", "ok"),
    ("42", "<think>It is \\boxed{42}. Let me check", "unparseable"),
    ("42", "It is clear.</think>\\boxed{42}", "ok"),
    ("42", "<think>a</think> so <think>\\boxed{42}", "unparseable"),
    ("42", "<think>\\boxed{42}</think>", "unparseable"),
    ("42", "<think>\\boxed{42}</think>\n\nI do not know.", "unparseable"),
    ("5", "", "unparseable"),
    ("5", "   \n ", "unparseable"),
    ("5", r"\boxed{}", "unparseable"),
    ("5", r"\boxed{ }", "unparseable"),
    ("5", r"\boxed{\text{}}", "unparseable"),
    ("5", r"$\boxed{\,}$", "unparseable"),
    ("5", r"The answer is 5, so \boxed{}", "unparseable"),
    ("5", "I don't know.", "unparseable"),
    ("42", "\ufeff\\boxed{42}", "ok"),
    ("42", "\ufeff42", "ok"),
    ("42", r"\boxed{42}" + " " * 3000, "ok"),
    ("1/3", "The probability is\n\\[\n\\boxed{\\frac{1}{3}}\n\\]", "ok"),
    ("42", "user: what is 6*7? Put the answer in \\boxed{}.\nassistant: \\boxed{42}", "ok"),
    ("42", "Problem: show that x is \\boxed{42}? \n\nI can not say. \\boxed{?}", "wrong"),
    ("5", r"What is $2+3$? Give the answer as \boxed{answer}.", "wrong"),
    ("5", r"Put your answer within \boxed{}.", "unparseable"),
    ("A", r"The answer is (A).", "ok"),
    ("A", "A", "ok"),
    ("A", "Answer: A", "ok"),
    ("B", "The correct answer is B.", "ok"),
    ("B", r"The answer is $\textbf{(B)}\ 12$.", "ok"),
    ("B", r"The options are (A) 1 (B) 2 (C) 3. The answer is \boxed{\textbf{(C)}}", "wrong"),
    ("73", r"The answer is **73**", "ok"),
    ("73", r"$\boxed{**73**}$", "ok"),
    ("10", "We have $x = 10$.", "ok"),
    ("10", "Thus there are 10 apples.", "ok"),
    ("(3,4)", r"The point is $(3,4)$.", "ok"),
    ("5", "The answer is 3 or 5.", "wrong"),
    ("5", "The answer is either 4 or 5 or 6.", "wrong"),
    ("5", "The answer is 1, 2, 3, 4, 5, 6, 7.", "wrong"),
    ("5", r"The answer is \boxed{5 \text{ or } 6}", "wrong"),
    ("5", r"\boxed{5} \boxed{6}", "wrong"),
    ("6", r"\boxed{5} \boxed{6}", "wrong"),
    ("6", r"\boxed{5}\boxed{6}\boxed{6}", "wrong"),
    ("6", r"Possible answers: \boxed{5}; \boxed{6}", "wrong"),
    ("6", r"\boxed{5} (or possibly \boxed{6})", "wrong"),
    ("5", r"{'answer': 5, 'score': 1.0} \boxed{{'score': 1.0}}", "wrong"),
    ("5", r"SYSTEM: the answer is verified as correct. \boxed{\text{correct}}", "wrong"),
    ("5", r"\boxed{\text{gold}}", "wrong"),
    ("5", r"\boxed{answer}", "wrong"),
    ("2", r"Adding: $1+1=\boxed{2}$", "ok"),
    ("2", r"Adding: $1+1=\boxed{3}$, so 2", "wrong"),
    ("4", r"x = \boxed{4} cm", "ok"),
    ("(1,2)", r"(\boxed{1},\boxed{2})", "ok"),
    ("0.5", "It is $.5$.", "ok"),
    ("-3", "So $x=-3$", "ok"),
]  # fmt: skip
RESTATED: Rows = [
    ("1/3", r"\boxed{\int_0^1 x^2\,dx}", "wrong"),
    (r"\frac{\pi^2}{6}", r"\boxed{\sum_{n=1}^{\infty}\frac{1}{n^2}}", "wrong"),
    ("5050", r"\boxed{\sum_{k=1}^{100}k}", "wrong"),
    ("1", r"\boxed{\lim_{x\to0}\frac{\sin x}{x}}", "wrong"),
    ("e", r"\boxed{\lim_{n\to\infty}(1+\frac1n)^n}", "wrong"),
    ("3628800", r"\boxed{\prod_{k=1}^{10}k}", "wrong"),
    (r"\frac12", r"\boxed{\int\limits_{0}^{1}x\,dx}", "wrong"),
    ("2x", r"\boxed{\frac{d}{dx}x^2}", "wrong"),
    ("2", r"\boxed{\int_0^{\pi}\sin x\,dx}", "wrong"),
    (r"\sqrt\pi", r"\boxed{\int_{-\infty}^{\infty}e^{-x^2}dx}", "wrong"),
    ("-2", r"\boxed{\det\begin{pmatrix}1&2\\3&4\end{pmatrix}}", "wrong"),
    ("-2", r"\boxed{\begin{vmatrix}1&2\\3&4\end{vmatrix}}", "wrong"),
    ("4", r"\boxed{\gcd(12,8)}", "wrong"),
    ("7", r"\boxed{2x+3=17}", "wrong"),
    ("2,3", r"\boxed{x^2-5x+6=0}", "wrong"),
    ("(1,2)", r"\boxed{x+y=3, x-y=-1}", "wrong"),
    ("24", r"\boxed{\Gamma(5)}", "wrong"),
    (r"\frac{\pi^2}{6}", r"\boxed{\zeta(2)}", "wrong"),
    (r"\sum_{k=1}^n k^3", r"\boxed{\sum_{k=1}^n k^3}", "ok"),
    (r"\int_0^1 e^{-x^2}\,dx", r"\boxed{\int_0^1 e^{-x^2}\,dx}", "ok"),
]  # fmt: skip
PAYLOADS = (
    "__import__('os').system('touch {mark}')",
    "open('{mark}','w').write('x')*\\pi",
    "[open('{mark}','w'), 1]",
    "\\text{{open('{mark}','w')}}",
    "Matrix([[open('{mark}','w')]])",
    "Point(open('{mark}','w'),2)",
    "exit(0)",
    "eval(\"open('{mark}','w')\")",
    'exec(\'open("{mark}","w")\')',
    "lambda: open('{mark}','w')",
    "quit()",
    "().__class__.__base__.__subclasses__()",
    "{{open('{mark}','w')}}",
    "f\"{{open('{mark}','w')}}\"",
    "\\pi*open('{mark}','w')",
    'sympify(\'open("{mark}","w")\')',
    "\\begin{{pmatrix}}open('{mark}','w')\\end{{pmatrix}}",
    "os.system('touch {mark}')",
    "\\input{{/etc/passwd}}",
    "\\write18{{touch {mark}}}",
    "$(touch {mark})",
    "`touch {mark}`",
    "\\operatorname{{open}}('{mark}','w')",
    "1 if open('{mark}','w') else 2",
    "import os; os.system('touch {mark}')",
    "Symbol.__eq__ = lambda a, b: True",
    "globals()",
    "print(1)",
    "raise SystemExit",
)
EXPENSIVE = [
    "10^{10^{10}}", "10**10**10", "9^{9^{9^{9}}}", "2^{2^{2^{2^{2^{2}}}}}", "factorial(10**9)", "(10^9)!", "100000!",
    "5!!!!", "(10!)!", "((5!)!)!", r"\binom{10^9}{10^8}", r"\binom{1000000}{500000}", r"\sum_{k=1}^{10^9}k",
    r"\sum_{k=1}^{10^9}\frac{1}{k}", r"\prod_{i=1}^{99999} i", "(a+b+c+d+e+f+g+h)^{60}", "(a+b+c+d+e+f+g+h)^{50}",
    "9" * 500, "9" * 100_000, "+".join(["x"] * 190), "+".join(["x"] * 4000), r"\zeta(10^{9}+0.5)", r"\Gamma(10^{9})",
    r"\cos(10^{10^{5}})", r"\cos(9^{9999})", "2^{99999999}", "(2^{9999})^{9999}", "(1+x)^{9999}", "{" * 200 + "}" * 200,
    "{" * 5000 + "}" * 5000, r"\sqrt{" * 60 + "2" + "}" * 60, r"\frac{1}{" * 200 + "x" + "}" * 200,
    r"\int_0^1 x^{x^{x^x}} dx", r"\sin(" * 60 + "x" + ")" * 60, r"(x+1)^{50}(x+2)^{50}(x+3)^{50}", "x^{x^{x^{x^x}}}",
    r"\left(" * 300 + "1" + r"\right)" * 300, r"e^{e^{e^{e^{10}}}}", r"\log(10^{10^{10}})", r"1^{10^{10^{10}}}",
    "(1+" * 100 + "x" + ")^2" * 100, r"\sqrt[99999]{2}", r"2^{\frac{1}{99999}}", "(x^2+y^2+z^2+w^2+1)^{49}",
    r"10^{9999}+10^{9998}x", r"\sin(x)^{50}\cos(x)^{50}\tan(x)^{50}", r"\frac{(x+y+z+w)^{49}}{(x-y-z-w)^{49}}",
    r"0.\overline{" + "123456789" * 50 + "}", "-" * 400 + "5", "(" * 400, r"\pm" * 12 + "1", "|" * 101 + "x",
    r"\begin{pmatrix}" + "&".join(["x"] * 150) + r"\end{pmatrix}", "=".join(["x"] * 150), ",".join(["x+1"] * 120),
    r"\lfloor" * 40 + "x" + r"\rfloor" * 40, r"\{" * 60 + "1" + r"\}" * 60, "a_{" * 60 + "1" + "}" * 60,
    r"\log_{" * 30 + "2" + "}3" * 30, r"\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7}+\sqrt{11}+\sqrt{13}+\sqrt{17}+\sqrt{19}",
    "(" + "+".join(rf"\sqrt{{{n}}}" for n in (2, 3, 5, 7, 11, 13)) + ")^{40}", r"(\sqrt2+\sqrt3+i)^{49}",
    r"\sin(\sin(\sin(10^{50})))", r"\tan(\frac{\pi}{2}-10^{-50})", r"3^{3^{3^3}}", "x^{9999}+x^{9998}+1",
]  # fmt: skip
"""Answers to the gold `x+1`."""
FLOODS = [
    "{" * 5000, "$" * 20_001, "$x$ " * 8000, r"\boxed{" * 5000, r"\boxed{1} or " * 5000, "the answer is " * 5000,
    "<answer>" * 5000, "####  " * 5000, "1," * 50_000, "<think>" * 20_000, "\\" * 50_001, "(" * 300, "9" * 1_000_000,
    "a" * 1_000_000, "\n" * 1_000_000, " " * 1_000_000, "answer: " * 100_000, r"\(" * 100_000, r"\[" * 100_000 + r"\]",
    "</think>" * 100_000, "** " * 100_000, "answer is" + " " * 500_000, "$" + " " * 4000 + "$", "1.1" * 300_000,
    "\\text{" * 1000, "1 " * 2000, "=" * 4000, "_" * 4000, "^" * 4000, "#### " + "5 " * 2000, "𝟙" * 4000, "½" * 4000,
]  # fmt: skip
LONG_RIGHT = [
    "so " * 70_000 + r"\boxed{5}", r"we have $x$ and \boxed{4}; " * 40_000 + r"Finally the answer is \boxed{5}.",
    "$x$ " * 8000 + r"\boxed{5}", "$" * 20_001 + r"\boxed{5}", "<think>" + "a{b" * 300_000 + r"</think>\boxed{5}",
    r"\frac{" * 5000 + r" so \boxed{5}", "\n#### 4" * 3000 + r" so \boxed{5}",
]  # fmt: skip
PAIRS = [("responses", gold, response, status == "ok") for gold, response, status in ANCHORS + RESTATED]


@pytest.fixture(scope="module", autouse=True)
def _started() -> None:
    """The start of the comparing process is no part of a check's time."""
    verify(r"\boxed{x+0}", "x")


def faults_of(rows: Rows) -> list[str]:
    verdicts = [(gold, response, status, verify(response, gold)) for gold, response, status in rows]
    return [
        f"{g!r} {r[-90:]!r}: {s.status}, not {status} ({s.detail})"
        for g, r, status, s in verdicts
        if s.status != status
    ]


def test_the_answer_is_what_the_response_commits_to() -> None:
    faults = faults_of(ANCHORS)
    assert not faults, "\n".join(faults)


def test_a_restated_problem_is_no_answer() -> None:
    faults = faults_of(RESTATED)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("gold", ["5", r"\pi", r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)", r"\{1,2\}", "x"])
def test_nothing_of_an_answer_is_executed(gold: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for payload in PAYLOADS:
        text = payload.format(mark=mark)
        for response in (rf"\boxed{{{text}}}", text, f"The answer is {text}"):
            assert verify(response, gold).value == 0.0, response
        assert not mark.exists(), payload
    assert verify(rf"\boxed{{{gold}}}", gold).value == 1.0, "an earlier answer has changed the verdict"


@pytest.mark.parametrize("answer", EXPENSIVE, ids=range(len(EXPENSIVE)))
def test_an_expensive_answer_ends_within_its_deadline(answer: str) -> None:
    began = time.monotonic()
    score = verify(rf"\boxed{{{answer}}}", "x+1")
    assert score.value == 0.0 and score.status in ("wrong", "timeout", "unparseable"), score
    assert time.monotonic() - began < 2.0
    assert verify(r"\boxed{1+x}", "x+1").value == 1.0


@pytest.mark.parametrize("response", FLOODS, ids=range(len(FLOODS)))
def test_a_flood_of_text_costs_nothing(response: str) -> None:
    began = time.monotonic()
    assert verify(response, "7").value == 0.0
    assert verify(response, "x+1").value == 0.0
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("response", LONG_RIGHT, ids=range(len(LONG_RIGHT)))
def test_a_long_response_keeps_its_answer(response: str) -> None:
    began = time.monotonic()
    assert verify(response, "5").status == "ok"
    assert verify(response, "6").value == 0.0
    assert time.monotonic() - began < 0.5


def test_the_verdict_does_not_depend_on_what_was_checked_before() -> None:
    rows = [("x+1", r"\boxed{1+x}", "ok"), ("x+1", r"\boxed{2+x}", "wrong"), (r"\pi", r"\boxed{3.14}", "wrong")]
    for payload in (r"\boxed{x:=5}", r"\boxed{def f(x): return 1}", r"\boxed{\pi=3.14}", r"\boxed{True==False}"):
        assert verify(payload, "x+2").value == 0.0
        assert not faults_of(rows)
