"""The tangent kernel by three ways, against a Jacobian written out, for many kinds of functions."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.tangent.features import Jacobian, Outer
from mesocosm.analysis.tangent.kernel import MEBIBYTE, kernel_block, of_module, structured_features, tangent_kernel
from mesocosm.analysis.tangent.structured_derivatives import structured_leaves
from mesocosm.analysis.tangent.vector_products import ntk_vector_product, solve_by_products
from mesocosm.nn.tangent_parametrisation import TangentCNN, TangentMLP


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def written_out(function, params, x1, x2):
    """The definition, with every derivative in one dense matrix."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def jacobian(flat, x):
        return jax.vmap(lambda one: jax.jacfwd(lambda theta: jnp.ravel(function(unravel(theta), one)))(flat))(x)

    return jax.jit(lambda flat, x1, x2: jnp.einsum("ncp,mdp->ncmd", jacobian(flat, x1), jacobian(flat, x2)))(flat, x1, x2)


# --- functions --------------------------------------------------------------------------------------------------------


class Normed(eqx.Module):
    """Elementwise parameters, a shared matrix, a scalar, a matrix met by several positions, and one inside a loop."""

    first: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    shared: jax.Array
    gain: jax.Array
    loop: jax.Array
    last: eqx.nn.Linear

    def __call__(self, x):
        h = self.norm(jax.nn.gelu(self.first(x)))
        h = jnp.tanh(self.shared @ h) + self.shared.T @ h
        h, _ = jax.lax.scan(lambda h, _: (jnp.tanh(self.loop @ h), None), h, length=2)
        tokens = (h.reshape(2, 2) / 3.0) @ (2.0 * self.last.weight.T)
        return jnp.exp(self.gain) * tokens.sum(0) + self.last.bias


def normed(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    return Normed(eqx.nn.Linear(3, 4, key=keys[0]), eqx.nn.LayerNorm(4), normal(1, 4, 4), jnp.array(0.3), normal(2, 4, 4), eqx.nn.Linear(2, 3, key=keys[1]))


class Pictures(eqx.Module):
    """Convolutions with biases, strides and dilation, and one in groups, which has no rule."""

    layers: list

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](jnp.ravel(x))


def pictures():
    keys = jax.random.split(jax.random.key(0), 4)
    layers = [
        eqx.nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=((1, 0), (0, 1)), key=keys[0]),
        eqx.nn.Conv2d(3, 3, 2, dilation=2, key=keys[1]),
        eqx.nn.Conv2d(3, 3, 1, groups=3, key=keys[2]),
    ]
    size = jax.eval_shape(lambda x: jnp.ravel(layers[2](layers[1](layers[0](x)))), jnp.zeros((2, 6, 6))).shape[0]
    return Pictures([*layers, eqx.nn.Linear(size, 2, key=keys[3])])


def plain(params, x):
    """Parameters in a dictionary; the weights come first in one product and last in another."""
    h = jnp.tanh(x @ params["in"] * 0.5 - params["shift"])
    return (-params["out"] / jnp.sqrt(5.0)) @ h


def plain_params():
    return {"in": normal(0, 3, 5), "shift": normal(1, 5), "out": normal(2, 2, 5), "unused": normal(3, 4)}


CASES = {  # function, parameters, inputs, and which parameters have structure
    "mlp": lambda: (*of_module(TangentMLP.create(3, 2, width=5, depth=2, bias_scale=0.4, key=jax.random.key(0))), normal(5, 4, 3), [True] * 5),
    "one output": lambda: (*of_module(TangentMLP.create(3, 1, width=5, depth=1, key=jax.random.key(0))), normal(5, 4, 3), [True] * 2),
    "eqx mlp": lambda: (*of_module(eqx.nn.MLP(3, 2, 4, 2, key=jax.random.key(0))), normal(5, 4, 3), [True] * 6),
    "cnn": lambda: (*of_module(TangentCNN.create(2, 3, width=3, key=jax.random.key(0))), normal(6, 3, 2, 5, 5), [True] * 3),
    "convolutions": lambda: (*of_module(pictures()), normal(6, 3, 2, 6, 6), [True] * 4 + [False, True] + [True] * 2),
    "everything": lambda: (*of_module(normed()), normal(7, 4, 3), [True, True, True, True, False, False, False, True, True]),
    "dictionary": lambda: (plain, plain_params(), normal(8, 4, 3), [True, True, True, False]),
}


@pytest.mark.whole
@pytest.mark.parametrize("name", CASES)
def test_all_ways_are_the_definition(name):
    function, params, x, _ = CASES[name]()
    wanted = written_out(function, params, x, x[:2])
    asked = [(method, outputs) for method in ("contraction", "structured", "products") for outputs in ("all", "mean")]

    @jax.jit
    def every_way(params, x):
        return [kernel_block(function, params, x, x[:2], method=method, outputs=outputs) for method, outputs in asked]

    for (method, outputs), found in zip(asked, every_way(params, x), strict=True):
        right = wanted if outputs == "all" else np.einsum("ncmc->nm", wanted) / wanted.shape[1]
        np.testing.assert_allclose(found, right, atol=1e-10 * np.abs(wanted).max(), rtol=0, err_msg=f"{method}, {outputs}")


