"""Loading what a job's spec names: its model, and the draft that a blend of it mixes in."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from powerblend.api.loading import load_model
from powerblend.blends import Blend, DraftBlend, HiddenBlend
from powerblend.draft.dflash import Draft, load_draft
from powerblend.draft.guided import draft_of
from powerblend.engine.memory import free_bytes
from powerblend.engine.model import Model
from powerblend.study.cells import local_content
from powerblend.vocabulary.specs import KnownModel

MOST_REMEMBERED_BYTES = 2**30
"""In which a job keeps what its model computes of strings, if that is an eighth of what is free."""


def load(
    wanted: KnownModel,
    blends: Sequence[Blend],
    *,
    path: str | None,
    draft: Path | None,
    device: str,
) -> Model:
    """A model with all that some blends ask of it.

    Parameters
    ----------
    wanted
        A spec's model.
    blends
        Those that the job mixes in.
    path, draft
        Directories of the model and of the draft, where the workflow has made them.

    Raises
    ------
    ValueError
        If a blend's layer is not one of the model's, its draft was made for another model, or
        there are several drafts; or if the files of a local model are no longer those of the spec.
    """
    model = load_model(
        path or wanted.name,
        dtype=wanted.dtype,
        device=device,
        revision=wanted.revision,
        draft=_draft(blends, draft),
    )
    if wanted.content is not None and local_content(wanted.name) != wanted.content:
        raise ValueError(
            f"model.name: the files of {wanted.name} have changed since this job was planned; "
            "start the workflow again"
        )
    for blend in blends:
        blend.check(model.num_layers)
    return model


def _draft(blends: Sequence[Blend], path: Path | None) -> Draft | None:
    named = {(b.draft, b.revision) for b in blends if isinstance(b, DraftBlend)}
    if not named:
        return None
    if len(named) > 1:
        names = ", ".join(sorted(str(name) for name, _ in named))
        raise ValueError(f"a job can have one draft, but its blends name several: {names}")
    ((name, revision),) = named
    return load_draft(str(path or name), None if path else revision)


def remember(model: Model, layers: Iterable[int]) -> None:
    """Let a model keep what it computes of strings, the outputs of these layers included."""
    size = min(MOST_REMEMBERED_BYTES, free_bytes(model.device) // 8)
    model.remember(size, sorted(layers))


def layers_read(model: Model, blends: Iterable[Blend]) -> set[int]:
    """The layers whose outputs some blends read, or the model's draft."""
    hidden = (blend for blend in blends if isinstance(blend, HiddenBlend))
    draft = draft_of(model)
    features = draft.architecture.feature_layers if draft else ()
    return {*features, *(layer for blend in hidden for layer in blend.layers_read)}
