r"""From a string to a sympy expression, without ``eval``: a tokenizer and a recursive descent.

The grammar is the arithmetic of answers: numbers, letters, LaTeX commands from a fixed table, the
usual operators, and multiplication by standing side by side. Everything is bounded by counts
(tokens, depth, size of powers), never by a clock, so that a verdict does not depend on the machine.
Knows nothing about the answer that this one is compared with.
"""

import re
from collections.abc import Callable
from functools import lru_cache

import sympy
from sympy import Expr, Integer, Pow, Rational, Symbol

from powerblend.graders.mathematics.points import at_probe

TOKEN_LIMIT = 250
DEPTH_LIMIT = 30
BIT_LIMIT = 4096
"""Of the numerator or denominator of a power of numbers."""
EXPONENT_LIMIT = 1000
"""Of a power of a letter; a sum is raised to at most ``SUM_EXPONENT_LIMIT``."""
SUM_EXPONENT_LIMIT = 30
FACTORIAL_LIMIT = 100


class Unreadable(ValueError):
    """The string is not in the grammar, or is beyond its bounds."""


_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec,
    "csc": sympy.csc, "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan,
    "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "exp": sympy.exp, "ln": sympy.log,
    "log": sympy.log, "sqrt": sympy.sqrt,
}  # fmt: skip
_CONSTANTS: dict[str, Expr] = {
    "pi": sympy.pi, "infty": sympy.oo, "infinity": sympy.oo, "e": sympy.E, "i": sympy.I,
    "imath": sympy.I,
}  # fmt: skip
_LETTERS = frozenset([
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi", "Psi", "Omega", "ell",
])  # fmt: skip
_SIGNS: dict[str, Expr] = {
    "+": Integer(1), "-": Integer(-1), r"\pm": Symbol("±"), r"\mp": -Symbol("±"),
}  # fmt: skip
_TIMES = frozenset(["*", r"\cdot", r"\times"])
_OVER = frozenset(["/", r"\div"])
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}
_NAMES = "|".join(sorted((*_FUNCTIONS, "pi", "infty", "infinity"), key=len, reverse=True))
_TOKEN = re.compile(
    r"\s*(\d+_(?:\d+|\{\d+\})\.?"  # a number in another base
    r"|\d+\.\d+|\.\d+|\d+\.?"  # a number; a last full stop is its decimal point
    rf"|\\[A-Za-z]+|\\.|{_NAMES}|\S)",
    re.DOTALL,
)
_DIGITS = re.compile(r"[0-9]+\Z")
_NUMBER = re.compile(r"[0-9]*\.?[0-9]*\Z")


@lru_cache(maxsize=4096)
def read(text: str) -> Expr:
    """The expression that a normalised string writes down; ``Unreadable`` where there is none."""
    tokens = _TOKEN.findall(text)
    if not 0 < len(tokens) <= TOKEN_LIMIT:
        raise Unreadable(f"{len(tokens)} tokens, where 1 to {TOKEN_LIMIT} are read")
    reader = _Reader(tokens)
    expression = reader.sum()
    if reader.next is not None:
        raise Unreadable(f"{reader.next!r} is left over")
    return expression


