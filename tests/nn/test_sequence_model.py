"""Sequence models: the parts in the stated order, reading some positions, streaming, and generation."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import (
    Attention,
    FeedForward,
    GatedFeedForward,
    GatedMesaAttention,
    LayerNorm,
    Linear,
    MixtureOfExperts,
    PatchEmbedding,
    RelativeBias,
    RMSNorm,
    SequenceModel,
    SinusoidalPositions,
    TiedReadout,
    TransformerBlock,
    generate,
    language_model,
    vision_transformer,
)
from mesocosm.nn.mixer import Mixer

VOCABULARY, DIM, TIME = 11, 12, 9
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, VOCABULARY, TIME))


def model(**options):
    return language_model(VOCABULARY, DIM, **options, max_length=16, key=jax.random.key(0))


def layer_norm(x, eps=1e-6):
    x = np.asarray(x, np.float64)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_a_decoder_is_its_formula():
    """Embedding and positions, then norm, mixer, norm, feed-forward in every block, norm, and the transposed embedding."""
    found = model(layers=2)
    x = np.asarray(found.embed.table, np.float64)[np.asarray(TOKENS)] + np.asarray(found.positions.table, np.float64)[:TIME]
    for block in found.blocks:
        x = x + np.asarray(block.mixer(jnp.asarray(layer_norm(x), jnp.float32)))
        feed = block.feed_forward
        x = x + gelu(layer_norm(x) @ np.asarray(feed.inward, np.float64).T) @ np.asarray(feed.outward, np.float64).T
    np.testing.assert_allclose(found(TOKENS), layer_norm(x) @ np.asarray(found.embed.table).T, rtol=1e-3, atol=1e-4)


@pytest.mark.whole
def test_norms_and_feed_forward_parts_are_their_formulas():
    x = jnp.asarray(np.random.default_rng(1).standard_normal((4, 6)), jnp.float32)
    scale, bias = jnp.linspace(0.5, 2, 6), jnp.linspace(-1, 1, 6)
    np.testing.assert_allclose(LayerNorm(scale, bias)(x), layer_norm(x) * scale + bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(RMSNorm(scale)(x), x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * scale, rtol=1e-5)
    gated = GatedFeedForward.create(6, key=jax.random.key(0))
    wanted = (jax.nn.silu(x @ gated.gate.T) * (x @ gated.inward.T)) @ gated.outward.T
    np.testing.assert_allclose(gated(x), wanted, rtol=1e-5, atol=1e-6)
    biased = FeedForward.create(6, hidden=5, activation=jnp.tanh, key=jax.random.key(0))
    biased = eqx.tree_at(lambda f: (f.inward_bias, f.outward_bias), biased, (jnp.arange(5.0), jnp.arange(6.0)))
    wanted = np.tanh(x @ biased.inward.T + np.arange(5)) @ biased.outward.T + np.arange(6)
    np.testing.assert_allclose(biased(x), wanted, rtol=1e-4, atol=1e-5)
    bare = FeedForward.create(6, bias=False, key=jax.random.key(0))
    assert jnp.array_equal(bare(jnp.zeros((1, 6))), jnp.zeros((1, 6)))


@pytest.mark.whole
def test_a_mixture_of_experts_is_its_formula():
    mixture = MixtureOfExperts.create(6, hidden=5, experts=4, active=2, key=jax.random.key(0))
    x = np.random.default_rng(1).standard_normal((7, 6)).astype(np.float32)
    wanted = np.zeros((7, 6))
    for t, token in enumerate(x):
        scores = np.asarray(mixture.router, np.float64) @ token
        best = np.argsort(scores)[-2:]
        gates = np.exp(scores[best]) / np.exp(scores[best]).sum()
        for gate, expert in zip(gates, best, strict=True):
            wanted[t] += gate * gelu(token @ np.asarray(mixture.experts.inward[expert]).T) @ np.asarray(mixture.experts.outward[expert]).T
    np.testing.assert_allclose(mixture(jnp.asarray(x)), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="5 of 4 experts"):
        MixtureOfExperts.create(6, active=5, key=jax.random.key(0))


@pytest.mark.whole
@pytest.mark.parametrize("mixer", [Attention.create, partial(GatedMesaAttention.create, heads=2)], ids=["attention", "mesa"])
def test_reading_some_positions_equals_reading_all(mixer):
    whole = model(layers=2, mixer=mixer)
    some = replace(whole, readout_positions=(-1, 2))
    np.testing.assert_allclose(some(TOKENS), whole(TOKENS)[jnp.array([TIME - 1, 2])], rtol=1e-4, atol=1e-5)
    with pytest.raises(IndexError):
        replace(whole, readout_positions=(TIME,))(TOKENS)


@pytest.mark.whole
def test_the_last_block_computes_only_what_is_read():
    """Counted in operations by XLA, on a wide model whose last block is half of the work."""

    def cost(positions):
        wide = language_model(VOCABULARY, 64, layers=2, max_length=64, key=jax.random.key(0))
        run = jax.jit(replace(wide, readout_positions=positions).__call__)
        return run.lower(jnp.zeros(64, int)).compile().cost_analysis()["flops"]

    assert cost((-1,)) < 0.7 * cost(None)


@pytest.mark.whole
@pytest.mark.parametrize("feed_forward", [FeedForward.create, GatedFeedForward.create, None])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "relative"])
def test_streaming_is_the_parallel_form(positions, feed_forward):
    if positions == "relative":
        options = {"positions": None, "mixer": partial(Attention.create, position=partial(RelativeBias.create, buckets=4))}
    else:
        options = {"positions": SinusoidalPositions.create} if positions == "sinusoidal" else {}
    found = model(layers=2, feed_forward=feed_forward, norm=RMSNorm.create, tied=False, **options)
    streamed = found.stream(found.init_state(), TOKENS)[1]
    np.testing.assert_allclose(streamed, found(TOKENS), rtol=1e-4, atol=1e-5)


def test_a_sequence_longer_than_its_positions_is_refused():
    found = language_model(VOCABULARY, DIM, max_length=4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="9 positions, the table of positions has 4"):
        found(TOKENS)
    streamed = found.stream(found.init_state(), TOKENS)[1]
    assert np.isfinite(streamed[:4]).all()
    assert np.isnan(streamed[4:]).all()


@pytest.mark.whole
def test_padding_changes_nothing():
    found, valid = model(layers=2), jnp.arange(TIME) < 6
    bidirectional = replace(found, blocks=tuple(eqx.tree_at(lambda b: b.mixer, b, replace(b.mixer, causal=False)) for b in found.blocks))
    other = jnp.where(valid, TOKENS, 0)
    np.testing.assert_allclose(bidirectional(TOKENS, valid=valid)[:6], bidirectional(other, valid=valid)[:6], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bidirectional(TOKENS, valid=valid)[:6], bidirectional(TOKENS[:6]), rtol=1e-4, atol=1e-5)


def test_activations_are_the_residual_stream():
    found = model(layers=2)
    stream = found.activations(TOKENS)
    assert stream.shape == (3, TIME, DIM)
    np.testing.assert_allclose(found.norm(stream[-1]) @ found.embed.table.T, found(TOKENS), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.blocks[1].explain(stream[1])[0], stream[2], rtol=1e-5, atol=1e-5)


@pytest.mark.whole
def test_generation_at_temperature_zero_takes_the_largest_logit():
    found = model(layers=1)
    sampled = jax.jit(partial(generate, steps=4, temperature=0.0))(found, TOKENS[:3], key=jax.random.key(0))
    text = jnp.concatenate([TOKENS[:3], sampled])
    assert jnp.array_equal(jnp.argmax(found(text), axis=-1)[2:-1], sampled)


@pytest.mark.whole
def test_generation_samples_from_the_softmax():
    found = model(layers=1)
    draws = jax.vmap(lambda key: generate(found, TOKENS[:3], 1, temperature=2.0, key=key)[0])(jax.random.split(jax.random.key(1), 4000))
    wanted = jax.nn.softmax(found(TOKENS[:3])[-1] / 2)
    np.testing.assert_allclose(np.bincount(draws, minlength=VOCABULARY) / 4000, wanted, atol=0.03)


def test_patches_are_cut_row_by_row():
    image = jnp.arange(2 * 4 * 6, dtype=float).reshape(2, 4, 6)
    part = replace(PatchEmbedding.create(2, 8, size=2, key=jax.random.key(0)), weight=jnp.eye(8))
    found = part(image)
    assert found.shape == (1 + 2 * 3, 8)
    for row in range(2):
        for column in range(3):
            patch = image[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(-1)
            np.testing.assert_array_equal(found[1 + 3 * row + column], patch)
    with pytest.raises(ValueError, match="5 x 6 pixels cannot be cut into patches of 2 x 2"):
        part(jnp.zeros((2, 5, 6)))


@pytest.mark.whole
def test_a_vision_transformer_reads_its_class_token():
    vit = vision_transformer((3, 8, 8), DIM, classes=5, patch=4, key=jax.random.key(0))
    image = jnp.asarray(np.random.default_rng(0).standard_normal((3, 8, 8)), jnp.float32)
    logits = vit(image)
    assert logits.shape == (1, 5)
    np.testing.assert_allclose(logits, replace(vit, readout_positions=None)(image)[:1], rtol=1e-4, atol=1e-5)
    assert not jnp.allclose(logits, vit(image.at[:, -1, -1].add(1.0)))  # the last patch reaches the first token


def test_vectors_are_embedded_by_a_linear_map():
    block = TransformerBlock.create(DIM, key=jax.random.key(0))
    found = SequenceModel(Linear.create(3, out_dim=DIM, key=jax.random.key(1)), None, (block,), None, Linear.create(DIM, out_dim=2, key=jax.random.key(2)))
    x = jnp.ones((5, 3))
    np.testing.assert_allclose(found(x), found.readout(block(found.embed(x))), rtol=1e-6)


def test_a_tied_readout_is_scaled():
    found = model(layers=1)
    np.testing.assert_allclose(replace(found, readout=TiedReadout(0.25))(TOKENS), 0.25 * found(TOKENS), rtol=1e-5, atol=1e-6)


@pytest.mark.whole
def test_padding_is_hidden_from_the_position_that_is_read():
    """Padding on the left, which a causal mask does not hide: the last block reads one position and must not see it either."""
    found, valid = replace(model(layers=1, positions=None), readout_positions=(-1,)), jnp.arange(TIME) >= 3
    np.testing.assert_allclose(found(TOKENS, valid=valid), found(TOKENS[3:]), rtol=1e-4, atol=1e-5)
    assert not jnp.allclose(found(TOKENS), found(TOKENS[3:]), atol=1e-3)


def test_an_image_with_other_channels_is_refused():
    """Sixteen channels of 4 x 4 hold as many numbers as four patches of the right kind."""
    part = PatchEmbedding.create(4, 8, size=4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="The image has 16 channels, the patches are of 4"):
        part(jnp.zeros((16, 4, 4)))


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        generate(model(layers=1), TOKENS[:0], 2, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("options", "part"),
    [({"max_length": 6}, "LearnedPositions"), ({"positions": None, "mixer": partial(Attention.create, max_length=6)}, "Attention")],
)
def test_generation_ends_where_the_positions_end(options, part):
    """Past them, the logits would be NaN and every token 0."""
    short = language_model(VOCABULARY, DIM, layers=1, **options, key=jax.random.key(0))
    assert generate(short, TOKENS[:3], 4, key=jax.random.key(0)).shape == (4,)
    assert jnp.isfinite(short.stream(short.init_state(), TOKENS[:6])[1]).all()
    with pytest.raises(ValueError, match=f"5 tokens after a prompt of 3 need 7 positions; {part} has 6"):
        generate(short, TOKENS[:3], 5, key=jax.random.key(0))


def test_a_batch_of_sequences_is_refused():
    """Also one with as many sequences as tokens, to which the positions could be added."""
    found, batch = model(layers=1), jnp.stack([TOKENS] * TIME)
    with pytest.raises(ValueError, match=rf"\(time, dim\), not \({TIME}, {TIME}, {DIM}\); for a batch, use jax.vmap"):
        found(batch)
    with pytest.raises(ValueError, match=rf"\(dim,\), not \({TIME}, {DIM}\); for a batch, use jax.vmap"):
        found.stream(found.init_state(), batch)


class Noise(Mixer):
    """Uniform numbers from its key, in place of a mixture."""

    def __call__(self, x, *, key=None):
        return jax.random.uniform(key, x.shape)


@pytest.mark.parametrize("read", [None, (-1, 0)])
def test_every_block_s_mixer_draws_from_a_key_of_its_own(read):
    found, key = (
        replace(model(layers=2, mixer=lambda dim, key: Noise(), feed_forward=None, positions=None), norm=None, readout_positions=read),
        jax.random.key(5),
    )
    found = replace(found, readout=lambda x: x)
    wanted = found.embed(TOKENS) + sum(jax.random.uniform(k, (TIME, DIM)) for k in jax.random.split(key, 2))
    np.testing.assert_allclose(found(TOKENS, key=key), wanted if read is None else wanted[jnp.array([TIME - 1, 0])], rtol=1e-5)
