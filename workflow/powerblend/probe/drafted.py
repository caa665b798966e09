"""What a DFlash draft predicts of a whole answer, for the probe to measure."""

import torch
from torch import Tensor

from powerblend.draft.dflash import Context, Draft
from powerblend.draft.guided import draft_of
from powerblend.engine.model import Model


def probed_draft(model: Model) -> "DFlashAnswers | None":
    """The model's draft, if it has one."""
    draft = draft_of(model)
    return DFlashAnswers(model, draft) if draft else None


class DFlashAnswers:
    """A model's draft, as `hidden_states.ProbedDraft` asks for it."""

    def __init__(self, model: Model, draft: Draft) -> None:
        self.block_size = draft.architecture.block_size
        self.feature_layers = draft.architecture.feature_layers
        self._model, self._draft = model, draft
        self._mask = model.embed(torch.tensor(draft.architecture.mask_token, device=model.device))

    @torch.inference_mode()
    def answer_states(self, tokens: Tensor, prompt: int, features: Tensor) -> Tensor:
        """The states [answer, hidden] of the answer's tokens, all blocks in one batch.

        ``features`` are [feature layers, prompt + answer, hidden].
        """
        at = torch.arange(len(tokens), device=features.device)
        known = self._draft.context(torch.cat(list(features), -1)[None], at[None])
        firsts = at[prompt :: self.block_size]
        rows = (len(firsts), -1, -1, -1)
        contexts = [Context(keys.expand(rows), values.expand(rows)) for keys, values in known]
        embedded = self._model.embed(tokens.to(features.device)[firsts])
        predicted = self._draft.predict(embedded, self._mask, firsts, contexts, range(len(tokens)))
        return predicted.flatten(0, 1)[: len(tokens) - prompt]
