"""Cells: one fully resolved way of generating, with a name that is also its identity.

A cell's spec holds everything that decides what is generated and nothing else: only the keys that
its condition reads, not the number of samples, the shards, the batch or the device. The digest of
its canonical JSON is in the path, so a changed setting is a missing file, an old one is still
there, and equal settings are one cell, whatever they are called. So it is with the study's other
jobs of the model: the probe, the betas that it finds and the training of a draft.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from powerblend.blends import Blend, DraftBlend
from powerblend.blends.draft import TRAINED
from powerblend.engine import REVISION
from powerblend.infrastructure.contents import content_of
from powerblend.samplers import Sampler
from powerblend.study.prompts import read_prompt
from powerblend.study.resolve import Match
from powerblend.study.schema import Study
from powerblend.vocabulary.specs import (
    CellSpec,
    DraftSpec,
    JobSpec,
    KnownModel,
    MatchSpec,
    MeasurementSpec,
    ProbedText,
    Prompt,
    ReadingSpec,
    ShardsRead,
    canonical,
    digest,
)

PROBE_REVISION = "1"
"""Changes when the probe's code comes to measure something else, or of other tokens."""


TRAINER_REVISION = "2"
"""Changes when the same training comes to give another draft."""


NAME_PATTERN = r"\w[\w.-]*-[0-9a-f]{10}"
"""Names of cells as they stand in paths: whatever the sampler, settings, then the digest."""


REMEMBERED = Path("results") / "models" / "contents.json"
"""Digests of local models' files, so that a plan need not read gigabytes again."""


class Named(NamedTuple):
    """What the files hold that a configuration names."""

    model: KnownModel
    prompt: Prompt
    drafts: dict[str, str]
    """Digests of the drafts that are local directories, by their paths."""


class Cell(NamedTuple):
    """A job's work: a readable name ending in the digest of its spec, and the spec."""

    name: str
    spec: JobSpec


def cells_of(study: Study) -> dict[str, Cell]:
    """The cell of each of the study's conditions with its first seed, in their order."""
    return {name: first for name, (first, *_) in seeded_cells_of(study).items()}


def seeded_cells_of(study: Study) -> dict[str, list[Cell]]:
    """The cells of each of the study's conditions, one for each seed."""
    named = read_named(study)
    return {
        name: [
            _cell(study, named, condition.sampler, condition.match, seed)
            for seed in study.answer_seeds
        ]
        for name, condition in study.in_use.items()
    }


def probe_of(study: Study) -> Cell | None:
    """The probe, with all that decides what it measures; None if it is disabled."""
    if not study.probe.enabled:
        return None
    given = [how.sampler.blend for how in study.in_use.values() if how.match is None]
    blends = {
        canonical(blend.model_dump(mode="json", exclude_none=True)): blend
        for blend in given
        if blend is not None
    }
    named = read_named(study)
    matched = sorted({job.name for job in betas_of(study).values()})
    own = _own_text(study, named) if blends or matched else None
    spec = MeasurementSpec(
        **dict(_reading(study, named, study.drafts())),
        layers=sorted(set(study.probe.layers)),
        betas=sorted(set(study.probe.betas)),
        blends=[blends[text] for text in sorted(blends)],
        own=own,
        matched=matched if own and matched else None,
    )
    return _named("probe", spec)


def betas_of(study: Study) -> dict[str, Cell]:
    """What finds the beta of each condition that is to match another's KL or scale."""
    named = read_named(study)
    specs = {name: _match(study, named, match) for name, match in study.matches().items()}
    return {name: _named("beta", spec) for name, spec in specs.items()}


def training_of(study: Study) -> Cell | None:
    """The training of a draft, if a condition in use needs it."""
    spec = _training(study, read_named(study), study.drafts())
    return None if spec is None else _named("draft", spec)


def loaded_for(spec: CellSpec) -> str:
    """Model, draft and matched beta of a cell's job: equal where one process can do two cells."""
    blend = spec.decoding.blend
    named = [blend.draft, blend.revision] if isinstance(blend, DraftBlend) else None
    made = [part and part.canonical for part in (spec.training, spec.matched)]
    return canonical([spec.model.model_dump(mode="json"), named, spec.draft_content, made])


def _named(name: str, spec: JobSpec) -> Cell:
    return Cell(f"{name}-{digest(spec.canonical)}", spec)


