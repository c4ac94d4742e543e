r"""Policy-gradient estimators behind one interface: the contribution $C_t(a)$ of each action at each step of an episode.

Every estimator has the form $\hat g = \sum_t \sum_a \nabla \pi(a \mid S_t)\, C_t(a)$, which is the gradient of `contribution_loss`. With
$\iota_t(a) = 1\{a = A_t\} / \pi(A_t \mid S_t)$, $Z_t = \sum_{k \ge 0} R_{t+k}$ and the behaviour policy $\pi$ (exploration included):

| function | $C_t(a)$ |
|---|---|
| `reinforce` | $\iota_t(a) Z_t$ |
| `discounted_reinforce` | $\iota_t(a) \sum_{k \ge 0} \gamma^k R_{t+k}$ |
| `advantage` | $\iota_t(a) (Z_t - V(S_t))$ |
| `q_critic` | $Q(S_t, a)$ |
| `trajcv` | $\iota_t(a) (Z_t - Q(S_t, A_t) - \sum_{t' > t} [Q(S_{t'}, A_{t'}) - V(S_{t'})]) + Q(S_t, a)$ |
| `cocoa` | $\iota_t(a) R_t + \sum_{k \ge 1} w(S_t, a, U_{t+k}) R_{t+k}$ |
| `discounted_cocoa` | $\iota_t(a) R_t + \sum_{k \ge 1} \gamma^k w_\gamma(S_t, a, U_{t+k}) R_{t+k}$ |
| `n_step_cocoa` | $\iota_t(a) R_t + \sum_{k=1}^{n-1} \gamma^k w_n(S_t, a, U_{t+k}) R_{t+k} + \gamma^n w(S_t, a, S_{t+n}) V(S_{t+n})$ |
| `action_sampled_cocoa` | $\iota_t(a) R_t + \frac1M \sum_m \frac{1\{a = a^m_t\}}{\pi(a^m_t \mid S_t)} \sum_{k \ge 1} w(S_t, a^m_t, U_{t+k}) R_{t+k}$ |
| `hca` | $\hat r(S_t, a) + \sum_{k \ge 1} (w(S_t, a, S_{t+k}) + 1) R_{t+k}$ |
| `hca_return` | $\iota_t(a) (1 - \pi(A_t \mid S_t) / p(A_t \mid S_t, Z_t))\, Z_t$ |
| `counterfactual_return` | $(p(a \mid S_t, Z_t) / \pi(a \mid S_t) - 1)\, Z_t$ |

The outcome $U_{t+k}$ is a class: the reward (COCOA-reward), a feature vector (COCOA-feature), the state (HCA+), a group of them, a bin of the reward
(`learning.outcomes`). Coefficients are arguments, exact (`analysis.tabular.dynamic_programming`) or learned. Functions take one episode; use
`jax.vmap` for a batch. Steps after the end have reward zero and `taken` False.

Reference: Meulemans et al., "Would I have gotten that reward? Long-term credit assignment by counterfactual contribution analysis" (2023); Harutyunyan et al.,
"Hindsight credit assignment" (2019); Cheng et al., "Trajectory-wise control variates" (2020).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Actions = Int[Array, " time"]
Rewards = Float[Array, " time"]
Probabilities = Float[Array, "time actions"]
Contributions = Float[Array, "time actions"]


def contribution_loss(policy: Probabilities, contributions: Contributions, taken: Bool[Array, " time"]) -> Float[Array, ""]:
    r"""$-\frac1T \sum_t \sum_a \pi(a \mid S_t)\, C_t(a)$ over the steps taken, with constant contributions; minimise it."""
    return -jnp.mean(jnp.sum(policy * jax.lax.stop_gradient(contributions), axis=-1) * taken)


# --- classical ---------------------------------------------------------------------------------------------------------


def reinforce(actions: Actions, rewards: Rewards, policy: Probabilities) -> Contributions:
    """The whole return for the action taken."""
    return inverse_probability(actions, policy) * returns(rewards)[:, None]


def discounted_reinforce(actions: Actions, rewards: Rewards, policy: Probabilities, discount: float | Array) -> Contributions:
    """The discounted return, a heuristic that is biased for the undiscounted objective."""
    return inverse_probability(actions, policy) * (rewards + discounted_sum_after(rewards, discount))[:, None]


def advantage(actions: Actions, rewards: Rewards, policy: Probabilities, value: Float[Array, " time"]) -> Contributions:
    """The return minus a baseline."""
    return inverse_probability(actions, policy) * (returns(rewards) - value)[:, None]


def q_critic(action_value: Probabilities) -> Contributions:
    """The critic's value of every action."""
    return action_value


