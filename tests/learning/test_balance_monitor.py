"""The monitor: attaches to a plain optax loop, measures what the law is about, and finds the law's rate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.analysis.exponential_rate import exponential_rate
from mesocosm.analysis.spectra.factor_spectra import balance, product_spectrum, rank_by_sum
from mesocosm.analysis.spectra.low_rank_law import decay_rate
from mesocosm.learning.balance_monitor import BalanceMonitor, attention_pairs
from mesocosm.nn import LinearAttention

TARGET = jnp.diag(jnp.array([1.0, 0.7, 0.4]))


def train(monitor, optimizer, learning_rate, steps=300):
    """A loop as anybody would write it; two stacked seeds."""
    params = {"left": jax.random.normal(jax.random.key(0), (2, 3, 3)), "right": jax.random.normal(jax.random.key(1), (2, 3, 3))}
    state = optimizer.init(params)

    @jax.jit
    def update(params, state):
        gradient = jax.grad(lambda p: jnp.sum((p["left"] @ jnp.swapaxes(p["right"], 1, 2) - TARGET) ** 2) / 2)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    measured = [monitor(0, params, 0.0)]
    for step in range(1, steps + 1):
        params, state = update(params, state)
        measured.append(monitor(step, params, learning_rate))
    return params, measured


def test_it_finds_the_rate_of_the_law_in_a_plain_loop():
    eta, decay = 0.02, 0.2
    monitor = BalanceMonitor(lambda p: {"product": (p["left"], p["right"])}, every=20)
    params, measured = train(monitor, optax.chain(optax.add_decayed_weights(decay), optax.sgd(eta)), eta)
    assert [step for step, did in enumerate(measured) if did] == list(range(0, 301, 20))
    table = monitor.table()
    assert table.height == 2 * 16
    assert table["place"].unique().sort().to_list() == ["0", "1"]
    assert table["clock"].max() == pytest.approx(300 * eta)
    assert (table["gap"] <= table["bound"] + 1e-6 * table["mean_square"]).all()
    assert (table["gap"] >= -1e-6 * table["mean_square"]).all()
    last = table.filter((table["step"] == 300) & (table["place"] == "1"))
    by_hand = balance(params["left"][1], params["right"][1])
    assert last["gap"].item() == pytest.approx(by_hand.gap.item())
    assert last["rank_by_sum"].item() == rank_by_sum(product_spectrum(params["left"][1], params["right"][1]))
    rates = monitor.decay_rates(since=1.0)["rate"]
    np.testing.assert_allclose(rates, float(decay_rate(eta, decay)), rtol=0.1)


def test_without_decay_there_is_no_rate():
    eta = 0.002
    monitor = BalanceMonitor(lambda p: {"product": (p["left"], p["right"])}, every=50)
    train(monitor, optax.sgd(eta), eta)
    assert np.all(np.abs(monitor.decay_rates()["rate"].to_numpy()) < 0.02)


def test_the_pairs_of_an_attention_layer_are_its_products():
    layer = LinearAttention.create(6, heads=2, key_dim=3, key=jax.random.key(2))
    pairs = attention_pairs(layer.query, layer.key, layer.value, layer.output)
    for head in range(2):
        a, b = (factor[head] for factor in pairs["QK"])
        np.testing.assert_allclose(a @ b.T, layer.key[head].T @ layer.query[head], rtol=1e-5)
        a, b = (factor[head] for factor in pairs["VO"])
        np.testing.assert_allclose(a @ b.T, layer.output[head] @ layer.value[head], rtol=1e-5)
    monitor = BalanceMonitor(lambda layer: attention_pairs(layer.query, layer.key, layer.value, layer.output), every=1)
    monitor(0, layer)
    assert monitor.table().height == 4


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="1 or more, not 0"):
        BalanceMonitor(lambda p: p, every=0)
    monitor = BalanceMonitor(lambda p: p, every=1)
    with pytest.raises(ValueError, match="not finite"):
        monitor(0, {"product": (np.full((3, 2), np.nan), np.ones((3, 2)))})
    with pytest.raises(ValueError, match="positive values at two or more times"):
        exponential_rate(np.array([0.0]), np.array([1.0]))
