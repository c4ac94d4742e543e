"""A matrix game played again and again, in which each player sees the last pair of actions.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), Sec. 4.1.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from mesocosm.envs.matrix_game import COOPERATE, PRISONERS_DILEMMA, MatrixGame
from mesocosm.envs.multi_agent import JointEpisode, MultiAgentEnvironment, Transition
from mesocosm.envs.pictures import paint

MEMORIES = 5
BLUE, RED = (66, 133, 190), (214, 96, 77)


def memories(actions: Int[Array, "*batch 2"]) -> Int[Array, "*batch 2"]:
    """What each player remembers of a pair of actions, its own first: 1 to 4 for CC, CD, DC, DD; 0 is the start."""
    return 1 + 2 * actions + actions[..., ::-1]


class IteratedState(NamedTuple):
    """Steps so far, and the memory of each player."""

    time: Int[Array, ""]
    memory: Int[Array, "2"]


class IteratedGame(MultiAgentEnvironment):
    """Two players choose at once, 0 to cooperate and 1 to defect; an observation is the memory as a one-hot vector.

    Attributes:
        length: steps of an episode.
        game: the payoffs.
    """

    length: int = eqx.field(static=True, default=10)
    game: MatrixGame = PRISONERS_DILEMMA

    @property
    def num_agents(self) -> int:
        """Two."""
        return 2

    @property
    def num_actions(self) -> int:
        """Two."""
        return 2

    @property
    def features(self) -> int:
        """One for each memory."""
        return MEMORIES

    def start(self, key: PRNGKeyArray) -> IteratedState:
        """Nothing is remembered."""
        return IteratedState(jnp.int32(0), jnp.zeros(2, jnp.int32))

    def observe(self, state: IteratedState) -> Float[Array, "2 5"]:
        """The memories, one-hot."""
        return jax.nn.one_hot(state.memory, MEMORIES)

    def transition(self, key: PRNGKeyArray, state: IteratedState, actions: Int[Array, "2"]) -> Transition:
        """The payoffs of the pair of actions, which is remembered."""
        rewards = jnp.asarray(self.game.payoffs, float)[:, actions[0], actions[1]]
        return Transition(IteratedState(state.time + 1, memories(actions).astype(jnp.int32)), rewards, {})

    def image(self, episode: JointEpisode) -> UInt8[np.ndarray, "height width 3"]:
        """A row for each player and a column for each step; blue cooperates."""
        cooperates = np.asarray(episode.actions).T[..., None] == COOPERATE
        return paint(np.where(cooperates, np.array(BLUE, np.uint8), np.array(RED, np.uint8)))
