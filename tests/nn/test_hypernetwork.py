"""Hypernetworks against their formulas: linearity, norms, chunks, kept parameters, and the sizes of published networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import CodedNetwork, DeepGenerator, Hypernetwork, LinearGenerator, fixed_norm, layer_groups
from mesocosm.nn.blocks.linear import Linear
from mesocosm.nn.blocks.perceptron import MLP

KEY = jax.random.key(0)


def mlp(*sizes):
    return MLP.scaled(*sizes, key=KEY)


def coded(network, modules, outputs=None, **options):
    hypernetwork = Hypernetwork.create(network, modules, pieces=layer_groups, key=jax.random.key(1), **options)
    return CodedNetwork.create(hypernetwork, output_bias=outputs, key=jax.random.key(2))


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree) if hasattr(leaf, "size"))


@pytest.mark.whole
def test_a_generated_network_is_its_formula():
    model = coded(mlp(3, 4, 4, 4, 2), 5, outputs=2)
    model = eqx.tree_at(lambda m: m.output_bias, model, jnp.array([0.3, -0.2]))
    x = np.random.default_rng(0).standard_normal(3)
    h, first = x, True
    for generator, codes, (out, dim) in zip(model.hypernetwork.generators, model.codes, [(4, 3), (4, 4), (2, 4)], strict=True):
        for code in np.asarray(codes, np.float64):
            flat = np.sqrt(5) * code / np.linalg.norm(code) @ np.asarray(generator.modules, np.float64)
            h = flat[: out * dim].reshape(out, dim) @ (h if first else np.maximum(h, 0)) / np.sqrt(dim) + flat[out * dim :]
            first = False
    np.testing.assert_allclose(model(jnp.asarray(x, jnp.float32)), h + np.array([0.3, -0.2]), rtol=1e-5)


def test_a_deep_generator_is_its_formula():
    generator = DeepGenerator.create(3, 7, width=4, depth=2, key=KEY)
    generator = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(KEY, leaf.shape), generator)

    def norm(layer, x):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * np.asarray(layer.scale, np.float64) + np.asarray(layer.bias, np.float64)

    code = np.array([0.5, -1.0, 2.0])
    h = norm(generator.norm, code)
    for affine, layer in generator.hidden:
        h = norm(layer, np.asarray(affine.weight, np.float64) @ h + np.asarray(affine.bias, np.float64))
        h = np.where(h > 0, h, np.exp(np.minimum(h, 0)) - 1)
    np.testing.assert_allclose(generator(jnp.asarray(code, jnp.float32)), np.asarray(generator.readout, np.float64) @ h, rtol=1e-4, atol=1e-5)


def test_parameters_are_linear_in_the_codes():
    with jax.enable_x64(True):
        hypernetwork = Hypernetwork.create(MLP.scaled(3, 4, 2, key=KEY), 6, normalised=False, key=KEY)
        a, b = jax.random.normal(KEY, (2, 1, 6))
        whole, parts = hypernetwork(2 * a - 3 * b), (hypernetwork(a), hypernetwork(b))
        for w, x, y in zip(*map(jax.tree.leaves, (whole, *parts)), strict=True):
            np.testing.assert_allclose(w, 2 * x - 3 * y, atol=1e-12)
            assert np.abs(x).max() > 0.1


@pytest.mark.whole
def test_the_scale_of_a_code_has_no_effect_and_no_gradient_flows_through_its_norm():
    model, x = coded(mlp(3, 4, 2), 5), jnp.ones(3)
    larger = eqx.tree_at(lambda m: m.codes, model, jax.tree.map(lambda code: 7.3 * code, model.codes))
    np.testing.assert_allclose(larger(x), model(x), rtol=1e-5)
    code = jnp.array([3.0, 4.0, 0.0, 0.0])
    np.testing.assert_allclose(fixed_norm(code), [1.2, 1.6, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(jax.jacobian(fixed_norm)(code), 0.4 * np.eye(4), rtol=1e-6)
    np.testing.assert_array_equal(fixed_norm(jnp.zeros(4)), 0)


@pytest.mark.whole
@pytest.mark.parametrize("generator", [LinearGenerator.create, DeepGenerator.create])
def test_generated_weights_start_with_unit_variance(generator):
    def weights(key):
        hypernetwork = Hypernetwork.create(mlp(16, 32, 32, 32, 8), 16, pieces=layer_groups, generator=generator, key=key)
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(CodedNetwork.create(hypernetwork, key=key).network())])

    square = jnp.mean(jax.vmap(weights)(jax.random.split(KEY, 16)) ** 2)
    elu = 0.645  # the mean square of elu of a standard normal
    np.testing.assert_allclose(square, 1.0 if generator == LinearGenerator.create else elu, rtol=0.05)


def test_chunks_generate_the_same_leaves_with_smaller_generators():
    network = mlp(3, 8, 2)  # 50 parameters
    chunked = Hypernetwork.create(network, 5, chunk_size=13, normalised=False, key=KEY)
    assert chunked.code_shapes == ((4, 5),)
    assert chunked.generators[0].modules.shape == (5, 13)
    codes = jax.random.normal(KEY, (4, 5))
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(chunked(codes))])
    np.testing.assert_allclose(flat, jnp.ravel(codes @ chunked.generators[0].modules)[:50], rtol=1e-6)
    assert jax.tree.structure(chunked(codes)) == jax.tree.structure(network)
    assert [leaf.shape for leaf in jax.tree.leaves(chunked(codes))] == [leaf.shape for leaf in jax.tree.leaves(network)]


def test_what_is_in_no_piece_is_kept_and_trained():
    network = mlp(3, 4, 2)
    hypernetwork = Hypernetwork.create(network, 5, pieces=lambda net: ([net.layers[0].weight],), normalised=False, key=KEY)
    generated = hypernetwork(jnp.eye(5)[:1])
    np.testing.assert_array_equal(generated.layers[0].weight.ravel(), hypernetwork.generators[0].modules[0])
    np.testing.assert_array_equal(generated.layers[1].weight, network.layers[1].weight)
    assert size(hypernetwork) == 5 * 12 + 4 + 2 * 4 + 2

    network = eqx.nn.MLP(3, 1, 4, 1, key=KEY)  # its activation is a leaf, too
    assert Hypernetwork.create(network, 2, key=KEY)(jnp.ones((1, 2)))(jnp.ones(3)).shape == (1,)


def test_mistakes_are_named():
    def create(pieces):
        return Hypernetwork.create(mlp(3, 4, 2), 5, pieces=pieces, key=KEY)

    with pytest.raises(ValueError, match=r"group 0 of the pieces has pieces of shapes \(\(4, 3\), \(4,\)\) and \(\(2, 4\), \(2,\)\)"):
        create(lambda net: (net.layers,))
    with pytest.raises(ValueError, match="in two pieces"):
        create(lambda net: ([net.layers[0]], [net.layers[0].weight]))
    with pytest.raises(ValueError, match="group 1 of the pieces has no floating-point arrays"):
        create(lambda net: ([net.layers[0]], []))
    with pytest.raises(ValueError, match=r"have shapes \(\(1, 4\),\); this hypernetwork needs \(\(1, 5\),\)"):
        create(lambda net: ([net],))(jnp.ones((1, 4)))


@pytest.mark.parametrize(
    ("sizes", "modules", "linear", "deep", "bias"),
    [
        ((16, 128, 128, 128, 8), 64, 1_262_336, 648_192, 8),  # the published networks of three problems
        ((490, 64, 64, 64, 5), 32, 1_149_216, None, 5),
        ((490, 64, 64, 5), 32, None, 1_162_816, None),
        ((847, 32, 32, 6), 8, 227_144, 919_688, 6),
    ],
)
def test_published_sizes(sizes, modules, linear, deep, bias):
    def count(generator, outputs=None):
        return size(eqx.filter_eval_shape(lambda: coded(mlp(*sizes), modules, outputs, generator=generator)))

    if linear:
        assert count(LinearGenerator.create, bias) == linear + bias
    if deep:
        assert count(DeepGenerator.create) == deep


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [((16, 384, 384, 384, 8), 305_288), ((490, 368, 368, 368, 5), 454_117), ((847, 384, 384, 6), 475_782), ((16, 512, 512, 512, 8), 538_120)],
)
def test_published_sizes_of_plain_networks(sizes, parameters):
    assert size(eqx.filter_eval_shape(lambda: MLP.create(*sizes, key=KEY))) == parameters


def test_a_perceptron_is_its_formula():
    network = MLP.create(3, 4, 2, key=KEY)
    assert all(isinstance(layer, Linear) for layer in network.layers)
    network = jax.tree.map(lambda leaf: leaf + 0.1, network)
    x = np.array([0.5, -1.0, 2.0])
    (w1, b1), (w2, b2) = ((np.asarray(layer.weight, np.float64), np.asarray(layer.bias)) for layer in network.layers)
    np.testing.assert_allclose(network(jnp.asarray(x, jnp.float32)), w2 @ np.maximum(w1 @ x + b1, 0) + b2, rtol=1e-5)
    large = MLP.create(400, 300, 2, key=KEY).layers[0].weight
    np.testing.assert_allclose([jnp.std(large), jnp.max(jnp.abs(large))], [0.05, 2 * 0.05 / 0.8796], rtol=0.01)
