r"""The expected contribution of each estimator, $E[C_t(a) \mid S_t = s]$, given exact or learned models; with `policy_gradient`, this gives its exact bias.

There is one function per row of the table in `learning.contributions`; a learned model enters as the table it predicts.

Reference: Meulemans et al. (2023), App. E.3.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.analysis.tabular.dynamic_programming import Outcomes, Policy, action_values, outcome_rewards
from mesocosm.envs.tabular import TabularMDP
from mesocosm.numerics.precision import full_precision

Table = Float[Array, "states actions"]


def expected_reinforce(mdp: TabularMDP, policy: Policy, discount: float | Array = 1.0) -> Table:
    r"""$Q(s, a)$; with a discount, that of the discounted return."""
    return action_values(mdp, policy, discount)


def expected_advantage(mdp: TabularMDP, policy: Policy, value: Float[Array, " states"]) -> Table:
    r"""$Q(s, a) - \hat V(s)$."""
    return action_values(mdp, policy) - value[:, None]


def expected_q_critic(policy: Policy, action_value: Table) -> Table:
    r"""$\hat Q(s, a)$ itself."""
    return jnp.asarray(action_value)


def expected_trajcv(mdp: TabularMDP, policy: Policy) -> Table:
    r"""$Q(s, a)$ for any critic, because its corrections are martingale differences."""
    return action_values(mdp, policy)


@full_precision
def expected_cocoa(
    mdp: TabularMDP, policy: Policy, outcomes: Outcomes, coefficients: Float[Array, "states actions outcomes"], discount: float | Array = 1.0
) -> Table:
    r"""$\bar r(s, a) + \sum_u \hat w(s, a, u)\, E[\sum_{k \ge 1} \gamma^k 1\{U_k = u\} R_k \mid s]$."""
    rewards = outcome_rewards(mdp, policy, outcomes, coefficients.shape[2], discount)
    return jnp.asarray(mdp.mean_reward, dtype=float) + jnp.einsum("sau,su->sa", coefficients, rewards)


@full_precision
def expected_hca(mdp: TabularMDP, policy: Policy, outcomes: Outcomes, coefficients: Float[Array, "states actions outcomes"], mean_reward: Table) -> Table:
    r"""$\hat r(s, a) + \sum_u (\hat w(s, a, u) + 1)\, E[\sum_{k \ge 1} 1\{U_k = u\} R_k \mid s]$."""
    rewards = outcome_rewards(mdp, policy, outcomes, coefficients.shape[2])
    return mean_reward + jnp.einsum("sau,su->sa", coefficients + 1.0, rewards)


@full_precision
def expected_hca_return(
    policy: Policy, returns: Float[Array, "states actions returns"], return_values: Float[Array, " returns"], hindsight: Float[Array, "states actions returns"]
) -> Table:
    r"""$\sum_z p(z \mid s, a) (1 - \pi(a \mid s) / \hat p(a \mid s, z))\, z$; `returns` is $p(z \mid s, a)$.

    With the exact $\hat p$, it is biased only where an action excludes a return (`learning.contributions.hca_return`).
    """
    known = hindsight > 0
    ratio = jnp.where(known, policy[..., None] / jnp.where(known, hindsight, 1.0), 0.0)
    return jnp.einsum("saz,z->sa", jnp.where(returns > 0, returns * (1.0 - ratio), 0.0), return_values)


@full_precision
def expected_counterfactual_return(
    policy: Policy, returns: Float[Array, "states actions returns"], return_values: Float[Array, " returns"], hindsight: Float[Array, "states actions returns"]
) -> Table:
    r"""$\sum_z p(z \mid s) (\hat p(a \mid s, z) / \pi(a \mid s) - 1)\, z$; an action that is never taken gets 0, as from the estimator."""
    seen = jnp.einsum("sa,saz->sz", policy, returns)[:, None]
    likely = policy[..., None] >= jnp.finfo(policy.dtype).tiny
    coefficients = jnp.where(likely, hindsight / jnp.where(likely, policy[..., None], 1.0) - 1.0, 0.0)
    return jnp.einsum("saz,z->sa", jnp.where(seen > 0, seen * coefficients, 0.0), return_values)
