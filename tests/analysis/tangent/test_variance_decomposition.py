"""The parts of an ensemble's variance: exact identities, closed forms, and what follows from one neuron."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from mesocosm.analysis.tangent.infinite_width import infinite_width_kernels
from mesocosm.analysis.tangent.variance_decomposition import (
    function_noise_limit,
    kernel_models,
    linear_network_variances,
    single_neuron_prediction,
    variance_parts,
)
from mesocosm.nn.tangent_parametrisation import TangentMLP, negate_readout
from mesocosm.studies.ensembles.config import LinearNetwork, Scaling
from mesocosm.studies.ensembles.kernels import Draws, draw_networks, models_of, weights_of
from mesocosm.studies.ensembles.widths import draw_problem, limits_of, linear_variances, rectifiers, width_variances


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def build(depth, key, bias_scale=0.0):
    return TangentMLP.create(4, 1, width=32, depth=depth, bias_scale=bias_scale, key=key)


def setting(depth=2, members=12, test=None):
    keys = jax.random.split(jax.random.key(depth), 4)
    train = jax.random.normal(keys[0], (5, 4))
    test = jax.random.normal(keys[1], (7, 4)) if test is None else test

    @jax.jit
    def made(keys, test, train):
        draws = draw_networks(Partial(build, depth), keys, test, train, at_once=6)
        return draws, weights_of(infinite_width_kernels(jnp.concatenate([test, train]), train, depth=depth).ntk)

    return *made(jax.random.split(keys[2], members), test, train), jax.random.normal(keys[3], (5,)), train


@pytest.mark.whole
@pytest.mark.parametrize("depth", [1, 2])
def test_the_parts_add_up_for_each_member_and_in_variance(depth):
    draws, mean, y, _ = setting(depth)
    other = jax.random.normal(jax.random.key(7), mean.shape)
    for weights in (mean, other, jnp.zeros_like(mean)):  # for any matrix in the place of Qbar
        models = models_of(draws, weights, y)
        sums = models.function + models.kernel + models.interaction - 2 * weights @ y
        np.testing.assert_allclose(sums, models.full, atol=1e-8 * np.abs(models.full).max())
        parts = variance_parts(models)
        np.testing.assert_allclose(sum(parts[1:]), parts.full, rtol=1e-9, atol=1e-10 * np.abs(parts.function).max())
    np.testing.assert_allclose(parts.full, np.var(models.full, axis=0, ddof=1), rtol=1e-10)
    np.testing.assert_allclose(parts.function_kernel, [2 * np.cov(a, c)[0, 1] for a, c in zip(models.function.T, models.kernel.T, strict=True)], rtol=1e-8)


@pytest.mark.whole
def test_every_model_meets_the_labels_on_the_training_set():
    _, _, y, train = setting()
    draws, mean, _, _ = setting(test=train)
    models = models_of(draws, mean, y)
    for model in models:
        np.testing.assert_allclose(model, np.broadcast_to(y, model.shape), atol=1e-6)
    assert max(float(part.max()) for part in variance_parts(models)) < 1e-8


@pytest.mark.whole
def test_mirrored_members_have_uncorrelated_kernel_noise():
    keys = jax.random.split(jax.random.key(0), 4)
    train, test = jax.random.normal(keys[0], (5, 4)), jax.random.normal(keys[1], (7, 4))

    def mirrored(key):
        return negate_readout(build(2, key, 0.3))

    members = jax.random.split(keys[2], 10)
    plain = jax.jit(lambda keys: draw_networks(Partial(build, 2, bias_scale=0.3), keys, test, train, at_once=10))(members)
    turned = jax.jit(lambda keys: draw_networks(mirrored, keys, test, train, at_once=10))(members)
    np.testing.assert_allclose(turned.kernel, plain.kernel, rtol=1e-12)
    np.testing.assert_allclose(turned.start, -plain.start, rtol=1e-12)
    mean, y = weights_of(plain.kernel[:3].mean(0)), jax.random.normal(keys[3], (5,))
    one, other = models_of(plain, mean, y), models_of(turned, mean, y)
    np.testing.assert_allclose(other.kernel, one.kernel, rtol=1e-9)
    np.testing.assert_allclose(other.function - mean @ y, -(one.function - mean @ y), atol=1e-10)
    np.testing.assert_allclose(other.interaction - mean @ y, -(one.interaction - mean @ y), atol=1e-10)
    both = variance_parts(models_of(Draws(*(jnp.concatenate(pair) for pair in zip(plain, turned, strict=True))), mean, y))
    assert np.abs(both.function_kernel).max() < 1e-12 * float(both.function.max())
    assert np.abs(both.kernel_interaction).max() < 1e-12 * float(both.function.max())
    assert np.abs(both.function_interaction).max() > 1e-4 * float(both.function.max())
    assert np.abs(variance_parts(one).function_kernel).max() > 1e-4 * float(both.function.max())


@pytest.mark.whole
def test_labels_and_readouts_scale_the_parts_that_they_enter():
    draws, mean, y, _ = setting()
    once, none, thrice = (variance_parts(models_of(draws, mean, labels)) for labels in (y, 0 * y, 3 * y))
    for part in ("function", "interaction"):
        np.testing.assert_array_equal(getattr(none, part) > 0, True)
        np.testing.assert_allclose(getattr(thrice, part), getattr(once, part), rtol=1e-9)
        np.testing.assert_allclose(getattr(none, part), getattr(once, part), rtol=1e-9)
    np.testing.assert_allclose(thrice.kernel, 9 * once.kernel, rtol=1e-10)
    np.testing.assert_array_equal(none.kernel, 0)
    louder = variance_parts(models_of(Draws(2 * draws.start, 4 * draws.kernel), mean, y))
    np.testing.assert_allclose(louder.function, 4 * once.function, rtol=1e-9)
    np.testing.assert_allclose(louder.kernel, once.kernel, rtol=1e-9)


@pytest.mark.whole
def test_a_scaled_readout_is_a_scaled_function_and_kernel():
    """What the line above multiplies by hand is what the network does."""
    x = jax.random.normal(jax.random.key(0), (4, 4))

    def scaled(alpha, key):
        return TangentMLP.create(4, 1, width=8, depth=1, readout_scale=alpha, key=key)

    one, three = (draw_networks(Partial(scaled, alpha), jax.random.split(jax.random.key(1), 2), x, x, at_once=2) for alpha in (1.0, 3.0))
    np.testing.assert_allclose(three.start, 3 * one.start, rtol=1e-12)
    np.testing.assert_allclose(three.kernel, 9 * one.kernel, rtol=1e-12)


@pytest.mark.whole
@pytest.mark.parametrize("depth", [1, 3])
def test_without_biases_variances_grow_with_the_square_of_the_distance(depth):
    x = jax.random.normal(jax.random.key(0), (6, 4))
    near, far = (variance_parts(models_of(*setting(depth, test=scale * x)[:3])) for scale in (1.0, 2.5))
    for part in ("full", "function", "kernel", "interaction"):
        np.testing.assert_allclose(getattr(far, part), 6.25 * getattr(near, part), rtol=1e-8)


@pytest.mark.whole
def test_linear_networks_have_their_closed_form():
    config = LinearNetwork(widths=(100,), members=8000, test=10)
    found, predicted = jax.jit(lambda a, b: linear_variances(config, 100, a, b))(jax.random.key(0), jax.random.key(1))
    for part, tolerance in (("function", 0.05), ("kernel", 0.08), ("interaction", 0.08), ("function_interaction", 0.15)):
        assert abs(np.log(getattr(found, part) / getattr(predicted, part))) < tolerance, part
    problem = draw_problem(config, jax.random.key(0))
    on_data = linear_network_variances(problem.train, problem.train, problem.labels, 100)
    assert max(float(jnp.abs(part).max()) for part in on_data) < 1e-12


@pytest.mark.whole
def test_one_neuron_and_infinite_width_say_what_rectifiers_do():
    config = Scaling(widths=(256,), members=500, neurons=50_000, at_once=100)
    keys = jax.random.key(0), jax.random.key(1)
    found = jax.jit(lambda a, b: width_variances(config, 256, a, b))(*keys)
    limits = jax.jit(lambda a, b: limits_of(config, a, b))(*keys)
    assert abs(np.log(256 * found.kernel / limits.kernel)) < 0.15
    assert abs(np.log(256 * found.interaction / limits.interaction)) < 0.2
    assert abs(np.log(found.function / limits.function)) < 0.15
    assert abs(np.log(limits.nngp / limits.function)) > 0.02  # another posterior


@pytest.mark.whole
def test_the_average_over_neurons_has_the_predicted_first_moment():
    """E[B] = 0: with fresh neurons, the kernel that Qbar stands for is the analytic one; a wrong Qbar inflates the prediction."""
    problem = draw_problem(Scaling(), jax.random.key(0))
    train, test = (infinite_width_kernels(x, problem.train, depth=1) for x in (problem.train, problem.test))
    mean = weights_of(jnp.concatenate([test.ntk, train.ntk]))
    options = {"ntk_train": train.ntk, "nngp_train": train.nngp, "samples": 20_000}

    def predict(weights):
        return single_neuron_prediction(jax.random.key(1), problem.test, problem.train, problem.labels, mean_weights=weights, **options)

    assert float(predict(mean).kernel.mean()) < float(predict(mean + 0.3).kernel.mean())
    np.testing.assert_array_less(0, predict(mean).kernel)


@pytest.mark.whole
def test_noise_of_the_function_vanishes_on_the_data_and_is_positive_elsewhere():
    problem = draw_problem(Scaling(), jax.random.key(0))
    points = jnp.concatenate([problem.train, problem.test])
    kernels = infinite_width_kernels(points, problem.train, depth=2)
    prior = jnp.diagonal(infinite_width_kernels(points, points, depth=2).nngp)
    mean = jnp.linalg.solve(kernels.ntk[:6], kernels.ntk.T).T
    limit = function_noise_limit(prior, kernels.nngp, kernels.nngp[:6], mean)
    np.testing.assert_allclose(limit[:6], 0, atol=1e-10)
    assert float(limit[6:].min()) > 0


@pytest.mark.whole
def test_models_are_their_definition_one_member_at_a_time():
    draws, mean, y, _ = setting()
    weights = weights_of(draws.kernel)
    models = kernel_models(draws.start[:, :7], draws.start[:, 7:], weights, mean, y)
    for m in range(3):
        f, g, q = draws.start[m, :7], draws.start[m, 7:], weights[m]
        np.testing.assert_allclose(models.full[m], f + q @ (y - g), rtol=1e-10)
        np.testing.assert_allclose(models.function[m], f + mean @ (y - g), rtol=1e-10)
        np.testing.assert_allclose(models.kernel[m], q @ y, rtol=1e-10)
        np.testing.assert_allclose(models.interaction[m], mean @ y - (q - mean) @ g, rtol=1e-10)


@pytest.mark.slow
def test_noise_of_the_kernel_falls_with_the_width_and_that_of_the_function_does_not():
    config = Scaling(members=1000)
    widths = np.array(config.widths)
    found = [jax.jit(lambda a, b, n=int(n): width_variances(config, n, a, b))(jax.random.key(0), jax.random.key(1)) for n in widths]
    assert rectifiers(config, 8, jax.random.key(0)).layers[0].weight.shape == (8, 4)

    def slope(part):
        return np.polyfit(np.log(widths), [float(np.log(getattr(f, part))) for f in found], 1)[0]

    assert -1.15 < slope("kernel") < -0.85
    assert -1.15 < slope("interaction") < -0.85
    assert -0.1 < slope("function") < 0.1
