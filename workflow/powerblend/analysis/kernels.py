"""Ways of sampling p^alpha, and votes of plain samples, at the decoded tokens of one kernel."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from powerblend.analysis.matched import samples_plainly
from powerblend.analysis.mixing import mixing, replicas_of
from powerblend.analysis.overall import wilson
from powerblend.analysis.paired import difference_interval
from powerblend.analysis.several_samples import (
    Floats,
    ballots_of,
    by_problem,
    shares,
    spell,
    spellings,
    vote,
)
from powerblend.vocabulary.records import ReplicaGrade
from powerblend.vocabulary.summary import Condition, Kernels, KernelVote

Choice = Callable[[Floats, NDArray[Any], Floats], float]
"""Ballots [ballots, n], spellings [n] and right answers [n] of a problem: expected accuracy."""


def kernels(grades: pd.DataFrame, conditions: Mapping[str, Condition]) -> Kernels | None:
    """The comparison, where a condition is more than one chain with uniform cuts; else None."""
    if not {"moved", "replicas"} & set(grades):
        return None
    found = mixing(grades, conditions)
    chains = [name for name, how in conditions.items() if how.chain and how.blend is None]
    answers = {str(name): of for name, of in grades.groupby("condition", sort=False)}
    reference = next((name for name in chains if name in answers), None)
    if not found or reference is None:
        return None
    comparison = _Comparison(answers, conditions, reference)
    return Kernels(reference=reference, votes=tuple(comparison.votes()), mixing=tuple(found))


class _Comparison:
    """Accuracies by problem, each beside those of the reference."""

    def __init__(
        self,
        answers: Mapping[str, pd.DataFrame],
        conditions: Mapping[str, Condition],
        reference: str,
    ) -> None:
        self._answers, self._reference = answers, reference
        self._conditions = {name: how for name, how in conditions.items() if name in answers}
        self._tokens = {name: float(of["decoded_tokens"].mean()) for name, of in answers.items()}
        self._samples = answers[reference]["sample"].nunique()
        self._gamma = conditions[reference].alpha

    def votes(self) -> Iterator[KernelVote]:
        """Answers of every condition, the choices among their strings, then those of samples."""
        for name in self._conditions:
            yield self._beside(name, "answer", 1, shares(self._answers[name]))
        for name, kind in self._own_strings():
            yield self._beside(name, kind, 1, own_vote(self._answers[name]))
        for name, how in self._conditions.items():
            bought = self._tokens[self._reference] / self._tokens[name]
            k = min(bought, self._samples)
            if samples_plainly(how) and k > 1:
                yield from self._choices(name, k)

    def _own_strings(self) -> Iterator[tuple[str, str]]:
        """Conditions whose answers have other strings, and what those vote by."""
        for name, answers in self._answers.items():
            others = replicas_of(answers)
            if len(others) == len(answers) and all(others):
                yield name, "rungs" if others[0][0].weight is None else "weights"

    def _choices(self, name: str, k: float) -> Iterator[KernelVote]:
        """Every way of choosing among k samples, between whole numbers by lot."""
        answers = self._answers[name]
        yield self._beside(name, "majority", k, between(answers, k, vote))
        for kind, values in _values(answers):
            yield self._beside(name, kind, k, between(answers, k, best_by, values))
        if self._gamma:
            right = between(answers, k, sharpened_by(self._gamma))
            yield self._beside(name, "sharpened", k, right, self._gamma)

    def _beside(
        self, name: str, kind: str, k: float, right: Floats, gamma: float | None = None
    ) -> KernelVote:
        low, high = wilson(float(right.mean()), len(right))
        difference = right - shares(self._answers[self._reference])
        bounds: tuple[float | None, float | None] = difference_interval(difference, self._samples)
        itself = name == self._reference and kind == "answer"
        if itself:
            bounds = None, None
        return KernelVote(
            condition=name,
            vote=kind,
            k=k,
            gamma=gamma,
            decoded_tokens=k * self._tokens[name],
            accuracy=float(right.mean()),
            low=low,
            high=high,
            difference=None if itself else float(difference.mean()),
            difference_low=bounds[0],
            difference_high=bounds[1],
        )


def _values(answers: pd.DataFrame) -> Iterator[tuple[str, NDArray[Any]]]:
    """What the best of samples is chosen by, [problems, samples]."""
    yield "log_p", by_problem(answers, "log_p").astype(float)
    means = answers.assign(mean_log_p=answers["log_p"] / answers["n_tokens"])
    yield "mean_log_p", by_problem(means, "mean_log_p").astype(float)
    if "certainty" in answers and answers["certainty"].notna().all():
        yield "certainty", by_problem(answers, "certainty").astype(float)


def between(
    answers: pd.DataFrame, k: float, choice: Choice, values: NDArray[Any] | None = None
) -> Floats:
    """The accuracy of a choice among k samples on each problem, by lot between whole numbers.

    It chooses by ``values`` [problems, samples]; by default those are the answers' spellings.
    """
    by = spellings(answers) if values is None else values
    correct = by_problem(answers, "correct").astype(float)
    n, below = correct.shape[1], int(k)

    def of(count: int) -> Floats:
        ballots = ballots_of(n, count)
        pairs = zip(by, correct, strict=True)
        return np.array([choice(ballots, *problem) for problem in pairs])

    above = k - below
    return of(below) if not above else (1 - above) * of(below) + above * of(below + 1)


def best_by(ballots: Floats, values: NDArray[Any], correct: Floats) -> float:
    """Expected accuracy of the highest value on each ballot; equal ones count their shares."""
    on_ballot = np.where(ballots > 0, values, -np.inf)
    leads = on_ballot == on_ballot.max(axis=1, keepdims=True)
    return float(((leads @ correct) / leads.sum(axis=1)).mean())


def sharpened_by(gamma: float) -> Choice:
    """An answer drawn with chances in proportion to its frequency to the power gamma.

    Sharpens the marginal distribution of the answer (arXiv 2605.28142), where power sampling
    sharpens that of the string. What has no answer has no part; nothing but that is wrong.
    """

    def expected(ballots: Floats, spelled: NDArray[Any], correct: Floats) -> float:
        codes, answers = pd.factorize(spelled)
        groups = codes[:, None] == np.arange(len(answers))  # [n, answers]
        right = (groups * correct[:, None]).sum(axis=0) / groups.sum(axis=0)
        weights = (ballots @ groups) ** gamma
        total = weights.sum(axis=1)
        return float((weights @ right / np.where(total > 0, total, 1)).mean())

    return expected


def own_vote(answers: pd.DataFrame) -> Floats:
    """On each problem, the accuracy of the vote of an answer's own strings, mean over answers.

    Rungs have a vote each. Particles count for their shares of the weights; the answer's own string
    has what is left of 1.
    """
    rights = [
        _vote_of(str(answer) if isinstance(answer, str) else None, bool(correct), others)
        for answer, correct, others in zip(
            answers["answer"], answers["correct"], replicas_of(answers), strict=True
        )
    ]
    return by_problem(answers.assign(vote=rights), "vote").astype(float).mean(axis=1)


def _vote_of(answer: str | None, correct: bool, others: Sequence[ReplicaGrade]) -> float:
    weights = [1.0 if other.weight is None else other.weight for other in others]
    own = 1.0 if others[0].weight is None else max(0.0, 1 - sum(weights))
    spelled = np.array([spell(a) for a in (answer, *(other.answer for other in others))], object)
    right = np.array([correct, *(other.correct for other in others)], float)
    return vote(np.array([[own, *weights]]), spelled, right)
