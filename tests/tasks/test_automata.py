"""Strings of automata, walked by a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.tasks.automata import AutomatonStrings, valid_rate
from mesocosm.tasks.task import batch

TASK = AutomatonStrings(states=6, symbols=5, edges=3, longest=7, length=60)


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


def test_a_string_begins_the_sequence_and_targets_are_the_next_tokens():
    examples = jax.jit(batch, static_argnums=(2, 3))(TASK, jax.random.key(1), 50, "iid")
    assert (np.asarray(examples.inputs)[:, 0] == 5).all()
    np.testing.assert_array_equal(np.asarray(examples.inputs)[:, 1:], np.asarray(examples.targets)[:, :-1])


def test_the_rate_counts_symbols_that_may_come():
    example = TASK.sample(jax.random.key(2))
    logits = jnp.concatenate([jnp.where(example.allowed[:, :-1], 1.0, 0.0), jnp.full((60, 1), 9.0)], axis=1)
    assert valid_rate(logits, example) == 1.0
    assert valid_rate(-logits, example) < 0.2


def test_sizes_that_cannot_be_are_rejected():
    with pytest.raises(ValueError, match="states = 3"):
        AutomatonStrings(states=3)
