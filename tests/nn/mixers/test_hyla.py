"""HYLA and its variants against two references in float64: the formula over whole arrays, and a value network built for every pair of tokens."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import (
    HYLA_VARIANTS,
    Attention,
    ContextAndSelf,
    FeedForward,
    LayerNorm,
    Linear,
    RelativeBias,
    SequenceModel,
    TransformerBlock,
    hyla,
    rms_over_heads,
    unnormalised,
)
from mesocosm.nn.mixers.value_networks import identity, two_step
from nn.random_weights import with_random_weights

TIME, DIM, HEADS, KEYS, VALUES = 6, 7, 3, 2, 4
every_variant = pytest.mark.parametrize("variant", HYLA_VARIANTS)
CODES = {  # spelled out, so that a variant under a wrong name fails
    "softmax": {"softmax", "hyla-softmax"},
    "none": {"linear", "hyla-unnormalised", "hyla-linear-unnormalised"},
}


TOKENS = np.random.default_rng(5).standard_normal((TIME, DIM))


def layer_of(variant, **options):
    """A layer with random numbers everywhere, biases and tables included."""
    make = partial(hyla, DIM, variant=variant, heads=HEADS, key_dim=KEYS, value_dim=VALUES, **({"causal": False} | options))
    return with_random_weights(lambda key: make(key=key))


def parts(layer):
    query, key, value, output = (np.asarray(w, np.float64) for w in (layer.query, layer.key, layer.value, layer.output))
    return query, key, value, output, [np.asarray(b, np.float64) for b in layer.biases]


def code(layer, variant, x):
    """The latent code (heads, q, k)."""
    query, key, _, _, (query_bias, key_bias, _, _) = parts(layer)
    q, k = (np.einsum("hnd,td->htn", w, x) + b[:, None] for w, b in ((query, query_bias), (key, key_bias)))
    scores = q @ k.swapaxes(1, 2) / np.sqrt(KEYS)
    if layer.position is not None:
        scores = scores + np.asarray(layer.position.bias(jnp.arange(len(x)), jnp.arange(len(x))))
    seen = np.tril(np.ones(scores.shape[1:])) if layer.causal else np.ones(scores.shape[1:])
    if variant in CODES["softmax"]:
        weights = np.exp(scores) * seen
        return weights / weights.sum(-1, keepdims=True)
    scores = scores * seen
    return scores if variant in CODES["none"] else scores / np.sqrt(np.mean(scores**2, axis=0) + 1e-6)


def by_arrays(layer, variant, x):
    """The formula, transcribed."""
    _, _, value, output, (_, _, value_bias, output_bias) = parts(layer)
    a = code(layer, variant, x)
    v = np.einsum("hvd,kd->khv", value, x) + value_bias
    relu = partial(np.maximum, 0)
    if variant.startswith("hyla"):
        hidden = np.einsum("hqk,khv->qkv", a, v)
        hidden = hidden if "linear" in variant else relu(hidden)
        if variant == "hyla-deep":
            hidden = relu(np.einsum("hqk,hwv,qkv->qkw", a, np.asarray(layer.network.maps, np.float64), hidden))
        heads = np.einsum("hqk,qkv->qhv", a, hidden)
    else:
        heads = np.einsum("hqk,khv->qhv", a, relu(v) if variant == "linear-rms-relu" else v)
    return np.einsum("qhv,hdv->qd", heads, output) + output_bias


def by_pairs(layer, variant, x):
    """The hypernetwork: for every pair of tokens, its code generates the matrices of a value network, which is applied to the key's token."""
    _, _, value, output, (_, _, value_bias, output_bias) = parts(layer)
    codes, y = code(layer, variant, x), np.tile(output_bias, (len(x), 1))
    for q, k in np.ndindex(len(x), len(x)):
        a = codes[:, q, k]
        if not variant.startswith("hyla"):
            if variant == "linear-rms-relu":
                y[q] += sum(a[h] * output[h] @ np.maximum(value[h] @ x[k] + value_bias[h], 0) for h in range(HEADS))
            else:
                generated = sum(a[h] * output[h] @ value[h] for h in range(HEADS))
                y[q] += generated @ x[k] + sum(a[h] * output[h] @ value_bias[h] for h in range(HEADS))
            continue
        inward, bias, outward = (np.tensordot(a, w, 1) for w in (value, value_bias, output))
        hidden = inward @ x[k] + bias
        hidden = hidden if "linear" in variant else np.maximum(hidden, 0)
        if variant == "hyla-deep":
            hidden = np.maximum(np.tensordot(a, np.asarray(layer.network.maps, np.float64), 1) @ hidden, 0)
        y[q] += outward @ hidden
    return y


