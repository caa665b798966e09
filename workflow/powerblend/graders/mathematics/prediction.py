"""ANTLR's prediction with less work a step: the same sets of configurations, sooner.

Most of the time of reading a new kind of formula, its Python runtime walks the edges that take no
token, by general constructors and tables of functions. Here the two commonest kinds of edges, an
empty one and the call of a rule, are followed directly, through states in which nothing is chosen
at once; all else is left to the runtime. Knows nothing about formulas.
"""

from functools import cache
from typing import Any

from antlr4.atn.ATNConfig import ATNConfig
from antlr4.atn.ATNState import RuleStopState
from antlr4.atn.ParserATNSimulator import ParserATNSimulator
from antlr4.atn.Transition import Transition
from antlr4.PredictionContext import SingletonPredictionContext

_EMPTY, _CALL, _ACTION = Transition.EPSILON, Transition.RULE, Transition.ACTION

_any_target = ParserATNSimulator.getEpsilonTarget


def predict_sooner() -> None:
    """Put the methods below in the place of those that they agree with."""
    ParserATNSimulator.getEpsilonTarget = _target
    ParserATNSimulator.closure_ = _closure


def _target(
    self: Any, config: Any, edge: Any, collect: bool, inside: bool, full: bool, at_end: bool
) -> Any:
    """The configuration behind an edge, or None where the edge takes a token."""
    kind = edge.serializationType
    if kind not in (_EMPTY, _CALL):
        return _any_target(self, config, edge, collect, inside, full, at_end)
    behind = ATNConfig.__new__(ATNConfig)
    behind.state, behind.alt, behind.context = _next_choice(edge), config.alt, config.context
    if kind == _CALL:
        behind.context = SingletonPredictionContext(config.context, edge.followState.stateNumber)
    behind.semanticContext = config.semanticContext
    behind.reachesIntoOuterContext = config.reachesIntoOuterContext
    behind.precedenceFilterSuppressed = config.precedenceFilterSuppressed
    return behind


@cache
def _next_choice(edge: Any) -> Any:
    """The first state behind an edge with anything but a single empty edge to go on by."""
    state = edge.target
    while (
        not isinstance(state, RuleStopState)
        and len(state.transitions) == 1
        and state.transitions[0].serializationType == _EMPTY
    ):
        state = state.transitions[0].target
    return state


def _closure(
    self: Any, config: Any, found: Any, seen: Any, collect: bool, full: bool, depth: int,
    at_end: bool,
) -> None:  # fmt: skip
    """Add what is reached without a token; ``at_end``, the end of the text counts as none."""
    state = config.state
    if not state.epsilonOnlyTransitions:
        found.add(config, self.mergeCache)
    edges = state.transitions
    if edges and self.canDropLoopEntryEdgeInLeftRecursiveRule(config):
        edges = edges[1:]
    is_end_of_rule = isinstance(state, RuleStopState)
    for edge in edges:
        if not (edge.isEpsilon or at_end):
            continue
        collect_on = collect and edge.serializationType != _ACTION
        behind = self.getEpsilonTarget(config, edge, collect_on, depth == 0, full, at_end)
        if behind is None:
            continue
        below = depth
        if is_end_of_rule:
            if self._dfa is not None and self._dfa.precedenceDfa:
                rule = self._dfa.atnStartState.ruleIndex
                behind.precedenceFilterSuppressed |= edge.outermostPrecedenceReturn == rule
            behind.reachesIntoOuterContext += 1
            below -= 1
        elif edge.serializationType == _CALL and depth >= 0:
            below += 1
        if is_end_of_rule or not edge.isEpsilon:
            if behind in seen:  # a rule that ends in itself
                continue
            seen.add(behind)
        found.dipsIntoOuterContext |= is_end_of_rule
        follow = (
            self.closureCheckingStopState
            if isinstance(behind.state, RuleStopState)
            else self.closure_
        )
        follow(behind, found, seen, collect_on, full, below, at_end)
