r"""Credit from learned models: the estimators of `learning.contributions` with networks that learn from the episodes that they are to credit.

Each class is a `Credit` whose models come from a network instead of dynamic programming: `build(key)` makes the network, `loss(network, experience)` is
what it minimises, `models_of(network, observations, policy)` are the models, and `contributions(models, steps)` passes what they say of an episode to the
estimator, a function of arrays, which does not know where they come from. `learning.actor_credit` trains network and policy together.

The pairs of steps t < k of an episode train the hindsight models; $k = t$ is never among them. Where outcomes are few (rewards), pairs are counted by outcome
before the network is evaluated, once per state and outcome; otherwise it is evaluated on every pair.

Reference: Meulemans et al., "Would I have gotten that reward?" (2023), Sec. 3.3, App. D and E.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mesocosm.learning.contributions import (
    advantage,
    cocoa,
    cocoa_of_pairs,
    counterfactual_return,
    hca_of_pairs,
    hca_return,
    of_actions,
    q_critic,
    returns,
    sum_after,
    trajcv,
)
from mesocosm.learning.exact_credit import Credit, Steps
from mesocosm.learning.hindsight_losses import CLASSIFICATION, HindsightLoss, log_hindsight, log_probabilities
from mesocosm.learning.outcomes import reward_class
from mesocosm.learning.reward_features import RewardFeatures
from mesocosm.nn.hindsight import HindsightNetwork

Table = Float[Array, "states actions"]
Observations = Float[Array, "states *shape"]


class Experience(NamedTuple):
    """A batch of episodes, and what the agent saw and did in each of their states.

    Attributes:
        observations: one row per state: all states of a finite environment, or every step of the batch.
        policy: probabilities of all actions in these states, including exploration.
        steps: the episodes, batch axis first; `steps.states` are rows of `observations`.
    """

    observations: Observations
    policy: Table
    steps: Steps


class LearnedCredit(Credit):
    """Credit whose models are networks.

    Attributes:
        features: number of entries of an observation.
        actions: number of actions.
        width: hidden units of each network.
    """

    features: int = eqx.field(static=True)
    actions: int = eqx.field(static=True)
    width: int = eqx.field(static=True, default=256, kw_only=True)

    def flat(self, observations: Observations) -> Float[Array, "states features"]:
        """Observations as vectors.

        Raises:
            ValueError: they have another number of entries.
        """
        rows = observations.reshape(len(observations), -1)
        if rows.shape[1] != self.features:
            raise ValueError(f"observations have {rows.shape[1]} entries, {type(self).__name__} was made for {self.features}")
        return rows

    @abstractmethod
    def build(self, key: Key[Array, ""]) -> Any:
        """A new network."""

    @abstractmethod
    def loss(self, network: Any, experience: Experience) -> Float[Array, ""]:
        """What the network minimises, averaged over the batch."""

    @abstractmethod
    def models_of(self, network: Any, observations: Observations, policy: Table) -> Any:
        """The models that `contributions` reads."""


class HindsightCredit(LearnedCredit):
    """Credit by a hindsight network.

    Attributes:
        gain: scale of the network's first outputs. The paper has 1; with less, coefficients start near 0 and are small until there is evidence.
        by_episode: average the pairs of each episode, then episodes, as in the authors' code. An action that leads to more outcomes then counts less, so
            that even the best network has biased coefficients. By default, all pairs count the same.
        leak: slope of the network's rectified outputs below 0. The paper has 0, with which a network can die (`nn.hindsight`).
    """

    gain: float = eqx.field(static=True, default=1.0, kw_only=True)
    by_episode: bool = eqx.field(static=True, default=False, kw_only=True)
    leak: float = eqx.field(static=True, default=0.0, kw_only=True)

    def pair_weights(self, counts: Float[Array, "batch time outcomes"]) -> Float[Array, "batch time outcomes"]:
        """Counts of later outcomes divided by the number of pairs: all that an episode could have, or those that it has (1 if none), and by the batch size."""
        batch, time, _ = counts.shape
        possible = max(time * (time - 1) / 2, 1.0)
        pairs = jnp.maximum(jnp.sum(counts, axis=(1, 2), keepdims=True), 1.0) if self.by_episode else possible
        return counts / pairs / batch

    def hindsight_network(self, outcome_dim: int, key: Key[Array, ""]) -> HindsightNetwork:
        """Observation, outcome -> output for each action."""
        return HindsightNetwork.create(self.features, outcome_dim, self.actions, width=self.width, gain=self.gain, leak=self.leak, key=key)

    def reward_network(self, key: Key[Array, ""]) -> eqx.nn.MLP:
        """Observation -> immediate reward of all actions."""
        return eqx.nn.MLP(self.features, self.actions, self.width, 1, key=key)

    def reward_loss(self, network: eqx.nn.MLP, experience: Experience) -> Float[Array, ""]:
        r"""$(R_t - r(S_t, A_t))^2$, mean over all steps of the batch."""
        steps = experience.steps
        predicted = jax.vmap(of_actions)(jax.vmap(network)(self.flat(experience.observations))[steps.states], steps.actions)
        return _mean_over_steps((steps.rewards - predicted) ** 2, steps.taken)


# --- values ------------------------------------------------------------------------------------------------------------


class LearnedAdvantage(LearnedCredit):
    r"""`advantage` with a value network, trained by TD($\lambda$) on the squared error.

    Attributes:
        trace: $\lambda$; 1 regresses on the return.
    """

    trace: float = 1.0

    def build(self, key: Key[Array, ""]) -> eqx.nn.MLP:
        """Observation -> V."""
        return eqx.nn.MLP(self.features, 1, self.width, 1, key=key)

    def loss(self, network: eqx.nn.MLP, experience: Experience) -> Float[Array, ""]:
        r"""$(G^\lambda_t - V(S_t))^2$."""
        steps = experience.steps
        value = self.models_of(network, experience.observations, experience.policy)[steps.states]
        target = jax.lax.stop_gradient(jax.vmap(lambda_returns, in_axes=(0, 0, 0, None))(steps.rewards, value, steps.taken, self.trace))
        return _mean_over_steps((target - value) ** 2, steps.taken)

    def models_of(self, network: eqx.nn.MLP, observations: Observations, policy: Table) -> Float[Array, " states"]:
        """The state values."""
        return jax.vmap(network)(self.flat(observations))[:, 0]

    def contributions(self, models: Float[Array, " states"], steps: Steps) -> Float[Array, "time actions"]:
        """The return minus the value."""
        return advantage(steps.actions, steps.rewards, steps.policy, models[steps.states])


class LearnedQCritic(LearnedCredit):
    r"""`q_critic` with an action-value network, trained by TD($\lambda$) on half the squared error.

    Attributes:
        trace: $\lambda$.
        bootstrap: the value of the next state, $\sum_a \pi Q$ ("expected") or $\max_a Q$ ("max", as in the authors' code).
    """

    trace: float = 0.9
    bootstrap: str = eqx.field(static=True, default="expected")

    def __check_init__(self) -> None:
        if self.bootstrap not in ("expected", "max"):
            raise ValueError(f"bootstrap must be 'expected' or 'max', not {self.bootstrap!r}")

    def build(self, key: Key[Array, ""]) -> eqx.nn.MLP:
        """Observation -> Q of all actions."""
        return eqx.nn.MLP(self.features, self.actions, self.width, 1, key=key)

    def loss(self, network: eqx.nn.MLP, experience: Experience) -> Float[Array, ""]:
        r"""$\frac12 (G^\lambda_t - Q(S_t, A_t))^2$."""
        steps, table = experience.steps, self.models_of(network, experience.observations, experience.policy)
        value = jnp.max(table, axis=1) if self.bootstrap == "max" else jnp.sum(experience.policy * table, axis=1)
        target = jax.vmap(lambda_returns, in_axes=(0, 0, 0, None))(steps.rewards, value[steps.states], steps.taken, self.trace)
        of_taken = jax.vmap(of_actions)(table[steps.states], steps.actions)
        return _mean_over_steps(0.5 * (jax.lax.stop_gradient(target) - of_taken) ** 2, steps.taken)

    def models_of(self, network: eqx.nn.MLP, observations: Observations, policy: Table) -> Table:
        """The action values."""
        return jax.vmap(network)(self.flat(observations))

    def contributions(self, models: Table, steps: Steps) -> Float[Array, "time actions"]:
        """Values of all actions."""
        return q_critic(models[steps.states])


class LearnedTrajCV(LearnedQCritic):
    """`trajcv` with the same network."""

    def contributions(self, models: Table, steps: Steps) -> Float[Array, "time actions"]:
        """The return with the critic as a control variate."""
        return trajcv(steps.actions, steps.rewards, steps.policy, models[steps.states], steps.taken)


def lambda_returns(rewards: Float[Array, " time"], values: Float[Array, " time"], taken: Bool[Array, " time"], trace: float | Array) -> Float[Array, " time"]:
    r"""$G_t = R_t + (1 - \lambda) V(S_{t+1}) + \lambda G_{t+1}$; values after the end are 0."""
    following = jnp.append((values * taken)[1:], 0.0)

    def back(after: Array, here: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, value = here
        now = reward + (1.0 - trace) * value + trace * after
        return now, now

    return jax.lax.scan(back, jnp.zeros((), rewards.dtype), (rewards, following), reverse=True)[1]


# --- hindsight by outcomes ---------------------------------------------------------------------------------------------


class Coefficients(NamedTuple):
    """Coefficients w, and the observations from which outcomes are read."""

    w: Float[Array, "states actions outcomes"]
    observations: Float[Array, "states features"]


class CocoaOfClasses(HindsightCredit):
    """`cocoa` with outcomes out of a finite set. A subclass says how many there are, and which of them each step has.

    Attributes:
        objective: `CLASSIFICATION` or `CONTRASTIVE` (`learning.hindsight_losses`).
    """

    objective: HindsightLoss = eqx.field(default=CLASSIFICATION, kw_only=True)

    @property
    @abstractmethod
    def number(self) -> int:
        """How many outcomes there are."""

    @property
    def outcome_dim(self) -> int:
        """Entries of what the network sees of an outcome."""
        return self.number

    @abstractmethod
    def classes(self, observations: Float[Array, "states features"], steps: Steps) -> Int[Array, " time"]:
        """The outcome of each step of one episode, -1 for one that gets no credit."""

    def vectors(self, observations: Float[Array, "states features"]) -> Float[Array, "outcomes outcome_dim"]:
        """What the network sees of each outcome, one-hot by default."""
        return jnp.eye(self.number, dtype=observations.dtype)

    def build(self, key: Key[Array, ""]) -> Any:
        """Observation, outcome -> output for each action."""
        return self.hindsight_network(self.outcome_dim, key)

    def inputs(self, observations: Observations) -> tuple[Float[Array, "states outcomes features"], Float[Array, "states outcomes outcome_dim"]]:
        """All pairs of a state and an outcome, as the network sees them."""
        seen = self.flat(observations)
        outcomes = self.vectors(seen)
        pairs = len(seen), len(outcomes)
        return jnp.broadcast_to(seen[:, None], (*pairs, seen.shape[1])), jnp.broadcast_to(outcomes, (*pairs, outcomes.shape[1]))

    def outputs(self, network: HindsightNetwork, observations: Observations, policy: Table) -> Float[Array, "states outcomes actions"]:
        """The network's outputs for all states and outcomes."""
        seen, outcomes = self.inputs(observations)
        return network(seen, outcomes, jnp.broadcast_to(log_probabilities(policy)[:, None], (*seen.shape[:2], policy.shape[1])))

    def loss(self, network: Any, experience: Experience) -> Float[Array, ""]:
        """The objective over all pairs of a step and a later outcome."""
        steps, seen = experience.steps, self.flat(experience.observations)
        later = jax.vmap(lambda steps: sum_after(jax.nn.one_hot(self.classes(seen, steps), self.number, dtype=steps.rewards.dtype)))(steps)
        counts = self.pair_weights(later * steps.taken[..., None])
        weights = jnp.zeros((len(experience.policy), self.actions, self.number), counts.dtype).at[steps.states, steps.actions].add(counts)
        outputs = self.outputs(network, experience.observations, experience.policy)
        return self.objective.loss(outputs, jnp.swapaxes(weights, 1, 2), experience.policy[:, None])

    def models_of(self, network: Any, observations: Observations, policy: Table) -> Any:
        """`Coefficients` of all states and outcomes."""
        w = jnp.swapaxes(self.objective.coefficients(self.outputs(network, observations, policy), policy[:, None]), 1, 2)
        return Coefficients(w, self.flat(observations))

    def contributions(self, models: Any, steps: Steps) -> Float[Array, "time actions"]:
        """Later rewards by their outcomes."""
        return cocoa(steps.actions, steps.rewards, steps.policy, self.classes(models.observations, steps), models.w[steps.states])


class LearnedCocoa(CocoaOfClasses):
    """COCOA-reward: `cocoa` with the reward as the outcome, out of a finite set.

    Attributes:
        values: the rewards other than 0; every reward counts as the nearest of them, or 0.
    """

    values: tuple[float, ...] = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not self.values or 0 in self.values or len(set(self.values)) < len(self.values):
            raise ValueError(f"outcomes are distinct rewards other than 0, not {self.values}")

    @property
    def number(self) -> int:
        """The rewards other than 0."""
        return len(self.values)

    def outcomes(self, rewards: Float[Array, " time"]) -> Int[Array, " time"]:
        """The class of each reward, -1 for 0."""
        return reward_class(rewards, jnp.array([0.0, *self.values])) - 1

    def classes(self, observations: Float[Array, "states features"], steps: Steps) -> Int[Array, " time"]:
        """The class of each reward."""
        return self.outcomes(steps.rewards)


# --- hindsight by pairs ------------------------------------------------------------------------------------------------


class Network(NamedTuple):
    """A network to be evaluated along an episode, and the observations of its states."""

    network: Any
    observations: Float[Array, "states features"]


class LearnedCocoaOfPairs(HindsightCredit):
    """`cocoa_of_pairs`, whose outcome is the later observation (HCA+) or a vector of features of later observation and action (COCOA-feature).

    Attributes:
        encoding: the features, frozen (`learning.reward_features`); None for the observation itself.
        rewarded_only: train on outcomes with a reward other than 0 only, as the others are never used.
        objective: `CLASSIFICATION` or `CONTRASTIVE`.
    """

    encoding: RewardFeatures | None = None
    rewarded_only: bool = eqx.field(static=True, default=True)
    objective: HindsightLoss = CLASSIFICATION

    def build(self, key: Key[Array, ""]) -> Any:
        """Observation, outcome -> output for each action."""
        outcome_dim = self.features if self.encoding is None else self.encoding.readout.shape[-1]
        return self.hindsight_network(outcome_dim, key)

    def outputs(self, network: HindsightNetwork, observations: Float[Array, "states features"], steps: Steps) -> Float[Array, "time time actions"]:
        """The network's outputs for all pairs (t, k) of one episode."""
        seen = observations[steps.states]
        outcomes = seen if self.encoding is None else self.encoding.outcomes(seen, steps.actions)
        pairs = len(seen), len(seen)
        return network(
            jnp.broadcast_to(seen[:, None], (*pairs, seen.shape[1])),
            jnp.broadcast_to(outcomes, (*pairs, outcomes.shape[1])),
            jnp.broadcast_to(log_probabilities(steps.policy)[:, None], (*pairs, self.actions)),
        )

    def loss(self, network: Any, experience: Experience) -> Float[Array, ""]:
        """The objective over all pairs."""
        return self.pairs_loss(network, experience)

    def pairs_loss(self, network: HindsightNetwork, experience: Experience) -> Float[Array, ""]:
        """The hindsight network's part of the loss."""
        steps = experience.steps
        outputs = jax.vmap(self.outputs, in_axes=(None, None, 0))(network, self.flat(experience.observations), steps)
        counts = steps.taken & (steps.rewards != 0) if self.rewarded_only else steps.taken
        later = jnp.triu(jnp.ones((counts.shape[1],) * 2, bool), k=1)
        shares = self.pair_weights((later & counts[:, None]).astype(outputs.dtype))
        weights = shares[..., None] * jax.nn.one_hot(steps.actions, self.actions, dtype=outputs.dtype)[:, :, None]
        return self.objective.loss(outputs, weights, steps.policy[:, :, None])

    def models_of(self, network: Any, observations: Observations, policy: Table) -> Network:
        """The network itself, to be evaluated on the pairs of each episode."""
        return Network(network, self.flat(observations))

    def coefficients(self, network: HindsightNetwork, observations: Float[Array, "states features"], steps: Steps) -> Float[Array, "time actions time"]:
        """w of all pairs (t, k) of one episode."""
        return jnp.swapaxes(self.objective.coefficients(self.outputs(network, observations, steps), steps.policy[:, None]), 1, 2)

    def contributions(self, models: Network, steps: Steps) -> Float[Array, "time actions"]:
        """Later rewards by their outcomes."""
        return cocoa_of_pairs(steps.actions, steps.rewards, steps.policy, self.coefficients(*models, steps))


class LearnedHCA(LearnedCocoaOfPairs):
    """`hca`: hindsight by later observations, and a network for the immediate reward, trained by its squared error."""

    def build(self, key: Key[Array, ""]) -> tuple[HindsightNetwork, eqx.nn.MLP]:
        """The hindsight network, and observation -> reward of all actions."""
        hindsight_key, reward_key = jax.random.split(key)
        return super().build(hindsight_key), self.reward_network(reward_key)

    def loss(self, network: tuple[HindsightNetwork, eqx.nn.MLP], experience: Experience) -> Float[Array, ""]:
        """The sum of both losses; the networks share no parameters."""
        hindsight, reward = network
        return self.pairs_loss(hindsight, experience) + self.reward_loss(reward, experience)

    def contributions(self, models: Network, steps: Steps) -> Float[Array, "time actions"]:
        """The predicted reward, and later rewards by their states."""
        hindsight, reward = models.network
        mean_reward = jax.vmap(reward)(models.observations[steps.states])
        return hca_of_pairs(steps.rewards, self.coefficients(hindsight, models.observations, steps), mean_reward)


# --- hindsight by returns ----------------------------------------------------------------------------------------------


class LearnedHCAReturn(HindsightCredit):
    r"""`hca_return` with a classifier of the action given state and return, trained on $(S_t, Z_t, A_t)$."""

    def build(self, key: Key[Array, ""]) -> HindsightNetwork:
        """Observation, return -> output for each action."""
        return self.hindsight_network(1, key)

    def log_hindsight(self, network: HindsightNetwork, observations: Float[Array, "states features"], steps: Steps) -> Float[Array, "time actions"]:
        r"""$\log p(a \mid S_t, Z_t)$ along an episode."""
        seen, outcome = observations[steps.states], returns(steps.rewards)[:, None]
        return log_hindsight(network(seen, outcome, log_probabilities(steps.policy)), steps.policy)

    def loss(self, network: HindsightNetwork, experience: Experience) -> Float[Array, ""]:
        """The cross entropy of the actions taken."""
        steps = experience.steps
        known = jax.vmap(self.log_hindsight, in_axes=(None, None, 0))(network, self.flat(experience.observations), steps)
        return _mean_over_steps(-jax.vmap(of_actions)(known, steps.actions), steps.taken)

    def models_of(self, network: HindsightNetwork, observations: Observations, policy: Table) -> Network:
        """The network itself, to be evaluated on the returns of each episode."""
        return Network(network, self.flat(observations))

    def contributions(self, models: Network, steps: Steps) -> Float[Array, "time actions"]:
        """The return, weighted by how much it tells about the action taken."""
        return hca_return(steps.actions, steps.rewards, steps.policy, jnp.exp(self.log_hindsight(*models, steps)))


class LearnedCounterfactualReturn(LearnedHCAReturn):
    """`counterfactual_return` with the same network."""

    def contributions(self, models: Network, steps: Steps) -> Float[Array, "time actions"]:
        """The return, weighted by how much it tells about each action."""
        return counterfactual_return(steps.rewards, steps.policy, jnp.exp(self.log_hindsight(*models, steps)))


# --- parts -------------------------------------------------------------------------------------------------------------


def _mean_over_steps(values: Float[Array, "batch time"], taken: Bool[Array, "batch time"]) -> Float[Array, ""]:
    """The mean over all steps of the batch, with 0 after the end."""
    return jnp.mean(values * taken)
