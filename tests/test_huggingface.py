"""Greedy decoding is Hugging Face's, token for token, and loading fails in one clear sentence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
)

import tiny
from powerblend import load_model, sample

NEW_TOKENS = 24
PROMPTS = [[5], [5, 7, 9, 2], [6, 3, 3, 8, 10, 12, 2, 9, 4], [14, 15, 16, 17, 18, 19]]
FAMILIES = ["llama", "qwen3", "qwen2", "mistral", "gpt2"]


def generate(hf: Any, prompt: list[int], **changes: Any) -> list[int]:
    """Hugging Face's greedy answer."""
    settings = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "pad_token_id": 0} | changes
    tokens = torch.tensor([prompt])
    # Left to itself it would hide the padding token where a prompt holds it.
    out = hf.generate(tokens, attention_mask=torch.ones_like(tokens), **settings)
    return out[0, len(prompt) :].tolist()


def greedy(model: Any, prompts: list[list[int]], **changes: Any) -> list[list[int]]:
    decoding = {"sampler": "greedy", "max_new_tokens": NEW_TOKENS} | changes
    return [row[0].tokens for row in sample(model, prompts, decoding, rows=3)]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_hugging_face_s(family: str) -> None:
    hf = tiny.transformer(family, seed=6, vocabulary=24)
    expected = [generate(hf, prompt) for prompt in PROMPTS]
    assert len({tuple(answer) for answer in expected}) > 1
    assert greedy(load_model(hf), PROMPTS) == expected


def test_all_eos_tokens_end_an_answer() -> None:
    hf = tiny.transformer(seed=6, vocabulary=24)
    long = generate(hf, PROMPTS[1])
    ends = [tiny.EOS, long[3]]
    expected = [generate(hf, prompt, eos_token_id=ends) for prompt in PROMPTS]
    assert len(expected[1]) < len(long)
    assert greedy(load_model(hf, eos_token_ids=ends), PROMPTS) == expected
    hf.generation_config.eos_token_id = ends
    assert load_model(hf).eos_token_ids == set(ends)


def test_a_generation_config_does_not_leak_in() -> None:
    clean = tiny.transformer(seed=6, vocabulary=24)
    hf = tiny.transformer(seed=6, vocabulary=24)
    hf.generation_config = GenerationConfig(
        eos_token_id=tiny.EOS,
        do_sample=True,
        top_k=1,
        top_p=0.1,
        temperature=0.2,
        repetition_penalty=5.0,
        no_repeat_ngram_size=1,
    )
    assert [generate(hf, p) for p in PROMPTS] != [generate(clean, p) for p in PROMPTS]
    for decoding in (
        {"sampler": "greedy", "max_new_tokens": NEW_TOKENS},
        {"sampler": "temperature", "temperature": 2.0, "max_new_tokens": NEW_TOKENS},
    ):
        ours, theirs = (
            [a.tokens for row in sample(load_model(m), PROMPTS, decoding, samples=2) for a in row]
            for m in (hf, clean)
        )
        assert ours == theirs
    # At T = 2 a nucleus of 0.1 would leave one token at each place.
    assert len({tuple(answer) for answer in ours}) > len(PROMPTS)


@pytest.mark.parametrize("family", ["mistral", "gemma2", "qwen2", "qwen3"])
def test_windows_are_hugging_face_s(family: str) -> None:
    """Past the window, by transformers' own cache; no layer of ours forgets it."""
    windowed = {"use_sliding_window": True, "max_window_layers": 0} if "qwen" in family else {}
    hf = tiny.transformer(family, seed=6, vocabulary=24, sliding_window=6, **windowed)
    if family == "gemma2":
        hf.set_attn_implementation("eager")
    assert greedy(load_model(hf), PROMPTS) == [generate(hf, prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_stretched_angles_are_decoded(kind: str) -> None:
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}
    hf = tiny.transformer("llama", seed=6, vocabulary=24, rope_parameters=rope)
    assert greedy(load_model(hf), PROMPTS) == [generate(hf, prompt) for prompt in PROMPTS]


def test_a_saved_model_is_loaded_with_its_tokenizer_and_chat_template(tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    model = load_model(tmp_path / "model", dtype="float64")
    words: Any = AutoTokenizer.from_pretrained(tmp_path / "model")
    hf = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float64)
    chats = [[{"role": "user", "content": text}] for text in ("What is 2 + 2?", "Hi", "x^2 = 9")]
    prompts = [
        words.apply_chat_template(c, add_generation_prompt=True, return_dict=True)["input_ids"]
        for c in chats
    ]
    decoding = {"sampler": "greedy", "max_new_tokens": NEW_TOKENS}
    for prompt, (answer,) in zip(prompts, sample(model, chats, decoding), strict=True):
        assert answer.prompt_tokens == len(prompt)
        assert answer.tokens == generate(hf, prompt)
        shown = answer.tokens[:-1] if answer.finish == "eos" else answer.tokens
        assert answer.text == words.decode(shown, skip_special_tokens=True)


def test_greedy_on_the_embedded_model_is_hugging_face_s(embedded: Path) -> None:
    """In float32, where the two ways to compute a logit differ by 1e-5: no near-ties here."""
    model = load_model(embedded)
    hf = AutoModelForCausalLM.from_pretrained(embedded, dtype=torch.float32).eval()
    questions = [
        "What is 2 + 2?",
        "Name the capital of France.",
        "If a train travels 60 miles in 1.5 hours, what is its average speed in miles per hour? "
        "Explain each step.",
        "Count from one to ten.",
    ]
    chats = [[{"role": "user", "content": question}] for question in questions]
    decoding = {"sampler": "greedy", "max_new_tokens": NEW_TOKENS}
    eos = sorted(model.eos_token_ids)
    for chat, (answer,) in zip(chats, sample(model, chats, decoding, rows=3), strict=True):
        prompt = model.tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        # Plain argmax: the model's own generation_config may say otherwise.
        hf.generation_config = GenerationConfig(eos_token_id=eos)
        assert answer.tokens == generate(hf, prompt)


WRAPPERS = {
    "gemma3": {
        "mm_tokens_per_image": 4,
        "vision_config": {"num_hidden_layers": 1, "image_size": 28},
    },
    "qwen2_5_vl": {"vision_config": {"depth": 1, "out_hidden_size": 16}},
}


@pytest.mark.parametrize("family", WRAPPERS)
def test_a_multimodal_wrapper_is_decoded_as_its_text_model(family: str, tmp_path: Path) -> None:
    text = {
        "vocab_size": 100, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
        "max_position_embeddings": 256, "eos_token_id": tiny.EOS,
    }  # fmt: skip
    if family == "gemma3":
        text |= {"head_dim": 4, "sliding_window": 5, "query_pre_attn_scalar": 4}
    else:
        text |= {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [1, 1, 0],
            }
        }
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_heads": 2}
    config = AutoConfig.for_model(
        family, text_config=text, vision_config=vision | WRAPPERS[family], mm_tokens_per_image=4
    )
    torch.manual_seed(4)
    AutoModelForImageTextToText.from_config(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    hf = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32).eval()
    expected = [generate(hf, prompt, eos_token_id=tiny.EOS) for prompt in PROMPTS]
    assert greedy(load_model(tmp_path, eos_token_ids=tiny.EOS), PROMPTS) == expected
    assert greedy(load_model(hf, eos_token_ids=tiny.EOS), PROMPTS) == expected


