"""`model.generate` with this project's custom_generate folder: transformers itself calls it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import tiny
from powerblend import load_model, sample
from small_study import ROOT

POWER: dict[str, Any] = {"alpha": 3.0, "blocks": 2, "steps": 2, "max_new_tokens": 8}
PROMPTS = [[5, 6, 7], [8, 9, 10]]
PADDING = 2


@pytest.fixture(scope="module")
def hf() -> PreTrainedModel:
    return tiny.transformer(vocabulary=24)


@pytest.fixture(autouse=True)
def modules(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where transformers copies the code that it runs."""
    from transformers import dynamic_module_utils

    folder = str(tmp_path_factory.mktemp("modules"))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", folder)


def generated(hf: PreTrainedModel, prompts: list[list[int]], **options: Any) -> Any:
    return hf.generate(
        torch.tensor(prompts),
        custom_generate=str(ROOT),
        trust_remote_code=True,
        pad_token_id=PADDING,
        **(POWER | {"seed": 4} | options),
    )


def test_generate_gives_the_answers_of_sample(hf: PreTrainedModel) -> None:
    found = generated(hf, PROMPTS, num_return_sequences=2)
    answers = sample(load_model(hf), PROMPTS, POWER | {"sampler": "power"}, samples=2, seed=4)
    flat = [(prompt, g) for prompt, row in zip(PROMPTS, answers, strict=True) for g in row]
    longest = max(g.n_tokens for _, g in flat)
    filled = [p + g.tokens + [PADDING] * (longest - g.n_tokens) for p, g in flat]
    assert found.tolist() == filled
    assert len(set(map(tuple, filled))) > 1


def test_padding_is_no_part_of_a_prompt(hf: PreTrainedModel) -> None:
    padded = [[PADDING, PADDING, *PROMPTS[0]], [PADDING, 4, *PROMPTS[1]]]
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    found = generated(hf, padded, attention_mask=mask)
    assert found[:, :5].tolist() == padded
    bare = sample(
        load_model(hf), [PROMPTS[0], [4, *PROMPTS[1]]], POWER | {"sampler": "power"}, seed=4
    )
    for row, (answer,) in zip(found[:, 5:].tolist(), bare, strict=True):
        assert row[: answer.n_tokens] == answer.tokens


def test_without_a_seed_torch_decides(hf: PreTrainedModel) -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(generated(hf, PROMPTS, seed=None).tolist())
    assert found[0] == found[1] != found[2]
    whole = generated(hf, PROMPTS, seed=None, return_dict_in_generate=True)
    assert whole.sequences.shape[0] == len(PROMPTS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_p": 0.9}, "decoding.top_p: unknown key"),
        ({"blocks": 3}, "blocks is 3, which does not divide max_new_tokens 8"),
        ({"logits_processor": [1]}, "decoding.logits_processor: unknown key"),
    ],
)
def test_what_would_draw_from_another_distribution_is_refused(
    hf: PreTrainedModel, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        generated(hf, PROMPTS, **options)


def test_the_lines_of_its_card_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = (ROOT / "custom_generate" / "README.md").read_text(encoding="utf-8")
    lines = card.split("```python\n")[1].split("```")[0]
    exec(lines, {"MODEL": str(tiny.save(tmp_path / "model")), "FOLDER": str(ROOT)})
    assert capsys.readouterr().out.strip()


def test_the_lines_of_the_page_work(hf: PreTrainedModel) -> None:
    page = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8")
    lines = page.split("```python\n")[1].split("```")[0]
    assert '"/path/to/powerblend"' in lines
    names: dict[str, Any] = {"model": hf, "inputs": {"input_ids": torch.tensor(PROMPTS)}}
    exec(lines.replace("/path/to/powerblend", str(ROOT)), names)
    assert names["tokens"][:, :3].tolist() == PROMPTS
