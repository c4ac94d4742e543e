"""Decay goes by name: also when a seed axis is stacked, and never silently nowhere."""

import re
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.learning.named_decay import ATTENTION, decay_by_name, decay_rates, parameter_names
from mesocosm.learning.optimizers import adamw
from mesocosm.nn import Attention, GatedFeedForward, HawkBlock, LinearAttention, ResidualStack, language_model

RATES = {ATTENTION: 0.5, r"^mlp\.weight$": 0.1}


def block(key):
    """An attention layer with an MLP, biases and a norm beside it."""
    return {
        "layers": ResidualStack((LinearAttention.create(6, heads=2, key_dim=3, key=key),), clip=4.0),
        "mlp": {"weight": jnp.ones((6, 4)), "bias": jnp.ones(4)},
        "norm": {"scale": jnp.ones(6)},
    }


def decayed(params, transformation):
    """What one update without any gradient leaves of each parameter."""
    params = eqx.filter(params, eqx.is_inexact_array)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transformation.update(zeros, transformation.init(params), params)
    shares = jax.tree.map(lambda update, value: update / jnp.where(value == 0, 1, value), updates, params)
    return {name: _only(share) for name, share in zip(parameter_names(shares), jax.tree.leaves(shares), strict=True)}


def _only(share):
    """The one value that all entries have."""
    values = np.unique(np.round(np.asarray(share), 6))
    assert len(values) == 1
    return values[0].item()


WANTED = {
    **{f"layers.layers.0.{name}": 0.5 for name in ("query", "key", "value", "output")},
    "mlp.weight": 0.1,
    "mlp.bias": 0.0,
    "norm.scale": 0.0,
}


def test_each_group_decays_at_its_rate_and_nothing_else_does():
    assert decayed(block(jax.random.key(0)), decay_by_name(RATES)) == pytest.approx(WANTED)


@pytest.mark.whole
def test_a_stacked_seed_axis_changes_no_group():
    """A mask by number of axes would decay the stacked biases."""
    stacked = eqx.filter_vmap(block)(jax.random.split(jax.random.key(0), 3))
    assert stacked["mlp"]["bias"].ndim == 2
    assert decayed(stacked, decay_by_name(RATES)) == pytest.approx(WANTED)
    mapped = jax.vmap(lambda p: decay_by_name(RATES).update(jax.tree.map(jnp.zeros_like, p), decay_by_name(RATES).init(p), p)[0])
    updates = mapped(eqx.filter(stacked, eqx.is_inexact_array))
    np.testing.assert_allclose(updates["mlp"]["weight"], 0.1)
    np.testing.assert_allclose(updates["mlp"]["bias"], 0.0)


def test_with_one_rate_for_all_it_is_optax_adamw():
    params = {"attention": {"q_proj": jnp.arange(6.0).reshape(2, 3)}, "mlp": jnp.ones(4)}
    gradient = jax.tree.map(lambda x: jnp.cos(x), params)
    ours, theirs = adamw(1e-2, weight_decay={r"attention|mlp": 0.3}), optax.adamw(1e-2, weight_decay=0.3)
    states = ours.init(params), theirs.init(params)
    mine, other = params, params
    for _ in range(3):
        updates, ours_state = ours.update(gradient, states[0], mine)
        expected, theirs_state = theirs.update(gradient, states[1], other)
        states = ours_state, theirs_state
        mine, other = optax.apply_updates(mine, updates), optax.apply_updates(other, expected)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), mine, other)


def test_the_learning_rate_multiplies_the_decay_and_rates_may_be_traced():
    params = {"w": jnp.array(2.0)}

    @jax.jit
    def step(rate):
        optimizer = optax.chain(optax.identity(), decay_by_name({"w": rate}), optax.scale_by_learning_rate(0.1))
        return optimizer.update({"w": jnp.array(0.0)}, optimizer.init(params), params)[0]["w"]

    assert step(0.5) == pytest.approx(-0.1 * 0.5 * 2.0)
    assert step(0.25) == pytest.approx(-0.1 * 0.25 * 2.0)
    assert step._cache_size() == 1


