"""Credit from exact models: the estimators of `learning.contributions` with values, coefficients or hindsight distributions that dynamic programming computes
for the current policy. Learned models can replace them behind the same two methods.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mesocosm.analysis.tabular.dynamic_programming import coefficients, hindsight
from mesocosm.analysis.tabular.layered_programming import layered_action_values, layered_outcome_counts, layered_return_distribution, reward_units
from mesocosm.envs.tabular import LayeredMDP, TabularMDP
from mesocosm.learning.contributions import (
    advantage,
    cocoa,
    counterfactual_return,
    discounted_reinforce,
    hca_return,
    q_critic,
    reinforce,
    returns,
    trajcv,
)
from mesocosm.learning.outcomes import Encoding, reward_class

Table = Float[Array, "states actions"]


class Steps(NamedTuple):
    """One episode, as needed for credit assignment.

    Attributes:
        states: indices of the states in the environment's tabular form.
        actions: the actions taken.
        rewards: the rewards obtained.
        policy: probabilities of all actions, including exploration.
        taken: False after the end.
    """

    states: Int[Array, " time"]
    actions: Int[Array, " time"]
    rewards: Float[Array, " time"]
    policy: Float[Array, "time actions"]
    taken: Bool[Array, " time"]


class Credit(eqx.Module):
    """Computes models of the current policy, then $C_t(a)$ for each episode."""

    def models(self, policy: Table) -> Any:
        """Models of this policy; None by default."""
        return None

    def models_of(self, network: Any, observations: Float[Array, "states *shape"], policy: Table) -> Any:
        """The models that `contributions` reads: those of the policy, unless a network gives them (`learning.learned_credit`)."""
        return self.models(policy)

    def contributions(self, models: Any, steps: Steps) -> Float[Array, "time actions"]:
        """$C_t(a)$ of one episode."""
        raise NotImplementedError(f"{type(self).__name__} has no contributions")


class Reinforce(Credit):
    """`reinforce`, which needs no model."""

    def contributions(self, models: None, steps: Steps) -> Float[Array, "time actions"]:
        """The whole return."""
        return reinforce(steps.actions, steps.rewards, steps.policy)


class DiscountedReinforce(Credit):
    r"""`discounted_reinforce`, which needs no model. With $\gamma = 0$, only the immediate reward is credited, as by `cocoa` with coefficients of 0.

    Attributes:
        discount: $\gamma$.
    """

    discount: float

    def contributions(self, models: None, steps: Steps) -> Float[Array, "time actions"]:
        """The discounted return."""
        return discounted_reinforce(steps.actions, steps.rewards, steps.policy, self.discount)


class ExactAdvantage(Credit):
    """`advantage` with the exact value function."""

    mdp: LayeredMDP

    def models(self, policy: Table) -> Float[Array, " states"]:
        """The state values V."""
        return jnp.sum(policy * layered_action_values(self.mdp, policy), axis=1)

    def contributions(self, models: Float[Array, " states"], steps: Steps) -> Float[Array, "time actions"]:
        """The return minus the value."""
        return advantage(steps.actions, steps.rewards, steps.policy, models[steps.states])


class ExactQCritic(Credit):
    """`q_critic` with the exact action values."""

    mdp: LayeredMDP

    def models(self, policy: Table) -> Table:
        """The action values Q."""
        return layered_action_values(self.mdp, policy)

    def contributions(self, models: Table, steps: Steps) -> Float[Array, "time actions"]:
        """Values of all actions."""
        return q_critic(models[steps.states])


class ExactTrajCV(Credit):
    """`trajcv` with the exact action values."""

    mdp: LayeredMDP

    def models(self, policy: Table) -> Table:
        """The action values Q."""
        return layered_action_values(self.mdp, policy)

    def contributions(self, models: Table, steps: Steps) -> Float[Array, "time actions"]:
        """The return with the critic as a control variate."""
        return trajcv(steps.actions, steps.rewards, steps.policy, models[steps.states], steps.taken)


class ExactCocoa(Credit):
    """`cocoa` with the exact coefficients of an outcome encoding.

    Attributes:
        mdp: the environment.
        classes: the encoding's class of each (state, action, reward).
        number: the number of classes.
    """

    mdp: LayeredMDP
    classes: Int[Array | np.ndarray, "states actions rewards"]
    number: int = eqx.field(static=True)

    @classmethod
    def of(cls, mdp: LayeredMDP, encoding: Encoding) -> ExactCocoa:
        """Create it for an outcome encoding."""
        return cls(mdp, encoding.classes, encoding.number)

    def models(self, policy: Table) -> Float[Array, "states actions outcomes"]:
        """The coefficients w."""
        rewards = self.mdp.by_state(jnp.asarray(self.mdp.reward_probability, policy.dtype))
        weights = policy[..., None] * rewards
        events = jnp.arange(len(policy))[:, None, None], jnp.asarray(self.classes)
        probability = jnp.zeros((len(policy), self.number), policy.dtype).at[events].add(weights)
        return coefficients(layered_outcome_counts(self.mdp, policy, probability), policy)

    def contributions(self, models: Float[Array, "states actions outcomes"], steps: Steps) -> Float[Array, "time actions"]:
        """Later rewards by their outcomes."""
        classes = jnp.asarray(self.classes)[steps.states, steps.actions, reward_class(steps.rewards, self.mdp.reward_values)]
        return cocoa(steps.actions, steps.rewards, steps.policy, classes, models[steps.states])


class _ReturnCredit(Credit):
    """Credit by the return, for rewards that are whole multiples of a unit.

    Attributes:
        mdp: the environment.
        unit: the unit of reward.
        units: each reward in units.
        most: a bound on the return in units, the same for all layouts of an environment.
    """

    mdp: LayeredMDP
    unit: float
    units: tuple[int, ...] = eqx.field(static=True)
    most: int = eqx.field(static=True)

    @classmethod
    def of(cls, mdp: TabularMDP, unit: float) -> Any:
        """Create it for an environment whose rewards are whole multiples of a unit."""
        layered, units = LayeredMDP.of(mdp), reward_units(np.asarray(mdp.reward_values), unit)
        return cls(layered, unit, units, max(units) * len(layered.index))

    def models(self, policy: Table) -> Float[Array, "states actions returns"]:
        r"""$p(a \mid s, z)$."""
        return hindsight(layered_return_distribution(self.mdp, policy, self.units, self.most), policy)

    def hindsight_of(self, models: Float[Array, "states actions returns"], steps: Steps) -> Float[Array, "time actions"]:
        r"""$p(a \mid S_t, Z_t)$."""
        seen = jnp.rint(returns(steps.rewards) / self.unit).astype(jnp.int32)
        return models[steps.states, :, jnp.clip(seen, 0, self.most)]


class ExactHCAReturn(_ReturnCredit):
    """`hca_return` with the exact hindsight distribution."""

    def contributions(self, models: Float[Array, "states actions returns"], steps: Steps) -> Float[Array, "time actions"]:
        """Contributions by the return, which are biased if some action excludes a return."""
        return hca_return(steps.actions, steps.rewards, steps.policy, self.hindsight_of(models, steps))


class ExactCounterfactualReturn(_ReturnCredit):
    """`counterfactual_return` with the exact hindsight distribution."""

    def contributions(self, models: Float[Array, "states actions returns"], steps: Steps) -> Float[Array, "time actions"]:
        """Contributions by the return, which are unbiased."""
        return counterfactual_return(steps.rewards, steps.policy, self.hindsight_of(models, steps))
