"""Pools whose agents are told an opponent's policy: what they see, and that telling nothing is the plain pool."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.learning.agent_pool import Settings
from mesocosm.learning.informed_pool import InformedPool
from mesocosm.learning.opponent_shaping import batch_unaware
from mesocosm.learning.optimizers import sgd
from mesocosm.nn import GRU
from mesocosm.nn.actor_critic import MixerAgent


def build(key):
    agent = MixerAgent.create(10, mixer=GRU.create, dim=3, key=key)
    return eqx.tree_at(lambda agent: agent.heads, agent, jax.random.normal(key, (2, 3)))


def logits(key):
    return jax.random.normal(key, (5,))


def pool(told):
    choice = np.ones((2, 1), np.float32)
    return InformedPool(build, (batch_unaware,), choice, sgd, {"learning_rate": 0.1}, Settings(rate=0.0), 3, 1, 2, 1, 4, first=logits, told=told)


def test_an_opponents_probabilities_are_seen_and_those_of_agents_are_not():
    learners, memory = jax.random.normal(jax.random.key(0), (2, 3, 5)), jnp.arange(16).reshape(2, 4, 2) % 5
    seen = pool(0.5).seen(memory, learners)
    np.testing.assert_array_equal(seen[..., :5], jax.nn.one_hot(memory, 5))
    np.testing.assert_allclose(seen[:, :3, 1, 5:], 0.5 * (2 * jax.nn.sigmoid(learners) - 1), rtol=1e-5, atol=1e-6)
    assert not seen[:, 3, :, 5:].any()


def test_telling_changes_what_is_decided_against_policies_only():
    agents = pool(1.0).init(jax.random.key(0)).agents
    told, untold = (jax.jit(lambda agents, k=k: pool(k).play(agents, jax.random.key(1)))(agents) for k in (1.0, 0.0))
    first = np.abs(np.asarray(told.log_probabilities - untold.log_probabilities))[..., 0]
    assert first[:, :3].max() > 1e-3
    np.testing.assert_allclose(first[:, 3], 0, atol=1e-6)
