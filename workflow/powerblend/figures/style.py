"""How every figure looks: readable in print, without colour vision, and at half a page's width."""

from typing import Any

# Okabe & Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#6E6E6E"

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "savefig.facecolor": "white",
    # Ids that do not change from one drawing to the next.
    "svg.hashsalt": "powerblend",
}
