"""Summaries of studies that never ran: the shape that figures and the report are made from."""

from itertools import combinations
from typing import Any

from statsmodels.stats.proportion import proportion_confint

LAYER = {"source": "layer", "layer": 33, "beta": 0.05, "norm": "none"}
DRAFT = {"source": "draft", "beta": 0.05}
POWER = {"sampler": "power", "alpha": 4.0, "blocks": 16, "steps": 2, "mh": "exact"}
POWER |= {"proposal": "base", "max_new_tokens": 1024}
PROBED = (17, 33)
"""Layers whose blends the probe of the earlier study's model measured."""

GREEDY = {"sampler": "greedy", "max_new_tokens": 1024}
TEMPERATURE = {"sampler": "temperature", "temperature": 0.25, "max_new_tokens": 1024}

QUALITY = {"accuracy": 0.31, "by_offset": [0.6, 0.3, 0.03], "accepted": 0.84, "offered": 2.7}
TRAINING = {
    "answers": 360,
    "held_out": 40,
    "parameters": 8_700_000,
    "steps": 25,
    "losses": [9 / (1 + 0.2 * step) for step in range(25)],
    "held_out_quality": QUALITY,
    "greedy_quality": QUALITY | {"accuracy": 0.42, "accepted": 1.18},
}

EARLIER = {
    "greedy": (GREEDY, 74, 0, 626.0),
    "temp": (TEMPERATURE, 72, 1, 626.0),
    "ps": (POWER, 70, 5, 613.0),
    "blend_greedy": (GREEDY | {"blend": LAYER}, 68, 3, 627.0),
    "blend_ps": (POWER | {"blend": LAYER}, 73, 8, 604.0),
    "draft_blend_ps": (POWER | {"blend": DRAFT}, 71, 4, 608.0),
}
"""The earlier study: how each condition decodes, its easy and hard problems solved, its tokens."""


def earlier_study(names: tuple[str, ...] = tuple(EARLIER)) -> dict[str, Any]:
    """The earlier study's 104 problems, of which greedy decoding solved 74."""
    summary = study({name: EARLIER[name] for name in names}, easy=74, hard=30)
    return summary | {"probe": probe(summary["conditions"])}


def probe(conditions: dict[str, Any], hard: int = 120) -> dict[str, Any]:
    """A probe of 36 layers, of which those near the end rank well, and of two layers' blends."""

    def law(depth: float, beta: float) -> dict[str, Any]:
        rank = 1 + 1e5 * (1 - depth) * abs(beta)
        ranks = {"mean_rank": 15 * rank, "median_rank": rank, "log_loss": 0.2 + abs(beta)}
        shares = {"better": 0.04 * abs(beta), "likelier": 0.4}
        of_hard = {f"hard_{k}": v for k, v in (ranks | shares).items()} if hard else {}
        none = {f"hard_{k}": None for k in ranks | shares}
        return (
            ranks
            | shares
            | {"kl": beta**2, "flips": abs(beta) / 2, "scale": 1 + beta}
            | (of_hard or none)
        )

    layers = [
        {"source": "layer", "layer": layer, "norm": norm, "beta": 1.0, **law(layer / 35, 1.0)}
        for layer in range(36)
        for norm in ("none", "final")
    ]
    blends = [
        {"source": "layer", "layer": layer, "norm": norm, "beta": beta, **law(layer / 35, beta)}
        for layer in PROBED
        for norm in ("none", "final")
        for beta in (-0.2, -0.1, -0.05, -0.01, 0.01, 0.05, 0.1, 0.2, 0.5)
    ]
    offsets = [
        {"offset": k, "tokens": 9, "mean_rank": 100.0 * k, "median_rank": k, "log_loss": k / 3,
         "agreement": 1 / k}
        for k in range(1, 16)
    ]  # fmt: skip
    used = {name: how["blend"] for name, how in conditions.items() if how.get("blend")}
    measured = {
        "over": "solutions", "problems": 128, "tokens": 4096, "of_tokens": 25000, "hard": 0.01,
        "hard_tokens": hard, "decoder_blocks": 36, "final": law(1, 0), "layers": layers,
        "blends": blends, "configured": [LAYER | law(33 / 35, 0.05)],
        "draft": offsets[0] | {"block_size": 16, "mean_rank": 697.0, "offsets": offsets},
    }  # fmt: skip
    rows = [
        {"condition": name, "match_kl": None, **blend, **law(0.9, blend["beta"])}
        for name, blend in used.items()
    ]
    return {
        "measured": measured,
        "conditions": rows,
        "suggested": layers[-3],
        "equal": [
            {"condition": row["condition"], "kl": row["kl"], "source": "layer", "layer": 17,
             "norm": "final", "beta": beta}
            for row in rows[:1]
            for beta in (0.031, None)
        ],
    }  # fmt: skip


