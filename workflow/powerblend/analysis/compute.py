"""Accuracy against compute: what a condition solves, and what it decodes per problem for it."""

from collections.abc import Collection, Iterator, Sequence

from powerblend.vocabulary.summary import ComputePoint, ConditionResult, Method, SeveralSamples

LABELS = {"single": "", "majority": ", majority of {k}", "best_of": ", best of {k}"}
"""What a label adds to the name of a condition."""


def compute(
    overall: Sequence[ConditionResult],
    several: Sequence[SeveralSamples],
    deterministic: Collection[str],
) -> list[ComputePoint]:
    """Each condition on its own, then with majority vote and best-of-k over its samples.

    ``decoded_tokens`` are per problem, rejected work included: k answers cost k times the mean of
    one. ``deterministic`` conditions give the same answer every time; more of them are no use.
    """
    tokens = {result.condition: result.decoded_tokens for result in overall}
    points = [
        _point(result.condition, "single", 1, tokens[result.condition], result.accuracy)
        for result in overall
    ]
    for samples in several:
        if samples.condition not in deterministic:
            points += _chosen_among(samples, tokens[samples.condition])
    return points


def _chosen_among(samples: SeveralSamples, tokens: float) -> Iterator[ComputePoint]:
    methods: tuple[Method, Method] = ("majority", "best_of")
    for method, values in zip(methods, (samples.majority_at, samples.best_of), strict=True):
        for at in values:
            if at.k > 1:
                yield _point(samples.condition, method, at.k, tokens, at.value)


def _point(condition: str, method: Method, k: int, tokens: float, accuracy: float) -> ComputePoint:
    return ComputePoint(
        label=condition + LABELS[method].format(k=k),
        condition=condition,
        method=method,
        k=k,
        decoded_tokens=k * tokens,
        accuracy=accuracy,
    )