@every_variant
@pytest.mark.parametrize("causal", [pytest.param(False, marks=pytest.mark.whole), True])
def test_every_variant_is_its_formula_and_its_value_networks(variant, causal):
    with jax.enable_x64(True):
        layer, x = layer_of(variant, causal=causal, position=partial(RelativeBias.create, buckets=TIME, max_distance=TIME)), TOKENS
        y, shown = jax.jit(lambda layer, x: layer.explain(x))(layer, jnp.asarray(x))
        np.testing.assert_allclose(y, by_arrays(layer, variant, x), rtol=0, atol=1e-12)
        np.testing.assert_allclose(y, by_pairs(layer, variant, x), rtol=0, atol=1e-12)
        np.testing.assert_allclose(shown.attention, code(layer, variant, x), rtol=0, atol=1e-12)


def test_two_linear_steps_are_a_double_sum_over_heads_and_no_attention():
    with jax.enable_x64(True):
        layer, x = layer_of("hyla-linear"), TOKENS
        _, _, value, output, (_, _, value_bias, output_bias) = parts(layer)
        codes, wanted = code(layer, "hyla-linear", x), np.tile(output_bias, (TIME, 1))
        for first, second in np.ndindex(HEADS, HEADS):
            wanted += (codes[first] * codes[second]) @ (x @ value[first].T + value_bias[first]) @ output[second].T
        np.testing.assert_allclose(layer(jnp.asarray(x)), wanted, rtol=0, atol=1e-12)
        assert np.abs(by_arrays(layer, "linear-rms", x) - wanted).max() > 0.1


@pytest.mark.parametrize(("variant", "degree"), [("linear", 1), ("hyla-unnormalised", 2), ("hyla-linear-unnormalised", 2), ("hyla", 0)])
def test_outputs_scale_with_a_power_of_the_scores(variant, degree):
    """Without positions, scaling the queries by c > 0 scales the output by c to the power of the number of steps; the normalisation over heads removes c."""
    with jax.enable_x64(True):
        layer, x = layer_of(variant), TOKENS
        scaled = eqx.tree_at(lambda m: (m.query, m.biases.query), layer, (3 * layer.query, 3 * layer.biases.query))
        first, second = (np.asarray(m(jnp.asarray(x)) - layer.biases.output) for m in (layer, scaled))
        np.testing.assert_allclose(second, 3**degree * first, rtol=1e-3 if variant == "hyla" else 1e-10, atol=1e-3 if variant == "hyla" else 1e-10)


@every_variant
def test_keys_add_up_unless_softmax_makes_them_compete(variant):
    """The output over two disjoint sets of keys is the sum of the outputs over each."""
    with jax.enable_x64(True):
        layer, x = layer_of(variant), TOKENS
        run, some = jax.jit(lambda valid: layer(jnp.asarray(x), valid=valid) - layer.biases.output), jnp.arange(TIME) < 2
        gap = np.abs(run(some) + run(~some) - run(some | ~some)).max()
        assert gap > 1e-2 if variant in CODES["softmax"] else gap < 1e-12


@every_variant
def test_the_order_of_heads_does_not_matter_and_that_of_tokens_only_through_positions(variant):
    with jax.enable_x64(True):
        layer, x = layer_of(variant, position=partial(RelativeBias.create, buckets=TIME, max_distance=TIME)), TOKENS
        run = jax.jit(lambda layer, x: layer(jnp.asarray(x)))
        order, y = jnp.array([2, 0, 1]), run(layer, x)

        def pick(m):
            leaves = [m.query, m.key, m.value, m.output, *m.biases[:3], m.position.table]
            return leaves + ([m.network.maps] if variant == "hyla-deep" else [])

        np.testing.assert_allclose(run(eqx.tree_at(pick, layer, [leaf[order] for leaf in pick(layer)]), x), y, rtol=0, atol=1e-12)
        plain, moved = replace(layer, position=None), np.random.default_rng(0).permutation(TIME)
        np.testing.assert_allclose(run(plain, x[moved]), run(plain, x)[moved], rtol=0, atol=1e-12)
        assert np.abs(run(layer, x[moved]) - y[moved]).max() > 1e-2


