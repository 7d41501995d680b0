r"""A second set of pairs for the math reward, written from the list of error classes and not from the code.

RIGHT and WRONG hold (gold, answer), where the answer ends a worked solution in a box; WHOLE holds whole responses.
Whatever graders may differ on (rounded values, left-out units of another size) is not in here.
"""

import pytest

from rlreason.rewards.math import verify

FRAMES = (
    "We start from the given condition and simplify.\n\n\\[ a_1 = 17, \\quad a_2 = 23 \\]\n\nSo we get \\boxed{%s}.",
    "**Step 1.** Set up the equation.\n**Step 2.** Solve it; note $k = 5$ fails.\n\nFinal answer:\n$$\\boxed{%s}$$",
    "Let me think about it. First, $3 \\cdot 4 = 12$, which is less than 50.\nTherefore \\(\\boxed{ %s }\\)",
    "By symmetry only the case $n \\ge 2$ matters.\n\\[\n\\boxed{%s}\n\\]\n",
    "<think>\nMaybe it is 91? No, check again.\n</think>\n\nThe computation gives the result $\\boxed{%s}$.",
)

RIGHT = [
    # numbers
    ("18000", "18,000"), ("1234567", r"1\,234\,567"), ("2450000", "2{,}450{,}000"), ("10080", "10\\!,\\!080"),
    (r"\frac{7}{4}", r"1\frac{3}{4}"), (r"5\frac{1}{3}", r"\frac{16}{3}"), (r"-\frac{7}{3}", r"-2\frac{1}{3}"),
    (r"\frac{5}{11}", r"0.\overline{45}"), (r"\frac{7}{12}", r"0.58\overline{3}"), (r"0.\overline{142857}", r"\frac17"),
    (r"\frac38", "0.375"), (r"\dfrac{3}{8}", "3/8"), (r"\frac{1}{2}", r"\frac{2}{4}"),
    (r"\tfrac{-5}{9}", r"-\dfrac{5}{9}"), ("0.5", ".5"), ("3", "3.0"), ("-12", "\u221212"), ("42", "42."),
    ("720", "6!"), ("1024", "2^{10}"), (r"3.2 \times 10^{5}", "320000"), (r"6.02\times10^{23}", r"6.02 \cdot 10^{23}"),
    ("0.00015", r"1.5 \times 10^{-4}"), (r"\frac{3}{5}", r"{3 \over 5}"), (r"40\%", r"40\%"),
    (r"\frac{1}{8}", r"12.5\%"), ("2^{2024}-1", "-1 + 2^{2024}"), (r"\binom{10}{3}", "120"),
    # units, money, time, degrees
    ("75", r"75^\circ"), (r"75^{\circ}", "75"), (r"120^\circ", r"120 \text{ degrees}"), ("\\$32", "32"),
    ("18.50", r"\$18.50"), ("24", r"24\text{ cm}^2"), (r"24\text{ square inches}", "24"),
    (r"15\text{ mph}", r"15 \text{ miles per hour}"), (r"36\pi\text{ cubic feet}", r"36\pi"),
    ("540", r"540 \text{ dollars}"), ("12", r"12 \text{ apples}"), (r"6\sqrt{3}", r"6\sqrt{3}\,\mathrm{cm}"),
    (r"3:45\text{ p.m.}", "3:45 PM"), ("10:30", "10:30"),
    # radicals, logs, trig
    (r"2\sqrt{3}", r"\sqrt{12}"), (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    (r"1+\sqrt{2}", r"\sqrt{3+2\sqrt{2}}"), (r"\sqrt[3]{4}", r"2^{2/3}"),
    (r"\frac{3+\sqrt{5}}{2}", r"\left(\frac{1+\sqrt5}{2}\right)^2"), (r"\sqrt{5}", "\u221a5"), (r"\ln 8", r"3\ln 2"),
    (r"\log_2 12", r"2+\log_2 3"), (r"\frac{\ln 5}{\ln 3}", r"\log_3 5"),
    (r"\frac{\sqrt{6}-\sqrt{2}}{4}", r"\sin 15^\circ"), (r"\frac{\pi}{6}", r"\arcsin\frac{1}{2}"),
    (r"\sin 2x", r"2\sin x\cos x"), (r"\tan^2 x", r"\sec^2 x - 1"), (r"e^{-2}", r"\frac{1}{e^2}"),
    (r"\frac{\pi}{4}", r"\pi/4"), (r"4\pi", "4\u03c0"),
    # algebra
    (r"(x-3)(x+5)", r"x^2+2x-15"), (r"x^4-1", r"(x-1)(x+1)(x^2+1)"), (r"\frac{x+1}{x-2}", r"1+\frac{3}{x-2}"),
    (r"2n^2+2n", r"2n(n+1)"), (r"3x^2-4x+1", r"1 - 4x + 3x^2"), (r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}"),
    (r"f(x)=2x+3", "2x+3"), (r"2x+3", r"f(x) = 3+2x"), (r"y=-\frac{1}{2}x+4", r"y = 4 - \frac{x}{2}"),
    (r"y = 3x - 7", r"3x - y = 7"), (r"(x-2)^2+(y+1)^2=9", r"x^2+y^2-4x+2y-4=0"), ("7", "x=7"), ("x=7", "7"),
    (r"p - q", r"-(q-p)"), (r"\frac{a}{b}", r"a b^{-1}"), ("2^{n}-1", "2^n - 1"),
    (r"\frac{abc}{a+b+c}", r"\frac{cba}{c+b+a}"),
    # sets, intervals, inequalities
    (r"[-3,\infty)", r"x \ge -3"), (r"x > 5", r"(5, \infty)"), (r"-1 < x \le 4", r"(-1,4]"),
    (r"(-\infty,-2)\cup(2,\infty)", r"x<-2 \text{ or } x>2"), (r"(-\infty, 0) \cup (0, \infty)", r"x \neq 0"),
    (r"\left[0,\frac{1}{2}\right]", r"[0, 0.5]"), (r"\left(-\infty,\frac{3}{2}\right)", r"x<\frac{3}{2}"),
    (r"[2,5]", r"2\leq x\leq 5"), (r"[2,5]", r"5 \geqslant x \geqslant 2"), (r"x\in(1,3)", "1<x<3"),
    (r"\{1,2,5\}", r"\{5,1,2\}"), ("1,2,5", r"\{2, 5, 1\}"), (r"\{-4,4\}", r"\pm 4"),
    (r"3 \pm \sqrt{2}", r"3-\sqrt{2},\ 3+\sqrt{2}"), ("2, -3", r"x = 2 \text{ or } x = -3"),
    (r"-\frac12, 4", r"x=4 \text{ and } x=-\frac{1}{2}"), (r"\emptyset", r"\varnothing"), (r"\emptyset", r"\{\}"),
    (r"\infty", r"+\infty"), (r"-\infty", "-\u221e"), (r"\mathbb{R}", r"(-\infty,\infty)"),
    (r"(-\infty,\infty)", r"\mathbb{R}"), (r"\mathbb{R}\setminus\{3\}", r"(-\infty,3)\cup(3,\infty)"),
    # tuples, vectors, matrices
    ("(3,-4)", r"\left(3, -4\right)"), (r"\left(\frac{1}{2},\frac{3}{4}\right)", "(0.5, 0.75)"),
    (r"(2,0,-1)", "(x,y,z)=(2,0,-1)"), (r"(1,2),(3,4)", "(3, 4), (1, 2)"), ("(4, 7)", r"x = 4, y = 7"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
    (r"\begin{pmatrix} -1/2 \\ 3 \end{pmatrix}", r"\begin{pmatrix} -\frac{1}{2} \\ 3 \end{pmatrix}"),
    (r"\begin{pmatrix} 0 & -1 \\ 1 & 0 \end{pmatrix}", r"\left(\begin{array}{cc} 0 & -1 \\ 1 & 0 \end{array}\right)"),
    ("(1,3,5)", r"\langle 1, 3, 5 \rangle"), (r"\left(2,\frac{\pi}{3}\right)", r"(2,\pi/3)"),
    # complex numbers
    ("3+4i", "4i+3"), (r"\frac{1}{2}-\frac{\sqrt{3}}{2}i", r"\frac{1-i\sqrt{3}}{2}"),
    (r"e^{i\pi/3}", r"\frac{1}{2}+\frac{\sqrt{3}}{2}i"), ("-1", "i^2"), (r"2i", r"(1+i)^2"),
    (r"\frac{3}{5}+\frac{4}{5}i", r"\frac{3+4i}{5}"),
    # bases, choices, words
    ("2041_5", "2041_{5}"), (r"1101_2", r"1101_{\text{two}}"), (r"\text{(C)}", "C"), ("B", r"\textbf{(B)}"),
    ("D", r"\text{(D) } 48"), ("E", r"(\mathrm{E})\ 12"), (r"\text{A}", r"\text{A}"), (r"\text{Tuesday}", "Tuesday"),
    ("Yes", r"\text{yes}"), (r"\text{Navin}", r"\textbf{Navin}"), (r"\text{even}", r"\text{Even}"),
    (r"\text{Friday}", r"\mathrm{Friday}"), ("3:2", "3 : 2"), (r"\frac{3}{2}", "3:2"),
    # decoration
    ("17", "$17$"), ("17", r"\displaystyle 17"), ("17", r"\mathbf{17}"), ("17", r"\text{17}"), ("17", r"\fbox{17}"),
    (r"\frac{9}{2}", r"\cfrac{9}{2}"), (r"\left(\frac{9}{2}\right)", r"4.5"), ("25", r"n = 5^2 = 25"),
    (r"\frac{25}{4}", r"A = \frac{25}{4}"), ("60", r"\angle ABC = 60^\circ"), ("m+n=73", "73"),
    # notation of the second round
    (r"(\mathrm{B})", r"\mathrm{(B)}\ 24"), ("B", r"\text{Option B}"), (r"\textbf{(C)}\ 27", "27"),
    (r"\textbf{(E) }1+\sqrt2", r"1+\sqrt{2}"), (r"[1,3)\cup(3,\infty)", r"x\ge 1,\ x\ne 3"),
    (r"[1,3)\cup(3,\infty)", r"\{x \mid x \geq 1 \text{ and } x \neq 3\}"),
    (r"(-\infty,1)\cup(1,2)\cup(2,\infty)", r"x\ne1 \text{ and } x\ne 2"), (r"x \neq 1, x\ne 2", r"x\ne2,\ x\neq 1"),
    ("(2,5)", r"x>2 \text{ and } x<5"), ("11,\\! 111,\\! 111,\\! 100", "11111111100"),
    ("7200\\pi", r"7,200\pi \text{ cubic inches}"), ("(100, 200)", r"(100,\, 200)"), ("4:30", r"4\text{:}30"),
    (r"22.5^\circ", r"\frac{45}{2}^\circ"), ("2", r"2\text{ radians}"),
    (r"8(\cos 30^\circ + i\sin 30^\circ)", r"4\sqrt3+4i"),
    (r"2\mathbf{i}-\mathbf{j}+3\mathbf{k}", r"2\hat{i}-\hat{j}+3\hat{k}"),
    (r"\text{all real numbers}", r"(-\infty,\infty)"), (r"\text{ellipse}", r"\text{an ellipse}"), (r"9 \pmod{11}", "9"),
    (r"x \equiv 3 \pmod 7", r"10 \pmod{7}"), ("19", r"\textbf{Answer: } 19"), ("19", r"\textcolor{red}{19}"),
    ("19", r"\underline{19}"), ("19", r"\large 19 \\"), ("19", r"N = \mathbf{19}"), (r"x=\frac{y+1}{2}", "y=2x-1"),
    (r"\frac{x^2}{9}+\frac{y^2}{4}=1", r"4x^2+9y^2=36"),
    (r"\frac{1}{2}\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}\frac12&1\\\frac32&2\end{pmatrix}"),
]  # fmt: skip

WRONG = [
    # near misses
    ("12345678901234567890", "12345678901234567891"), ("2^{100}", "2^{100}+1"), ("1000000007", "1000000006"),
    (r"10^{-12}", r"2\cdot 10^{-12}"), (r"\frac{1}{2^{50}}", r"\frac{1}{2^{51}}"), (r"e^{-40}", r"e^{-41}"),
    (r"\frac{1}{30!}", r"\frac{1}{31!}"), ("5", "500"), ("5", r"5.0001"), ("0.5", r"0.5\%"), (r"\frac{1}{3}", "0.33"),
    (r"\frac{2}{3}", "0.667"), (r"\pi", "3.14"), (r"\pi", r"\frac{22}{7}"), (r"\sqrt{2}", "1.41"), ("-7", "7"),
    ("7", "-7"), (r"\frac{3}{4}", r"\frac{4}{3}"), (r"\frac{a}{b}", r"\frac{b}{a}"), (r"2\frac{1}{3}", r"\frac{2}{3}"),
    (r"0.\overline{36}", "0.36"), (r"0.1\overline{6}", r"0.\overline{16}"), ("12345", "1234"), ("1,234", "1.234"),
    ("16", r"4^{3}"), ("3", r"\frac{3}{1000}"), ("999", "1000"), (r"2^{10^{3}}", r"2^{10}"),
    # units
    (r"5\text{ km}", r"5 \text{ m}"), (r"3\text{ hours}", r"3 \text{ minutes}"), (r"30^\circ", r"30 \text{ radians}"),
    (r"3:45\text{ p.m.}", r"3:45\text{ a.m.}"), ("10:30", "10:03"), ("10:30", "1030"),
    # expressions
    (r"x^2+2x-15", r"x^2-2x-15"), (r"(x+1)^2", r"x^2+1"), (r"\sqrt{a^2+b^2}", "a+b"), (r"2\sqrt{3}", r"3\sqrt{2}"),
    (r"\sqrt[3]{4}", r"\sqrt{4}"), (r"\log_2 3", r"\log_3 2"), (r"\ln 6", r"\ln 5"), (r"\sin x", r"\cos x"),
    (r"\sin^2 x", r"\sin x^2"), (r"\tan x", r"\cot x"), (r"n!", r"n"), (r"\frac{x+1}{x-2}", r"\frac{x-2}{x+1}"),
    (r"2^{n-1}", r"2^n-1"), ("x_1", "x_2"), (r"3x+C", r"3x"), (r"f(x)=2x+3", "f(x)=2x-3"), (r"y=3x-7", r"y=-7x+3"),
    (r"y=3x-7", "3x-7=0"), (r"x^2+y^2=25", r"x^2+y^2=5"), (r"x^2+y^2=25", r"x^2-y^2=25"), (r"x=7", r"x=-7"),
    (r"x=7", r"y=7"), ("e", "2.718"),
    # sets, intervals, inequalities
    ("(2,5)", "[2,5]"), ("[2,5)", "(2,5]"), ("[2,5]", "[5,2]"), (r"[2,\infty)", r"x > 2"), (r"x>5", "x<5"),
    (r"x\ge 5", "5 \\ge x"), (r"(-\infty,-2)\cup(2,\infty)", "(-2,2)"),
    (r"(-\infty,-2)\cup(2,\infty)", r"(-\infty,-2]\cup[2,\infty)"), (r"[0,1]", r"[0,1000]"), (r"(0,1)", r"\mathbb{R}"),
    (r"\mathbb{R}", r"\mathbb{Z}"), (r"(-\infty,3)\cup(3,\infty)", r"\mathbb{R}"), (r"\{1,2,5\}", r"\{1,2\}"),
    (r"\{1,2\}", r"\{1,2,5\}"), ("2, -3", "2"), ("2", "2, -3"), (r"\pm 4", "4"), ("4", r"\pm 4"),
    (r"3\pm\sqrt{2}", r"2\pm\sqrt{3}"), (r"3\pm\sqrt{2}", r"3+\sqrt{2}"), (r"\infty", r"-\infty"), (r"\emptyset", "0"),
    ("0", r"\emptyset"), (r"\emptyset", r"\{0\}"), ("0", ""), (r"\infty", r"\frac{1}{0}"), ("1", r"\frac{0}{0}"),
    ("57", r"57 \lor 58"), ("57", r"56 = 57"), ("57", r"57 = 58"), ("57", r"57 \text{ or } 58"), ("57", r"56, 57, 58"),
    ("57", r"57 \pm 1"), ("57", r"\{57, 58\}"), ("57", r"[57, 58]"), ("57", r"\approx 57.3"), ("57", r"x \ge 57"),
    ("57", r"57 \text{ (or maybe } 58)"), ("57", r"\text{not } 57"), ("57", r"57x"), ("57", r"57?58"), ("57", r"5\,7"),
    # tuples, vectors, matrices
    ("(3,-4)", "(-4,3)"), ("(3,-4)", r"\{3,-4\}"), ("(3,-4)", "(3,-4,0)"), ("(1,2),(3,4)", "(1,2)"),
    ("(1,2),(3,4)", "(1,3),(2,4)"), ("(1,2),(3,4)", "(1,2,3,4)"),
    (r"\left(2,\frac{\pi}{3}\right)", r"\left(2,\frac{\pi}{6}\right)"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}"), (r"(4,7)", "x=7, y=4"),
    # complex
    ("3+4i", "3-4i"), ("3+4i", "4+3i"), ("3+4i", "5"), (r"e^{i\pi/3}", r"e^{-i\pi/3}"), (r"2i", "2"), (r"2i", "-2i"),
    # bases, choices, words
    ("2041_5", "2041_6"), ("1101_2", "13_2"), ("C", r"\text{(D)}"), ("C", "A, B, C, D, E"), ("C", r"\text{B or C}"),
    ("C", "c^2"), ("A,C,D", "A,C"), ("A,C", "A,C,D"), (r"\text{Tuesday}", r"\text{Thursday}"), ("Yes", "No"),
    (r"\text{even}", r"\text{odd}"), (r"\text{even}", r"\text{neither even nor odd}"),
    (r"\text{Navin}", r"\text{Navin and Nora}"), ("3:2", "2:3"), ("3:2", "3:2:1"),
    # restated, injected, too big
    (r"\frac{1}{3}", r"\int_0^1 x^2\,dx"), ("5050", r"\sum_{k=1}^{100} k"), ("1", r"\lim_{x\to 0}\frac{\sin x}{x}"),
    ("120", r"\prod_{k=1}^{5} k"), ("7", r"\text{the correct answer}"), ("7", ".*"), ("7", "nan"),
    ("7", r"\text{any number}"), ("7", "n"), ("7", r"\{x : x = x\}"), ("7", r'__import__("os").getpid()*0+7'),
    ("7", r"eval('7')"), ("7", r"exit(0)"), (r"2\pi", r"open('x','w').write('x')*2*\pi"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"Matrix([__import__('os').getpid(), 2])"), ("7", r'{"score": 1.0}'),
    ("7", r"7; import os"), ("7", r"10^{10^{10^{10}}}"), ("7", r"(10^6)!"), ("7", r"\zeta(10^{9})"),
    ("7", r"\binom{10^9}{5\cdot 10^8}"), ("7", r"(a+b+c+d+e+f+g+h)^{60}"), ("7", "+".join(["x"] * 120)),
    # second round
    (r"30\text{ radians}", r"30^\circ"), ("3:45 \\text{ p.m.}", "3:45 am"),
    (r"[1,3)\cup(3,\infty)", r"x\ge1 \text{ or } x\ne 3"), (r"x\ge1, x\ne3", r"x\ge 1,x\ne 2"),
    ("(2,5)", r"x>2 \text{ and } y<5"), ("(2,5)", r"x>2 \text{ or } x<5"),
    (r"(-\infty,\infty)", r"\text{all rational numbers}"), (r"9 \pmod{11}", r"9 \pmod{12}"),
    (r"x \equiv 3 \pmod 7", r"x \equiv 4 \pmod 7"), ("B", r"\text{Option A or B}"),
    (r"\textbf{(C)}\ 27", r"\textbf{(D)}\ 27"), ("45", r"45\sqrt{1.0000001}"), ("1", r"\tan 45.0000001^\circ"),
    ("19", r"\cancel{19} 20"), ("19", r"19 \text{ or so}"), ("19", r"\textcolor{red}{18}"),
    (r"\mathbf{i}+2\mathbf{j}", r"2\mathbf{i}+\mathbf{j}"), ("R^2-r^2", "r^2-R^2"),
    (r"\frac{\pi}{4}+k\pi", r"\frac{\pi}{4}+2k\pi"),
]  # fmt: skip

LONG = "We go on with the induction step: assume $a_k = 3k$ holds for all $k \\le n$. " * 1500

WHOLE = [
    ("42", "First I thought the answer was \\boxed{40}. I made an error in step 2. Corrected: \\boxed{42}.", True),
    ("42", "\\boxed{42} was my first result. Wait, I dropped a term. The answer is \\boxed{40}.", False),
    ("42", "<think>So 42. \\boxed{42}</think>\nThe answer is \\boxed{41}.", False),
    ("42", "<think>Could be \\boxed{41}</think>\nThe answer is \\boxed{42}.", True),
    ("42", "<think>It is 42, \\boxed{42}</think>\nI am not sure.", False),
    ("42", "<think>a long chain\n</think>\n<answer>42</answer>", True),
    ("42", "<think>42</think><answer>24</answer>", False),
    ("42", "<answer> $x = 42$ </answer>", True),
    ("42", "6 bags of 7 apples make 6*7 = <<6*7=42>>42 apples.\n#### 42", True),
    ("42", "6 bags of 7 apples make 42.\n#### 36", False),
    ("42", "6 bags of 7 apples make 6*7 = <<6*7=42>>42 apples. #### $42", True),
    ("#### 1,250", "5 months at 250 is 1250.\n#### 1250", True),
    ("Tom has 3+4=<<3+4=7>>7 pens.\n#### 7", "Tom has \\boxed{7} pens.", True),
    ("Tom has 3+4=<<3+4=7>>7 pens.\n#### 7", "Tom has \\boxed{34} pens.", False),
    ("42", "The answer is either \\boxed{41} or \\boxed{42}.", False),
    ("42", "\\boxed{41}, \\boxed{42}, \\boxed{43}", False),
    ("42", "\\boxed{40}\n\\boxed{41}\n\\boxed{42}", False),
    ("41, 42", "The roots are \\boxed{41} and \\boxed{42}.", True),
    ("41, 42", "The only root is \\boxed{42}.", False),
    ("42", "Thus \\boxed{42}.\n\nSo the final answer is \\boxed{42}.", True),
    ("42", "\ufeffThe result is \\boxed{42}", True),
    ("3", LONG + "\nHence the limit ratio is $\\boxed{3}$.", True),
    ("3", LONG + "\nHence the limit ratio is $\\boxed{2}$.", False),
    ("3", "\\boxed{3}\n" + LONG + "\nSo in the end the answer is $\\boxed{5}$.", False),
    ("3", "$" * 20001 + "\\boxed{3}", True),
    ("3", "\\boxed{" * 3000 + "3" + "}" * 3000, True),
    ("3", "\\boxed{}", False),
    ("3", "", False),
    ("3", "The answer is \\boxed{\\text{3 or 5}}.", False),
    ("3", "The answer is \\boxed{3\\text{ or }5}.", False),
    ("3", "We list all candidates: A) 1 B) 2 C) 3 D) 4.", False),
    (
        r"\frac{\sqrt{3}}{4}",
        "The side is 1, so by Heron\n\\begin{align*}\nK &= \\sqrt{s(s-a)^3} \\\\\n  &= \\boxed{\\frac{\\sqrt{3}}{4}}.\n"
        "\\end{align*}",
        True,
    ),
    (r"\frac{\sqrt{3}}{4}", "\\[ K = \\boxed{\\dfrac{\\sqrt 3}{4}\\text{ square units}}. \\]", True),
    (r"\frac{\sqrt{3}}{4}", "\\[ K = \\boxed{\\frac{\\sqrt{3}}{2}}. \\]", False),
    ("70", "AIME answers are integers: $m+n = 57+13$, so \\boxed{070}.", True),
    ("073", "$m+n=\\boxed{73}$", True),
    ("073", "**Answer: $\\boxed{37}$**", False),
    ("73", "The final answer is \\boxed{\\mathbf{73}}.", True),
    ("\\boxed{73}", "so \\boxed{73}", True),
    ("$\\frac{2}{3}$", "so $p = \\boxed{2/3}$", True),
    ("$\\frac{2}{3}$", "so $p = \\boxed{1/3}$", False),
    ("60^\\circ", "The angle is \\boxed{60\u00b0}.", True),
    ("7", "The answer is \\boxed{7} (not \\boxed{8}).", True),
    ("8", "The answer is \\boxed{7}, not $\\boxed{8}$.", False),
    ("7", "The result is \\framebox{7}" + " " * 5000, True),
    ("42", "6 * 7 = 42\n####42", True),
    ("C", "Hence the correct option is (C).", True),
    ("C", "Hence the correct option is (D), not (C).", False),
    ("12 \\text{ and } 15", "The numbers are \\boxed{12} and \\boxed{15}.", True),
]

PAIRS = (
    [(gold, FRAMES[k % len(FRAMES)] % answer, True) for k, (gold, answer) in enumerate(RIGHT)]
    + [(gold, FRAMES[k % len(FRAMES)] % answer, False) for k, (gold, answer) in enumerate(WRONG)]
    + WHOLE
)


@pytest.mark.parametrize(("gold", "response", "is_right"), PAIRS)
def test_verdict(gold: str, response: str, is_right: bool) -> None:
    score = verify(response, gold)
    assert (score.value == 1.0) is is_right, f"{score.status}: {score.detail}"
    assert score.status in ("ok", "wrong", "unparseable")
