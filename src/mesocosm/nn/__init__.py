"""What networks are made of: sequence mixers and blocks. Nothing here knows of training or of the papers' claims."""

from mesocosm.nn.attention import KeyValueCache, LinearAttention, SoftmaxAttention, sinusoidal_positions
from mesocosm.nn.conjugate_gradient import Solution, conjugate_gradient
from mesocosm.nn.constructions import (
    InverseSeries,
    gradient_descent_attention,
    gradient_descent_tokens,
    previous_observations,
    series_weights,
)
from mesocosm.nn.gated_linear_attention import delta_rule, gated_linear_attention
from mesocosm.nn.gated_mesa import GatedMesaResult, gated_mesa
from mesocosm.nn.gated_mixers import DeltaNet, GatedLinearAttention, GatedMesaAttention, GatedMixer, GatedProjections, HeadTokens
from mesocosm.nn.gated_sums import RegressionSums
from mesocosm.nn.mesa import LeastSquaresState, MesaAttention, continue_least_squares, initial_least_squares, least_squares_step, recursive_least_squares
from mesocosm.nn.mixer import Diagnostics, Mixer, StreamingMixer
from mesocosm.nn.residual import ResidualStack

__all__ = [
    "DeltaNet",
    "Diagnostics",
    "GatedLinearAttention",
    "GatedMesaAttention",
    "GatedMesaResult",
    "GatedMixer",
    "GatedProjections",
    "HeadTokens",
    "InverseSeries",
    "KeyValueCache",
    "LeastSquaresState",
    "LinearAttention",
    "MesaAttention",
    "Mixer",
    "RegressionSums",
    "ResidualStack",
    "SoftmaxAttention",
    "Solution",
    "StreamingMixer",
    "conjugate_gradient",
    "continue_least_squares",
    "delta_rule",
    "gated_linear_attention",
    "gated_mesa",
    "gradient_descent_attention",
    "gradient_descent_tokens",
    "initial_least_squares",
    "least_squares_step",
    "previous_observations",
    "recursive_least_squares",
    "series_weights",
    "sinusoidal_positions",
]
