"""Who plays what in pools in an environment: each player its own policy and memory, each trajectory its own draws, and each learner its own optimiser."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from mesocosm.envs.iterated_game import IteratedGame
from mesocosm.envs.matrix_game import PRISONERS_DILEMMA
from mesocosm.envs.multi_agent import MultiAgentEnvironment, Transition
from mesocosm.learning.actor_critic_pool import Settings
from mesocosm.learning.environment_pool import EnvironmentPool
from mesocosm.learning.naive_learner import NaiveActorCritic
from mesocosm.learning.opponent_shaping import batch_unaware
from mesocosm.learning.optimizers import sgd
from mesocosm.nn.actor_critic import Choice, TabularChooser

EPISODES, LENGTH = 3, 4
SURE = 40.0  # a logit whose probability is 1
STILL = NaiveActorCritic(sgd, {"learning_rate": 0.0})


def pool(build, agents, *, env=None, learner=STILL, naive=1, peers=1, batch=2):
    choice, settings = np.ones((agents, 1), np.float32), Settings(p_naive=0.5)
    env = IteratedGame(length=LENGTH) if env is None else env
    sizes = {"naive": naive, "peers": peers, "batch": batch, "episodes": EPISODES}
    return EnvironmentPool(build, (batch_unaware,), choice, sgd, {"learning_rate": 0.1}, settings, env=env, learner=learner, **sizes)


def play(learner, seed=1):
    return jax.jit(lambda key: learner.play(learner.init(jax.random.key(0)).agents, key))(jax.random.key(seed))


def actions(found):
    """Both players' actions, from the agent's own and the rewards."""
    own = np.asarray(found.actions)
    return own, np.where(np.asarray(found.rewards) == np.asarray(PRISONERS_DILEMMA.payoffs)[0][own, 1], 1, 0)


def certain(key):
    """A certain action for each memory."""
    cooperates = jax.random.bernoulli(key, shape=(5, 1))
    return TabularChooser(jnp.concatenate([jnp.where(cooperates, SURE, -SURE), jnp.zeros((5, 2))], axis=1))


@pytest.mark.whole
def test_every_agent_plays_its_own_policy_whoever_it_meets():
    learner = pool(certain, 6, naive=8)
    wanted = np.asarray(learner.init(jax.random.key(0)).agents.table)[..., 0] < 0  # defects
    assert len(np.unique(wanted, axis=0)) > 3
    game = jax.jit(lambda key: learner.play(learner.init(jax.random.key(0)).agents, key))
    for seed in range(4):
        found = game(jax.random.key(seed))
        seen = np.asarray(found.observations).argmax(axis=-1)
        for agent in range(6):
            np.testing.assert_array_equal(found.actions[agent], wanted[agent][seen[agent]])
    _, theirs = actions(found)
    assert all(len(np.unique(theirs[agent, :8, 0, :LENGTH], axis=0)) > 1 for agent in range(6))  # each game has a learner of its own


class Counting(eqx.Module):
    """Cooperates until it has seen as many observations as an inner episode has steps."""

    scale: Array

    def init_state(self):
        return jnp.zeros(())

    def step(self, state, observation):
        return state + 1, Choice(self.scale * jnp.stack([LENGTH - 0.5 - state, jnp.zeros(())]), jnp.zeros(()))

    def __call__(self, observations):
        after = LENGTH - 0.5 - jnp.arange(len(observations))
        return Choice(self.scale * jnp.stack([after, jnp.zeros_like(after)], axis=-1), jnp.zeros(len(observations)))


@pytest.mark.whole
def test_agents_remember_earlier_inner_episodes_and_naive_learners_do_not():
    own, theirs = actions(play(pool(lambda key: Counting(jnp.full((), 2 * SURE)), 2)))
    later = np.arange(EPISODES * LENGTH) >= LENGTH
    np.testing.assert_array_equal(own, np.broadcast_to(later, own.shape))
    np.testing.assert_array_equal(theirs[:, 1], np.broadcast_to(later, theirs[:, 1].shape))  # an agent
    assert not theirs[:, 0].any()


class Alarm(NamedTuple):
    """How often the optimiser was asked."""

    times: Array


def on_second_call(size):
    """An optimiser that moves the logit of defection, and at its second step only."""

    def update(gradient, state, parameters=None):
        move = jnp.zeros((5, 3)).at[:, 1].set(jnp.where(state.times == 1, size, 0.0))
        return jax.tree.map(lambda leaf: move, gradient), Alarm(state.times + 1)

    return optax.GradientTransformation(lambda parameters: Alarm(jnp.zeros((), jnp.int32)), update)


def test_a_learners_optimiser_lives_as_long_as_the_game_and_begins_anew_with_the_next():
    def cooperator(key):
        return TabularChooser(jnp.zeros((5, 3)).at[:, 0].set(SURE))

    _, theirs = actions(play(pool(cooperator, 1, learner=NaiveActorCritic(on_second_call, {"size": 2 * SURE}), naive=2, peers=0)))
    np.testing.assert_array_equal(theirs, np.broadcast_to(np.arange(EPISODES * LENGTH) >= 2 * LENGTH, theirs.shape))


class Rolled(NamedTuple):
    """Steps so far, and what was drawn at the start."""

    time: Array
    drawn: Array


class Dice(MultiAgentEnvironment):
    """Whatever is done, both players see what was drawn at the start and earn what is drawn now."""

    length: int = eqx.field(static=True, default=LENGTH)

    @property
    def num_agents(self):
        return 2

    @property
    def num_actions(self):
        return 2

    @property
    def features(self):
        return 1

    def start(self, key):
        return Rolled(jnp.int32(0), jax.random.uniform(key))

    def observe(self, state):
        return jnp.broadcast_to(state.drawn, (2, 1))

    def transition(self, key, state, actions):
        return Transition(state._replace(time=state.time + 1), jnp.broadcast_to(jax.random.uniform(key), (2,)), {"done": actions})


@pytest.fixture(scope="module")
def rolled():
    """Many games of indifferent players."""
    return jax.tree.map(np.asarray, play(pool(lambda key: TabularChooser(jnp.zeros((1, 3))), 4, env=Dice(length=12), naive=3, peers=2, batch=5)))


@pytest.mark.whole
def test_every_trajectory_has_its_own_start_and_its_own_steps(rolled):
    """In games between agents, both players have the same."""
    lanes = 4 * 3 * 5 + 2 * 2 * 5
    starts = rolled.observations[..., 0].reshape(4, 5, 5, EPISODES, 12)
    assert (starts == starts[..., :1]).all()
    assert len(np.unique(starts)) == lanes * EPISODES
    assert len(np.unique(rolled.rewards)) > lanes * EPISODES * 12 - 10  # few of these 24-bit numbers are equal by chance


def test_players_draw_their_actions_for_themselves(rolled):
    """No two of all players do the same in 36 steps."""
    np.testing.assert_array_equal(rolled.own["done"], rolled.actions)
    beside = rolled.other["done"][:, :3]
    every = np.concatenate([rolled.actions.reshape(-1, 36), beside.reshape(-1, 36)])
    assert len(np.unique(every, axis=0)) == len(every) == 4 * 5 * 5 + 4 * 3 * 5
    np.testing.assert_allclose(every.mean(), 0.5, atol=0.05)


@pytest.mark.parametrize(("agents", "choice", "message"), [(3, (1.0,), "3 agents cannot be paired"), (2, (1.0, 0.0), "among 2 estimators, but there are 1")])
def test_a_pool_whose_parts_do_not_fit_is_rejected(agents, choice, message):
    with pytest.raises(ValueError, match=message):
        EnvironmentPool(certain, (batch_unaware,), np.array([choice] * agents, np.float32), sgd, {}, Settings(), 1, 1, env=IteratedGame(), learner=STILL)
