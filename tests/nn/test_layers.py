"""What every layer of the registry keeps to: its constructor, shapes, causality, streaming, and hyperparameters that are not trained."""

import inspect
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.nn import LAYERS, Mixer, Projected, ResidualStack, StreamingMixer, vision_transformer
from mesocosm.nn.tangent_parametrisation import TangentMLP
from mesocosm.nn.wide_resnet import WideResNet
from nn.dense_reference import relative_error

DIM, TIME = 16, 20
every_layer = pytest.mark.parametrize("name", LAYERS)
WORDS = {"heads", "key_dim", "value_dim", "state_dim", "out_dim"}
"""Words that mean the same in every constructor; others are the layer's own."""


def layer_of(name, **options):
    return LAYERS[name].create(DIM, **options, key=jax.random.key(0))


def tokens(seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((TIME, DIM)), jnp.float32)


@every_layer
def test_defaults_make_a_causal_layer_of_the_tokens_width(name):
    layer, x = layer_of(name), tokens()
    run = eqx.filter_jit(layer)
    y = run(x)
    assert isinstance(layer, Mixer)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert 1e-3 < float(jnp.std(y)) < 1e3
    later = run(x.at[TIME // 2 :].set(tokens(1)[TIME // 2 :]))
    np.testing.assert_allclose(later[: TIME // 2], y[: TIME // 2], rtol=1e-4, atol=1e-5)


@pytest.mark.whole
@every_layer
def test_stepping_is_the_parallel_form(name):
    layer, x = layer_of(name), tokens()
    streamed = eqx.filter_jit(lambda layer, x: layer.stream(layer.init_state(), x)[1])(layer, x)
    assert relative_error(streamed, layer(x)) < 1e-4


@every_layer
def test_constructors_use_the_same_words_and_document_each_argument(name):
    create = LAYERS[name].create
    options = [p for p in inspect.signature(create).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert [p.name for p in options if p.default is p.empty] == ["key"]
    assert next(iter(inspect.signature(create).parameters)) == "dim"
    assert not {p.name for p in options} & {"hidden", "width", "neurons", "n_heads", "num_heads", "head_dim"}
    documented = set(re.findall(r"\w+", (inspect.getdoc(create) or "").partition("Args:")[2]))
    assert {p.name for p in options if p.name != "key"} <= documented


@pytest.mark.parametrize("name", ["attention", "linear-attention", "mesa", "delta-net"])
def test_keys_start_as_queries_unless_std_is_given(name):
    """Equal, but not one buffer, which a jitted step could not take as a donated argument."""
    for std, equal in ((None, True), (0.1, False)):
        layer = layer_of(name, std=std)
        maps = layer.front if name == "delta-net" else layer
        assert bool(jnp.array_equal(maps.query, maps.key)) is equal
        assert maps.query.unsafe_buffer_pointer() != maps.key.unsafe_buffer_pointer()


@every_layer
def test_words_change_what_they_name(name):
    parameters = set(inspect.signature(LAYERS[name].create).parameters) & WORDS
    changed = {"heads": 2, "key_dim": 6, "value_dim": 5, "state_dim": 10, "out_dim": 7}
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(layer_of(name))]
    for word in parameters:
        assert [jnp.shape(leaf) for leaf in jax.tree.leaves(layer_of(name, **{word: changed[word]}))] != shapes, word


WITH_HEADS = [name for name in LAYERS if inspect.signature(LAYERS[name].create).parameters.keys() >= {"heads", "key_dim"}]


@pytest.mark.parametrize("name", WITH_HEADS)
def test_by_default_there_are_as_many_heads_up_to_four_as_fit_the_width(name):
    def query(dim, **options):
        layer = eqx.filter_eval_shape(LAYERS[name].create, dim, key=jax.random.key(0), **options)
        return getattr(layer, "front", layer).query.shape[:2]

    assert [query(dim) for dim in (48, 4, 9, 10, 7)] == [(4, 12), (4, 1), (3, 3), (2, 5), (1, 7)]
    assert query(10, key_dim=3) == (4, 3)
    with pytest.raises(ValueError, match="10 channels cannot be split into 4 heads"):
        query(10, heads=4)
    with pytest.raises(ValueError, match="at least one head, not 0"):
        query(10, heads=0)


KEY = jax.random.key(0)
OTHERS = {
    "residual": lambda: ResidualStack((layer_of("linear-attention"),), clip=4.0),
    "projected": lambda: Projected.around(layer_of("linear-attention"), dim=8, width=DIM, key=KEY),
    "tangent": lambda: TangentMLP.create(3, 2, width=5, depth=2, bias_scale=0.4, key=KEY),
    "wide-resnet": lambda: WideResNet.create(3, 10, key=KEY),
    "vit": lambda: vision_transformer((3, 8, 8), 8, classes=5, patch=4, key=KEY),
}


@pytest.mark.whole
@pytest.mark.parametrize("name", [*LAYERS, "residual", "projected"])
def test_a_batch_or_a_single_token_is_no_sequence(name):
    layer = OTHERS.get(name, lambda: layer_of(name))()
    batch = jnp.ones((3, TIME, 8 if name == "projected" else DIM))
    whole = re.escape(f"{type(layer).__name__} must have the shape (time, dim), not {batch.shape}; for a batch, use jax.vmap")
    applied = [layer, layer.explain, lambda x: layer.at(x, jnp.arange(2))]
    for apply in [*applied, lambda x: layer.stream(layer.init_state(), x)] if isinstance(layer, StreamingMixer) else applied:
        with pytest.raises(ValueError, match=whole):
            apply(batch)
        with pytest.raises(ValueError, match=rf"\(time, dim\), not \({batch.shape[2]},\)\.$"):
            apply(batch[0, 0])
    assert jax.eval_shape(jax.vmap(layer), batch).shape == batch.shape


@pytest.mark.parametrize("name", ["lstm", "gru", "projected"])
def test_a_step_takes_one_token(name):
    """As many tokens as channels would be multiplied from the wrong side."""
    layer = OTHERS.get(name, lambda: layer_of(name))()
    width = 8 if name == "projected" else DIM
    with pytest.raises(ValueError, match=rf"the shape \(dim,\), not \({width}, {width}\); for a batch, use jax.vmap"):
        layer.step(layer.init_state(), jnp.ones((width, width)))


@pytest.mark.parametrize("name", [*LAYERS, *OTHERS])
def test_hyperparameters_are_never_trained(name):
    """No leaf is a Python number, so that an update of all leaves reaches parameters only."""
    module = eqx.filter_eval_shape(OTHERS.get(name, lambda: layer_of(name)))
    numbers = [leaf for leaf in jax.tree.leaves(module) if isinstance(leaf, (int, float, complex, np.generic))]
    assert not numbers


@pytest.mark.whole
@every_layer
def test_a_plain_gradient_step_leaves_the_fields_that_are_no_parameters(name):
    layer, x = layer_of(name), tokens()
    gradient = jax.grad(lambda layer: jnp.mean((layer(x) - 1) ** 2))(layer)
    moved = optax.apply_updates(layer, jax.tree.map(lambda g: -1e-3 * g, gradient))
    assert jax.tree.structure(moved) == jax.tree.structure(layer)
    assert float(jnp.mean((moved(x) - 1) ** 2)) < float(jnp.mean((layer(x) - 1) ** 2))


@pytest.mark.parametrize(("name", "old"), [("lstm", "hidden"), ("gru", "hidden"), ("lru", "hidden"), ("gated-rnn", "neurons"), ("hawk", "width")])
def test_earlier_words_are_still_understood(name, old):
    with pytest.warns(DeprecationWarning, match=f"'{old}' is now called 'state_dim'"):
        earlier = layer_of(name, **{old: 6})
    assert eqx.tree_equal(earlier, layer_of(name, state_dim=6))
    with pytest.raises(TypeError, match="earlier name"):
        layer_of(name, **{old: 6, "state_dim": 6})


@pytest.mark.whole
@every_layer
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bfloat16_weights_take_tokens_of_either_precision(name, dtype):
    """As in JAX's products, the output is as wide as the wider of weights and tokens, in both forms, and gradients have their arguments' dtypes."""
    layer, x = layer_of(name), tokens()
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), layer)
    given = x.astype(dtype)
    whole = low(given)
    streamed = low.stream(low.init_state(), given)[1]
    gradients = jax.grad(lambda layer, x: jnp.sum(layer(x).astype(jnp.float32) ** 2), (0, 1))(low, given)
    assert whole.dtype == streamed.dtype == jnp.dtype(dtype)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), low)(given.astype(jnp.float32))
    for found in (whole, streamed):
        assert relative_error(found.astype(jnp.float32), wide) < 0.02
    for gradient, argument in zip(jax.tree.leaves(gradients), jax.tree.leaves((low, given)), strict=True):
        assert gradient.dtype == argument.dtype
        assert jnp.isfinite(gradient).all()
