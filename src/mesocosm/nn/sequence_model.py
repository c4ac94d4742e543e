"""Models of whole sequences: an embedding, blocks around any mixer, and a readout; a decoder-only language model and a small vision transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, PRNGKeyArray

from mesocosm.nn.blocks.feed_forward import FeedForward
from mesocosm.nn.blocks.linear import Linear, gaussian
from mesocosm.nn.blocks.norms import LayerNorm
from mesocosm.nn.blocks.positions import sinusoidal_positions
from mesocosm.nn.blocks.transformer import TransformerBlock
from mesocosm.nn.mixer import Diagnostics, Mixer, check_axes
from mesocosm.nn.mixers.attention import Attention


class TokenEmbedding(eqx.Module):
    """A learned vector for each token of the vocabulary."""

    table: Float[Array, "vocabulary dim"]

    @classmethod
    def create(cls, vocabulary: int, dim: int, *, key: PRNGKeyArray) -> TokenEmbedding:
        """Entries N(0, 1 / dim), so that a tied readout starts with logits of order 1."""
        return cls(gaussian((vocabulary, dim), 1.0, key))

    def __call__(self, tokens: Integer[Array, "*time"]) -> Float[Array, "*time dim"]:
        """Look up."""
        return self.table[tokens]


class PatchEmbedding(eqx.Module):
    r"""A learned class token, then the image's patches, each mapped to `dim` channels by the same affine map.

    Patches are in row-major order; the entries of a patch are in the order (channel, row, column).
    """

    weight: Float[Array, "dim patch"]
    bias: Float[Array, " dim"]
    class_token: Float[Array, " dim"]
    size: int = eqx.field(static=True)

    @classmethod
    def create(cls, channels: int, dim: int, *, size: int, key: PRNGKeyArray) -> PatchEmbedding:
        """Patches of `size` x `size` pixels; weights with standard deviation 1 / sqrt(fan in), bias and class token 0."""
        return cls(gaussian((dim, channels * size * size), 1.0, key), jnp.zeros(dim), jnp.zeros(dim), size)

    def __call__(self, image: Float[Array, "channels height width"]) -> Float[Array, "time dim"]:
        """The class token and the patches.

        Raises:
            ValueError: the image cannot be cut into such patches, or has another number of channels or axes.
        """
        check_axes(image, "channels height width", "An image")
        channels, height, width = image.shape
        if height % self.size or width % self.size:
            raise ValueError(f"An image of {height} x {width} pixels cannot be cut into patches of {self.size} x {self.size}.")
        if channels * self.size**2 != self.weight.shape[1]:
            raise ValueError(f"The image has {channels} channels, the patches are of {self.weight.shape[1] // self.size**2}.")
        grid = image.reshape(channels, height // self.size, self.size, width // self.size, self.size)
        patches = grid.transpose(1, 3, 0, 2, 4).reshape(-1, self.weight.shape[1])
        return jnp.concatenate([self.class_token[None], patches @ self.weight.T + self.bias])


class LearnedPositions(eqx.Module):
    """A learned vector for each position, added to the embedding."""

    table: Float[Array, "max_length dim"]

    @classmethod
    def create(cls, dim: int, *, max_length: int = 1024, key: PRNGKeyArray) -> LearnedPositions:
        """Entries N(0, 1 / dim)."""
        return cls(gaussian((max_length, dim), 1.0, key))

    @property
    def max_length(self) -> int:
        """Number of positions."""
        return self.table.shape[0]

    def __call__(self, positions: Int[Array, "*time"]) -> Float[Array, "*time dim"]:
        """Look up; a position past the table, while streaming, gives NaN.

        Raises:
            ValueError: there are more positions than vectors.
        """
        if positions.size > self.max_length:
            raise ValueError(f"The sequence has {positions.size} positions, the table of positions has {self.max_length}.")
        return self.table.at[positions].get(mode="fill", fill_value=jnp.nan)


class SinusoidalPositions(eqx.Module):
    """Sinusoids (`sinusoidal_positions`), added to the embedding."""

    dim: int = eqx.field(static=True)

    @classmethod
    def create(cls, dim: int, *, max_length: int = 1024, key: PRNGKeyArray | None = None) -> SinusoidalPositions:
        """There are no parameters, and `max_length` is ignored: sequences may have any length."""
        return cls(dim)

    def __call__(self, positions: Int[Array, "*time"]) -> Float[Array, "*time dim"]:
        """Compute."""
        return sinusoidal_positions(positions, self.dim)


class TiedReadout(eqx.Module):
    r"""$s\,E y$ with the table E of the token embedding."""

    scale: float = eqx.field(static=True, default=1.0)


class SequenceModel(eqx.Module):
    """Embed, mix in blocks, normalise, read out.

    Attributes:
        embed: inputs -> tokens (time, dim): `TokenEmbedding`, `PatchEmbedding`, `Linear` for vectors.
        positions: positions -> vectors added to the tokens, or None.
        blocks: mixers of width dim, usually `TransformerBlock`s.
        norm: applied before the readout, or None.
        readout: tokens -> outputs, or a `TiedReadout`.
        readout_positions: positions at which outputs are computed, negative ones counted from the end; None for all. The last block computes only these.
    """

    embed: Callable[..., Array]
    positions: Callable[..., Array] | None
    blocks: tuple[Mixer, ...]
    norm: Callable[[Array], Array] | None
    readout: Callable[[Array], Array] | TiedReadout
    readout_positions: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def __call__(self, inputs: Array, *, valid: Bool[Array, " time"] | None = None, key: PRNGKeyArray | None = None) -> Float[Array, "read out"]:
        """Outputs at `readout_positions`.

        Args:
            inputs: what `embed` takes, for a language model tokens (time,).
            valid: false at padding, for blocks whose mixers take it.
            key: for blocks that draw random numbers.
        """
        x = self._embedded(inputs)
        given = {} if valid is None else {"valid": valid}
        keys = [None] * len(self.blocks) if key is None else jax.random.split(key, len(self.blocks))
        for place, (block, block_key) in enumerate(zip(self.blocks, keys, strict=True)):
            if self.readout_positions is not None and place == len(self.blocks) - 1:
                x = block.at(x, jnp.asarray(np.arange(x.shape[0])[list(self.readout_positions)]), key=block_key, **given)
            else:
                x = block(x, key=block_key, **given)
        return self._read(x)

    def explain(self, inputs: Array) -> tuple[Float[Array, "read out"], tuple[Diagnostics, ...]]:
        """Outputs at `readout_positions`, and each block's diagnostics at all positions."""
        x, shown = self._embedded(inputs), []
        for block in self.blocks:
            x, diagnostics = block.explain(x)
            shown.append(diagnostics)
        return self._read(x if self.readout_positions is None else x[np.asarray(self.readout_positions)]), tuple(shown)

    def activations(self, inputs: Array) -> Float[Array, "blocks_and_input time dim"]:
        """The residual stream before the first block and after each block, for probes."""
        stream = [self._embedded(inputs)]
        for block in self.blocks:
            stream.append(block(stream[-1]))
        return jnp.stack(stream)

    def init_state(self) -> tuple[Int[Array, ""], tuple[Any, ...]]:
        """The number of tokens so far and the blocks' states; every block must be a `StreamingMixer`."""
        return jnp.zeros((), jnp.int32), tuple(block.init_state() for block in self.blocks)  # pyright: ignore[reportAttributeAccessIssue]

    def step(self, state: tuple[Int[Array, ""], tuple[Any, ...]], token: Array) -> tuple[tuple[Int[Array, ""], tuple[Any, ...]], Float[Array, " out"]]:
        """Process one input; return the new state and the output at this position (`readout_positions` is ignored)."""
        position, before = state
        x, after = self.embed(token), []
        check_axes(x, "dim", "The embedding of one token")
        x = x if self.positions is None else x + self.positions(position).astype(x.dtype)
        for block, block_state in zip(self.blocks, before, strict=True):
            new, x = block.step(block_state, x)  # pyright: ignore[reportAttributeAccessIssue]
            after.append(new)
        return (position + 1, tuple(after)), self._read(x)

    def stream(self, state: Any, inputs: Array) -> tuple[Any, Float[Array, "time out"]]:
        """Process a segment from a given state, one input at a time; pass the returned state to the next segment."""
        return jax.lax.scan(lambda state, token: self.step(state, token), state, inputs)

    def _embedded(self, inputs: Array) -> Float[Array, "time dim"]:
        x = self.embed(inputs)
        check_axes(x, "time dim", "The embedding of the inputs")
        return x if self.positions is None else x + self.positions(jnp.arange(x.shape[0])).astype(x.dtype)

    def _read(self, x: Array) -> Array:
        x = x if self.norm is None else self.norm(x)
        if isinstance(self.readout, TiedReadout):
            return self.readout.scale * (x @ self.embed.table.T)  # pyright: ignore[reportFunctionMemberAccess]
        return self.readout(x)