def trajcv(actions: Actions, rewards: Rewards, policy: Probabilities, action_value: Probabilities, taken: Bool[Array, " time"]) -> Contributions:
    """The return minus the critic's values for this and all later actions, plus its value of every action."""
    of_taken = of_actions(action_value, actions)
    surprise = (of_taken - jnp.sum(policy * action_value, axis=-1)) * taken
    left = returns(rewards) - of_taken - sum_after(surprise)
    return inverse_probability(actions, policy) * left[:, None] + action_value


# --- counterfactual ----------------------------------------------------------------------------------------------------


def cocoa(
    actions: Actions, rewards: Rewards, policy: Probabilities, outcomes: Int[Array, " time"], coefficients: Float[Array, "time actions outcomes"]
) -> Contributions:
    """Each later reward, weighted by how much more likely each action makes its outcome than the policy does.

    The cost is O(time x outcomes), because later rewards are first summed by outcome. `cocoa_of_pairs` computes the same sum pair by pair.

    Args:
        actions, rewards, policy: those of one episode.
        outcomes: $U_t$, classes counted from 0.
        coefficients: $w(S_t, a, u)$.
    """
    later = sum_after(rewards[:, None] * jax.nn.one_hot(outcomes, coefficients.shape[-1], dtype=rewards.dtype))
    return inverse_probability(actions, policy) * rewards[:, None] + jnp.einsum("tau,tu->ta", coefficients, later)


def cocoa_of_pairs(actions: Actions, rewards: Rewards, policy: Probabilities, coefficients: Float[Array, "time actions time"]) -> Contributions:
    """`cocoa` for outcomes that are not classes: `coefficients[t, a, k]` is $w(S_t, a, U_k)$, used only for k > t. The cost is O(time x time)."""
    later = jnp.triu(jnp.ones((len(rewards), len(rewards)), dtype=bool), k=1)
    weighed = jnp.where(later[:, None], coefficients, 0.0) @ rewards
    return inverse_probability(actions, policy) * rewards[:, None] + weighed


def discounted_cocoa(
    actions: Actions,
    rewards: Rewards,
    policy: Probabilities,
    outcomes: Int[Array, " time"],
    coefficients: Float[Array, "time actions outcomes"],
    discount: float | Array,
) -> Contributions:
    r"""`cocoa` for the discounted objective, with coefficients of discounted counts, $\sum_{k \ge 1} \gamma^k P(U_{t+k} = u \mid \cdot)$."""
    later = discounted_sum_after(rewards[:, None] * jax.nn.one_hot(outcomes, coefficients.shape[-1], dtype=rewards.dtype), discount)
    return inverse_probability(actions, policy) * rewards[:, None] + jnp.einsum("tau,tu->ta", coefficients, later)


def n_step_cocoa(
    actions: Actions,
    rewards: Rewards,
    policy: Probabilities,
    outcomes: Int[Array, " time"],
    coefficients: Float[Array, "time actions outcomes"],
    bootstrap_coefficients: Float[Array, "time actions"],
    bootstrap_values: Float[Array, " time"],
    steps: int,
    discount: float | Array = 1.0,
) -> Contributions:
    r"""`cocoa` for the first `steps` - 1 rewards; a value function and coefficients of the state cover the rest.

    Args:
        actions, rewards, policy, outcomes: those of one episode.
        coefficients: $w_n(S_t, a, u)$ for the counts $\sum_{k=1}^{n-1} \gamma^k P(U_{t+k} = u \mid \cdot)$.
        bootstrap_coefficients: $P(S_{t+n} \mid S_t, a) / P(S_{t+n} \mid S_t) - 1$ for the state n steps later.
        bootstrap_values: $V(S_{t+n})$, zero after the end of the episode.
        steps: n, one or more.
        discount: $\gamma$.
    """
    by_outcome = rewards[:, None] * jax.nn.one_hot(outcomes, coefficients.shape[-1], dtype=rewards.dtype)
    later = discounted_sum_after(by_outcome, discount)
    beyond = jnp.concatenate([later, jnp.zeros_like(later, shape=(steps - 1, later.shape[1]))])[steps - 1 :]
    near = jnp.einsum("tau,tu->ta", coefficients, later - discount ** (steps - 1) * beyond)
    far = discount**steps * bootstrap_coefficients * bootstrap_values[:, None]
    return inverse_probability(actions, policy) * rewards[:, None] + near + far


