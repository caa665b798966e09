"""The numbers in a report's sentences: each must be one that its section's records give.

Tables are for `recompute`; what stands in a checked table, or in the configuration, may be repeated
in a sentence. Everything else that a sentence says is computed here, with nothing of the package.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import recompute
from recompute import Records, plain, share, signed

NUMBER = re.compile(r"(?<![\w.^/-])[−+±]?\d+(?:,\d{3})*(?:\.\d+)?%?")
NO_RESULT = re.compile(
    r"`[^`]*`|!\[.*|\(?https?://\S*|arXiv:? ?[\d.]+|sections? [\d.]+|\S*/\S*|\b\d+\. (?=\*\*)"
)
"""What has digits and no number: code, pictures, links, references, names of problems, lists."""

METHOD = {
    *("95%", "80%", "0.05", "0.1", "0", "1", "0.1%", "1%", "0.0001", "1.0000", "100%", "0%"),
    *("1.0", "200"),
}
"""Constants of the method, which no record decides."""

CHECKED = ("3.2", "4.1", "4.2", "4.3", "4.4", "4.5", "4.8", "4.11", "4.12", "4.13", "6.1", "7", "8")
"""The sections whose sentences are checked; the title's own are too, under an empty name."""


def sentences(markdown: str) -> Iterator[tuple[str, str]]:
    """Each line of prose, with its section's number; the opening's is empty."""
    section, code = "", False
    for line in markdown.splitlines():
        if line.startswith("```"):
            code = not code
        elif line.startswith("#"):
            section = line.strip("# ").split(" ")[0].rstrip(".")
            section = section if section[:1].isdigit() else "" if line.startswith("# ") else "other"
        elif not code and not line.startswith("|"):
            yield section, line


def unexplained(
    markdown: str,
    records: Records,
    study: Mapping[str, Any],
    probe: Mapping[str, Any] | None,
    training: Mapping[str, Any] | None,
) -> Iterator[str]:
    """Every number in a sentence that neither a checked table nor a computation gives."""
    shown = recompute.tables(markdown)
    cells = [
        cell for name in shown if name[0] in "468" for t in shown[name] for r in t for cell in r
    ]
    repeated = set(NUMBER.findall(" ".join(cells)))
    configured = set(NUMBER.findall(json.dumps(study)))
    for section, line in sentences(markdown):
        if section not in ("", *CHECKED) or line.startswith("- **Code**"):
            continue
        given = repeated | configured | METHOD | computed(section, shown, records, probe, training)
        for number in NUMBER.findall(NO_RESULT.sub(" ", line)):
            # The sign of a difference may be in its words.
            if not {number, number.lstrip("−+±"), f"+{number}", f"−{number}"} & given:
                yield f"{section or 'opening'}: nothing gives {number} in {line!r}"


def computed(
    section: str,
    shown: Mapping[str, Sequence[recompute.Table]],
    records: Records,
    probe: Mapping[str, Any] | None,
    training: Mapping[str, Any] | None,
) -> set[str]:
    """What sentences of a section say that stands in no table."""
    problems = len({g["problem_id"] for grades in records.values() for g in grades})
    found: list[object] = [problems, len(records)]
    match section:
        case "" | "4.5" | "8":
            lines = shown["4.5"][0][1:]
            told = [line for line in lines if line[-1] == "significant"]
            found += [len(lines), len(told)]
        case "3.2":
            lengths = [g["prompt_tokens"] for grades in records.values() for g in grades]
            found += [min(lengths), max(lengths), *([probe["decoder_blocks"]] if probe else [])]
        case "4.3":
            found += [abs(int(a) - int(b)) for *_, a, b, _ in shown["4.3"][1][1:]]
        case "4.4":
            rates = {name: 100 * (share(grades) or 0.0) for name, grades in records.items()}
            moved = {name: rates[name] - rates["greedy"] for name in rates}
            added = moved["blend_greedy"] + moved["ps"]
            found += [signed(value) for value in (*moved.values(), added)]
        case "4.8":
            decoded = {
                name: recompute.mean(g["decoded_tokens"] for g in grades)
                for name, grades in records.items()
            }
            chain = {name for name, grades in records.items() if any(g["moves"] for g in grades)}
            least = min(decoded[name] for name in records if name not in chain)
            found += [plain(decoded[name] / least) for name in chain]
        case "4.11":
            found += [sum(map(len, records.values()))]
        case "4.12" | "4.13" if probe:
            found += [probe[key] for key in ("tokens", "of_tokens", "problems", "hard_tokens")]
            found += [probe["draft"]["block_size"], *probe_sentences(probe)]
            found += own_sentence(probe)
        case "6.1" if training:
            quality = training["held_out_quality"], training["greedy_quality"]
            found += [training[key] for key in ("answers", "held_out", "steps")]
            found += [
                plain(training["parameters"] / 1e6),
                recompute.percent(quality[0]["accuracy"]),
            ]
            found += [f"{quality[1][key]:.2f}" for key in ("accepted", "offered")]
        case "7":
            interval = [line[4].split(" – ") for line in shown["4.1"][0][1:]]
            halves = [(float(b.rstrip("%")) - float(a.rstrip("%"))) / 2 for a, b in interval]
            found += [f"±{half:.0f}" for half in halves] + [plain(100 / problems)]
    return set(NUMBER.findall(" ".join(map(str, found))))


def own_sentence(probe: Mapping[str, Any]) -> list[object]:
    """What was read of the model's own answers, and KL there beside that on solutions."""
    own = probe.get("own")
    if not own:
        return []
    pairs = zip(own["blends"], probe["configured"], strict=False)
    ratios = [f"{there['kl'] / here['kl']:.2g}" for there, here in pairs]
    return [f"{own['tokens']:,}", f"{own['of_tokens']:,}", own["problems"], *ratios]


def probe_sentences(probe: Mapping[str, Any]) -> list[str]:
    """Of sections 4.12 and 4.13: the best layer before the last, and what blends do."""
    inner = [layer for layer in probe["layers"] if layer["layer"] != probe["decoder_blocks"] - 1]
    best = min(inner, key=lambda layer: (layer["median_rank"], layer["mean_rank"]))
    most = max(blend["hard_better"] for blend in probe["blends"])
    leading = [blend for blend in probe["blends"] if blend["hard_better"] == most]
    losses = [blend["log_loss"] for blend in leading]
    wider = [f"{abs(100 * (blend['scale'] - 1)):.0f}%" for blend in probe["configured"]]
    return [
        *(f"{best['layer']}", plain(best["median_rank"]), plain(best["mean_rank"])),
        *(plain(probe["final"][key]) for key in ("median_rank", "mean_rank")),
        recompute.percent(best["better"]),
        *(str(len(blends)) for blends in (probe["blends"], leading)),
        recompute.percent(most),
        *(plain(loss, 3) for loss in (probe["final"]["log_loss"], min(losses), max(losses))),
        *wider,
    ]