@every_variant
def test_no_gradient_reaches_later_tokens_and_masked_pairs_give_finite_ones(variant):
    layer, x = layer_of(variant, causal=True), jax.random.normal(jax.random.key(1), (TIME, DIM))
    jacobian = np.asarray(jax.jit(jax.jacrev(lambda x: layer(x)))(x))  # q, channel, k, channel
    assert np.isfinite(jacobian).all()
    reached = np.abs(jacobian).max(axis=(1, 3))
    assert np.all(reached[np.triu_indices(TIME, 1)] == 0)
    assert np.mean(reached[np.tril_indices(TIME)] > 0) > 0.5  # not of all pairs: ReLUs


@pytest.mark.parametrize("activation", [jax.nn.relu, *(pytest.param(other, marks=pytest.mark.whole) for other in (identity, jnp.tanh))])
def test_the_written_gradient_of_two_steps_is_that_of_the_formula(activation):
    def formula(weights, values):
        return jnp.einsum("hqk,qkv->qhv", weights, activation(jnp.einsum("hqk,khv->qkv", weights, values)))

    with jax.enable_x64(True):
        weights, values = jax.random.normal(jax.random.key(0), (HEADS, 5, TIME)), jax.random.normal(jax.random.key(1), (TIME, HEADS, VALUES))
        loss = lambda network: lambda *given: jnp.sum(jnp.sin(network(*given)))  # noqa: E731
        ours, plain = loss(partial(two_step, activation)), loss(formula)
        direction = (jnp.cos(weights), jnp.sin(values))
        for found, wanted in (
            (jax.grad(ours, (0, 1))(weights, values), jax.grad(plain, (0, 1))(weights, values)),
            (jax.jvp(jax.grad(ours, (0, 1)), (weights, values), direction)[1], jax.jvp(jax.grad(plain, (0, 1)), (weights, values), direction)[1]),
        ):
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


def test_normalised_codes_have_the_length_of_the_number_of_heads_pair_by_pair():
    scores = jax.random.normal(jax.random.key(0), (HEADS, TIME, TIME))
    everything = jnp.ones((TIME, TIME), bool)
    a = rms_over_heads(scores, everything)
    np.testing.assert_allclose(jnp.sum(a**2, axis=0), HEADS, rtol=1e-4)
    np.testing.assert_allclose(rms_over_heads(50 * scores, everything), a, rtol=0, atol=1e-4)
    other = rms_over_heads(scores.at[:, :, 0].add(3.0), everything)
    assert jnp.array_equal(other[:, :, 1:], a[:, :, 1:])
    np.testing.assert_allclose(rms_over_heads(scores[:1], everything), jnp.sign(scores[:1]), rtol=0, atol=1e-2)


def test_normalisation_fixes_the_variance_of_generated_weights():
    """Var[sum_h a_h W_h] = H / D for weights N(0, 1 / D) and any code of length sqrt(H); for raw scores it depends on the code."""
    dim = 50
    weights = np.random.default_rng(0).standard_normal((HEADS, 400, dim)) / np.sqrt(dim)
    scores = np.random.default_rng(1).standard_normal((20, HEADS))
    codes = np.asarray(rms_over_heads(jnp.asarray(scores.T[:, :, None]), jnp.ones((20, 1), bool)))[:, :, 0].T
    normalised, raw = (np.var(np.tensordot(a, weights, 1), axis=(1, 2)) for a in (codes, scores))
    np.testing.assert_allclose(normalised, HEADS / dim, rtol=0.04)
    assert raw.max() > 2 * raw.min()


def model(variant, *, width, heads, keys, layers, length, inputs, outputs, read):
    """The paper's model for the two abstract tasks."""
    position = partial(RelativeBias.create, buckets=length, max_distance=length)
    mixer = partial(hyla, variant=variant, heads=heads, key_dim=keys, position=position, causal=False)
    embed_key, read_key, *block_keys = jax.random.split(jax.random.key(0), 2 + layers)
    blocks = tuple(TransformerBlock.create(width, mixer=mixer, feed_forward=partial(FeedForward.create, hidden=2 * width), key=k) for k in block_keys)
    return SequenceModel(
        Linear.create(inputs, out_dim=width, key=embed_key), None, blocks, LayerNorm.create(width), Linear.create(width, out_dim=outputs, key=read_key), read
    )


