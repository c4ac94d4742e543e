r"""Which neurons of a trained gated linear RNN matter, and whether they stand in the blocks of attention: neurons that keep everything, neurons that keep
nothing, and an output gate that multiplies the one kind with the other.

Reference: Zucchet et al., "Gated recurrent neural networks discover attention" (arXiv 2309.01775), Sec. 4.1 and Fig. 2.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mesocosm.analysis.in_context.polynomial_coefficients import bilinear_forms
from mesocosm.nn.recurrences.decays import FreeDecay
from mesocosm.nn.recurrences.gated_linear_rnn import GatedLinearRNN

Loss = Callable[[GatedLinearRNN], Float[Array, ""]]


def silence(rnn: GatedLinearRNN, keep: Bool[Array, " n"] | Float[Array, " n"]) -> GatedLinearRNN:
    """The RNN with neurons that nothing reads: those where `keep` is 0."""
    return eqx.tree_at(lambda layer: layer.output, rnn, rnn.output.scaled(keep.astype(rnn.readout.dtype)))


def neuron_influence(loss: Loss, rnn: GatedLinearRNN) -> Float[Array, " n"]:
    r"""$L(\text{without neuron } r) - L$ for every r; below zero where a neuron does harm."""
    neurons = rnn.decay().shape[0]
    without = jax.lax.map(lambda keep: loss(silence(rnn, keep)), 1.0 - jnp.eye(neurons))
    return without - loss(rnn)


def prune(rnn: GatedLinearRNN, influence: Float[Array, " n"], threshold: Any) -> tuple[GatedLinearRNN, Bool[Array, " n"]]:
    """The RNN without the neurons whose influence is below the threshold, and which are kept."""
    keep = influence >= threshold
    return silence(rnn, keep), keep


def snap(rnn: GatedLinearRNN) -> GatedLinearRNN:
    r"""Every $\lambda$ rounded to 0 or 1."""
    return eqx.tree_at(lambda layer: layer.decay, rnn, FreeDecay(jnp.round(rnn.decay())))


class Blocks(NamedTuple):
    r"""How the output's energy $\sum_c \sum_{ab} M_{c,ab}^2 \sigma_a^2 \sigma_b^2$ divides over pairs of neurons, $\sigma$ being the size of a neuron's state.

    Attributes:
        memory_memory, memory_query, query_query: fractions; they add up to one. Attention has the second alone.
    """

    memory_memory: Float[Array, ""]
    memory_query: Float[Array, ""]
    query_query: Float[Array, ""]


def block_energies(rnn: GatedLinearRNN, sizes: Float[Array, " n"]) -> Blocks:
    r"""Fractions of the energy by kind of neuron, memory for $\lambda > \tfrac12$ and query below.

    Args:
        rnn: with bilinear gates.
        sizes: root mean square of each neuron's state; with them a neuron's scale, which weights may move about, does not matter.
    """
    energy = jnp.sum(weighted_forms(rnn, sizes) ** 2, axis=0)
    memory = (jnp.abs(rnn.decay()) > 0.5).astype(energy.dtype)
    parts = [memory @ energy @ memory, 2 * memory @ energy @ (1 - memory), (1 - memory) @ energy @ (1 - memory)]
    return Blocks(*(part / jnp.maximum(jnp.sum(energy), jnp.finfo(energy.dtype).tiny) for part in parts))


def weighted_forms(rnn: GatedLinearRNN, sizes: Float[Array, " n"]) -> Float[Array, "out n n"]:
    r"""$M_{c,ab} \sigma_a \sigma_b$, which no rescaling of neurons changes."""
    return bilinear_forms(rnn) * sizes[:, None] * sizes


def state_sizes(rnn: GatedLinearRNN, tokens: Float[Array, "batch time dim"]) -> Float[Array, " n"]:
    """Root mean square of every neuron's state over sequences and positions."""
    return jnp.sqrt(jnp.mean(jnp.abs(jax.vmap(rnn.states)(tokens)) ** 2, axis=(0, 1)))
