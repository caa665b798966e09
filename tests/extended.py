"""What the guide's examples must do, run by `test_documentation` with its copy of the package."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import enumeration
import kernel_enumeration
import specs
import tiny
from powerblend import load_model, sample
from powerblend.analysis.probe import probed
from powerblend.analysis.summary import condition_of
from powerblend.figures import draw_figure
from powerblend.graders import parse_grader
from powerblend.jobs.check import check_study
from powerblend.jobs.grade import grade_records
from powerblend.probe.passages import Passage, Text
from powerblend.probe.run import match, probe
from powerblend.samplers import parse_sampler
from powerblend.study.cells import cells_of
from powerblend.study.problems import load_problems, write_problems
from powerblend.study.schema import parse_study
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary
from small_study import merged

CAP = 3
BASE: dict[str, Any] = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
HF = tiny.transformer()
MODEL = load_model(HF)


def study(file: str) -> Any:
    return parse_study(merged(BASE, yaml.safe_load(Path(file).read_text(encoding="utf-8"))))


def own() -> None:
    """Everything that can be known to be wrong beforehand is right, where the model is as said."""
    tiny.save(Path("models/ours"), num_hidden_layers=24, max_position_embeddings=1024)
    Path("problems.jsonl").write_text('{"question": "2 + 2?", "answer": "4"}\n')
    ours = study("own.yaml")
    facts = check_study(ours, None, load_problems(ours.dataset))
    assert (facts.layers, facts.problems) == (24, 1)


def condition() -> None:
    cells = cells_of(study("early_layer.yaml"))
    assert cells["early_ps"].name.startswith("blend_ps-b0.02-l12-")
    assert cells["ps"] == cells_of(parse_study(BASE))["ps"]


def sweep() -> None:
    alphas = study("alphas.yaml")
    betas = {how.blend.beta for how in alphas.samplers().values() if how.blend}
    assert betas == {-0.05, 0.05}


def follows(decoding: dict[str, Any], logits: enumeration.Logits, **how: Any) -> None:
    """Answers of `sample` have the distribution that the enumeration finds."""
    alpha, proposal = how.pop("alpha", 1.0), how.pop("proposal", "target")
    sizes = (tiny.VOCABULARY, tiny.EOS, alpha, proposal, CAP)
    space = enumeration.enumerate_space(logits, *sizes)
    distribution = enumeration.distribution_of(
        space, CAP, how.get("blocks", 1), how.get("steps", 0)
    )
    (answers,) = sample(MODEL, [tiny.PROMPT], decoding, 1500, seed=1, rows=512)
    counts = Counter(tuple(answer.tokens) for answer in answers)
    observed = np.array([counts[string] for string in space.strings])
    assert observed.sum() == len(answers)
    assert enumeration.chi_squared(observed, distribution) > 1e-3


def sampler() -> None:
    plain = enumeration.transformer_logits(HF, tiny.PROMPT)

    def smooth(strings: Any) -> Any:
        base, _ = plain(strings)
        mixed = 0.6 * np.exp(enumeration.log_softmax(base)) + 0.4 / tiny.VOCABULARY
        return base, np.log(mixed)

    follows({"sampler": "smooth", "epsilon": 0.4, "max_new_tokens": CAP}, smooth)


def kernel() -> None:
    """The guide's cut law, corrected for by the chain."""
    alpha, steps = 2.0, 4
    logits = enumeration.transformer_logits(HF, tiny.PROMPT)
    space = enumeration.enumerate_space(logits, tiny.VOCABULARY, tiny.EOS, alpha, "base", CAP)
    positions = np.arange(CAP)
    weights = np.where(positions < space.lengths[:, None], 1 / (positions + 1), 0.0)
    moves = kernel_enumeration.kernel(space, CAP, kernel_enumeration.Cuts(weights))
    distribution = space.first(CAP) @ np.linalg.matrix_power(moves, steps)
    decoding = {"sampler": "early_cuts", "alpha": alpha, "steps": steps, "max_new_tokens": CAP}
    (answers,) = sample(MODEL, [tiny.PROMPT], decoding, 1000, seed=1, rows=512)
    counts = Counter(tuple(answer.tokens) for answer in answers)
    observed = np.array([counts[string] for string in space.strings])
    assert enumeration.chi_squared(observed, distribution) > 1e-3


