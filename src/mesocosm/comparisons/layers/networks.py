"""Networks of equal parameters around any layer, and their losses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm import nn
from mesocosm.comparisons.layers.config import Network
from mesocosm.comparisons.layers.problems import PROBLEMS, Posed
from mesocosm.studies.parts import user_mixer


@dataclass(frozen=True)
class Shape:
    """All that the structure of a network depends on; learning rates do not, so that one program serves a whole search."""

    layer: str
    task: str
    length: int
    network: Network


class Sizes(NamedTuple):
    """The sizes of a task's sequences.

    Attributes:
        vocabulary: number of symbols of the inputs; 0 if they are vectors.
        channels: size of an input vector; 0 if they are symbols.
        outputs: number of symbols of the targets, or size of a target vector.
        length: number of inputs.
        read: number of targets, which are at the last positions.
    """

    vocabulary: int
    channels: int
    outputs: int
    length: int
    read: int


@cache
def sizes_of(task: str, length: int) -> Sizes:
    """The sizes of the sequences of a task."""
    problem = PROBLEMS[task]
    drawn: Any = problem.draw(0, length)
    posed = jax.eval_shape(lambda key: problem.pose(drawn.sample(key)), jax.random.key(0))
    symbols = jnp.issubdtype(posed.inputs.dtype, jnp.integer)
    classes = jnp.issubdtype(posed.targets.dtype, jnp.integer)
    outputs = (drawn.vocabulary if symbols else drawn.symbols) if classes else posed.targets.shape[-1]
    return Sizes(drawn.vocabulary if symbols else 0, 0 if symbols else posed.inputs.shape[-1], outputs, posed.inputs.shape[0], posed.targets.shape[0])


# --- equal parameters -------------------------------------------------------------------------------------------------


class Widths(NamedTuple):
    """How the parameters of a block are spent.

    Attributes:
        layer: parameters of the layer.
        hidden: width of the feed-forward part.
        block: parameters of the layer and of the feed-forward part.
        wanted: the number that `block` is to be.
    """

    layer: int
    hidden: int
    block: int
    wanted: int


def widths(layer: str, network: Network) -> Widths:
    r"""The width h of the feed-forward part that makes a block's parameters equal, $p + 2 d h + h + d \approx c\, d^2$ for a layer with p of them.

    They differ from the wanted number by at most half of those of one hidden unit, $d + 1/2$.

    Raises:
        ValueError: the layer leaves no parameters for a feed-forward part.
    """
    dim, wanted = network.dim, network.parameters * network.dim**2
    own = parameters(eqx.filter_eval_shape(partial(user_mixer, layer, dim), jax.random.key(0)))
    hidden = round((wanted - own - dim) / (2 * dim + 1))
    if hidden < 1:
        raise ValueError(
            f"{layer} has {own} parameters for tokens of width {dim}, and a block has {wanted} with its feed-forward part; raise --config.network.parameters"
        )
    return Widths(own, hidden, own + hidden * (2 * dim + 1) + dim, wanted)


def parameters(tree: Any) -> int:
    """The number of floating-point entries of the arrays of a module, or of their shapes."""
    leaves = (leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact))
    return sum(leaf.size for leaf in leaves)


class Stack(nn.Mixer):
    """Blocks in a row, as a loop over their weights, so that a program contains one block however many there are: compiling takes most of a short comparison.

    Attributes:
        blocks: all blocks, with a leading axis for their number.
    """

    blocks: nn.TransformerBlock

    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens, block after block."""
        arrays, static = eqx.partition(self.blocks, eqx.is_array)
        return jax.lax.scan(lambda x, one: (eqx.combine(one, static)(x), None), x, arrays)[0]


def build(shape: Shape, key: PRNGKeyArray) -> nn.SequenceModel:
    """A network with random weights."""
    network, sizes = shape.network, sizes_of(shape.task, shape.length)
    hidden = widths(shape.layer, network).hidden
    embed_key, position_key, read_key, *keys = jax.random.split(key, 3 + network.blocks)
    mixer, feed_forward = partial(layer_of, shape.layer), partial(nn.FeedForward.create, hidden=hidden)
    blocks = eqx.filter_vmap(lambda k: nn.TransformerBlock.create(network.dim, mixer=mixer, feed_forward=feed_forward, key=k))(jnp.stack(keys))
    embed = nn.TokenEmbedding.create(sizes.vocabulary, network.dim, key=embed_key) if sizes.vocabulary else None
    return nn.SequenceModel(
        embed or nn.Linear.create(sizes.channels, out_dim=network.dim, key=embed_key),
        nn.LearnedPositions.create(network.dim, max_length=sizes.length, key=position_key),
        (Stack(blocks),),
        nn.LayerNorm.create(network.dim),
        nn.Linear.create(network.dim, out_dim=sizes.outputs, key=read_key),
        None if sizes.read == sizes.length else tuple(range(-sizes.read, 0)),
    )


def layer_of(layer: str, dim: int, *, key: PRNGKeyArray) -> nn.Mixer:
    """The named layer, for tokens of this width."""
    return user_mixer(layer, dim, key)


# --- losses -----------------------------------------------------------------------------------------------------------


def loss(task: str, model: nn.SequenceModel, example: Any, key: PRNGKeyArray) -> Float[Array, ""]:
    """The loss of one example of a task."""
    posed = PROBLEMS[task].pose(example)
    return posed_loss(model(posed.inputs), posed)


def posed_loss(outputs: Float[Array, "n outputs"], posed: Posed) -> Float[Array, ""]:
    """Cross-entropy in nats of symbols, half the squared error of vectors (a sum over channels): the mean over scored positions."""
    if jnp.issubdtype(posed.targets.dtype, jnp.integer):
        each = -jnp.take_along_axis(jax.nn.log_softmax(outputs), posed.targets[:, None], axis=-1)[:, 0]
    else:
        each = 0.5 * jnp.sum((outputs - posed.targets) ** 2, axis=-1)
    return jnp.sum(posed.weights * each) / jnp.sum(posed.weights)


def constant_loss(posed: Posed, outputs: int) -> Float[Array, ""]:
    """The loss of the best constant prediction on a batch: the entropy of the symbols' frequencies, half the summed variances of vectors."""
    weights = posed.weights.reshape(-1) / jnp.sum(posed.weights)
    if jnp.issubdtype(posed.targets.dtype, jnp.integer):
        frequencies = jnp.zeros(outputs).at[posed.targets.reshape(-1)].add(weights)
        return jnp.sum(jax.scipy.special.entr(frequencies))
    targets = posed.targets.reshape(-1, posed.targets.shape[-1])
    return 0.5 * jnp.sum(weights[:, None] * (targets - weights @ targets) ** 2)
