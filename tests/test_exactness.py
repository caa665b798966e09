"""Answers follow the distribution that is claimed for them, as far as counting can show.

Every sampler and blend source goes through one harness: thousands of chains through `sample`, on a
random transformer and on a table, against the final string's exact distribution by enumeration.
"""

from collections import Counter
from collections.abc import Mapping
from inspect import isabstract
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import PreTrainedModel

import enumeration
import tiny
from enumeration import Floats, Logits, Space, chi_squared, total_variation
from kernel_laws import Source
from powerblend import load_model, sample
from powerblend.blends import Blend
from powerblend.samplers import SAMPLERS
from reference_draft import reference_draft
from table_model import TableModel

CAP = 4
NOT_REJECTED = 1e-3
POWER = {"sampler": "power", "alpha": 1.5, "max_new_tokens": CAP, "blocks": 2, "steps": 2}
BETAS = {"none": 0.1, "final": 0.3}
Decoding = dict[str, Any]


def blended(decoding: Decoding, norm: str = "none", sign: int = 1, layer: int = 1) -> Decoding:
    blend = {"source": "layer", "layer": layer, "norm": norm, "beta": sign * BETAS[norm]}
    return decoding | {"blend": blend}


GREEDY = {"sampler": "greedy", "max_new_tokens": CAP}
TEMPERATURE = {"sampler": "temperature", "temperature": 0.5, "max_new_tokens": CAP}
CONDITIONS: dict[str, Decoding] = {
    "greedy": GREEDY,
    "blend_greedy": blended(GREEDY, sign=-1),
    "temp": TEMPERATURE,
    "temp_hot": TEMPERATURE | {"temperature": 1.5},
    "blend_temp": blended(TEMPERATURE, "final"),
    "extension": POWER | {"steps": 0},
    "ps": POWER,
    "ps_one_block": POWER | {"blocks": 1, "steps": 4},
    "ps_four_blocks": POWER | {"blocks": 4, "steps": 3},
    "published": POWER | {"mh": "published", "blocks": 1, "steps": 4},
    "published_two_blocks": POWER | {"mh": "published"},
} | {
    f"blend_ps-{norm}-{proposal}-{'plus' if sign > 0 else 'minus'}": blended(
        POWER | {"proposal": proposal}, norm, sign
    )
    for norm in ("none", "final")
    for proposal in ("base", "target")
    for sign in (1, -1)
}
DRAFT = {"blend": {"source": "draft", "beta": 0.4}}
CONDITIONS |= {
    "draft_blend_greedy": GREEDY | DRAFT,
    "draft_blend_temp": TEMPERATURE | DRAFT,
    "draft_blend_ps-base": POWER | DRAFT,
    "draft_blend_ps-target": POWER | DRAFT | {"proposal": "target", "blocks": 4, "steps": 3},
}
CONDITIONS["random_blend_ps"] = POWER | {"blend": {"source": "random", "beta": 0.4}}
CONDITIONS["uniform_blend_ps"] = POWER | {"blend": {"source": "uniform", "beta": -0.4}}
BLEND_PS = [c for c in CONDITIONS if "blend_ps" in c]
ON_A_TABLE = ("greedy", "temp", "ps", "ps_four_blocks", "blend_ps-final-base-minus")


def transformer_source(hf: PreTrainedModel) -> Source:
    """The tiny transformer with a draft."""
    draft = tiny.draft(hf)
    reference = reference_draft(draft)

    def blends(blend: Any) -> Logits:
        if blend and blend["source"] == "draft":
            return enumeration.draft_logits(hf, tiny.PROMPT, reference, blend["beta"])
        return enumeration.transformer_logits(hf, tiny.PROMPT, blend)

    return Source(load_model(hf, draft=draft), tiny.PROMPT, blends)


@pytest.fixture(scope="module")
def transformer(hf: PreTrainedModel) -> Source:
    return transformer_source(hf)


@pytest.fixture(scope="module")
def table() -> Source:
    model = TableModel(seed=3, vocabulary=4, eos=tiny.EOS, longest=CAP, prompt_tokens=2)
    return Source(model, tiny.PROMPT, model.reference)


def space(source: Source, decoding: Mapping[str, Any]) -> Space:
    alpha = decoding.get("alpha") or 1 / decoding.get("temperature", 1.0)
    # Sampling at a temperature is the proposal of the blended target and nothing else.
    proposal = decoding.get("proposal", "target" if "temperature" in decoding else "base")
    logits = source.logits(decoding)
    return enumeration.enumerate_space(logits, tiny.VOCABULARY, tiny.EOS, alpha, proposal, CAP)