def small_study() -> dict[str, Any]:
    """Two conditions and eight problems."""
    conditions = {"greedy": (GREEDY, 3, 0, 25.0), "ps": (POWER | {"blocks": 2}, 2, 1, 24.0)}
    return study(conditions, easy=3, hard=5)


def large_study() -> dict[str, Any]:
    """Twelve conditions, five hundred problems, four samples and a sweep."""
    conditions = {name: (how, 5 * e, 5 * h, t) for name, (how, e, h, t) in EARLIER.items()}
    for index, (alpha, beta) in enumerate([(2, 0.01), (2, 0.05), (2, 0.2), (4, 0.01), (4, 0.2)]):
        decoding = POWER | {"alpha": float(alpha), "blend": LAYER | {"beta": beta}}
        conditions[f"blend_ps_a{alpha}_b{beta}"] = (decoding, 350 + index, 20 + 3 * index, 600.0)
    conditions["blend_ps_layer17"] = (POWER | {"blend": LAYER | {"layer": 17}}, 340, 22, 611.0)
    summary = study(conditions, easy=370, hard=130)
    summary["probe"] = probe(summary["conditions"], hard=3)
    summary["training"] = TRAINING
    summary["matched"] = [matched("ps", "temp", 8, 4), matched("blend_ps", "temp", 3, 3)]
    return summary | {"samples": 4, "sampling": _sampling(summary), "sweep": sweep_rows(summary)}


def study(
    conditions: dict[str, tuple[dict[str, Any], int, int, float]], easy: int, hard: int
) -> dict[str, Any]:
    """A summary of conditions given by decoding, easy and hard problems solved, and tokens."""
    overall = [_overall(name, *condition, easy + hard) for name, condition in conditions.items()]
    solved = {row["condition"]: row["correct"] for row in overall}
    return {
        "problems": easy + hard,
        "samples": 1,
        "confidence": 0.95,
        "conditions": {name: how for name, (how, *_) in conditions.items()},
        "blended": [name for name, (how, *_) in conditions.items() if "blend" in how],
        "overall": overall,
        "contrasts": _contrasts(solved, easy + hard),
        "difficulty": {
            "reference": "greedy",
            "easy": easy,
            "hard": hard,
            "rows": [
                _difficulty(name, e, h, easy, hard) for name, (_, e, h, _) in conditions.items()
            ],
        },
        "levels": [_breakdown(row, "level", level) for row in overall for level in (1, 5)],
        "subjects": [_breakdown(row, "subject", "Algebra") for row in overall],
        "overlaps": [_overlap(a, b, solved, easy + hard) for a, b in combinations(solved, 2)],
        "sampling": [],
        "compute": [_point(row) for row in overall],
        "chains": [_chain(n, how) for n, (how, *_) in conditions.items() if "blocks" in how],
        "sweep": [],
        "disagreements": [],
        "ungraded": [],
    }


def matched(chain: str, sampling: str, bought: int, k: int) -> dict[str, Any]:
    """A row of the chains at matched compute."""
    shares = {"accuracy": 0.721, "majority": 0.74, "difference": -0.019, "low": -0.05, "high": 0.01}
    return {"chain": chain, "sampling": sampling, "bought": bought, "k": k} | shares


def contrast(name: str, difference: float, p: float, **changes: Any) -> dict[str, Any]:
    """A row of the contrasts."""
    words = name.replace("(", "").replace(")", "").split(" - ")
    plus, minus = words[::3], words[1:3]
    holm = min(1.0, 5 * p)
    verdict = "significant" if holm < 0.05 else "suggestive" if holm < 0.1 else "within noise"
    row = {
        "name": name, "kind": "difference", "plus": plus, "minus": minus, "difference": difference,
        "low": difference - 0.05, "high": difference + 0.05, "b": 7, "c": 1, "p": p,
        "p_holm": holm, "power": 0.5, "verdict": verdict,
    }  # fmt: skip
    return row | changes


