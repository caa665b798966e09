"""A draft learns to say what its target says; a training that was interrupted goes on."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import enumeration
import tiny
from powerblend import Model, load_model, sample
from powerblend.draft import training
from powerblend.draft.dflash import Draft
from powerblend.draft.training import Corpus, WrittenAnswer
from reference_draft import reference_draft

BLOCK, WORDS = 4, 12
PROMPT = [3, 5, 2]


@pytest.fixture(scope="module")
def hf() -> PreTrainedModel:
    return tiny.transformer(vocabulary=WORDS)


@pytest.fixture(scope="module")
def model(hf: PreTrainedModel) -> Model:
    return load_model(hf)


@pytest.fixture(scope="module")
def texts(model: Model) -> list[WrittenAnswer]:
    prompts = [[*PROMPT, last] for last in range(WORDS)]
    decoding = {"sampler": "temperature", "temperature": 0.5, "max_new_tokens": 14}
    answers = sample(model, prompts, decoding, samples=3)
    return [
        WrittenAnswer(p, a.tokens) for p, own in zip(prompts, answers, strict=True) for a in own
    ]


@pytest.fixture
def draft(hf: PreTrainedModel) -> Draft:
    return tiny.draft(hf, block=BLOCK)


@pytest.fixture(scope="module")
def corpus(model: Model, hf: PreTrainedModel, texts: list[WrittenAnswer]) -> Corpus:
    return training.featurise(model, tiny.draft(hf).architecture.feature_layers, texts)


def run(model: Model, draft: Draft, corpus: Corpus, path: Path, **changes: Any) -> Any:
    how: dict[str, Any] = {"steps": 40, "batch": 12, "learning_rate": 5e-3, "seed": 1}
    return training.train(model, draft, corpus, **how | changes, checkpoint=path / "draft.pt")


def test_features_are_those_of_a_full_forward_pass(
    hf: PreTrainedModel, corpus: Corpus, texts: list[WrittenAnswer]
) -> None:
    assert len(corpus.shared) == len(PROMPT)
    for text, tokens, features in zip(texts, corpus.tokens, corpus.features, strict=True):
        whole = torch.tensor([text.prompt + text.answer])
        states = hf(whole, output_hidden_states=True, use_cache=False).hidden_states
        expected = torch.cat([states[1], states[2]], -1)[0]
        assert torch.equal(tokens, whole[0, len(PROMPT) :])
        # What follows its last token is never asked for.
        torch.testing.assert_close(torch.cat([corpus.shared, features]), expected[:-1])


def test_training_denoises_what_decoding_will_ask(
    hf: PreTrainedModel, model: Model, draft: Draft, corpus: Corpus, texts: list[WrittenAnswer]
) -> None:
    """On the answer's own grid, the logits of a training block are the published network's."""
    text = max(texts, key=lambda t: len(t.answer))
    which = torch.tensor(texts.index(text))
    anchors = torch.arange(corpus.starts[which], len(corpus.tokens[which]), BLOCK)
    blocks = training._blocks_at(corpus, draft, which.expand(len(anchors)), anchors)
    ours = training.denoise(model, draft, corpus, blocks).detach().numpy()
    logits = enumeration.draft_logits(hf, text.prompt, reference_draft(draft), beta=1.0)
    _, said = logits([tuple(text.answer)])
    asked = np.arange(len(text.answer)) % BLOCK > 0
    np.testing.assert_allclose(ours, said[0][asked], atol=1e-5)


def test_a_step_compares_with_the_target_at_the_same_place(
    hf: PreTrainedModel, model: Model, draft: Draft, corpus: Corpus, tmp_path: Path
) -> None:
    """The first loss is the cross-entropy to the target's own distribution, token by token."""
    generator = torch.Generator().manual_seed(1)
    blocks = training._random_blocks(corpus, draft, 12, generator)
    as_trained = tiny.draft(hf, block=BLOCK)
    inputs = torch.cat([corpus.shared, *corpus.features])
    with torch.no_grad():
        as_trained.fc.weight /= inputs.square().mean(0).sqrt()
        ours = training.denoise(model, as_trained, corpus, blocks).log_softmax(-1)
    total = weights = torch.zeros(())
    row = 0
    for sequence, anchor in zip(blocks.sequences, blocks.anchors, strict=True):
        whole = torch.cat([torch.tensor(PROMPT), corpus.tokens[sequence]])[None]
        target = hf(whole, use_cache=False).logits[0, len(PROMPT) - 1 :].detach().softmax(-1)
        for offset in range(1, min(BLOCK, len(corpus.tokens[sequence]) - int(anchor))):
            weight = np.exp(-(offset - 1) / training.WEIGHT_FALL_OFFSETS)
            total = total - weight * (target[anchor + offset] * ours[row]).sum()
            weights = weights + weight
            row += 1
    (first,) = islice(run(model, draft, corpus, tmp_path), 1)
    assert row == len(ours)
    assert first == pytest.approx((total / weights).item(), rel=1e-4)


