"""The probe: what it streams is what a direct computation gives, and a matched beta matches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from transformers import PreTrainedModel

import specs
import tiny
from powerblend import Model, load_model, sample
from powerblend.analysis.probe import beta_at, probed, suggested
from powerblend.analysis.summary import condition_of
from powerblend.blends import LayerBlend, RandomBlend, UniformBlend
from powerblend.probe import hidden_states, measures, run
from powerblend.probe.matching import matched_beta, mean_of, scaled_beta
from powerblend.probe.passages import Passage, Text, sample_tokens, text_of
from powerblend.probe.run import match, probe
from powerblend.samplers import parse_sampler
from powerblend.study.cells import betas_of, cells_of, probe_of
from powerblend.study.resolve import BLEND
from powerblend.study.schema import parse_study
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.frozen import Frozen
from powerblend.vocabulary.measurements import ProbeMeasurements
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.records import AnswerRecord
from powerblend.vocabulary.specs import CellSpec, MatchSpec
from small_study import ROOT, merged, planned, write_study
from toy import follow, plans

VOCABULARY = 60
BETAS = [-0.2, 0.0, 0.05, 0.5]
SPEC = specs.measurement(layers=[0, 1, 2], betas=BETAS)
BASE: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())


def plain(found: Frozen) -> dict[str, Any]:
    """What was found as a reader of its file has it."""
    return found.model_dump(mode="json")


@pytest.fixture(scope="module")
def hf() -> PreTrainedModel:
    """A transformer with distributions that are far from uniform, so that some tokens are hard."""
    return tiny.transformer(vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def model(hf: PreTrainedModel) -> Model:
    return load_model(hf)


@pytest.fixture(scope="module")
def text() -> Text:
    """Passages of several lengths that begin alike, and a sample of their answers' tokens."""
    draw = np.random.default_rng(3).integers
    passages = [
        Passage([7, 8, 9, *draw(0, VOCABULARY, own + answer).tolist()], 3 + own)
        for own, answer in ((1, 9), (4, 17), (2, 30), (3, 1))
    ]
    return Text(passages, sample_tokens(passages, 40))


