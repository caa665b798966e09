"""Spellings: right answers however models write them, and wrong ones that look like them.

Each kind of spelling is a few rows; a new fault becomes a row of its kind.
"""

import json
import re
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from powerblend.graders import Case, parse_grader
from powerblend.graders.boxed import extract_boxed_list
from powerblend.graders.integer import integer
from powerblend.graders.mathematics.order import order_does_not_matter
from powerblend.grading import Judgement, explain, extract_boxed, grade

DATA = Path(__file__).parents[2] / "shared" / "data"
"""Collections of answers beside the checkout; without them their tests pass."""

RIGHT = {
    "a name before the value": [
        (r"\overline{AB} = 5", "5"),
        (r"P(A) = \frac13", r"\frac{1}{3}"),
        ("S_{10} = 55", "55"),
        (r"\angle ABC = 90^\circ", "90"),
        (r"m\angle A = 30^\circ", r"30^\circ"),
        ("[ABC] = 12", "12"),
        ("AB = 5", "5"),
        (r"\text{Area of } ABC = 12", "12"),
        ("f(x) = 2x + 3", "2x+3"),
        (r"f^{-1}(x) = \frac{x-3}{2}", r"\frac{x-3}{2}"),
        ("g(x)=x^2", "x^2"),
        ("a_n = 2n+1", "2n+1"),
        (r"\vec{v} = (1,2)", "(1,2)"),
        ("(x, y) = (3,4)", "(3,4)"),
        (r"(a,b) = \left(\frac12, 3\right)", r"\left(\frac12,3\right)"),
        (r"\mathbf{v} = \begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ("x_1 = 3", "3"),
        (r"x_{\text{min}} = 3", "3"),
        (r"\mathrm{Area} = 6", "6"),
        (r"\text{Volume: } 36\pi", r"36\pi"),
        (r"\text{Answer: } 5", "5"),
        (r"\text{The answer is } 5", "5"),
        (r"k=\frac{1}{2}", r"\frac12"),
        (r"\lambda = 3", "3"),
        ("|z| = 5", "5"),
        (r"\|v\| = 5", "5"),
        (r"\mathbb{E}[X] = 3.5", "3.5"),
        ("E(X) = 3.5", r"\frac72"),
        (r"\gcd(12,18) = 6", "6"),
        ("x+y=7", "7"),
        (r"\frac{a}{b} = \frac{3}{4}", r"\frac34"),
        (r"\cos A = \frac35", r"\frac35"),
        ("p+q=17", "17"),
        ("y = mx + b = 2x + 3", "2x+3"),
        (
            r"\mathbf{a}\times\mathbf{b} = \begin{pmatrix}1\\2\end{pmatrix}",
            r"\begin{pmatrix}1\\2\end{pmatrix}",
        ),
        (
            r"\mathbf{A}^{-1} = \begin{pmatrix}1\\2\end{pmatrix}",
            r"\begin{pmatrix}1\\2\end{pmatrix}",
        ),
        (r"\text{lcm}(4,6) = 12", "12"),
        (r"\text{Var}(X) = 4", "4"),
    ],
    "worked out in the box": [
        ("m+n = 256+37 = 293", "293"),
        (r"2\sqrt5 \approx 4.47", r"2\sqrt{5}"),
        (r"\frac{17}{50} = 0.34 = 34\%", r"\frac{17}{50}"),
        (r"\frac{6}{8} = \frac{3}{4}", r"\frac34"),
        (r"2\cdot 3 = 6", "6"),
        ("x = 2 + 3 = 5", "5"),
        (r"A = \pi r^2 = 9\pi", r"9\pi"),
        (r"\sqrt{50} = 5\sqrt{2}", r"5\sqrt2"),
        (r"\binom{5}{2} = 10", "10"),
        ("5! = 120", "120"),
        (r"\frac{1}{3} \approx 0.333", r"\frac13"),
        (r"\frac{5}{2} = 2.5", r"\frac52"),
        (r"\frac{5}{2} \text{ or } 2.5", r"\frac52"),
        ("2^{10} = 1024", "1024"),
        (r"34\%", r"\frac{17}{50}"),
        (r"3\frac12 = 3.5", r"\frac72"),
        (r"\boxed{5}", "5"),
        ("101_2 = 5", "5"),
        (r"5\sqrt2\text{ cm} \approx 7.07\text{ cm}", r"5\sqrt2"),
        (r"17 \equiv 5 \pmod{12}", "5"),
        (r"2^{10} = 1024 \equiv 24 \pmod{1000}", "24"),
    ],
    "sets of numbers": [
        (r"x \in (-\infty, 3)", r"(-\infty,3)"),
        ("x<3", r"(-\infty,3)"),
        ("3>x", r"(-\infty,3)"),
        (r"x \in [2, \infty)", r"[2,\infty)"),
        (r"[2,+\infty)", r"[2,\infty)"),
        (r"2\leq x\leq 5", "[2,5]"),
        (r"2 \le x < 5", "[2,5)"),
        (r"x < 1 \text{ or } x > 3", r"(-\infty,1)\cup(3,\infty)"),
        (r"x \le -1 \text{ or } x \ge 1", r"(-\infty,-1]\cup[1,\infty)"),
        (r"(3,\infty)\cup(-\infty,1)", r"x<1\text{ or }x>3"),
        (r"\{x \mid x > 2\}", r"(2,\infty)"),
        (r"\{x : -2 \le x \le 7\}", "[-2,7]"),
        (r"\{x \in \mathbb{R} \mid x \neq 2\}", r"(-\infty,2)\cup(2,\infty)"),
        (r"\mathbb{R}", r"(-\infty,\infty)"),
        (r"x \in \mathbb{R}", r"(-\infty,\infty)"),
        ("x>=5", r"[5,\infty)"),
        (r"x \geqslant 5", r"[5,\infty)"),
        ("]2,5[", "(2,5)"),
        (r"y \ge 0", r"[0,\infty)"),
        (r"(0,9) \cup (9,36)", r"(0,9)\cup(9,36)"),
        ("-2 < x < 7", r"x \in (-2,7)"),
        (r"x \in (-2,7)", "-2<x<7"),
        (r"x\in\{1,2\}", r"\{1,2\}"),
        (r"x \in \{1,2\}", "1,2"),
        (r"(-\infty,0)\cup(0,\infty)", r"x\ne0"),
        (r"\mathbb{R}\setminus\{0\}", r"(-\infty,0)\cup(0,\infty)"),
        (r"x > -3 \text{ and } x < 3", "(-3,3)"),
        (r"\left(-\infty, -\tfrac{1}{2}\right]", r"(-\infty,-\frac12]"),
        ("(-∞, 0]", r"(-\infty,0]"),
        (r"0 < x \text{ and } x<5", "(0,5)"),
        (r"1<x<2\text{ or }3<x<4", r"(1,2)\cup(3,4)"),
        (r"x\ne\pm1", r"(-\infty,-1)\cup(-1,1)\cup(1,\infty)"),
        (r"-\infty<x<\infty", r"(-\infty,\infty)"),
        (r"-\infty < x \le 3", r"(-\infty,3]"),
        (r"x=0\text{ or }x\ge2", r"\{0\}\cup[2,\infty)"),
    ],
    "lists": [
        (r"\{1,2,3\}", "1,2,3"),
        (r"1+\sqrt5, 1-\sqrt5", r"1\pm\sqrt5"),
        (r"1-\sqrt5, 1+\sqrt5", r"1\pm\sqrt5"),
        (r"3 \text{ and } 5", "3,5"),
        (r"3, 5, \text{ and } 7", "3,5,7"),
        (r"x=3 \text{ or } x=5", "3,5"),
        ("3 and 5", "3,5"),
        ("3 or 5", "3,5"),
        ("x = 3, x = 5", "3,5"),
        ("x = 3, 5", "3,5"),
        (r"\boxed{-2}, \boxed{1}", "-2,1"),
        (r"x=\pm 3", "-3,3"),
        (r"\pm 3", "3,-3"),
        (r"\{-3, 3\}", r"\pm 3"),
        ("x_1=3, x_2=5", "3,5"),
        ("(1,2), (3,4)", "(1,2),(3,4)"),
        (r"(x,y)=(1,2)\text{ or }(3,4)", "(1,2),(3,4)"),
        ("(x,y)=(1,2),(x,y)=(3,4)", "(1,2),(3,4)"),
        (r"x = \frac{-1\pm\sqrt5}{2}", r"\frac{-1+\sqrt5}{2},\frac{-1-\sqrt5}{2}"),
        (r"x=1\text{ and }y=2", "(1,2)"),
        ("a=1,b=2", "a=1, b=2"),
        ("b=2,a=1", "a=1,b=2"),
        (r"1,2,\ldots,5", r"1,2,\ldots,5"),
        (r"\{3\}", "3"),
        (r"\left\{1,2,3\right\}", r"\{3,2,1\}"),
        (r"S = \{2,3\}", r"\{2,3\}"),
        (r"x = \{3,2\}", "2,3"),
        (r"x=3 \quad y=5", "x=3,y=5"),
        (r"\begin{cases} x = 3 \\ y = 5 \end{cases}", "x=3,y=5"),
        (r"\begin{aligned} x &= 3 \\ y &= 5 \end{aligned}", "(3,5)"),
        ("(3,5)", "y=5,x=3"),
    ],
    "matrices": [
        (r"\left[\begin{matrix}1\\2\end{matrix}\right]", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (
            r"\frac{1}{3}\begin{pmatrix} -1 \\ 2 \\ 5 \end{pmatrix}",
            r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}",
        ),
        (r"-\begin{pmatrix}1&0\\0&1\end{pmatrix}", r"\begin{pmatrix}-1&0\\0&-1\end{pmatrix}"),
        (r"\begin{pmatrix}1\\[1ex]2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\begin{pmatrix}1\cr2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\begin{smallmatrix}1\\2\end{smallmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\begin{Bmatrix}1\\2\end{Bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (
            r"\left(\begin{array}{cc}1&2\\3&4\end{array}\right)",
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        ),
        (
            r"\left(\begin{array}{c|c}1&2\\3&4\end{array}\right)",
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        ),
        (r"\langle 1,2,3\rangle", "(1,2,3)"),
        (r"\begin{pmatrix}1 & 2\end{pmatrix}^T", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"2\cdot\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\4\end{pmatrix}"),
    ],
    "functions and identities": [
        (r"\sin 75^\circ", r"\frac{\sqrt6+\sqrt2}{4}"),
        (r"\cos 36^\circ", r"\frac{1+\sqrt5}{4}"),
        (r"\arctan\frac12+\arctan\frac13", r"\frac{\pi}{4}"),
        (r"45^\circ", r"\frac{\pi}{4}"),
        (r"\tan^{-1}(2)", r"\arctan 2"),
        (r"\ln 8", r"3\ln 2"),
        (r"\log 100x", r"\log(100x)"),
        (r"\sin^{-1}\frac12", r"\frac{\pi}{6}"),
        (r"\sqrt{3+2\sqrt2}", r"1+\sqrt2"),
        (r"\sqrt{x}\sqrt{y}", r"\sqrt{xy}"),
        (r"\frac{1}{\sqrt{x}}", r"\frac{\sqrt{x}}{x}"),
        (r"\log_2 x^3", r"3\log_2 x"),
        (r"\cos(2\theta)", r"1-2\sin^2\theta"),
        (r"\sqrt[4]{x^2}", r"\sqrt{x}"),
        (r"\sqrt[3]{2}\cdot\sqrt[3]{4}x", "2x"),
    ],
    "bases, ratios, residues, repeating decimals, number words": [
        (r"2516_{\text{eight}}", "2516_8"),
        ("2516_8", "2516_{8}"),
        ("(2516)_{8}", "2516_8"),
        (r"2516 \text{ (base 8)}", "2516_8"),
        (r"\mathrm{1A}_{16}", "1A_{16}"),
        (r"2516_{\text{base }8}", "2516_8"),
        (r"2516_{\text{(base 8)}}", "2516_8"),
        ("1A_{16}", "1A_{16}"),
        ("3:4", "3:4"),
        (r"\frac{3}{4}", "3:4"),
        ("3 : 4", "3:4"),
        ("3{:}4", "3:4"),
        (r"3 \text{ to } 4", "3:4"),
        ("3/4", "3:4"),
        ("3:4", r"\frac34"),
        (r"7 \pmod{12}", "7"),
        (r"x \equiv 7 \pmod {12}", r"7 \pmod{12}"),
        (r"7\ (\text{mod}\ 12)", "7"),
        (r"x \equiv 7 (\bmod 12)", "7"),
        (r"0.\overline{142857}", r"\frac17"),
        (r"0.\bar 3", r"\frac13"),
        (r"1.\overline{6}", r"\frac53"),
        (r"0.8\overline{3}", r"\frac56"),
        ("0.333...", r"\frac13"),
        ("0.1666…", r"\frac16"),
        ("0.272727...", r"\frac{3}{11}"),
        ("seven", "7"),
        (r"\text{seven}", "7"),
        (r"\text{twenty-one}", "21"),
        ("twelve", "12"),
        (r"\text{one hundred}", "100"),
    ],
    "typesetting": [
        (r"\boldsymbol{42}", "42"),
        (r"\mathbf 4", "4"),
        (r"\bf{42}", "42"),
        (r"\rm 42", "42"),
        (r"\textcolor{blue}{\frac{1}{2}}", r"\frac12"),
        (r"\color{red}{42}", "42"),
        (r"{\color{red}42}", "42"),
        ("**42**", "42"),
        ("“42”", "42"),
        (r"\mathbf{\frac12}", r"\frac12"),
        (r"\underline{\frac12}", r"\frac12"),
        (r"\fbox{42}", "42"),
        (r"\mathit{42}", "42"),
        (r"\large{42}", "42"),
        (r"\Huge 42", "42"),
        (r"\text{$42$}", "42"),
        (r"\(\frac12\)", r"\frac12"),
        ("$$42$$", "42"),
        ("$42$.", "42"),
        ("*42*", "42"),
        (r"\texttt{42}", "42"),
        (r"\textnormal{42}", "42"),
        (r"\mbox{42}", "42"),
    ],
    "Unicode": [
        ("２", "2"),
        ("¾", r"\frac34"),
        ("x⁴", "x^4"),
        ("4210₅", "4210_5"),
        ("2⋅3", "2⋅3"),
        ("α", r"\alpha"),
        ("3√13", r"3\sqrt{13}"),
        ("72°", "72"),
        ("½", "0.5"),
        ("x²+y²", "x^2+y^2"),
        ("2π", r"2\pi"),
        ("－3", "-3"),
        ("（1，2）", "(1,2)"),
        ("1．5", "1.5"),
        ("x≥5", r"[5,\infty)"),
        ("θ", r"\theta"),
        ("𝑥", "x"),
        ("10⁻³", "0.001"),
        ("∛2", r"\sqrt[3]{2}"),
        ("√(2)", r"\sqrt2"),
        ("√2/2", r"\frac{\sqrt2}{2}"),
        ("2√(3)+1", r"2\sqrt3+1"),
        ("1 000", "1000"),
        ("1 000", "1000"),
        ("50％", r"50\%"),
        ("ℝ", r"(-\infty,\infty)"),
        ("a₁", "a_1"),
        ("2³", "8x/x"),
    ],
    "a full stop at the end": [
        (r"\frac{1}{2}.", r"\frac12"),
        ("(1,2).", "(1,2)"),
        (r"\text{even}.", r"\text{even}"),
        ("x=5.", "x=5"),
        (r"\frac{\sqrt3}{2} .", r"\frac{\sqrt3}{2}"),
        ("1.5.", "1.5"),
        (r"5\text{ cm}.", r"5\text{ cm}"),
    ],
    "what a tail says": [
        (r"4\mathrm{i}", "4i"),
        (r"3+4\mathrm{i}", "3+4i"),
        (r"2\mathbf{a}", "2a"),
        (r"1.8\text{ million}", "1800000"),
        (r"1.8\text{ million}", r"1.8\text{ million}"),
        (r"6:30\text{ a.m.}", r"6:30 \text{ am}"),
        ("6:30 AM", r"6:30\text{ a.m.}"),
        ("06:30 a.m.", r"6:30\text{ a.m.}"),
        (r"5\text{ or more}", r"5\text{ or more}"),
        ("x=3,y=5", "x=3, y=5"),
        ("y=5,x=3", "x=3,y=5"),
    ],
    "units": [
        (r"5\text{ hours}", "5"),
        (r"5\text{ miles/hour}", r"5\text{ mph}"),
        (r"5\text{ m/s}", "5"),
        (r"5\,\mathrm{m/s}", "5"),
        (r"5\ \text{cm}^{2}", r"5\text{ cm}^2"),
        (r"5\text{ sq cm}", r"5\text{ cm}^2"),
        (r"5\text{ cubic units}", "5"),
        ("5 dollars", r"\$5"),
        (r"\$5.00", "5"),
        (r"5 \text{ students}", "5"),
        ("5 cm", r"5\text{ centimeters}"),
        (r"12\pi\text{ cm}^3", r"12\pi"),
        (r"12\pi", r"12\pi\text{ square inches}"),
        (r"\frac12\text{ hour}", r"\frac12"),
        (r"30\text{ minutes}", "30"),
        (r"5\%", r"5 \text{ percent}"),
        ("5 percent", r"5\%"),
        (r"90\text{ degrees}", r"90^\circ"),
        (r"x = 90^\circ", "90"),
        (r"(3, 90^\circ)", r"(3,90^\circ)"),
        (r"100^{\circ}\mathrm{C}", "100"),
    ],
    "separators and powers of ten": [
        ("10{,}000", "10000"),
        (r"10\,000", "10000"),
        (r"10,\!000", "10000"),
        ("1,234,567.89", "1234567.89"),
        (r"1.5\times10^{3}", "1500"),
        (r"1.5 \cdot 10^3", "1500"),
        ("1.5e3", "1500"),
        (r"\left(42\right)", "42"),
        ("(-1.5)", r"-\frac32"),
        ("3e8", r"3\times10^8"),
        (r"6.02\times 10^{23}", r"6.02 \cdot 10^{23}"),
    ],
    "choices": [
        (r"\text{(C)}", "C"),
        ("(C)", "C"),
        ("C.", r"\text{(C)}"),
        (r"\textbf{C}", r"\text{(C)}"),
        (r"\text{(C) } 12", r"\text{(C)}"),
        (r"\textbf{(C)}~\frac12", r"\text{(C)}"),
        (r"\text{Choice C}", r"\text{(C)}"),
        (r"\text{Answer: (C)}", r"\text{(C)}"),
        (r"\text{C}", r"\text{(C)}"),
        (r"\text{Option C}", "C"),
    ],
    "words": [
        (r"\text{Yes}", r"\text{yes}"),
        ("yes", r"\text{Yes}"),
        (r"\text{the ellipse}", r"\text{ellipse}"),
        (r"\text{an ellipse}", r"\text{ellipse}"),
        (r"\text{Friday}", "Friday"),
        (r"\text{no solution}", r"\text{No solution.}"),
        (r"\text{no solutions}", r"\text{no solution}"),
        (r"\varnothing", r"\emptyset"),
        (r"\{\}", r"\emptyset"),
        (r"\textit{even}", r"\text{even}"),
    ],
    "the range of a parameter": [
        (r"\frac{\pi}{6}+2\pi n, n\in\mathbb{Z}", r"\frac{\pi}{6}+2\pi n"),
        (r"2\pi k \text{ for integer } k", r"2\pi k"),
        (r"n\pi, \text{ where } n \text{ is an integer}", r"n\pi"),
    ],
    "equations": [
        ("2x+3y=6", "3y+2x=6"),
        ("6=2x+3y", "2x+3y=6"),
        ("y=-2x", "2x+y=0"),
        ("x^2+y^2=25", "y^2+x^2=25"),
        ("y-3=2(x-1)", "y=2x+1"),
        ("(x-1)^2+(y+2)^2=9", "(x-1)^2+(y+2)^2-9=0"),
    ],
    "plain text": [
        (r"\sqrt{5}", "sqrt(5)"),
        ("sqrt 5", r"\sqrt5"),
        ("x^(1/2)", r"\sqrt{x}"),
        ("2*pi", r"2\pi"),
        ("pi/2", r"\frac{\pi}{2}"),
        ("1/2*x", r"\frac{x}{2}"),
        ("(x+1)/(x-1)", r"\frac{x+1}{x-1}"),
        (r"\frac{x+1}{2}", "(x+1)/2"),
        ("3x^{2}", "3x²"),
        ("e^(2x)", "e^{2x}"),
        (r"\exp(2x)", "e^{2x}"),
        ("exp(2)", "e^2"),
        ("x**2", "x^2"),
        (r"\frac{a}{b}", "a/b"),
        ("2^{1/2}", r"\sqrt2"),
        (r"{n \choose 2}", r"\binom{n}{2}"),
        (r"\frac{n(n-1)}{2}", r"\binom{n}{2}"),
        (r"\frac1{\sqrt2}", r"\frac{\sqrt2}2"),
    ],
}

WRONG = [
    ("y=5", "x+y=5"),
    ("x^2=25", "25"),
    ("2x=10", "10"),
    ("x-2=3", "3"),
    ("2+2=5", "5"),
    ("1=2", "2"),
    (r"x\ne5", "5"),
    ("x<5", "5"),
    (r"x=5\text{ or }6", "5"),
    ("5,6", "5"),
    ("5", "5,6"),
    (r"\pm5", "5"),
    ("5", r"\pm5"),
    ("(5,6)", "5,6"),
    ("{5,6}", "(5,6)"),
    ("[2,5]", "(2,5)"),
    ("2<x<5", "[2,5]"),
    ("x>2", r"[2,\infty)"),
    (r"(2,\infty)", r"(-\infty,2)"),
    ("x<2", r"(2,\infty)"),
    (r"(-\infty,1)\cup(2,\infty)", r"(-\infty,1)\cup(3,\infty)"),
    (r"x\ne 3", r"(-\infty,2)\cup(2,\infty)"),
    ("2 3", "23"),
    (r"2\quad5", "25"),
    (r"1\ 2", "12"),
    ("2 3", "6"),
    (r"5\text{ or more}", "5"),
    (r"1.8\text{ million}", "1.8"),
    (r"6:30\text{ a.m.}", r"6:30\text{ p.m.}"),
    (r"4\mathrm{i}", "4"),
    (r"2\mathbf{a}", "2"),
    (r"5\text{ dozen}", "5"),
    (r"3\text{ hundred}", "3"),
    (r"5\text{ and above}", "5"),
    (r"\text{at least }5", "5"),
    (r"\text{more than } 5", "5"),
    (r"\text{not }5", "5"),
    (r"5\text{ half}", "5"),
    (r"5\text{ squared}", "5"),
    (r"\text{negative }5", "5"),
    ("x=3,y=5", "x=5,y=3"),
    ("a=1,b=2", "b=1,a=2"),
    ("(3,5)", "(5,3)"),
    ("2,1", "1,2"),
    (r"5\text{ m}", r"5\text{ cm}"),
    (r"5\text{ minutes}", r"5\text{ seconds}"),
    (r"5\text{ cm}^3", r"5\text{ cm}^2"),
    (r"5\text{ kg}", r"5\text{ m}"),
    (r"\$5", r"5\text{ cents}"),
    ("3:4", "4:3"),
    ("3:4", "34"),
    ("1:2", "1:2:3"),
    ("2516_7", "2516_8"),
    ("2516", "2516_8"),
    ("7", r"8\pmod{12}"),
    (r"7\pmod{10}", r"7\pmod{12}"),
    (r"0.\overline{3}", "0.3"),
    ("0.33", r"\frac13"),
    ("0.333", r"0.\overline3"),
    ("1,234", "1.234"),
    ("1,5", "15"),
    ("seven", "8"),
    ("A", "B"),
    ("(A)(B)", r"\text{(A)}"),
    ("(A) or (B)", r"\text{(A)}"),
    ("yes", "no"),
    (r"\text{even}", r"\text{odd}"),
    (r"\text{not even}", r"\text{even}"),
    ("x^2+y^2=1", "1"),
    ("y=2x+1", "2x-1"),
    ("y=2x+1", "x=2y+1"),
    (r"\sin 30", r"\frac12"),
    (r"\sin 30^\circ", r"\frac{\sqrt3}2"),
    ("ab", "a+b"),
    (r"\sqrt{x^2}", "x"),
    ("|x|", "x"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    (r"2\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    (r"50\%", "5"),
    (r"50\%", "0.05"),
    ("0.5", "50"),
    ("2x>10", "x>10"),
    ("5x - 7y + 11z + 4 = 0", "0"),
    ("5 apples and 3 pears", "5"),
    ("5 or 6", "5"),
    (r"\frac{2}{4}", r"\frac12"),
    ("2+3", "5"),
    ("4/2", "2"),
    ("-5", "5"),
    ("5-", "5"),
    ("+-5", "5"),
    ("5'", "5"),
    ("5!", "5"),
    ("f(5)", "5"),
    ("x5", "5"),
    ("5x", "5"),
    (r"\sqrt5", "5"),
    (r"5^\circ 30'", "5"),
    ("5e", "5"),
    ("5i", "5"),
    ("5 + ...", "5"),
    (r"5\ldots", "5"),
    ("5,...", "5"),
    (r"5\approx6", "6"),
    (r"6\approx5", "6"),
    (r"\log x=5", "5"),
    ("e^x=5", "5"),
    ("n!=120", "120"),
    (r"\frac{x}{2}=5", "5"),
    ("x(x+1)=6", "6"),
    ("2n+1=7", "7"),
    ("x = y", "y=-x"),
    ("x:5", "5"),
    ("", r"\emptyset"),
    ("?", "5"),
    ("5?", "5"),
    ("10^3", "1003"),
    ("1e3x", "1000"),
    (r"\frac{1}{0}", r"\infty"),
    ("(-1,2)", "[-1,2]"),
    (r"\{1,2\}", "(1,2)"),
    (r"\{1,2\}", "[1,2]"),
    ("1<x", "x<1"),
    ("0.5", "5"),
    (r"\text{(A)}", r"\text{(B)}"),
    (r"12\frac12", "6"),
    ("x=5 and y=6", "5"),
    (r"3\text{ times } 4", "3"),
    (r"5\text{ thousandths}", "5"),
    ("5 below", "5"),
    ("-5 below", "-5"),
    (r"5\text{ less than } x", "5"),
    (r"2\text{ and a half}", "2"),
    ("(5,3)", "x=3,y=5"),
    ("|x-3| = 5", "5"),
    (r"5\text{ BC}", r"5\text{ AD}"),
    (r"5\text{ miles north}", r"5\text{ miles south}"),
    ("(42)", "-42"),
    ("(2+2)", "4"),
    ("(3,5)", "y=3,x=5"),
    (r"S = \{2,3\}", r"\{2,4\}"),
    (r"\begin{cases} x = 5 \\ y = 3 \end{cases}", "x=3,y=5"),
    (r"\begin{cases} x & x>0 \\ -x & x\le0 \end{cases}", "x"),
    (r"x\ne1", r"(-\infty,-1)\cup(-1,1)\cup(1,\infty)"),
    (r"-\infty < x < 3", r"(-\infty,3]"),
    (r"\infty < x < 3", r"(-\infty,3)"),
    (r"x=1\text{ or }x\ge2", r"\{0\}\cup[2,\infty)"),
    (r"17 \equiv 6 \pmod{12}", "6"),
    (r"17 \equiv 5 \pmod{12}", "17"),
    ("102_2 = 5", "5"),
    ("101_2 = 6", "6"),
    (r"5\sqrt2\text{ cm} \approx 7.17\text{ cm}", r"5\sqrt2"),
    ("A^2 = 9", "9"),
    ("x^{-1} = 5", "5"),
    (r"\text{Option C}", "D"),
    ("3e8", r"3\times10^7"),
    (r"3\text{ quarters}", "3"),
]


@pytest.mark.parametrize(
    ("answer", "gold"),
    [pytest.param(*row, id=f"{kind}: {row[0]}") for kind in RIGHT for row in RIGHT[kind]],
)
def test_right(answer: str, gold: str) -> None:
    judgement = explain(answer, gold)
    assert judgement.correct
    assert judgement.rule


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_wrong(answer: str, gold: str) -> None:
    assert explain(answer, gold) == Judgement(False, None)


@pytest.mark.parametrize(
    ("answer", "gold", "rule"),
    [
        ("5", "5", "the same spelling"),
        ("x = 0.5", r"\frac12", "a name before it; the same value"),
        ("a+b = 2+3 = 5", "5", "worked out; the same spelling"),
        (r"5\text{ cm}", "5", "a unit left out; the same spelling"),
        ("x<3", r"(-\infty,3)", "the same set of numbers"),
        ("y=5,x=3", "x=3,y=5", "the same values of the same names"),
        (r"1-\sqrt5,1+\sqrt5", r"1\pm\sqrt5", "the same elements in any order"),
        (r"\text{(C) } 12", r"\text{(C)}", "the same choice"),
        ("6", "5", None),
    ],
)
def test_a_judgement_says_why(answer: str, gold: str, rule: str | None) -> None:
    assert explain(answer, gold) == Judgement(rule is not None, rule)


@pytest.mark.parametrize(
    ("problem", "any_order"),
    [
        ("Find all values of $x$ such that $x^2=4$.", True),
        ("Enter all the solutions, separated by commas.", True),
        ("What are the roots of the polynomial?", True),
        ("Find all integer values of $n$, in increasing order, separated by commas.", False),
        ("List all the primes from least to greatest.", False),
        ("Find the ordered pair $(x,y)$.", False),
        ("Compute $1+1$.", False),
        ("", False),
    ],
)
def test_a_problem_that_asks_for_all_values_names_no_order(problem: str, any_order: bool) -> None:
    assert order_does_not_matter(problem) == any_order
    assert grade("2,-2", "-2,2", problem) == any_order
    assert grade("x=2 and x=-2", "-2,2", problem) == any_order
    assert not grade("(2,-2)", "(-2,2)", problem)
    assert not grade("2,-2", "-2,3", problem)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("72 clips", 72),
        ("72 km/h", 72),
        (r"72 \,\text{m}^2", 72),
        ("72,", 72),
        (r"\text{Profit} = \$70,000", 70000),
        ("€29", 29),
        ("29 €", 29),
        ("£29", 29),
        ("USD 29", 29),
        ("29 USD", 29),
        (r"\$29 per day", 29),
        ("(42)", 42),
        ("1.234.567", 1234567),
        ("1'234", 1234),
        ("1 234 567", 1234567),
        ("1,00,000", 100000),
        (r"1\,234", 1234),
        ("m+n = 256+37 = 293", 293),
        ("256+37=293", 293),
        (r"N \equiv 29 \pmod{100}", 29),
        (r"\text{The answer is } 293", 293),
        ("Total: 29", 29),
        ("**29**", 29),
        ("29%", 29),
        ("29 red balls", 29),
        ("29 years old", 29),
        ("n=29 students", 29),
        ("29 million", 29000000),
        ("about 29", None),
        (r"72 \approx 73", 72),
        (r"\sqrt{17} \approx 4", None),
        (r"n \approx 73", 73),
        ("29 or more", None),
        (r"29 \text{ or more}", None),
        (r"\text{at least } 29", None),
        (r"\text{more than } 29", None),
        (r"29\text{ dozen}", None),
        (r"1 \text{ hour } 12 \text{ minutes}", None),
        ("29 and 30", None),
        ("29/1", None),
        ("2 9", None),
        ("29x", None),
        ("29!", None),
        ("12,34", None),
        ("2x=58", None),
        ("x^2=29", None),
        ("20+9", None),
        ("(29, 30)", None),
        ("29m", None),
    ],
)
def test_integers(written: str, value: int | None) -> None:
    assert integer(written) == value


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"\boxed{9}. I put it in a \boxed environment", "9"),
        (r"\boxed{7}. See \boxed, and \boxed.", "7"),
        (r"$\boxed x$", "x"),
        (r"$\boxed\frac{1}{2}$", r"\frac{1}{2}"),
        (r"$\boxed\frac12$", r"\frac12"),
        (r"$\boxed-\frac12$", r"-\frac12"),
        (r"\boxed\sqrt[3]{2}", r"\sqrt[3]{2}"),
        (r"\boxed{**73**}", "73"),
        (r"\boxed{`5`}", "5"),
        (r"\\boxed{5}", "5"),
        (r"x \\\boxed{5}", "5"),
        (r"\boxed{7} in \boxed{}", "7"),
        ("<think> maybe \\boxed{5}", None),
        ("\\boxed{4} <think> hmm \\boxed{5}", "4"),
        ("<think> \\boxed{5} </think> so \\boxed{6}", "6"),
        ("<think>\\boxed{5}</think> It is five.", "5"),
    ],
)
def test_boxes(completion: str, answer: str | None) -> None:
    assert extract_boxed(completion) == answer


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"\boxed{-2}, \boxed{1}", "-2, 1"),
        (r"First \boxed{3}. Then $\boxed{-2}$ or $\boxed{1}$.", "-2, 1"),
        (r"$x=\boxed{-2}$, $x=\boxed{1}$", "-2, 1"),
        (r"\boxed{-2} then \boxed{1}", "1"),
        (r"\boxed{1,2}", "1,2"),
        ("none", None),
    ],
)
def test_boxes_in_a_row_are_a_list_where_one_is_asked_for(
    completion: str, answer: str | None
) -> None:
    assert extract_boxed_list(completion) == answer
    grader = parse_grader({"grader": "math"})
    assert grader.answer_to(completion, "", "-2,1") == answer
    assert grader.answer_to(completion, "", "1") == extract_boxed(completion)


