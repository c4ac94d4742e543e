r"""In-context regression of fuzzy logic functions: every sequence shows a new combination of known terms.

$$f(x) = \max_{t \in \mathcal T}\, \min_{i} \ell_{ti}(x_i), \qquad \ell_{ti}(x_i) = x_i \text{ or } 1 - x_i, \qquad x \sim U(0, 1)^L.$$

Tokens are pairs $[x; f(x)]$, and the last one has 0 in place of $f(x)$, which is to be predicted. A term is one of the $2^L$ conjunctions of all variables or
their negations; a network that has seen each term in some combinations may, or may not, generalise to others.

Reference: Schug et al., "Attention as a hypernetwork" (arXiv 2406.05816), Sec. 3.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations as subsets
from math import isfinite
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.task import Split, Task


class FuzzyExample(NamedTuple):
    """One sequence, or a batch with the same leading axes in every field.

    Attributes:
        tokens: $[x_t; f(x_t)]$ for the context, $[x_t; 0]$ for the queries, which come last.
        targets: $f$ at the queries.
        terms: the terms of $f$.
    """

    tokens: Float[Array, "*batch time variables_plus_1"]
    targets: Float[Array, "*batch queries"]
    terms: Int[Array, "*batch terms"]


class FuzzyLogic(Task[FuzzyExample]):
    r"""Functions of `variables` variables, with the terms of a combination drawn from `combinations`: N - 1 context tokens and `queries` queries.

    The split ood has combinations that training does not have, of terms that it has; `unknown_terms` makes a task whose split ood has unknown terms.

    With one query, all N tokens may see each other, as in the paper. With more, give attention the mask `ContextAndSelf(length - 1)`: a query then sees the
    context and itself, so that one sequence tells as much as `queries` ones, for little more work.

    Attributes:
        combinations: the combinations of each split.
        variables: L.
        length: N, the number of context tokens plus one.
        queries: number of queries.
        known: number of terms from which combinations are drawn; those from here on are unknown.
    """

    combinations: CombinationSplit
    variables: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    queries: int = eqx.field(static=True)
    known: int = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        *,
        variables: int = 4,
        terms: int = 2,
        held_out: float = 0.7,
        unknown: float = 0.25,
        length: int = 32,
        queries: int = 1,
        seed: int = 0,
        require_coverage: bool = True,
    ) -> FuzzyLogic:
        r"""Draw the split.

        Args:
            variables: number L of variables; there are $2^L$ terms.
            terms: number of terms of a function.
            held_out: fraction of the combinations of known terms that is held out.
            unknown: fraction of the terms that occurs in no combination: the last $\lfloor 2^L \cdot \mathrm{unknown} \rfloor$.
            length: number of context tokens plus one.
            queries: number of queries.
            seed: of the split.
            require_coverage: whether every known term must occur in training.

        Raises:
            ValueError: there are fewer known terms than a function has, no variable, no context or no query, a fraction is out of range, or no such split.
        """
        if variables < 1:
            raise ValueError(f"a function has at least one variable, but variables = {variables}")
        if not (0 <= unknown < 1 and isfinite(held_out)):
            raise ValueError(f"fractions need 0 <= unknown < 1 and a finite held_out, but unknown = {unknown} and held_out = {held_out}")
        if length < 2 or queries < 1:
            raise ValueError(f"a sequence has a context and a query, but length = {length} and queries = {queries}")
        known = 2**variables - int(2**variables * unknown)
        if not 1 <= terms <= known:
            raise ValueError(f"a function of {terms} terms needs at least 1 and at most {known}, the number of known terms")
        drawn = CombinationSplit.draw(_subsets(range(known), terms), held_out, seed=seed, require_coverage=require_coverage)
        return cls(drawn, variables, length, queries, known)

    def unknown_terms(self) -> FuzzyLogic:
        """The same task, but its split ood has all combinations of unknown terms.

        Raises:
            ValueError: there are too few unknown terms.
        """
        rows = _subsets(range(self.known, 2**self.variables), self.combinations.parts)
        if not len(rows):
            raise ValueError(f"{2**self.variables - self.known} unknown terms do not make a function of {self.combinations.parts}")
        return replace(self, combinations=CombinationSplit.of(np.asarray(self.combinations.train), rows, require_coverage=False))

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> FuzzyExample:
        """Draw one sequence."""
        term_key, point_key = jax.random.split(key)
        terms = self.combinations.sample(term_key, split)
        points = jax.random.uniform(point_key, (self.length - 1 + self.queries, self.variables))
        values = fuzzy_function(points, terms)
        seen = jnp.where(jnp.arange(len(values)) < self.length - 1, values, 0.0)
        return FuzzyExample(jnp.concatenate([points, seen[:, None]], axis=1), values[self.length - 1 :], terms)


def fuzzy_function(points: Float[Array, "*points variables"], terms: Int[Array, " terms"]) -> Float[Array, "*points"]:
    """The maximum over terms of the minimum over literals.

    Variable i of term number j is negated where bit i of j, counted from the most significant one, is 0: the order of the rows of a truth table.
    """
    variables = points.shape[-1]
    plain = (terms[:, None] >> jnp.arange(variables - 1, -1, -1)) & 1
    literals = jnp.where(plain == 1, points[..., None, :], 1 - points[..., None, :])
    return jnp.max(jnp.min(literals, axis=-1), axis=-1)


class Explained(NamedTuple):
    r"""Coefficients of determination of predictions.

    Attributes:
        mean: mean over queries of $1 - (\hat y - y)^2 / \mathrm{Var}$, with the variance of the values in the query's own sequence, as in the paper; not
            finite if these are all equal.
        pooled: 1 minus the mean squared error over the mean variance, which sequences of small variance do not dominate.
    """

    mean: Float[Array, ""]
    pooled: Float[Array, ""]


def explained_variance(predictions: Float[Array, "*batch queries"], example: FuzzyExample) -> Explained:
    """R^2 of predictions at the queries of a batch. The variance of a query's sequence is that of its N values: the context's and its own.

    Raises:
        ValueError: there is not one prediction per target.
    """
    if predictions.shape != example.targets.shape:
        raise ValueError(f"{predictions.shape} predictions for {example.targets.shape} targets; if the model adds an axis of one output, remove it")
    context = example.tokens[..., : example.tokens.shape[-2] - example.targets.shape[-1], -1]
    targets = example.targets[..., None]
    values = jnp.concatenate([jnp.broadcast_to(context[..., None, :], (*example.targets.shape, context.shape[-1])), targets], axis=-1)
    errors, variances = (predictions - example.targets) ** 2, jnp.var(values, axis=-1)
    return Explained(jnp.mean(1 - errors / variances), 1 - jnp.mean(errors) / jnp.mean(variances))


def _subsets(terms: range, size: int) -> np.ndarray:
    return np.asarray(list(subsets(terms, size)), np.int32).reshape(-1, size)