def action_sampled_cocoa(
    actions: Actions,
    rewards: Rewards,
    policy: Probabilities,
    outcomes: Int[Array, " time"],
    coefficients: Float[Array, "time actions outcomes"],
    samples: Int[Array, "time samples"],
) -> Contributions:
    """`cocoa` at a few sampled actions per step, for large action sets; `samples` are drawn from the policy, independently of the episode's actions.

    An action that the policy never takes is never sampled; it gets only its immediate term, which is zero.
    """
    immediate = inverse_probability(actions, policy) * rewards[:, None]
    share = jnp.mean(jax.nn.one_hot(samples, policy.shape[-1], dtype=policy.dtype), axis=1)
    weight = _quotient(share, policy)
    return immediate + weight * (cocoa(actions, rewards, policy, outcomes, coefficients) - immediate)


def hca(rewards: Rewards, states: Int[Array, " time"], coefficients: Float[Array, "time actions states"], mean_reward: Probabilities) -> Contributions:
    """The original hindsight credit assignment: a model of the immediate reward, and later rewards by their states."""
    later = sum_after(rewards[:, None] * jax.nn.one_hot(states, coefficients.shape[-1], dtype=rewards.dtype))
    return mean_reward + jnp.einsum("tau,tu->ta", coefficients + 1.0, later)


def hca_of_pairs(rewards: Rewards, coefficients: Float[Array, "time actions time"], mean_reward: Probabilities) -> Contributions:
    """`hca` for states that are not classes: `coefficients[t, a, k]` is $w(S_t, a, S_k)$, used only for k > t."""
    later = jnp.triu(jnp.ones((len(rewards), len(rewards)), dtype=bool), k=1)
    return mean_reward + jnp.where(later[:, None], coefficients + 1.0, 0.0) @ rewards


def hca_return(actions: Actions, rewards: Rewards, policy: Probabilities, hindsight: Probabilities) -> Contributions:
    r"""Hindsight credit assignment by the return.

    With the exact hindsight distribution $p(a \mid S_t, Z_t)$, its mean is $Q(s, a) - \sum_{z : p(z \mid s, a) > 0} p(z \mid s)\, z$: the advantage, unless the
    action excludes a return $z \ne 0$ that others give. Only then is it biased.
    """
    factor = 1.0 - _quotient(of_actions(policy, actions), of_actions(hindsight, actions))
    return inverse_probability(actions, policy) * (factor * returns(rewards))[:, None]


def counterfactual_return(rewards: Rewards, policy: Probabilities, hindsight: Probabilities) -> Contributions:
    """The whole return as the outcome of every action; unbiased, with high variance.

    Hindsight says nothing about an action that the policy never takes; it gets zero (a softmax has no gradient there).
    """
    coefficients = jnp.where(policy >= jnp.finfo(policy.dtype).tiny, _quotient(hindsight, policy) - 1.0, 0.0)
    return coefficients * returns(rewards)[:, None]


# --- parts -------------------------------------------------------------------------------------------------------------


def inverse_probability(actions: Actions, policy: Probabilities) -> Contributions:
    r"""$\iota_t(a) = 1\{a = A_t\} / \pi(A_t \mid S_t)$; 0 if this probability underflows to 0, like the gradient of a softmax that multiplies it."""
    return jax.nn.one_hot(actions, policy.shape[-1], dtype=policy.dtype) * _quotient(1.0, of_actions(policy, actions))[:, None]


def _quotient(numerator: Array | float, probability: Array) -> Array:
    """The quotient by a probability; 0 where it is 0 or underflows, since its inverse would be infinite."""
    held = probability >= jnp.finfo(probability.dtype).tiny
    return jnp.where(held, numerator / jnp.where(held, probability, 1.0), 0.0)


def of_actions(table: Probabilities, actions: Actions) -> Float[Array, " time"]:
    """The entry of the action taken."""
    return jnp.take_along_axis(table, actions[:, None], axis=1)[:, 0]


def returns(rewards: Rewards) -> Rewards:
    r"""$Z_t = \sum_{k \ge 0} R_{t+k}$."""
    return jnp.cumsum(rewards[::-1])[::-1]


def sum_after(values: Float[Array, "time *rest"]) -> Float[Array, "time *rest"]:
    r"""$\sum_{k \ge 1} x_{t+k}$, which excludes the present."""
    return jnp.cumsum(values[::-1], axis=0)[::-1] - values


def discounted_sum_after(values: Float[Array, "time *rest"], discount: float | Array) -> Float[Array, "time *rest"]:
    r"""$\sum_{k \ge 1} \gamma^k x_{t+k}$."""

    def back(following: Array, value: Array) -> tuple[Array, Array]:
        return discount * (value + following), following

    return jax.lax.scan(back, jnp.zeros_like(values[0]), values, reverse=True)[1]