def _overall(
    name: str, how: dict[str, Any], easy: int, hard: int, tokens: float, total: int
) -> dict[str, Any]:
    correct = easy + hard
    low, high = proportion_confint(correct, total, method="wilson")
    power = how["sampler"] == "power"
    return {
        "condition": name, "correct": correct, "total": total, "accuracy": correct / total,
        "low": float(low), "high": float(high), "second_correct": correct,
        "second_accuracy": correct / total, "disagreements": 0, "tokens": tokens,
        "decoded_tokens": tokens * (8.2 if power else 1), "seconds": 3.9 if power else 0.8,
        "acceptance": 0.504 if power else None, "unchanged": 0.12 if power else None,
        "early_rejected": 0.3 if power else None, "truncated": 0.08, "unboxed": 0.07,
    }  # fmt: skip


def _contrasts(solved: dict[str, int], problems: int) -> list[dict[str, Any]]:
    pairs = [("blend_ps", "ps", 0.0703), ("ps", "greedy", 1.0), ("blend_ps", "greedy", 0.09)]
    pairs += [("blend_greedy", "greedy", 0.6), ("draft_blend_ps", "ps", 1.0)]
    rows = [
        contrast(f"{a} - {b}", (solved[a] - solved[b]) / problems, p)
        for a, b, p in pairs
        if a in solved and b in solved
    ]
    if {"ps", "blend_ps", "greedy", "blend_greedy"} <= solved.keys():
        gain = solved["blend_ps"] - solved["ps"] - solved["blend_greedy"] + solved["greedy"]
        name = "(blend_ps - ps) - (blend_greedy - greedy)"
        nothing = dict(kind="interaction", b=None, c=None, power=None)
        rows.append(contrast(name, gain / problems, 0.06, **nothing))
    return rows


def _difficulty(name: str, e: int, h: int, easy: int, hard: int) -> dict[str, Any]:
    counts = {"condition": name, "easy_correct": e, "hard_correct": h}
    shares = {"easy_accuracy": e / easy if easy else None}
    return counts | shares | {"hard_accuracy": h / hard if hard else None}


def _breakdown(row: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    return {key: value} | {k: row[k] for k in ("condition", "correct", "total", "accuracy")}


def _overlap(a: str, b: str, solved: dict[str, int], problems: int) -> dict[str, Any]:
    both = max(0, min(solved[a], solved[b]) - 1)
    only_a, only_b = solved[a] - both, solved[b] - both
    return {
        "a": a, "b": b, "both": both, "only_a": only_a, "only_b": only_b,
        "neither": problems - both - only_a - only_b,
        "only_a_ids": [f"test/precalculus/{i}.json" for i in range(only_a)],
        "only_b_ids": [f"test/algebra/{i}.json" for i in range(only_b)],
    }  # fmt: skip


def _point(row: dict[str, Any]) -> dict[str, Any]:
    keys = ("condition", "decoded_tokens", "accuracy")
    return {"label": row["condition"], "method": "single", "k": 1} | {k: row[k] for k in keys}


def _chain(name: str, how: dict[str, Any]) -> dict[str, Any]:
    blocks = how["blocks"]
    shift = len(name) / 100
    return {
        "condition": name,
        "acceptance_by_block": [0.8 - 0.3 * k / blocks + shift for k in range(blocks)],
        "log_t_by_block": [-40.0 - 160 * (k + 1) / blocks + 100 * shift for k in range(blocks)],
    }


def _sampling(summary: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for row in summary["overall"]:
        steps = [{"k": k, "value": min(1.0, row["accuracy"] + 0.02 * k)} for k in (1, 2, 4)]
        rows.append(
            {"condition": row["condition"], "mean": row["accuracy"], "se": 0.01,
             "pass_at": steps, "majority_at": steps, "best_of": steps}
        )  # fmt: skip
    for row in summary["overall"][:2]:
        for method in ("majority", "best_of"):
            summary["compute"] += [
                _point(row) | {"method": method, "k": k, "label": f"{method} {k}",
                               "decoded_tokens": k * row["decoded_tokens"],
                               "accuracy": row["accuracy"] + 0.01 * k}
                for k in (2, 4)
            ]  # fmt: skip
    return rows


def sweep_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The sweep of a summary: its power sampling with a blend of hidden states."""
    rows = []
    for row in summary["overall"]:
        how = summary["conditions"][row["condition"]]
        blend = how.get("blend", {})
        if how["sampler"] == "power" and blend.get("source", "draft") != "draft":
            settings = {key: blend.get(key) for key in ("beta", "source", "layer", "norm")}
            scores = {key: row[key] for key in ("condition", "accuracy", "low", "high")}
            rows.append({"sampler": "power", "alpha": how["alpha"], **settings, **scores})
    return rows
