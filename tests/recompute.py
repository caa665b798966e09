"""Recomputes the tables of a report from grade records, with nothing of the package.

    python tests/recompute.py report/demo.md results/demo

prints every value of the report that its records do not give.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.optimize import brentq
from scipy.stats import binom, nct, norm, t

Records = Mapping[str, Sequence[Mapping[str, Any]]]
"""Grades by condition, in report order."""

Table = list[list[str]]
"""Its header, then its lines."""


def cells_of(grades: Path, specs: Path, study: Mapping[str, Any]) -> dict[str, str]:
    """The cell of each condition: the one whose spec decodes with the condition's keys."""
    decodings = {
        cell.name: json.loads((specs / f"{cell.name}.json").read_text())["decoding"]
        for cell in grades.iterdir()
    }
    return {
        name: next(cell for cell, how in decodings.items() if is_decoded(how, name, study))
        for name in study["use"]
    }


def is_decoded(decoding: Mapping[str, Any], name: str, study: Mapping[str, Any]) -> bool:
    wanted = {**study["decoding"], **study["conditions"][name]}
    if wanted["sampler"] == "temperature":
        wanted.setdefault("temperature", 1 / wanted["alpha"])
    blend = wanted.pop("blend", None)
    source = study["blends"].get(blend, {}).get("source") if blend else None
    if decoding.get("blend", {}).get("source") != source:
        return False
    return all(wanted.get(key) == value for key, value in decoding.items() if key != "blend")


def read_grades(folder: Path, cells: Mapping[str, str]) -> Records:
    """The grades of conditions, each in the folder of its cell."""
    lines = {
        name: [line for file in (folder / cell).iterdir() for line in file.open()]
        for name, cell in cells.items()
    }
    return {name: [json.loads(line) for line in found] for name, found in lines.items()}


def tables(markdown: str) -> dict[str, list[Table]]:
    """The tables of each section, by the section's number."""
    found: dict[str, list[Table]] = {}
    section, inside = "", False
    for line in markdown.splitlines():
        if line.startswith("#"):
            section = line.strip("# ").split(" ")[0].rstrip(".")
        if line.startswith("|"):
            values = [value.strip().strip("`").replace("\\", "") for value in line[1:-1].split("|")]
            if not inside:
                found.setdefault(section, []).append([])
            if set("".join(values)) - set(":-"):
                found[section][-1].append(values)
        inside = line.startswith("|")
    return found


def percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.1f}%"


def signed(points: float) -> str:
    points = round(points, 1)
    return f"{'+' if points > 0 else '−' if points < 0 else '±'}{abs(points):.1f}"