def test_one_eos_token_need_not_be_a_list() -> None:
    hf = tiny.transformer(seed=6, vocabulary=24)
    assert load_model(hf, eos_token_ids=7).eos_token_ids == {7}
    assert load_model(hf, eos_token_ids=(7, 9)).eos_token_ids == {7, 9}


@pytest.mark.parametrize(
    ("dtype", "found"),
    [("float16", torch.float16), (torch.float32, torch.float32), ("auto", torch.bfloat16)],
)
def test_precisions_go_by_torch_s_names(dtype: Any, found: torch.dtype, tmp_path: Path) -> None:
    model = load_model(tiny.save(tmp_path, dtype=torch.bfloat16), dtype=dtype)
    assert model.dtype == found
    assert greedy(model, PROMPTS)


class Peft(nn.Module):
    """What peft puts around a model whose linear maps it has adapted."""

    def __init__(self, hf: Any) -> None:
        super().__init__()
        self.base_model = hf

        self.active_peft_config = SimpleNamespace(is_prompt_learning=False)

    def get_base_model(self) -> Any:
        return self.base_model


def nested(hf: nn.Module) -> nn.Module:
    """What an accelerated trainer of adapters holds."""
    return nn.DataParallel(torch.compile(Peft(hf)))


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, Peft, nested])
def test_a_wrapped_model_is_unwrapped(wrap: Any) -> None:
    hf = tiny.transformer(seed=6, vocabulary=24)
    assert greedy(load_model(wrap(hf)), PROMPTS) == greedy(load_model(hf), PROMPTS)


def test_what_cannot_be_unwrapped_is_named() -> None:
    with pytest.raises(ValueError, match="source is a Linear, which holds no transformers model"):
        load_model(nn.Linear(2, 2))  # type: ignore[arg-type]
    hf = tiny.transformer(seed=6, vocabulary=24)
    tuned = Peft(hf)
    tuned.active_peft_config.is_prompt_learning = True
    with pytest.raises(ValueError, match="Peft with tokens of its own before a prompt"):
        load_model(tuned)  # type: ignore[arg-type]
    hf.hf_device_map = {"model.embed_tokens": 0, "model.layers.0": 1}
    with pytest.raises(ValueError, match="spread over 0, 1, and is decoded on one device"):
        load_model(hf)


def test_a_model_that_was_trained_is_refreshed() -> None:
    hf = tiny.transformer(seed=6, vocabulary=24)
    model = load_model(hf)
    before = greedy(model, PROMPTS)
    with torch.no_grad():
        for weight in hf.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    model.refresh()
    after = [generate(hf, prompt) for prompt in PROMPTS]
    assert greedy(model, PROMPTS) == after != before


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ({"dtype": "float99"}, ValueError, "float99.*float32, float64, bfloat16, float16, auto"),
        ({"device": "cuda"}, RuntimeError, 'no CUDA device.* device="cpu" from Python'),
        ({"draft": "x"}, ValueError, r"draft is 'x'; load it first: draft=load_draft\('x'\)"),
        ({"source": "nowhere"}, OSError, "nowhere: there is no such directory"),
        ({"source": "empty"}, OSError, "empty"),
        ({"eos": None}, ValueError, "no EOS token.*eos_token_ids"),
        ({"eos": 99}, ValueError, r"\[99\].*outside"),
    ],
    ids=["dtype", "cuda", "draft", "missing", "empty", "no_eos", "wrong_eos"],
)
def test_what_cannot_be_loaded_is_said_in_one_sentence(
    how: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    if how.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    (tmp_path / "empty").mkdir()
    how = dict(how)
    source: Any = tmp_path / how.pop("source", "nowhere")
    if "eos" in how:
        source = tiny.transformer(eos_token_id=how.pop("eos"))
    with pytest.raises(error, match=says) as raised:
        load_model(source, **how)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 400