def language_model(
    vocabulary: int,
    dim: int,
    *,
    layers: int = 2,
    mixer: Callable[..., Mixer] = Attention.create,
    feed_forward: Callable[..., Any] | None = FeedForward.create,
    norm: Callable[..., Any] = LayerNorm.create,
    positions: Callable[..., Any] | None = LearnedPositions.create,
    max_length: int = 1024,
    tied: bool = True,
    key: PRNGKeyArray,
) -> SequenceModel:
    """A decoder-only model that predicts the next token: tokens (time,) -> logits (time, vocabulary).

    Args:
        vocabulary: number of different tokens.
        dim: width of the tokens.
        layers: number of blocks.
        mixer, feed_forward, norm: see `TransformerBlock.create`. Any layer of `mesocosm.nn` is a mixer.
        positions: (dim, max_length, key) -> positions added to the embedding, `LearnedPositions.create`, `SinusoidalPositions.create` or None.
        max_length: largest number of positions that `LearnedPositions` can represent.
        tied: whether the readout is the transposed embedding table, without a scale; set `TiedReadout.scale` for one.
    """
    embed_key, positions_key, readout_key, *keys = jax.random.split(key, 3 + layers)
    return SequenceModel(
        TokenEmbedding.create(vocabulary, dim, key=embed_key),
        None if positions is None else positions(dim, max_length=max_length, key=positions_key),
        tuple(TransformerBlock.create(dim, mixer=mixer, feed_forward=feed_forward, norm=norm, key=k) for k in keys),
        norm(dim),
        TiedReadout() if tied else Linear.create(dim, out_dim=vocabulary, bias=False, key=readout_key),
    )


