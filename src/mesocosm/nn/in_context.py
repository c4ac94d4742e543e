r"""Models that are shown a task in context, input-output pairs, and predict the outputs at queries: with and without a bottleneck between the two.

Tokens are $[x; y]$ for the pairs of the context and $[x; 0]$ for queries. A `ContextTransformer` sees them all; a `Bottleneck` first infers a code from the
context alone, $\hat z = \mathrm{infer}(\text{context})$, and then executes it, $\hat y = \mathrm{execute}(\hat z, x)$.

Reference: Kobayashi et al., "When can transformers compositionally generalize in-context?" (arXiv 2407.12275), Sec. 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.feed_forward import Activation, FeedForward
from mesocosm.nn.blocks.linear import Linear, gaussian
from mesocosm.nn.blocks.norms import LayerNorm
from mesocosm.nn.blocks.positions import RelativeBias
from mesocosm.nn.blocks.transformer import TransformerBlock
from mesocosm.nn.hypernetwork import Hypernetwork, LinearGenerator
from mesocosm.nn.mixer import Mixer
from mesocosm.nn.mixers.attention import Attention, ContextAndSelf
from mesocosm.nn.sequence_model import SequenceModel

Tokens = Float[Array, "pairs width"]
Queries = Float[Array, "queries width"]


def context_encoder(
    width: int,
    outputs: int,
    *,
    dim: int,
    heads: int = 4,
    layers: int = 2,
    read: int = 1,
    context: int | None = None,
    mixer: Callable[..., Mixer] | None = None,
    key: PRNGKeyArray,
) -> SequenceModel:
    """A transformer with relative position biases on both sides, as in T5's encoder, that is read at its last tokens.

    Args:
        width: of the tokens, which are embedded by a linear map.
        outputs: size of an output.
        dim, heads, layers: sizes; the feed-forward parts are four times as wide.
        read: number of tokens that are read.
        context: number of tokens that all tokens see; later ones see these and themselves. By default, all tokens see all.
        mixer: (dim, key) -> layer in place of attention.
        key: draws the weights.
    """
    embed_key, read_key, *keys = jax.random.split(key, 2 + layers)
    position = partial(RelativeBias.create, two_sided=True)
    mask = None if context is None else ContextAndSelf(context)
    mixer = partial(Attention.create, heads=heads, position=position, causal=False, mask=mask) if mixer is None else mixer
    return SequenceModel(
        Linear.create(width, out_dim=dim, key=embed_key),
        None,
        tuple(TransformerBlock.create(dim, mixer=mixer, key=k) for k in keys),
        LayerNorm.create(dim),
        Linear.create(dim, out_dim=outputs, key=read_key),
        tuple(range(-read, 0)),
    )


class ContextTransformer(eqx.Module):
    """A transformer on context and queries.

    With a mask `ContextAndSelf`, which `context_encoder` gives attention for a number of `context` pairs, queries do not see each other, and the context does
    not see them; another mixer lets them see what it does.

    Attributes:
        model: reads the queries; see `context_encoder` with `read` queries and `context` pairs.

    Raises:
        ValueError: when it is called with another number of queries than the model reads, or of pairs than its mask lets all tokens see.
    """

    model: SequenceModel

    def __call__(self, context: Tokens, queries: Queries) -> Float[Array, "queries outputs"]:
        """Predict the outputs at the queries."""
        return self.model(self._tokens(context, queries))

    def stream(self, context: Tokens, queries: Queries) -> Float[Array, " dim"]:
        """The residual stream of the first query behind the last block, for probes."""
        return self.model.activations(self._tokens(context, queries))[-1, len(context)]

    def _tokens(self, context: Tokens, queries: Queries) -> Float[Array, "tokens width"]:
        read = len(self.model.readout_positions or ())
        masks = {getattr(getattr(block, "mixer", None), "mask", None) for block in self.model.blocks}
        pairs = {mask.context for mask in masks if isinstance(mask, ContextAndSelf)}
        if len(queries) != read or not pairs <= {len(context)}:
            built = " and ".join([f"{read} queries", *(f"{count} pairs" for count in sorted(pairs))])
            raise ValueError(f"a model for {built} was called with {len(queries)} queries and {len(context)} pairs")
        return jnp.concatenate([context, queries])


class Composed(eqx.Module):
    r"""Executes a code by the network that a linear hypernetwork generates from it, $\hat y = A\, \phi\big(\sum_m \hat z_m \hat\Theta^{(m)} x\big)$.

    Attributes:
        hypernetwork: generates the first layer; the readout A is a parameter as any other.
    """

    hypernetwork: Hypernetwork

    @classmethod
    def create(cls, inputs: int, outputs: int, *, code: int, hidden: int, activation: Activation = jax.nn.gelu, key: PRNGKeyArray) -> Composed:
        """Gaussian readout with standard deviation 1 / sqrt(hidden), modules with 1 / sqrt(code * inputs)."""
        first, second = jax.random.split(key)
        network = FeedForward(jnp.zeros((hidden, inputs)), gaussian((outputs, hidden), 1.0, first), None, None, activation)

        def generator(modules: int, parameters: int, *, key: PRNGKeyArray) -> LinearGenerator:
            return LinearGenerator(LinearGenerator.create(modules, parameters, key=key).modules / inputs**0.5)

        return cls(Hypernetwork.create(network, code, pieces=_first_layer, generator=generator, normalised=False, key=second))

    def __call__(self, code: Float[Array, " code"], x: Float[Array, "queries inputs"]) -> Float[Array, "queries outputs"]:
        """Generate the network once, and run it on all inputs."""
        return self.hypernetwork(code[None])(x)


class Conditioned(eqx.Module):
    r"""Executes a code as an input of a network with one hidden layer, $\hat y = A\, \phi(W [\hat z; x] + b) + c$: a bottleneck without composition."""

    network: FeedForward

    @classmethod
    def create(cls, inputs: int, outputs: int, *, code: int, hidden: int, activation: Activation = jax.nn.gelu, key: PRNGKeyArray) -> Conditioned:
        """Gaussian weights with standard deviation 1 / sqrt(fan in), biases 0."""
        first, second = jax.random.split(key)
        weights = gaussian((hidden, code + inputs), 1.0, first), gaussian((outputs, hidden), 1.0, second)
        return cls(FeedForward(*weights, jnp.zeros(hidden), jnp.zeros(outputs), activation))

    def __call__(self, code: Float[Array, " code"], x: Float[Array, "queries inputs"]) -> Float[Array, "queries outputs"]:
        """Run the network on all inputs."""
        return self.network(jnp.concatenate([jnp.broadcast_to(code, (len(x), len(code))), x], axis=1))


class Bottleneck(eqx.Module):
    r"""$\hat y = \mathrm{execute}(\hat z, x)$ with $\hat z = \mathrm{infer}(\text{context})$: the queries never enter the inference.

    Attributes:
        infer: reads the code at one more token, of zeros, behind the context; see `context_encoder`.
        execute: (code, inputs) -> outputs, `Composed` or `Conditioned`.
        inputs: size of an input; the rest of a query token is not read.
    """

    infer: SequenceModel
    execute: Composed | Conditioned
    inputs: int = eqx.field(static=True)

    def __call__(self, context: Tokens, queries: Queries) -> Float[Array, "queries outputs"]:
        """Predict the outputs at the queries."""
        return self.execute(self.code(context), queries[:, : self.inputs])

    def code(self, context: Tokens) -> Float[Array, " code"]:
        """The inferred code."""
        return self.infer(_with_reading_token(context))[0]

    def stream(self, context: Tokens, queries: Queries) -> Float[Array, " dim"]:
        """The residual stream of the token at which the code is read, behind the last block, for probes."""
        return self.infer.activations(_with_reading_token(context))[-1, -1]


def _with_reading_token(context: Tokens) -> Float[Array, "one_more width"]:
    return jnp.concatenate([context, jnp.zeros_like(context[:1])])


def _first_layer(network: FeedForward) -> Any:
    return ([network.inward],)
