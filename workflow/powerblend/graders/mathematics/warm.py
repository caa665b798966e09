r"""Imported by the process that workers are forked from: they inherit what it remembers.

Math-Verify's parser works out its tables while it reads, and sympy its rules; a worker that starts
without them takes longer over its first answers. Knows nothing of the pool.
"""

from powerblend.graders.mathematics.equivalence import explain
from powerblend.graders.mathematics.second_opinion import second_opinion

PAIRS = (
    (r"\frac{1}{2}", "0.5"),
    (r"\dfrac{3\sqrt{5}}{2}", r"\frac32\sqrt5"),
    (r"\left(-\frac{6}{5}, \frac{3}{5}\right)", "(-2,1)"),
    (r"x = -\frac{\ln(19)}{2 \cdot \ln(3)}", "2"),
    (r"[0, 1 + \frac{\pi^2}{4}]", r"\left[\frac{\pi^2}{8}, \frac{5\pi^2}{4}\right)"),
    (r"(-\infty, 2) \cup (3, \infty)", r"x \in [-2,7]"),
    (r"\begin{pmatrix} 1 \\ t + 1 \end{pmatrix}", r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}"),
    (r"\text{(C)}", r"\text{east}"),
    (r"5x - 7y + 11z + 4 = 0", "y = 2x + 3"),
    (r"8n^2 + 4n + 1", r"(2n+1)^2 + 4n^2"),
    (r"3 \pm 2\sqrt{2}", r"3 + 2\sqrt{2}, 3 - 2\sqrt{2}"),
    (r"\sin 75^\circ", r"\frac{\sqrt{6}+\sqrt{2}}{4}"),
    (r"6 - 5i", r"e^{i\pi/3}"),
    (r"x^2 \ge 4", r"1 < x < 3"),
    (r"10{,}080 \text{ cm}^2", r"\$36.50"),
    (r"\frac{270}{7}\%", "2516_8"),
)
"""One of each kind of answer, with one that it is compared with."""

for answer, reference in PAIRS:
    explain(answer, reference, "")
    second_opinion(answer, reference)
