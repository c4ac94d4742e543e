"""Cycles against counting, and their loss against an enumeration of all colourings."""

from itertools import product
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.tasks.cycle_colouring import CycleColouring, adjacency, clashes, colouring_loss, is_proper
from mesocosm.tasks.task import batch


def is_one_cycle(edges):
    reached = np.linalg.matrix_power(np.eye(len(edges), dtype=int) + edges, len(edges)) > 0
    return (edges == edges.T).all() and not edges.diagonal().any() and (edges.sum(axis=1) == 2).all() and reached.all()


@pytest.mark.parametrize("vertices", [3, 5, 7])
def test_all_cycles_are_enumerated_once(vertices):
    cycles = np.asarray(CycleColouring(vertices).enumerate())
    assert len(np.unique(cycles.reshape(len(cycles), -1), axis=0)) == len(cycles) == factorial(vertices - 1) // 2
    assert all(is_one_cycle(edges) for edges in cycles)


@pytest.mark.whole
def test_samples_are_cycles_and_uniform():
    task = CycleColouring(5)
    cycles = np.asarray(batch(task, jax.random.key(0), 2400)).reshape(2400, -1)
    kinds, counts = np.unique(cycles, axis=0, return_counts=True)
    assert all(is_one_cycle(kind.reshape(5, 5)) for kind in kinds)
    assert len(kinds) == 12
    assert counts.min() > 200 - 5 * np.sqrt(200)
    for refused in (lambda: CycleColouring(2), lambda: CycleColouring(11).enumerate(), lambda: task.sample(jax.random.key(0), "ood")):
        with pytest.raises(ValueError, match=r"cycle|ood"):
            refused()


@pytest.fixture(scope="module")
def edges():
    return adjacency(jnp.array([0, 3, 1, 4, 2]))


@pytest.mark.whole
def test_the_loss_bounds_the_probability_of_a_clash_and_is_the_expected_number(edges):
    logits = jax.random.normal(jax.random.key(1), (5, 3))
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    expected, some, proper = 0.0, 0.0, 0
    for colours in product(range(3), repeat=5):
        weight = np.prod(p[np.arange(5), colours])
        bad = sum(colours[u] == colours[v] for u in range(5) for v in range(u) if edges[u, v])
        expected, some, proper = expected + weight * bad, some + weight * (bad > 0), proper + (bad == 0)
        assert bool(is_proper(jnp.array(colours), edges)) == (bad == 0)
    assert proper == 2**5 - 2
    assert float(clashes(jnp.asarray(p, jnp.float32), edges)) == pytest.approx(expected, rel=1e-5)
    assert some <= expected
    assert float(colouring_loss(logits, edges)) == pytest.approx(expected / 15, rel=1e-5)


def test_one_certain_clash_costs_a_third_of_a_vertex_and_ignorance_a_ninth(edges):
    colours = jnp.array([0, 0, 2, 1, 1])  # along 0 3 1 4 2: 0 1 0 1 2
    sure = 100.0 * jax.nn.one_hot(colours, 3)
    assert float(colouring_loss(sure, edges)) == pytest.approx(0, abs=1e-6)
    clash = 100.0 * jax.nn.one_hot(colours.at[2].set(0), 3)
    assert float(colouring_loss(clash, edges)) == pytest.approx(1 / 15, rel=1e-5)
    assert float(colouring_loss(jnp.zeros((5, 3)), edges)) == pytest.approx(1 / 9, rel=1e-5)
    order = jnp.array([4, 2, 0, 1, 3])
    logits = jax.random.normal(jax.random.key(2), (5, 3))
    assert float(colouring_loss(logits[order], edges[order][:, order])) == pytest.approx(float(colouring_loss(logits, edges)), rel=1e-5)
