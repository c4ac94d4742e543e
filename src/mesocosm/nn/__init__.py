"""Layers: sequence mixers, recurrences and blocks. This package does not depend on training or on the papers' claims."""

from mesocosm.nn.blocks.feed_forward import FeedForward, GatedFeedForward, MixtureOfExperts
from mesocosm.nn.blocks.linear import Linear
from mesocosm.nn.blocks.norms import LayerNorm, RMSNorm
from mesocosm.nn.blocks.perceptron import MLP
from mesocosm.nn.blocks.positions import Position, RelativeBias, Rotary, SinusoidalChannels, sinusoidal_positions
from mesocosm.nn.blocks.projected import Projected
from mesocosm.nn.blocks.residual import ResidualStack
from mesocosm.nn.blocks.seeds import NoiseToken, OneSeed, Seeded, SharedBits, SlotPermutation, TokenNoise
from mesocosm.nn.blocks.transformer import TransformerBlock
from mesocosm.nn.constructions.attention_as_rnn import (
    as_gated_rnn,
    compact_construction,
    compact_count,
    full_construction,
    full_count,
    minimal_construction,
    minimal_count,
    side_gated_construction,
)
from mesocosm.nn.constructions.gradient_descent import (
    InverseSeries,
    gradient_descent_attention,
    gradient_descent_tokens,
    previous_observations,
    series_weights,
)
from mesocosm.nn.constructions.hypernetwork_attention import hypernetwork_layers, hypernetwork_tokens
from mesocosm.nn.constructions.small_signal_limits import gru_limit, lstm_limit
from mesocosm.nn.hypernetwork import CodedNetwork, DeepGenerator, Hypernetwork, LinearGenerator, fixed_norm, layer_groups
from mesocosm.nn.in_context import Bottleneck, Composed, Conditioned, ContextTransformer, context_encoder
from mesocosm.nn.layers import LAYERS, Layer
from mesocosm.nn.mixer import Diagnostics, Mixer, StreamingMixer
from mesocosm.nn.mixers.attention import Attention, Biases, ContextAndSelf, KeyValueCache
from mesocosm.nn.mixers.conjugate_gradient import Solution, conjugate_gradient
from mesocosm.nn.mixers.gated_linear_attention import delta_rule, gated_linear_attention
from mesocosm.nn.mixers.gated_mesa import GatedMesaResult, gated_mesa
from mesocosm.nn.mixers.gated_mixers import DeltaNet, GatedLinearAttention, GatedMesaAttention, GatedMixer, GatedProjections, HeadTokens
from mesocosm.nn.mixers.gated_sums import RegressionSums
from mesocosm.nn.mixers.hyla import HYLA_VARIANTS, hyla
from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.nn.mixers.mesa import LeastSquaresState, MesaAttention, continue_least_squares, initial_least_squares, least_squares_step, recursive_least_squares
from mesocosm.nn.mixers.scores import rms_over_heads, softmax, unnormalised
from mesocosm.nn.mixers.value_networks import DeepValues, LinearValues, NonlinearValues, TwoStepValues, ValueNetwork
from mesocosm.nn.model_file import load_model, save_model
from mesocosm.nn.recurrences.decays import Decay, FreeDecay, PolarDecay, SigmoidDecay
from mesocosm.nn.recurrences.gated_linear_rnn import GatedLinearRNN
from mesocosm.nn.recurrences.gates import BilinearGate, Gate, GatedLinearUnit, SideGate, Ungated
from mesocosm.nn.recurrences.hawk import RGLRU, HawkBlock, RecurrentBlock
from mesocosm.nn.recurrences.linear_recurrence import associative_recurrence, linear_recurrence, sequential_recurrence
from mesocosm.nn.recurrences.lru import LRU, LRUBlock, Perceptron
from mesocosm.nn.recurrences.lstm_gru import GRU, LSTM
from mesocosm.nn.sequence_model import (
    LearnedPositions,
    PatchEmbedding,
    SequenceModel,
    SinusoidalPositions,
    TiedReadout,
    TokenEmbedding,
    generate,
    language_model,
    vision_transformer,
)

SoftmaxAttention = Attention  # its earlier name

__all__ = [
    "GRU",
    "HYLA_VARIANTS",
    "LAYERS",
    "LRU",
    "LSTM",
    "MLP",
    "RGLRU",
    "Attention",
    "Biases",
    "BilinearGate",
    "Bottleneck",
    "CodedNetwork",
    "Composed",
    "Conditioned",
    "ContextAndSelf",
    "ContextTransformer",
    "Decay",
    "DeepGenerator",
    "DeepValues",
    "DeltaNet",
    "Diagnostics",
    "FeedForward",
    "FreeDecay",
    "Gate",
    "GatedFeedForward",
    "GatedLinearAttention",
    "GatedLinearRNN",
    "GatedLinearUnit",
    "GatedMesaAttention",
    "GatedMesaResult",
    "GatedMixer",
    "GatedProjections",
    "HawkBlock",
    "HeadTokens",
    "Hypernetwork",
    "InverseSeries",
    "KeyValueCache",
    "LRUBlock",
    "Layer",
    "LayerNorm",
    "LearnedPositions",
    "LeastSquaresState",
    "Linear",
    "LinearAttention",
    "LinearGenerator",
    "LinearValues",
    "MesaAttention",
    "Mixer",
    "MixtureOfExperts",
    "NoiseToken",
    "NonlinearValues",
    "OneSeed",
    "PatchEmbedding",
    "Perceptron",
    "PolarDecay",
    "Position",
    "Projected",
    "RMSNorm",
    "RecurrentBlock",
    "RegressionSums",
    "RelativeBias",
    "ResidualStack",
    "Rotary",
    "Seeded",
    "SequenceModel",
    "SharedBits",
    "SideGate",
    "SigmoidDecay",
    "SinusoidalChannels",
    "SinusoidalPositions",
    "SlotPermutation",
    "SoftmaxAttention",
    "Solution",
    "StreamingMixer",
    "TiedReadout",
    "TokenEmbedding",
    "TokenNoise",
    "TransformerBlock",
    "TwoStepValues",
    "Ungated",
    "ValueNetwork",
    "as_gated_rnn",
    "associative_recurrence",
    "compact_construction",
    "compact_count",
    "conjugate_gradient",
    "context_encoder",
    "continue_least_squares",
    "delta_rule",
    "fixed_norm",
    "full_construction",
    "full_count",
    "gated_linear_attention",
    "gated_mesa",
    "generate",
    "gradient_descent_attention",
    "gradient_descent_tokens",
    "gru_limit",
    "hyla",
    "hypernetwork_layers",
    "hypernetwork_tokens",
    "initial_least_squares",
    "language_model",
    "layer_groups",
    "least_squares_step",
    "linear_recurrence",
    "load_model",
    "lstm_limit",
    "minimal_construction",
    "minimal_count",
    "previous_observations",
    "recursive_least_squares",
    "rms_over_heads",
    "save_model",
    "sequential_recurrence",
    "series_weights",
    "side_gated_construction",
    "sinusoidal_positions",
    "softmax",
    "unnormalised",
    "vision_transformer",
]
