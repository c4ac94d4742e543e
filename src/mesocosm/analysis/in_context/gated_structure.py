r"""Tools to find which neurons of a trained gated linear RNN matter, and whether they have the block structure of attention: neurons that keep everything,
neurons that keep nothing, and an output gate that multiplies the two kinds.

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
from mesocosm.nn.recurrences.gates import BilinearGate
from mesocosm.numerics.edges import ratio, root
from mesocosm.numerics.precision import full_precision

Loss = Callable[[GatedLinearRNN], Float[Array, ""]]


def silence(rnn: GatedLinearRNN, keep: Bool[Array, " n"] | Float[Array, " n"]) -> GatedLinearRNN:
    """The RNN without any output from the neurons for which `keep` is 0."""
    return eqx.tree_at(lambda layer: layer.output, rnn, rnn.output.scaled(keep.astype(rnn.readout.dtype)))


def neuron_influence(loss: Loss, rnn: GatedLinearRNN) -> Float[Array, " n"]:
    r"""$L(\text{without neuron } r) - L$ for every r; negative for harmful neurons."""
    neurons = rnn.decay().shape[0]
    without = jax.lax.map(lambda keep: loss(silence(rnn, keep)), 1.0 - jnp.eye(neurons))
    return without - loss(rnn)


def prune(rnn: GatedLinearRNN, influence: Float[Array, " n"], threshold: Any) -> tuple[GatedLinearRNN, Bool[Array, " n"]]:
    """Remove the neurons whose influence is below the threshold; also returns the mask of kept neurons."""
    keep = influence >= threshold
    return silence(rnn, keep), keep


def keep_products(rnn: GatedLinearRNN, pairs: Bool[Array, "n n"]) -> GatedLinearRNN:
    r"""The RNN that multiplies only some pairs of neurons: output c is $h^\top (M_c \odot P) h$ with the mask P.

    Args:
        rnn: an RNN with bilinear gates.
        pairs: the symmetric mask of pairs to keep, for example `memory_with_query`.
    """
    forms = bilinear_forms(rnn) * pairs
    out, neurons, _ = forms.shape
    left, readout = (jnp.eye(size, dtype=forms.dtype) for size in (neurons, out))
    gate = BilinearGate(jnp.tile(left, (out, 1)), forms.reshape(-1, neurons))
    return eqx.tree_at(lambda layer: (layer.output, layer.readout), rnn, (gate, jnp.repeat(readout, neurons, axis=1)))


def memory_with_query(decay: Float[Array, " n"]) -> Bool[Array, "n n"]:
    r"""The pairs of a neuron with memory, $\lambda > \tfrac12$, and one without: the products that attention forms."""
    memory = _has_memory(decay)
    return memory[:, None] != memory


def _has_memory(decay: Float[Array, " n"]) -> Bool[Array, " n"]:
    return jnp.abs(decay) > 0.5


def snap(rnn: GatedLinearRNN) -> GatedLinearRNN:
    r"""Every $\lambda$ rounded to 0 or 1."""
    return eqx.tree_at(lambda layer: layer.decay, rnn, FreeDecay(jnp.round(rnn.decay())))


class Blocks(NamedTuple):
    r"""Fractions of the output's energy $\sum_c \sum_{ab} M_{c,ab}^2 \sigma_a^2 \sigma_b^2$ by pairs of neurons; $\sigma$ is the size of a neuron's state.

    Attributes:
        memory_memory, memory_query, query_query: fractions that add up to one. In attention, only the second is non-zero.
    """

    memory_memory: Float[Array, ""]
    memory_query: Float[Array, ""]
    query_query: Float[Array, ""]


@full_precision
def block_energies(rnn: GatedLinearRNN, sizes: Float[Array, " n"]) -> Blocks:
    r"""Fractions of the energy by kind of neuron, memory for $\lambda > \tfrac12$ and query below.

    Args:
        rnn: an RNN with bilinear gates.
        sizes: root mean square of each neuron's state; they make the result independent of a neuron's arbitrary scale.
    """
    energy = jnp.sum(weighted_forms(rnn, sizes) ** 2, axis=0)
    memory = _has_memory(rnn.decay()).astype(energy.dtype)
    parts = [memory @ energy @ memory, 2 * memory @ energy @ (1 - memory), (1 - memory) @ energy @ (1 - memory)]
    return Blocks(*(ratio(part, jnp.sum(energy)) for part in parts))


def weighted_forms(rnn: GatedLinearRNN, sizes: Float[Array, " n"]) -> Float[Array, "out n n"]:
    r"""$M_{c,ab} \sigma_a \sigma_b$, which is invariant under rescaling of neurons."""
    return bilinear_forms(rnn) * sizes[:, None] * sizes


def state_sizes(rnn: GatedLinearRNN, tokens: Float[Array, "batch time dim"]) -> Float[Array, " n"]:
    """Root mean square of every neuron's state over sequences and positions."""
    return root(jnp.mean(jnp.abs(jax.vmap(rnn.states)(tokens)) ** 2, axis=(0, 1)))
