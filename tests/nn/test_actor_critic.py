"""Agents with policy and value heads: new ones are indifferent, and a gated one is its formula."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import GRU, HawkBlock
from mesocosm.nn.actor_critic import GatedAgent, MixerAgent, MixerChooser, TabularAgent, TabularChooser

KINDS = {
    "gated": partial(GatedAgent.create, 5),
    "tabular": partial(TabularAgent.create, 5),
    "hawk": partial(MixerAgent.create, 5, mixer=HawkBlock.create, dim=8),
    "gru": partial(MixerAgent.create, 5, mixer=GRU.create, dim=4),
}
SEEN = jax.nn.one_hot(jnp.array([0, 3, 1, 4, 4, 2]), 5)


def run(agent):
    return jax.jit(lambda seen: jax.lax.scan(lambda state, one: agent.step(state, one), agent.init_state(), seen)[1])(SEEN)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_agent_is_indifferent_and_its_heads_learn(kind):
    agent = KINDS[kind](key=jax.random.key(0))
    decided = run(agent)
    assert not decided.logit.any()
    assert not decided.value.any()
    moved = jax.tree.map(lambda leaf: leaf + 0.1 if isinstance(leaf, jax.Array) else leaf, agent)
    found = np.asarray(run(moved).logit)
    assert (found[3] == found[4]) == (kind == "tabular")  # the same observation: only an agent with memory tells them apart


def test_a_gated_agent_is_its_formula():
    agent = GatedAgent.create(5, width=3, hidden=4, key=jax.random.key(0))
    readout, direct = (np.asarray(jax.random.normal(jax.random.key(n), (2, n))) for n in (4, 5))
    agent = type(agent)(agent.inputs, agent.memory, agent.hidden, jnp.asarray(readout), jnp.asarray(direct), 2.0)
    inputs, memory, hidden = (np.asarray(part, np.float64) for part in (agent.inputs, agent.memory, agent.hidden))
    state, wanted = np.zeros(3), []
    for seen in np.asarray(SEEN, np.float64):
        u, i, r = inputs @ seen
        decay = np.exp(-2 * np.log1p(np.exp(memory)) / (1 + np.exp(-r)))
        state = decay * state + np.sqrt(1 - decay**2) / (1 + np.exp(-i)) * u
        first, second = hidden @ np.concatenate([state, seen])
        wanted.append(readout @ (np.asarray(jax.nn.gelu(first)) * second) + direct @ seen)
    found = run(agent)
    np.testing.assert_allclose(np.stack([found.logit, found.value], axis=1), wanted, rtol=1e-4, atol=1e-5)
    slowest = np.exp(-np.log1p(np.exp(memory)))
    assert 0.9 <= slowest.min() <= slowest.max() <= 0.999


CHOOSERS = {
    "tabular": partial(TabularChooser.create, 5, 3),
    "hawk": partial(MixerChooser.create, 5, 3, mixer=HawkBlock.create, dim=8),
    "gru": partial(MixerChooser.create, 5, 3, mixer=GRU.create, dim=4),
}


@pytest.mark.parametrize("kind", CHOOSERS)
def test_a_new_chooser_is_indifferent_and_its_whole_sequence_is_that_of_its_steps(kind):
    chooser = CHOOSERS[kind](key=jax.random.key(0))
    new = chooser(SEEN)
    assert new.logits.shape == (6, 3)
    assert not new.logits.any()
    assert not new.value.any()
    moved = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape) if isinstance(leaf, jax.Array) else leaf, chooser)
    stepwise = jax.jit(lambda seen: jax.lax.scan(lambda state, one: moved.step(state, one), moved.init_state(), seen)[1])(SEEN)
    whole = moved(SEEN)
    np.testing.assert_allclose(whole.logits, stepwise.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole.value, stepwise.value, rtol=1e-4, atol=1e-5)
    assert np.ptp(np.asarray(whole.logits), axis=0).min() > 1e-3
