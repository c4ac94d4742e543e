"""Gradients through a co-player's learning: against Jacobians, finite differences, and every play of a short game."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.memory_one import SWAPPED, episode_values, values
from mesocosm.envs.matrix_game import MATCHING_PENNIES, PRISONERS_DILEMMA
from mesocosm.learning.lola import dice_return, lola, lola_dice, shaping_return

LENGTH = 2


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64():
        yield


def exact(own, other, key=None):
    return values(PRISONERS_DILEMMA, jax.nn.sigmoid(own), jax.nn.sigmoid(other), 0.9)


def of_episodes(own, other, key=None):
    return episode_values(PRISONERS_DILEMMA, jax.nn.sigmoid(own), jax.nn.sigmoid(other), LENGTH)


@pytest.fixture
def players():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 5)))


@pytest.mark.whole
def test_without_a_step_the_gradient_is_partial(players):
    @jax.jit
    def gradients(own, other):
        found = [jax.grad(lambda own, of=of: of(exact, own, other, 3.0, 0))(own) for of in (lola_dice, shaping_return)]
        return jnp.stack([jax.grad(lambda own: exact(own, other)[0])(own), lola(exact, own, other, 0.0), *found])

    partial, *others = gradients(*players)
    for found in others:
        np.testing.assert_allclose(found, partial, rtol=1e-12)


@pytest.mark.whole
def test_lola_is_its_formula(players):
    own, other = players
    own_gradient, toward = jax.grad(lambda a, b: exact(a, b)[0], (0, 1))(own, other)
    mixed = jax.jacobian(jax.grad(lambda a, b: exact(a, b)[1], 1), 0)(own, other)  # (other, own)
    np.testing.assert_allclose(lola(exact, own, other, 0.7), own_gradient + 0.7 * toward @ mixed, rtol=1e-10)


@pytest.mark.whole
def test_one_step_is_the_total_derivative_and_begins_with_both_terms_of_its_taylor_series(players):
    own, other = players
    objective = jax.jit(lambda own, rate: lola_dice(exact, own, other, rate, 1))
    steps = 1e-6 * np.eye(5)
    found = [(objective(own + step, 5.0) - objective(own - step, 5.0)) / 2e-6 for step in steps]
    np.testing.assert_allclose(jax.grad(objective)(own, 5.0), found, rtol=1e-5, atol=1e-9)
    slope = jax.jacobian(jax.grad(objective), 1)(own, 0.0)
    other_ascends = jax.grad(lambda b: exact(own, b)[1])(other)
    through_own = jax.jvp(lambda b: jax.grad(lambda a: exact(a, b)[0])(own), (other,), (other_ascends,))[1]
    np.testing.assert_allclose(slope, through_own + (lola(exact, own, other, 1.0) - lola(exact, own, other, 0.0)), rtol=1e-9)


def on_the_way(value, own, other):
    """The returns before and after each of two steps of the other, of size 2."""
    q, returns = other, []
    for _ in range(2):
        returns.append(value(own, q)[0])
        q = q + 2.0 * jax.grad(lambda q: value(own, q)[1])(q)
    return jnp.stack([*returns, value(own, q)[0]])


@pytest.mark.slow
def test_several_steps_are_those_of_a_loop_and_shaping_averages_the_returns_on_the_way(players):
    @jax.jit
    def both(own, other):
        found = [jax.value_and_grad(lambda own, of=of: of(exact, own, other, 2.0, 2))(own) for of in (lola_dice, shaping_return)]
        return on_the_way(exact, own, other), jax.jacobian(lambda own: on_the_way(exact, own, other))(own), found

    returns, wanted, ((last, dice), (mean, shaping)) = both(*players)
    np.testing.assert_allclose([last, mean], [returns[-1], returns.mean()], rtol=1e-12)
    np.testing.assert_allclose(dice, wanted[-1], rtol=1e-10)
    np.testing.assert_allclose(shaping, wanted.mean(axis=0), rtol=1e-10)


@pytest.mark.whole
def test_the_other_is_a_constant_and_may_be_a_tree(players):
    own, other = players
    np.testing.assert_array_equal(jax.grad(lambda other: lola_dice(exact, own, other, 2.0, 2))(other), 0)

    def of_trees(own, other, key):
        return exact(own["a"], jnp.concatenate(other))

    tree = (other[:2], other[2:])
    np.testing.assert_allclose(lola(of_trees, {"a": own}, tree, 0.5)["a"], lola(exact, own, other, 0.5), rtol=1e-12)
    assert float(lola_dice(of_trees, {"a": own}, tree, 0.5, 2)) == pytest.approx(float(lola_dice(exact, own, other, 0.5, 2)), rel=1e-12)


# --- DiCE ---------------------------------------------------------------------------------------------------------------


def play(own, other, actions):
    """Log probabilities of the joint actions (plays, time, 2), and the rewards of both."""
    memory = jnp.concatenate([jnp.zeros_like(actions[:, :1, 0]), 1 + 2 * actions[:, :-1, 0] + actions[:, :-1, 1]], axis=1)
    logits = jnp.stack([own[memory], other[jnp.asarray(SWAPPED)[memory]]], axis=-1)
    log_probabilities = jax.nn.log_sigmoid(jnp.where(actions == 0, logits, -logits)).sum(axis=-1)
    return log_probabilities, jnp.asarray(PRISONERS_DILEMMA.payoffs)[:, actions[..., 0], actions[..., 1]]


EVERY = (np.arange(4**LENGTH)[:, None] >> np.arange(2 * LENGTH) & 1).reshape(-1, LENGTH, 2)


def enumerated(baseline):
    def value(own, other, key=None):
        log_probabilities, rewards = play(own, other, jnp.asarray(EVERY))
        weights = jax.lax.stop_gradient(jnp.exp(log_probabilities.sum(axis=1)))
        past = jnp.concatenate([jnp.zeros_like(rewards[0][:, :1]), rewards[0][:, :-1]], axis=1)
        seen = jnp.sin(1 + past) if baseline else None
        return jnp.stack([dice_return(log_probabilities, one, 1.0, seen, weights) for one in rewards])

    return value


@pytest.mark.whole
@pytest.mark.parametrize("baseline", [False, True])
def test_dice_over_every_play_has_the_derivatives_of_the_exact_return_through_the_update(players, baseline):
    def derivatives(value, shaped):
        of_steps = [jax.grad(lambda own, steps=steps: lola_dice(value, own, players[1], 3.0, steps)) for steps in (0, 2)]
        first_order = lambda own: lola(value, own, players[1], 2.0)  # noqa: E731
        hessian = jax.hessian(lambda own: value(own, players[1], None)[0])
        return jax.jit(lambda own: [of(own) for of in (*of_steps, jax.grad(shaped), first_order, hessian)])(players[0])

    dice = enumerated(baseline)
    sampled = derivatives(dice, lambda own: shaping_return(dice, own, players[1], 2.0, 2))
    exactly = derivatives(of_episodes, lambda own: jnp.mean(on_the_way(of_episodes, own, players[1])))
    for found, wanted in zip(sampled, exactly, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
        assert np.abs(wanted).max() > 1e-2


@pytest.mark.slow
def test_sampled_lola_dice_estimates_the_exact_gradient(players):
    """With one step and large batches; the mean over keys is within its error of the exact derivative, and the one without look-ahead is not."""
    own, other = players
    batch, rate = 256, 1.0

    def sampled(own, other, key):
        def act(carry, key):
            memory = carry
            logits = jnp.stack([own[memory], other[jnp.asarray(SWAPPED)[memory]]], axis=-1)
            actions = (jax.random.uniform(key, (batch, 2)) >= jax.nn.sigmoid(logits)).astype(jnp.int32)
            return 1 + 2 * actions[:, 0] + actions[:, 1], actions

        actions = jax.lax.scan(act, jnp.zeros(batch, jnp.int32), jax.random.split(key, LENGTH))[1].swapaxes(0, 1)
        log_probabilities, rewards = play(own, other, actions)
        return jnp.stack([dice_return(log_probabilities, one) for one in rewards])

    gradient = jax.jit(jax.vmap(jax.grad(lambda own, key: lola_dice(sampled, own, other, rate, 1, key)), (None, 0)))
    found = gradient(own, jax.random.split(jax.random.key(0), 3000))
    wanted = jax.grad(lambda own: lola_dice(of_episodes, own, other, rate, 1))(own)
    error = found.std(axis=0) / len(found) ** 0.5
    assert (np.abs(found.mean(axis=0) - wanted) <= 4 * error + 2 / batch).all()
    partial = jax.grad(lambda own: of_episodes(own, other)[0])(own)
    assert (np.abs(found.mean(axis=0) - partial) > 4 * error + 2 / batch).any()


def test_discounts_count_steps():
    log_probabilities, rewards = jnp.zeros((1, 3)), jnp.array([[1.0, 2.0, 4.0]])
    assert float(dice_return(log_probabilities, rewards, 0.5)) == 3.0


@pytest.mark.whole
def test_in_matching_pennies_shaping_gains_nothing_at_the_equilibrium():
    half = jnp.zeros(5)
    value = lambda own, other, key: values(MATCHING_PENNIES, jax.nn.sigmoid(own), jax.nn.sigmoid(other), 0.9)  # noqa: E731
    np.testing.assert_allclose(jax.grad(lambda own: shaping_return(value, own, half, 2.0, 3))(half), 0, atol=1e-12)