def test_a_sample_stands_for_the_whole_vocabulary(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAMPLED_TOKENS", 5)
    vocabulary = training.Vocabulary.of(corpus, 40)
    held = set(torch.cat(corpus.tokens).tolist())
    drawn = []
    for seed in range(2):
        tokens, log_weights = vocabulary.sample(torch.Generator().manual_seed(seed))
        assert set(tokens[: len(held)].tolist()) == held
        assert not held & set(tokens[len(held) :].tolist())
        assert len(tokens) == len(held) + 5 == len(set(tokens.tolist()))
        assert not log_weights[: len(held)].any()
        assert log_weights.exp().sum().item() == pytest.approx(40)
        drawn.append(set(tokens.tolist()))
    assert drawn[0] != drawn[1]


def test_a_draft_learns_what_its_target_says(
    model: Model, draft: Draft, corpus: Corpus, tmp_path: Path
) -> None:
    before = training.quality(model, draft, corpus)
    losses = list(run(model, draft, corpus, tmp_path))
    after = training.quality(model, draft, corpus)
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:3])
    assert after.accuracy > before.accuracy + 0.1
    assert after.accepted > before.accepted + 0.1


def test_a_draft_begins_as_the_end_of_its_target(hf: PreTrainedModel, model: Model) -> None:
    draft = tiny.draft(hf, block=BLOCK)
    own = draft.hidden_norm.weight.clone()
    training.begin_as(draft, model)
    ends = hf.model.layers[-2:]
    for layer, target in zip(draft.layers, ends, strict=True):
        assert torch.equal(layer.mlp.down_proj.weight, target.mlp.down_proj.weight)
        assert torch.equal(layer.self_attn.k_proj.weight, target.self_attn.k_proj.weight)
    assert torch.equal(draft.norm.weight, training.START_SHARPNESS * hf.model.norm.weight)
    assert torch.equal(draft.hidden_norm.weight, own)


def test_quality_counts_what_the_draft_has_right(
    model: Model, draft: Draft, corpus: Corpus, hf: PreTrainedModel, texts: list[WrittenAnswer]
) -> None:
    found = training.quality(model, draft, corpus)
    right, asked, accepted, blocks = np.zeros(BLOCK), np.zeros(BLOCK), 0, 0
    for text in texts:
        logits = enumeration.draft_logits(hf, text.prompt, reference_draft(draft), beta=1.0)
        _, said = logits([tuple(text.answer)])
        hits = said[0].argmax(-1) == np.array(text.answer)
        for first in range(0, len(text.answer) - 1, BLOCK):
            own = hits[first + 1 : first + BLOCK]
            right[1 : 1 + len(own)] += own
            asked[1 : 1 + len(own)] += 1
            accepted += int(own.cumprod().sum())
            blocks += 1
    assert found.accuracy == pytest.approx(right.sum() / asked.sum())
    np.testing.assert_allclose(found.by_offset, (right / np.maximum(asked, 1))[1:], atol=1e-6)
    assert found.accepted == pytest.approx(accepted / blocks)
    assert found.offered == pytest.approx(asked.sum() / blocks)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    model: Model,
    hf: PreTrainedModel,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter(range(0, 1000, 7))  # a checkpoint every fifth step
    monkeypatch.setattr(training.time, "monotonic", lambda: next(now))
    (tmp_path / "whole").mkdir()
    whole, parted = (tiny.draft(hf, block=BLOCK) for _ in range(2))
    losses = list(run(model, whole, corpus, tmp_path / "whole", steps=20))
    assert list(islice(run(model, parted, corpus, tmp_path, steps=20), 13)) == losses[:13]
    assert len(torch.load(tmp_path / "draft.pt")["losses"]) == 10
    resumed = tiny.draft(hf, block=BLOCK, seed=77)
    assert list(run(model, resumed, corpus, tmp_path, steps=20)) == losses
    for name, weight in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight)


@pytest.mark.parametrize(
    ("layers", "read"), [(36, [1, 9, 17, 25, 33]), (30, [1, 8, 14, 20, 27]), (3, [1])]
)
def test_feature_layers_are_those_of_published_drafts(layers: int, read: list[int]) -> None:
    assert training.default_feature_layers(layers) == read
