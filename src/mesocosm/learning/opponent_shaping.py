r"""Policy gradients for an agent whose co-player learns from a batch: the weight of each action's score in a batched meta-trajectory.

An agent plays B trajectories side by side against one learner, L steps each. After every T steps (an inner episode) the learner updates with the data of all
B. For the rewards $r$ of the agent, let

$$R^b_l = \sum_{k = l}^{\text{end of the inner episode}} r^b_k, \qquad F^b_l = \sum_{k > \text{end}}^{L} r^b_k .$$

Every estimator is $\hat g = \sum_b \sum_l \nabla \log \pi(a^b_l \mid h^b_l)\, A^b_l$, of the gradient of $E \frac1B \sum_b \sum_l r^b_l$:

| function | $A^b_l$ | |
|---|---|---|
| `coala_pg` | $\frac1B R^b_l + \frac1B \sum_{b'} F^{b'}_l$ | unbiased |
| `full_return` | $\frac1B \sum_{b'} (R^{b'}_l + F^{b'}_l)$ | unbiased, with the noise of all other trajectories |
| `m_fos` | $R^b_l + \frac1B \sum_{b'} F^{b'}_l$ | counts the present episode B times |
| `batch_unaware` | $\frac1B (R^b_l + F^b_l)$ | sees a B-th of the effect on the learner; right if the co-player does not learn |

With values $V^b_l$ of the histories, the TD error $r^b_l + \gamma V^b_{l+1} - V^b_l$ takes the place of $r^b_l$, at the ends of inner episodes too, and counts
$(\gamma \lambda)^k$ for an action k steps before. For $\gamma = \lambda = 1$, `coala_pg` is then the paper's Eq. 13. Values change no expectation but that of
`m_fos`, in which the value after an episode counts 1 on one side of its end and 1/B on the other.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), Eq. 5-14, Alg. 1.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Rewards = Float[Array, "batch time"]
Values = Float[Array, "batch steps"]
Number = float | Float[Array, ""]


class Estimator(Protocol):
    """The common signature.

    Args:
        rewards: $r^b_l$, of the agent.
        episode: T, the steps of an inner episode; divides the number of steps.
        values: $V^b_0 \\ldots V^b_L$, one more than there are rewards; the last one is 0 where nothing follows. None: all 0.
        discount: $\\gamma$.
        decay: $\\lambda$ of GAE. A product $\\gamma\\lambda < 1$ dampens credit for what the learner will do by its T-th power per episode.
    """

    def __call__(self, rewards: Rewards, episode: int, values: Values | None = None, discount: Number = 1.0, decay: Number = 1.0) -> Rewards:
        """The weights $A^b_l$."""
        ...


def coala_pg(rewards: Rewards, episode: int, values: Values | None = None, discount: Number = 1.0, decay: Number = 1.0) -> Rewards:
    """A trajectory's own rewards in this inner episode, and those of all trajectories after it."""
    return _advantages(rewards, episode, values, discount, decay, average_later=True, normalise_own=True)


def m_fos(rewards: Rewards, episode: int, values: Values | None = None, discount: Number = 1.0, decay: Number = 1.0) -> Rewards:
    """`coala_pg` without the first factor 1/B (Lu et al., "Model-free opponent shaping", 2022, as implemented there)."""
    return _advantages(rewards, episode, values, discount, decay, average_later=True, normalise_own=False)


def batch_unaware(rewards: Rewards, episode: int, values: Values | None = None, discount: Number = 1.0, decay: Number = 1.0) -> Rewards:
    """Each trajectory for itself: the policy gradient of B independent trajectories."""
    return _advantages(rewards, episode, values, discount, decay, average_later=False, normalise_own=False) / len(rewards)


def full_return(rewards: Rewards, episode: int, values: Values | None = None, discount: Number = 1.0, decay: Number = 1.0) -> Rewards:
    """All trajectories' rewards from here on."""
    return jnp.broadcast_to(jnp.sum(batch_unaware(rewards, episode, values, discount, decay), axis=0), rewards.shape)


def score_loss(log_probabilities: Rewards, weights: Rewards) -> Float[Array, ""]:
    r"""$-\sum_b \sum_l \log \pi(a^b_l \mid h^b_l)\, A^b_l$ with constant weights; its gradient is $-\hat g$."""
    return -jnp.sum(log_probabilities * jax.lax.stop_gradient(weights))


# --- returns --------------------------------------------------------------------------------------------------------------


def value_targets(rewards: Rewards, values: Values, discount: Number = 1.0, decay: Number = 1.0) -> Rewards:
    r"""TD($\lambda$) returns of each trajectory for itself, to which values are fitted, whoever the co-player is (Eq. 10)."""
    length = rewards.shape[1]
    return batch_lambda_returns(rewards, values[:, 1:], values[:, -1], length, discount, decay, average_later=False, normalise_own=False)


def batch_lambda_returns(
    rewards: Rewards,
    next_values: Rewards,
    last: Float[Array, " batch"],
    episode: int,
    discount: Number,
    decay: Number,
    *,
    average_later: bool,
    normalise_own: bool,
) -> Rewards:
    r"""Algorithm 1: $G^b_l = r^b_l / n + \gamma [(1 - \lambda) V^b_{l+1} + \lambda G^b_{l+1}]$, backwards in time.

    Args:
        rewards: rewards, or TD errors.
        next_values: $V^b_{l+1}$.
        last: $G^b_{L}$, what follows the last step.
        episode: T.
        discount: $\gamma$.
        decay: $\lambda$.
        average_later: whether, at the last step of an inner episode, $G_{l+1}$ is replaced by its mean over the trajectories (with n = 1).
        normalise_own: whether n is the number of trajectories instead of 1.

    Raises:
        ValueError: the inner episodes do not divide the steps, or the shapes differ.
    """
    batch, length = rewards.shape
    if length % episode:
        raise ValueError(f"{length} steps cannot be divided into inner episodes of {episode}")
    share = batch if normalise_own else 1
    ends = jnp.arange(length) % episode == episode - 1

    def back(after: tuple[Array, Array], now: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (own, mean), (reward, value, end) = after, now
        if average_later:
            own = jnp.where(end, mean, own)
        onward = discount * (1 - decay) * value
        own = reward / share + onward + discount * decay * own
        return (own, jnp.mean(reward + onward) + discount * decay * mean), own

    first = (last.astype(rewards.dtype), jnp.mean(last).astype(rewards.dtype))
    return jax.lax.scan(back, first, (rewards.T, next_values.T, ends), reverse=True)[1].T


def td_errors(rewards: Rewards, values: Values, discount: Number = 1.0) -> Rewards:
    r"""$r^b_l + \gamma V^b_{l+1} - V^b_l$.

    Raises:
        ValueError: there is not one value more than there are rewards.
    """
    if values.shape[1] != rewards.shape[1] + 1:
        raise ValueError(f"{rewards.shape[1]} rewards need {rewards.shape[1] + 1} values, the last one of what follows; there are {values.shape[1]}")
    return rewards + discount * values[:, 1:] - values[:, :-1]


def _advantages(rewards: Rewards, episode: int, values: Values | None, discount: Number, decay: Number, *, average_later: bool, normalise_own: bool) -> Rewards:
    errors = rewards if values is None else td_errors(rewards, values, discount)
    nothing = jnp.zeros_like(errors)
    return batch_lambda_returns(errors, nothing, nothing[:, 0], episode, discount * decay, 1.0, average_later=average_later, normalise_own=normalise_own)