class Direct:
    """The measures from whole arrays [tokens, vocabulary] of transformers' own forward pass."""

    def __init__(self, hf: PreTrainedModel, text: Text) -> None:
        self.states: list[list[Tensor]] = [[] for _ in range(tiny.LAYERS + 1)]
        last: list[Tensor] = []
        hook = hf.model.layers[-1].register_forward_hook(
            lambda _m, _i, output: last.append(output[0] if isinstance(output, tuple) else output)
        )
        with torch.inference_mode():
            for passage in text.passages:
                out = hf(torch.tensor([passage.tokens]), output_hidden_states=True)
                # transformers' last hidden state is after the final norm; the hook's is before it.
                kept = [*out.hidden_states[1:-1], last.pop(), out.hidden_states[-1]]
                for column, state in zip(self.states, kept, strict=True):
                    column.append(state[0, passage.prompt - 1 : -1])
            hook.remove()
            self.gold = np.concatenate([p.tokens[p.prompt :] for p in text.passages])
            self.sampled = np.concatenate(text.sampled)
            self.hf, self.blocks = hf, [torch.cat(part) for part in self.states]
            self.final = self.logits(self.blocks[-1])

    def logits(self, states: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        logits: np.ndarray[Any, np.dtype[np.float64]] = self.hf.lm_head(states).numpy()
        return logits

    def source(self, layer: int, norm: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        with torch.inference_mode():
            state = self.blocks[layer]
            return self.logits(self.hf.model.norm(state) if norm == "final" else state)

    def summary(self, z: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
        at = np.arange(len(self.gold)), self.gold
        log_p, log_q = _log_softmax(self.final), _log_softmax(z)
        own, rank = (1 + (y > y[at][:, None]).sum(1) for y in (self.final, z))
        hard = log_p[at] < np.log(0.01)
        kl = (np.exp(log_p) * (log_p - log_q)).sum(1)
        found = {
            "kl": kl[self.sampled].mean(),
            "flips": (z.argmax(1) != self.final.argmax(1))[self.sampled].mean(),
            "scale": (z.std(1) / self.final.std(1))[self.sampled].mean(),
        }
        for prefix, chosen in (("", self.sampled), ("hard_", hard)):
            found |= {
                f"{prefix}mean_rank": rank[chosen].mean(),
                f"{prefix}median_rank": np.median(rank[chosen]),
                f"{prefix}log_loss": -log_q[at][chosen].mean(),
                f"{prefix}better": (rank < own)[chosen].mean(),
                f"{prefix}likelier": (log_q[at] > log_p[at])[chosen].mean(),
            }
        return found


def _log_softmax(z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    centred = z - z.max(1, keepdims=True)
    return centred - np.log(np.exp(centred).sum(1, keepdims=True))


@pytest.fixture(scope="module")
def found(model: Model, text: Text) -> dict[str, Any]:
    return plain(probe(SPEC, model, text))


@pytest.fixture(scope="module")
def direct(hf: PreTrainedModel, text: Text) -> Direct:
    return Direct(hf, text)


def test_streaming_equals_a_direct_computation(found: dict[str, Any], direct: Direct) -> None:
    assert len(found["layers"]) == 2 * tiny.LAYERS
    assert len(found["blends"]) == 2 * tiny.LAYERS * len(BETAS)
    assert found["tokens"] == 40
    assert found["of_tokens"] == 57
    assert 5 < found["hard_tokens"] < 57
    for row in found["layers"] + found["blends"]:
        z = direct.source(row["layer"], row["norm"])
        expected = direct.summary((1 - row["beta"]) * direct.final + row["beta"] * z)
        if row["kl"] < 1e-12:  # the same distribution: which of the two is likelier is rounding
            expected = {key: value for key, value in expected.items() if "likelier" not in key}
        assert {key: row[key] for key in expected} == pytest.approx(expected, abs=1e-9)
    assert found["final"]["mean_rank"] == direct.summary(direct.final)["mean_rank"]


def test_the_last_layer_after_the_final_norm_is_the_model(found: dict[str, Any]) -> None:
    (row,) = [r for r in found["layers"] if (r["layer"], r["norm"]) == (tiny.LAYERS - 1, "final")]
    assert row["kl"] == pytest.approx(0, abs=1e-12)
    assert {k: v for k, v in row.items() if "rank" in k or "flips" in k} == {
        k: v for k, v in found["final"].items() if "rank" in k or "flips" in k
    }


def test_nothing_blended_changes_nothing(found: dict[str, Any]) -> None:
    rows = [row for row in found["blends"] if row["beta"] == 0]
    assert len(rows) == 2 * tiny.LAYERS
    for row in rows:
        assert (row["kl"], row["flips"], row["better"], row["likelier"]) == (0, 0, 0, 0)
        assert row["scale"] == 1
        assert row["hard_log_loss"] == found["final"]["hard_log_loss"]


def test_logits_are_never_of_more_than_a_chunk(
    model: Model, text: Text, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    most, logits = [0], model.logits

    def counted(hidden: Tensor) -> Tensor:
        most[0] = max(most[0], len(hidden))
        return logits(hidden)

    monkeypatch.setattr(model, "logits", counted)
    for module in (hidden_states, measures):
        monkeypatch.setattr(module, "CHUNK_TOKENS", 4)
    again = plain(probe(SPEC, model, text))
    assert most == [4]
    for part in ("layers", "blends"):
        for row, expected in zip(again[part], found[part], strict=True):
            assert row == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("layer", "norm"), [(0, "none"), (1, "final")])
@pytest.mark.parametrize("kl", [1e-4, 0.01, 0.15])
def test_a_matched_beta_has_the_kl(
    model: Model, text: Text, layer: int, norm: Any, kl: float
) -> None:
    source = {"source": "layer", "layer": layer, "norm": norm}
    row = plain(match(specs.match(source, kl), model, text))
    assert row["kl"] == pytest.approx(kl, rel=1e-3)
    assert row["beta"] == float(f"{row['beta']:.4g}") > 0
    read = hidden_states.read(model, text, [layer])
    blend = LayerBlend(layer=layer, norm=norm, beta=row["beta"])
    assert mean_of("kl", model, read, blend) == pytest.approx(kl, rel=1e-3)


def test_a_beta_is_matched_to_another_blend(model: Model, text: Text) -> None:
    like = {"source": "layer", "layer": 0, "beta": 0.1, "norm": "none"}
    source = {"source": "layer", "layer": 1, "norm": "final"}
    row = plain(match(specs.match(source, like), model, text))
    expected = mean_of("kl", model, hidden_states.read(model, text, [0]), LayerBlend(**like))
    assert row["kl"] == pytest.approx(expected, rel=1e-3)
    assert row["like"] == like
    itself = plain(match(specs.match(source | like, like), model, text))
    assert itself["beta"] == pytest.approx(0.1, rel=1e-3)


SOURCES = [
    {"source": "layer", "layer": 0, "norm": "none"},
    {"source": "layer", "layer": 1, "norm": "final"},
    {"source": "random"},
    {"source": "uniform"},
]


@pytest.mark.parametrize(
    ("source", "scale"),
    # States of the first layer lie across the last's: mixed in, they spread logits wider at once.
    [(source, scale) for source in SOURCES for scale in (0.97, 1.6)][1:],
    ids=lambda value: value if isinstance(value, float) else value["source"],
)
def test_a_matched_beta_has_the_scale(
    model: Model, text: Text, source: dict[str, Any], scale: float
) -> None:
    row = plain(match(specs.match(source, None, match_scale=scale), model, text))
    assert row["scale"] == pytest.approx(scale, rel=1e-3)
    assert row["match_scale"] == scale
    assert "match_kl" not in row
    assert row["beta"] == float(f"{row['beta']:.4g}") != 0
    # The nearest to 0: nothing closer has it, on either side.
    read = hidden_states.read(model, text, [-1, 0, 1])
    blend = BLEND.validate_python({**source, "beta": 0.0})
    for share in (-0.98, -0.5, 0.5, 0.98):
        nearer = blend.model_copy(update={"beta": share * row["beta"]})
        closer = mean_of("scale", model, read, nearer)
        assert closer < scale if scale > 1 else closer > scale


def test_an_exponent_has_the_scale_that_it_multiplies_by(model: Model, text: Text) -> None:
    read = hidden_states.read(model, text, [-1])
    assert scaled_beta(model, read, UniformBlend(beta=0.0), 1.25) == -0.25
    sharper = matched_beta(model, read, UniformBlend(beta=0.0), 0.01)
    assert sharper < 0
    final = model.logits(read.final[read.sampled]).double()
    log_p, log_q = final.log_softmax(-1), ((1 - sharper) * final).log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    assert kl.item() == pytest.approx(0.01, rel=1e-3)


def test_a_scale_out_of_reach_is_refused(model: Model, text: Text) -> None:
    read = hidden_states.read(model, text, [-1, 0])
    for scale in (0.5, 1.0):
        with pytest.raises(ValueError, match=rf"match_scale is {scale:g}, but the scale of .* at"):
            scaled_beta(model, read, RandomBlend(beta=0.0), scale)


def test_a_kl_out_of_reach_is_refused(model: Model, text: Text) -> None:
    read = hidden_states.read(model, text, [0, tiny.LAYERS - 1])
    with pytest.raises(ValueError, match=r"match_kl is 1e\+06, but the KL of .* even at beta 1"):
        matched_beta(model, read, LayerBlend(layer=0, beta=0.0), 1e6)
    with pytest.raises(ValueError, match=r"only 0 even|only 1e-|even at beta 1"):
        matched_beta(model, read, LayerBlend(layer=2, beta=0.0, norm="final"), 0.01)


class Echo:
    """A draft that sees what it may: the block before, of which it repeats the last state."""

    block_size, feature_layers = 4, (1,)

    def answer_states(self, tokens: Tensor, prompt: int, features: Tensor) -> Tensor:
        assert features.shape[:2] == (1, len(tokens))
        blocks = torch.arange(len(tokens) - prompt) // self.block_size * self.block_size
        return features[0, prompt - 1 + blocks]


class Oracle(Echo):
    """A draft that is right: its states are those of the target."""

    feature_layers = (0, 2)

    def answer_states(self, tokens: Tensor, prompt: int, features: Tensor) -> Tensor:
        assert features.shape[:2] == (2, len(tokens))
        return self.norm(features[1, prompt - 1 : -1])

    def __init__(self, hf: PreTrainedModel) -> None:
        self.norm = hf.model.norm


@pytest.fixture
def with_draft(monkeypatch: pytest.MonkeyPatch, model: Model, text: Text) -> Any:
    """Probes the model as if a stand-in were its draft."""

    def found(draft: hidden_states.ProbedDraft) -> dict[str, Any]:
        monkeypatch.setattr(run, "probed_draft", lambda _model: draft)
        return plain(probe(SPEC, model, text))

    return found


def test_a_draft_is_measured_by_block_offset(with_draft: Any, text: Text, direct: Direct) -> None:
    row = with_draft(Echo())["draft"]
    assert row["block_size"] == 4
    assert [entry["offset"] for entry in row["offsets"]] == [1, 2, 3]
    places = np.concatenate([np.arange(len(p.tokens) - p.prompt) for p in text.passages])
    offset = places % 4
    # The state that predicts a block's first token is the last one that the draft may see.
    z = direct.source(1, "none")[np.arange(len(offset)) - offset]
    rank = 1 + (z > z[np.arange(len(z)), direct.gold][:, None]).sum(1)
    same = z.argmax(1) == direct.final.argmax(1)
    for entry in row["offsets"]:
        chosen = direct.sampled & (offset == entry["offset"])
        assert entry["tokens"] == chosen.sum()
        assert entry["mean_rank"] == pytest.approx(rank[chosen].mean())
        assert entry["agreement"] == pytest.approx(same[chosen].mean())
    chosen = direct.sampled & (offset > 0)
    assert row["mean_rank"] == pytest.approx(rank[chosen].mean())
    assert row["median_rank"] == np.median(rank[chosen])


def test_a_draft_like_the_target_agrees_and_is_the_targets_at_offset_0(
    hf: PreTrainedModel, model: Model, text: Text, with_draft: Any
) -> None:
    right = with_draft(Oracle(hf))
    assert right["draft"]["agreement"] == 1
    assert all(row["kl"] < 1e-12 for row in right["blends"] if row["source"] == "draft")
    read = hidden_states.read(model, text, [], Echo())
    assert read.draft is not None
    first = read.offset == 0
    assert torch.equal(read.draft[first], read.final[first])
    assert not torch.isclose(read.draft[~first], read.final[~first]).all(1).any()


def test_a_draft_is_blended_over_beta(with_draft: Any) -> None:
    rows = [r for r in with_draft(Echo())["blends"] if r["source"] == "draft"]
    assert [row["beta"] for row in rows] == BETAS
    assert [row["kl"] > 0 for row in rows] == [True, False, True, True]


@pytest.mark.parametrize(
    "blend",
    [
        {"source": "draft", "beta": 0.4},
        {"source": "layer", "layer": 1, "norm": "final", "beta": 0.4},
        {"source": "layer", "layer": 0, "norm": "none", "beta": -0.1},
    ],
)
def test_an_answer_is_as_likely_to_the_probe_as_to_the_engine_that_drew_it(
    hf: PreTrainedModel, blend: dict[str, Any]
) -> None:
    made = load_model(hf, draft=tiny.draft(hf, block=4), eos_token_ids=[VOCABULARY - 1])
    prompt = [7, 8, 9, 30]
    decoding = {"sampler": "greedy", "max_new_tokens": 14, "blend": blend}
    ((drawn,),) = sample(made, [prompt], decoding)
    assert drawn.n_tokens > 8  # so that a draft has more than two blocks
    text = Text([Passage(prompt + drawn.tokens, len(prompt))], [np.ones(drawn.n_tokens, bool)])
    (row,) = plain(probe(specs.measurement(blends=[blend]), made, text))["configured"]
    assert -row["log_loss"] * drawn.n_tokens == pytest.approx(drawn.log_t, abs=1e-9)
    assert row["kl"] > 1e-3


def test_blends_are_measured_on_own_answers_as_they_would_be_alone(
    model: Model, text: Text
) -> None:
    own = Text(text.passages[1:], text.sampled[1:])
    layer = {"source": "layer", "layer": 1, "beta": 0.1, "norm": "final"}
    noise = {"source": "random", "beta": 0.2}
    configured = probe(specs.measurement(blends=[layer]), model, own).configured
    matched = [parse_sampler({"sampler": "greedy", "max_new_tokens": 1, "blend": noise}).blend]
    alone = probe(specs.measurement(blends=[noise]), model, own).configured
    both = probe(specs.measurement(blends=[layer]), model, text, own, [b for b in matched if b])
    assert both.own is not None
    assert both.own.blends == (*configured, *alone)
    assert both.own.model_dump(exclude={"blends"}) == own.counts
    assert both.configured == probe(specs.measurement(blends=[layer]), model, text).configured
    assert both.configured != configured
    # Beside each condition, by its blend.
    decodings = {"layer": layer, "noise": noise, "other": layer | {"beta": 0.3}}
    conditions = {
        name: condition_of(parse_sampler({"sampler": "greedy", "max_new_tokens": 1, "blend": how}))
        for name, how in decodings.items()
    }
    found = match(specs.match({"source": "random"}, 0.01), model, text)
    found = found.model_copy(update={"beta": 0.2})
    rows = {row.condition: row for row in probed(both, conditions, {"noise": found}).conditions}
    assert rows.keys() == {"layer", "noise"}
    for name, there in (("layer", configured[0]), ("noise", alone[0])):
        of_own = rows[name].own
        assert of_own is not None
        assert (of_own.kl, of_own.flips, of_own.scale) == (there.kl, there.flips, there.scale)


# What is read


def problems(count: int) -> list[Problem]:
    return [
        Problem(f"What is {n} + 1?", str(n + 1), f"sums/{n}", solution=f"{n} + 1 = {n + 1}.")
        for n in range(count)
    ]


def test_solutions_follow_their_prompts() -> None:
    words = tiny.tokenizer()
    text = text_of(specs.reading("solutions"), words, problems(9), [])
    texts = [
        (words.decode(p.tokens[: p.prompt]), words.decode(p.tokens[p.prompt :]))
        for p in text.passages
    ]
    assert [answer for _, answer in texts] == ["0 + 1 = 1.", "3 + 1 = 4.", "6 + 1 = 7."]
    assert all(f"What is {n} + 1?<|end|>" in p for n, (p, _) in zip((0, 3, 6), texts, strict=True))
    assert all(prompt.endswith("assistant\n") for prompt, _ in texts)
    assert text.counts == {"problems": 3, "tokens": 20, "of_tokens": 30}
    again = text_of(specs.reading("solutions"), words, problems(9), [])
    assert all(np.array_equal(*masks) for masks in zip(text.sampled, again.sampled, strict=True))


def test_greedy_answers_are_those_of_the_records() -> None:
    records = [
        AnswerRecord.model_construct(
            problem_id=f"sums/{n}", sample=sample, tokens=[5, n, sample, 1]
        )
        for n in range(4)
        for sample in range(2)
    ]
    text = text_of(specs.reading("greedy", 2, 100), tiny.tokenizer(), problems(4), records)
    assert [p.tokens[p.prompt :] for p in text.passages] == [[5, 0, 0, 1], [5, 2, 0, 1]]
    assert text.counts["tokens"] == 8


def test_nothing_to_read_is_said() -> None:
    silent = [Problem("What?", "1", "a")]
    with pytest.raises(ConfigError, match="there is no text to read"):
        text_of(specs.reading("solutions"), tiny.tokenizer(), silent, [])


# What follows from it


def test_betas_of_equal_kl_are_interpolated() -> None:
    curve = [(beta, 3 * beta**2) for beta in (-0.2, 0.01, 0.1, 0.5)]
    for beta in (0.001, 0.01, 0.03, 0.2, 0.5):
        assert beta_at(3 * beta**2, curve) == pytest.approx(beta)
    assert beta_at(1.0, curve) is None
    assert beta_at(0.0, curve) is None


def test_a_layer_is_suggested_by_its_ranks(found: dict[str, Any]) -> None:
    measured = ProbeMeasurements.model_validate(found)
    best = suggested(measured)
    assert best is not None
    others = [layer for layer in measured.layers if layer.layer != tiny.LAYERS - 1]
    assert best in others
    assert best.median_rank == min(layer.median_rank for layer in others)


def test_conditions_have_the_numbers_of_their_blends(model: Model, text: Text) -> None:
    layer = {"source": "layer", "layer": 1, "beta": 0.1, "norm": "none"}
    control = layer | {"layer": 0, "beta": 0.2}
    greedy = {"sampler": "greedy", "max_new_tokens": 8}
    decodings = {
        "plain": greedy,
        "fixed": greedy | {"blend": layer},
        "control": greedy | {"blend": control},
    }
    conditions = {name: condition_of(parse_sampler(how)) for name, how in decodings.items()}
    measured = probe(specs.measurement(layers=[0, 1, 2], betas=BETAS, blends=[layer]), model, text)
    source = {key: value for key, value in control.items() if key != "beta"}
    matched = match(specs.match(source, 0.001), model, text)
    found = probed(measured, conditions, {"control": matched})
    assert [at.condition for at in found.conditions] == ["fixed", "control"]
    assert [at.beta for at in found.conditions] == [0.1, matched.beta]
    assert [at.match_kl for at in found.conditions] == [None, 0.001]
    assert found.conditions[0].kl == measured.configured[0].kl
    assert probed(None, conditions, {}).conditions == ()
    of_fixed = [other for other in found.equal if other.condition == "fixed"]
    assert len(of_fixed) == len(found.equal) == 2 * tiny.LAYERS - 1
    assert all((other.layer, other.norm) != (1, "none") for other in of_fixed)


# The configuration


def study(**changes: Any) -> Any:
    return parse_study(merged(BASE, changes))


def control(beta: Any, **blend: Any) -> dict[str, Any]:
    return {
        "blends": {"control": {"source": "layer", "layer": 17, "beta": beta} | blend},
        "conditions": {"control_ps": {"sampler": "power", "blend": "control"}},
        "use": ["greedy", "ps", "blend_ps", "control_ps"],
    }


def matched_alpha(alpha: Any, **settings: Any) -> dict[str, Any]:
    how = {"sampler": "power", "alpha": alpha} | settings
    return {"conditions": {"ps_scale": how}, "use": ["greedy", "ps", "ps_scale"]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (control({"match_kl": 0}), "conditions.control_ps: blend.beta.match_kl: give a KL above 0"),
        (control({"kl": 1}), "conditions.control_ps: blend.beta: give a number, or {match_kl: KL}"),
        (control({"match_kl": "dark"}), "blend.beta.match_kl: none is called 'dark'; use layer"),
        (control({"match_kl": "control"}), "the beta of control must be a number itself"),
        (
            control({"match_kl": 1}, layer=-1),
            "Input should be greater than or equal to 0 (it is -1)",
        ),
        (control({"match_scale": -1}), "blend.beta.match_scale: give a scale above 0 (it is -1)"),
        (control({"match_scale": "dark"}), "blend.beta.match_scale: none is called 'dark'; use"),
        (control({"match_kl": 1, "match_scale": 1}), "blend.beta: give a number, or {match_kl:"),
        (matched_alpha({}), "conditions.ps_scale: alpha: give a number, or {match_kl: KL}"),
        (matched_alpha({"match_scale": "x"}), "ps_scale: alpha.match_scale: none is called 'x'"),
        (
            matched_alpha({"match_scale": "layer"}, blend="layer"),
            "alpha: only that of p^alpha without a blend can be matched",
        ),
        (
            matched_alpha({"match_scale": "layer"}, sampler="temperature"),
            "alpha: only that of p^alpha without a blend can be matched",
        ),
        ({"probe": {"over": "greedy"}, "use": ["ps"]}, "probe.over: greedy reads the answers of"),
        ({"probe": {"betas": ["much"]}}, "probe.betas.0: Input should be a valid number"),
        ({"probe": {"layres": [1]}}, "probe.layres: unknown key"),
    ],
)
def test_a_bad_probe_is_named_with_its_key(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        study(**changes)
    assert sentence in str(error.value)


def test_a_matched_beta_is_told_from_a_given_one() -> None:
    of = {"": study(**control({"match_kl": 0.01})), "name": study(**control({"match_kl": "layer"}))}
    names = {key: cells_of(made)["control_ps"].name for key, made in of.items()}
    assert all(name.startswith("blend_ps-matched-l17-") for name in names.values())
    assert names[""] != names["name"]
    assert of[""].samplers({"control_ps": 0.03})["control_ps"].blend.beta == 0.03
    (cell,) = betas_of(of["name"]).values()
    spec = json.loads(cell.spec.canonical)
    assert spec["match_kl"]["layer"] == 33
    assert spec["blend"] == {"source": "layer", "layer": 17, "norm": "none"}
    assert MatchSpec.model_validate(spec) == cell.spec


def test_a_matched_exponent_is_told_from_a_given_one() -> None:
    made = study(**matched_alpha({"match_scale": "layer"}))
    cell = cells_of(made)["ps_scale"]
    assert cell.name.startswith("ps-matched-")
    spec = CellSpec.model_validate(json.loads(cell.spec.canonical))
    assert spec == cell.spec
    assert spec.decoding.model_dump()["alpha"] == 4.0
    (found,) = betas_of(made).values()
    asked = json.loads(found.spec.canonical)
    assert (asked["blend"], asked["alpha"]) == ({"source": "uniform"}, 4.0)
    assert asked["match_scale"]["layer"] == 33
    assert spec.matched == found.spec
    with_it = spec.with_beta(-0.1234)
    assert with_it.decoding.model_dump()["alpha"] == 4.4936
    assert with_it == cells_of(study(conditions={"ps": {"alpha": 4.4936}}))["ps"].spec
    assert made.samplers({"ps_scale": -0.5})["ps_scale"].model_dump()["alpha"] == 6.0


@pytest.mark.parametrize(
    ("change", "cells", "others"),
    [
        ({"betas": [0.3]}, set(), {"probe"}),
        ({"layers": [2]}, set(), {"probe"}),
        ({"enabled": False}, set(), {"probe"}),
        ({"tokens": 100}, {"control_ps"}, {"probe", "beta"}),
        ({"over": "greedy"}, {"control_ps"}, {"probe", "beta"}),
    ],
)
def test_only_what_a_matched_beta_depends_on_decides_its_cell(
    change: dict[str, Any], cells: set[str], others: set[str]
) -> None:
    both = [
        study(**control({"match_kl": 0.01})),
        study(**control({"match_kl": 0.01}), probe=change),
    ]
    before, after = map(cells_of, both)
    assert {name for name in before if before[name] != after[name]} == cells
    jobs = [{"probe": probe_of(made), "beta": betas_of(made)["control_ps"]} for made in both]
    assert {job for job in jobs[0] if jobs[0][job] != jobs[1][job]} == others


def test_own_answers_are_read_beside_solutions_where_there_are_any() -> None:
    def spec(**changes: Any) -> Any:
        cell = probe_of(study(**changes))
        assert cell is not None
        return cell.spec

    both = spec(**control({"match_kl": 0.01}))
    assert (both.over.text, both.own.text) == ("solutions", "greedy")
    assert both.own.cell.decoding.describe().role == "greedy"
    assert both.matched == [betas_of(study(**control({"match_kl": 0.01})))["control_ps"].name]
    assert spec().matched is None
    assert spec(probe={"over": "greedy"}).own is None
    assert spec(use=["ps", "blend_ps"]).own is None
    assert spec(use=["greedy", "ps"]).own is None


# The workflow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study with a condition whose beta is matched to a KL, without its figures."""
    path = write_study(tmp_path_factory.mktemp("probe"), **matched_study())
    plan = plans({"small": (path.parent, [path])})["small"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        follow(plan, figures=())
    return path


def matched_study(**changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "blends": {"other": {"layer": 0, "norm": "final", "beta": {"match_kl": 0.01}}},
        "conditions": {"other_greedy": {"sampler": "greedy", "blend": "other"}},
        "use": ["greedy", "other_greedy"],
        "probe": {"enabled": True, "layers": [0]},
        "shards": {"of": 2, "use": [0]},
    }
    return merged(settings, changes)


def test_a_matched_blend_goes_through_the_workflow(finished: Path) -> None:
    results = finished.parent / "results" / "small"
    (path,) = (results / "probe").glob("beta-*.json")
    beta = json.loads(path.read_text())["beta"]
    assert 0 < beta < 1
    (cell,) = (results / "generate").glob("blend_greedy-matched-l0-*")
    records = [json.loads(line) for file in cell.iterdir() for line in file.open()]
    assert [record["beta"] for record in records] == [beta] * 3
    summary = json.loads((results / "tables" / "summary.json").read_text())
    assert summary["conditions"]["other_greedy"]["blend"]["beta"] == beta
    (row,) = summary["probe"]["conditions"]
    assert row["condition"] == "other_greedy"
    assert row["kl"] == pytest.approx(0.01, rel=1e-3)
    assert summary["probe"]["measured"]["over"] == "greedy"
    assert len((results / "tables" / "probe_layers.csv").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"layers": [1]}, {"probe"}),
        ({"tokens": 9}, {"probe", "match", "generate", "grade"}),
    ],
)
def test_a_changed_probe_generates_matched_blends_only(
    finished: Path, change: dict[str, Any], again: set[str]
) -> None:
    write_study(finished.parent, **matched_study(probe=change))
    jobs = planned(finished)
    write_study(finished.parent, **matched_study())
    end = {"tables", "figures", "report", "answers", "all"}
    assert jobs.keys() - {"config", "check", "specs"} - end == again
    assert all("-matched-" in job for job in jobs.get("generate", []))


def test_a_matched_record_is_that_of_its_beta(finished: Path, tmp_path: Path) -> None:
    folder = finished.parent / "results" / "small" / "chains"
    (store,) = folder.glob("blend_greedy-matched-*/*.jsonl")
    kept = [json.loads(line) for line in store.open()]
    blend = {"other": {"layer": 0, "norm": "final", "beta": kept[0]["beta"]}}
    keys = _keys(finished, blends=blend)
    assert {record["key"] for record in kept} == keys
    assert keys != _keys(finished, blends={"other": blend["other"] | {"beta": 0.5}})


def _keys(path: Path, **changes: Any) -> set[str]:
    """The keys that the records of the matched condition would have under a given beta."""
    from powerblend.study.answers import tasks_of
    from powerblend.study.problems import load_problems

    config = merged(BASE, yaml.safe_load(path.read_text()))
    made = parse_study(merged(config, changes))
    spec = cells_of(made)["other_greedy"].spec
    model = load_model(path.parent / "model", dtype="float64")
    return {task.key for task in tasks_of(spec, model, load_problems(made.dataset)[::2], 1)}
