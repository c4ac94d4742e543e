r"""Two losses whose minimum gives the same contribution coefficients, $w(s, a, u) = p(a \mid s, u) / \pi(a \mid s) - 1$: classification of the action in
hindsight, and its contrast with actions of the policy.

Both are functions of the output x of a network (`nn.hindsight`), of weights, which count how often each action preceded the outcome, and of the policy.
With x = 0, the coefficients are 0.

Reference: Meulemans et al., "Would I have gotten that reward?" (2023), Sec. 3.3 and App. D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Actions = Float[Array, "*rows actions"]
Policy = Float[Array, "*#rows actions"]


class HindsightLoss(NamedTuple):
    """A loss and the coefficients that its minimum gives.

    Attributes:
        loss: (output, weights, policy) -> the weighted sum of losses, to be minimised over the output.
        coefficients: (output, policy) -> w.
    """

    loss: Callable[[Actions, Actions, Policy], Float[Array, ""]]
    coefficients: Callable[[Actions, Policy], Actions]


def log_probabilities(policy: Actions) -> Actions:
    """The logarithm, finite for probabilities that underflow."""
    return jnp.log(jnp.maximum(policy, jnp.finfo(policy.dtype).tiny))


def log_hindsight(output: Actions, policy: Policy) -> Actions:
    r"""$\log h$, $h = \text{softmax}(x + \log \pi)$, the classifier of the action."""
    return jax.nn.log_softmax(output + log_probabilities(policy), axis=-1)


def classification_loss(output: Actions, weights: Actions, policy: Policy) -> Float[Array, ""]:
    r"""$-\sum_a n_a \log h_a$ for the weights n."""
    return -jnp.sum(weights * log_hindsight(output, policy))


def classification_coefficients(output: Actions, policy: Policy) -> Actions:
    r"""$w = h / \pi - 1$; $\sum_a \pi_a w_a = 0$ by construction."""
    return jnp.expm1(log_hindsight(output, policy) - log_probabilities(policy))


def contrastive_loss(output: Actions, weights: Actions, policy: Policy) -> Float[Array, ""]:
    r"""$-\sum_a n_a \log \sigma(x_a) - (\sum_a n_a) \sum_a \pi_a \log(1 - \sigma(x_a))$: tells the action that preceded the outcome from one of the policy."""
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return jnp.sum(weights * jax.nn.softplus(-output) + total * policy * jax.nn.softplus(output))


def contrastive_coefficients(output: Actions, policy: Policy) -> Actions:
    r"""$w = e^x - 1$, at most $1 / \pi - 1$, because $p(a \mid s, u) \le 1$."""
    return jnp.expm1(jnp.minimum(output, -log_probabilities(policy)))


CLASSIFICATION = HindsightLoss(classification_loss, classification_coefficients)
CONTRASTIVE = HindsightLoss(contrastive_loss, contrastive_coefficients)
