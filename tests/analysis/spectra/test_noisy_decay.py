"""Momentum, noise and decoupled decay: the identity along simulated paths, and a floor that only noise has."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.exponential_rate import exponential_rate
from mesocosm.analysis.spectra.factor_spectra import balance
from mesocosm.analysis.spectra.low_rank_law import Factors, gap_bound, imbalance, root_gap_bound
from mesocosm.analysis.spectra.noisy_decay import Rates, simulate

TARGET = np.diag([1.0, 0.6, 0.3])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@partial(jax.jit, static_argnames=("blocks", "block"))
def paths(rates, blocks, block, keys):
    """Four paths at once."""

    def one(key):
        first, second = jax.random.split(key)
        drawn = 0.5 * jax.random.normal(first, (2, 3, 3))
        return simulate(Factors(drawn[0], drawn[1]), lambda w: w - TARGET, rates, blocks=blocks, block=block, key=second)

    return jax.vmap(one)(keys)


def at(noise, step=0.02, blocks=40, block=100):
    return jax.tree.map(np.asarray, paths(Rates(10.0, 0.5, 0.2, noise, step), blocks, block, jax.random.split(jax.random.key(0), 4)))


@pytest.mark.whole
def test_the_identity_holds_along_noisy_paths():
    """The exact law of each step to rounding; the integral to first order in dt."""
    coarse, fine = at(0.5, step=0.02, block=100), at(0.5, step=0.005, block=400)
    for path in (coarse, fine):
        assert path.step_error.max() < 1e-12
        np.testing.assert_allclose(path.time[0], np.arange(1, 41) * 2.0)
    assert fine.integral_error.max() < coarse.integral_error.max() / 2
    assert fine.integral_error.max() < 0.02
    found = np.asarray(jax.vmap(imbalance)(Factors(*(part[:, -1] for part in fine.factors))))
    np.testing.assert_allclose(np.linalg.norm(found, axis=(-2, -1)), fine.difference[:, -1], rtol=1e-12)


@pytest.mark.whole
def test_noise_alone_makes_a_floor():
    silent, noisy, louder = at(0.0), at(0.3), at(0.9)
    floors = [path.difference[:, -13:].mean() for path in (silent, noisy, louder)]
    assert floors[0] < 1e-4 * floors[1]
    assert 0.7 < np.log(floors[2] / floors[1]) / np.log(3) < 2.3
    late = slice(5, 25)
    rates = [exponential_rate(silent.time[0, late], silent.difference[seed, late]) for seed in range(4)]
    np.testing.assert_allclose(rates, 2 * 0.5 * 0.2, rtol=0.03)


def test_the_papers_bound_on_the_gap_is_never_below_the_linear_one():
    """C13: gap <= |D| / 2 <= sqrt(|D|) (|A| + |B|) / 2 in nuclear norms, on random pairs; their ratio as derived."""
    random, both = np.random.default_rng(0), jax.jit(jax.vmap(lambda f: (gap_bound(imbalance(f)), root_gap_bound(f))))
    a, b = random.standard_normal((200, 5, 3)), random.uniform(0.2, 2, (200, 1, 1)) * random.standard_normal((200, 4, 3))
    linear, root = map(np.asarray, both(Factors(jnp.asarray(a), jnp.asarray(b))))
    found = balance(a, b)
    assert np.all(found.gap <= linear + 1e-9)
    assert np.all(linear <= root + 1e-9)
    np.testing.assert_allclose(linear, found.bound, rtol=1e-9)
    norms = np.linalg.svd(a, compute_uv=False).sum(-1) + np.linalg.svd(b, compute_uv=False).sum(-1)
    np.testing.assert_allclose(linear / root, np.sqrt(2 * linear) / norms, rtol=1e-9)
