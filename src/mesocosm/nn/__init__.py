"""What networks are made of: sequence mixers and blocks. Nothing here knows of training or of the papers' claims."""

from mesocosm.nn.attention import KeyValueCache, LinearAttention, SoftmaxAttention, sinusoidal_positions
from mesocosm.nn.attention_as_rnn import (
    as_gated_rnn,
    compact_construction,
    compact_count,
    full_construction,
    full_count,
    minimal_construction,
    minimal_count,
    side_gated_construction,
)
from mesocosm.nn.conjugate_gradient import Solution, conjugate_gradient
from mesocosm.nn.constructions import (
    InverseSeries,
    gradient_descent_attention,
    gradient_descent_tokens,
    previous_observations,
    series_weights,
)
from mesocosm.nn.decays import Decay, FreeDecay, PolarDecay, SigmoidDecay
from mesocosm.nn.gated_linear_attention import delta_rule, gated_linear_attention
from mesocosm.nn.gated_linear_rnn import GatedLinearRNN
from mesocosm.nn.gated_mesa import GatedMesaResult, gated_mesa
from mesocosm.nn.gated_mixers import DeltaNet, GatedLinearAttention, GatedMesaAttention, GatedMixer, GatedProjections, HeadTokens
from mesocosm.nn.gated_sums import RegressionSums
from mesocosm.nn.gates import BilinearGate, Gate, GatedLinearUnit, SideGate, Ungated
from mesocosm.nn.hawk import RGLRU, HawkBlock, RecurrentBlock
from mesocosm.nn.linear_recurrence import associative_recurrence, linear_recurrence, sequential_recurrence
from mesocosm.nn.lru import LRU, LRUBlock, Perceptron
from mesocosm.nn.lstm_gru import GRU, LSTM
from mesocosm.nn.mesa import LeastSquaresState, MesaAttention, continue_least_squares, initial_least_squares, least_squares_step, recursive_least_squares
from mesocosm.nn.mixer import Diagnostics, Mixer, StreamingMixer
from mesocosm.nn.projected import Projected
from mesocosm.nn.residual import ResidualStack
from mesocosm.nn.small_signal_limits import gru_limit, lstm_limit

__all__ = [
    "GRU",
    "LRU",
    "LSTM",
    "RGLRU",
    "BilinearGate",
    "Decay",
    "DeltaNet",
    "Diagnostics",
    "FreeDecay",
    "Gate",
    "GatedLinearAttention",
    "GatedLinearRNN",
    "GatedLinearUnit",
    "GatedMesaAttention",
    "GatedMesaResult",
    "GatedMixer",
    "GatedProjections",
    "HawkBlock",
    "HeadTokens",
    "InverseSeries",
    "KeyValueCache",
    "LRUBlock",
    "LeastSquaresState",
    "LinearAttention",
    "MesaAttention",
    "Mixer",
    "Perceptron",
    "PolarDecay",
    "Projected",
    "RecurrentBlock",
    "RegressionSums",
    "ResidualStack",
    "SideGate",
    "SigmoidDecay",
    "SoftmaxAttention",
    "Solution",
    "StreamingMixer",
    "Ungated",
    "as_gated_rnn",
    "associative_recurrence",
    "compact_construction",
    "compact_count",
    "conjugate_gradient",
    "continue_least_squares",
    "delta_rule",
    "full_construction",
    "full_count",
    "gated_linear_attention",
    "gated_mesa",
    "gradient_descent_attention",
    "gradient_descent_tokens",
    "gru_limit",
    "initial_least_squares",
    "least_squares_step",
    "linear_recurrence",
    "lstm_limit",
    "minimal_construction",
    "minimal_count",
    "previous_observations",
    "recursive_least_squares",
    "sequential_recurrence",
    "series_weights",
    "side_gated_construction",
    "sinusoidal_positions",
]