DOUBLE = "def double(x):\n    return 2 * x\n"
TWICE = "def twice(xs):\n    return [2 * x for x in xs]\n"
TWICE_BY_DOUBLE = "def twice(xs):\n    return [double(x) for x in xs]\n"
PROBLEM = 'def twice(xs):\n    """Each element doubled."""\n'
TESTS = "\ndef check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n\ncheck(twice)\n"
COMPLETIONS = {
    "usage": f"```python\n{TWICE}```\nUse it:\n```python\nprint(twice(input()))\n```",
    "output": f"```python\n{TWICE}```\nOutput:\n```\n[2, 4]\n```",
    "session": f"```python\n{TWICE}```\n```\n>>> twice([1])\n[2]\n```",
    "helper before": f"```python\n{DOUBLE}```\nand\n```python\n{TWICE_BY_DOUBLE}```",
    "helper after": f"```python\n{TWICE_BY_DOUBLE}```\nwith\n```python\n{DOUBLE}```",
    "two attempts": f"```python\n{TWICE.replace('2', '3')}```\nNo:\n```python\n{TWICE}```",
    "indented": "1. So\n   ```python\n   def twice(xs):\n       return [2*x for x in xs]\n   ```\n",
    "body alone": "```python\n    return [2 * x for x in xs]\n```",
    "tildes": f"~~~python\n{TWICE}~~~",
    "four backticks": f"````python\n{TWICE}# ```\n````",
    "unlabelled": f"```\n{TWICE}```",
    "with a title": f'```python title="a.py"\n{TWICE}```',
    "CRLF": f"```python\n{TWICE}```\n".replace("\n", "\r\n"),
    "guard": f"```python\n{TWICE}\nif __name__ == '__main__':\n    print(twice(input()))\n```",
}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_the_code_that_solves_the_problem_is_found(name: str, sandboxed: None) -> None:
    grader = parse_grader({"grader": "code", "run_code": True})
    completion = COMPLETIONS[name]
    answers = {grader.answer(completion), grader.answer_to(completion, PROBLEM, TESTS)}
    cases = [Case(answer, PROBLEM, TESTS) for answer in answers]
    assert all(verdict.correct for verdict in grader.verdicts(cases, 1))


