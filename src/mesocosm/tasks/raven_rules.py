r"""Rules of symbolic Raven matrices: each fills a grid of symbols 0 to F - 1, row by row, in arithmetic modulo F.

A rule also says whether it fits a grid whose last entry is missing, and which symbol it then puts there; that is what a solver has to infer.

Reference: Schug et al., "Attention as a hypernetwork" (arXiv 2406.05816), Sec. 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from mesocosm.tasks.tokens import distinct


class Draws(NamedTuple):
    """The random numbers of one grid, from which every rule can make its own.

    Attributes:
        symbols: independent uniform symbols.
        chosen: distinct symbols.
        orders: an independent uniform permutation for each row.
    """

    symbols: Int[Array, "grid grid"]
    chosen: Int[Array, " grid"]
    orders: Int[Array, "grid grid"]


class Completion(NamedTuple):
    """Whether a rule fits, and its symbol in the last place."""

    fits: Bool[Array, "*batch"]
    symbol: Int[Array, "*batch"]


@runtime_checkable
class Rule(Protocol):
    """A rule for one feature. It is hashable and equal to no other rule, as it decides what is compiled: a frozen dataclass, not a tuple."""

    @property
    def title(self) -> str:
        """What it is called in tables and figures."""
        ...

    def fill(self, draws: Draws, symbols: int) -> Int[Array, "grid grid"]:
        """A grid that follows the rule."""
        ...

    def complete(self, grid: Int[Array, "*batch grid grid"], symbols: int) -> Completion:
        """Whether the rule fits all entries but the last, whose value is not read, and the symbol that it puts there."""
        ...


@dataclass(frozen=True)
class Progression:
    r"""$(c, c + s, c + 2s, \dots)$ with a uniform c for each row; a step s of 0 is the constant rule."""

    step: int

    @property
    def title(self) -> str:
        """`constant`, or `progression` with the step."""
        return f"progression {self.step:+d}" if self.step else "constant"

    def fill(self, draws: Draws, symbols: int) -> Int[Array, "grid grid"]:
        """A grid that follows the rule."""
        return self._from(draws.symbols, symbols)

    def complete(self, grid: Int[Array, "*batch grid grid"], symbols: int) -> Completion:
        """Whether the rule fits, and the last symbol."""
        return _compare(grid, self._from(grid, symbols))

    def _from(self, grid: Array, symbols: int) -> Array:
        return (grid[..., :1] + self.step * jnp.arange(grid.shape[-1])) % symbols


@dataclass(frozen=True)
class Sum:
    """The last symbol of a row is the first plus (`sign` = 1) or minus (-1) all others, which are independent and uniform."""

    sign: int

    @property
    def title(self) -> str:
        """`addition` or `difference`."""
        return "addition" if self.sign > 0 else "difference"

    def fill(self, draws: Draws, symbols: int) -> Int[Array, "grid grid"]:
        """A grid that follows the rule."""
        return self._from(draws.symbols, symbols)

    def complete(self, grid: Int[Array, "*batch grid grid"], symbols: int) -> Completion:
        """Whether the rule fits, and the last symbol."""
        return _compare(grid, self._from(grid, symbols))

    def _from(self, grid: Array, symbols: int) -> Array:
        last = (grid[..., 0] + self.sign * jnp.sum(grid[..., 1:-1], axis=-1)) % symbols
        return jnp.concatenate([grid[..., :-1], last[..., None]], axis=-1)


@dataclass(frozen=True)
class Distribution:
    """Every row is an independent permutation of the same distinct symbols, drawn once (distribute-three in a grid of three)."""

    @property
    def title(self) -> str:
        """`distribution`."""
        return "distribution"

    def fill(self, draws: Draws, symbols: int) -> Int[Array, "grid grid"]:
        """A grid that follows the rule."""
        return draws.chosen[draws.orders]

    def complete(self, grid: Int[Array, "*batch grid grid"], symbols: int) -> Completion:
        """Whether the rule fits, and the last symbol: that of the first row which the last row does not have yet."""
        first, size = jnp.sort(grid[..., 0, :], axis=-1), grid.shape[-1]
        used = jnp.any(first[..., :, None] == grid[..., -1, None, :-1], axis=-1)
        missing = jnp.take_along_axis(first, jnp.argmin(used, axis=-1)[..., None], axis=-1)[..., 0]
        different = jnp.all(first[..., 1:] != first[..., :-1], axis=-1)
        rows = jnp.sort(grid.at[..., -1, -1].set(missing), axis=-1)
        fits = different & (jnp.sum(used, axis=-1) == size - 1) & jnp.all(rows == first[..., None, :], axis=(-2, -1))
        return Completion(fits, missing)


RULES: tuple[Rule, ...] = (Progression(0), Progression(1), Progression(2), Progression(-1), Progression(-2), Sum(1), Sum(-1), Distribution())
"""The paper's rules, in the order of its indices."""


def distinct_rules(rules: Sequence[Rule], symbols: int, grid: int = 3) -> tuple[Rule, ...]:
    """The rules without those that fill every grid as an earlier one does: with 4 symbols, -2 is +2; with 3, -1 is +2 and -2 is +1."""
    kept: dict[bytes, Rule] = {}
    for rule in rules:
        kept.setdefault(_filled(rule, symbols, grid), rule)
    return tuple(kept.values())


@cache
def _filled(rule: Rule, symbols: int, grid: int) -> bytes:
    """What a rule makes of 32 random draws, by which rules are told apart."""
    random = np.random.default_rng(0)
    grids = []
    for _ in range(32):
        orders = np.stack([random.permutation(grid) for _ in range(grid)])
        draws = Draws(jnp.asarray(random.integers(0, symbols, (grid, grid))), jnp.asarray(random.permutation(symbols)[:grid]), jnp.asarray(orders))
        grids.append(np.asarray(rule.fill(draws, symbols), np.int32))
    return np.stack(grids).tobytes()


def draw(key: PRNGKeyArray, grid: int, symbols: int) -> Draws:
    """The random numbers of one grid."""
    symbol_key, chosen_key, order_key = jax.random.split(key, 3)
    orders = jnp.argsort(jax.random.uniform(order_key, (grid, grid)), axis=-1)
    return Draws(jax.random.randint(symbol_key, (grid, grid), 0, symbols), distinct(chosen_key, symbols, grid), orders)


def _compare(grid: Array, wanted: Array) -> Completion:
    same = grid == wanted
    return Completion(jnp.all(same.at[..., -1, -1].set(True), axis=(-2, -1)), wanted[..., -1, -1])
