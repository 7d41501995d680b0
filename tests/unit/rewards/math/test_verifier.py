"""Statuses, golds in the forms of data sets, threads and asyncio; verdicts are in `tests/contract/math` too."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlreason.rewards.math import reward, verify
from rlreason.rewards.math.extract import final_answer
from rlreason.types import Task

RIGHT = [
    ("42", "42"),
    ("42", "42.0"),
    ("1/2", r"\frac12"),
    ("1/2", "0.5"),
    ("1234", "1,234"),
    ("1234", "1{,}234"),
    ("1234567", r"1\,234\,567"),
    ("1234", r"1\!234"),
    ("3.5", r"3\frac{1}{2}"),
    ("3.5", "3½"),
    ("3.5", "3 1/2"),
    (r"\frac{1}{3}", r"0.\overline{3}"),
    ("1/3", "0.333333"),
    ("1/2", r"1\over 2"),
    ("42", "42."),
    ("42", "$42$"),
    ("42", r"42\text{ cm}"),
    ("42", "42 cm"),
    ("90", r"90^\circ"),
    ("90", "90°"),
    ("18", r"\$18"),
    ("18", "€18"),
    ("-5", "−5"),
    (r"\infty", "∞"),
    (r"\sqrt{2}", "√2"),
    ("-1", "i^2"),
    ("x^2", "x²"),
    (r"(1,\infty)", "x>1"),
    (r"(1,\infty)", "x > 1"),
    (r"\{1,2\}", "2,1"),
    ("5", "x=5"),
    ("5", "2+3=5"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"\log 4", r"2\log 2"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\sin(2x)", r"2\sin x\cos x"),
    ("3+2i", "2i+3"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
    ("A", r"\text{(A)}"),
    ("B", "(B)"),
    ("Monday", r"\text{monday}"),
    (r"50\%", "50%"),
    ("0.5", "50%"),
    ("50", r"50\%"),
    ("204_5", "204_5"),
    ("204_{5}", "204₅"),
    ("73", "**73**"),
    ("2,3", r"x=2 \text{ or } x=3"),
    ("2,3", "2 and 3"),
    (r"\emptyset", r"\varnothing"),
    ("42", '\ufeff42'),
    ("3.14159265", r"\pi"),
    (r"\pi", "3.14159265"),
    ("6", r"\boxed{6}"),
    (r"x \in [1,2]", "[1,2]"),
    (r"\left[1,2\right)", "[1,2)"),
    ("1.5e3", "1500"),
    (r"1.5\times 10^3", "1500"),
    ("120", "5!"),
    ("10000000000000000000001", "10^{22}+1"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    ("3:4", "3:4"),
    (r"\frac{a}{b}", "a/b"),
    ("y=2x+1", "y=2x+1"),
    ("y=2x+1", "2x+1"),
    ("1,2,3", "1,2,3"),
    ("(3,-2)", "(3, -2)"),
    (r"\pm 2", "2, -2"),
    (r"-\frac{1}{2}", "-1/2"),
    (r"\frac{-1}{2}", "-1/2"),
    ("12", r"12 \text{ square units}"),
    (r"5\sqrt{2}", "5√2"),
    ("e^{x}", r"\exp(x)"),
    ("0", "0"),
    (r"\frac{3\pi}{4}", "3π/4"),
    ("x^{60}", "x^{60}"),
    ("4", "2^2"),
]  # fmt: skip
"""(gold, content of the box)"""

WRONG = [
    ("3", r"3 \text{ or } 5"),
    ("3", "3 or 5"),
    ("5", "3 or 5"),
    ("57", r"57 \lor 58"),
    ("57", "56=57"),
    ("57", "57=56"),
    ("5", "500"),
    ("500", "5"),
    ("5", "[0,1000]"),
    ("5", r"\mathbb{R}"),
    ("5", r"\{5,6\}"),
    ("10000000000000000000000", "10000000000000000000001"),
    ("10^{-7}", r"2\cdot 10^{-7}"),
    ("2^{-99}", "2^{-98}"),
    ("e^{-50}", "e^{-51}"),
    (r"\frac{1}{20!}", r"\frac{1}{21!}"),
    ("204_5", "204_6"),
    ("204_5", "204"),
    ("204_5", "54"),
    ("(1,2)", "(2,1)"),
    ("[1,2]", "(1,2)"),
    ("[1,2]", "[1,2)"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    ("3+2i", "3-2i"),
    ("2", r"\pm 2"),
    (r"\pm 2", "2"),
    ("2,3", "2"),
    ("5", r"\frac{0}{0}"),
    ("5", "nan"),
    ("5", r"\infty"),
    ("5", ".*"),
    ("5", "the correct answer"),
    ("5", "__import__('os').system('x')"),
    ("1/2", r"open('/tmp/pwn','w').write('x')*\pi"),
    ("5", "exit(0)"),
    (r"\frac{1}{3}", r"\int_0^1 x^2 dx"),
    ("5", "x"),
    ("5", "5x"),
    ("5", "5 million"),
    ("5 m", "5 cm"),
    ("1/3", "0.333"),
    ("1/3", "0.33"),
    ("12345", "12346"),
    (r"\sqrt{2}", "1.41"),
    (r"\pi", "3.14"),
    (r"\pi", "22/7"),
    ("A", "B"),
    ("A", "A or B"),
    ("Monday", "Tuesday"),
    ("5", r"\text{5 or 6}"),
    ("x^2", "x^3"),
    ("1e-7", "2e-7"),
    ("10^{-7}x", r"2\cdot10^{-7}x"),
    ("5", '{"score": 1}'),
    ("0.3", r"0.\overline{3}"),
    ("120", "120, 121"),
    ("5", "4<x<6"),
    ("50", "0.5"),
    ("1", "1.0000001"),
    ("x>1", "x<1"),
    ("(1,2)", "1"),
    ("1234", "1,2,3,4"),
    ("42", "4 2"),
    ("-5", "5"),
    ("3", "{3,5}"),
    ("3", "3;5"),
    ("3", "3/5"),
    ("10", "10^{10^{10}}"),
]  # fmt: skip
"""(gold, content of the box): near misses, hedges, supersets, restatements, tiny magnitudes, injected code."""

EXTRACTION = [
    ("ok", "21", r"first \boxed{12}, but then the final answer \boxed{21}"),
    ("ok", "3,5", r"\boxed{3} and \boxed{5}"),
    ("ok", "5", r"\boxed{5}, so \boxed{5}"),
    ("ok", "5", r"\boxed{\boxed{5}}"),
    ("ok", "7", r"\fbox{7}"),
    ("ok", "5", r"<think>\boxed{6}</think><answer>5</answer>"),
    ("ok", "42", "6 * 7\n#### 42"),
    ("ok", "42", "So the answer is 42."),
    ("ok", "42", "The final answer is $42$ dollars."),
    ("ok", "42", "The answer is that John has 42 apples."),
    ("ok", "4", "The answer is 4 (since 2+2=4)"),
    ("ok", "42", "**Answer:** 42"),
    ("ok", "-3", "The answer is -3"),
    ("ok", "(1,2)", "The answer is (1, 2)."),
    ("ok", "42", "we get 6*7 = 42"),
    ("ok", "x+1", "we get $x+1$."),
    ("ok", "18", "Janet makes $18 every day."),
    ("ok", "6", "it costs $5 and $6"),
    ("ok", "1/2", r"\frac{1}{2}"),
    ("wrong", "5", r"\boxed{3} or \boxed{5}"),
    ("wrong", "5", "\\boxed{3}\n\\boxed{5}"),
    ("wrong", "5", r"The answer is \boxed{3}. The answer is \boxed{5}."),
    ("wrong", "5", "<answer>3</answer> or <answer>5</answer>"),
    ("wrong", "42", "The answer is 41 or 42."),
    ("wrong", "5", r"<think>\boxed{5}</think> \boxed{6}"),
    ("unparseable", "5", r"<think> \boxed{5}"),
    ("unparseable", "5", "I don't know"),
    ("unparseable", "5", ""),
    ("wrong", "5", r"\boxed{}\boxed{6}"),
    ("unparseable", "6", r"\boxed{6} and so \boxed{}"),
    ("wrong", "5", r"\boxed{" + "1" * 3000 + "}"),
]


def boxed(answer: str) -> str:
    return rf"So the result is \boxed{{{answer}}}."


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_right_answers(gold: str, answer: str) -> None:
    score = verify(boxed(answer), gold, timeout_s=20.0)
    assert (score.status, score.value) == ("ok", 1.0), score.detail


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_wrong_answers(gold: str, answer: str) -> None:
    score = verify(boxed(answer), gold, timeout_s=20.0)
    assert (score.status, score.value) == ("wrong", 0.0), score.detail


@pytest.mark.parametrize(("status", "gold", "response"), EXTRACTION)
def test_extraction(status: str, gold: str, response: str) -> None:
    assert verify(response, gold).status == status, final_answer(response)


def test_a_missed_deadline_is_a_timeout_and_is_not_remembered() -> None:
    verify(boxed("x+0"), "x")
    hard = "(" * 14 + "x+2" + ")" * 14
    assert verify(boxed(hard), "x+1", timeout_s=0.05).status == "timeout"
    assert verify(boxed(hard), "x+1", timeout_s=0.05).status == "timeout"
    assert verify(boxed("1+x"), "x+1").status == "ok", "the next check has a new child"


def test_golds_in_the_forms_of_data_sets() -> None:
    assert verify(boxed("1234"), "so 1,230 + 4\n#### 1,234").status == "ok"
    assert verify(boxed("1/2"), r"$\frac{1}{2}$").status == "ok"
    assert verify(boxed("7"), r"Hence \boxed{7}.").status == "ok"
    assert verify(boxed("2"), ["1", "2"]).status == "ok"
    assert verify(boxed("3"), ["1", "2"]).status == "wrong"


def test_an_unreadable_gold_is_an_error_not_a_wrong_answer() -> None:
    score = verify(boxed("3x"), "hello world ][^")
    assert score.status == "verifier_error" and "hello world ][^" in score.detail
    assert verify(boxed("3"), "").status == "verifier_error"
    assert verify(boxed("3"), []).status == "verifier_error"
    assert reward(boxed("3"), Task(id="t", prompt="p")).status == "verifier_error"
    assert verify(boxed("3x"), ["hello world ][^", "3x"]).status == "ok"


def test_reward_reads_the_task() -> None:
    task = Task(id="t", prompt="3+4=", answer=("7", "seven"))
    assert reward(boxed("7"), task).value == 1.0
    assert reward(boxed("8"), task).status == "wrong"


def test_works_in_threads_and_asyncio() -> None:
    def check(n: int) -> float:
        return verify(boxed(f"(x+{n})^2"), f"x^2+{2 * n}x+{n * n}", timeout_s=20.0).value

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(check, range(1, 9))) == [1.0] * 8

    async def many() -> list[float]:
        return await asyncio.gather(*(asyncio.to_thread(check, n) for n in range(9, 13)))

    assert asyncio.run(many()) == [1.0] * 4


def test_numbers_need_neither_sympy_nor_a_child() -> None:
    code = r"""
import sys
from rlreason.rewards.math import verifier as math, workers as math_workers
assert math.verify(r"\boxed{\frac{1}{2}}", "0.5").value == 1.0
assert math_workers._pool.pid is None
heavy = {"torch", "ray", "vllm", "sympy", "math_verify", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
