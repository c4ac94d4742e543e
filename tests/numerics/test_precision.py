"""Solves, kernels and identities take their products in full precision on every device, and one module says what that is."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import mesocosm
from mesocosm.analysis.in_context import attention_products, probes, regression
from mesocosm.analysis.spectra import low_rank_law, nuclear_norm
from mesocosm.analysis.tabular import dynamic_programming as tabular
from mesocosm.analysis.tangent import infinite_width, kernel, kernel_regression, variance_decomposition, vector_products
from mesocosm.envs.random_mdp import random_mdp
from mesocosm.nn import LinearAttention, MesaAttention, gated_mesa, recursive_least_squares
from mesocosm.numerics import linear_algebra

X, Y = jax.random.normal(jax.random.key(0), (2, 6, 3))
SQUARE = X.T @ X
WIDE = jnp.eye(6) + X @ X.T
FACTORS = low_rank_law.Factors(X, Y)
POLICY = jnp.full((4, 2), 0.5)


def network(params, x):
    return jnp.tanh(x @ params["first"]) @ params["second"]


def weights():
    return {"first": jnp.ones((3, 5)), "second": jnp.ones((5, 2))}


def scalar(function):
    """The gradient of the sum of a function's outputs."""
    return jax.grad(lambda *given: sum(jnp.sum(out) for out in jax.tree.leaves(function(*given))), allow_int=True)


CASES = {
    "mesa": (recursive_least_squares, X, X, Y, jnp.ones(3)),
    "mesa's gradient": (scalar(recursive_least_squares), X, X, Y, jnp.ones(3)),
    "gated mesa": (lambda *given: gated_mesa(*given, None, None, jnp.ones(3)).output, X, X, Y),
    "gated mesa's gradient": (scalar(lambda *given: gated_mesa(*given, None, None, jnp.ones(3)).output), X, X, Y),
    "solve's gradient": (scalar(linear_algebra.solve), SQUARE, X.T),
    "least squares' gradient": (scalar(linear_algebra.least_squares), X, Y),
    **{method: (lambda x, method=method: kernel.kernel_block(network, weights(), x, method=method), X) for method in kernel.FEATURES},
    "products": (lambda x: kernel.kernel_block(network, weights(), x, method="products"), X),
    "solve by products": (lambda x: vector_products.solve_by_products(network, weights(), x, jnp.ones((6, 2))).coefficients, X),
    "infinite width": (lambda x: infinite_width.infinite_width_kernels(x, x, depth=2), X),
    "training for a time": (lambda k, r: kernel_regression.dual_weights(k, r, time=1.0), WIDE, Y),
    "gaussian process": (kernel_regression.gaussian_process, X @ X.T, WIDE, jnp.ones(6), Y),
    "linear network": (lambda *given: variance_decomposition.linear_network_variances(*given, 8), X[2:], X[:2], jnp.ones(2)),
    "ridge in context": (regression.least_squares, X),
    "series in context": (lambda x: regression.least_squares(x, regression.ChebyshevInverse.neumann(3)), X),
    "gradient step in context": (lambda x: regression.gradient_step(x, 0.1), X),
    "probe": (lambda x, y: probes.fit_probe(x, y), X, Y),
    "attention products": (lambda x: attention_products.ProductAttention.from_factors(X[None], X[None], X[None], X.T[None])(x), X),
    "imbalance": (low_rank_law.imbalance, FACTORS),
    "nuclear norm": (scalar(nuclear_norm.nuclear_norm), X, Y),
    "values": (lambda policy: tabular.action_values(random_mdp(jax.random.key(0), 4, 2, 3), policy), POLICY),
}


@pytest.mark.parametrize("name", CASES)
def test_products_are_in_full_precision(name):
    function, *given = CASES[name]
    program = jax.jit(function).lower(*given).as_text()
    products = re.findall(r"stablehlo.dot_general .*", program)
    assert products
    assert [product for product in products if "precision = [HIGHEST, HIGHEST]" not in product] == []


def test_a_layers_own_products_are_as_fast_as_the_device_likes():
    def program(layer):
        return jax.jit(lambda x: layer.create(3, heads=1, key=jax.random.key(0))(x)).lower(X).as_text()

    assert "HIGHEST" not in program(LinearAttention)
    mixed = program(MesaAttention)
    assert "[HIGHEST, HIGHEST]" in mixed
    assert "[DEFAULT, DEFAULT]" in mixed


def test_one_module_decides():
    source = Path(mesocosm.__file__).parent
    deciding = [
        path.relative_to(source).as_posix() for path in source.rglob("*.py") if re.search(r"default_matmul_precision|[\"']highest[\"']", path.read_text())
    ]
    assert deciding == ["numerics/precision.py"]
