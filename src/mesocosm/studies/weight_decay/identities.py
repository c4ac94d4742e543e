"""Statements about products of two and more factors, in float64 on random instances: identities beside a mutant, and inequalities beside a broken one."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.spectra.deep_products import (
    balanced_layers,
    deep_gap,
    deep_gap_bound,
    deep_imbalances,
    deep_imbalances_after_step,
    deep_penalty,
    product,
)
from mesocosm.analysis.spectra.low_rank_law import Factors, gap_bound, imbalance, imbalance_after_step, l2_penalty, root_gap_bound
from mesocosm.numerics.linear_algebra import qr, singular_values, solve, svd
from mesocosm.numerics.precision import full_precision
from mesocosm.studies.identity_trials import Errors, check_statements, instance_keys, on_instances
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.weight_decay.config import Products

RATE, DECAY = 0.1, 0.3  # of the steps that are checked


def check_products(config: Products, context: Context) -> Tables:
    """Check all statements on random instances of their own."""
    axes = {"instance": range(config.instances)}
    two = context.evaluate(Partial(on_instances, gap_bounds, config), shared=(instance_keys(context, len(IDENTITIES), config.instances),))
    deep = [
        context.rows(axes, depth=depth, **context.evaluate(Partial(on_instances, partial(deep_bounds, depth), config), shared=(keys,))._asdict())
        for depth, keys in ((depth, instance_keys(context, len(IDENTITIES) + depth, config.instances)) for depth in config.depths)
    ]
    return {"identities": check_statements(context, config, IDENTITIES), "gap_bounds": context.rows(axes, **two._asdict()), "deep_bounds": pl.concat(deep)}


def normals(key: PRNGKeyArray, *shapes: tuple[int, ...]) -> list[Array]:
    """Independent normal arrays of these shapes, from one call: generators are most of what these programs take to compile."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1]), shapes, strict=True)]


# --- two factors ------------------------------------------------------------------------------------------------------


def _whole(factors: Factors) -> Float[Array, "m n"]:
    return product([factors.a, factors.b.T])


@full_precision
def draw_factors(config: Products, key: PRNGKeyArray) -> tuple[Factors, Factors]:
    r"""Random factors with $A^\top A = B^\top B$, which share the triangular part of their QR decompositions and nothing else, and other factors of their
    product.
    """
    a, b, change = normals(key, (config.rows, config.rank), (config.columns, config.rank), (config.rank, config.rank))
    factors = Factors(a, qr(b).q @ qr(a).r)
    left, right = stretched(factors.a, factors.b.T, change)
    return factors, Factors(left, right.T)


@full_precision
def stretched(left: Float[Array, "m r"], right: Float[Array, "r n"], change: Float[Array, "r r"]) -> tuple[Float[Array, "m r"], Float[Array, "r n"]]:
    """Two neighbours with the same product, without balance."""
    change = jnp.eye(len(change)) + 0.4 * change
    return left @ change, solve(change, right)


def penalty_is_the_nuclear_norm(config: Products, key: PRNGKeyArray) -> Errors:
    """C10: at balance the mean squared norm is the nuclear norm. Mutant: other factors of the same product."""
    factors, others = draw_factors(config, key)

    def error(factors: Factors) -> Array:
        return jnp.abs(jnp.sum(singular_values(_whole(factors))) / l2_penalty(factors) - 1)

    return Errors(error(factors), error(others))


def factors_are_roots(config: Products, key: PRNGKeyArray) -> Errors:
    r"""C10: at balance, $A = U M$ and $B = V M$ with one $M$ and $M M^\top = S$, that is $M = \sqrt S O^\top$. Mutant: other factors of the same product."""
    factors, others = draw_factors(config, key)

    @full_precision
    def error(factors: Factors) -> Array:
        left, values, right = (part[..., : config.rank] for part in _transposed(svd(_whole(factors))))
        inner = left.T @ factors.a
        apart = (inner - right.T @ factors.b, inner @ inner.T - jnp.diag(values), left @ inner - factors.a, right @ inner - factors.b)
        return jnp.max(jnp.stack([jnp.max(jnp.abs(part)) for part in apart])) / values[0]

    return Errors(error(factors), error(others))


def _transposed(found: Any) -> tuple[Array, Array, Array]:
    return found.left, found.values, found.right.T


