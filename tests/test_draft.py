"""What a draft says is what the published network says, and a function of the answer alone."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import enumeration
import tiny
from equality import nearly, records
from powerblend import load_draft, load_model, sample
from powerblend.draft.dflash import Context, Draft
from reference_draft import reference_draft

BLOCK, WORDS = 4, 12
BLEND = {"source": "draft", "beta": 0.4}
POWER = {"sampler": "power", "alpha": 1.5, "max_new_tokens": 12, "blocks": 3, "steps": 4}


@pytest.fixture(scope="module")
def hf() -> PreTrainedModel:
    """With more words than EOS, so that answers grow over several blocks."""
    return tiny.transformer(vocabulary=WORDS)


@pytest.fixture(scope="module")
def draft(hf: PreTrainedModel) -> Draft:
    return tiny.draft(hf, block=BLOCK)


@pytest.mark.parametrize("length", [1, 5, 17])
def test_the_network_is_transformers_own_block_by_block(
    length: int, hf: PreTrainedModel, draft: Draft
) -> None:
    torch.manual_seed(length)
    features = torch.randn(3, length, 2 * hf.config.hidden_size, dtype=hf.dtype)
    block = torch.randn(3, BLOCK, hf.config.hidden_size, dtype=hf.dtype)
    theirs = reference_draft(draft)(block, features).last_hidden_state
    positions = torch.arange(length + BLOCK).repeat(3, 1)
    known = draft.context(features, positions[:, :length])
    contexts = [Context(*kv) for kv in known]
    unseen = torch.zeros(3, 1, 1, 1, length, dtype=torch.bool)
    ours = draft(block, positions[:, length:], contexts, unseen)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


def test_keys_that_a_block_may_not_see_do_not_count(hf: PreTrainedModel, draft: Draft) -> None:
    """Whatever lies past the block's beginning, as another row's longer context."""
    features = torch.randn(2, 9, 2 * hf.config.hidden_size, dtype=hf.dtype)
    block = torch.randn(2, BLOCK, hf.config.hidden_size, dtype=hf.dtype)
    at = torch.arange(9)
    positions = 6 + torch.arange(BLOCK).repeat(2, 1)
    whole = [Context(*kv) for kv in draft.context(features, at.repeat(2, 1))]
    short = [Context(c.keys[:, :, :6], c.values[:, :, :6]) for c in whole]
    unseen = (at >= 6).expand(2, 1, 1, 1, -1)
    masked = draft(block, positions, whole, unseen)
    cut = draft(block, positions, short, unseen[..., :6])
    torch.testing.assert_close(masked, cut, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("rows", "proposal", "shots"),
    [(1, "base", 0), (7, "target", 5), (7, "base", 5), (24, "target", 0)],
)
def test_log_t_is_what_a_slow_reading_of_the_answer_gives(
    rows: int, proposal: str, shots: int, hf: PreTrainedModel, draft: Draft
) -> None:
    """By extension or from any cut, alone or in company, with a prefix that prompts share or not.

    Many moves are rejected, so that a rewinding that forgets what the draft said would show.
    """
    torch.manual_seed(3)
    start = torch.randint(2, 90, (shots,)).remainder(WORDS).tolist()
    prompts = [[*start, *own] for own in (tiny.PROMPT, [3], [0, tiny.EOS, 2, 2, 3])]
    model = load_model(hf, draft=draft)
    decoding = POWER | {"proposal": proposal, "blend": BLEND}
    answers = sample(model, prompts, decoding, samples=8 if rows > 1 else 3, rows=rows)
    moved = [a for chains in answers for a in chains]
    assert 0 < sum(a.accepted for a in moved) < sum(a.moves for a in moved)
    assert max(a.n_tokens for a in moved) > 2 * BLOCK
    for prompt, chains in zip(prompts, answers, strict=True):
        strings = [tuple(a.tokens) for a in chains]
        base, guided = slowly(hf, draft, prompt, strings)
        log_t = [
            POWER["alpha"] * log_probability(z, s) for z, s in zip(guided, strings, strict=True)
        ]
        log_p = [log_probability(z, s) for z, s in zip(base, strings, strict=True)]
        np.testing.assert_allclose([a.log_t for a in chains], log_t, atol=1e-5)
        np.testing.assert_allclose([a.log_p for a in chains], log_p, atol=1e-5)


def slowly(hf: Any, draft: Draft, prompt: list[int], strings: list[tuple[int, ...]]) -> Any:
    logits = enumeration.draft_logits(hf, prompt, reference_draft(draft), BLEND["beta"])
    return logits(strings)


def log_probability(z: Any, string: tuple[int, ...]) -> float:
    return float(enumeration.log_softmax(z)[np.arange(len(string)), list(string)].sum())


@pytest.mark.parametrize("proposal", ["base", "target"])
def test_answers_do_not_depend_on_the_batch(
    proposal: str, hf: PreTrainedModel, draft: Draft
) -> None:
    model = load_model(hf, draft=draft)
    decoding = POWER | {"proposal": proposal, "blend": BLEND}
    runs = [
        sample(model, [tiny.PROMPT, [3, 3]], decoding, samples=6, rows=rows) for rows in (1, 5, 12)
    ]
    tokens = [[[a.tokens for a in chains] for chains in run] for run in runs]
    assert tokens[0] == tokens[1] == tokens[2]


@pytest.mark.parametrize("proposal", ["base", "target"])
def test_recorded_steps_change_nothing(
    proposal: str, hf: PreTrainedModel, draft: Draft, request: pytest.FixtureRequest
) -> None:
    """Blocks are opened between recorded steps, for rows that may turn out to rest."""
    model = load_model(hf, draft=draft)
    decoding = POWER | {"proposal": proposal, "blend": BLEND}

    def run() -> list[Any]:
        return records(sample(model, [tiny.PROMPT, [3, 3, 2]], decoding, samples=9, rows=7))

    plain = run()
    recordings = request.getfixturevalue("recordings")
    assert run() == nearly(plain)
    assert {4, 7} <= set(recordings)


def test_a_draft_is_read_as_it_was_saved(hf: PreTrainedModel, draft: Draft, tmp_path: Path) -> None:
    draft.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["dflash_config"] == {"target_layer_ids": [0, 1], "mask_token_id": 0}
    again = load_draft(str(tmp_path))
    assert again.architecture.feature_layers == draft.architecture.feature_layers
    for name, weight in draft.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"hidden_size": 32},
            "does not fit the target Qwen3ForCausalLM: its hidden size is 32, not 16",
        ),
        (
            {"dflash_config": {"target_layer_ids": [0, 3], "mask_token_id": 0}},
            "it reads block 3, and the target has 3",
        ),
        ({"vocab_size": 9}, "its vocabulary is 9, not 12"),
        (
            {"dflash_config": {"target_layer_ids": [0], "mask_token_id": 12}},
            "its mask is token 12, of 12",
        ),
        (
            {"dflash_config": {"target_layer_ids": [-1], "mask_token_id": 0}},
            "target_layer_ids [-1] and mask_token_id 0; layers and tokens count from 0",
        ),
        ({"output_multiplier": 2.0}, "a draft with output_multiplier 2.0 is not supported"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0 is not supported"),
        ({"input_embedding_scale": 4.0}, "input_embedding_scale 4.0 is not supported; only 1.0 is"),
        ({"is_causal": True}, "a draft with is_causal True is not supported; only False is"),
    ],
)
def test_a_draft_of_another_target_is_refused(
    changes: dict[str, Any], sentence: str, hf: PreTrainedModel
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        load_model(hf, draft=tiny.draft(hf, **changes))


def test_what_is_no_draft_is_refused(hf: PreTrainedModel, draft: Draft, tmp_path: Path) -> None:
    hf.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"is no DFlash draft: its config\.json lacks block_size"):
        load_draft(str(tmp_path / "model"))
    with pytest.raises(OSError, match="cannot load the draft nowhere/here at revision abc"):
        load_draft("nowhere/here", revision="abc")
    draft.save(tmp_path / "draft")
    hf.save_pretrained(tmp_path / "mixed")
    (tmp_path / "mixed" / "config.json").write_text((tmp_path / "draft/config.json").read_text())
    with pytest.raises(ValueError, match=r"missing: fc\.weight, .*unknown: lm_head\.weight"):
        load_draft(str(tmp_path / "mixed"))


def test_a_blend_with_a_draft_needs_one(hf: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=r"the model has none: load_model\(\.\.\., draft="):
        sample(load_model(hf), [tiny.PROMPT], POWER | {"blend": BLEND})


def test_a_draft_in_bfloat16_turns_by_the_angles_of_float32(draft: Draft) -> None:
    """As transformers has them; rounded, they are off by radians after some thousand tokens."""
    target = tiny.transformer(vocabulary=WORDS, dtype=torch.bfloat16)
    own = load_model(target, draft=draft).draft
    assert own is not None
    far, state = torch.tensor([[5000]]), torch.zeros(1, 1, 16)
    ours, expected = own._rotary(state, far), draft._rotary(state, far)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
