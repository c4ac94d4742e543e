"""Same weights, same numbers: our models against those of `transformers`, built from a config with random weights; nothing is downloaded.

Every weight of a peer is moved by random numbers, so that no bias is 0 and no scale is 1, and then handed to ours.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import (
    RGLRU,
    Attention,
    FeedForward,
    GatedFeedForward,
    HawkBlock,
    LayerNorm,
    LearnedPositions,
    Linear,
    PatchEmbedding,
    RecurrentBlock,
    RelativeBias,
    RMSNorm,
    Rotary,
    SequenceModel,
    TiedReadout,
    TokenEmbedding,
    TransformerBlock,
    delta_rule,
    generate,
    language_model,
    vision_transformer,
)
from mesocosm.nn.mixers.attention import Biases

torch = pytest.importorskip("torch", reason="torch is not installed: make peers")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: make peers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

VOCABULARY, DIM, HEADS, HIDDEN, LAYERS, TIME = 50, 24, 4, 56, 2, 17
TOKENS = np.random.default_rng(0).integers(3, VOCABULARY, TIME)
SIZES = {"hidden_size": DIM, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "intermediate_size": HIDDEN}
TEXT = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "attn_implementation": "eager"}
EXACT_GELU = partial(jax.nn.gelu, approximate=False)


def moved(peer):
    """The peer, all its weights moved by N(0, 0.2^2)."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in peer.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return peer.eval()


def weights(peer, gradients=False):
    """Name -> array, of the weights or of their gradients."""
    return {name: jnp.asarray((weight.grad if gradients else weight.detach()).numpy().copy()) for name, weight in peer.named_parameters()}


def below(named, prefix):
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


def numbers(tensor):
    return tensor.detach().numpy()


def close(found, wanted):
    """To 2e-5, of numbers of order 1."""
    assert 0.1 < np.std(wanted) < 3
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


# --- weights of theirs in our modules


def layer_norm(named, name, epsilon):
    return LayerNorm(named[f"{name}.weight"], named[f"{name}.bias"], epsilon)


def feed_forward(named, first, second, activation):
    return FeedForward(named[f"{first}.weight"], named[f"{second}.weight"], named.get(f"{first}.bias"), named.get(f"{second}.bias"), activation)


def attention(maps, biases=(), **options):
    """From query, key, value (heads n, dim) and output (dim, heads n), and their biases."""
    query, key, value = (w.reshape(HEADS, -1, w.shape[1]) for w in maps[:3])
    output = maps[3].reshape(maps[3].shape[0], HEADS, -1).swapaxes(0, 1)
    added = Biases(*(b.reshape(HEADS, -1) for b in biases[:3]), biases[3]) if biases else None
    return Attention(query, key, value, output, biases=added, **options)


def gpt2(named):
    """GPT-2's maps are transposed; its query, key and value maps are one array."""
    named = {name: value.T if value.ndim == 2 and ".h." in name else value for name, value in named.items()}

    def block(part):
        maps = (*jnp.split(part["attn.c_attn.weight"], 3), part["attn.c_proj.weight"])
        mixer = attention(maps, (*jnp.split(part["attn.c_attn.bias"], 3), part["attn.c_proj.bias"]))
        return TransformerBlock(
            layer_norm(part, "ln_1", 1e-5), mixer, layer_norm(part, "ln_2", 1e-5), feed_forward(part, "mlp.c_fc", "mlp.c_proj", jax.nn.gelu)
        )

    part = below(named, "transformer.")
    blocks = tuple(block(below(part, f"h.{i}.")) for i in range(LAYERS))
    return SequenceModel(TokenEmbedding(part["wte.weight"]), LearnedPositions(part["wpe.weight"]), blocks, layer_norm(part, "ln_f", 1e-5), TiedReadout())


