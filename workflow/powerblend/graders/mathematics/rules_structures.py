r"""Rules for structures: sets of numbers, matrices, tuples.

Knows how they are put together, and nothing about their elements.
"""

from powerblend.graders.mathematics.reals import is_evident_set, same_condition, same_reals
from powerblend.graders.mathematics.rule import DIFFERENT, Same
from powerblend.graders.mathematics.shape import Matrix, matrix_of, tuple_of
from powerblend.graders.mathematics.values import equal_strings


def same_sets_of_reals(answer: str, gold: str, same: Same) -> str | None:
    """An interval, an inequality or a union against another one, where one of them is evident."""
    if not (is_evident_set(answer) or is_evident_set(gold)):
        return None
    equal = same_reals(answer, gold)
    if equal is None:
        equal = same_condition(answer, gold) or None
    return None if equal is None else "the same set of numbers" if equal else DIFFERENT


def same_matrices(answer: str, gold: str, same: Same) -> str | None:
    """Entry by entry, whatever the brackets; a determinant is none."""
    ours, theirs = matrix_of(answer), matrix_of(gold)
    if ours is None or theirs is None:
        return None if ours is theirs else DIFFERENT
    sizes = [[len(row) for row in matrix.rows] for matrix in (ours, theirs)]
    if sizes[0] != sizes[1] or ours.determinant != theirs.determinant:
        return DIFFERENT
    entries = [_entries(matrix) for matrix in (ours, theirs)]
    compare = equal_strings if ours.factor or theirs.factor else same
    return "the same entries" if all(map(compare, *entries)) else DIFFERENT


def same_tuples(answer: str, gold: str, same: Same) -> str | None:
    """Element by element, in order and in the same brackets."""
    ours, theirs = tuple_of(answer), tuple_of(gold)
    if ours is None or theirs is None:
        return None if ours is theirs else DIFFERENT
    if ours[0] != theirs[0] or len(ours[1]) != len(theirs[1]):
        return DIFFERENT
    return "the same elements" if all(map(same, ours[1], theirs[1])) else DIFFERENT


def _entries(matrix: Matrix) -> list[str]:
    """Row by row, each with the factor before the matrix."""
    entries = [entry for row in matrix.rows for entry in row]
    return [f"{matrix.factor}({entry})" for entry in entries] if matrix.factor else entries
