"""Pools with PPO: one epoch with one minibatch is the pool's own step, replays are what was played, minibatches are whole games, and steps are clipped."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.learning.actor_critic_pool import Decided
from mesocosm.learning.agent_pool import AgentPool, Settings
from mesocosm.learning.opponent_shaping import coala_pg, m_fos
from mesocosm.learning.optimizers import sgd
from mesocosm.learning.proximal_pool import ProximalPool, clipped
from mesocosm.learning.proximal_steps import split_games
from mesocosm.nn.actor_critic import GatedAgent

CHOICE = np.eye(2, dtype=np.float32)
SIZES = {"naive": 4, "peers": 2, "batch": 3, "episodes": 2, "length": 3}
SETTINGS = Settings(p_naive=0.3, rate=4.0, reward_scale=1.0, entropy=0.01)


def build(key):
    """An agent whose heads are not zero."""
    agent = GatedAgent.create(5, width=3, hidden=4, key=key)
    return eqx.tree_at(lambda agent: (agent.readout, agent.direct), agent, tuple(jax.random.normal(key, (2, n)) for n in (4, 5)))


def pool(kind, rate=0.1, **options):
    return kind(build, (coala_pg, m_fos), CHOICE, sgd, {"learning_rate": rate}, SETTINGS, **SIZES, **options)


def update(learner, key):
    return jax.jit(lambda state: learner.update(state, key)[0])(learner.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def played():
    learner = pool(ProximalPool)
    agents = learner.init(jax.random.key(0)).agents
    return learner, agents, jax.jit(lambda agents: learner.play(agents, jax.random.key(1)))(agents)


@pytest.mark.whole
def test_one_epoch_with_one_minibatch_is_the_step_of_the_plain_pool():
    key = jax.random.key(1)
    found, wanted = update(pool(ProximalPool, epochs=1, minibatches=1), key), update(pool(AgentPool), jax.random.split(key)[0])
    before = pool(AgentPool).init(jax.random.key(0))
    for one, other, first in zip(*(jax.tree.leaves(state.agents) for state in (found, wanted, before)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        assert np.abs(np.asarray(one) - first).max() > 1e-5


@pytest.mark.whole
def test_a_replay_decides_and_values_as_what_was_played(played):
    learner, agents, found = played
    again = jax.jit(lambda agents: learner.replay(agents, found))(agents)
    for part in ("values", "log_probabilities", "entropies", "rewards"):
        np.testing.assert_allclose(getattr(again, part), getattr(found, part), rtol=1e-4, atol=1e-5)


def test_minibatches_are_whole_games_of_both_kinds():
    parts = np.asarray(split_games(jax.random.key(0), 4, 2, 2))
    assert parts.shape == (2, 3)
    assert sorted(parts.ravel()) == list(range(6))
    assert (parts[:, :2] < 4).all()
    assert (parts[:, 2] >= 4).all()


@pytest.mark.whole
def test_beyond_the_clip_an_action_is_no_longer_pushed(played):
    """With old probabilities far below the new ones, only actions of negative weight have a gradient."""
    learner, agents, found = played
    weights = jnp.where(jax.random.bernoulli(jax.random.key(2), 0.5, found.rewards.shape), 1.0, -1.0)
    old = Decided(found.log_probabilities - 1.0, found.values, found.entropies, found.rewards)

    def gradient(weights):
        plain = eqx.tree_at(lambda pool: pool.settings, learner, SETTINGS._replace(value_weight=0.0, entropy=0.0))
        return np.asarray(
            jax.jit(jax.grad(lambda direct: clipped(plain, eqx.tree_at(lambda a: a.direct, agents, direct), found, old, weights, found.values)))(agents.direct)
        )

    assert not gradient(jnp.abs(weights)).any()
    np.testing.assert_allclose(gradient(weights), gradient(jnp.minimum(weights, 0.0)), rtol=1e-5)
    assert np.abs(gradient(weights)).max() > 1e-4


@pytest.mark.slow
def test_small_steps_on_the_halves_add_up_to_twice_the_step_on_all_games():
    """Weights are centred over the agent's games, so this is false of weights that were computed within a minibatch."""
    with jax.enable_x64():
        key, first = jax.random.key(1), pool(ProximalPool).init(jax.random.key(0))
        learners = [pool(ProximalPool, 1e-6, epochs=1, minibatches=n) for n in (1, 2)]
        steps = [jax.jit(lambda state, learner=learner: learner.update(state, key)[0])(first) for learner in learners]
        whole, halves = (jax.tree.map(lambda after, before: np.asarray(after - before), state.agents, first.agents) for state in steps)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(halves), strict=True):
        np.testing.assert_allclose(other, 2 * one, rtol=1e-3, atol=1e-10)
        assert np.abs(one).max() > 1e-8


@pytest.mark.slow
def test_later_epochs_move_on(played):
    key = jax.random.key(1)
    once, again = (np.asarray(update(pool(ProximalPool, epochs=n, minibatches=2), key).agents.readout) for n in (1, 2))
    assert np.abs(once - again).max() > 1e-5


def test_minibatches_must_divide_the_games():
    with pytest.raises(ValueError, match="3 minibatches must divide the 4 games against naive learners and the 2"):
        pool(ProximalPool, minibatches=3)