def llama(named):
    def block(part):
        mixer = attention([part[f"self_attn.{name}_proj.weight"] for name in "qkvo"], position=Rotary())
        feed = GatedFeedForward(*(part[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down")))
        return TransformerBlock(RMSNorm(part["input_layernorm.weight"]), mixer, RMSNorm(part["post_attention_layernorm.weight"]), feed)

    blocks = tuple(block(below(named, f"model.layers.{i}.")) for i in range(LAYERS))
    return SequenceModel(
        TokenEmbedding(named["model.embed_tokens.weight"]), None, blocks, RMSNorm(named["model.norm.weight"]), Linear(named["lm_head.weight"], None)
    )


def gpt_neox(named, rotated):
    """Its query, key and value maps are one array, head by head."""

    def by_map(stacked):
        return jnp.moveaxis(stacked.reshape(HEADS, 3, -1, *stacked.shape[1:]), 1, 0).reshape(3, -1, *stacked.shape[1:])

    def block(part):
        maps, biases = ((*by_map(part[f"attention.query_key_value.{kind}"]), part[f"attention.dense.{kind}"]) for kind in ("weight", "bias"))
        mixer = attention(maps, biases, position=Rotary(size=rotated))
        norms = (layer_norm(part, name, 1e-5) for name in ("input_layernorm", "post_attention_layernorm"))
        first, second = norms
        return TransformerBlock(first, mixer, second, feed_forward(part, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", EXACT_GELU))

    part = below(named, "gpt_neox.")
    blocks = tuple(block(below(part, f"layers.{i}.")) for i in range(LAYERS))
    return SequenceModel(
        TokenEmbedding(part["embed_in.weight"]), None, blocks, layer_norm(part, "final_layer_norm", 1e-5), Linear(named["lm_head.weight"], None)
    )


def t5_encoder(named, max_distance):
    """T5's scores are not divided by the root of the key size, and all its blocks share the bias of the first."""
    table = named["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].T

    def block(part):
        query, *rest = (part[f"layer.0.SelfAttention.{name}.weight"] for name in "qkvo")
        mixer = attention((query * (query.shape[0] // HEADS) ** 0.5, *rest), causal=False, position=RelativeBias(table, max_distance, True))
        feed = feed_forward(part, "layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wo", jax.nn.relu)
        return TransformerBlock(RMSNorm(part["layer.0.layer_norm.weight"]), mixer, RMSNorm(part["layer.1.layer_norm.weight"]), feed)

    blocks = tuple(block(below(named, f"encoder.block.{i}.")) for i in range(LAYERS))
    return SequenceModel(TokenEmbedding(named["shared.weight"]), None, blocks, RMSNorm(named["encoder.final_layer_norm.weight"]), lambda x: x)


def vit(named):
    def block(part):
        maps, biases = ([part[f"attention.{name}_proj.{kind}"] for name in "qkvo"] for kind in ("weight", "bias"))
        norms = [layer_norm(part, f"layernorm_{place}", 1e-12) for place in ("before", "after")]
        return TransformerBlock(norms[0], attention(maps, biases, causal=False), norms[1], feed_forward(part, "mlp.fc1", "mlp.fc2", EXACT_GELU))

    part = below(named, "vit.")
    projection = part["embeddings.patch_embeddings.projection.weight"]
    embed = PatchEmbedding(
        projection.reshape(DIM, -1), part["embeddings.patch_embeddings.projection.bias"], part["embeddings.cls_token"][0, 0], projection.shape[-1]
    )
    return SequenceModel(
        embed,
        LearnedPositions(part["embeddings.position_embeddings"][0]),
        tuple(block(below(part, f"layers.{i}.")) for i in range(LAYERS)),
        layer_norm(part, "layernorm", 1e-12),
        Linear(named["classifier.weight"], named["classifier.bias"]),
        (0,),
    )


def hawk(named):
    """RecurrentGemma stores scales less 1, the negative of the memory, and the gates' blocks transposed."""
    part = below(named, "temporal_block.")
    gates = [(part[f"rg_lru.{name}_gate_weight"].swapaxes(1, 2), part[f"rg_lru.{name}_gate_bias"]) for name in ("recurrent", "input")]
    mixing = RecurrentBlock(
        part["linear_y.weight"],
        part["linear_x.weight"],
        part["conv_1d.weight"][:, 0].T,
        part["conv_1d.bias"],
        RGLRU(*gates[0], *gates[1], -part["rg_lru.recurrent_param"]),
        part["linear_out.weight"],
    )
    scales = 1 + jnp.stack([named[f"{name}_pre_norm.weight"] for name in ("temporal", "channel")])
    return HawkBlock(mixing, scales, GatedFeedForward(*(named[f"mlp_block.{name}_proj.weight"] for name in ("gate", "up", "down")), jax.nn.gelu))


# --- whole models


def gpt2_peer():
    config = transformers.GPT2Config(n_embd=DIM, n_head=HEADS, n_layer=LAYERS, n_positions=40, **TEXT)
    return moved(transformers.GPT2LMHeadModel(config))


def llama_peer():
    config = transformers.LlamaConfig(**SIZES, **TEXT, num_key_value_heads=HEADS, rms_norm_eps=1e-6, tie_word_embeddings=False)
    return moved(transformers.LlamaForCausalLM(config))


def gpt_neox_peer():
    config = transformers.GPTNeoXConfig(**SIZES, **TEXT, rotary_pct=0.67, use_parallel_residual=False, tie_word_embeddings=False)
    return moved(transformers.GPTNeoXForCausalLM(config))


DECODERS = {"GPT-2": (gpt2_peer, gpt2), "Llama": (llama_peer, llama), "GPT-NeoX": (gpt_neox_peer, partial(gpt_neox, rotated=4))}


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_computes_the_same(name):
    """Logits, the residual stream, the streamed logits, and the gradient of every weight."""
    make, converted = DECODERS[name]
    peer, tokens = make(), torch.from_numpy(TOKENS)[None]
    ours, theirs = converted(weights(peer)), peer(tokens, output_hidden_states=True)
    logits, streamed, stream = jax.jit(lambda model, x: (model(x), model.stream(model.init_state(), x)[1], model.activations(x)))(ours, TOKENS)
    wanted = numbers(theirs.logits)[0]
    close(logits, wanted)
    close(streamed, wanted)
    close(stream[:-1], np.stack([numbers(layer)[0] for layer in theirs.hidden_states[:-1]]))  # their last one is after the norm

    cotangent = np.random.default_rng(1).standard_normal(wanted.shape).astype(np.float32) / TIME
    (theirs.logits[0] * torch.from_numpy(cotangent)).sum().backward()
    found = jax.jit(jax.grad(lambda model: jnp.sum(model(jnp.asarray(TOKENS)) * cotangent)))(ours)
    for mine, right in zip(jax.tree.leaves(found), jax.tree.leaves(converted(weights(peer, gradients=True))), strict=True):
        np.testing.assert_allclose(mine, right, rtol=0, atol=2e-5 * max(1, np.abs(right).max()))


def test_our_constructor_makes_the_architecture_of_gpt2():
    made = language_model(
        VOCABULARY,
        DIM,
        layers=LAYERS,
        mixer=partial(Attention.create, heads=HEADS, bias=True),
        norm=partial(LayerNorm.create, epsilon=1e-5),
        max_length=40,
        key=jax.random.key(0),
    )
    given = gpt2(weights(gpt2_peer()))
    assert jax.tree.structure(made) == jax.tree.structure(given)
    assert [leaf.shape for leaf in jax.tree.leaves(made)] == [leaf.shape for leaf in jax.tree.leaves(given)]


def test_gpt2_generates_the_same_text():
    peer = gpt2_peer()
    wanted = peer.generate(torch.from_numpy(TOKENS)[None], max_new_tokens=15, min_new_tokens=15, do_sample=False)[0, TIME:]
    found = jax.jit(partial(generate, steps=15, temperature=0.0))(gpt2(weights(peer)), TOKENS, key=jax.random.key(0))
    np.testing.assert_array_equal(found, wanted)


def test_gpt2_ignores_the_same_padding():
    peer, valid = gpt2_peer(), np.arange(TIME) < 11
    wanted = numbers(peer(torch.from_numpy(TOKENS)[None], attention_mask=torch.from_numpy(valid)[None].long()).logits)[0]
    close(gpt2(weights(peer))(jnp.asarray(TOKENS), valid=jnp.asarray(valid)), wanted)


@pytest.mark.parametrize("length", [TIME, 70])
def test_the_encoder_of_t5_computes_the_same(length):
    config = transformers.T5Config(
        vocab_size=VOCABULARY, d_model=DIM, num_heads=HEADS, d_kv=5, d_ff=HIDDEN, num_layers=LAYERS, relative_attention_num_buckets=12,
        relative_attention_max_distance=30, attn_implementation="eager",
    )  # fmt: skip
    peer, tokens = moved(transformers.T5EncoderModel(config)), np.random.default_rng(2).integers(3, VOCABULARY, length)
    close(jax.jit(t5_encoder(weights(peer), 30).__call__)(tokens), numbers(peer(torch.from_numpy(tokens)[None]).last_hidden_state)[0])


def test_a_vision_transformer_computes_the_same():
    config = transformers.ViTConfig(**SIZES, image_size=12, patch_size=4, num_channels=3, num_labels=7, attn_implementation="eager")
    assert config.layer_norm_eps == 1e-12
    peer, image = moved(transformers.ViTForImageClassification(config)), np.random.default_rng(0).standard_normal((3, 12, 12), np.float32)
    theirs, ours = peer(torch.from_numpy(image)[None], output_hidden_states=True), vit(weights(peer))
    logits, stream = jax.jit(lambda model, x: (model(x), model.activations(x)))(ours, image)
    close(logits, numbers(theirs.logits))
    close(stream, np.stack([numbers(layer)[0] for layer in theirs.hidden_states]))
    made = vision_transformer(
        (3, 12, 12),
        DIM,
        classes=7,
        patch=4,
        layers=LAYERS,
        heads=HEADS,
        feed_forward=partial(FeedForward.create, hidden=HIDDEN, activation=EXACT_GELU),
        norm=partial(LayerNorm.create, epsilon=1e-12),
        key=jax.random.key(0),
    )
    assert jax.tree.structure(made) == jax.tree.structure(ours)
    assert [leaf.shape for leaf in jax.tree.leaves(made)] == [leaf.shape for leaf in jax.tree.leaves(ours)]


# --- parts


@pytest.mark.parametrize("epsilon", [1e-5, 1e-6, 1e-12])
def test_norms_of_small_tokens_are_those_of_pytorch(epsilon):
    """Tokens as small as the root of epsilon, whose norm depends on it, with the gradient."""
    random = np.random.default_rng(0)
    x, cotangent = random.standard_normal((2, 5, DIM)).astype(np.float32) * np.float32([[[epsilon**0.5]], [[1]]])
    pairs = ((LayerNorm, torch.nn.LayerNorm(DIM, eps=epsilon)), (RMSNorm, transformers.models.llama.modeling_llama.LlamaRMSNorm(DIM, eps=epsilon)))
    for kind, peer in pairs:
        theirs = torch.from_numpy(x.copy()).requires_grad_()
        wanted = moved(peer)(theirs)
        (wanted * torch.from_numpy(cotangent)).sum().backward()
        ours = kind(*weights(peer).values(), epsilon)
        found, back = jax.jit(lambda x, ours=ours: (ours(x), jax.grad(lambda x: jnp.sum(ours(x) * cotangent))(x)))(x)
        close(found, numbers(wanted))
        np.testing.assert_allclose(back * epsilon**0.5, theirs.grad.numpy() * epsilon**0.5, rtol=0, atol=2e-5)


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (12, 30), (32, 1000)])
def test_the_buckets_of_distances_are_those_of_t5(two_sided, buckets, max_distance):
    positions = np.arange(0, 1500, 3)
    bias = RelativeBias(jnp.arange(buckets, dtype=jnp.float32)[None], max_distance, two_sided)
    relative = torch.from_numpy(positions[None, :] - positions[:, None])
    wanted = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket(relative, two_sided, buckets, max_distance)
    np.testing.assert_array_equal(bias.bias(jnp.asarray(positions), jnp.asarray(positions))[0], wanted)


def test_rotary_positions_are_those_of_llama():
    llama = transformers.models.llama.modeling_llama
    heads, positions = np.random.default_rng(0).standard_normal((TIME, HEADS, 8), np.float32), 5 * np.arange(TIME)
    embedding = llama.LlamaRotaryEmbedding(transformers.LlamaConfig(hidden_size=8 * HEADS, num_attention_heads=HEADS))
    angles = embedding(torch.zeros(1), torch.from_numpy(positions)[None])
    given = torch.from_numpy(heads.swapaxes(0, 1).copy())[None]
    wanted = numbers(llama.apply_rotary_pos_emb(given, given, *angles)[0])[0].swapaxes(0, 1)
    close(Rotary().rotate(jnp.asarray(heads), jnp.asarray(positions)), wanted)


# --- recurrences


def test_a_block_of_recurrent_gemma_computes_the_same():
    """The RG-LRU, the convolution and the whole block, without the biases of linear maps, which ours do not have.

    Positions begin at 1: at position 0, RecurrentGemma does not scale the input, which the paper does not say.
    """
    config = transformers.RecurrentGemmaConfig(**{**SIZES, "intermediate_size": 6 * DIM}, lru_width=32, vocab_size=VOCABULARY)
    peer = moved(transformers.RecurrentGemmaModel(config)).layers[0]
    with torch.no_grad():
        for name, weight in peer.named_parameters():
            if name.endswith("bias") and ("linear" in name or "proj" in name):
                weight.zero_()
    ours, x = hawk(weights(peer)), np.random.default_rng(0).standard_normal((40, DIM), np.float32)
    positions = torch.arange(1, 41)[None]
    found, streamed = jax.jit(lambda block, x: (block(x), block.stream(block.init_state(), x)[1]))(ours, x)
    wanted = numbers(peer(torch.from_numpy(x)[None], positions, None, use_cache=False))[0]
    close(found, wanted)
    close(streamed, wanted)

    inner, rg_lru = np.random.default_rng(1).standard_normal((40, 32), np.float32), peer.temporal_block.rg_lru
    rg_lru.recurrent_states = None
    close(jax.jit(ours.mixing.recurrence.__call__)(inner), numbers(rg_lru(torch.from_numpy(inner)[None], positions))[0])


def test_the_gated_delta_rule_is_that_of_qwen3():
    random = np.random.default_rng(0)
    query, key, value = random.standard_normal((3, TIME, 6)).astype(np.float32)
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    log_forget, gate = -random.uniform(0.01, 0.5, TIME).astype(np.float32), random.uniform(0.1, 0.9, TIME).astype(np.float32)
    theirs = transformers.models.qwen3_next.modeling_qwen3_next.torch_recurrent_gated_delta_rule
    arrays = (query * 6**0.5, key, value, log_forget, gate)  # theirs divides queries by the root of the key size
    wanted, state = theirs(*(torch.from_numpy(x)[None, :, None] for x in arrays), output_final_state=True)
    found = delta_rule(*(jnp.asarray(x) for x in (query, key, value, log_forget, gate)))
    close(found[0], numbers(wanted)[0, :, 0])
    close(found[1], numbers(state)[0, 0].T)
