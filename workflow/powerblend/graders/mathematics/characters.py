r"""Unicode as LaTeX and ASCII: ``¾`` is ``\frac{3}{4}``, ``x⁴`` is ``x^{4}``, ``２`` is ``2``.

Knows single characters only, and nothing about what stands beside them.
"""

import re
import unicodedata

_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "⁃": "-", "﹣": "-", "－": "-",
    "×": r"\times ", "✕": r"\times ", "✖": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "•": r"\cdot ", "∗": "*", "÷": r"\div ", "∕": "/", "⁄": "/",
    "±": r"\pm ", "∓": r"\mp ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]",
    "∞": r"\infty ", "≤": r"\le ", "⩽": r"\le ", "≦": r"\le ", "≥": r"\ge ", "⩾": r"\ge ",
    "≧": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx ", "≅": r"\cong ",
    "≡": r"\equiv ", "→": r"\to ", "⇒": r"\Rightarrow ", "∪": r"\cup ", "⋃": r"\cup ",
    "∩": r"\cap ", "∖": r"\setminus ", "∈": r"\in ", "∉": r"\notin ", "∅": r"\emptyset ",
    "∣": "|", "∥": r"\|", "‖": r"\|", "∠": r"\angle ", "△": r"\triangle ", "∧": r"\land ",
    "∨": r"\lor ", "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}", "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "℃": r"^\circ C",
    "℉": r"^\circ F", "¢": r"\text{ cents}", "￠": r"\text{ cents}", "｛": r"\{", "｝": r"\}",
    "′": "'", "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "：": ":", "∶": ":", "、": ",",
    "。": ".", "…": r"\ldots ", "⋯": r"\ldots ", "\xa0": " ", "％": r"\%", "٪": r"\%",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon",
    "ζ": "zeta", "η": "eta", "θ": "theta", "ϑ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu",
    "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi",
    "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_TABLE = str.maketrans(_SIGNS | {letter: rf"\{name} " for letter, name in _GREEK.items()})

_FRACTION = re.compile("[¼-¾⅐-⅞↉]")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴-⁹⁺⁻⁼⁽⁾ⁿⁱ]+")
_SUBSCRIPT = re.compile("[₀-₉₊₋₌₍₎ₐₑₒₓₖₗₘₙ]+")


def plain_characters(text: str) -> str:
    """The text in ASCII where it has a spelling in LaTeX; what cannot be seen is left out."""
    if not text.isascii():
        text = _FRACTION.sub(_vulgar_fraction, text)
        text = _SUPERSCRIPT.sub(lambda run: f"^{{{_compatible(run[0])}}}", text)
        text = _SUBSCRIPT.sub(lambda run: f"_{{{_compatible(run[0])}}}", text)
        text = "".join(map(_compatible, text.translate(_TABLE))).translate(_TABLE)
    return "".join(map(_visible, text)).strip()


def _compatible(characters: str) -> str:
    """Full-width, bold, superscript and other variants as the characters that they vary."""
    return unicodedata.normalize("NFKC", characters).translate(_TABLE)


def _vulgar_fraction(character: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", character[0]).split("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}"


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return "" if unicodedata.category(character) == "Cf" else " "
