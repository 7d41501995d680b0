r"""Verdicts by kind of form: names in every type, units, lists, points, choices, equations, golds hard to parse.

Each row: gold, right answers, wrong ones. Neither side may be a `verifier_error`: a gold that a reader calls well
formed is read, or compared as text.
"""

import pytest

from rlreason.rewards.math import verify

Rows = list[tuple[str, list[str], list[str]]]

CHOICES: Rows = [
    (r"\mathrm{H}_2\mathrm{O}", ["H_2O", r"\text{H}_{2}\text{O}"], ["H", "(H)", r"\text{H}"]),
    (r"\mathrm{E}*2", ["2E"], ["E", r"\mathrm{E}"]),
    (r"\text{A}+\text{B}", ["A+B", "B+A"], ["A", "(A)"]),
    (r"\mathrm{C}_6\mathrm{H}_{12}\mathrm{O}_6", ["C_6H_{12}O_6"], ["C"]),
    (r"A\cap B", [r"A \cap B"], ["A", "B"]),
    ("A", ["A", "(A)", "A)", "A. 12", r"\textbf{(A)} 12", r"\text{A}"], [r"A \cap X", "A + x", "A^2", "A_1", "A=5"]),
    ("B. 12", ["B", "12", "B) 12"], ["A", "13"]),
    (r"\textbf{(C)}\ \frac12", ["C", "0.5"], ["D", "2"]),
]  # fmt: skip
NUMBERS: Rows = [
    ("125", ["125", "125.0"], ["0,125", "0.125"]),
    ("0,125", ["0.125", r"\frac18"], ["125"]),
    ("0,111", ["0.111"], ["111", "1/9"]),
    ("1,234", ["1234"], ["1.234", "0,1234"]),
    (r"12.5\%", ["12.5%", "0.125", "12.5"], ["x", "125", r"\sqrt2"]),
    (r"12.5\% x", ["0.125x", r"\frac{x}{8}"], ["12.5x", "1", "x"]),
    (r"\approx 8.24", ["8.24", r"x \approx 8.24"], ["8.25", "3x"]),
    (r"\frac{\sqrt{3}}{3} \approx 0.577", [r"\frac{1}{\sqrt3}", r"\frac{\sqrt3}{3}\approx 0.58"], ["0.577", r"\sqrt3"]),
    (r"\frac\pi2", [r"\frac{\pi}{2}", r"0.5\pi", r"\frac{\pi}2"], ["3", r"\frac{2}{\pi}"]),
    (r"\sqrt\frac12", [r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}"], ["x", r"\frac12", r"\frac{\sqrt1}{2}"]),
    (r"x^\frac12", [r"\sqrt x"], ["x", r"\frac x2"]),
    (r"\sqrt12", [r"2\sqrt3"], ["2", r"\sqrt2"]),
]  # fmt: skip
NAMES: Rows = [
    (r"1-\frac{1}{\mathrm{e}}", [r"1-\frac1e", "1-e^{-1}"], [r"1+\frac{1}{\mathrm{e}}"]),
    (r"2\text{e}", ["2e"], ["2", "2x"]),
    (r"\ln 2", [r"\operatorname{ln} 2", r"\mathrm{ln}\,2", r"\text{ln}(2)"], [r"\log_2 2", "2"]),
    (r"\arctan 2", [r"\mathrm{arctan}(2)", r"\operatorname{arctg} 2", r"\tan^{-1}(2)"], [r"\arctan 3", r"\tan 2"]),
    (r"x+y", [r"\mathbf{x}+\mathbf{y}", r"\mathit{x}+\mathrm{y}", r"\boldsymbol{x}+y"], [r"\mathbf{x}-\mathbf{y}"]),
    (r"\lfloor x \rfloor", [r"\operatorname{floor}(x)", r"\text{floor}(x)", "floor(x)"], [r"\lceil x\rceil", "x"]),
    (r"\lceil \frac{n}{2}\rceil", [r"\operatorname{ceil}(\frac n2)"], [r"\lfloor \frac n2\rfloor"]),
    ("f'(x)", [r"f^{\prime}(x)", r"f^\prime(x)"], ["f(x)", "f''(x)"]),
    ("y''", [r"y^{\prime\prime}"], ["y'", "y"]),
    ("A^T", ["A^{T}", r"A^{\mathrm{T}}"], ["A", "A^2"]),
    (r"x_{\text{max}}", [r"x_{\mathrm{max}}"], ["x", r"x_{\text{min}}"]),
    (r"\bar x", [r"\bar{x}", r"\overline{x}"], ["x", r"\hat{x}"]),
    (r"\hat{x}", [r"\hat x", r"\widehat{x}"], ["x"]),
    ("z^*", ["z^{*}"], ["z", "5"]),
    (r"n\choose k", [r"\binom nk"], ["n", r"\binom kn"]),
    (r"\int_0^1\int_0^1 xy dx dy", [r"\int_0^1\int_0^1 yx\,dx\,dy"], ["x", "1"]),
    ("E_1", ["E_{1}", r"\mathrm{E}_1"], ["5", "E", "E_2", "e"]),
    ("I_1+I_2", ["I_2+I_1"], ["2I_1", "2i"]),
    ("1+2+\\ldots+n", [r"1+2+\cdots+n"], ["n+3"]),
    (r"p\to q", [r"p \rightarrow q"], ["q", r"q\to p"]),
    (r"\mathbb{Z}_6", [r"\mathbb{Z}_{6}"], ["6", r"\mathbb{Z}"]),
    (r"P(A\cap B)", [r"P(A \cap B)"], ["P(A)", "5", "0=0"]),
    (r"\operatorname{Var}(X)", [r"\mathrm{Var}(X)"], ["X", r"\operatorname{Cov}(X)"]),
    (r"\{(x,y): x+y=1\}", [], ["x+y=1", "(x,y)", "1"]),
    (r"\sum_{k=1}^n k", [r"\frac{n(n+1)}{2}", r"\sum_{i=1}^n i"], ["n^2", "k", "n"]),
    (r"\binom{2n}{n}", [r"\frac{(2n)!}{(n!)^2}", r"\frac{(2n)!}{n!n!}"], [r"\frac{(2n)!}{n!}"]),
    (r"\frac{(2n)!}{n!^2}", [r"\binom{2n}{n}"], [r"\binom{n}{2}"]),
]  # fmt: skip
UNITS: Rows = [
    ("5", [r"5\mathrm{~N}", r"5\text{ J}", "5 V", r"5\ \mathrm{T}", r"5\text{ m s}^{-1}", r"5\mathrm{~m/s^2}"], ["5x"]),
    ("5", [r"5\ \frac{\text{m}}{\text{s}}", r"5\text{ m}/\text{s}", r"5\ \mathrm{kg\cdot m\,s^{-2}}"], ["5 or 6"]),
    ("60", ["60 mi/hr", r"60\text{ mi/hr}", "60 mph"], [r"\frac{60}{2} mi"]),
    (r"60\text{ mi/hr}", ["60", "60 mph"], [r"60\text{ km/h}", "6"]),
    (r"5\text{ m/s}", [r"5\text{ m s}^{-1}"], [r"5\text{ m/s}^2", r"5\text{ km/h}"]),
    (r"5\ \Omega", ["5", r"5\,\Omega", r"5\text{ ohms}"], [r"5\text{ V}", r"6\ \Omega", r"5\text{ k}\Omega"]),
    (r"10\text{ k}\Omega", ["10", r"10\mathrm{~k}\Omega", r"10k\Omega"], [r"10\ \Omega"]),
    (r"5\,\mu\text{m}", ["5", r"5\mu\text{m}", r"5\ \mu m"], [r"5\text{ mm}", r"5\mu"]),
    (r"5\Omega", [r"5\Omega", r"5\cdot\Omega"], ["5", r"4\Omega"]),
    ("30", [r"30\deg", r"30\degree"], [r"31\deg"]),
    (r"5\mathrm{~N}", ["5", r"5\text{ newtons}"], [r"5\mathrm{~J}", r"5\mathrm{~Pa}"]),
    (r"3\sqrt2\mathrm{~N}", [r"3\sqrt2", r"\sqrt{18}\text{ N}"], [r"2\sqrt3"]),
    ("12 V", ["12 V", "12V"], ["12"]),
]  # fmt: skip
LISTS: Rows = [
    (r"\frac12", [r"\frac12 \text{ or } 0.5", r"0.5 or \frac{2}{4}"], [r"\frac12 or 0.6", r"0.5, 0.5, 1"]),
    (r"50\%", ["0.5 or 50\\%"], [r"0.5 \text{ or } 50"]),
    (r"\{1,2,3\}", ["{1,2,3}", "{3,2,1}", "1,2,3"], ["{1,2}", "(1,2,3)", "{1,2,4}"]),
    ("{1,2,3}", [r"\{3,1,2\}", "1,2,3"], ["(1,2,3)", "6"]),
    ("2,3", ["2or3", "x=2orx=3", "2 or 3"], ["2or4"]),
    ("(11,7)or(7,11)", ["(7,11),(11,7)"], ["(7,11)"]),
    (r"\{\pm 1, 3\}", [r"\{1,-1,3\}"], [r"\{1,3\}", r"\{-1,3\}"]),
    (r"(1,\pm 2)", ["(1,2),(1,-2)"], ["(1,2)", "(1,2),(-1,2)"]),
    (r"(\pm 1, \mp 2)", ["(1,-2),(-1,2)"], ["(1,2),(-1,-2)"]),
    (r"\pm 2021", ["{-2021, 2021}"], ["2021"]),
    ("x=-5, p=3", ["-5, 3", "p=3, x=-5", "(-5,3)"], ["3, -5", "x=3, p=-5", "(3,-5)"]),
    ("x=1, y=2", ["(1,2)", "y=2, x=1", "1, 2"], ["(2,1)", "2, 1", "x=2, y=1"]),
    ("y=2, x=1", ["(1,2)", "x=1, y=2"], ["(2,1)"]),
    ("(1,2)", ["x=1, y=2", "y=2, x=1", "x_1=1, x_2=2"], ["x=2, y=1", "x=1, x=2"]),
]  # fmt: skip
EQUATIONS: Rows = [
    ("x=16", ["16=x", "x-16=0", "16", "x=4^2"], [r"\cos(0)=1", "x^2=256", "2x=32", "y=16", "0=0", "x=x", r"\infty=x"]),
    ("y=2x+1", ["y-1=2x", "2x-y+1=0", "2x+1"], [r"\ln e=1", "y=2x", "x=y", r"y=\infty", "0x=0"]),
    ("x^2+y^2=1", ["y^2=1-x^2", "2x^2+2y^2=2"], [r"\ln e=1", "x^2+y^2=2", "x=1", r"e^0=1", r"\sin 0=0", r"y=\infty"]),
    (r"y=\frac1x", ["xy=1"], ["x=1", r"\cos 0=1"]),
    (r"y=\ln x", ["x=e^y"], ["y=x", "1=1"]),
    (r"\sin^2 x+\cos^2 x=1", [r"\cos^2 x+\sin^2 x=1"], [r"\ln e=1", r"\tan x\cot x=1", "1=1"]),
    ("e^x=0", ["2e^x=0"], ["x^2=-1", "0=1"]),
    (r"\sin x=1", ["1=\\sin x"], [r"\cos x=1", "x=1"]),
    ("x+y>1", ["1<x+y", "2x+2y>2", "-x-y<-1"], ["x+y<1", r"x+y\ge 1", "1>0", "-x-y>-1", r"\cos 0>0"]),
    ("1<x+y<3", ["3>x+y>1"], ["1<x+y<4", "0<1<2"]),
    ("x=7", ["7", "x=5+2"], ["2x+3=17", "x^2=49"]),
    ("P(X=2)=0.5", [r"\frac12"], ["2"]),
    ("3", [r"\begin{vmatrix}2&1\\1&2\end{vmatrix} = 3"], [r"\begin{vmatrix}2&1\\1&2\end{vmatrix}", r"\det A = 4"]),
    ("1", [r"\lim_{x\to 0}\frac{\sin x}{x} = 1"], [r"\lim_{x\to 0}\frac{\sin x}{x}", r"\lim_{x\to 0}\sin x=0"]),
    ("2", [r"17 \bmod 5 = 2", r"\int_0^\pi \sin x\,dx = 2"], [r"17\bmod 5=3", r"\int_0^\pi \sin x\,dx"]),
]  # fmt: skip


@pytest.mark.parametrize(
    "rows",
    [CHOICES, NUMBERS, NAMES, UNITS, LISTS, EQUATIONS],
    ids=["choices", "numbers", "names", "units", "lists", "equations"],
)
def test_verdicts(rows: Rows) -> None:
    faults = []
    for gold, rights, wrongs in rows:
        for answers, status in ((rights, "ok"), (wrongs, "wrong")):
            for answer in answers:
                score = verify(rf"\boxed{{{answer}}}", gold)
                if score.status != status:
                    faults.append(f"gold {gold!r}, {answer!r}: {score.status}, not {status}: {score.detail}")
    assert not faults, "\n".join(faults)