def truth(source: Source, decoding: Mapping[str, Any]) -> tuple[Space, Floats]:
    """Every string, and the exact distribution of the answer."""
    strings = space(source, decoding)
    if decoding["sampler"] == "greedy":
        _, guided = source.logits(decoding)(strings.strings)
        best = [
            list(s) == z[: len(s)].argmax(-1).tolist()
            for s, z in zip(strings.strings, guided, strict=True)
        ]
        return strings, np.where(strings.states(CAP) & best, 1.0, 0.0)
    blocks, steps = decoding.get("blocks", 1), decoding.get("steps", 0)
    return strings, enumeration.distribution_of(
        strings, CAP, blocks, steps, decoding.get("mh", "exact")
    )


def count(
    source: Source, decoding: Decoding, strings: Space, samples: int = 1500, seed: int = 1
) -> NDArray[np.int64]:
    """How often `sample` gives each string."""
    (answers,) = sample(source.model, [source.prompt], decoding, samples, seed, rows=512)
    counts = Counter(tuple(a.tokens) for a in answers)
    assert set(counts) <= set(strings.strings)
    return np.array([counts[s] for s in strings.strings])


def concrete(base: type) -> list[type]:
    """The classes that can be made of a base class, however far down."""
    below = [b for child in base.__subclasses__() for b in concrete(child)]
    return below if below or isabstract(base) else [base]


def test_every_sampler_and_blend_source_is_held_to_its_distribution() -> None:
    conditions = CONDITIONS.values()
    sources = {c["blend"]["source"] for c in conditions if "blend" in c}
    assert {c["sampler"] for c in conditions} | {"particles"} == set(SAMPLERS)  # test_kernel_matrix
    assert sources == {b.model_fields["source"].default for b in concrete(Blend)}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_answers_of_a_transformer_follow_their_exact_distribution(
    condition: str, transformer: Source
) -> None:
    strings, distribution = truth(transformer, CONDITIONS[condition])
    assert distribution.sum() == pytest.approx(1)
    assert (
        chi_squared(count(transformer, CONDITIONS[condition], strings), distribution) > NOT_REJECTED
    )


@pytest.mark.parametrize("condition", ON_A_TABLE)
def test_answers_of_a_table_follow_their_exact_distribution(condition: str, table: Source) -> None:
    decoding = CONDITIONS[condition]
    if "blend" in decoding:
        decoding = decoding | {"blend": decoding["blend"] | {"layer": 0}}
    strings, distribution = truth(table, decoding)
    assert chi_squared(count(table, decoding, strings), distribution) > NOT_REJECTED


@pytest.mark.parametrize("condition", [c for c in CONDITIONS if c == "ps" or "blend_ps" in c])
def test_moves_leave_the_target_unchanged_and_reach_it(condition: str, transformer: Source) -> None:
    """Exactly, of the enumerated kernel that the answers above are held to: no sampling."""
    strings = space(transformer, CONDITIONS[condition])
    target, kernel = strings.target(CAP), strings.kernel(CAP)
    flow = target[:, None] * kernel
    np.testing.assert_allclose(flow, flow.T, atol=1e-15)
    distributions = [
        enumeration.distribution_of(strings, CAP, 2, steps) for steps in (0, 4, 16, 64, 1024)
    ]
    distances = [total_variation(distribution, target) for distribution in distributions]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "schedule"), [("ps", (0, 3, 12)), ("blend_ps-final-base-minus", (0, 2, 8))]
)
def test_more_moves_bring_the_answers_to_the_target(
    condition: str, schedule: tuple[int, ...], transformer: Source
) -> None:
    decoding = CONDITIONS[condition]
    strings = space(transformer, decoding)
    target, distances = strings.target(CAP), []
    for steps in schedule:
        counts = count(transformer, decoding | {"steps": steps}, strings, samples=800)
        distances.append(total_variation(counts / counts.sum(), target))
    assert distances == sorted(distances, reverse=True)
    assert chi_squared(counts, target) > NOT_REJECTED


def test_blends_change_the_target(transformer: Source) -> None:
    """Otherwise a blend that is ignored would pass everything here."""
    plain = space(transformer, POWER).target(CAP)
    for condition in BLEND_PS:
        guided = space(transformer, CONDITIONS[condition]).target(CAP)
        assert total_variation(plain, guided) > 0.1


def test_published_acceptance_drifts_away_from_the_target(transformer: Source) -> None:
    strings = space(transformer, POWER)
    target, distances = strings.target(CAP), []
    for steps in (4, 16):
        decoding = POWER | {"mh": "published", "steps": steps}
        counts = count(transformer, decoding, strings, samples=500)
        assert chi_squared(counts, target) < 1e-12
        distances.append(total_variation(counts / counts.sum(), target))
    assert distances[1] > max(distances[0], 0.3)


def test_low_temperature_is_not_greedy(transformer: Source) -> None:
    cold = TEMPERATURE | {"temperature": 0.25}
    strings, distribution = truth(transformer, cold)
    _, greedy = truth(transformer, GREEDY)
    counts = count(transformer, cold, strings)
    assert distribution[greedy.argmax()] < 0.9
    assert chi_squared(counts, distribution) > NOT_REJECTED
    assert chi_squared(counts, greedy) == 0
