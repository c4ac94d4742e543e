"""LRU, RG-LRU and their blocks against their equations, their streaming forms, and over long streams."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import LRU, RGLRU, BilinearGate, GatedLinearUnit, HawkBlock, LRUBlock, Perceptron, Projected, RecurrentBlock
from mesocosm.nn.recurrences.hawk import _root
from nn.random_weights import with_random_weights


def tokens(time, dim, seed=1):
    return np.random.default_rng(seed).standard_normal((time, dim))


@eqx.filter_jit
def drawn(create, *sizes, **more):
    return create(*sizes, key=jax.random.key(0), **more)


@eqx.filter_jit
def run_and_stream(layer, x):
    return layer(x), layer.stream(layer.init_state(), x)[1]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_the_lru_is_its_equations():
    with jax.enable_x64(True):
        layer, x = drawn(LRU.create, 3, state_dim=4), tokens(9, 3)
        decay = np.exp(-np.exp(np.asarray(layer.decay.log_rate)) + 1j * np.exp(np.asarray(layer.decay.log_phase)))
        b, c = (w[0] + 1j * w[1] for w in map(np.asarray, (layer.input_weight, layer.output_weight)))
        h, wanted = np.zeros(4, complex), []
        for token in x:
            h = decay * h + np.exp(np.asarray(layer.log_scale)) * (b @ token)
            wanted.append((c @ h).real + np.asarray(layer.skip) * token)
        for found in run_and_stream(layer, x):
            np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(np.exp(2 * np.asarray(layer.log_scale)), 1 - np.abs(decay) ** 2, rtol=1e-10)


def test_states_of_a_new_lru_are_as_large_as_its_inputs():
    layer = drawn(LRU.create, 16, state_dim=64, largest=0.99)
    state = jax.jit(lambda layer, x: layer.stream(layer.init_state(), x)[0])(layer, tokens(500, 16))
    assert 0.5 < np.sqrt(np.mean(np.abs(state) ** 2)) < 2.0


def test_the_rg_lru_is_its_equations():
    with jax.enable_x64(True):
        layer, x = drawn(RGLRU.create, 6, heads=2), tokens(9, 6)
        layer = replace(layer, **{name: jnp.asarray(np.asarray(getattr(layer, name)) + by) for name, by in (("recurrence_bias", 0.2), ("input_bias", -0.1))})
        h, wanted = np.zeros(6), []
        for token in x:
            parts = token.reshape(2, 3)
            r, i = (
                sigmoid(np.concatenate([m @ p + v for m, v, p in zip(np.asarray(w), np.asarray(b), parts, strict=True)]))
                for w, b in ((layer.recurrence_gate, layer.recurrence_bias), (layer.input_gate, layer.input_bias))
            )
            a = sigmoid(np.asarray(layer.memory)) ** (8 * r)
            h = a * h + np.sqrt(1 - a**2) * i * token
            wanted.append(h)
        np.testing.assert_allclose(eqx.filter_jit(layer)(x), np.stack(wanted), rtol=1e-10, atol=1e-12)


@eqx.filter_jit
def run_in_every_way(layer, x, cut, changed):
    """Outputs at two sequences, streamed outputs at the first, and those of its two segments."""
    state, first = layer.stream(layer.init_state(), x[:cut])
    streamed, second = layer.stream(layer.init_state(), x)[1], layer.stream(state, x[cut:])[1]
    return jax.lax.map(layer, jnp.stack([x, changed])), streamed, jnp.concatenate([first, second])


BLOCKS = {
    "rg-lru": lambda key: RGLRU.create(4, heads=2, key=key),
    "recurrent": lambda key: RecurrentBlock.create(4, state_dim=6, heads=3, key=key),
    "hawk": lambda key: HawkBlock.create(4, state_dim=6, key=key),
    "lru-glu": lambda key: LRUBlock.create(4, state_dim=6, output_gate=GatedLinearUnit, key=key),
    "lru-mlp": lambda key: LRUBlock.create(4, state_dim=6, output_gate=Perceptron, key=key),
    "lru-gated": lambda key: LRUBlock.create(4, state_dim=6, input_gate=BilinearGate, output_gate=BilinearGate, normalised=False, key=key),
    "projected": lambda key: Projected.around(HawkBlock.create(6, key=key), dim=4, width=6, out_dim=3, key=key),
}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.whole] if kind in ("recurrent", "lru-mlp", "lru-glu") else []) for kind in BLOCKS])
def test_blocks_stream_and_are_causal(kind):
    x = tokens(11, 4)
    changed = np.concatenate([x[:6], x[6:7] + 1.0, x[7:]])
    with jax.enable_x64(True):
        (whole, moved), streamed, in_segments = run_in_every_way(with_random_weights(BLOCKS[kind]), x, 4, changed)
    np.testing.assert_allclose(streamed, whole, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(in_segments, whole, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(moved[:6], whole[:6])
    assert not np.allclose(moved[6:], whole[6:])


@pytest.mark.whole
def test_the_hawk_block_is_its_parts():
    with jax.enable_x64(True):
        block, x = drawn(HawkBlock.create, 4), tokens(7, 4)

        def norm(v):
            return v / np.sqrt(np.mean(np.asarray(v) ** 2, axis=-1, keepdims=True) + 1e-6)

        mixing, n = block.mixing, norm(x)
        branch = np.concatenate([np.zeros((3, 4)), n @ np.asarray(mixing.branch).T])
        convolved = sum(branch[i : i + 7] * np.asarray(mixing.filters[i]) for i in range(4))
        gelu = jax.jit(jax.nn.gelu)
        u = x + (gelu(n @ np.asarray(mixing.gate).T) * np.asarray(eqx.filter_jit(mixing.recurrence)(convolved))) @ np.asarray(mixing.output).T
        v = norm(u)
        feed = block.feed
        wanted = u + (gelu(v @ np.asarray(feed.gate).T) * (v @ np.asarray(feed.inward).T)) @ np.asarray(feed.outward).T
        np.testing.assert_allclose(eqx.filter_jit(block)(x), wanted, rtol=1e-10, atol=1e-12)


@jax.jit
def forward_and_backward(layer, x):
    return layer.gates(x)[0], layer(x), *jax.value_and_grad(lambda layer: jnp.mean(layer(x) ** 2))(layer)


@pytest.mark.parametrize("memory", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("size", [pytest.param(1.0, marks=pytest.mark.whole), 1e3])
def test_a_stream_of_ten_thousand_tokens_stays_finite(memory, size):
    """Whatever the parameters and the tokens, forward and backward; the states stay below what a perfect memory of unit scale could hold."""
    layer = replace(drawn(RGLRU.create, 3), memory=jnp.asarray(np.full(3, memory, np.float32)))
    decay, outputs, value, gradient = forward_and_backward(layer, (size * tokens(10_000, 3)).astype(np.float32))
    assert np.min(decay) >= 0
    assert np.max(decay) <= 1  # 1 only where float32 cannot tell
    assert np.isfinite(value)
    assert np.abs(outputs).max() < 100 * size
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_new_rg_lru_remembers_between_ten_and_a_thousand_tokens():
    memory = drawn(RGLRU.create, 500).memory
    retained = sigmoid(np.asarray(memory, np.float64)) ** 8
    assert 0.9 <= retained.min() < 0.91
    assert 0.99 < retained.max() <= 0.9991


def test_the_continued_root_is_the_root_where_it_matters():
    x = np.array([0.0, 1e-7, 1e-4, 0.5, 1.0], np.float32)
    root, gradient = jax.jit(jax.vmap(jax.value_and_grad(_root)))(x)
    np.testing.assert_allclose(root, np.sqrt(x), rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_channels_that_cannot_be_cut_into_heads_are_refused():
    with pytest.raises(ValueError, match="5 channels cannot be split into 2 heads"):
        RGLRU.create(5, heads=2, key=jax.random.key(0))


def test_the_lru_block_is_the_published_one():
    """x + GLU(gelu(LRU(norm(x)))), with the biases of the gated linear unit as a last column."""
    block, x = drawn(LRUBlock.create, 3, state_dim=4, output_gate=GatedLinearUnit), tokens(6, 3).astype(np.float32)
    normal = x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6)
    mixed = np.asarray(jax.jit(lambda lru, x: jax.nn.gelu(lru(x)))(block.lru, normal))
    value, gate = (mixed @ w[:, :3].T + w[:, 3] for w in map(np.asarray, (block.output.value, block.output.gate)))
    np.testing.assert_allclose(eqx.filter_jit(block)(x), x + value * sigmoid(gate), rtol=1e-4, atol=1e-5)


def test_a_projected_mixer_is_its_parts():
    block, x = drawn(Projected.around, drawn(RGLRU.create, 6), dim=4, width=6), tokens(5, 4).astype(np.float32)
    found, wanted = jax.jit(lambda block, x: (block(x), block.mixer(x @ block.inward.T) @ block.outward.T))(block, x)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert found.shape == x.shape
