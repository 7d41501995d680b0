"""Verdicts on answers of every written form, judged as a mathematician would: the gold, right answers, wrong ones.

Conventions are those of MATH and of competitions: a unit, a currency sign, `x=` or the order of a list does not
matter, an unsimplified value is right, a rounded one is wrong. The file says nothing about restated problems,
attacks and whole responses: see `test_math_attacks.py`.
"""

import pytest

from rlreason.rewards.math import verify

Rows = list[tuple[str, list[str], list[str]]]

ALGEBRA: Rows = [
    ("(x+1)^2", ["x^2+2x+1", "(1+x)^2", "x(x+2)+1"], ["x^2+1", "x^2-2x+1", "(x+1)^3", "x^2+2x"]),
    ("x^2-4", ["(x-2)(x+2)", "(x+2)(x-2)", "-4+x^2"], ["(x-2)^2", "x^2+4", "4-x^2"]),
    ("(x-3)(x+5)", ["x^2+2x-15", "(x+5)(x-3)"], ["(x+3)(x-5)", "x^2+2x+15"]),
    ("x^3-1", [r"(x-1)(x^2+x+1)"], [r"(x-1)(x^2-x+1)", "x^3+1"]),
    (r"\frac{1}{x+1}", ["(x+1)^{-1}", r"\frac{x-1}{x^2-1}", "1/(x+1)"], [r"\frac{1}{x-1}", "1/x+1", "x+1"]),
    (r"\frac{x+y}{xy}", [r"\frac1x+\frac1y", r"\frac{y+x}{yx}"], [r"\frac{1}{x+y}", r"\frac{x-y}{xy}"]),
    ("2a+3b", ["3b+2a"], ["2b+3a", "5ab", "2a-3b"]),
    ("a^2-b^2", ["(a-b)(a+b)", "(a+b)(a-b)"], ["(a-b)^2", "b^2-a^2"]),
    ("-x^2+6x-5", ["-(x-1)(x-5)", "(1-x)(x-5)", "4-(x-3)^2"], ["x^2-6x+5", "(x-1)(x-5)"]),
    ("6x^5", [r"6\cdot x^5", "6x^{5}"], ["6x^4", "5x^6", "6^5x"]),
    ("x^{n+1}", [r"x\cdot x^n", "x^n x"], ["x^n+1", "x^{n-1}"]),
    (r"\frac{n(n+1)}{2}", [r"\frac{n^2+n}{2}", r"\binom{n+1}{2}"], [r"\frac{n(n-1)}{2}", "n(n+1)"]),
    ("2^{n}", [r"2\cdot 2^{n-1}"], ["n^2", "2n", "2^{n-1}"]),
    (r"\frac{3}{4}x-2", [r"\frac{3x}{4}-2", r"\frac{3x-8}{4}", "0.75x-2"], [r"\frac{3}{4x}-2", r"\frac34x+2"]),
    ("p(1-p)", ["p-p^2"], ["p^2-p", "1-p"]),
    (r"4\pi r^2", [r"4r^2\pi"], [r"\pi r^2", r"4\pi r^3"]),
]
IDENTITIES: Rows = [
    (r"\sin 2x", [r"2\sin x\cos x", r"\sin(2x)"], [r"2\sin x", r"\cos 2x", r"\sin^2 x"]),
    (r"\cos 2x", [r"1-2\sin^2 x", r"2\cos^2 x-1", r"\cos^2 x-\sin^2 x"], [r"2\cos x", r"1-\sin^2 x"]),
    ("1", [r"\sin^2 x+\cos^2 x"], [r"\sin^2 x-\cos^2 x"]),
    (r"\tan x", [r"\frac{\sin x}{\cos x}"], [r"\cot x", r"\frac{\cos x}{\sin x}"]),
    (r"\sec^2 x", [r"1+\tan^2 x", r"\frac{1}{\cos^2 x}"], [r"\tan^2 x-1", r"\sec x"]),
    (r"\log 4", [r"2\log 2"], [r"\log 2", r"4\log 2"]),
    (r"\ln 6", [r"\ln 2+\ln 3"], [r"\ln 2\cdot\ln 3", r"\ln 5"]),
    (r"3\ln 2", [r"\ln 8", r"\ln(8)"], [r"\ln 6", r"\ln 9"]),
    (r"\log_2 3", [r"\frac{\ln 3}{\ln 2}", r"\frac{\log 3}{\log 2}"], [r"\log_3 2", r"\frac{\ln 2}{\ln 3}"]),
    (r"2\sqrt3", [r"\sqrt{12}", r"2\sqrt{3}", r"\frac{6}{\sqrt3}"], [r"\sqrt6", r"3\sqrt2", r"\sqrt{13}"]),
    (r"\frac{\sqrt3}{3}", [r"\frac{1}{\sqrt3}", r"3^{-1/2}"], [r"\sqrt3", r"\frac{\sqrt3}{2}", "1/3"]),
    (r"1+\sqrt2", [r"\frac{1}{\sqrt2-1}", r"\sqrt2+1"], [r"\sqrt2-1", r"1-\sqrt2", r"\sqrt3"]),
    (r"\sqrt2+\sqrt3", [r"\sqrt{5+2\sqrt6}", r"\sqrt3+\sqrt2"], [r"\sqrt5", r"\sqrt3-\sqrt2"]),
    (r"\sqrt[3]{16}", [r"2\sqrt[3]{2}", "16^{1/3}", r"2^{4/3}"], [r"4", r"\sqrt{16}", r"2\sqrt[3]{4}"]),
    (r"\frac12", [r"\sin 30^\circ", r"\cos\frac{\pi}{3}", r"\sin\frac{\pi}{6}"], [r"\sin 60^\circ", r"\tan 45^\circ"]),
    (r"e^{2x}", [r"(e^x)^2", r"e^x e^x"], [r"e^{x^2}", r"2e^x", r"e^x"]),
    (r"\frac{\pi}{4}", [r"\arctan 1", r"0.25\pi", r"\pi/4"], [r"\frac{\pi}{2}", r"45", r"\frac{4}{\pi}"]),
    (r"\frac{\sqrt6-\sqrt2}{4}", [r"\sin 15^\circ", r"\frac{\sqrt2(\sqrt3-1)}{4}"], [r"\frac{\sqrt6+\sqrt2}{4}"]),
    (r"|x|", [r"\sqrt{x^2}", r"\left|x\right|"], ["x", "-x"]),
    (r"\frac{e^x+e^{-x}}{2}", [r"\cosh x"], [r"\sinh x"]),
]
NUMBERS: Rows = [
    (
        "42",
        ["42", "42.0", "+42", "042", "42.", r"\mathbf{42}", "**42**", r"\text{42}", "{42}", "x=42", r"n = 42"],
        ["41", "-42", "4.2", "420", "24", "42.5", "4 2", "42^2", r"\frac{1}{42}"],
    ),
    (
        "1/2",
        [
            r"\frac12",
            r"\frac{1}{2}",
            "0.5",
            ".5",
            r"\dfrac12",
            r"\tfrac{1}{2}",
            "2/4",
            r"1\over 2",
            "½",
            "2^{-1}",
            r"{1 \over 2}",
            r"\frac{1}2",
            r"\cfrac{1}{2}",
        ],
        ["2", r"\frac{2}{1}", "0.2", "-1/2", "1.2", "12", "0.05", "1/3"],
    ),
    (r"-\frac{3}{4}", ["-3/4", "-0.75", r"\frac{-3}{4}", r"\frac{3}{-4}", "−3/4"], ["3/4", "-4/3", r"-\frac{3}{5}"]),
    (r"\frac{7}{2}", [r"3\frac{1}{2}", "3.5", "7/2", "3 1/2", "3½"], [r"3\cdot\frac{1}{2}", "31/2", "3.2", "2/7"]),
    (r"2\frac{3}{5}", ["2.6", "13/5", r"\frac{13}{5}"], ["6/5", "2.35", r"2\frac{3}{4}"]),
    (r"-1\frac{1}{4}", ["-5/4", "-1.25"], ["-3/4", "5/4"]),
    (
        "1234567",
        ["1,234,567", "1{,}234{,}567", r"1\,234\,567", r"1\!234\!567", r"1,\!234,\!567", "1 234 567", r"1234567.00"],
        ["1,234,568", "1.234567", "1234,567.1", "1,234", "234,567"],
    ),
    ("12345", ["12,345", "12345.0"], ["12346", "12,344", "1,2345.5", "123,45.7"]),
    (
        "1500",
        [r"1.5\times 10^3", "1.5e3", r"15\cdot 10^2", "1{,}500", r"1.5 \times 10^{3}"],
        [r"1.5\times 10^4", "1.5e-3", "150", r"1.5\cdot 10^2", "1.5"],
    ),
    (r"6.02\times 10^{23}", ["6.02e23", r"602\times10^{21}"], [r"6.02\times 10^{22}", r"6.03\times 10^{23}", "6.02"]),
    ("0.00012", [r"1.2\times 10^{-4}", "1.2e-4"], [r"1.2\times 10^{-3}", "0.0012", "0.00013"]),
    ("1/3", [r"0.\overline{3}", r"0.\bar{3}", r"0.\dot{3}"], ["0.3", "0.33", "0.333", "0.34", "3"]),
    (r"\frac16", [r"0.1\overline{6}", "1/6"], ["0.16", "0.17", r"0.\overline{16}"]),
    (r"0.\overline{142857}", ["1/7", r"\frac{1}{7}"], ["0.14286", "1/8", r"0.\overline{142856}"]),
    (r"0.\overline{9}", ["1"], ["0.9", "0.99"]),
    (r"\frac{5}{33}", [r"0.\overline{15}"], [r"0.1\overline{5}", "0.15"]),
    ("1024", ["2^{10}", "2^10", "4^5", r"32^2"], ["2^{11}", "10^2", "210", "1023"]),
    ("120", ["5!", r"\frac{6!}{6}", "5 \\cdot 4!"], ["4!", "5", "6!"]),
    ("10", [r"\binom{5}{2}", r"{5 \choose 2}", r"\binom53"], [r"\binom{5}{1}", r"\frac52", r"\binom{6}{2}"]),
    ("4", [r"\sqrt{16}", "√16", "2^2", "|-4|", r"\frac{12}{3}"], ["-4", "16", r"\sqrt4"]),
    ("3", [r"\log_2 8", r"\lfloor\pi\rfloor", r"\lceil 2.1\rceil"], [r"\log_2 9", r"\lceil\pi\rceil"]),
    ("-5", ["−5", "–5", "- 5", r"-5.0"], ["5", "-6", "-50"]),
    ("0", ["0.0", "-0", r"\frac{0}{7}", r"\sin 0"], ["1", "0.1", r"\frac00", r"\emptyset", "O"]),
    ("3.14", ["3.140", r"\frac{157}{50}"], [r"\pi", "3.1", "3.1416", "22/7"]),
    (r"\pi", ["π", r"\pi.", r"1\pi"], ["3.14", "22/7", "3.1416", r"2\pi", r"\pi^2"]),
    (r"\sqrt{2}", ["√2", "2^{1/2}", r"2^{0.5}", r"\sqrt2"], ["1.41", "1.4142", "2", r"-\sqrt2", r"\sqrt{2.01}"]),
    ("999999999999999999999", ["999,999,999,999,999,999,999", "10^{21}-1"], ["10^{21}", "999999999999999999998"]),
    ("12345678901234567890", ["12345678901234567890.0"], ["12345678901234567891", "1.234567890123456789e18"]),
    ("10^{22}+1", ["10000000000000000000001"], ["10^{22}", "10000000000000000000002", "10^{23}+1"]),
    (
        "2^{100}",
        ["1267650600228229401496703205376", "4^{50}"],
        ["1267650600228229401496703205377", "2^{101}", "2^{99}"],
    ),
    ("100!", [r"100\cdot 99!"], ["101!", "99!"]),
    ("27", ["3^3", "27.000"], ["3^2", "72", "27.3", "2.7"]),
]
MAGNITUDES: Rows = [
    ("10^{-7}", ["1e-7", "0.0000001", r"\frac{1}{10^7}"], ["2e-7", r"2\times10^{-7}", "10^{-8}", "0"]),
    ("2^{-99}", [r"\frac{1}{2^{99}}"], ["2^{-98}", "2^{-100}", "0", "-2^{-99}"]),
    (r"\frac{1}{2004!}", [], [r"\frac{1}{2006!}", r"\frac{1}{2005!}", "0"]),
    ("e^{-50}", [r"\frac{1}{e^{50}}"], ["e^{-51}", "e^{-49}", "0"]),
    (r"\frac{\pi}{10^9}", [r"\pi\cdot10^{-9}"], [r"\frac{\pi}{10^{10}}", "0", r"\frac{2\pi}{10^9}"]),
    (r"\left(\frac{1}{2}\right)^{40}", ["2^{-40}", r"\frac{1}{2^{40}}"], [r"\left(\frac12\right)^{41}", "0"]),
    ("0.000000123", [r"1.23\times10^{-7}"], [r"1.24\times10^{-7}", "0.000000124", "0.0000012"]),
    (r"\sqrt2\cdot10^{-8}", [r"10^{-8}\sqrt2"], [r"\sqrt3\cdot10^{-8}", r"\sqrt2\cdot10^{-9}"]),
    (r"\frac{1}{7^{30}}", ["7^{-30}"], ["7^{-31}", r"\frac{1}{7^{29}}"]),
    ("e^{100}", [], ["e^{101}", "e^{100}+1"]),
    (r"\sqrt{10^{20}+1}", [], ["10^{10}", r"\sqrt{10^{20}+2}"]),
    ("1-2^{-60}", [r"\frac{2^{60}-1}{2^{60}}"], ["1", "1-2^{-59}"]),
    (r"\frac{1}{\sqrt{10^{15}}}", [], [r"\frac{1}{\sqrt{10^{17}}}", "0"]),
]
PERCENT_UNITS: Rows = [
    (
        r"50\%",
        ["50%", r"50\%", r"50 \%", "50 percent", r"50\text{ percent}"],
        ["5%", "500", r"5000\%", r"0.5\%", "51%"],
    ),
    ("5", [], ["500", "0.05", "50", "5.05"]),
    ("0.25", ["25%", r"\frac14"], ["2.5", "250", "0.0025", r"0.25\%"]),
    (r"12.5\%", [r"12.50\%", "12.5%"], ["12.4%", "125%", "1.25%"]),
    (
        "5",
        [
            r"5\text{ cm}",
            r"5\,\text{cm}",
            r"5\mathrm{~cm}",
            "5 cm",
            r"5\text{ inches}",
            r"5\ \text{m}^2",
            "5 hours",
            r"5\text{ apples}",
        ],
        [r"6\text{ cm}", "50 cm", "0.5 cm"],
    ),
    (
        r"12\text{ cm}",
        ["12", "12 cm", r"12\,\mathrm{cm}", r"12 \text{ centimeters}"],
        [r"12\text{ km}", "1.2 cm", "13 cm"],
    ),
    (r"30\text{ mph}", ["30", "30 mph", r"30\text{ miles per hour}"], ["31 mph", "3"]),
    (r"24\text{ square units}", ["24", r"24\text{ units}^2"], ["25", "42"]),
    (
        r"90^\circ",
        ["90", r"90^{\circ}", "90°", r"90\text{ degrees}", "90 degrees", r"90\degree"],
        ["91", "45°", r"9^\circ"],
    ),
    ("45", [r"45^\circ", r"45^{\circ}", "45°"], [r"54^\circ", r"135^\circ"]),
    (
        r"\$18",
        ["18", r"\$18.00", "$18$", "18 dollars", r"18\text{ dollars}", r"\text{\$}18"],
        [r"\$180", r"\$1.8", "17"],
    ),
    ("18.50", [r"\$18.50", "€18.5", "£18.50", "18.5"], [r"\$18.05", r"\$185", "18"]),
    (r"\$1,000", ["1000", r"\$1000", r"\$1{,}000"], [r"\$1", r"\$100", r"\$10,000", r"\$1,001"]),
    (r"\$2.5\text{ million}", [r"2.5\text{ million}"], [r"\$2.5\text{ billion}", r"\$25\text{ million}"]),
    ("8:30", [r"8{:}30", r"8:30\text{ a.m.}"], ["8:31", "8:03", "30:8"]),
    ("3:4", ["3 : 4", r"3\colon 4"], ["4:3", "3:5"]),
    ("1:2:3", ["1 : 2 : 3"], ["3:2:1", "1:3:2", "1:2"]),
]
SETS_LISTS: Rows = [
    (
        "1,2",
        ["2,1", r"\{1,2\}", "1, 2", r"1\text{ and }2", r"x=1,2", r"x=1\text{ or }x=2", r"x_1=1, x_2=2", r"x=2, x=1"],
        ["1", "2", "1,3", "1,2,3", "12", "1.2", r"\{1\}"],
    ),
    (
        r"\{1,2,3\}",
        ["1,2,3", r"\{3,2,1\}", r"\left\{1,2,3\right\}", r"\lbrace 1,2,3\rbrace"],
        [r"\{1,2\}", r"\{1,2,3,4\}", "123", r"\{1,2,4\}"],
    ),
    (
        r"\frac12, -3",
        ["-3, 0.5", r"x=-3, x=\frac12", r"\left\{-3,\frac{1}{2}\right\}"],
        [r"\frac12", "-3", r"\frac12, 3"],
    ),
    (r"\pm 3", ["3,-3", "-3, 3", r"x=\pm3", r"\{3,-3\}", r"x=3\text{ or }x=-3"], ["3", "-3", r"\pm 4", "0"]),
    ("3,-3", [r"\pm 3", r"x=\pm 3"], [r"\pm\sqrt3", "3"]),
    (
        r"1\pm\sqrt2",
        [r"1+\sqrt2, 1-\sqrt2", r"1\pm\sqrt{2}", r"x=1\pm\sqrt2", r"\frac{2\pm\sqrt8}{2}"],
        [r"1+\sqrt2", r"1-\sqrt2", r"1\pm\sqrt3", r"-1\pm\sqrt2"],
    ),
    ("3", [], [r"\pm 3", "3,-3", r"\{3,-3\}", "3,3,4"]),
    (
        r"\emptyset",
        [r"\varnothing", r"\{\}", "∅", r"\{ \}", r"\text{no solution}", "no real solutions"],
        ["0", r"\{0\}", r"\mathbb{R}"],
    ),
    (
        r"\mathbb{R}",
        [r"(-\infty,\infty)", r"\Bbb{R}", r"\mathbf{R}", "ℝ"],
        [r"\emptyset", r"(0,\infty)", r"\mathbb{Z}"],
    ),
    (r"\{2,4,6,8\}", ["8,6,4,2"], ["2,4,6", "2,4,6,9"]),
    ("-1, 0, 1", ["1,0,-1", r"\{0,1,-1\}", r"x\in\{-1,0,1\}"], ["0,1", "-1,1", "-1,0,2"]),
    (
        r"x=\frac{-1\pm\sqrt5}{2}",
        [r"\frac{-1+\sqrt5}{2}, \frac{-1-\sqrt5}{2}", r"-\frac12\pm\frac{\sqrt5}{2}"],
        [r"\frac{-1+\sqrt5}{2}", r"\frac{1\pm\sqrt5}{2}"],
    ),
    (r"\{1,2\}", [], ["(1,2)", "[1,2]"]),
    ("1000,2000", ["1,000 and 2,000", r"\{2000,1000\}"], ["1000", "2000"]),
]
TUPLES: Rows = [
    (
        "(1,2)",
        ["(1, 2)", r"\left(1,2\right)", "(1.0,2)", r"(x,y)=(1,2)", r"\left( \frac{2}{2}, 2 \right)"],
        ["(2,1)", "(1,3)", "[1,2]", "(1,2]", "[1,2)", r"\{1,2\}", "(1,2,3)", "(-1,2)", "1", "3"],
    ),
    ("(1,-2,3)", ["(1,-2,3)", r"(x,y,z)=(1,-2,3)"], ["(1,2,3)", "(3,-2,1)", "(1,-2)", "-(1,-2,3)"]),
    (
        r"\left(3,\frac{\pi}{2}\right)",
        [r"(3,\pi/2)", r"(3, 0.5\pi)"],
        [r"(3,\pi)", r"(\pi/2,3)", r"(3,-\frac{\pi}{2})"],
    ),
    (
        "(1,2),(3,4)",
        ["(3,4),(1,2)", r"\{(1,2),(3,4)\}", r"(1,2)\text{ and }(3,4)"],
        ["(1,2)", "(2,1),(3,4)", "(1,2),(3,5)", "(1,2,3,4)"],
    ),
    (r"(2\sqrt3, -1)", [r"(\sqrt{12},-1)"], [r"(2\sqrt3,1)", r"(-1,2\sqrt3)"]),
    ("(a+b, ab)", ["(b+a,ba)"], ["(ab,a+b)"]),
    (
        r"\left(\frac{7}{3},-\frac{2}{3}\right)",
        ["(7/3,-2/3)", r"\left(2\frac13, -\frac23\right)"],
        ["(7/3,2/3)", "(7,-2)"],
    ),
]
INTERVALS: Rows = [
    (
        r"(1,\infty)",
        ["x>1", r"x \gt 1", r"1<x", r"x\in(1,\infty)", r"(1,+\infty)", r"\left(1,\infty\right)", "(1,∞)"],
        [r"[1,\infty)", r"x\ge 1", r"(0,\infty)", "x<1", r"(-\infty,1)", "x>2", r"\mathbb{R}"],
    ),
    ("x>1", [r"(1,\infty)", "1<x"], [r"x\geq1", r"[1,\infty)", r"(-\infty, 1)", "x<1"]),
    (
        r"x\geq 2",
        [r"[2,\infty)", r"x\ge2", "x ≥ 2", r"2\le x", "x >= 2"],
        ["x>2", r"(2,\infty)", r"x\le 2", r"x\geq 3"],
    ),
    (
        "[-2,7]",
        [r"-2\le x\le 7", r"x\in[-2,7]", r"\left[-2,7\right]"],
        ["(-2,7)", "[-2,7)", "(-2,7]", "[-2,8]", "-2<x<7"],
    ),
    ("(-2,7]", [r"-2<x\le 7", r"\left(-2,7\right]"], ["[-2,7)", "(-2,7)", r"-2\le x\le 7"]),
    (r"-1<x<3", ["(-1,3)", r"x\in(-1,3)", r"-1 \lt x \lt 3"], ["[-1,3]", "(-1,4)", "x<3", "-3<x<1"]),
    (
        r"(-\infty,-1)\cup(2,\infty)",
        [r"x<-1\text{ or }x>2", r"(2,\infty)\cup(-\infty,-1)", r"x\in(-\infty,-1)\cup(2,\infty)"],
        [r"(-1,2)", r"(-\infty,-1]\cup[2,\infty)", r"(-\infty,-1)", r"(2,\infty)", r"(-\infty,-2)\cup(1,\infty)"],
    ),
    (r"[0,1]\cup[3,4]", [r"[3,4]\cup[0,1]"], ["[0,4]", "[0,1]", r"[0,1]\cup[3,5]", r"(0,1)\cup(3,4)"]),
    (r"\left[\frac12,\infty\right)", [r"[0.5,\infty)", r"x\geq\frac12"], [r"(0.5,\infty)", r"[2,\infty)"]),
    (r"(-\infty,0)", ["x<0"], [r"x\le0", r"(0,\infty)", "x>0"]),
    (r"(0,1)", ["0<x<1"], ["[0,1]", "(0,2)", r"0\le x\le1", r"\{0,1\}"]),
    (
        r"(-\infty,\infty)\setminus\{1\}",
        [r"\mathbb{R}\setminus\{1\}", r"(-\infty,1)\cup(1,\infty)"],
        [r"\mathbb{R}", r"(1,\infty)"],
    ),
    (r"x\neq 2", [r"x\ne2", "x≠2"], ["x=2", "2", r"x\neq 3"]),
]
MATRICES: Rows = [
    (
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        [
            r"\begin{bmatrix}1&2\\3&4\end{bmatrix}",
            r"\left(\begin{array}{cc}1&2\\3&4\end{array}\right)",
            r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
            r"\begin{pmatrix}1.0&2\\3&\frac{8}{2}\end{pmatrix}",
            r"A=\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            r"\begin{pmatrix}1&2\\3&4\\ \end{pmatrix}",
        ],
        [
            r"\begin{pmatrix}1&3\\2&4\end{pmatrix}",
            r"\begin{pmatrix}1&2\\3&5\end{pmatrix}",
            r"\begin{pmatrix}1&2&3&4\end{pmatrix}",
            r"\begin{pmatrix}-1&2\\3&4\end{pmatrix}",
            r"\begin{vmatrix}1&2\\3&4\end{vmatrix}",
            "1234",
        ],
    ),
    (
        r"\begin{pmatrix}1\\2\\3\end{pmatrix}",
        [r"\begin{bmatrix}1\\2\\3\end{bmatrix}", r"\left[\begin{array}{c}1\\2\\3\end{array}\right]"],
        [
            r"\begin{pmatrix}1&2&3\end{pmatrix}",
            r"\begin{pmatrix}3\\2\\1\end{pmatrix}",
            r"\begin{pmatrix}1\\2\end{pmatrix}",
        ],
    ),
    (
        r"\begin{bmatrix}1&2&3\end{bmatrix}",
        [r"\begin{pmatrix}1&2&3\end{pmatrix}"],
        [r"\begin{bmatrix}1\\2\\3\end{bmatrix}", r"\begin{bmatrix}1&2\end{bmatrix}"],
    ),
    (
        r"\begin{pmatrix}\frac12&0\\0&\sqrt2\end{pmatrix}",
        [r"\begin{pmatrix}1/2&0\\0&\sqrt{2}\end{pmatrix}", r"\begin{bmatrix}0.5&0\\0&\sqrt2\end{bmatrix}"],
        [r"\begin{pmatrix}2&0\\0&\sqrt2\end{pmatrix}", r"\begin{pmatrix}\frac12&0\\0&1.4\end{pmatrix}"],
    ),
    (
        r"\begin{pmatrix}x&1\\0&x\end{pmatrix}",
        [r"\begin{bmatrix}x&1\\0&x\end{bmatrix}"],
        [r"\begin{pmatrix}x&0\\1&x\end{pmatrix}"],
    ),
    (
        r"\begin{pmatrix}1&0\\0&1\end{pmatrix}",
        [r"\begin{pmatrix}1&0\\0&1\end{pmatrix}"],
        ["1", r"\begin{pmatrix}0&1\\1&0\end{pmatrix}"],
    ),
    (
        r"\begin{pmatrix}-7\\16\\5\end{pmatrix}",
        [r"\begin{pmatrix} -7 \\ 16 \\ 5 \end{pmatrix}"],
        [r"\begin{pmatrix}7\\-16\\-5\end{pmatrix}", r"\begin{pmatrix}-7&16&5\end{pmatrix}"],
    ),
    ("-2", [], [r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}-2&0\\0&-2\end{pmatrix}"]),
]
COMPLEX: Rows = [
    ("3+4i", ["4i+3", r"3+4\mathrm{i}", "3+i4", "i(4-3i)", r"3 + 4i"], ["3-4i", "4+3i", "-3+4i", "7", "5", "3+4"]),
    ("-1", ["i^2", r"e^{i\pi}", "i^6"], ["i", "i^4", "1"]),
    ("-i", [r"\frac1i", "i^3"], ["i", "-1"]),
    (
        r"\frac{1+i}{2}",
        [r"\frac12+\frac12i", r"\frac{1}{1-i}", r"\frac{1}{2}+\frac{i}{2}"],
        [r"\frac{1-i}{2}", r"\frac{1}{1+i}"],
    ),
    (r"2+\sqrt3i", [r"2+i\sqrt3", r"2+\sqrt{3}i"], [r"2-i\sqrt3", r"2+\sqrt{3i}"]),
    (r"1\pm 2i", ["1+2i,1-2i", r"\{1-2i,1+2i\}"], ["1+2i", "1-2i", r"2\pm i"]),
    (
        r"e^{i\pi/3}",
        [r"\frac12+\frac{\sqrt3}{2}i", r"\cos\frac{\pi}{3}+i\sin\frac{\pi}{3}"],
        [r"e^{-i\pi/3}", r"e^{i\pi/6}"],
    ),
    (r"2\sqrt2 e^{i\pi/4}", ["2+2i"], ["2-2i", r"2\sqrt2"]),
]
EQUATIONS: Rows = [
    (
        "y=2x+3",
        ["2x+3", "y = 2x + 3", "y-2x-3=0", "2x-y+3=0", "y=3+2x"],
        ["y=2x-3", "y=3x+2", "y=-2x+3", "x=2y+3", "2x+y+3=0"],
    ),
    ("2x+3", ["y=2x+3", "f(x)=2x+3", "3+2x"], ["2x-3", "3x+2", "2x+3=0", "5x"]),
    ("x^2+y^2=1", ["y^2+x^2=1", "x^2+y^2-1=0", "2x^2+2y^2=2"], ["x^2+y^2=2", "x^2-y^2=1", "x^2+y^2", "x+y=1"]),
    ("(x-1)^2+(y+2)^2=9", ["x^2-2x+y^2+4y-4=0"], ["(x+1)^2+(y-2)^2=9", "(x-1)^2+(y+2)^2=3"]),
    ("3x-4y+5=0", ["-3x+4y-5=0", "6x-8y+10=0", "4y=3x+5"], ["3x+4y+5=0", "3x-4y-5=0"]),
    ("x=5", ["5", "x = 5.0"], ["x=6", "x=-5", r"x\ne 5", "x>5"]),
    ("5", ["x=5", "2+3=5", "a+b=5", "k = 5", "f(2)=5"], ["2+3=6", "x=6", "5=6", "x>5"]),
    ("57", ["57=57", "50+7=57"], ["56=57", "57=58", "1=2=57", "57=56"]),
    ("x=1,y=2", ["x=1, y=2"], ["x=2,y=1", "x=1"]),
    (r"\frac{x^2}{9}+\frac{y^2}{4}=1", ["4x^2+9y^2=36"], [r"\frac{x^2}{4}+\frac{y^2}{9}=1", "4x^2+9y^2=1"]),
    (r"f(x)=x^2", ["x^2", "y=x^2"], ["x^3", "f(x)=2x", "f(x)=-x^2"]),
    (r"f^{-1}(x)=\frac{x-1}{2}", [r"\frac{x-1}{2}", r"\frac12x-\frac12"], [r"\frac{x+1}{2}", "2x+1"]),
]
BASES: Rows = [
    (
        "204_5",
        ["204_5", "204_{5}", "(204)_5", r"204_{\text{5}}", "204₅", r"204_{(5)}"],
        ["204_6", "204", "205_5", "402_5", "204_{15}"],
    ),
    ("1011_2", ["1011_{2}", r"1011_{\text{two}}"], ["1011", "1011_3", "1010_2", "1101_2"]),
    ("AB_{16}", [r"AB_{16}", r"\text{AB}_{16}"], ["AB", "BA_{16}", "AC_{16}"]),
    ("12012_3", ["12012_{3}", "12{,}012_3"], ["12012_4", "12021_3", "12012"]),
]
CHOICES_TEXT: Rows = [
    (
        "A",
        ["(A)", r"\text{A}", r"\text{(A)}", r"\textbf{(A)}", "A.", "A)", r"\mathrm{A}", r"\boxed{A}"],
        ["B", "(B)", "E", "A, B", "AB", "ABCDE", r"A\text{ or }B", "A,B,C,D,E", r"\text{not A}", "1"],
    ),
    ("C", ["(C)", r"\textbf{(C)}", r"\textbf{C}"], ["D", "A,C", "(C) or (D)", r"\text{(A)}"]),
    (
        r"\text{Monday}",
        ["Monday", "monday", r"\textbf{Monday}", r"\text{ Monday }", r"\mathrm{Monday}"],
        ["Tuesday", r"\text{Monday or Tuesday}", r"\text{not Monday}", "M", "1"],
    ),
    (
        r"\text{Yes}",
        ["yes", "Yes", r"\text{yes}", "YES"],
        ["No", r"\text{no}", r"\text{yes and no}", "1", r"\text{yes or no}"],
    ),
    (r"\text{even}", ["even", r"\text{Even}"], ["odd", r"\text{even and odd}", r"\text{neither}"]),
    ("True", [r"\text{True}", "true"], ["False", r"\text{False}", "0", r"\text{True/False}"]),
    (r"\text{undefined}", ["undefined", r"\text{Undefined}"], ["0", r"\infty", "defined"]),
    (r"\text{ellipse}", ["ellipse"], ["circle", r"\text{hyperbola}", r"\text{ellipse, circle, line}"]),
    (r"\text{Evelyn}", ["Evelyn"], ["Briana", "Eve", r"\text{Evelyn and Briana}"]),
    (r"\text{(C)}", ["C", "(C)", r"\textbf{(C)}"], ["A", "(D)", "ABC"]),
]
SYMBOLS: Rows = [
    (r"\infty", ["∞", r"+\infty", r"\infty."], [r"-\infty", "0", "8", r"\frac10", "oo8"]),
    (r"-\infty", ["-∞", "−∞"], [r"\infty", "-1"]),
    ("x", [], ["y", "X^2", "1", "2x"]),
    (r"\theta", ["θ"], [r"\phi", "t", r"2\theta"]),
    (r"\frac{\alpha}{\beta}", ["α/β", r"\alpha/\beta"], [r"\frac{\beta}{\alpha}", r"\alpha\beta"]),
    ("x^2", ["x²", r"x\cdot x", r"x \times x"], ["2x", "x^3", "x_2"]),
    (r"2\times 3\times x", ["6x", "6·x"], ["5x", "6"]),
    ("a_n", ["a_{n}"], ["a_m", "a_{n+1}", "a"]),
    ("a_1+a_2", ["a_2+a_1"], ["a_1-a_2", "2a_1", "a_1"]),
    ("xyz", ["zyx", r"x\cdot y\cdot z"], ["xy", "x+y+z"]),
    (r"\lfloor x\rfloor", [], [r"\lceil x\rceil", "x"]),
    ("5x", [r"5\cdot x", "5 x"], ["5y", "x^5", "5"]),
]
NOT_A_NUMBER: Rows = [
    (
        "5",
        [],
        [
            "nan",
            r"\text{nan}",
            "zoo",
            r"\frac{0}{0}",
            r"\infty-\infty",
            "oo",
            r"\frac{5}{0}",
            r"0\cdot\infty",
            r"\text{inf}",
            r"\text{None}",
            r"\bot",
            "?",
            "...",
            r"\ldots",
            r"\text{the correct answer}",
            ".*",
            "*",
            "_",
            "5 or not 5",
        ],
    ),
    ("0", [], ["nan", r"\frac00", r"\frac{1}{\infty}\cdot\infty", r"\text{nothing}"]),
    (r"\text{DNE}", [r"\text{dne}", "DNE"], ["0", r"\infty", "1"]),
]
SUPERSETS: Rows = [
    (
        "57",
        [],
        [
            "[0,1000]",
            r"\mathbb{R}",
            r"\{57,58\}",
            r"\{n\}",
            "x",
            "n",
            r"57\lor 58",
            r"57\text{ or }58",
            r"(-\infty,\infty)",
            r"x\in\mathbb{R}",
            r"0\le x\le 1000",
            r"\mathbb{Z}",
            "56,57,58",
            r"57\vee 58",
            r"57\cup 58",
            r"57/58",
            r"57\pm 1",
            r"x \ge 57",
            r"\{57\}\cup\{58\}",
            "57;58",
            r"57\quad 58",
            r"57\\58",
            r"57 58",
            r"57|58",
            r"57\text{ (or }58)",
            r"57\text{ or maybe }58",
            r"\text{either }57\text{ or }58",
            r"\approx 57.2",
            r"\{x: x>0\}",
            r"57\wedge 58",
        ],
    ),
    ("(1,2)", [], [r"\mathbb{R}", "(0,3)", "(1,2),(2,1)", r"(1,2)\cup(2,3)", r"\{(x,y)\}", "(x,y)", r"\mathbb{R}^2"]),
    ("x>1", [], ["x>0", r"\mathbb{R}", r"x\ne 0", "x"]),
    (r"\{1,2\}", [], [r"\{1,2,3,4,5\}", r"\mathbb{N}", "[1,2]", r"\{n\}", r"\{a,b\}"]),
    ("3", [], [r"3\text{ or }5", r"3\text{ and }5", "3, 5", r"3\lor5", r"3\text{ hours or }5", r"\text{3 or 5}"]),
    ("5", [], [r"3\text{ or }5", "3, 5", r"3\text{ and }5", r"x=3\text{ or }x=5"]),
]
CORE = {
    "algebra": ALGEBRA, "identities": IDENTITIES, "numbers": NUMBERS, "magnitudes": MAGNITUDES,
    "percent and units": PERCENT_UNITS, "sets and lists": SETS_LISTS, "tuples": TUPLES, "intervals": INTERVALS,
    "matrices": MATRICES, "complex": COMPLEX, "equations": EQUATIONS, "bases": BASES,
    "choices and text": CHOICES_TEXT, "symbols": SYMBOLS, "not a number": NOT_A_NUMBER, "supersets": SUPERSETS,
}  # fmt: skip
TEMPLATES = (
    r"The answer is $\boxed{{{}}}$.",
    r"Adding both parts gives the result. \boxed{{{}}}",
    r"Therefore, we have \[\boxed{{{}}}\]",
    "<think>\nLet me think about it.\n</think>\n\n" r"So the final answer is \( \boxed{{{}}} \).",
)


def pairs() -> list[tuple[str, str, str, bool]]:
    """(class, gold, response, is right)"""
    found = []
    for name, rows in CORE.items():
        for gold, rights, wrongs in rows:
            for answer in [gold, *rights, *wrongs]:
                response = TEMPLATES[len(found) % len(TEMPLATES)].format(answer)
                found.append((name, gold, response, answer not in wrongs))
    return found


PAIRS = pairs()


@pytest.mark.parametrize("name", CORE)
def test_verdicts(name: str) -> None:
    faults = []
    for kind, gold, response, is_right in PAIRS:
        if kind == name and (score := verify(response, gold)).value != float(is_right):
            faults.append(f"gold {gold!r}, {response!r}: {score.status} {score.detail!r}")
    assert not faults, f"{len(faults)} wrong verdicts\n" + "\n".join(faults)
