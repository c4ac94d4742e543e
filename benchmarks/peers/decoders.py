"""A decoder on the same weights and tokens: a training step, ours, flax's and PyTorch's; decoding token by token and by recomputation; float64 references."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mesocosm.nn import Attention, SequenceModel, language_model
from mesocosm.numerics import programs
from peers.problem import NOT_INSTALLED, Unavailable
from stopwatch.timing import Contender

OPTIMIZER = optax.adamw(1e-3, weight_decay=1e-2)


@dataclass(frozen=True)
class Decoder:
    """The sizes of a decoder and of its batch. Pre-norm blocks, learned positions, biases everywhere, GELU (tanh form), readout tied to the embedding."""

    vocabulary: int
    dim: int
    layers: int
    heads: int
    length: int
    batch: int

    def __str__(self) -> str:
        return f"{self.layers} layers of {self.dim} channels, {self.heads} heads, {self.batch} x {self.length} tokens of {self.vocabulary}"

    @property
    def tokens(self) -> np.ndarray:
        """One token more than the model reads; the same at every call."""
        return np.random.default_rng(0).integers(0, self.vocabulary, (self.batch, self.length + 1))


@cache
def initial(decoder: Decoder) -> SequenceModel:
    """The model before the step."""
    mixer = partial(Attention.create, heads=decoder.heads, bias=True)
    return language_model(decoder.vocabulary, decoder.dim, layers=decoder.layers, mixer=mixer, max_length=decoder.length, key=jax.random.key(0))


@dataclass(frozen=True)
class Step:
    """A training step: who runs it, and a function that traces and compiles it again and returns the seconds (None: nothing is compiled)."""

    contender: Contender
    compile_seconds: Callable[[], float] | None = None


def mesocosm(decoder: Decoder) -> Step:
    """Our model, compiled with the library's options."""
    return _compiled("mesocosm", programs.jit, lambda model, tokens: jax.vmap(model)(tokens), initial(decoder), decoder, _parts)