def test_helpers_are_taken_and_what_uses_the_solution_is_not() -> None:
    grader = parse_grader({"grader": "code", "run_code": True})
    answer = grader.answer_to(COMPLETIONS["helper after"], PROBLEM, TESTS)
    assert answer is not None
    assert "def double" in answer
    assert answer.endswith(TWICE_BY_DOUBLE)
    assert grader.answer_to(COMPLETIONS["usage"], PROBLEM, TESTS) == TWICE


def rows(name: str) -> list[dict[str, Any]]:
    path = DATA / f"{name}.jsonl"
    return [json.loads(line) for line in path.open(encoding="utf-8")] if path.exists() else []


def test_collected_cases() -> None:
    """Nearly all that is plain is right, and nothing that must be wrong is accepted."""
    cases = [row for row in rows("grading_cases") if row["tier"] == "plain"]
    maths = [row for row in cases if row["grader"] == "math"]
    wrong = [row for row in maths if grade(row["answer"], row["gold"]) != row["right"]]
    assert not [row for row in wrong if not row["right"]]
    assert len(wrong) <= 0.01 * len(maths)
    integers = [row for row in cases if row["grader"] == "integer"]
    assert all((integer(r["answer"]) == integer(r["gold"])) == r["right"] for r in integers)
    boxes = [row for row in cases if row["grader"] == "extract"]
    assert all(row["right"] == f"extract: {extract_boxed(row['completion'])}" for row in boxes)


