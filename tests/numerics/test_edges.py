"""Values and gradients where formulas divide by zero, take logarithms or roots of it, overflow or underflow: one row a function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.exponential_rate import exponential_rate
from mesocosm.analysis.in_context import probes, regression
from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.analysis.spectra import low_rank_law
from mesocosm.analysis.tabular.gradient_statistics import decibels, gradient_statistics
from mesocosm.analysis.tangent.variance_decomposition import KernelModels, variance_parts
from mesocosm.analysis.tangent.vector_products import solve_by_products
from mesocosm.learning.policy_gradient import negative_p_log_p
from mesocosm.nn import LRU
from mesocosm.nn.blocks.norms import rms_normalise, unit_norm
from mesocosm.nn.mixers.scores import rms_over_heads, softmax
from mesocosm.nn.recurrences.decays import PolarDecay, SigmoidDecay
from mesocosm.numerics.edges import ratio, root

ZERO, ONES = np.zeros((2, 2)), np.ones(2)
POINTS = np.random.default_rng(0).standard_normal((6, 2))


def fitted(weights):
    probe = probes.fit_probe(jnp.asarray(POINTS, weights.dtype), jnp.asarray(POINTS[:, :1], weights.dtype), weights)
    return jnp.concatenate([probe.weight.ravel(), probe.offset])


def ridgeless(inverse):
    """The first prediction knows no pair, so that its matrix is 0."""
    return lambda x: regression.least_squares(x, inverse, ridge=0.0)[0]


CASES = {
    "0 / 0": (ratio, (0.0, 0.0), 0.0),
    "x / 0, otherwise": (lambda x, y: ratio(x, y, 7.0), (1.0, 0.0), 7.0),
    "root of 0": (root, (0.0,), 0.0),
    "root of a negative rounding error": (root, (-1e-8,), 0.0),
    "unit norm of 0": (unit_norm, ([0.0, 0.0],), [0.0, 0.0]),
    "unit norm, underflow": (unit_norm, ([3e-30, 4e-30],), [0.6, 0.8]),
    "unit norm, overflow": (unit_norm, ([3e30, 4e30],), [0.6, 0.8]),
    "rms of 0": (lambda x: rms_normalise(x, jnp.ones(2, x.dtype)), ([0.0, 0.0],), [0.0, 0.0]),
    "softmax of -inf": (lambda x: softmax(x, jnp.ones((1, 3), bool)), ([[[-np.inf, 0.0, 0.0]]],), [[[0.0, 0.5, 0.5]]]),
    "softmax of large scores": (lambda x: softmax(x, jnp.ones((1, 2), bool)), ([[[6e4, 6e4]]],), [[[0.5, 0.5]]]),
    "scores of 0 over heads": (lambda x: rms_over_heads(x, jnp.ones((1, 1), bool)), ([[[0.0]], [[0.0]]],), [[[0.0]], [[0.0]]]),
    "entropy at 0 and 1": (negative_p_log_p, ([0.0, 1.0],), [0.0, 0.0]),
    "sigmoid decay, far out": (lambda x: SigmoidDecay(x)(), ([-1e4, 1e4],), [0.0, 1.0]),
    "polar decay that keeps all": (lambda x: jnp.abs(PolarDecay(x, x)()), ([-np.inf],), [1.0]),
    "Neumann series of 0": (ridgeless(regression.ChebyshevInverse.neumann(3)), (POINTS,), [0.0, 0.0]),
    "step size for sequences of 0": (regression.line_search, (np.zeros((1, 4, 2)),), 0.0),
    "probe without examples": (fitted, (np.zeros(6),), np.zeros(3)),
    "solve by products, right side 0": (lambda r: solve_by_products(lambda w, x: w * x, 1.0, jnp.ones(1), r).residual, ([0.0],), 0.0),
    "joint decay at 0": (low_rank_law.joint_decay, (0.0, 0.1), 0.0),
    "joint decay, underflow": (low_rank_law.joint_decay, (1e-30, 1e-30), 1e-30),
    "balanced factors of 0": (lambda m: low_rank_law.balanced_factors(m * jnp.zeros((2, 2)), 1).a, (1.0,), np.zeros((2, 1))),
    "decay rate of no step": (low_rank_law.decay_rate, (0.0, 0.1), 0.2),
    "a mode that did not start": (low_rank_law.mode_strength, (1e3, 0.0, 1.0, 0.1), 0.0),
    "a mode below the threshold, late": (low_rank_law.mode_strength, (1e3, 0.5, 0.1, 1.0), 0.0),
    "a mode above the threshold, late": (low_rank_law.mode_strength, (1e3, 0.5, 1.0, 0.1), 0.9),
    "a critical mode": (low_rank_law.mode_strength, (1e3, 0.5, 1.0, 1.0), 0.5 / 1001),
}
ONLY_VALUES = {"probe without examples", "solve by products, right side 0", "balanced factors of 0"}
NARROW = ("unit norm of 0", "rms of 0", "softmax of -inf", "softmax of large scores", "scores of 0 over heads", "entropy at 0 and 1")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float32") for name in CASES),
        *((name, "float16") for name in NARROW),
        *(pytest.param(name, "bfloat16", marks=pytest.mark.whole) for name in NARROW),
    ],
    ids=lambda x: x,
)
def test_values_and_gradients_at_the_edges(name, dtype):
    function, given, wanted = CASES[name]
    given = tuple(jnp.asarray(x, dtype) for x in given)
    found = np.asarray(function(*given), np.float64)
    np.testing.assert_allclose(found, wanted, rtol=1e-5 if dtype == "float32" else 2e-3, atol=1e-37)
    if name not in ONLY_VALUES:
        gradients = jax.grad(lambda *given: jnp.sum(function(*given)), tuple(range(len(given))))(*given)
        assert all(jnp.isfinite(gradient).all() for gradient in gradients), gradients


INVERSES = [regression.ChebyshevInverse.neumann(3), regression.RichardsonInverse(jnp.ones(3)), regression.NewtonSchulzInverse(3)]


@pytest.mark.parametrize("inverse", INVERSES, ids=lambda inverse: type(inverse).__name__)
def test_every_approximate_inverse_of_zero_is_zero(inverse):
    value, gradient = jax.value_and_grad(lambda a: jnp.sum(inverse(a, jnp.ones(2))))(jnp.zeros((2, 2)))
    assert value == 0
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_statistics_of_a_gradient_do_not_depend_on_its_size(scale):
    gradients = scale * jnp.array([[1.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(gradient_statistics(gradients, scale * jnp.array([2.0, 0.0])), [4.0, 0.25, 0.0], rtol=1e-5)


def test_statistics_of_exact_estimates_and_of_a_gradient_of_zero():
    exact = jnp.array([[2.0, 0.0]] * 2)
    np.testing.assert_array_equal(gradient_statistics(exact, exact[0]), [np.inf, 0.0, 0.0])
    np.testing.assert_array_equal(gradient_statistics(exact, jnp.zeros(2)), [0.0, 0.0, np.inf])
    np.testing.assert_array_equal(gradient_statistics(jnp.zeros((2, 2)), jnp.zeros(2)), [np.inf, 0.0, 0.0])
    np.testing.assert_array_equal(decibels([np.inf, 0.0]), [np.inf, -80.0])


@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, np.inf], [1.0, np.nan], [1.0, -1.0], [1.0]])
def test_a_rate_needs_positive_finite_values_at_different_times(values):
    with pytest.raises(ValueError, match="a rate needs positive values at two or more times"):
        exponential_rate(np.arange(len(values)) * 1.0, np.array(values))
    with pytest.raises(ValueError, match="at 1 times"):
        exponential_rate(np.zeros(2), np.ones(2))
    assert exponential_rate(np.arange(3.0), np.exp(-np.arange(3.0)).astype(np.float16) * np.float16(1e-3)) == pytest.approx(1.0, abs=0.01)


def test_a_variance_needs_two_members():
    one = jnp.ones((1, 3))
    with pytest.raises(ValueError, match="two or more, not 1"):
        variance_parts(KernelModels(one, one, one, one))


def test_a_log_ratio_needs_finite_means():
    for wrong in (np.inf, 0.0, np.nan):
        with pytest.raises(ValueError, match="positive, finite means"):
            log_ratio_of_means(np.full(2, wrong), np.ones(2))


@pytest.mark.parametrize(("smallest", "largest"), [(0.0, 1.0), (1 - 1e-7, 1.0), (0.999, 1.0)])
def test_decays_next_to_the_unit_circle_are_inside_it_and_their_layer_is_alive(smallest, largest):
    layer = LRU.create(4, state_dim=64, smallest=smallest, largest=largest, key=jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda layer: jnp.sum(layer(jnp.ones((5, 4))) ** 2)))(layer)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((layer, gradient)))
    assert jnp.abs(layer.drive(jnp.ones(4))).min() > 0


@pytest.mark.parametrize("wrong", [{"smallest": 0.5, "largest": 0.5}, {"largest": 1.5}, {"smallest": -0.1}, {"max_phase": 0.0}, {"max_phase": float("inf")}])
def test_an_impossible_ring_of_decays_is_refused(wrong):
    with pytest.raises(ValueError, match="decays need 0 <= smallest"):
        PolarDecay.create(4, **wrong, key=jax.random.key(0))
