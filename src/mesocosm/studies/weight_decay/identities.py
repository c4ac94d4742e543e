"""Statements about products of two and more factors, in float64 on random instances: identities beside a mutant, and inequalities beside a broken one."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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


# --- two factors ------------------------------------------------------------------------------------------------------


def _whole(factors: Factors) -> Float[Array, "m n"]:
    return product([factors.a, factors.b.T])


@full_precision
def draw_balanced(config: Products, key: PRNGKeyArray) -> Factors:
    r"""Random factors with $A^\top A = B^\top B$: they share the triangular part of their QR decompositions, and nothing else."""
    first, second = jax.random.split(key)
    a, b = jax.random.normal(first, (config.rows, config.rank)), jax.random.normal(second, (config.columns, config.rank))
    return Factors(a, qr(b).q @ qr(a).r)


@full_precision
def stretched(left: Float[Array, "m r"], right: Float[Array, "r n"], key: PRNGKeyArray) -> tuple[Float[Array, "m r"], Float[Array, "r n"]]:
    """Two neighbours with the same product, without balance."""
    size = left.shape[1]
    change = jnp.eye(size) + 0.4 * jax.random.normal(key, (size, size))
    return left @ change, solve(change, right)


def unbalanced(factors: Factors, key: PRNGKeyArray) -> Factors:
    """The same for two factors."""
    left, right = stretched(factors.a, factors.b.T, key)
    return Factors(left, right.T)


def penalty_is_the_nuclear_norm(config: Products, key: PRNGKeyArray) -> Errors:
    """C10: at balance the mean squared norm is the nuclear norm. Mutant: other factors of the same product."""
    draw_key, change_key = jax.random.split(key)
    factors = draw_balanced(config, draw_key)

    def error(factors: Factors) -> Array:
        return jnp.abs(jnp.sum(singular_values(_whole(factors))) / l2_penalty(factors) - 1)

    return Errors(error(factors), error(unbalanced(factors, change_key)))


def factors_are_roots(config: Products, key: PRNGKeyArray) -> Errors:
    r"""C10: at balance, $A = U M$ and $B = V M$ with one $M$ and $M M^\top = S$, that is $M = \sqrt S O^\top$. Mutant: other factors of the same product."""
    draw_key, change_key = jax.random.split(key)
    factors = draw_balanced(config, draw_key)

    @full_precision
    def error(factors: Factors) -> Array:
        left, values, right = (part[..., : config.rank] for part in _transposed(svd(_whole(factors))))
        inner = left.T @ factors.a
        apart = (inner - right.T @ factors.b, inner @ inner.T - jnp.diag(values), left @ inner - factors.a, right @ inner - factors.b)
        return jnp.max(jnp.stack([jnp.max(jnp.abs(part)) for part in apart])) / values[0]

    return Errors(error(factors), error(unbalanced(factors, change_key)))


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
    drawn = jax.random.normal(factor_key, (config.rows + config.columns, config.rank))
    a, b = drawn[: config.rows], drawn[config.rows :]
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


def _at_balance(config: Products, depth: int, std: float, key: PRNGKeyArray) -> list[Array]:
    """Balanced layers of a random matrix, with a random rotation between neighbours."""
    whole_key, *keys = jax.random.split(key, depth)
    layers = balanced_layers(std * jax.random.normal(whole_key, (config.rows, config.columns)), depth)
    for place, one in enumerate(keys):
        turn = qr(jax.random.normal(one, (layers[place].shape[1],) * 2)).q
        layers[place], layers[place + 1] = product([layers[place], turn]), product([turn.T, layers[place + 1]])
    return layers


def penalty_is_the_quasi_norm(config: Products, key: PRNGKeyArray) -> Errors:
    """C15: at balance the mean squared norm of L layers is the Schatten quasi-norm of their product. Mutant: other layers of the same product."""

    def errors(depth: int, key: PRNGKeyArray) -> Errors:
        draw_key, change_key = jax.random.split(key)
        layers = _at_balance(config, depth, 1.0, draw_key)
        others = [*stretched(layers[0], layers[1], change_key), *layers[2:]]
        return Errors(*(jnp.abs(deep_gap(one)) / deep_penalty(one) for one in (layers, others)))

    found = [errors(depth, key) for depth, key in zip(config.depths, jax.random.split(key, len(config.depths)), strict=True)]
    return Errors(jnp.max(jnp.stack([one.error for one in found])), jnp.max(jnp.stack([one.mutant for one in found])))


def step_of_many_layers(config: Products, key: PRNGKeyArray) -> Errors:
    """C15: the balances after one step of gradient descent by autodiff, with a random gradient. Mutant: without the source of order eta^2."""
    widths = (config.rows, config.rank, config.columns, config.rank + 1, config.rows)[: max(config.depths) + 1]
    gradient_key, *keys = jax.random.split(key, len(widths))
    layers = [0.5 * jax.random.normal(one, shape) for one, shape in zip(keys, itertools.pairwise(widths), strict=True)]
    gradient = jax.random.normal(gradient_key, (widths[0], widths[-1]))
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
    draw_key, noise_key, size_key, change_key = jax.random.split(key, 4)
    layers = _at_balance(config, depth, config.deep_std, draw_key)
    others = [*stretched(layers[0], layers[1], change_key), *layers[2:]]
    drawn = [jax.random.normal(one, layer.shape) for one, layer in zip(jax.random.split(noise_key, depth), layers, strict=True)]
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
    keys = jax.random.split(key, 5)
    qk, vo = (Factors(*(0.7 * jax.random.normal(one, (2, dim, config.rank)))) for one in keys[:2])
    block = Block(qk, vo, jax.random.normal(keys[2], (dim, 2 * dim)) / dim**0.5, jax.random.normal(keys[3], (2 * dim, dim)) / dim**0.5)
    x = jax.random.normal(keys[4], (time, dim))

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