def plain(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def p_text(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def share(grades: Sequence[Mapping[str, Any]]) -> float | None:
    return sum(g["correct"] for g in grades) / len(grades) if grades else None


def wilson(grades: Sequence[Mapping[str, Any]]) -> str:
    z, n, p = norm.ppf(0.975), len({g["problem_id"] for g in grades}), share(grades) or 0.0
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{percent(max(0, middle - half))} – {percent(min(1, middle + half))}"


def rate(grades: Sequence[Mapping[str, Any]], key: str) -> str:
    moves = sum(g["moves"] for g in grades)
    return percent(sum(g[key] for g in grades) / moves if moves else None)


def overall(records: Records) -> Table:
    """Section 4.1, without its header."""
    return [
        [
            name,
            str(sum(g["correct"] for g in grades)),
            str(len(grades)),
            percent(share(grades)),
            wilson(grades),
            plain(mean(g["n_tokens"] for g in grades)),
            plain(mean(g["decoded_tokens"] for g in grades)),
            plain(mean(g["seconds"] for g in grades), 2),
            rate(grades, "accepted"),
            percent(mean(g["finish"] == "length" for g in grades)),
            percent(mean(g["answer"] is None for g in grades)),
        ]
        for name, grades in records.items()
    ]


def difficulty(records: Records, reference: str) -> Table:
    """Section 4.2."""
    solved = {g["problem_id"] for g in records[reference] if g["sample"] == 0 and g["correct"]}
    lines = []
    for name, grades in records.items():
        parts = [
            [g for g in grades if (g["problem_id"] in solved) == easy] for easy in (True, False)
        ]
        texts = [f"{percent(share(p))} ({sum(g['correct'] for g in p)}/{len(p)})" for p in parts]
        lines.append([name, *texts])
    return lines


def overlaps(records: Records) -> Table:
    """The table of all pairs in section 4.3."""
    everything = {g["problem_id"] for grades in records.values() for g in grades}
    right = {
        name: {g["problem_id"] for g in grades if g["sample"] == 0 and g["correct"]}
        for name, grades in records.items()
    }
    return [
        [a, b, *(str(len(some)) for some in (
            right[a] & right[b], right[a] - right[b], right[b] - right[a],
            everything - right[a] - right[b],
        ))]
        for a, b in combinations(records, 2)
    ]  # fmt: skip


def main_pair(records: Records) -> Table:
    """The first table of section 4.3, where the study has power sampling and its blend."""
    _, _, both, first, second, neither = next(
        line for line in overlaps(records) if line[:2] == ["ps", "blend_ps"]
    )
    return [
        ["both `ps` and `blend_ps", both], ["only `ps", first], ["only `blend_ps", second],
        ["neither", neither],
    ]  # fmt: skip


def interaction(records: Records) -> Table:
    """Section 4.4, where the study has all four conditions."""
    lines = []
    for words, name in (("greedy decoding", "greedy"), ("power sampling", "ps")):
        alone, blended = (share(records[key]) or 0.0 for key in (name, f"blend_{name}"))
        change = f"{signed(100 * (blended - alone))} points"
        lines.append([words, percent(alone), percent(blended), change])
    return lines


def contrasts(records: Records, declared: Sequence[str], margin: float) -> Table:
    """Section 4.5 up to Holm's p of equivalence."""
    parsed = [(text, *sides(text)) for text in declared]
    found = [
        (text, *tested(records, plus, minus, margin))
        for text, plus, minus in parsed
        if {*plus, *minus} <= records.keys()
    ]
    differ, equal = (holm([line[place] for line in found]) for place in (-2, -1))
    return [
        [*texts, p_text(p), p_text(p_holm), p_text(p_equal)]
        for (*texts, p, _), p_holm, p_equal in zip(found, differ, equal, strict=True)
    ]


def sides(text: str) -> tuple[list[str], list[str]]:
    names = text.replace("(", "").replace(")", "").replace(" ", "").split("-")
    return ([names[0]], [names[1]]) if len(names) == 2 else ([names[0], names[3]], names[1:3])


def tested(
    records: Records, plus: Sequence[str], minus: Sequence[str], margin: float
) -> tuple[str, str, str, str, float, float]:
    differences = by_problem(records, plus, minus)
    answers = len(records[plus[0]]) // len(differences)
    single = answers == 1 and len(plus) == 1
    b, c = differences.count(1), differences.count(-1)
    # Two more problems, n + 1 degrees of freedom.
    scale = math.sqrt((answers + 1) / 2)
    more = [d / answers for d in (*differences, scale, -scale)]
    middle, n = mean(more), len(more)
    error = math.sqrt(mean((d - middle) ** 2 for d in more) / n)
    half = t.ppf(0.975, n - 1) * error
    outside = t.sf((middle + margin) / error, n - 1), t.cdf((middle - margin) / error, n - 1)
    limit = len(plus)
    low, high = max(-limit, middle - half), min(limit, middle + half)
    return (
        f"{signed(100 * mean(differences) / answers)} points",
        f"{signed(100 * low)} to {signed(100 * high)}",
        str(b) if single else "—",
        str(c) if single else "—",
        exchange_p(differences),
        max(outside),
    )


def exchange_p(differences: Sequence[int]) -> float:
    """The exact permutation test, by the number of sign choices that give each sum."""
    ways = {0: 1}
    for size in map(abs, differences):
        if size:
            after: dict[int, int] = {}
            for total, count in ways.items():
                for sign in (size, -size):
                    after[total + sign] = after.get(total + sign, 0) + count
            ways = after
    extreme = sum(count for total, count in ways.items() if abs(total) >= abs(sum(differences)))
    return extreme / sum(ways.values())


def holm(ps: Sequence[float]) -> list[float]:
    adjusted, running = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        running = max(running, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = running
    return adjusted


def breakdown(records: Records, key: str) -> Table:
    """A table of section 4.6 with its header."""
    first = next(iter(records.values()))
    groups = sorted({g[key] for g in first if g[key] not in (None, "")})
    sizes = [sum(g[key] == group for g in first) for group in groups]
    header = [
        f"{str(group).replace('&', '&amp;')} (n = {n})"
        for group, n in zip(groups, sizes, strict=True)
    ]
    return [
        ["Condition", *header],
        *(
            [name, *(percent(share([g for g in grades if g[key] == group])) for group in groups)]
            for name, grades in records.items()
        ),
    ]


def spread(records: Records) -> Table:
    """The mean and its standard error, of section 4.7."""
    lines = []
    for name, grades in records.items():
        samples = sorted({g["sample"] for g in grades})
        means = [share([g for g in grades if g["sample"] == s]) or 0.0 for s in samples]
        error = stdev(means) / math.sqrt(len(means))
        lines.append([name, f"{percent(mean(means))} ± {percent(error)}"])
    return lines


def compute(records: Records) -> Table:
    """The single answers of section 4.8."""
    return [
        [name, "1", plain(mean(g["decoded_tokens"] for g in grades)), percent(share(grades))]
        for name, grades in records.items()
    ]


def movement(records: Records) -> Table:
    """What moves changed, of section 4.9, and which answers are another condition's strings."""

    def strings(name: str) -> dict[tuple[str, int], Any]:
        return {(g["problem_id"], g["sample"]): g.get("string") for g in records[name]}

    kept = all(g.get("string") for grades in records.values() for g in grades)
    others = [name for name in ("temp", "ps") if kept and name in records]
    lines = []
    for name, grades in records.items():
        if not any(g["moves"] for g in grades):
            continue
        changes = [g.get("moved", g["accepted"] - g["unchanged"]) for g in grades]
        tokens = sum(g["decoded_tokens"] for g in grades)
        own = strings(name)
        equal = [
            "—" if other == name else percent(mean(own[k] == v for k, v in strings(other).items()))
            for other in others
        ]
        lines.append(
            [
                *(name, plain(mean(g["moves"] for g in grades)), plain(mean(changes))),
                *(plain(1000 * sum(changes) / tokens), percent(mean(c == 0 for c in changes))),
                *equal,
            ]
        )
    return lines


def chains(records: Records, longest: int, blocks: int) -> Table:
    """Section 4.9, where all chains have the same blocks."""
    lines = []
    for name, grades in records.items():
        if not any(g["moves"] for g in grades):
            continue
        last = max(len(g["accepted_by_block"]) for g in grades) - 1
        reached = [[g for g in grades if len(g["accepted_by_block"]) > k] for k in (0, last)]
        accepted = [
            mean(g["accepted_by_block"][k] * len(g["accepted_by_block"]) / g["moves"] for g in some)
            for k, some in zip((0, last), reached, strict=True)
        ]
        log_t = [
            sum(g["log_t_by_block"][k] for g in some)
            / sum(min(g["n_tokens"], (k + 1) * longest // blocks) for g in some)
            for k, some in zip((0, last), reached, strict=True)
        ]
        shares = [rate(grades, key) for key in ("accepted", "unchanged", "early_rejected")]
        lines.append([name, *shares, *map(percent, accepted), *(plain(x, 2) for x in log_t)])
    return lines


def graders(records: Records) -> Table:
    """The table of both graders in section 4.11."""
    lines = []
    for name, grades in records.items():
        second = sum(g["second"] is True for g in grades)
        asked = any(g["second"] is not None for g in grades)
        differ = sum(g["second"] is not None and g["second"] != g["correct"] for g in grades)
        first = f"{sum(g['correct'] for g in grades)} ({percent(share(grades))})"
        other = f"{second} ({percent(second / len(grades))})" if asked else "—"
        lines.append([name, first, other, str(differ)])
    return lines


GAINS = {
    "Power sampling over low temperature": ("temp", "ps"),
    "Power sampling over ordinary sampling (base)": ("base", "ps"),
    "Low temperature over ordinary sampling (base)": ("base", "temp"),
    "Power sampling over greedy": ("greedy", "ps"),
    "Low temperature over greedy": ("greedy", "temp"),
    "Blended power sampling over greedy": ("greedy", "blend_ps"),
    "Blended power sampling over power sampling": ("ps", "blend_ps"),
}
"""Differences of section 5.3: of the second condition over the first."""


def gain(records: Records, names: Sequence[str]) -> str:
    if not set(names) <= records.keys():
        return "—"
    first, second = (share(records[name]) or 0.0 for name in names)
    return f"{signed(100 * (second - first))} ({percent(first)} → {percent(second)})"


def evidence(records: Records, contrast: str) -> str:
    """What section 8 says of a contrast."""
    plus, minus = sides(contrast)
    above, below = ([share(records[name]) or 0.0 for name in names] for names in (plus, minus))
    change = 100 * (sum(above) - sum(below))
    if len(plus) == 2:
        return f"{signed(change)} points"
    relative = f"{signed(change / below[0])}%" if below[0] else "—"
    beside = f"{percent(above[0])} against {percent(below[0])}"
    return f"{beside}: {signed(change)} points, {relative} relative"


def detectable(records: Records, contrast: str) -> str:
    """The smallest difference that the contrast's test finds with a chance of 80%."""
    plus, minus = sides(contrast)
    counts = by_problem(records, plus, minus)
    answers = len(records[plus[0]]) // len(counts)
    if answers == 1 and len(plus) == 1:
        found = by_mcnemar(sum(map(abs, counts)), len(counts))
    else:
        found = by_t([count / answers for count in counts])
    return "—" if found is None or found > len(plus) else f"{plain(100 * found)} points"


def by_problem(records: Records, plus: Sequence[str], minus: Sequence[str]) -> list[int]:
    counts: dict[str, int] = {}
    for names, sign in ((plus, 1), (minus, -1)):
        for grade in (grade for name in names for grade in records[name]):
            key = grade["problem_id"]
            counts[key] = counts.get(key, 0) + sign * grade["correct"]
    return list(counts.values())


def by_mcnemar(discordant: int, n: int) -> float | None:
    for net in range(n + 1):
        differing = max(discordant, net)
        rate, half = differing / n, (differing + net) / (2 * differing) if differing else 0.5
        power = sum(
            binom.pmf(m, n, rate) * sum(binom.pmf(b, m, half) for b in range(m + 1) if tells(b, m))
            for m in range(n + 1)
            if binom.pmf(m, n, rate) > 1e-12
        )
        if power >= 0.8:
            return net / n
    return None


@cache
def tells(b: int, m: int) -> bool:
    """Whether the exact McNemar test finds b of m in favour of one side telling."""
    return bool(2 * binom.cdf(min(b, m - b), m, 0.5) < 0.05)


def by_t(differences: Sequence[float]) -> float | None:
    n, spread = len(differences), stdev(differences)
    if not spread:
        return None
    limit = t.ppf(0.975, n - 1)

    def missing(effect: float) -> float:
        shift = effect * math.sqrt(n)
        # That it is found with the wrong sign is rarer than one in a million.
        return float(nct.sf(limit, n - 1, shift)) - 0.8

    return float(brentq(missing, 1e-3, 6 / math.sqrt(n))) * spread


def cells(
    shown: Mapping[str, Sequence[Table]], records: Records, study: Mapping[str, Any]
) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Sections, and of their lines those cells that records give, as they are and ought to be."""
    for name, *line in shown["2.4"][0][1:]:
        positions = sum(g["decoded_tokens"] for g in records[name])
        yield "2.4", [line[2]], [plain(positions / sum(g["n_tokens"] for g in records[name]), 2)]
    problems = len({g["problem_id"] for grades in records.values() for g in grades})
    for line in shown["5.1"][0][1:]:
        if "this study" in line[0]:
            ours = percent(share(records[line[2].strip("`")]))
            yield "5.1", line[3:], [ours, str(problems)]
    ours = own_settings(records, study)
    for line in shown["5.2"][0][1:] if "conditions" in study else []:
        if line[0] in ours:
            yield "5.2", [line[-1]], [ours[line[0]]]
    for line in shown["5.3"][0][1:]:
        yield "5.3", [line[-1]], [gain(records, GAINS.get(line[0], ["?"]))]
    for name, *line in shown["6"][0][1:] if "6" in shown else []:
        right = sum(g["correct"] for g in records[name])
        counts = [str(right), str(len(records[name])), percent(share(records[name]))]
        yield "6", line[:4], [*counts, rate(records[name], "accepted")]
    declared = [text for text in study["contrasts"] if set().union(*sides(text)) <= records.keys()]
    place = shown["4.5"][0][0].index("Detectable")
    for text, found, conclusion in zip(
        declared, shown["4.5"][0][1:], shown["8"][0][1:], strict=True
    ):
        yield "4.5", [found[place]], [detectable(records, text)]
        yield "8", [conclusion[1]], [evidence(records, text)]


def probed(
    shown: Mapping[str, Sequence[Table]], probe: Mapping[str, Any]
) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """The same of the sections of the probe, from what it measured."""
    layers = {(str(layer["layer"]), layer["norm"]): layer for layer in probe["layers"]}
    for line in shown["4.12"][0][1:]:
        found = probe["final"] if "final" in line[0] and not line[1] else layers[*line[:2]]
        ranks = [
            f"{rank:,.0f}" if rank >= 100 else plain(rank)
            for rank in (found["mean_rank"], found["median_rank"])
        ]
        rest = [plain(found["log_loss"], 2), percent(found["better"]), percent(1 - found["flips"])]
        yield "4.12", line[2:], [*ranks, *rest, plain(found["scale"], 2)]
    for line in shown["4.13"][0][1:]:
        beta = float(line[1].split("β = ")[1])
        found = next(
            blend
            for blend in probe["configured"]
            if blend["beta"] == beta and line[1].startswith(blend["source"])
        )
        shares = percent(found["better"]), percent(found["hard_better"])
        on = [found]
        if probe.get("own"):
            blends = probe["own"]["blends"]
            on += [b for b in blends if (b["beta"], b["source"]) == (beta, found["source"])]
        texts = [(f"{b['kl']:.2g}", percent(b["flips"]), plain(b["scale"], 2)) for b in on]
        yield "4.13", line[2:], [*(v for pair in zip(*texts, strict=True) for v in pair), *shares]

    yield from equal_kl(shown["4.13"][1][1:], probe)
    for offset, *line in shown["4.13"][2][1:] if probe["draft"] else []:
        draft = probe["draft"]
        places = {str(place["offset"]): place for place in draft["offsets"]} | {"all": draft}
        found = places[offset]
        mean_rank = found["mean_rank"]
        ours = [f"{mean_rank:,.0f}" if mean_rank >= 100 else plain(mean_rank)]
        ours += [plain(found["median_rank"]), plain(found["log_loss"], 2)]
        yield "4.13", line, [str(found["tokens"]), *ours, percent(found["agreement"])]


def equal_kl(
    lines: Table, probe: Mapping[str, Any]
) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """The beta at which a source has a condition's KL: a line in log KL and log beta."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for blend in probe["blends"]:
        label = blend["source"]
        if "layer" in blend:
            label += f" {blend['layer']}, norm {blend['norm']}"
        if blend["beta"] > 0:
            curves.setdefault(label, []).append((math.log(blend["beta"]), math.log(blend["kl"])))
    for condition, label, kl, beta in lines:
        exact = next(b["kl"] for b in probe["configured"] if f"{b['kl']:.2g}" == kl)
        wanted, points = math.log(exact), sorted(curves[label])
        (below, low), *_ = points
        found: float | None = below + (wanted - low) / 2
        if wanted > points[-1][1]:
            found = None
        for (left, low), (right, high) in pairwise(points):
            if low <= wanted <= high:
                found = left + (right - left) * (wanted - low) / (high - low)
        ours = "—" if found is None else f"{math.exp(found):.3g}"
        yield "4.13", [condition, beta], [condition, ours]


def own_settings(records: Records, study: Mapping[str, Any]) -> dict[str, str]:
    """The last column of section 5.2."""
    blends = [study["blends"][how["blend"]] for how in study["conditions"].values()
              if "blend" in how]  # fmt: skip
    decoding = study["decoding"]
    return {
        "problems": str(len({g["problem_id"] for grades in records.values() for g in grades})),
        "α": f"{decoding['alpha']:g}",
        "moves per block": str(decoding["steps"]),
        "blocks": str(decoding["blocks"]),
        "longest answer (tokens)": str(decoding["max_new_tokens"]),
        "β": ", ".join(f"{beta:g}" for beta in sorted({blend["beta"] for blend in blends})),
        "blend layer": ", ".join(sorted({str(b["layer"]) for b in blends if "layer" in b})),
    }


def votes(shown: Table, records: Records) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Of section 4.8: the majority, and the likeliest, of all samples drawn."""
    for label, k, tokens, accuracy in shown:
        name, _, method = label.partition(", ")
        problems: dict[str, list[Mapping[str, Any]]] = {}
        for grade in records[name]:
            problems.setdefault(grade["problem_id"], []).append(grade)
        if method and {len(answers) for answers in problems.values()} == {int(k)}:
            each = [
                voted(answers) if method.startswith("majority")
                else float(max(answers, key=lambda g: g["log_p"])["correct"])
                for answers in problems.values()
            ]  # fmt: skip
            spent = int(k) * mean(g["decoded_tokens"] for g in records[name])
            yield "4.8", [label, tokens, accuracy], [label, plain(spent), percent(mean(each))]


def matched(shown: Table, records: Records) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Of section 4.8: what a chain's answer would pay for, and its own accuracy."""
    for chain, sampling, _, cost, pays, k, accuracy, *_ in shown:
        key = cost.replace(" ", "_")
        bought = mean(g[key] for g in records[chain]) / mean(g[key] for g in records[sampling])
        drawn = len({g["sample"] for g in records[sampling]})
        ours = [plain(bought, 2), plain(min(bought, drawn), 2), percent(share(records[chain]))]
        yield "4.8", [chain, sampling, pays, k, accuracy], [chain, sampling, *ours]


def voted(answers: Sequence[Mapping[str, Any]]) -> float:
    """The expected accuracy of the most frequent answer; a tie is settled by lot."""
    ballots: dict[str, list[bool]] = {}
    for grade in answers:
        if grade["answer"] is not None:
            ballots.setdefault(grade["answer"], []).append(grade["correct"])
    most = max(map(len, ballots.values()), default=0)
    leading = [mean(right) for right in ballots.values() if len(right) == most]
    return mean(leading) if leading else 0.0


def differences(
    markdown: str,
    records: Records,
    study: Mapping[str, Any],
    probe: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Every line of the report's tables that the records do not give.

    ``study`` is the configuration; it is taken to have a chain's blocks under ``decoding``.
    ``probe`` is what the probe measured.
    """
    shown, decoding = tables(markdown), study["decoding"]
    several = len({g["sample"] for g in next(iter(records.values()))}) > 1
    expected = [
        ("4.1", 0, overall(records)),
        ("4.2", 0, difficulty(records, "greedy")),
        ("4.3", 0, main_pair(records)),
        ("4.3", 1, overlaps(records)),
        ("4.4", 0, interaction(records)),
        ("4.5", 0, contrasts(records, study["contrasts"], study["equivalence_margin"] / 100)),
        ("4.6", 0, breakdown(records, "level")[1:]),
        ("4.6", 1, breakdown(records, "subject")[1:]),
        ("4.8", -1, compute(records)),
        ("4.9", 0, movement(records)),
        ("4.9", 1, chains(records, decoding["max_new_tokens"], decoding["blocks"])),
        ("4.11", 0, graders(records)),
    ]
    if several:
        expected.append(("4.7", 0, spread(records)))
    for section, index, lines in expected:
        found = shown[section][index][1:]
        # With several samples, votes follow in the table of compute.
        if len(found) != len(lines) and not (several and section == "4.8"):
            yield f"{section}: {len(found)} lines, and {len(lines)} by the records"
        for line, ours in zip(found, lines, strict=False):
            # What follows Holm's p is not recomputed, nor are votes beside the spread of samples.
            if line[: len(ours)] != ours:
                yield f"{section}: the report has {line[: len(ours)]}, the records give {ours}"
    others = [*cells(shown, records, study), *(probed(shown, probe) if probe else ())]
    others += votes(shown["4.8"][-1][1:], records)
    if several:
        others += matched(shown["4.8"][0][1:], records)
    for section, there, given in others:
        if list(there) != list(given):
            yield f"{section}: the report has {list(there)}, the records give {list(given)}"
    for index, key in enumerate(("level", "subject")):
        header = breakdown(records, key)[0]
        if shown["4.6"][index][0] != header:
            yield f"4.6: the report has {shown['4.6'][index][0]}, the records give {header}"


def only(folder: Path, pattern: str) -> Path:
    """The one file or folder of a pattern; a study that ran with several settings has more."""
    (found,) = folder.glob(pattern)
    return found


def all_differences(report: Path, results: Path) -> list[str]:
    """What a report's tables and sentences have that the study's records do not give."""
    from recompute_prose import unexplained

    study = json.loads(only(results, "config-*.json").read_text())
    probe = json.loads(only(results, "probe/probe-*.json").read_text())
    training = json.loads(only(results, "draft/*/training.json").read_text())
    grades = only(results, "grade/*")
    records = read_grades(grades, cells_of(grades, results / "specs", study))
    text = report.read_text()
    return [
        *differences(text, records, study, probe),
        *unexplained(text, records, study, probe, training),
    ]


def main(report: str, results: str) -> None:
    """Print what differs; the exit code says whether anything does."""
    found = all_differences(Path(report), Path(results))
    print("\n".join(found) or "Every number is that of the records.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
