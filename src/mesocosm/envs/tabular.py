"""`TabularMDP`, a finite environment as arrays, and `LayeredMDP`, for environments in which every state belongs to one time step."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class TabularMDP(eqx.Module):
    r"""A finite Markov decision process, undiscounted and episodic.

    Only states in which the agent acts are counted; a row of `transition` sums to one minus the probability that the episode ends. Given
    state and action, the reward and the next state are independent.

    Attributes:
        transition: $P(s' \mid s, a)$.
        reward_probability: $\rho(r \mid s, a)$ over the finite set of rewards.
        reward_values: the set of rewards.
        initial: $P(S_0 = s)$.
        observations: the observation of each state.
    """

    transition: Float[Array | np.ndarray, "states actions states"]
    reward_probability: Float[Array | np.ndarray, "states actions rewards"]
    reward_values: Float[Array | np.ndarray, " rewards"]
    initial: Float[Array | np.ndarray, " states"]
    observations: Float[Array | np.ndarray, "states *shape"]

    @property
    def states(self) -> int:
        """Number of states in which the agent acts."""
        return self.transition.shape[0]

    @property
    def actions(self) -> int:
        """Number of actions."""
        return self.transition.shape[1]

    @property
    def mean_reward(self) -> Float[Array | np.ndarray, "states actions"]:
        r"""$\bar r(s, a) = \sum_r \rho(r \mid s, a)\, r$."""
        return self.reward_probability @ self.reward_values

    @property
    def termination(self) -> Float[Array | np.ndarray, "states actions"]:
        """Probability that the episode ends."""
        return 1.0 - self.transition.sum(axis=2)


class LayeredMDP(eqx.Module):
    """A `TabularMDP` whose states determine the time, arranged by time. Dynamic programming is one short recursion, fast enough for a training loop.

    Attributes:
        transition: probabilities from the states of one step to those of the next.
        reward_probability: probabilities over the finite set of rewards.
        reward_values: the set of rewards.
        index: the index of each state in the `TabularMDP`; the number of states for empty places.
        place: for each state of the `TabularMDP`, step times width plus its place within the step; out of range for unreachable states.
    """

    transition: Float[Array | np.ndarray, "time width actions width"]
    reward_probability: Float[Array | np.ndarray, "time width actions rewards"]
    reward_values: Float[Array | np.ndarray, " rewards"]
    index: Int[Array | np.ndarray, "time width"]
    place: Int[Array | np.ndarray, " states"]

    @classmethod
    def of(cls, mdp: TabularMDP) -> LayeredMDP:
        """Sort the states by time.

        Raises:
            ValueError: a state can be reached at two times. Unreachable states get no place, and zeros.
        """
        time = _times(mdp)
        steps, states = int(time.max()) + 1, np.flatnonzero(time >= 0)
        width = int(np.bincount(time[states]).max())
        within = np.zeros(mdp.states, dtype=np.int32)
        for step in range(steps):
            within[time == step] = np.arange(np.sum(time == step))
        transition = np.zeros((steps, width, mdp.actions, width))
        rewards = np.zeros((steps, width, mdp.actions, len(mdp.reward_values)))
        index = np.full((steps, width), mdp.states, dtype=np.int32)
        source, action, target = np.nonzero(np.asarray(mdp.transition) * (time >= 0)[:, None, None])
        transition[time[source], within[source], action, within[target]] = np.asarray(mdp.transition)[source, action, target]
        rewards[time[states], within[states]] = np.asarray(mdp.reward_probability)[states]
        index[time[states], within[states]] = states
        place = np.where(time >= 0, time * width + within, steps * width)
        return cls(transition, rewards, mdp.reward_values, index, place.astype(np.int32))

    def by_time(self, table: Float[Array, "states *rest"]) -> Float[Array, "time width *rest"]:
        """Arrange a table over states by time; zero for empty places."""
        return jnp.asarray(table).at[self.index].get(mode="fill", fill_value=0)

    def by_state(self, values: Float[Array, "time width *rest"]) -> Float[Array, "states *rest"]:
        """The inverse of `by_time`."""
        return values.reshape(-1, *values.shape[2:]).at[self.place].get(mode="fill", fill_value=0)


def _times(mdp: TabularMDP) -> np.ndarray:
    """The step at which each state is reached; -1 for unreachable states."""
    follows = np.any(np.asarray(mdp.transition) > 0, axis=1)
    time = np.full(mdp.states, -1)
    now, step = np.asarray(mdp.initial) > 0, 0
    while now.any():
        if np.any(time[now] >= 0):
            twice = int(np.nonzero(now & (time >= 0))[0][0])
            raise ValueError(f"state {twice} is reached at steps {time[twice]} and {step}: the environment has no layers")
        time[now] = step
        now, step = follows[now].any(axis=0), step + 1
    return time
