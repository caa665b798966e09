"""Power sampling as its paper describes it, with ``generate``: the baseline of `chains`.

Every move calls ``model.generate(..., output_scores=True)`` on the prompt and the kept part of the
answer, which it therefore prefills again, and samples from the full vocabulary. The acceptance is
the exact one, so that chains make the same kind of moves. A batch goes in lockstep: each move of
the batch waits for its longest proposal.
"""

import math
import random
from dataclasses import dataclass, field

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from powerblend.study.prompts import Messages


@dataclass
class Answer:
    """A chain's state: tokens, and log t - log q of each."""

    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    w: list[float] = field(default_factory=list)


class Reference:
    """The sampler over a transformers model."""

    def __init__(self, directory: str, alpha: float) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        self.alpha, self.eos = alpha, self.tokenizer.eos_token_id
        self.moves = 0

    def sample(self, chats: list[Messages], length: int, blocks: int, steps: int) -> list[str]:
        """Answers to a batch of chats, made in lockstep."""
        encode = self.tokenizer.apply_chat_template
        answers = [
            Answer(list(encode(c, add_generation_prompt=True, return_dict=True)["input_ids"]))
            for c in chats
        ]
        for stage in range(1, blocks + 1):
            cap = stage * (length // blocks)
            growing = [a for a in answers if not a.tokens or a.tokens[-1] != self.eos]
            for answer, new in zip(growing, self.propose(growing, None, cap), strict=True):
                answer.tokens, answer.w = new.tokens, new.w
            for _ in range(steps):
                self.move(answers, cap)
        return [self.tokenizer.decode(a.tokens, skip_special_tokens=True) for a in answers]

    def move(self, answers: list[Answer], cap: int) -> None:
        """One Metropolis-Hastings move of every chain."""
        cuts = [random.randrange(len(a.tokens)) for a in answers]
        for x, y, cut in zip(answers, self.propose(answers, cuts, cap), cuts, strict=True):
            r = sum(y.w[cut:]) - sum(x.w[cut:]) + math.log(len(x.tokens) / len(y.tokens))
            if math.log(1 - random.random()) <= r:
                x.tokens, x.w = y.tokens, y.w
            self.moves += 1

    @torch.inference_mode()
    def propose(self, answers: list[Answer], cuts: list[int] | None, cap: int) -> list[Answer]:
        """Regenerate every answer from its cut (None: its end) up to the cap."""
        if not answers:
            return []
        kept = [len(a.tokens) for a in answers] if cuts is None else cuts
        heads = [a.prompt + a.tokens[:cut] for a, cut in zip(answers, kept, strict=True)]
        width = max(map(len, heads))
        ids = torch.tensor([[self.eos] * (width - len(h)) + h for h in heads])
        mask = torch.tensor([[0] * (width - len(h)) + [1] * len(h) for h in heads])
        out = self.model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=1 / self.alpha,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max(cap - cut for cut in kept),
            pad_token_id=self.eos,
            return_dict_in_generate=True,
            output_scores=True,
        )
        scores = torch.stack(out.scores, 1)  # alpha z, [rows, new, vocabulary]
        drawn = out.sequences[:, width:]
        log_q = scores.log_softmax(-1).gather(-1, drawn[..., None]).squeeze(-1)
        log_p = (scores / self.alpha).log_softmax(-1).gather(-1, drawn[..., None]).squeeze(-1)
        w = self.alpha * log_p - log_q
        return [
            self._joined(a, cut, drawn[i].tolist()[: cap - cut], w[i].tolist())
            for i, (a, cut) in enumerate(zip(answers, kept, strict=True))
        ]

    def _joined(self, answer: Answer, cut: int, drawn: list[int], w: list[float]) -> Answer:
        stop = drawn.index(self.eos) + 1 if self.eos in drawn else len(drawn)
        tokens = answer.tokens[:cut] + drawn[:stop]
        return Answer(answer.prompt, tokens, answer.w[:cut] + w[:stop])
