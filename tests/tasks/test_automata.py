"""Strings of automata, walked by a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.tasks.automata import AutomatonStrings, valid_rate
from mesocosm.tasks.task import batch

TASK = AutomatonStrings(states=6, symbols=5, edges=3, longest=7, length=60)


@pytest.mark.whole
def test_every_string_is_a_walk_of_one_automaton_from_its_first_state():
    keys = jax.random.split(jax.random.key(0), 20)
    examples, automata = jax.jit(lambda k: (jax.vmap(TASK.sample)(k), jax.vmap(lambda key: TASK.automaton(jax.random.split(key)[0]))(k)))(keys)
    examples, automata = jax.tree.map(np.asarray, (examples, automata))
    for i in range(20):
        state, length = 0, 0
        for now, token, weight, allowed in zip(examples.inputs[i], examples.targets[i], examples.weights[i], examples.allowed[i], strict=True):
            state, length = (0, 0) if now == 5 else (automata.successor[i][state, now], length + 1)
            if token == 5:
                assert (weight, allowed.any()) == (0, False)
                assert 1 <= length <= 7
            else:
                assert weight == 1
                assert list(np.flatnonzero(allowed)) == list(np.flatnonzero(automata.allowed[i][state]))
                assert automata.allowed[i][state, token]
        assert (automata.allowed[i].sum(1) >= 1).all()
        assert (automata.allowed[i].sum(1) <= 3).all()


@pytest.mark.whole
def test_a_string_begins_the_sequence_and_targets_are_the_next_tokens():
    examples = jax.jit(batch, static_argnums=(2, 3))(TASK, jax.random.key(1), 50, "iid")
    assert (np.asarray(examples.inputs)[:, 0] == 5).all()
    np.testing.assert_array_equal(np.asarray(examples.inputs)[:, 1:], np.asarray(examples.targets)[:, :-1])


@pytest.mark.whole
def test_numbers_of_states_symbols_and_lengths_reach_both_ends_and_symbols_are_alike():
    """Of 400 automata with 6 states at most: which states are visited, how many symbols follow, how long strings are, and how often the first of two comes."""
    keys = jax.random.split(jax.random.key(3), 400)
    examples, automata = jax.jit(lambda k: (jax.vmap(TASK.sample)(k), jax.vmap(lambda key: TASK.automaton(jax.random.split(key)[0]))(k)))(keys)
    examples, automata = jax.tree.map(np.asarray, (examples, automata))
    largest = automata.successor.max(axis=(1, 2)) + 1
    assert set(largest) == {4, 5, 6}
    np.testing.assert_allclose(np.bincount(automata.allowed.sum(-1).ravel())[1:] / 2400, 1 / 3, atol=0.05)
    ends = [np.flatnonzero(tokens == 5) for tokens in examples.inputs]
    np.testing.assert_allclose(np.bincount(np.concatenate([np.diff(each) for each in ends]) - 1)[1:], sum(len(each) - 1 for each in ends) / 7, rtol=0.2)
    two = (examples.allowed.sum(-1) == 2) & (examples.weights == 1)
    first = examples.allowed.argmax(-1) == examples.targets
    assert abs(first[two].mean() - 0.5) < 0.03


@pytest.mark.whole
def test_the_rate_counts_symbols_that_may_come():
    example = TASK.sample(jax.random.key(2))
    logits = jnp.concatenate([jnp.where(example.allowed[:, :-1], 1.0, 0.0), jnp.full((60, 1), 9.0)], axis=1)
    assert valid_rate(logits, example) == 1.0
    assert valid_rate(-logits, example) < 0.2


def test_sizes_that_cannot_be_are_rejected():
    with pytest.raises(ValueError, match="states = 3"):
        AutomatonStrings(states=3)
