"""Decay on a product of several matrices: the quasi-norm it amounts to, and balances that autodiff's descent moves as the law says."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.analysis.spectra.deep_products import (
    balanced_layers,
    deep_gap,
    deep_gap_bound,
    deep_imbalances,
    deep_imbalances_after_step,
    deep_penalty,
    product,
    schatten,
)
from mesocosm.analysis.spectra.low_rank_law import Factors, imbalance, imbalance_after_step


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random_layers(seed, *widths, scale=1.0):
    random = np.random.default_rng(seed)
    return [jnp.asarray(scale * random.standard_normal(shape)) for shape in itertools.pairwise(widths)]


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_balanced_layers_reach_the_quasi_norm_and_no_other_layers_go_below(depth):
    whole = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)))
    layers = balanced_layers(whole, depth)
    np.testing.assert_allclose(product(layers), whole, atol=1e-12)
    power = np.asarray(whole).T @ np.asarray(whole)  # s^(2/L) are the eigenvalues of (W^T W)^(1/L)
    expected = np.sum(np.linalg.eigvalsh(power) ** (1 / depth))
    assert deep_penalty(layers) == pytest.approx(expected, rel=1e-12)
    assert abs(deep_gap(layers)) < 1e-12
    assert max(np.abs(found).max() for found in deep_imbalances(layers)) < 1e-12
    random = np.random.default_rng(1)
    for place in range(depth - 1):  # W stays, the balance between two neighbours goes
        change = np.eye(4) + 0.4 * random.standard_normal((4, 4))
        other = [*layers]
        other[place], other[place + 1] = layers[place] @ change, jnp.linalg.inv(change) @ layers[place + 1]
        assert deep_gap(other) > 1e-3
        layers = other
    assert all(deep_gap(random_layers(seed, 5, 3, 4, 6)) > 0 for seed in range(20))


def test_two_layers_are_the_two_factors_of_the_law():
    a, b = random_layers(2, 6, 3, 5)
    factors, gradient = Factors(a, b.T), jnp.asarray(np.random.default_rng(3).standard_normal((6, 5)))
    np.testing.assert_allclose(deep_imbalances([a, b])[0], imbalance(factors), atol=1e-12)
    np.testing.assert_allclose(deep_imbalances_after_step([a, b], gradient, 0.1, 0.3)[0], imbalance_after_step(factors, gradient, 0.1, 0.3), atol=1e-12)


def test_a_step_of_descent_moves_every_balance_as_the_law_says():
    """By autodiff and optax's SGD on a loss that is not quadratic; without the source of order eta^2 the law errs."""
    layers, target, eta, decay = random_layers(4, 5, 3, 4, 6, scale=0.7), jnp.asarray(np.random.default_rng(5).standard_normal((5, 6))), 0.1, 0.3

    def loss(whole):
        return jnp.sum(jnp.log(jnp.cosh(whole - target)))

    optimizer = optax.chain(optax.add_decayed_weights(decay), optax.sgd(eta))

    @jax.jit
    def step(layers):
        updates, _ = optimizer.update(jax.grad(lambda layers: loss(product(layers)))(layers), optimizer.init(layers), layers)
        told = deep_imbalances_after_step(layers, jax.grad(loss)(product(layers)), eta, decay)
        return deep_imbalances(layers), deep_imbalances(optax.apply_updates(layers, updates)), told

    for before, found, told in zip(*step(layers), strict=True):
        np.testing.assert_allclose(found, told, atol=1e-13)
        assert np.abs(found - (1 - eta * decay) ** 2 * before).max() > 1e-4


def test_the_printed_bound_holds_where_its_premise_does():
    """Small imbalances beside the layers' norms; NaN elsewhere."""
    bound, gap = jax.jit(deep_gap_bound), jax.jit(deep_gap)
    random, told = np.random.default_rng(6), []
    for _ in range(40):
        layers = balanced_layers(jnp.asarray(random.standard_normal((4, 4))), 3)
        layers = [layer + random.uniform(0, 0.05) * random.standard_normal((4, 4)) for layer in layers]
        told.append((float(gap(layers)), float(bound(layers))))
    gaps, bounds = np.array(told).T
    met = ~np.isnan(bounds)
    assert met.sum() >= 10
    assert np.all(gaps[met] <= bounds[met])
    assert np.all(gaps > 0)
    assert np.isnan(bound(random_layers(7, 4, 4, 4, 4)))


def test_orders_and_mistakes():
    values = jnp.array([2.0, 0.5, 0.0])
    assert schatten(values, 1.0) == 2.5
    assert schatten(values, 2.0) == 4.25
    assert np.isfinite(jax.grad(lambda s: schatten(s, 0.5))(values)).all()
    with pytest.raises(ValueError, match="3 columns cannot stand before one with 4 rows"):
        product(random_layers(0, 2, 3) + random_layers(0, 4, 2))
    with pytest.raises(ValueError, match="2 layers or more, not 1"):
        balanced_layers(jnp.eye(2), 1)
