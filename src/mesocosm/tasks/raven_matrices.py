r"""Symbolic Raven matrices (SRAVEN): a grid of panels with K features, each following a rule along its rows; the last panel is to be predicted.

In the grid, the order of a panel's features is permuted, with one permutation for each column, so that a solver must first find out which symbol belongs to
which feature. Combinations of rules are held out.

Reference: Schug et al., "Attention as a hypernetwork" (arXiv 2406.05816), Sec. 4 and App. B.2.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement, permutations, product
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.raven_rules import RULES, Rule, distinct_rules, draw
from mesocosm.tasks.task import Split, Task

MOST_READINGS = 1_000_000
MOST_DRAWS = 1000


class RavenExample(NamedTuple):
    """One matrix, or a batch with the same leading axes in every field.

    Attributes:
        tokens: the one-hot symbols of all panels but the last, row by row, one token per feature; then a zero for each feature of the last panel, at which its
            symbol is predicted.
        targets: the symbols of the last panel.
        panels: the matrix as it is shown.
        rules: the index of each feature's rule.
        orders: the feature that is shown in each place, for each column: `panels[:, c, i]` is feature `orders[c, i]`.
    """

    tokens: Float[Array, "*batch time symbols"]
    targets: Int[Array, "*batch features"]
    panels: Int[Array, "*batch grid grid features"]
    rules: Int[Array, "*batch features"]
    orders: Int[Array, "*batch grid features"]

    def features(self) -> Int[Array, "*batch grid grid features"]:
        """The panels in the order of the rules."""
        return jnp.take_along_axis(self.panels, jnp.argsort(self.orders, axis=-1)[..., None, :, :], axis=-1)


class RavenMatrices(Task[RavenExample]):
    r"""Matrices whose multiset of K rules is drawn from `combinations`.

    The multiset AB is the same as BA, and features have their rules in increasing order. Without permutation, the place of a feature thus tells something of
    its rule; `shuffle_rules` puts them in random order.

    By coincidence, another rule than its own may fit a feature, so that a matrix has other answers (`other_answers`). With `reject_ambiguous`, a matrix is
    drawn again, with the same rules, until there are none; if none of 1000 draws will do, its tokens are NaN.

    Attributes:
        combinations: multisets of rules, as indices into `rules`.
        symbols: number F of symbols.
        grid: number of rows and of columns.
        permute: whether features are permuted within each column.
        shuffle_rules: whether rules are assigned to features at random.
        reject_ambiguous: whether every matrix has one answer.
        rules: the rules.
    """

    combinations: CombinationSplit
    symbols: int = eqx.field(static=True)
    grid: int = eqx.field(static=True)
    permute: bool = eqx.field(static=True)
    shuffle_rules: bool = eqx.field(static=True)
    reject_ambiguous: bool = eqx.field(static=True)
    rules: tuple[Rule, ...] = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        *,
        features: int = 4,
        symbols: int = 8,
        grid: int = 3,
        held_out: float = 0.25,
        permute: bool = True,
        shuffle_rules: bool = False,
        reject_ambiguous: bool = False,
        rules: tuple[Rule, ...] = RULES,
        seed: int = 0,
        require_coverage: bool = True,
    ) -> RavenMatrices:
        """Draw the split.

        Args:
            features: number K of features.
            symbols: number F of symbols, at least `grid`.
            grid: number of rows and of columns, at least 3.
            held_out: fraction of the multisets of rules that is held out.
            permute: whether features are permuted within each column.
            shuffle_rules: whether rules are assigned to features at random.
            reject_ambiguous: whether to draw until a matrix has one answer.
            rules: the rules, of which each feature follows one; no two of them may be the same for so many symbols (`raven_rules.distinct_rules`).
            seed: of the split.
            require_coverage: whether every rule must occur in training.

        Raises:
            ValueError: a size is too small, two rules are the same, there are too many readings of a matrix to reject ambiguous ones, or there is no such
                split.
        """
        if grid < 3 or symbols < grid or features < 1:
            raise ValueError(f"a matrix needs a grid of at least 3, as many symbols and a feature; got {grid}, {symbols} and {features}")
        if len(kept := distinct_rules(rules, symbols, grid)) < len(rules):
            titles = ", ".join(rule.title for rule in kept)
            raise ValueError(
                f"with {symbols} symbols, only {len(kept)} of {len(rules)} rules differ ({titles}), and a combination could be both trained on and held out; "
                "give rules=distinct_rules(rules, symbols, grid), of mesocosm.tasks.raven_rules"
            )
        if reject_ambiguous:
            _readings(features, grid)
        multisets = np.asarray(list(combinations_with_replacement(range(len(rules)), features)), np.int32)
        drawn = CombinationSplit.draw(multisets, held_out, seed=seed, require_coverage=require_coverage)
        return cls(drawn, symbols, grid, permute, shuffle_rules, reject_ambiguous, rules)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> RavenExample:
        """Draw one matrix."""
        rule_key, shuffle_key, matrix_key = jax.random.split(key, 3)
        rules = self.combinations.sample(rule_key, split)
        rules = jax.random.permutation(shuffle_key, rules) if self.shuffle_rules else rules
        if not self.reject_ambiguous:
            return self._matrix(matrix_key, rules)

        def attempt(number: Int[Array, ""]) -> tuple[Array, RavenExample]:
            return number, self._matrix(jax.random.fold_in(matrix_key, number), rules)

        def rejected(state: tuple[Array, RavenExample]) -> Array:
            return (state[0] < MOST_DRAWS) & other_answers(state[1].panels, self.symbols, self.rules).somewhere

        draws, found = jax.lax.while_loop(rejected, lambda state: attempt(state[0] + 1), attempt(jnp.ones((), jnp.int32)))
        return found._replace(tokens=jnp.where(draws < MOST_DRAWS, found.tokens, jnp.nan))

    def _matrix(self, key: PRNGKeyArray, rules: Int[Array, " features"]) -> RavenExample:
        fill_key, order_key = jax.random.split(key)

        def feature(key: PRNGKeyArray, rule: Array) -> Array:
            draws = draw(key, self.grid, self.symbols)
            return jnp.stack([one.fill(draws, self.symbols) for one in self.rules])[rule]

        return self.shown(order_key, jnp.moveaxis(jax.vmap(feature)(jax.random.split(fill_key, len(rules)), rules), 0, -1), rules)

    def shown(self, key: PRNGKeyArray, features: Int[Array, "grid grid features"], rules: Int[Array, " features"]) -> RavenExample:
        """The matrix of these features, permuted within each column if `permute`, and its tokens."""
        count = features.shape[-1]
        shape = self.grid, count
        orders = jnp.argsort(jax.random.uniform(key, shape), axis=-1) if self.permute else jnp.broadcast_to(jnp.arange(count), shape)
        panels = jnp.take_along_axis(features, orders[None], axis=-1)
        shown, targets = panels.reshape(-1)[:-count], panels[-1, -1]
        tokens = jnp.concatenate([jax.nn.one_hot(shown, self.symbols), jnp.zeros((count, self.symbols))])
        return RavenExample(tokens, targets, panels, rules, orders)


class OtherAnswers(NamedTuple):
    """Whether a matrix can also be completed in another way.

    Attributes:
        somewhere: some answer differs from the last panel in at least one place.
        everywhere: some answer differs in every place, which is what the authors count.
    """

    somewhere: Bool[Array, ""]
    everywhere: Bool[Array, ""]


def other_answers(panels: Int[Array, "grid grid features"], symbols: int, rules: tuple[Rule, ...] = RULES) -> OtherAnswers:
    """Look for other answers than the last panel by enumeration.

    A reading assigns the places of each column to features, in one of K! ways per column. It explains the matrix if each of its features follows a rule
    wherever it is shown; the rules' last symbols are then an answer. All readings are enumerated, up to the naming of features. That rules can differ in how
    likely they make a matrix is not taken into account.

    Raises:
        ValueError: there are more than a million readings.
    """
    grid, features = panels.shape[1:]
    readings = _readings(features, grid)
    places = jnp.asarray(list(product(range(features), repeat=grid)))  # the places of one feature in each column
    tables = jnp.moveaxis(panels[:, jnp.arange(grid), places], 1, 0)  # candidate features, rows, columns
    completions = [rule.complete(tables, symbols) for rule in rules]
    fits, same = jnp.stack([one.fits for one in completions]), jnp.stack([one.symbol for one in completions]) == tables[:, -1, -1]
    fitted, otherwise = (jnp.any(which, axis=0)[readings] for which in (fits, fits & ~same))
    return OtherAnswers(jnp.any(jnp.all(fitted, axis=1) & jnp.any(otherwise, axis=1)), jnp.any(jnp.all(otherwise, axis=1)))


@cache
def _readings(features: int, grid: int) -> np.ndarray:
    """All readings, each as the indices of its features among all tuples of places; the first column keeps its order, which names the features."""
    orders = np.asarray(list(permutations(range(features))))
    if (count := len(orders) ** (grid - 1)) > MOST_READINGS:
        raise ValueError(f"a matrix of {features} features and {grid} columns has {count} readings, more than {MOST_READINGS}")
    indices = np.arange(features)[None]
    for _ in range(grid - 1):
        indices = (indices[:, None] * features + orders[None]).reshape(-1, features)
    return indices


class Accuracy(NamedTuple):
    """Fractions of correct answers.

    Attributes:
        matrices: all features of the last panel are right.
        features: one is.
    """

    matrices: Float[Array, ""]
    features: Float[Array, ""]


def accuracy(logits: Float[Array, "*batch features symbols"], example: RavenExample) -> Accuracy:
    """Score the symbols with the largest logits."""
    right = jnp.argmax(logits, axis=-1) == example.targets
    return Accuracy(jnp.mean(jnp.all(right, axis=-1).astype(jnp.float32)), jnp.mean(right.astype(jnp.float32)))