class _Reader:
    """A position in the tokens; each method reads one rule of the grammar from there."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    @property
    def next(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def take(self) -> str:
        if self.next is None:
            raise Unreadable("the string ends early")
        self.position += 1
        return self.tokens[self.position - 1]

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise Unreadable(f"no {token!r} where one is due")

    def sum(self) -> Expr:
        """Signed products, one after the other."""
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise Unreadable(f"more than {DEPTH_LIMIT} levels of brackets")
        total = self.sign() * self.product()
        while self.next in _SIGNS:
            total += self.sign() * self.product()
        self.depth -= 1
        return total

    def sign(self) -> Expr:
        sign: Expr = Integer(1)
        while self.next in _SIGNS:
            sign *= _SIGNS[self.take()]
        return sign

    def product(self) -> Expr:
        """Factors with an operator or nothing between them, from left to right."""
        value = self.factor()
        while True:
            if self.next in _TIMES:
                self.take()
                value *= self.sign() * self.factor()
            elif self.next in _OVER:
                self.take()
                value /= self.sign() * self.factor()
            elif self.starts_factor():
                value *= self.factor()
            else:
                return value

    def starts_factor(self) -> bool:
        token = self.next
        if token is None or (token.startswith("\\") and token not in _CLOSING):
            return token is not None and _is_operand(token[1:])
        return token in _CLOSING or token[0].isalnum()

    def factor(self) -> Expr:
        """An atom with what is written behind it: powers, degrees, factorials."""
        value = self.atom()
        while self.next in ("^", "!"):
            if self.take() == "!":
                value = _factorial(value)
            elif self.next == r"\circ":
                self.take()
                value *= sympy.pi / 180
            else:
                value = power(value, self.exponent())
        return value

    def exponent(self) -> Expr:
        sign = self.sign()
        if self.next is not None and self.next.endswith("."):
            raise Unreadable("an exponent with a full stop")
        value = sign * self.atom()
        if self.next == "^":
            raise Unreadable("a double exponent, which LaTeX does not allow either")
        return value

    def atom(self) -> Expr:
        token = self.take()
        if token in _CLOSING:
            return self.closed_by(_CLOSING[token])
        if token == "|":
            return sympy.Abs(self.closed_by("|"))
        if "_" in token and token[0].isdigit():
            return Symbol(re.sub(r"[{}.]", "", token))
        if token[0].isdigit() or token[0] == ".":
            return self.number(token)
        return self.named(token.removeprefix("\\"))

    def closed_by(self, closing: str) -> Expr:
        value = self.sum()
        self.expect(closing)
        return value

    def number(self, digits: str) -> Expr:
        r"""Read a decimal exactly, and ``1\frac{4}{5}`` as the mixed number that it is."""
        if not _NUMBER.match(digits):
            raise Unreadable(f"{digits!r} is no number")
        value = Rational(digits.removesuffix("."))
        fraction = self.tokens[self.position : self.position + 7]
        if _DIGITS.match(digits) and _is_plain_fraction(fraction):
            return value + self.atom()
        return value

    def named(self, name: str) -> Expr:
        if name == "frac":
            return _over(self.argument(), self.argument())
        if name == "binom":
            return _binomial(self.argument(), self.argument())
        if name == "sqrt":
            return self.root()
        if name in _FUNCTIONS:
            return self.function(name)
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name in _LETTERS or (len(name) == 1 and name.isalpha()):
            return Symbol(name + self.subscript())
        raise Unreadable(f"{name!r} has no meaning here")

    def subscript(self) -> str:
        if self.next != "_":
            return ""
        self.take()
        token = self.take()
        if token == "{":
            token = self.take()
            self.expect("}")
        if not token.isalnum():
            raise Unreadable(f"a subscript {token!r}")
        return f"_{token}"

    def argument(self) -> Expr:
        """What a command takes: a group, or a single atom, of which a number gives one digit."""
        token = self.next
        if token is not None and _DIGITS.match(token) and len(token) > 1:
            self.tokens[self.position : self.position + 1] = [token[0], token[1:]]
        return self.atom()

    def root(self) -> Expr:
        index: Expr = Integer(2)
        if self.next == "[":
            self.take()
            index = self.closed_by("]")
        return power(self.atom(), 1 / index)

    def function(self, name: str) -> Expr:
        r"""``\cos(x)`` takes the bracket, ``\sin^2 2x`` the product up to the next sign."""
        exponent = base = None
        while self.next in ("^", "_"):
            if self.take() == "^":
                exponent = self.exponent()
            else:
                base = self.argument()
        bracket = self.next in _CLOSING
        inside = self.atom() if bracket else self.sign() * self.tight_product()
        value = _FUNCTIONS[name](inside) if base is None else sympy.log(inside) / sympy.log(base)
        return value if exponent is None else power(value, exponent)

    def tight_product(self) -> Expr:
        """The argument of a function without brackets ends before the next function."""
        value = self.factor()
        while self.starts_factor() and not self.starts_function():
            value *= self.factor()
        return value

    def starts_function(self) -> bool:
        name = (self.next or "").removeprefix("\\")
        return name in _FUNCTIONS and name != "sqrt"


def power(base: Expr, exponent: Expr) -> Expr:
    """``base ** exponent``, if it is of a size that can be worked with."""
    if exponent.is_Rational and base.is_Rational:
        bits = max(int(base.p).bit_length(), int(base.q).bit_length())
        _require(bits * abs(exponent) <= BIT_LIMIT)
        _require(bits <= BIT_LIMIT and exponent.q <= EXPONENT_LIMIT)
    elif exponent.is_Rational:
        _require(abs(exponent) <= (SUM_EXPONENT_LIMIT if base.is_Add else EXPONENT_LIMIT))
    else:
        _require(abs(at_probe(exponent)) <= SUM_EXPONENT_LIMIT and not exponent.has(sympy.oo))
    value = Pow(base, exponent)
    # Powers of powers are merged, and may have outgrown the bound.
    _require(not value.is_Pow or not value.exp.is_Rational or abs(value.exp) <= EXPONENT_LIMIT)
    return value


def _require(condition: object) -> None:
    if condition not in (True, sympy.true):
        raise Unreadable("a power that is too large")


def _over(numerator: Expr, denominator: Expr) -> Expr:
    return numerator / denominator


def _factorial(value: Expr) -> Expr:
    if not (value.is_Symbol or (value.is_Integer and 0 <= value <= FACTORIAL_LIMIT)):
        raise Unreadable("a factorial that is too large")
    return sympy.factorial(value)


def _binomial(n: Expr, k: Expr) -> Expr:
    if not all(x.is_Symbol or (x.is_Integer and 0 <= x <= EXPONENT_LIMIT) for x in (n, k)):
        raise Unreadable("a binomial coefficient that is too large")
    return sympy.binomial(n, k)


def _is_operand(name: str) -> bool:
    return name in ("frac", "binom") or any(name in t for t in (_FUNCTIONS, _CONSTANTS, _LETTERS))


def _is_plain_fraction(tokens: list[str]) -> bool:
    r"""Whether the tokens are ``\frac{digits}{digits}``."""
    return (
        len(tokens) == 7
        and tokens[0] == r"\frac"
        and [tokens[k] for k in (1, 3, 4, 6)] == ["{", "}", "{", "}"]
        and all(_DIGITS.match(tokens[k].removesuffix(".")) for k in (2, 5))
    )