@pytest.mark.parametrize("name", CASES)
def test_structure_is_used_where_it_is_there(name):
    function, params, x, structured = CASES[name]()
    assert structured_leaves(function, params, x[0]) == structured


def test_a_dense_layer_is_kept_as_two_factors_and_never_as_a_jacobian():
    function, params, x, _ = CASES["mlp"]()
    features = jax.eval_shape(lambda params, x: structured_features(function, params, x), params, x[0])
    assert sorted(type(feature) is Outer for feature in features) == [False, False, True, True, True]
    assert {feature.entries.shape for feature in features if isinstance(feature, Jacobian)} == {(2, 5)}  # the biases


@pytest.mark.parametrize("name", ["mlp", "everything"])
def test_a_kernel_is_symmetric_and_has_no_negative_eigenvalue(name):
    function, params, x, _ = CASES[name]()
    kernel = tangent_kernel(function, params, x, method="structured").kernel
    matrix = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)
    values = np.linalg.eigvalsh(matrix)
    assert values.min() > -1e-10 * values.max()


# --- blocks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide():
    with jax.enable_x64(True):
        return (*of_module(TangentMLP.create(6, 2, width=64, depth=2, key=jax.random.key(0))), normal(1, 23, 6), normal(2, 17, 6))


@pytest.mark.parametrize("outputs", ["all", "mean"])
@pytest.mark.parametrize("method", ["contraction", "structured", "products"])
@pytest.mark.whole
def test_the_result_does_not_depend_on_the_block(wide, method, outputs):
    function, params, x, other = wide
    whole = tangent_kernel(function, params, x, other, method=method, outputs=outputs)
    blocks = {"contraction": 0.8, "structured": 0.03, "products": 1.5}
    small = tangent_kernel(function, params, x, other, method=method, outputs=outputs, memory=blocks[method])
    assert whole.block == 23
    assert 1 <= small.block < 17
    np.testing.assert_allclose(small.kernel, whole.kernel, rtol=0, atol=1e-12 * np.abs(whole.kernel).max())
    both = tangent_kernel(function, params, x, method=method, outputs=outputs, memory=blocks[method])
    np.testing.assert_allclose(both.kernel, kernel_block(function, params, x, outputs=outputs), rtol=0, atol=1e-12 * np.abs(both.kernel).max())


