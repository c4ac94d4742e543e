"""The layers by name, each made by `create(dim, *, key, **options)`; `mesocosm layers` lists them, and `--mixer` takes their names."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mesocosm.nn.blocks.transformer import TransformerBlock
from mesocosm.nn.mixers.attention import Attention
from mesocosm.nn.mixers.gated_mixers import DeltaNet, GatedLinearAttention, GatedMesaAttention
from mesocosm.nn.mixers.hyla import hyla
from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.nn.mixers.mesa import MesaAttention
from mesocosm.nn.recurrences.gated_linear_rnn import GatedLinearRNN
from mesocosm.nn.recurrences.hawk import RGLRU, HawkBlock, RecurrentBlock
from mesocosm.nn.recurrences.lru import LRU, LRUBlock
from mesocosm.nn.recurrences.lstm_gru import GRU, LSTM


class Layer(NamedTuple):
    """A layer and what it is for.

    Attributes:
        create: (dim, *, key, **options) -> layer.
        purpose: one sentence.
    """

    create: Callable[..., Any]
    purpose: str


LAYERS: dict[str, Layer] = {
    "attention": Layer(Attention.create, "Softmax attention, the standard layer; other normalisations, masks and positions are options."),
    "hyla": Layer(hyla, "Attention whose heads generate a value network with a hidden layer for every pair of tokens; its ablations are variants."),
    "linear-attention": Layer(LinearAttention.create, "Attention without softmax: a sum of outer products that can implement a step of gradient descent."),
    "mesa": Layer(MesaAttention.create, "Solves the least-squares regression of values on keys exactly at every token."),
    "gated-linear-attention": Layer(GatedLinearAttention.create, "Linear attention whose memory decays and is written through learned gates."),
    "delta-net": Layer(DeltaNet.create, "Corrects its memory by one gradient step per token (the gated delta rule)."),
    "gated-mesa": Layer(GatedMesaAttention.create, "The MesaNet layer: least squares with forgetting, by conjugate gradients in parallel chunks."),
    "gated-rnn": Layer(GatedLinearRNN.create, "A linear recurrence between bilinear gates, which can express linear attention."),
    "lru": Layer(LRU.create, "A complex diagonal recurrence for long memories; linear in its input."),
    "lru-block": Layer(LRUBlock.create, "The LRU with norm, gated linear unit and residual connection."),
    "rg-lru": Layer(RGLRU.create, "A recurrence with one gated decay per channel and no mixing of channels beyond its gates."),
    "hawk": Layer(RecurrentBlock.create, "The recurrent part of Hawk: convolution, RG-LRU and a multiplicative branch."),
    "hawk-block": Layer(HawkBlock.create, "Hawk's residual block: the recurrent part and a gated MLP."),
    "lstm": Layer(LSTM.create, "Long short-term memory with a linear readout."),
    "gru": Layer(GRU.create, "Gated recurrent unit with a linear readout."),
    "transformer-block": Layer(TransformerBlock.create, "Norm, attention, norm and feed-forward part around residual connections."),
}