def blend() -> None:
    layers = [
        enumeration.transformer_logits(HF, tiny.PROMPT, {"layer": layer, "beta": 1.0})
        for layer in (0, 1)
    ]

    def mean(strings: Any) -> Any:
        (base, first), (_, second) = (logits(strings) for logits in layers)
        return base, 0.8 * base + 0.2 * (first + second) / 2

    power = {"alpha": 1.5, "blocks": 1, "steps": 3}
    source = {"source": "mean", "layers": [0, 1], "beta": 0.2}
    decoding = {"sampler": "power", "max_new_tokens": CAP, **power, "blend": source}
    follows(decoding, mean, proposal="base", **power)
    _probe_reads(decoding)


def _probe_reads(decoding: dict[str, Any]) -> None:
    """The probe measures the source over beta and finds it for a KL, and the study's tables do."""
    text = Text([Passage([*tiny.PROMPT, 3, 2, 0], 2)], [np.array([True, True, True])])
    source = decoding["blend"]
    spec = specs.measurement(betas=[0.1, 0.3], blends=[source])
    found = probe(spec, MODEL, text)
    assert [(blend.source, blend.beta) for blend in found.blends] == [("mean", 0.1), ("mean", 0.3)]
    conditions = {"mean_ps": condition_of(parse_sampler(decoding))}
    tables = probed(found, conditions, {})
    (of_condition,) = tables.conditions
    assert of_condition.kl == found.configured[0].kl > 0
    sizes: dict[str, Any] = {"problems": 1, "samples": 1, "confidence": 0.95}
    sections: dict[str, Any] = {"conditions": conditions, "blended": (), "overall": ()}
    summary = Summary(**sizes, **sections, probe=tables)
    draw_figure("probe_kl", summary, PublishedNumbers())
    matched = match(specs.match(source, source | {"beta": 0.1}), MODEL, text)
    assert abs(matched.beta - 0.1) < 1e-4


def dataset() -> None:
    problems = load_problems(study("svamp.yaml").dataset)
    assert [problem.answer for problem in problems] == ["2", "12"]
    assert problems[0].problem == "Ann has 3 figs. She eats 1. How many are left?"
    assert (problems[1].unique_id, problems[1].subject) == ("chal-2", "Multiplication")
    write_problems(Path("problems.jsonl"), problems)


def grader() -> None:
    """The example, and the dataset's answers through the grade job by the study's grader."""
    choice = parse_grader({"grader": "choice", "letters": "ABCDE"})
    assert [choice.answer(text) for text in ("(A), no: (E).", "A", "(F)")] == ["E", None, None]
    completions = {"chal-1": r"\boxed{2}", "chal-2": r"\boxed{13}"}
    counts = ("n_tokens", "decoded_tokens", "moves", "accepted", "unchanged", "early_rejected")
    rest = dict.fromkeys(counts, 1) | {"finish": "eos", "log_p": -1.0, "seconds": 1.0, "key": ""}
    rest |= {"tokens": [5], "accepted_by_block": [], "log_t_by_block": []}
    records = [
        {"problem_id": problem, "sample": 0, "completion": text, **rest}
        for problem, text in completions.items()
    ]
    Path("records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    paths = [Path(name) for name in ("records.jsonl", "problems.jsonl", "grades.jsonl")]
    grade_records(*paths, study("svamp.yaml").grading, workers=1)
    grades = [json.loads(line) for line in paths[-1].open()]
    assert [grade["correct"] for grade in grades] == [True, False]
    Path("problems.jsonl").write_text('{"problem": "?", "answer": "E", "unique_id": "chal-1"}\n')
    Path("records.jsonl").write_text(json.dumps(records[0] | {"completion": "So (E)."}) + "\n")
    grade_records(*paths, choice, workers=1)
    assert json.loads(paths[-1].read_text())["correct"] is True


if __name__ == "__main__":
    checks = (own, condition, sweep, sampler, kernel, blend, dataset, grader)
    for check in checks:
        check()
    print(", ".join(check.__name__ for check in checks))