def leaves(*names):
    return dict.fromkeys(names, 0.0)


BESIDE = ("mlp.c_fc.weight", "mlp.c_proj.weight", "readout.output", "memory.key", "dense.weight", "latents.query", "proj.kernel")
LAYERS = {
    "ours": ("mixer.query", "mixer.key", "mixer.value", "mixer.output"),
    "ours, alone": ("query", "key", "value", "output"),
    "our gated ones": ("front.query", "front.key", "front.value", "output"),
    "BERT": ("a.attention.self.query.weight", "a.attention.self.key.weight", "a.attention.self.value.weight", "a.attention.output.dense.weight"),
    "GPT-2": ("h.0.attn.c_attn.weight", "h.0.attn.c_proj.weight"),
    "timm": ("blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight"),
    "T5": tuple(f"block.0.SelfAttention.{name}.weight" for name in "qkvo"),
    "Llama": tuple(f"self_attn.{name}_proj.weight" for name in "qkvo"),
    "Llama's own": tuple(f"layers.0.attention.w{name}.weight" for name in "qkvo"),
    "Phi-3": ("self_attn.qkv_proj.weight", "self_attn.o_proj.weight"),
    "diffusers": ("attn1.to_q.weight", "attn1.to_k.weight", "attn1.to_v.weight", "attn1.to_out.0.weight"),
    "torch": ("self_attn.in_proj_weight", "self_attn.out_proj.weight"),
    "equinox": ("attention.query_proj.weight", "attention.key_proj.weight", "attention.value_proj.weight", "attention.output_proj.weight"),
    "flax": tuple(f"params.SelfAttention_0.{name}.kernel" for name in ("query", "key", "value", "out")),
    "haiku": tuple(f"block/~/attention/{name}.w" for name in ("query", "key", "value", "linear")),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_attention_is_all_four_matrices_of_a_layer_and_nothing_beside_it(layer):
    biases = [re.sub("(weight|kernel|w)$", "bias", name) for name in layer if name.endswith(("weight", "kernel", ".w"))]
    params = leaves(*layer, *biases, *BESIDE)
    assert {name for name, rate in decay_rates({ATTENTION: 0.3}, params).items() if rate} == set(layer)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_attention_without_its_output_is_an_error_that_names_what_was_found(layer):
    with pytest.raises(ValueError, match=f"only .*{re.escape(layer[0])}.*; give regular expressions"):
        decay_by_name({ATTENTION: 0.3}).init(leaves(*layer[:-1], *(f"whole.{name}_proj.weight" for name in "qkvo"), *BESIDE))


def test_biases_and_gated_feed_forward_parts_of_our_models_are_not_attention():
    def build(key):
        return language_model(5, 4, layers=1, mixer=partial(Attention.create, heads=2, bias=True), feed_forward=GatedFeedForward.create, key=key)

    model = eqx.filter_eval_shape(build, jax.random.key(0))
    rates = decay_rates({ATTENTION: 0.3}, model)
    assert [name for name, rate in rates.items() if rate] == [f"blocks.0.mixer.{name}" for name in ("query", "key", "value", "output")]
    assert list(rates) == parameter_names(model)
    with pytest.raises(ValueError, match="matches ATTENTION; the names are"):
        decay_rates({ATTENTION: 0.3}, eqx.filter_eval_shape(partial(HawkBlock.create, 4), key=jax.random.key(0)))


def test_a_group_that_is_empty_or_shared_is_refused():
    params = {"query": jnp.ones(2), "mlp": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"no parameter's name matches 'q_proj'; the names are mlp, query"):
        decay_by_name({"q_proj": 0.1}).init(params)
    with pytest.raises(ValueError, match=r"the parameter mlp is matched by .mlp. and by .*: its decay would add up"):
        decay_by_name({"mlp": 0.1, ".*": 0.2}).init(params)
