from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mesocosm.tasks.linear_systems import (
    ContractingTransition,
    LinearSystems,
    OrthogonalTransition,
    constructed_tokens,
    haar_orthogonal,
    next_token_loss,
    per_position_loss,
)
from mesocosm.tasks.task import batch

# All numbers of a task are leaves: the tests of the orthogonal task share this one compiled program.
drawn_on_device = jax.jit(lambda task, key: batch(task, key, 2048))


def draw(task, seed):
    """Observations, inputs, targets and transitions."""
    drawn = drawn_on_device(task, jax.random.key(seed))
    return map(np.asarray, (drawn.observations, drawn.inputs, drawn.targets, drawn.transition))


@partial(jax.jit, static_argnums=(1, 2))
def haar_orthogonals(key, draws, dim):
    return jax.vmap(lambda key: haar_orthogonal(key, dim))(jax.random.split(key, draws))


@pytest.mark.parametrize("dim", [1, 10])
def test_haar_matrices_are_orthogonal(dim):
    rotations = np.asarray(haar_orthogonals(jax.random.key(0), 64, dim))
    np.testing.assert_allclose(rotations @ rotations.mT, np.broadcast_to(np.eye(dim), rotations.shape), atol=2e-6)


def test_haar_matrices_are_haar():
    """Invariant under multiplication from either side, compared with SciPy's sampler: entries, trace, and the share of rotations."""
    dim, draws = 4, 4000
    ours = np.asarray(haar_orthogonals(jax.random.key(1), draws, dim))
    scipys = stats.ortho_group.rvs(dim, size=draws, random_state=2)
    mixing = stats.ortho_group.rvs(dim, random_state=3)
    statistics = [lambda w: w[:, 0, 0], lambda w: w[:, 3, 1], lambda w: np.trace(w, axis1=1, axis2=2), lambda w: np.trace(w @ w, axis1=1, axis2=2)]
    for statistic in statistics:
        for candidate in (ours, ours @ mixing, mixing @ ours):
            assert stats.ks_2samp(statistic(candidate), statistic(scipys)).pvalue > 1e-3
    assert stats.binomtest(int((np.linalg.det(ours) > 0).sum()), draws).pvalue > 1e-3
    np.testing.assert_allclose(np.trace(ours, axis1=1, axis2=2).var(), 1.0, atol=0.1)  # a moment that QR without the sign fix gets wrong
    # A control: LAPACK's QR without the sign fix is not Haar, and this test can tell.
    unfixed = np.linalg.qr(np.random.default_rng(0).normal(size=(draws, dim, dim)))[0]
    assert stats.ks_2samp(statistics[2](unfixed), statistics[2](scipys)).pvalue < 1e-6