def reference(decoder: Decoder, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Our model in float64; the tests hold it to its formula and to GPT-2."""
    return _wide(decoder)


@cache
def _wide(decoder: Decoder) -> list[np.ndarray]:
    with jax.enable_x64(True):
        model = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), initial(decoder))
        step = jax.jit(_training_step(lambda model, tokens: jax.vmap(model)(tokens)))
        return _answer(_parts, step(model, OPTIMIZER.init(model), jnp.asarray(decoder.tokens)))


def _parts(model: SequenceModel) -> list[Any]:
    """What is compared of the first moments, which are a tenth of the gradient: maps with the inputs last."""
    first, last = model.blocks[0], model.blocks[-1]
    query = first.mixer.query
    return [model.embed.table, model.positions.table, query.reshape(-1, query.shape[-1]), first.mixer_norm.scale, last.feed_forward.outward, model.norm.bias]


def _training_step(apply: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """(parameters, optimiser's state, tokens) -> both after a step, and the loss."""

    def loss(parameters: Any, tokens: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(apply(parameters, tokens[:, :-1]), tokens[:, 1:]).mean()

    def step(parameters: Any, state: Any, tokens: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(parameters, tokens)
        updates, state = OPTIMIZER.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    return step


def _compiled(name: str, jit: Callable[..., Any], apply: Callable[[Any, Any], Any], parameters: Any, decoder: Decoder, parts: Callable[[Any], Any]) -> Step:
    given = (parameters, OPTIMIZER.init(parameters), jnp.asarray(decoder.tokens))

    def compile_step() -> Any:
        return jit(_training_step(apply)).lower(*given).compile()

    def seconds() -> float:
        began = time.perf_counter()
        compile_step()
        return time.perf_counter() - began

    compiled = compile_step()
    reserved = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return Step(Contender(name, lambda: jax.block_until_ready(compiled(*given)), partial(_answer, parts), mebibytes=reserved), seconds)


def _answer(parts: Callable[[Any], Any], result: Any) -> list[np.ndarray]:
    _, state, loss = result
    return [np.asarray(part) for part in (loss, *parts(state[0].mu))]


# --- decoding -----------------------------------------------------------------------------------------------------------


def by_steps(decoder: Decoder) -> Contender:
    """Logits after every token of one sequence, each from the state that the tokens before it left (`SequenceModel.stream`)."""
    return _decoding("mesocosm", decoder, lambda model, tokens: model.stream(model.init_state(), tokens)[1])


def by_recomputation(decoder: Decoder) -> Contender:
    """The same from the whole sequence so far, padded to its final length, again for every token: what one does without a state."""

    def decode(model: SequenceModel, tokens: Any) -> Any:
        places = jnp.arange(len(tokens))
        return jax.lax.map(lambda place: model(jnp.where(places <= place, tokens, 0))[place], places)

    return _decoding("recomputation", decoder, decode)


def decoded(decoder: Decoder, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The logits of one pass over the whole sequence, in float64."""
    narrow = _with_cache(decoder)
    with jax.enable_x64(True):
        model = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), narrow)
        return [np.asarray(model(jnp.asarray(decoder.tokens[0, :-1])))]


@cache
def _with_cache(decoder: Decoder) -> SequenceModel:
    mixer = partial(Attention.create, heads=decoder.heads, bias=True, max_length=decoder.length)
    return language_model(decoder.vocabulary, decoder.dim, layers=decoder.layers, mixer=mixer, max_length=decoder.length, key=jax.random.key(0))


def _decoding(name: str, decoder: Decoder, decode: Callable[..., Any]) -> Contender:
    given = (_with_cache(decoder), jnp.asarray(decoder.tokens[0, :-1]))
    compiled = programs.jit(decode).lower(*given).compile()
    reserved = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return Contender(name, lambda: jax.block_until_ready(compiled(*given)), lambda logits: [np.asarray(logits)], mebibytes=reserved)


# --- training steps of others ---------------------------------------------------------------------------------------------


def in_flax(decoder: Decoder) -> Step:
    """flax's own layers, compiled with JAX's default options.

    Raises:
        Unavailable: flax is not installed.
    """
    if importlib.util.find_spec("flax") is None:
        raise Unavailable(NOT_INSTALLED)
    from flax import linen

    class Block(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            mask = linen.make_causal_mask(jnp.ones(x.shape[:-1]))
            x = x + linen.MultiHeadDotProductAttention(num_heads=decoder.heads, name="mixer")(linen.LayerNorm(name="mixer_norm")(x), mask=mask)
            hidden = linen.gelu(linen.Dense(4 * decoder.dim, name="inward")(linen.LayerNorm(name="feed_norm")(x)))
            return x + linen.Dense(decoder.dim, name="outward")(hidden)

    class Model(linen.Module):
        @linen.compact
        def __call__(self, tokens: Any) -> Any:
            embed = linen.Embed(decoder.vocabulary, decoder.dim, name="embed")
            x = embed(tokens) + linen.Embed(decoder.length, decoder.dim, name="positions")(jnp.arange(tokens.shape[1]))
            for place in range(decoder.layers):
                x = Block(name=f"block_{place}")(x)
            return embed.attend(linen.LayerNorm(name="norm")(x))

    def parts(variables: Any) -> list[Any]:
        found = variables["params"]
        first, last = found["block_0"], found[f"block_{decoder.layers - 1}"]
        query = first["mixer"]["query"]["kernel"]
        return [
            found["embed"]["embedding"],
            found["positions"]["embedding"],
            query.reshape(query.shape[0], -1).T,
            first["mixer_norm"]["scale"],
            last["outward"]["kernel"].T,
            found["norm"]["bias"],
        ]

    return _compiled("flax", jax.jit, Model().apply, {"params": _flax_weights(decoder)}, decoder, parts)


def _flax_weights(decoder: Decoder) -> dict[str, Any]:
    model = initial(decoder)

    def norm(part: Any) -> dict[str, Any]:
        return {"scale": part.scale, "bias": part.bias}

    def block(part: Any) -> dict[str, Any]:
        mixer, feed = part.mixer, part.feed_forward
        maps = {name: {"kernel": jnp.moveaxis(getattr(mixer, name), 2, 0), "bias": getattr(mixer.biases, name)} for name in ("query", "key", "value")}
        return {
            "mixer": {**maps, "out": {"kernel": mixer.output.swapaxes(1, 2), "bias": mixer.biases.output}},
            "mixer_norm": norm(part.mixer_norm),
            "feed_norm": norm(part.feed_norm),
            "inward": {"kernel": feed.inward.T, "bias": feed.inward_bias},
            "outward": {"kernel": feed.outward.T, "bias": feed.outward_bias},
        }

    blocks = {f"block_{place}": block(part) for place, part in enumerate(model.blocks)}
    return {"embed": {"embedding": model.embed.table}, "positions": {"embedding": model.positions.table}, "norm": norm(model.norm), **blocks}


def in_torch(decoder: Decoder) -> Step:
    """PyTorch's layers, its fused attention and its fused AdamW, without torch.compile, which needs a C++ compiler.

    Raises:
        Unavailable: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise Unavailable(NOT_INSTALLED)
    import torch
    from torch.nn import functional

    def tensor(array: Any) -> Any:
        return torch.nn.Parameter(torch.from_numpy(np.array(array)))

    def flat(maps: Sequence[Any]) -> Any:
        return jnp.concatenate([part.reshape(-1, *part.shape[2:]) for part in maps])

    model = initial(decoder)
    embed, positions, scale, bias = map(tensor, (model.embed.table, model.positions.table, model.norm.scale, model.norm.bias))
    blocks = []
    for block in model.blocks:
        mixer, feed = block.mixer, block.feed_forward
        maps = (flat((mixer.query, mixer.key, mixer.value)), flat(mixer.biases[:3]))
        output = (jnp.moveaxis(mixer.output, 0, 1).reshape(decoder.dim, -1), mixer.biases.output)
        norms = (block.mixer_norm.scale, block.mixer_norm.bias, block.feed_norm.scale, block.feed_norm.bias)
        blocks.append([tensor(array) for array in (*norms, *maps, *output, feed.inward, feed.inward_bias, feed.outward, feed.outward_bias)])
    weights = [embed, positions, scale, bias, *(array for block in blocks for array in block)]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=1e-2, fused=True)
    tokens = torch.from_numpy(decoder.tokens)

    def norm(x: Any, scale: Any, bias: Any) -> Any:
        return functional.layer_norm(x, (decoder.dim,), scale, bias, 1e-6)

    def run() -> Any:
        optimizer.zero_grad()
        x = functional.embedding(tokens[:, :-1], embed) + positions
        for mixer_scale, mixer_bias, feed_scale, feed_bias, *maps in blocks:
            heads = functional.linear(norm(x, mixer_scale, mixer_bias), *maps[:2]).view(decoder.batch, decoder.length, 3, decoder.heads, -1)
            mixed = functional.scaled_dot_product_attention(*heads.permute(2, 0, 3, 1, 4), is_causal=True)
            x = x + functional.linear(mixed.transpose(1, 2).reshape(x.shape), *maps[2:4])
            x = x + functional.linear(functional.gelu(functional.linear(norm(x, feed_scale, feed_bias), *maps[4:6]), approximate="tanh"), *maps[6:])
        logits = functional.linear(norm(x, scale, bias), embed)
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        return loss

    def answer(loss: Any) -> list[np.ndarray]:
        """After the first step."""
        compared = (embed, positions, blocks[0][4], blocks[0][0], blocks[-1][10], bias)
        moments = [optimizer.state[weight]["exp_avg"].numpy().copy() for weight in compared]
        moments[2] = moments[2][: len(moments[2]) // 3]
        return [loss.detach().numpy(), *moments]

    return Step(Contender("torch", run, answer, note="PyTorch without torch.compile; its threads wait for each other, so other load slows it most"))
