from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesocosm.analysis.in_context.probes import ProbeData, fit_probe, preconditioning_target, probe_loss, probe_losses
from mesocosm.analysis.in_context.regression import ChebyshevInverse, precondition


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


loss_of = jax.jit(probe_loss)
losses_of = eqx.filter_jit(probe_losses)


def test_a_probe_is_lstsq_at_every_site():
    activations, targets = normal(0, 2, 3, 20, 4), normal(1, 3, 20, 2)
    probe = fit_probe(activations, targets)
    assert probe.weight.shape == (2, 3, 4, 2)
    losses = loss_of(probe, activations, targets)
    weight, offset, losses = map(np.asarray, (*probe, losses))
    for layer in range(2):
        for position in range(3):
            design = np.concatenate([activations[layer, position], np.ones((20, 1))], axis=1)
            solution, squares, *_ = np.linalg.lstsq(design, targets[position])
            np.testing.assert_allclose(weight[layer, position], solution[:-1], rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(offset[layer, position], solution[-1], rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(losses[layer, position], squares.sum() / (2 * 20), rtol=1e-4)


def test_a_probe_finds_what_is_there():
    activations = normal(0, 50, 6)
    targets = activations @ normal(1, 6, 3) + 2.0
    assert losses_of(ProbeData(activations, targets), ProbeData(normal(2, 50, 6), normal(2, 50, 6) @ normal(1, 6, 3) + 2.0)).held_out < 1e-9
    through_origin = fit_probe(activations, targets, offset=False)
    np.testing.assert_array_equal(through_origin.offset, 0.0)
    np.testing.assert_allclose(through_origin.weight, np.linalg.lstsq(activations, targets)[0], rtol=1e-3, atol=1e-4)
    assert loss_of(through_origin, activations, targets) > 1.0


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_a_mask_is_the_smaller_batch(seed):
    activations, targets = normal(seed, 40, 5), normal(seed + 1, 40, 2)
    mask = np.random.default_rng(seed).random(40) < 0.7
    masked = fit_probe(activations, targets, mask)
    design = np.concatenate([activations, np.ones((40, 1))], axis=1)[mask]
    weight, squares, *_ = np.linalg.lstsq(design, np.asarray(targets)[mask])
    np.testing.assert_allclose(masked.weight, weight[:-1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(loss_of(masked, activations, targets, mask), squares.sum() / (2 * mask.sum()), rtol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.floats(-100, 100))
def test_a_probe_is_never_worse_than_the_mean(seed, shift):
    activations, targets = normal(seed, 30, 4), normal(seed + 1, 30, 3) + np.float32(shift)
    mean_predictor = 0.5 * np.sum((targets - targets.mean(0)) ** 2) / 30
    assert loss_of(fit_probe(activations, targets), activations, targets) <= mean_predictor * (1 + 1e-5)


def test_a_probe_on_a_prediction_is_no_worse_than_the_prediction():
    prediction, targets = normal(0, 100, 5), normal(1, 100, 5)
    direct = 0.5 * np.sum((targets - prediction) ** 2) / 100
    for offset in (True, False):
        assert loss_of(fit_probe(prediction, targets, offset=offset), prediction, targets) < direct


def test_the_loss_of_noise_shrinks_by_the_share_of_regressors():
    """Pure noise: (1 - D/B) sigma^2 outputs / 2 in the sample, and more than sigma^2 outputs / 2 out of it."""
    activations, targets, fresh = normal(0, 100, 64, 16), normal(1, 100, 64, 4), normal(2, 100, 64, 4)
    losses = losses_of(ProbeData(activations, targets), ProbeData(normal(3, 100, 64, 16), fresh), offset=False)
    np.testing.assert_allclose(np.mean(losses.in_sample), (1 - 16 / 64) * 2.0, rtol=0.03)
    np.testing.assert_allclose(np.mean(losses.held_out), (1 + 16 / (64 - 16 - 1)) * 2.0, rtol=0.03)
    with_offset = losses_of(ProbeData(activations, targets), ProbeData(activations, targets))
    np.testing.assert_allclose(np.mean(with_offset.in_sample), (1 - 17 / 64) * 2.0, rtol=0.03)


def test_dependent_activations_give_the_probe_of_least_norm():
    """Constructed tokens hold s_t twice beside zeros: the probe stays finite and as good."""
    activations, targets = normal(0, 64, 5), normal(1, 64, 3)
    repeated = np.concatenate([np.zeros_like(activations), activations, activations], axis=-1)
    single, double = fit_probe(activations, targets), fit_probe(repeated, targets)
    np.testing.assert_allclose(loss_of(double, repeated, targets), loss_of(single, activations, targets), rtol=1e-4)
    weight = np.asarray(double.weight)
    np.testing.assert_allclose(weight[5:10], np.asarray(single.weight) / 2, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(weight[:5], 0.0, atol=1e-5)


def test_preconditioning_target_marks_the_tail():
    inputs, inverse = normal(0, 64, 12, 3), ChebyshevInverse.neumann(4)
    inputs[5, 8] *= 1000.0
    targets, typical = map(np.asarray, jax.jit(preconditioning_target)(inputs, inverse))
    one = jax.jit(partial(precondition, include_last_pair=False))(inputs[7], inverse)
    np.testing.assert_allclose(targets[:, 7], one, rtol=1e-4, atol=1e-5)
    assert typical.shape == (12, 64)
    norms = np.linalg.norm(targets, axis=-1)
    np.testing.assert_array_equal(typical, norms <= norms.mean(1, keepdims=True) + 2 * norms.std(1, keepdims=True))
    assert not typical[8, 5]
    assert 0.9 < typical.mean() < 1.0


def test_examples_must_match():
    with pytest.raises((ValueError, TypeError)):  # the shape check of this test run comes before our own
        fit_probe(jnp.asarray(normal(0, 10, 2)), jnp.asarray(normal(1, 9, 2)))
