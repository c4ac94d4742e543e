r"""Examples of token tasks, and the loss and the accuracy that these tasks share.

A token is an integer from 0 to `vocabulary` - 1, where `vocabulary` is an attribute of the task: the number of rows of an embedding and of logits.
A model reads `inputs` and, at every position, predicts `targets`; `weights` selects the scored positions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


class TokenExample(NamedTuple):
    """One sequence, or a batch with the same leading axes in every field.

    Attributes:
        inputs: the tokens that the model reads.
        targets: the token to predict at each position, after reading the input at this position; 0 where nothing is scored.
        weights: 1 where the prediction is scored, else 0.
    """

    inputs: Int[Array, "*batch time"]
    targets: Int[Array, "*batch time"]
    weights: Float[Array, "*batch time"]


def cross_entropy(logits: Float[Array, "*batch time vocabulary"], example: TokenExample) -> Float[Array, ""]:
    r"""$-\frac{1}{\sum_t w_t} \sum_t w_t \log \mathrm{softmax}(z_t)_{y_t}$ in nats: the mean over scored positions of all sequences.

    Computed in float32, or in float64 if the logits are float64. It is NaN if a target is not below the number of logits, or if nothing is scored: 0 would
    pass for a perfect prediction, and `fit` names the step at which a loss is NaN.

    Raises:
        ValueError: the logits do not fit the targets.
    """
    _check(logits, example)
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    chosen = jnp.take_along_axis(log_probabilities, example.targets[..., None], axis=-1)[..., 0]
    return -jnp.sum(jnp.where(example.weights != 0, example.weights * chosen, 0.0)) / jnp.sum(example.weights)


def accuracy(logits: Float[Array, "*batch time vocabulary"], example: TokenExample) -> Float[Array, ""]:
    r"""$\frac{1}{\sum_t w_t} \sum_t w_t\, [\arg\max_v z_{tv} = y_t]$: the fraction of scored positions with the largest logit at the target.

    If several logits are largest, the first one is the prediction. It is NaN if nothing is scored.

    Raises:
        ValueError: the logits do not fit the targets.
    """
    _check(logits, example)
    return jnp.sum(example.weights * (jnp.argmax(logits, axis=-1) == example.targets)) / jnp.sum(example.weights)


def distinct(key: PRNGKeyArray, size: int, count: int) -> Int[Array, " count"]:
    r"""Draw `count` of the numbers 0 to `size` - 1 without replacement, in random order.

    The work is $O(\text{count}^2)$ whatever `size` is; `jax.random.choice` sorts all `size` numbers and takes 50 times as long for 64 of 4095 on a CPU.
    """
    ranks = jax.random.randint(key, (count,), 0, size - jnp.arange(count), jnp.int32)

    def draw(taken: Int[Array, " count"], rank: Int[Array, ""]) -> tuple[Int[Array, " count"], Int[Array, ""]]:
        number = skip(taken, rank)
        return jnp.sort(taken.at[-1].set(number)), number

    nothing = jnp.full(count, size + count, jnp.int32)  # larger than any number, also after `skip` subtracts up to count - 1
    return jax.lax.scan(draw, nothing, ranks)[1]


def skip(taken: Int[Array, " count"], rank: Int[Array, "*ranks"]) -> Int[Array, "*ranks"]:
    r"""The element with this rank (counted from 0) among the natural numbers without those in `taken`, which must be sorted."""
    free_below = taken - jnp.arange(len(taken), dtype=taken.dtype)
    return rank + jnp.sum(free_below <= rank[..., None], axis=-1, dtype=taken.dtype)


def _check(logits: Float[Array, "*batch time vocabulary"], example: TokenExample) -> None:
    if logits.shape[:-1] != example.targets.shape:
        raise ValueError(f"logits have shape {logits.shape}, targets {example.targets.shape}; they must agree except for the last axis of the logits")