class GapBounds(NamedTuple):
    """Relative to the mean squared norm: below 0 where an inequality holds.

    Attributes:
        paper: the gap minus the paper's bound (B.4).
        linear: the gap minus the linear one (T4).
        order: the linear bound minus the paper's.
        equal_norms: the gap where the factors are scaled to equal norms, so that their norms alone would allow none.
        spectral: the linear bound minus the paper's, with spectral norms of the factors in it.
        ratio: the linear bound over the paper's.
    """

    paper: Array
    linear: Array
    order: Array
    equal_norms: Array
    spectral: Array
    ratio: Array


def gap_bounds(config: Products, key: PRNGKeyArray) -> GapBounds:
    """C13: random factors of unequal norms."""
    factor_key, scale_key = jax.random.split(key)
    a, b = normals(factor_key, (config.rows, config.rank), (config.columns, config.rank))
    factors = Factors(a, jax.random.uniform(scale_key, minval=0.2, maxval=2.0) * b)
    size, linear, root = l2_penalty(factors), gap_bound(imbalance(factors)), root_gap_bound(factors)
    gap = size - jnp.sum(singular_values(_whole(factors)))
    even = Factors(a / jnp.linalg.norm(a), b / jnp.linalg.norm(b))
    largest = jnp.sqrt(2 * linear) * sum(singular_values(factor)[0] for factor in factors) / 2
    return GapBounds(
        paper=(gap - root) / size,
        linear=(gap - linear) / size,
        order=(linear - root) / size,
        equal_norms=1 - jnp.sum(singular_values(_whole(even))) / l2_penalty(even),
        spectral=(linear - largest) / size,
        ratio=linear / root,
    )


# --- more than two ------------------------------------------------------------------------------------------------------


def _draw_layers(config: Products, depth: int, std: float, key: PRNGKeyArray) -> tuple[list[Array], list[Array], list[Array]]:
    """Balanced layers of a random matrix, with a random rotation between neighbours; other layers of their product; and noise of the layers' shapes."""
    size = min(config.rows, config.columns)
    shapes = [(config.rows, size), *[(size, size)] * (depth - 2), (size, config.columns)]
    whole, change, *drawn = normals(key, (config.rows, config.columns), (size, size), *[(size, size)] * (depth - 1), *shapes)
    layers = balanced_layers(std * whole, depth)
    for place, one in enumerate(drawn[: depth - 1]):
        turn = qr(one).q
        layers[place], layers[place + 1] = product([layers[place], turn]), product([turn.T, layers[place + 1]])
    return layers, [*stretched(layers[0], layers[1], change), *layers[2:]], drawn[depth - 1 :]


def penalty_is_the_quasi_norm(config: Products, key: PRNGKeyArray) -> Errors:
    """C15: at balance the mean squared norm of L layers is the Schatten quasi-norm of their product. Mutant: other layers of the same product."""
    found = [_draw_layers(config, depth, 1.0, key)[:2] for depth in config.depths]
    errors = [[jnp.abs(deep_gap(layers)) / deep_penalty(layers) for layers in both] for both in found]
    return Errors(*(jnp.max(jnp.stack(column)) for column in zip(*errors, strict=True)))


def step_of_many_layers(config: Products, key: PRNGKeyArray) -> Errors:
    """C15: the balances after one step of gradient descent by autodiff, with a random gradient. Mutant: without the source of order eta^2."""
    widths = (config.rows, config.rank, config.columns, config.rank + 1, config.rows)[: max(config.depths) + 1]
    gradient, *layers = normals(key, (widths[0], widths[-1]), *itertools.pairwise(widths))
    layers = [0.5 * layer for layer in layers]
    slopes = jax.grad(lambda layers: jnp.sum(gradient * product(layers)))(layers)
    after = deep_imbalances(_stepped(layers, slopes))
    told = deep_imbalances_after_step(layers, gradient, RATE, DECAY)
    plain = [(1 - RATE * DECAY) ** 2 * one for one in deep_imbalances(layers)]
    return Errors(*(_largest_error(after, other) for other in (told, plain)))


def _stepped(parameters: Any, slopes: Any) -> Any:
    return jax.tree.map(lambda one, slope: one - RATE * (slope + DECAY * one), parameters, slopes)


