"""PGPE under `fit`: one generation against its formula, invariance under monotone losses, ties, shared seeds, and convergence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import rankdata

from mesocosm.learning import fit
from mesocosm.learning.evolution import Evolution, Strategy, pgpe

pytest.importorskip("evosax")


class Point(eqx.Module):
    at: jax.Array
    label: int = eqx.field(static=True, default=3)


TARGET = jnp.linspace(-0.3, 0.3, 10)


def build(key):
    return Point(TARGET + jnp.ones(10) / jnp.sqrt(10))


def distance(model, key):
    return jnp.sum((model.at - TARGET) ** 2)


def warped(model, key):
    return jnp.exp(3 * distance(model, key)) - 2


def noisy(model, key):
    return distance(model, key) + 100 * jax.random.normal(key, ())


def away(model, key):
    return -distance(model, key)


def coarse(model, key):
    return jnp.floor(2 * distance(model, key))


def plain(population, solution, *, learning_rate, std):
    """PGPE with a plain gradient step on the mean, so that a generation has a closed form."""
    import optax
    from evosax.algorithms import PGPE

    algorithm = PGPE(population, solution, optimizer=optax.sgd(learning_rate))
    return Strategy(algorithm, algorithm.default_params.replace(std_init=std, std_lr=0.1))


def learner(loss, strategy=pgpe, population=50, **hyperparameters):
    return Evolution(build, loss, strategy, hyperparameters or {"learning_rate": 0.02, "std": 0.1, "std_learning_rate": 0.05}, population)


@pytest.mark.parametrize("loss", [distance, coarse])
def test_a_generation_is_the_formula(loss):
    evolution = learner(loss, plain, 8, learning_rate=0.5, std=0.2)
    state = evolution.init(jax.random.key(0))
    key = jax.random.key(1)
    algorithm, params = plain(8, eqx.filter(build(None), eqx.is_inexact_array), learning_rate=0.5, std=0.2)
    members = np.asarray(algorithm.ask(jax.random.split(key, 3)[0], state.strategy, params)[0].at)
    after, metrics = evolution.update(state, key)

    losses = np.array([loss(Point(jnp.asarray(member)), key) for member in members])
    mean, sigma = np.asarray(state.strategy.mean), 0.2
    noise, ranks = members[:4] - mean, (rankdata(losses) - 1) / 7 - 0.5
    plus, minus = ranks[:4], ranks[4:]
    np.testing.assert_allclose(members[4:] - mean, -noise, atol=1e-6)
    g_mean = np.mean((plus - minus)[:, None] / 2 * noise, axis=0)
    g_sigma = np.mean(((plus + minus) / 2 - ranks.mean())[:, None] * (noise**2 - sigma**2) / sigma, axis=0)
    np.testing.assert_allclose(after.strategy.mean, mean - 0.5 * g_mean, atol=1e-6)
    np.testing.assert_allclose(after.strategy.std, np.clip(sigma - 0.1 * g_sigma, 0.8 * sigma, 1.2 * sigma), atol=1e-6)
    np.testing.assert_allclose([metrics["loss"], metrics["best_loss"]], [losses.mean(), losses.min()], rtol=1e-5)


def test_a_model_may_have_leaves_that_are_no_arrays():
    """As `eqx.nn.MLP` has its activation."""
    evolution = Evolution(lambda key: (build(key), jnp.tanh), distance, pgpe, {}, 4)
    point, function = evolution.model(evolution.init(jax.random.key(0)))
    np.testing.assert_array_equal(point.at, build(None).at)
    assert function is jnp.tanh


@pytest.mark.whole
def test_only_the_order_of_losses_matters_and_all_members_see_one_seed():
    state = learner(distance).init(jax.random.key(0))
    first = learner(distance).update(state, jax.random.key(1))[0].strategy
    for loss in (warped, noisy):
        other = learner(loss).update(state, jax.random.key(1))[0].strategy
        np.testing.assert_array_equal(first.mean, other.mean)
        np.testing.assert_array_equal(first.std, other.std)


@pytest.mark.whole
def test_it_finds_a_minimum_and_narrows_there_but_widens_at_a_maximum():
    fitted = fit(learner(distance), 600, (0, 1))
    assert np.abs(fitted.model.at - TARGET).max() < 0.1
    assert fitted.model.label == 3
    assert (fitted.history["best_loss"][:, -1] < 1e-3).all()
    assert np.asarray(fitted.state.strategy.std).max() < 0.1
    at_maximum = fit(learner(away, learning_rate=1e-9, std=0.1, std_learning_rate=0.05), 100, (0,))
    assert np.asarray(at_maximum.state.strategy.std).mean() > 0.1


@pytest.mark.whole
def test_seeds_in_one_program_are_the_seeds_alone():
    together, alone = fit(learner(distance), 20, (3, 4)), fit(learner(distance), 20, (4,))
    np.testing.assert_allclose(together.model.at[1], alone.model.at[0], rtol=1e-5)