@pytest.mark.whole
def test_symmetric_blocks_are_computed_once(wide, monkeypatch):
    from mesocosm.analysis.tangent import kernel as module

    function, params, x, _ = wide
    calls = []
    original = module._place
    monkeypatch.setattr(module, "_place", lambda kernel, part, top, start: (calls.append((top, start)), original(kernel, part, top, start)))
    block = tangent_kernel(function, params, x, method="structured", memory=0.03).block
    number = -(-23 // block)
    assert len(calls) == number**2
    pairs = []
    program = module._program

    def counted(*key):
        made = program(*key)
        return made._replace(pair=lambda *parts: (pairs.append(1), made.pair(*parts))[1])

    monkeypatch.setattr(module, "_program", counted)
    tangent_kernel(function, params, x, method="structured", memory=0.03)
    assert len(pairs) == number * (number + 1) // 2


@pytest.mark.whole
def test_a_block_keeps_to_its_budget_as_the_compiler_counts_it(wide):
    from mesocosm.analysis.tangent import kernel as module

    function, params, x, _ = wide
    for method, memory in (("contraction", 0.8), ("structured", 0.05), ("products", 1.5)):
        key = module._Key.of(function, params, x[:1], "all")
        block, program = module._fitting(key, method, 23, memory)
        assert program.bytes <= memory * MEBIBYTE
        assert module._program(key, method, 2 * block).bytes > memory * MEBIBYTE or 2 * block > 23


def test_a_budget_that_is_too_small_says_what_is_needed(wide):
    function, params, x, _ = wide
    with pytest.raises(ValueError, match=r"block of 1 by 1 examples needs .* MiB with contraction, but the budget is 0\.001 MiB"):
        tangent_kernel(function, params, x, method="contraction", memory=0.001)


@pytest.mark.whole
def test_the_choice_is_the_fastest_measured_and_visible(wide):
    function, params, x, _ = wide
    found = tangent_kernel(function, params, x)
    assert set(found.seconds) == {"contraction", "structured", "products"}
    assert found.seconds[found.method] == min(found.seconds.values()) > 0
    np.testing.assert_allclose(found.kernel, kernel_block(function, params, x), atol=1e-10)
    assert tangent_kernel(function, params, x, method="products").seconds == {}


def test_a_second_call_traces_nothing():
    traced = []

    def counted(params, x):
        traced.append(x)
        return params @ x

    params, x = normal(0, 2, 3), normal(1, 4, 3)
    tangent_kernel(counted, params, x, method="structured")
    first = len(traced)
    tangent_kernel(counted, params, x, method="structured")
    assert len(traced) == first > 0


@pytest.mark.parametrize(
    ("asked", "told"), [({"method": "magic"}, "there is no method 'magic'"), ({"x2": np.zeros((0, 6))}, "a kernel needs examples; the sets have 23 and 0")]
)
def test_what_cannot_be_computed_is_said(wide, asked, told):
    function, params, x, _ = wide
    with pytest.raises(ValueError, match=told):
        inspect.unwrap(tangent_kernel)(function, params, x, **asked)  # without the tests' type checks, which would speak before it


def test_modules_of_equal_structure_are_the_same_function():
    first, _ = of_module(TangentMLP.create(3, 2, width=5, depth=1, key=jax.random.key(0)))
    second, _ = of_module(TangentMLP.create(3, 2, width=5, depth=1, key=jax.random.key(1)))
    assert first == second
    assert hash(first) == hash(second)
    assert first != of_module(TangentMLP.create(3, 2, width=5, depth=1, readout_scale=2.0, key=jax.random.key(0)))[0]


DEVICES = """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from mesocosm.analysis.tangent import kernel as module
from mesocosm.analysis.tangent.kernel import kernel_block, of_module, tangent_kernel
from mesocosm.nn.tangent_parametrisation import TangentMLP
assert len(jax.devices()) == 3
function, params = of_module(TangentMLP.create(4, 2, width=16, depth=2, key=jax.random.key(0)))
x, other = (jax.random.normal(jax.random.key(k), (n, 4)) for k, n in ((1, 7), (2, 5)))
for method in ("contraction", "structured", "products"):
    for second in (None, other):
        found = tangent_kernel(function, params, x, second, method=method)
        assert found.block % 3 == 0
        np.testing.assert_allclose(found.kernel, kernel_block(function, params, x, second), atol=1e-12)
key = module._Key.of(function, params, x[:1], "all")
program = module._program(key, "structured", 6)
left = program.side(jax.device_put(params, program.everywhere), module._block(x, 0, 6, program.spread))
pair = program.pair(params, left, jax.device_put(left, program.everywhere))
rows = {shard.data.shape[0] for leaf in jax.tree.leaves((left, pair)) for shard in leaf.addressable_shards}
assert rows == {2}, rows  # each device holds and computes its third
print("spread")
"""


@pytest.mark.whole
def test_rows_are_spread_over_devices():
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=3"}
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, check=False, env=environment, cwd=Path(__file__).parents[3])
    assert done.stdout.strip() == "spread", done.stderr


# --- products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "cnn", "everything"])
def test_a_product_with_a_vector_is_that_of_the_matrix(name):
    function, params, x, _ = CASES[name]()
    kernel = written_out(function, params, x, x[:2])
    vector = normal(9, 2, kernel.shape[1])
    found = jax.jit(lambda x: ntk_vector_product(function, params, x, x[:2], vector))(x)
    np.testing.assert_allclose(found, jnp.einsum("ncmd,md->nc", kernel, vector), rtol=1e-10)


@pytest.mark.whole
def test_a_system_is_solved_without_its_matrix():
    function, params, x, _ = CASES["mlp"]()
    right = normal(9, 4, 2)
    kernel = written_out(function, params, x, x).reshape(8, 8)
    found = jax.jit(lambda x: solve_by_products(function, params, x, right, ridge=0.1, tolerance=1e-12))(x)
    np.testing.assert_allclose(found.coefficients.reshape(8), jnp.linalg.solve(kernel + 0.1 * jnp.eye(8), right.reshape(8)), rtol=1e-8)
    assert found.residual < 1e-10
    assert jax.jit(lambda x: solve_by_products(function, params, x, right, ridge=0.1, steps=1).residual)(x) > 1e-3


@pytest.mark.parametrize("method", ["contraction", "structured", "products"])
@pytest.mark.parametrize("options", [{"feature_group_count": 4}, {"feature_group_count": 2}, {"batch_group_count": 2}])
def test_grouped_convolutions(method, options):
    """Their weights' Jacobian is a convolution with groups over the batch."""
    groups, depth = options.get("feature_group_count", 1), options.get("batch_group_count", 1)

    def function(weights, x):
        image = x.reshape(depth, 4, 5, 6)
        return jax.lax.conv_general_dilated(image, weights, (1, 2), "SAME", **options).mean((0, 3)).ravel()[:3]

    weights, x = normal(0, 4, 4 // groups, 3, 3), normal(1, 3, depth * 4, 5, 6)
    wanted = written_out(function, weights, x, x)
    np.testing.assert_allclose(tangent_kernel(function, weights, x, method=method).kernel, wanted, rtol=1e-10, atol=1e-12)