def _largest_error(found: list[Array], told: list[Array]) -> Array:
    return jnp.max(jnp.stack([jnp.linalg.norm(one - other) / jnp.linalg.norm(one) for one, other in zip(found, told, strict=True)]))


class DeepBounds(NamedTuple):
    """The gap over the paper's bound: with the layers' own imbalance, and for unbalanced layers with an imbalance near zero in its place."""

    ratio: Array
    unbalanced: Array


def deep_bounds(depth: int, config: Products, key: PRNGKeyArray) -> DeepBounds:
    """C15: layers near balance, which meet the bound's premise."""
    draw_key, size_key = jax.random.split(key)
    layers, others, drawn = _draw_layers(config, depth, config.deep_std, draw_key)
    size = jax.random.uniform(size_key, minval=0.1, maxval=1.0) * config.perturbation

    def perturbed(size: Any) -> list[Array]:
        return [layer + size * noise for layer, noise in zip(layers, drawn, strict=True)]

    near, nearest = perturbed(size), perturbed(1e-12)
    return DeepBounds(deep_gap(near) / deep_gap_bound(near), deep_gap(others) / deep_gap_bound(nearest))


# --- other parameters ---------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """The parameters of an attention layer with one head, and of the network behind it.

    Attributes:
        queries_and_keys: $W_K^T$ and $W_Q^T$.
        values_and_output: $P$ and $W_V^T$.
        inward, outward: of the hidden layer.
    """

    queries_and_keys: Factors
    values_and_output: Factors
    inward: Float[Array, "dim hidden"]
    outward: Float[Array, "hidden dim"]


@full_precision
def _block_loss(block: Block, scores: Float[Array, "time time"], mixing: Float[Array, "dim dim"], x: Float[Array, "time dim"]) -> Array:
    mixed = x + jax.nn.softmax(scores, axis=-1) @ x @ mixing.T
    return jnp.sum((mixed + jnp.tanh(mixed @ block.inward) @ block.outward) ** 2) / 2


def step_of_a_network(config: Products, key: PRNGKeyArray) -> Errors:
    """C18: the law of one step for both products of an attention layer, while all other parameters move, too. Mutant: normalised queries and keys, whose
    scores depend on more than their product.
    """
    time, dim = config.columns, config.rows
    pairs, inward, outward, x = normals(key, (2, 2, dim, config.rank), (dim, 2 * dim), (2 * dim, dim), (time, dim))
    qk, vo = (Factors(*(0.7 * pair)) for pair in pairs)
    block = Block(qk, vo, inward / dim**0.5, outward / dim**0.5)

    def by_product(block: Block) -> Array:
        return _block_loss(block, x @ _whole(block.queries_and_keys) @ x.T, _whole(block.values_and_output), x)

    def normalised(block: Block) -> Array:
        left, right = (x @ factor for factor in block.queries_and_keys)
        left, right = (one / jnp.linalg.norm(one, axis=-1, keepdims=True) for one in (left, right))
        return _block_loss(block, left @ right.T, _whole(block.values_and_output), x)

    @full_precision
    def slopes() -> tuple[Array, Array]:
        return jax.grad(lambda qk, vo: _block_loss(block, x @ qk @ x.T, vo, x), (0, 1))(_whole(qk), _whole(vo))

    after = _stepped(block, jax.grad(by_product)(block))
    told = [imbalance_after_step(one, slope, RATE, DECAY) for one, slope in zip((qk, vo), slopes(), strict=True)]
    found = [imbalance(after.queries_and_keys), imbalance(after.values_and_output)]
    wrong = jax.grad(normalised)(block)
    law = (1 - RATE * DECAY) ** 2 * imbalance(qk) + RATE**2 * imbalance(wrong.queries_and_keys)  # what is left of T5 if the terms of order eta cancel
    return Errors(_largest_error(found, told), _largest_error([imbalance(_stepped(block, wrong).queries_and_keys)], [law]))


IDENTITIES = {
    "C10 norm": penalty_is_the_nuclear_norm,
    "C10 form": factors_are_roots,
    "C15 quasi-norm": penalty_is_the_quasi_norm,
    "C15 step": step_of_many_layers,
    "C18 step": step_of_a_network,
}
