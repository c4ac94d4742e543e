"""Networks of the gated-rnn study by name: gated linear RNNs, linear attention and other recurrent architectures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from mesocosm import nn
from mesocosm.studies.gated_rnn.config import Network
from mesocosm.studies.parts import user_mixer

Builder = Callable[[int, Network, float, PRNGKeyArray], nn.Mixer]


def gated(input_gate: Any, output_gate: Any) -> Builder:
    """A gated linear RNN."""

    def build(dim: int, network: Network, gain: float, key: PRNGKeyArray) -> nn.GatedLinearRNN:
        neurons, products = network.neurons, network.products_per_neuron * network.neurons
        return nn.GatedLinearRNN.create(dim, state_dim=neurons, products=products, input_gate=input_gate, output_gate=output_gate, gain=gain, key=key)

    return build


def cells(kind: Any, **more: Any) -> Builder:
    """LSTM or GRU."""
    return lambda dim, network, gain, key: kind.create(dim, state_dim=network.neurons, gain=gain, key=key, **more)


def projected(block: Callable[[int, PRNGKeyArray], nn.Mixer]) -> Builder:
    """A block whose width is its number of neurons, between two linear maps."""

    def build(dim: int, network: Network, gain: float, key: PRNGKeyArray) -> nn.Projected:
        first, second = jax.random.split(key)
        return nn.Projected.around(block(network.neurons, first), dim=dim, width=network.neurons, key=second)

    return build


def lru(**parts: Any) -> Builder:
    """The LRU's block, with small initial phases, which suit a memory."""
    return projected(lambda width, key: nn.LRUBlock.create(width, state_dim=width, max_phase=0.3, key=key, **parts))


def attention(dim: int, network: Network, gain: float, key: PRNGKeyArray) -> nn.LinearAttention:
    """One head of linear attention; it has no recurrent neurons."""
    return nn.LinearAttention.create(dim, heads=1, key_dim=dim, std=gain / dim**0.5, key=key)


LAYERS: dict[str, Builder] = {
    "gated": gated(nn.BilinearGate, nn.BilinearGate),
    "glu": gated(nn.GatedLinearUnit, nn.GatedLinearUnit),
    "side": gated(nn.BilinearGate, nn.SideGate),
    "side-ungated": gated(nn.Ungated, nn.SideGate),
    "attention": attention,
    "lstm": cells(nn.LSTM, forget_bias=1.0),
    "gru": cells(nn.GRU),
    "lru": lru(output_gate=nn.GatedLinearUnit),
    "lru-mlp": lru(output_gate=nn.Perceptron),
    "lru-gated": lru(input_gate=nn.BilinearGate, output_gate=nn.BilinearGate, normalised=False),
    "hawk": projected(lambda width, key: nn.HawkBlock.create(width, key=key)),
}


def user_layer(name: str) -> Builder:
    """The layer that the user names, between two linear maps."""
    return projected(lambda width, key: user_mixer(name, width, key))
