"""Random transformers small enough that every string they can say is enumerated."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from powerblend.draft.dflash import Architecture, Draft

VOCABULARY = 4
EOS = 1  # not the first or the last id, so that an off-by-one shows
LAYERS = 3
PROMPT = [2, 0]

CHAT_TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def transformer(
    family: str = "qwen3",
    seed: int = 26,
    vocabulary: int = VOCABULARY,
    dtype: torch.dtype = torch.float64,
    **changes: Any,
) -> PreTrainedModel:
    """A transformer of some family whose next-token distributions are far from uniform.

    Norms are random too: with weights of one, a missing or doubled norm could pass unseen. After
    `PROMPT`, the default one may end its answer early, late, or not within 4 tokens.
    """
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "pad_token_id": None,
        "eos_token_id": EOS,
    }
    if family != "gpt2":
        # Qwen3's heads are wider than hidden_size / heads, as in the real ones.
        settings |= {"num_key_value_heads": 2, "head_dim": 8 if family == "qwen3" else 4}
    given = {key: value for key, value in (settings | changes).items() if value is not ...}
    config = AutoConfig.for_model(family, **given)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hf = AutoModelForCausalLM.from_config(config)
        for name, weight in hf.named_parameters():
            if weight.ndim == 1 and name.endswith("weight"):
                torch.nn.init.uniform_(weight, 0.5, 1.5)
    return hf.to(dtype).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per printable character, and a chat template with start and end marks."""
    words = ["<|start|>", "<|end|>", "\n", *map(chr, range(32, 127))]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=" "))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|end|>", extra_special_tokens=["<|start|>"]
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def save(directory: Path, family: str = "llama", **changes: Any) -> Path:
    """Write a tiny model with its tokenizer, as a directory that `load_model` reads."""
    words = tokenizer()
    hf = transformer(family, vocabulary=len(words), **changes)
    hf.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


def draft(hf: PreTrainedModel, block: int = 2, seed: int = 5, **changes: Any) -> Draft:
    """A random draft of a tiny transformer, whose opinion is strong and not the target's."""
    config = hf.config
    settings: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "initializer_range": 0.3,
        "max_position_embeddings": 256,
        "block_size": block,
        "dflash_config": {"target_layer_ids": [0, 1], "mask_token_id": 0},
    }
    architecture = Architecture.parse(settings | changes, "tiny")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Draft(architecture)
        for weight in made.parameters():
            init = torch.nn.init
            init.uniform_(weight, 0.5, 1.5) if weight.ndim == 1 else init.normal_(weight, std=0.3)
    return made.to(hf.dtype).eval()
