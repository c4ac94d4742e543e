"""The sequence tasks of the library at one size, posed alike: inputs, and targets at the last positions.

Targets are symbols, scored by cross-entropy, or vectors, scored by half the squared error. Every seed has a task of its own where there is something to draw:
a teacher, or a split of combinations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.tasks.attention_teacher import LinearAttentionTeacher
from mesocosm.tasks.automata import AutomatonStrings
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.compositional_supports import k_hot, support
from mesocosm.tasks.fuzzy_logic import FuzzyLogic
from mesocosm.tasks.hidden_systems import NonlinearSystems, PartiallyObservedSystems
from mesocosm.tasks.hyperteacher import Hyperteacher, Prompts, Teacher
from mesocosm.tasks.induction import Induction, RepeatedSequence
from mesocosm.tasks.linear_systems import LinearSystems
from mesocosm.tasks.parity import Parity
from mesocosm.tasks.raven_matrices import RavenMatrices
from mesocosm.tasks.recall import MultiQueryRecall
from mesocosm.tasks.regression_prompts import RegressionPrompts
from mesocosm.tasks.selective_copy import SelectiveCopy
from mesocosm.tasks.task import Split, Task
from mesocosm.tasks.text import Text, python_manual

SYMBOLS = 16
"""Tokens of tasks with symbols of no meaning."""


class Posed(NamedTuple):
    """One example, or a batch with the same leading axes in every field.

    Attributes:
        inputs: tokens (time,), or vectors (time, channels).
        targets: symbols (n,) or vectors (n, channels), at the last n positions.
        weights: 1 where the target is scored, else 0.
    """

    inputs: Array
    targets: Array
    weights: Float[Array, "*batch n"]


class Problem(NamedTuple):
    """A task of the comparison.

    Attributes:
        draw: (seed, length) -> the task of a seed.
        pose: an example of it -> `Posed`.
        held_out: what the split ood holds out, for a reader; empty if there is none.
    """

    draw: Callable[[int, int], Task]
    pose: Callable[[Any], Posed]
    held_out: str = ""

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits on which networks are evaluated."""
        return ("iid", "ood") if self.held_out else ("iid",)


# --- how examples are posed -------------------------------------------------------------------------------------------


def _tokens(example: Any) -> Posed:
    return Posed(example.inputs, example.targets, example.weights)


def _all(inputs: Array, targets: Array) -> Posed:
    return Posed(inputs, targets, jnp.ones(len(targets)))


def _next_token(example: Any) -> Posed:
    """With those that an example does not score, so that all examples score as many."""
    return _all(example.inputs, example.targets)


def _next_state(example: Any) -> Posed:
    return _all(example.inputs, example.targets)


def _answered(example: Any) -> Posed:
    return _all(example.tokens, example.targets)


def _query(example: Any) -> Posed:
    return _all(example.tokens, example.target[None])


def _fuzzy(example: Any) -> Posed:
    return _all(example.tokens, example.targets[:, None])


def _prompt(example: Any) -> Posed:
    return _all(jnp.concatenate([example.context, example.queries]), example.targets)


# --- the tasks --------------------------------------------------------------------------------------------------------


def _recall(seed: int, length: int) -> Task:
    return MultiQueryRecall(2 * SYMBOLS, length // 8, length)


def _copy(seed: int, length: int) -> Task:
    return SelectiveCopy(SYMBOLS, length // 6, length)


def _induction(seed: int, length: int) -> Task:
    return Induction(SYMBOLS, length)


def _repeated(seed: int, length: int) -> Task:
    return RepeatedSequence(max(SYMBOLS, length), length - length % 2)


def _systems(seed: int, length: int) -> Task:
    return LinearSystems.orthogonal(4, length)


def _hidden_systems(seed: int, length: int) -> Task:
    return PartiallyObservedSystems(2, 4, length)


def _nonlinear_systems(seed: int, length: int) -> Task:
    return NonlinearSystems.draw(jax.random.key(seed), 4, length)


def _parity(seed: int, length: int) -> Task:
    return Parity(length - 1)


def _automata(seed: int, length: int) -> Task:
    return AutomatonStrings(states=4, symbols=8, edges=2, longest=length // 3, length=length)


def _regression(seed: int, length: int) -> Task:
    return RegressionPrompts(3, 1, pairs=length - 1)


def _linear_attention(seed: int, length: int) -> Task:
    return LinearAttentionTeacher.draw(jax.random.key(seed), 4, length=length)


def _fuzzy_logic(seed: int, length: int) -> Task:
    return FuzzyLogic.create(variables=3, terms=2, held_out=0.3, length=length - length // 3, queries=length // 3, seed=seed)


def _raven(seed: int, length: int) -> Task:
    return RavenMatrices.create(features=2, symbols=6, seed=seed)


def _hyperteacher(seed: int, length: int) -> Task:
    teacher = Teacher.create(4, 4, 1, modules=4, module_gain=1.0, activation=jax.nn.gelu, normalised=True, key=jax.random.key(seed))
    return Prompts(Hyperteacher(teacher, _pairs(), length), length // 3)


def _pairs() -> CombinationSplit:
    """Pairs of four modules, a connected support."""
    return support("connected", k_hot(4, 2))


def _text(seed: int, length: int) -> Task:
    return Text.create(python_manual(), length)


PROBLEMS: dict[str, Problem] = {
    "recall": Problem(_recall, _tokens, "queries far from their pairs"),
    "copy": Problem(_copy, _tokens),
    "induction": Problem(_induction, _tokens),
    "repeated-sequence": Problem(_repeated, _tokens),
    "parity": Problem(_parity, _tokens),
    "automata": Problem(_automata, _next_token),
    "linear-systems": Problem(_systems, _next_state),
    "hidden-systems": Problem(_hidden_systems, _next_state),
    "nonlinear-systems": Problem(_nonlinear_systems, _next_state),
    "regression": Problem(_regression, _query, "inputs twice as large"),
    "linear-attention": Problem(_linear_attention, _answered, "tokens three times as large"),
    "fuzzy-logic": Problem(_fuzzy_logic, _fuzzy, "combinations of terms"),
    "raven": Problem(_raven, _answered, "combinations of rules"),
    "hyperteacher": Problem(_hyperteacher, _prompt, "combinations of modules"),
    "text": Problem(_text, _tokens),
}
