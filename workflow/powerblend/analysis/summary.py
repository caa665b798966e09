"""The summary of a study: every number that its figures and its report show, in one value."""

from collections.abc import Mapping, Sequence

import pandas as pd

from powerblend.analysis.breakdown import levels, seeds, subjects
from powerblend.analysis.chains import chains
from powerblend.analysis.compute import compute
from powerblend.analysis.contrasts import contrasts
from powerblend.analysis.controls import controls
from powerblend.analysis.convergence import convergence
from powerblend.analysis.difficulty import difficulty, difficulty_reference
from powerblend.analysis.disagreements import disagreements, ungraded
from powerblend.analysis.grades import check_paired
from powerblend.analysis.kernels import kernels
from powerblend.analysis.matched import matched
from powerblend.analysis.movement import movements
from powerblend.analysis.overall import CONFIDENCE, overall
from powerblend.analysis.overlap import overlaps
from powerblend.analysis.probe import probed
from powerblend.analysis.several_samples import several_samples
from powerblend.analysis.sweep import sweep
from powerblend.samplers import Sampler
from powerblend.study.contrasts import EQUIVALENCE_MARGIN
from powerblend.study.schema import Study
from powerblend.vocabulary.measurements import MatchedBlend, ProbeMeasurements, TrainingReport
from powerblend.vocabulary.summary import Condition, Summary


def summarise_study(
    study: Study,
    grades: pd.DataFrame,
    measured: ProbeMeasurements | None,
    betas: Mapping[str, MatchedBlend],
    training: TrainingReport | None,
) -> Summary:
    """The summary of a study from everything that its jobs found.

    Parameters
    ----------
    grades
        The grade of every answer, as `analysis.grades.read_grades` gives them.
    measured
        What the probe measured; None where it is disabled.
    betas
        What matching found, by condition.
    training
        How the study's draft was trained; None where it trains none.

    Raises
    ------
    ValueError
        If conditions did not answer the same problems the same number of times.
    """
    samplers = study.samplers({name: found.beta for name, found in betas.items()})
    margin = study.equivalence_margin / 100
    summary = summarise(grades, samplers, study.contrasts, margin, study.long_run)
    found = probed(measured, summary.conditions, betas)
    return summary.model_copy(
        update={
            "model": study.model.name,
            "dataset": study.dataset.name,
            "probe": found,
            "controls": tuple(
                controls(found.conditions, summary.conditions, summary.contrasts, grades)
            ),
            "training": training,
        }
    )


def summarise(
    grades: pd.DataFrame,
    samplers: Mapping[str, Sampler],
    declared: Sequence[str] = (),
    margin: float = EQUIVALENCE_MARGIN / 100,
    long_run: str | None = None,
) -> Summary:
    """All tables that follow from the grades alone.

    ``declared`` are the study's contrasts; ``margin``, a share, is how small a difference is none;
    ``long_run`` is the condition that stands for p^alpha, if one does.

    Raises
    ------
    ValueError
        If conditions did not answer the same problems the same number of times.
    """
    check_paired(grades)
    conditions = {name: condition_of(sampler) for name, sampler in samplers.items()}
    results, several = overall(grades), several_samples(grades)
    return Summary(
        problems=int(grades["problem_id"].nunique()),
        samples=int(grades["sample"].nunique()),
        confidence=CONFIDENCE,
        conditions=conditions,
        blended=tuple(name for name, how in conditions.items() if how.blend is not None),
        overall=tuple(results),
        contrasts=tuple(contrasts(grades, declared, margin)),
        difficulty=difficulty(grades, difficulty_reference(conditions)),
        levels=tuple(levels(grades)),
        subjects=tuple(subjects(grades)),
        overlaps=tuple(overlaps(grades)),
        seeds=tuple(seeds(grades)),
        sampling=tuple(several),
        compute=tuple(compute(results, several, _deterministic(conditions))),
        matched=tuple(matched(grades, conditions)),
        chains=tuple(chains(grades, conditions)),
        movements=tuple(movements(grades, conditions)),
        kernels=kernels(grades, conditions),
        convergence=convergence(grades, conditions, long_run),
        sweep=tuple(sweep(results, conditions)),
        disagreements=tuple(disagreements(grades)),
        ungraded=tuple(ungraded(grades)),
    )


def condition_of(sampler: Sampler) -> Condition:
    """What a sampler sets and says of itself, as values that outlive its class."""
    settings = sampler.model_dump(mode="json", exclude_none=True)
    description = {"sampler": sampler.name, "description": sampler.describe()}
    return Condition.model_validate(settings | description)


def _deterministic(conditions: Mapping[str, Condition]) -> set[str]:
    return {name for name, how in conditions.items() if how.description.deterministic}
