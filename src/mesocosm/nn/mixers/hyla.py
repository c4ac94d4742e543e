"""HYLA, attention whose heads generate a value network with a hidden layer, and the variants that take its parts away.

Reference: Schug et al., "Attention as a hypernetwork" (arXiv 2406.05816), Sec. 2.2 and Table A1.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import PRNGKeyArray

from mesocosm.nn.blocks.positions import Position
from mesocosm.nn.mixers.attention import Attention, Mask
from mesocosm.nn.mixers.scores import Normalisation, rms_over_heads, softmax, unnormalised
from mesocosm.nn.mixers.value_networks import DeepValues, LinearValues, NonlinearValues, TwoStepValues, ValueNetwork, identity


class Variant(NamedTuple):
    """How scores become the latent code, and the value network that the code generates."""

    normalisation: Normalisation
    network: Callable[..., ValueNetwork]


def _quadratic(heads: int, value_dim: int, *, key: PRNGKeyArray) -> TwoStepValues:
    return TwoStepValues(identity)


HYLA_VARIANTS = {
    "hyla": Variant(rms_over_heads, TwoStepValues.create),
    "hyla-unnormalised": Variant(unnormalised, TwoStepValues.create),
    "hyla-softmax": Variant(softmax, TwoStepValues.create),
    "hyla-linear": Variant(rms_over_heads, _quadratic),
    "hyla-linear-unnormalised": Variant(unnormalised, _quadratic),
    "hyla-deep": Variant(rms_over_heads, DeepValues.create),
    "softmax": Variant(softmax, LinearValues.create),
    "linear": Variant(unnormalised, LinearValues.create),
    "linear-rms": Variant(rms_over_heads, LinearValues.create),
    "linear-rms-relu": Variant(rms_over_heads, NonlinearValues.create),
}
"""HYLA, HYLA without its normalisation over heads or with softmax over keys, without its nonlinearity ("linear": two steps and no ReLU), without both, and
with one more hidden layer; then multi-head attention with each normalisation, and with a ReLU that the code does not generate. All but "hyla-deep" have the
same parameters."""


def hyla(
    dim: int,
    *,
    variant: str = "hyla",
    heads: int | None = None,
    key_dim: int | None = None,
    value_dim: int | None = None,
    std: float | None = None,
    keys_start_as_queries: bool = False,
    bias: bool = True,
    position: Callable[..., Position] | None = None,
    causal: bool = True,
    mask: Mask | None = None,
    max_length: int = 1024,
    key: PRNGKeyArray,
) -> Attention:
    r"""$y_q = \sum_k W'_{qk}\, \phi(W_{qk} x_k)$ with $W_{qk} = \sum_h a_{hqk} W_h$, $W'_{qk} = \sum_h a_{hqk} P_h$ and $\phi$ = ReLU.

    The code $a_{qk}$ of a pair of tokens is its scores, divided by their root mean square over heads. Maps start as in the paper: independent, with biases 0.

    Args:
        dim: width of the tokens.
        variant: hyla, hyla-unnormalised, hyla-softmax, hyla-linear, hyla-linear-unnormalised, hyla-deep, softmax, linear, linear-rms or linear-rms-relu
            (`HYLA_VARIANTS`).
        heads, key_dim, value_dim, std, keys_start_as_queries, bias, position, causal, mask, max_length: see `Attention.create`.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in HYLA_VARIANTS:
        raise ValueError(f"There is no variant {variant!r}; there are {', '.join(HYLA_VARIANTS)}.")
    return Attention.create(
        dim,
        heads=heads,
        key_dim=key_dim,
        value_dim=value_dim,
        std=std,
        keys_start_as_queries=keys_start_as_queries,
        bias=bias,
        position=position,
        normalisation=HYLA_VARIANTS[variant].normalisation,
        network=HYLA_VARIANTS[variant].network,
        causal=causal,
        mask=mask,
        max_length=max_length,
        key=key,
    )
