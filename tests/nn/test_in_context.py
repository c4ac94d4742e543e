"""Models of tasks in context: what may influence what, invariance to the order of the context, and execution by the materialised network."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm import nn

PAIRS, QUERIES, INPUTS = 6, 3, 4
CONTEXT, ASKED = jax.random.normal(jax.random.key(9), (PAIRS, INPUTS + 1)), jax.random.normal(jax.random.key(8), (QUERIES, INPUTS + 1))


def transformer(key=0):
    return nn.ContextTransformer(nn.context_encoder(INPUTS + 1, 1, dim=8, heads=2, read=QUERIES, context=PAIRS, key=jax.random.key(key)))


def bottleneck(execute=nn.Composed, key=0):
    executor = execute.create(INPUTS, 1, code=5, hidden=7, key=jax.random.key(key + 1))
    return nn.Bottleneck(nn.context_encoder(INPUTS + 1, 5, dim=8, heads=2, key=jax.random.key(key)), executor, INPUTS)


MODELS = {"transformer": transformer, "composed": bottleneck, "conditioned": partial(bottleneck, nn.Conditioned)}


def without_positions(model):
    flat, tree = jax.tree.flatten(model, is_leaf=lambda leaf: isinstance(leaf, nn.RelativeBias))
    return jax.tree.unflatten(tree, [eqx.tree_at(lambda p: p.table, x, 0 * x.table) if isinstance(x, nn.RelativeBias) else x for x in flat])


@pytest.mark.whole
@pytest.mark.parametrize("name", MODELS)
def test_queries_do_not_see_each_other_and_the_context_has_no_order_without_positions(name):
    model = MODELS[name]()
    run = eqx.filter_jit(lambda model, context, queries: model(context, queries))
    wanted = run(model, CONTEXT, ASKED)
    assert wanted.shape == (QUERIES, 1)
    other = run(model, CONTEXT, ASKED.at[1].add(1.0))
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(other != wanted)[:, 0]), [1])
    assert np.abs(run(model, CONTEXT.at[2].add(1.0), ASKED) - wanted).min() > 1e-5
    order = jnp.asarray([3, 0, 5, 1, 2, 4])
    assert np.abs(run(model, CONTEXT[order], ASKED) - wanted).max() > 1e-4
    unplaced = without_positions(model)
    np.testing.assert_allclose(run(unplaced, CONTEXT[order], ASKED), run(unplaced, CONTEXT, ASKED), rtol=0, atol=1e-5)


@pytest.mark.whole
@pytest.mark.parametrize("name", ["composed", "conditioned"])
def test_the_output_slot_of_a_query_never_enters_a_bottleneck(name):
    model = MODELS[name]()
    slope = jax.jacobian(lambda queries: model(CONTEXT, queries))(ASKED)
    assert np.all(slope[..., INPUTS] == 0)
    assert np.abs(slope[..., :INPUTS]).max() > 1e-3
    assert np.abs(jax.jacobian(model.code)(CONTEXT)).min(axis=(0, 1)).max() > 0


def test_execution_is_the_network_written_out_and_linear_in_the_code():
    composed, x = bottleneck().execute, ASKED[:, :INPUTS]
    code = jnp.asarray([1.0, -2.0, 0.5, 0.0, 3.0])
    (generator,) = composed.hypernetwork.generators
    weights = sum(z * module.reshape(7, INPUTS) for z, module in zip(code, generator.modules, strict=True))
    network = composed.hypernetwork(code[None])
    np.testing.assert_allclose(network.inward, weights, rtol=0, atol=1e-6)
    np.testing.assert_allclose(composed(code, x), jax.nn.gelu(x @ weights.T) @ network.outward.T, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(composed(0 * code, x), 0)
    assert np.abs(bottleneck(nn.Conditioned).execute(0 * code, x)).max() > 1e-3


def test_a_transformer_refuses_other_numbers_of_pairs_and_queries_than_it_was_built_for():
    model = transformer()
    for context, queries in ((CONTEXT[1:], ASKED), (CONTEXT, ASKED[1:]), (jnp.concatenate([CONTEXT, CONTEXT]), ASKED)):
        for call in (model, model.stream):
            with pytest.raises(ValueError, match=f"3 queries and 6 pairs was called with {len(queries)} queries and {len(context)} pairs"):
                call(context, queries)


@pytest.mark.whole
def test_streams_are_what_is_read():
    for model, out in ((transformer(), lambda m: m(CONTEXT, ASKED)[0]), (bottleneck(), lambda m: m.code(CONTEXT))):
        read = model.model if isinstance(model, nn.ContextTransformer) else model.infer
        np.testing.assert_allclose(read.readout(read.norm(model.stream(CONTEXT, ASKED))), out(model), rtol=0, atol=1e-5)


def test_positions_before_and_after_a_token_are_told_apart():
    bias = nn.context_encoder(INPUTS + 1, 1, dim=8, heads=2, key=jax.random.key(0)).blocks[0].mixer.position.bias(jnp.arange(3), jnp.arange(3))
    assert np.all(bias[:, 0, 2] != bias[:, 0, 0])
    assert np.all(bias[:, 0, 2] != bias[:, 2, 0])


def test_executors_start_with_the_scales_that_their_docstrings_state():
    composed, conditioned = (of.create(16, 4, code=6, hidden=400, key=jax.random.key(0)) for of in (nn.Composed, nn.Conditioned))
    modules = composed.hypernetwork.generators[0].modules
    outward = composed.hypernetwork(jnp.ones((1, 6))).outward
    network = conditioned.network
    for weights, std in ((modules, 96**-0.5), (outward, 400**-0.5), (network.inward, 22**-0.5), (network.outward, 400**-0.5)):
        np.testing.assert_allclose(np.std(weights), std, rtol=0.07)