@pytest.mark.whole
def test_states_follow_the_system():
    observations, inputs, targets, transition = draw(LinearSystems.orthogonal(), 0)
    residual = targets - np.einsum("bij,btj->bti", transition, inputs)
    assert inputs.shape == targets.shape == (2048, 50, 10)
    np.testing.assert_allclose(residual.std(), 0.01, rtol=0.005)
    np.testing.assert_allclose(residual.mean(), 0.0, atol=5e-5)
    assert stats.kstest(residual[:, ::10].ravel() / 0.01, "norm").pvalue > 1e-3
    assert stats.kstest(observations[:, 0].ravel(), stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert np.linalg.matrix_rank(transition[:10].reshape(10, -1)) == 10  # every sequence has a system of its own


def test_noise_free_orthogonal_systems_keep_the_norm():
    observations, *_ = draw(LinearSystems.orthogonal(noise=0.0), 0)
    norms = np.linalg.norm(observations, axis=-1)
    np.testing.assert_allclose(norms, np.broadcast_to(norms[:, :1], norms.shape), rtol=1e-5)


def test_start_and_clip():
    observations, *_ = draw(LinearSystems.orthogonal(noise=3.0, start=0.5, clip=1.25), 0)
    assert 0.49 < np.abs(observations[:, 0]).max() <= 0.5
    assert np.abs(observations).max() == 1.25
    with pytest.raises(ValueError, match="length = 0"):
        LinearSystems(OrthogonalTransition(3), length=0)


def test_zero_predictor_and_noise_floor():
    """At t = 1 the zero predictor has loss n/6 + n sigma^2/2, the true system n sigma^2/2 everywhere; ||s_1||^2 is n/3 in the mean."""
    dim, noise = 10, 0.3
    observations, inputs, targets, transition = draw(LinearSystems.orthogonal(noise=noise), 1)
    loss = jax.jit(per_position_loss)
    zero = np.asarray(loss(np.zeros_like(targets), targets))
    np.testing.assert_allclose(zero[0], dim / 6 + dim * noise**2 / 2, rtol=0.03)
    np.testing.assert_allclose(np.sum(observations[:, 0] ** 2, -1).mean(), dim / 3, rtol=0.03)
    exact = np.einsum("bij,btj->bti", transition, inputs)
    np.testing.assert_allclose(loss(exact, targets), dim * noise**2 / 2, rtol=0.05)


def test_contracting_eigenvalues():
    with jax.enable_x64(True):
        matrices = np.asarray(jax.jit(jax.vmap(ContractingTransition(10)))(jax.random.split(jax.random.key(0), 64)))
    eigenvalues = np.linalg.eigvals(matrices)
    assert np.abs(eigenvalues.imag).max() < 1e-6
    assert eigenvalues.real.min() >= 0.3 - 1e-6
    np.testing.assert_allclose(eigenvalues.real.max(axis=1), 0.9, atol=1e-6)
    others = np.sort(eigenvalues.real, axis=1)[:, :-1].ravel()
    assert stats.kstest(others, stats.uniform(0.3, 0.6).cdf).pvalue > 1e-3


def test_contracting_sequences_are_clipped_at_2():
    trajectory = jax.jit(lambda keys: jax.lax.map(LinearSystems.contracting().sample, keys))(jax.random.split(jax.random.key(0), 200))
    observations = np.asarray(trajectory.observations)
    assert np.abs(observations).max() == 2.0
    assert np.isfinite(observations).all()
    assert np.median(np.abs(observations[:, -1])) < 0.1  # and they do contract


def test_fixed_teacher_is_one_array_leaf_a_replicate():
    fixed_teacher = eqx.filter_jit(lambda key: LinearSystems.fixed_teacher(key, dim=5, length=3))
    teacher = fixed_teacher(jax.random.key(0))
    transitions = np.asarray(jax.jit(jax.vmap(teacher.transition))(jax.random.split(jax.random.key(1), 4)))
    np.testing.assert_array_equal(transitions, np.broadcast_to(transitions[:1], transitions.shape))
    np.testing.assert_allclose(transitions[0] @ transitions[0].T, np.eye(5), atol=1e-6)
    assert [leaf.shape for leaf in jax.tree.leaves(eqx.filter(teacher, eqx.is_array))] == [(5, 5)]

    @jax.jit
    def transitions_of_seeds(keys, others):
        stacked = jax.vmap(lambda key: LinearSystems.fixed_teacher(key, dim=5, length=3))(keys)
        return jax.vmap(lambda task, key: task.sample(key).transition)(stacked, others)

    per_seed = np.asarray(transitions_of_seeds(*(jax.random.split(jax.random.key(seed), 3) for seed in (2, 3))))
    assert per_seed.shape == (3, 5, 5)
    assert np.abs(per_seed[0] - per_seed[1]).max() > 0.1


def test_losses_are_half_sums_over_components():
    predictions, targets = np.random.default_rng(0).standard_normal((2, 3, 4, 5), np.float32)
    expected = sum(np.sum((targets[b, t] - predictions[b, t]) ** 2) for b in range(3) for t in range(4)) / (2 * 3 * 4)

    @jax.jit
    def means(*given):
        return next_token_loss(*given), per_position_loss(*given).mean(), jax.vmap(next_token_loss)(*given).mean()

    np.testing.assert_allclose(means(predictions, targets), expected, rtol=1e-6)
    with pytest.raises((ValueError, TypeError)):  # the shape check of this test run comes before our own
        next_token_loss(jnp.asarray(predictions), jnp.asarray(targets[:2]))


def test_constructed_tokens():
    inputs, tokens = np.arange(1.0, 7.0, dtype=np.float32).reshape(3, 2), jax.jit(constructed_tokens)
    expected = [[0, 0, 1, 2, 1, 2, 0, 0], [0, 0, 3, 4, 3, 4, 1, 2], [0, 0, 5, 6, 5, 6, 3, 4]]
    np.testing.assert_array_equal(tokens(inputs), expected)
    np.testing.assert_array_equal(np.asarray(tokens(inputs[None]))[0], expected)