FUZZY = {"width": 128, "heads": 8, "keys": 2, "layers": 2, "length": 16, "inputs": 5, "outputs": 1, "read": (-1,)}
RAVEN = {"width": 128, "heads": 16, "keys": 4, "layers": 4, "length": 36, "inputs": 8, "outputs": 8, "read": (-4, -3, -2, -1)}


@pytest.mark.parametrize(("sizes", "count"), [(FUZZY, 151_009), (RAVEN, 402_824)])
def test_variants_have_the_paper_s_number_of_parameters(sizes, count):
    shapes = [eqx.filter_eval_shape(lambda v=v: model(v, **sizes)) for v in ("softmax", "linear", "hyla")]
    for one in shapes:
        assert sum(leaf.size for leaf in jax.tree.leaves(one)) == count
        assert [leaf.shape for leaf in jax.tree.leaves(one)] == [leaf.shape for leaf in jax.tree.leaves(shapes[0])]


@pytest.mark.whole
def test_reading_the_last_token_alone_equals_reading_all():
    one = with_random_weights(lambda key: model("hyla", **FUZZY))
    x = jax.random.normal(jax.random.key(1), (16, 5))
    run = eqx.filter_jit(lambda model, x: model(x))
    np.testing.assert_allclose(run(one, x), run(replace(one, readout_positions=None), x)[-1:], rtol=0, atol=1e-5)


def test_queries_that_share_a_context_do_not_see_each_other():
    """With one query, the context does not see the query; with more, each is answered as if it were alone."""
    layer, x = layer_of("hyla", mask=ContextAndSelf(4)), jax.random.normal(jax.random.key(1), (TIME, DIM))
    run = eqx.filter_jit(lambda layer, x: layer(x))
    y = run(layer, x)
    for query in (4, 5):
        alone = run(layer, jnp.concatenate([x[:4], x[query : query + 1]]))
        np.testing.assert_allclose(y[query], alone[4], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y[:4], run(replace(layer, mask=None), x[:4]), rtol=1e-5, atol=1e-5)


def test_a_context_of_less_than_no_token_and_heads_of_size_0_are_refused():
    with pytest.raises(ValueError, match="no token or more, not -1"):
        ContextAndSelf(-1)
    for sizes in ({"key_dim": 0}, {"key_dim": 2, "value_dim": 0}):
        with pytest.raises(ValueError, match="size 1 or more"):
            hyla(DIM, heads=2, **sizes, key=jax.random.key(0))


def test_any_mask_can_be_given_and_combines_with_causality():
    window = Attention.create(DIM, heads=1, key_dim=3, mask=lambda q, k: q - k < 2, max_length=TIME, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (TIME, DIM))
    y, shown = window.explain(x)
    assert jnp.array_equal(shown.attention[0] > 0, jnp.tril(jnp.ones((TIME, TIME), bool)) & ~jnp.tril(jnp.ones((TIME, TIME), bool), -2))
    np.testing.assert_allclose(window.stream(window.init_state(), x)[1], y, rtol=1e-5, atol=1e-5)


def test_scores_without_scale_are_the_products():
    layer = Attention.create(DIM, heads=2, key_dim=3, scaled=False, normalisation=unnormalised, causal=False, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (TIME, DIM))
    wanted = np.einsum("qd,hnd,hne,ke->hqk", x, layer.query, layer.key, x)
    np.testing.assert_allclose(layer.explain(x)[1].attention, wanted, rtol=1e-4, atol=1e-4)


def test_keys_start_as_queries_only_where_asked():
    for options, equal in (({}, False), ({"std": 0.1}, False), ({"keys_start_as_queries": True}, True), ({"keys_start_as_queries": True, "std": 0.1}, True)):
        layer = hyla(40, heads=2, **options, key=jax.random.key(0))
        assert bool(jnp.array_equal(layer.query, layer.key)) is equal
        assert layer.query.unsafe_buffer_pointer() != layer.key.unsafe_buffer_pointer()
        np.testing.assert_allclose(jnp.std(layer.key), options.get("std", 40**-0.5), rtol=0.1)
        assert abs(np.corrcoef(layer.query.ravel(), layer.key.ravel())[0, 1] - equal) < 0.1


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="no variant 'hylo'; there are hyla, "):
        hyla(DIM, variant="hylo", key=jax.random.key(0))
