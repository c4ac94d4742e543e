"""The hindsight network against its formula in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.nn.hindsight import HindsightNetwork

FEATURES, OUTCOME, ACTIONS, WIDTH = 3, 2, 4, 5


def network():
    made = HindsightNetwork.create(FEATURES, OUTCOME, ACTIONS, width=WIDTH, key=jax.random.key(0))
    biases = jax.random.normal(jax.random.key(1), (WIDTH + 2 * ACTIONS + 4 * ACTIONS**2,))
    parts = jnp.split(biases, np.cumsum([WIDTH, 2 * ACTIONS]))
    return eqx.tree_at(lambda n: (n.hidden.bias, n.shift.bias, n.gates.bias), made, tuple(parts))


def by_hand(network, s, u, policy):
    """One row, in float64."""

    def affine(linear, x):
        return np.asarray(linear.weight, np.float64) @ x + np.asarray(linear.bias, np.float64)

    def relug(y):
        half = len(y) // 2
        return np.maximum(y[:half], 0) - np.maximum(y[half:], 0)

    z = np.maximum(affine(network.hidden, np.concatenate([s, u])), 0)
    gates = relug(affine(network.gates, z)).reshape(ACTIONS, 2 * ACTIONS)
    return relug(affine(network.shift, z)) + gates @ np.concatenate([np.log(policy), np.log(1 - policy)])


def test_it_is_its_formula_on_rows():
    draw = np.random.default_rng(0)
    s, u, policy = draw.standard_normal((2, 6, FEATURES)), draw.standard_normal((2, 6, OUTCOME)), draw.dirichlet(np.ones(ACTIONS), (2, 6))
    found = network()(*(jnp.asarray(x, jnp.float32) for x in (s, u, np.log(policy))))
    wanted = [[by_hand(network(), s[i, j], u[i, j], policy[i, j]) for j in range(6)] for i in range(2)]
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-5)


def test_without_shift_and_gates_an_outcome_tells_nothing():
    silent = eqx.tree_at(lambda n: (n.shift, n.gates), network(), replace_fn=lambda linear: jax.tree.map(jnp.zeros_like, linear))
    rows = jnp.ones((7, FEATURES)), jnp.ones((7, OUTCOME)), jnp.log(jnp.full((7, ACTIONS), 0.25))
    assert not silent(*rows).any()
    assert network()(*rows).all()


def test_a_certain_policy_gives_finite_outputs_and_derivatives():
    def total(log_policy):
        return network()(jnp.ones(FEATURES), jnp.ones(OUTCOME), log_policy).sum()

    certain = jnp.array([0.0, -87.0, -87.0, -87.0])
    assert jnp.isfinite(total(certain))
    assert jnp.isfinite(jax.grad(total)(certain)).all()


def test_dead_units_are_those_that_no_row_moves():
    rows = jnp.asarray(np.random.default_rng(0).standard_normal((50, FEATURES)), jnp.float32), jnp.ones((50, OUTCOME))
    made = eqx.tree_at(lambda n: (n.hidden.bias, n.shift.bias, n.gates.bias), network(), replace_fn=lambda bias: bias + 99.0)
    made = eqx.tree_at(lambda n: (n.shift.weight, n.gates.weight), made, replace_fn=jnp.zeros_like)
    assert not any(share > 0 for share in made.dead(*rows))
    below = eqx.tree_at(lambda n: (n.hidden.bias, n.shift.bias), made, (made.hidden.bias.at[:2].set(-99.0), jnp.full(2 * ACTIONS, -99.0)))
    hidden, outputs = below.dead(*rows)
    np.testing.assert_allclose([hidden, outputs], [2 / WIDTH, 2 * ACTIONS / (2 * ACTIONS + 4 * ACTIONS**2)], rtol=1e-6)


def test_a_silent_network_learns_only_with_a_leak():
    rows = jnp.ones((7, FEATURES)), jnp.ones((7, OUTCOME)), jnp.log(jnp.full((7, ACTIONS), 0.25))

    def slope(leak):
        made = HindsightNetwork.create(FEATURES, OUTCOME, ACTIONS, width=WIDTH, leak=leak, key=jax.random.key(0))
        silent = eqx.tree_at(lambda n: (n.shift.bias, n.gates.bias), made, replace_fn=lambda bias: bias - 99.0)
        return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(eqx.filter_grad(lambda n: n(*rows)[..., 0].sum())(silent)))

    assert slope(0.0) == 0
    assert slope(0.01) > 0