def vision_transformer(
    shape: tuple[int, int, int],
    dim: int,
    *,
    classes: int,
    patch: int,
    layers: int = 2,
    heads: int = 4,
    feed_forward: Callable[..., Any] | None = FeedForward.create,
    norm: Callable[..., Any] = LayerNorm.create,
    key: PRNGKeyArray,
) -> SequenceModel:
    """A small ViT: image (channels, height, width) -> logits (1, classes), read at the class token.

    Attention looks everywhere and has biases. Published ViTs use the exact GELU and another epsilon:
    `feed_forward=partial(FeedForward.create, activation=partial(jax.nn.gelu, approximate=False))`, `norm=partial(LayerNorm.create, epsilon=1e-12)`.

    Args:
        shape: (channels, height, width) of the images.
        dim: width of the tokens.
        classes: number of classes.
        patch: height and width of a patch, in pixels.
        layers: number of blocks.
        heads: number of heads per block.
        feed_forward, norm: see `TransformerBlock.create`.

    Reference: Dosovitskiy et al., "An image is worth 16x16 words" (2021).
    """
    embed_key, positions_key, readout_key, *keys = jax.random.split(key, 3 + layers)
    channels, height, width = shape
    length = 1 + (height // patch) * (width // patch)

    def mixer(dim: int, *, key: PRNGKeyArray) -> Attention:
        return Attention.create(dim, heads=heads, bias=True, causal=False, key=key)

    return SequenceModel(
        PatchEmbedding.create(channels, dim, size=patch, key=embed_key),
        LearnedPositions.create(dim, max_length=length, key=positions_key),
        tuple(TransformerBlock.create(dim, mixer=mixer, feed_forward=feed_forward, norm=norm, key=k) for k in keys),
        norm(dim),
        Linear.create(dim, out_dim=classes, key=readout_key),
        (0,),
    )


def generate(
    model: SequenceModel, prompt: Integer[Array, " time"], steps: int, *, temperature: float | Float[Array, ""] = 1.0, key: PRNGKeyArray
) -> Int[Array, " steps"]:
    """Sample `steps` tokens after a prompt, one at a time with the blocks' states.

    Args:
        model: a causal model whose outputs are logits and whose blocks stream.
        prompt: at least one token.
        steps: number of tokens to sample.
        temperature: logits are divided by it; 0 takes the most probable token.

    Raises:
        ValueError: the prompt is empty or has a batch axis, or the tokens need more positions than the model or the cache of an attention layer has.
    """
    check_axes(prompt, "time", "A prompt")
    if prompt.shape[0] == 0:
        raise ValueError("A prompt has at least one token.")
    positions = prompt.shape[0] + steps - 1  # the last token is not read
    for part in jax.tree.leaves(model, is_leaf=lambda part: hasattr(part, "max_length")):
        if getattr(part, "max_length", positions) < positions:
            raise ValueError(
                f"{steps} tokens after a prompt of {prompt.shape[0]} need {positions} positions; {type(part).__name__} has {part.max_length} (max_length)."
            )
    state, logits = model.stream(model.init_state(), prompt)

    def sample(carry: tuple[Any, Array], key: PRNGKeyArray) -> tuple[tuple[Any, Array], Array]:
        state, logits = carry
        cold = jnp.asarray(temperature) == 0
        drawn = jax.random.categorical(key, logits / jnp.where(cold, 1, temperature))
        token = jnp.where(cold, jnp.argmax(logits), drawn)
        return model.step(state, token), token

    return jax.lax.scan(sample, (state, logits[-1]), jax.random.split(key, steps))[1]
