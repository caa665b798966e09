"""The conditions of a study in words: what each draws from and how."""

from powerblend.report.text import series, table
from powerblend.study.schema import Study
from powerblend.vocabulary.summary import Condition, Summary


def base_distribution(condition: Condition) -> str:
    """What is drawn from."""
    return "p" if condition.blend is None else "p_guided"


def blend(condition: Condition) -> str:
    """Where the blend comes from."""
    mixed = condition.blend
    if mixed is None:
        return "—"
    source = mixed.source if mixed.layer is None else f"{mixed.source} {mixed.layer}"
    norm = "" if mixed.norm is None else f", norm {mixed.norm}"
    return f"{source}, β = {mixed.beta:g}{norm}"


def sampling(condition: Condition) -> str:
    """How it is drawn, in the words of its sampler."""
    return condition.description.sampling.format(p=base_distribution(condition))


def chain(condition: Condition) -> str:
    """The chain, if there is one."""
    described = condition.chain
    if described is None:
        return "no"
    source = "p" if described.proposal == "base" else "the target"
    return (
        f"{described.steps} moves × {described.blocks} blocks, acceptance "
        f"`{described.acceptance}`, proposals from {source}"
    )


def conditions_table(summary: Summary) -> str:
    """What every condition draws from, how, by which chain, and with which blend."""
    rows = [
        [f"`{name}`", base_distribution(how), sampling(how), chain(how), blend(how)]
        for name, how in summary.conditions.items()
    ]
    return table(["Condition", "Base distribution", "Sampling", "Chain", "Blend"], rows, 5)


def longest_answers(summary: Summary) -> str:
    """The lengths in tokens that conditions allow an answer."""
    return " or ".join(map(str, sorted({c.max_new_tokens for c in summary.conditions.values()})))


def seeds(study: Study) -> str:
    """The seed of the answers; or the seeds, and how many answers each gave."""
    numbers = [str(seed) for seed in study.answer_seeds]
    if len(numbers) == 1:
        return f"seed {numbers[0]}"
    return f"{study.samples} of each of the seeds {series(numbers)}"