def _cell(study: Study, named: Named, sampler: Sampler, match: Match | None, seed: int) -> Cell:
    spec = CellSpec(
        engine=REVISION,
        model=named.model,
        dataset=study.dataset,
        prompt=named.prompt,
        seed=seed,
        decoding=sampler,
        training=_training(study, named, [sampler.blend]),
        draft_content=_draft_content(named, [sampler.blend]),
        matched=None if match is None else _match(study, named, match),
    )
    return _named(_slug(sampler, match is not None), spec)


def _slug(sampler: Sampler, matched: bool) -> str:
    """What a reader wants to know first: ``blend_ps-b0.05-l27``."""
    name, blend = sampler.short_name or sampler.name, sampler.blend
    if blend is None:
        return f"{name}-matched" if matched else name
    settings = blend.model_dump()
    prefix = "blend" if settings["source"] == "layer" else f"{settings['source']}_blend"
    layer = [f"l{settings['layer']}"] if "layer" in settings else []
    weight = "matched" if matched else f"b{blend.beta:g}"
    return "-".join([f"{prefix}_{name}", weight, *layer])


def _match(study: Study, named: Named, match: Match) -> MatchSpec:
    blends = [blend for blend in match if isinstance(blend, Blend)]
    reading = dict(_reading(study, named, blends))
    wanted = {f"match_{match.measure}": match.target, "alpha": match.alpha}
    return MatchSpec.model_validate(reading | wanted | {"blend": match.source})


def _reading(study: Study, named: Named, blends: Sequence[Blend]) -> ReadingSpec:
    """What decides which tokens the probe looks at, and what it sees there."""
    probe = study.probe
    return ReadingSpec(
        probe=PROBE_REVISION,
        model=named.model,
        dataset=study.dataset,
        prompt=named.prompt,
        over=_probed_text(study, named),
        problems=probe.problems,
        tokens=probe.tokens,
        training=_training(study, named, blends),
        draft_content=_draft_content(named, blends),
    )


def _probed_text(study: Study, named: Named) -> ProbedText:
    if study.probe.over == "solutions":
        return ProbedText(text="solutions")
    return _greedy_text(study, named) or ProbedText(text="greedy")


def _own_text(study: Study, named: Named) -> ProbedText | None:
    """The model's own answers, where the probe does not read those already."""
    return _greedy_text(study, named) if study.probe.over == "solutions" else None


def _greedy_text(study: Study, named: Named) -> ProbedText | None:
    name = study.probed_condition()
    if name is None:
        return None
    spec = _cell(study, named, study.in_use[name].sampler, None, study.answer_seeds[0]).spec
    assert isinstance(spec, CellSpec)
    shards = ShardsRead(of=study.shards.of, use=study.shards.indices)
    return ProbedText(text="greedy", shards=shards, cell=spec)


def _training(study: Study, named: Named, blends: Iterable[Blend | None]) -> DraftSpec | None:
    """The training of the draft that one of the blends mixes in, if it is a trained one."""
    if not any(isinstance(blend, DraftBlend) and blend.draft == TRAINED for blend in blends):
        return None
    assert study.training is not None
    return DraftSpec.model_validate(
        {
            "engine": REVISION,
            "trainer": TRAINER_REVISION,
            "model": named.model,
            "dataset": {"name": study.training.problems},
            "prompt": named.prompt,
            "seed": study.seed,
            "training": study.training,
        }
    )


def _draft_content(named: Named, blends: Iterable[Blend | None]) -> str | None:
    """What the local directory of a draft holds, where a blend mixes in one."""
    used = {str(blend.draft) for blend in blends if isinstance(blend, DraftBlend)}
    return "-".join(named.drafts[name] for name in sorted(used & named.drafts.keys())) or None


def read_named(study: Study) -> Named:
    """Read the files that a study names: the model's and the drafts' for their digests.

    Raises
    ------
    ConfigError
        If the worked examples of its prompt cannot be read.
    """
    drafts = {str(blend.draft) for blend in study.drafts()} - {TRAINED}
    contents = {name: local_content(name) for name in sorted(drafts)}
    return Named(
        model=KnownModel(**dict(study.model), content=local_content(study.model.name)),
        prompt=read_prompt(study.prompt),
        drafts={name: content for name, content in contents.items() if content is not None},
    )


def local_content(name: str) -> str | None:
    """What the directory of a model or a draft holds; None for an id of the hub."""
    directory = Path(name)
    return content_of(directory.resolve(), REMEMBERED) if directory.is_dir() else None