UNITS = r"\^\\circ|\\(?:text|mbox)\{ [a-z]+\}(?:\^2)?|\\\$"
VARIANTS = {
    "itself": "{}",
    "a full stop": "{}.",
    "dollars": "${}$",
    "a box": r"\boxed{{{}}}",
    "brackets": r"\({}\)",
    "a name": "x = {}",
}


def test_reference_answers_equal_themselves_and_no_others() -> None:
    answers = list(dict.fromkeys(row["answer"] for row in rows("math500")))
    for answer in answers:
        variants = [variant.format(answer) for variant in VARIANTS.values()]
        if "=" in answer or r"\in" in answer or r"\{" in answer:
            variants.pop()
        variants.append(re.sub(r",(?!\\!)", ", ", answer))
        variants.append(answer.replace(r"\frac", r"\dfrac"))
        variants.append(re.sub(UNITS, "", answer))
        assert [v for v in variants if not grade(v, answer)] == []
    short = [answer for answer in answers if re.search(r"\D", answer)][::4]
    equal = {frozenset(pair) for pair in permutations(short, 2) if grade(*pair)}
    known = [(r"180^\circ", r"\pi"), (r"2\sqrt{5}", r"2 \sqrt{5}"), (r"\frac14", r"\frac{1}{4}")]
    assert equal <= set(map(frozenset, known))


def test_ordinary_answers_take_milliseconds() -> None:
    pairs = [row for row in rows("grading_pairs") if row["kind"] == "model"][:300]
    start = time.process_time()
    for row in pairs:
        grade(row["answer"], row["gold"])
    assert time.process_time() - start < 3
