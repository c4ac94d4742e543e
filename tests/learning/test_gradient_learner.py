"""The gradient learner against optax used by hand, and against closed forms."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array, Float

from mesocosm.learning import GradientLearner, Supervised, adam, adamw, compose, gradient_step, sgd, warmup_cosine
from mesocosm.learning.gradient_learner import start
from mesocosm.tasks.task import Task


class Line(NamedTuple):
    x: Float[Array, " dim"]
    y: Float[Array, ""]


class Lines(Task):
    slope: Float[Array, " dim"]
    noise: float = 0.1

    def sample(self, key, split="train"):
        x, noise = jnp.split(jax.random.normal(key, (self.slope.size + 1,)), [self.slope.size])
        return Line(x, x @ self.slope + self.noise * noise[0])


class Slope(eqx.Module):
    slope: Float[Array, " dim"]
    scale: float = 2.0
    name: str = eqx.field(static=True, default="slope")


def build(key):
    return Slope(0.1 * jax.random.normal(key, (3,)))


def loss(model, example, key):
    return (example.x @ model.slope - example.y) ** 2


TASK = Lines(jnp.array([1.0, -2.0, 0.5]))


def supervised(optimizer: Any = adam, kind=Supervised, **hyperparameters):
    return kind(build, TASK, loss, optimizer, hyperparameters or {"learning_rate": 0.05}, batch_size=16)


def test_supervised_training_is_optax_by_hand():
    learner, key = supervised(adamw, learning_rate=0.05, weight_decay=0.1, clip_norm=0.5), jax.random.key(4)
    state = learner.init(jax.random.key(0))
    by_hand = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.05, weight_decay=0.1))
    params = state.model.slope
    opt_state = by_hand.init(params)
    for step in range(3):
        step_key = jax.random.fold_in(key, step)
        data_key, _ = jax.random.split(step_key)
        examples = [TASK.sample(k) for k in jax.random.split(data_key, 16)]
        x, y = np.stack([e.x for e in examples]), np.stack([e.y for e in examples])
        residual = x @ np.asarray(params) - y
        gradient = jnp.asarray(2 * x.T @ residual / 16)
        state, metrics = learner.update(state, step_key)
        np.testing.assert_allclose(metrics["loss"], np.mean(residual**2), rtol=1e-5)
        np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(gradient), rtol=1e-5)
        updates, opt_state = by_hand.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(state.model.slope, params, rtol=1e-5)
    assert (state.model.scale, state.model.name) == (2.0, "slope")


class LargestLosses(Supervised):
    """The root mean q-th power over examples."""

    q: float = 8.0

    def objective(self, model, batch, key):
        losses = self.losses(model, batch, key)
        return jnp.mean(losses**self.q) ** (1 / self.q), {"largest": jnp.max(losses)}


def test_an_objective_sees_the_whole_batch_and_adds_metrics():
    learner = supervised(kind=LargestLosses)
    state = learner.init(jax.random.key(0))
    _, metrics = learner.update(state, jax.random.key(1))
    data_key, _ = jax.random.split(jax.random.key(1))
    losses = np.array([loss(state.model, TASK.sample(k), None) for k in jax.random.split(data_key, 16)])
    np.testing.assert_allclose(metrics["loss"], np.mean(losses**8) ** (1 / 8), rtol=1e-5)
    np.testing.assert_allclose(metrics["largest"], losses.max(), rtol=1e-6)
    assert set(metrics) == {"loss", "largest", "gradient_norm"}


class Pair(NamedTuple):
    trained: Float[Array, " n"]
    frozen: Float[Array, " n"]


class HalfFrozen(Supervised):
    def trained(self, model):
        return Pair(True, False)


def pair_loss(model, example, key):
    return (example.x @ (model.trained + model.frozen) - example.y) ** 2


def test_leaves_that_are_not_trained_do_not_move():
    learner = HalfFrozen(lambda key: Pair(jnp.zeros(3), jnp.ones(3)), TASK, pair_loss, adamw, {"learning_rate": 0.1, "weight_decay": 0.1}, 16)
    after, _ = learner.update(learner.init(jax.random.key(0)), jax.random.key(1))
    assert jnp.array_equal(after.model.frozen, jnp.ones(3))
    assert not jnp.array_equal(after.model.trained, jnp.zeros(3))


def descend(transform, steps):
    x = jnp.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]])
    y = x @ jnp.array([1.0, -1.0])
    state, losses = start(jnp.zeros(2), transform), []
    step = jax.jit(lambda state: gradient_step(lambda w: (jnp.mean((x @ w - y) ** 2), {}), state, transform))
    for _ in range(steps):
        state, metrics = step(state)
        losses.append(float(metrics["loss"]))
    return state, losses


def test_optimisers_that_read_the_loss_receive_it():
    _, losses = descend(optax.lbfgs(), 6)
    assert losses[-1] < 1e-6 * losses[0]  # a line search on the objective: gradient descent is nowhere near
    plateau = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1, factor=0.5, rtol=0.0, atol=10.0))
    state, _ = descend(plateau, 6)
    assert state.optimizer[1].scale < 0.2  # no fall of the loss is large enough, so the step shrinks


def test_optimisers_that_read_gradients_elsewhere_receive_them():
    """Sharpness-aware minimisation: the gradient at the parameters, moved by 0.1 along the normalised gradient; both of optax's forms."""
    sam, once = (optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), sync_period=2, opaque_mode=opaque) for opaque in (True, False))
    (state, _), (twice, _), (plain, _) = descend(sam, 3), descend(once, 6), descend(optax.sgd(0.1), 3)
    np.testing.assert_allclose(state.model, twice.model, rtol=1e-5)
    assert not np.allclose(state.model, plain.model, atol=1e-3)


@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_a_metric_cannot_hide_those_of_the_step(name):
    with pytest.raises(ValueError, match=f"a metric called '{name}'"):
        gradient_step(lambda w: (jnp.sum(w**2), {"mine": jnp.ones(()), name: jnp.zeros(())}), start(jnp.ones(2), optax.sgd(0.1)), optax.sgd(0.1))


@pytest.mark.parametrize(("warmup", "steps", "floor"), [(5, 20, 0.1), (1, 7, 0.0), (4, 9, 1.0)])
def test_the_schedule_is_optax_s(warmup, steps, floor):
    ours, theirs = warmup_cosine(0.3, warmup=warmup, steps=steps, floor=floor), optax.warmup_cosine_decay_schedule(0.0, 0.3, warmup, steps, floor * 0.3)
    for count in range(steps + 5):
        np.testing.assert_allclose(ours(jnp.asarray(count)), theirs(count), rtol=1e-5, atol=1e-8)


def test_a_schedule_s_parts_are_off_by_default():
    assert float(warmup_cosine(0.3)(jnp.asarray(0))) == float(warmup_cosine(0.3)(jnp.asarray(1000))) == pytest.approx(0.3)
    assert float(warmup_cosine(0.3, warmup=10)(jnp.asarray(5))) == pytest.approx(0.15)
    assert float(warmup_cosine(0.3, steps=10)(jnp.asarray(5))) == pytest.approx(0.15)


def one_update(transform, params, gradient):
    return transform.update(gradient, transform.init(params), params)[0]


def test_clipping_comes_first_norm_before_elements():
    gradient, params = {"w": jnp.array([30.0, 40.0, 1.0])}, {"w": jnp.zeros(3)}
    found = one_update(sgd(1.0, clip_norm=5.0, clip=3.5), params, gradient)
    scaled = np.array([30.0, 40.0, 1.0]) * 5 / np.linalg.norm([30.0, 40.0, 1.0])
    np.testing.assert_allclose(found["w"], -np.clip(scaled, -3.5, 3.5), rtol=1e-6)
    np.testing.assert_allclose(one_update(sgd(1.0), params, gradient)["w"], -gradient["w"])


def test_coupled_decay_is_preconditioned_and_decoupled_decay_is_not():
    params, gradient = {"attention": jnp.array([2.0]), "mlp": jnp.array([2.0])}, {"attention": jnp.array([1e-3]), "mlp": jnp.array([1e-3])}
    signs = optax.stateless(lambda updates, params: jax.tree.map(jnp.sign, updates))
    coupled = one_update(compose(signs, 0.1, l2={"attention": -1.0}), params, gradient)
    np.testing.assert_allclose([coupled["attention"][0], coupled["mlp"][0]], [0.1, -0.1], rtol=1e-6)
    decoupled = one_update(compose(signs, 0.1, weight_decay={"attention": 0.3}), params, gradient)
    np.testing.assert_allclose([decoupled["attention"][0], decoupled["mlp"][0]], [-0.1 * 1.6, -0.1], rtol=1e-6)
    np.testing.assert_allclose(one_update(compose(signs, 0.1, weight_decay=0.3), params, gradient)["mlp"], -0.16, rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_optax_s(nesterov):
    ours, theirs = sgd(0.1, momentum=0.9, nesterov=nesterov), optax.sgd(0.1, 0.9, nesterov)
    params = jnp.ones(2)
    states = [ours.init(params), theirs.init(params)]
    for gradient in (jnp.array([1.0, -2.0]), jnp.array([0.5, 1.0])):
        (found, states[0]), (wanted, states[1]) = ours.update(gradient, states[0], params), theirs.update(gradient, states[1], params)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_eps_root_gives_the_step_a_finite_gradient_at_zero():
    def moved(gradient, eps_root):
        return one_update(adamw(0.1, eps_root=eps_root), jnp.zeros(1), gradient).sum()

    assert not jnp.isfinite(jax.grad(moved)(jnp.zeros(1), 0.0)).all()
    assert jnp.isfinite(jax.grad(moved)(jnp.zeros(1), 1e-8)).all()


def test_the_base_class_needs_batch_and_objective():
    with pytest.raises(TypeError, match="abstract"):
        GradientLearner()


@pytest.mark.parametrize("traced", [False, True])
def test_a_schedule_without_a_warm_up_or_without_a_descent_is_finite(traced):
    """`warmup=0` is no warm-up, and where the warm-up lasts to the end the rate falls to the floor there; a sweep may trace either number."""

    def rates(warmup, steps):
        schedule = warmup_cosine(0.3, warmup=warmup, steps=steps, floor=0.1)
        return jnp.stack([schedule(jnp.asarray(count)) for count in range(7)])

    rates = jax.jit(rates) if traced else rates
    np.testing.assert_allclose(rates(0, 5), [warmup_cosine(0.3, steps=5, floor=0.1)(count) for count in range(7)], rtol=1e-6)
    np.testing.assert_allclose(rates(4, 4), [0.0, 0.075, 0.15, 0.225, 0.03, 0.03, 0.03], rtol=1e-6)
    found = one_update(adamw(0.1, warmup=0, steps=3), jnp.ones(2), jnp.ones(2))
    np.testing.assert_allclose(found, -0.1, rtol=1e-5)


def test_an_empty_mapping_of_decays_decays_nothing():
    np.testing.assert_allclose(one_update(sgd(0.1, weight_decay={}, l2={}), jnp.ones(2), jnp.ones(2)), -0.1, rtol=1e-6)


def test_coupled_decay_comes_before_the_preconditioner():
    signs = optax.stateless(lambda updates, params: jax.tree.map(jnp.sign, updates))
    np.testing.assert_allclose(one_update(compose(signs, 0.1, l2=0.3), jnp.array([2.0, -2.0]), jnp.array([1e-3, 1e-3])), [-0.1, 0.1], rtol=1e-6)


def test_every_example_s_loss_has_a_key_of_its_own_apart_from_the_data_s():
    learner, key = Supervised(build, TASK, lambda model, example, key: jax.random.uniform(key), adam, {"learning_rate": 0.05}, 16), jax.random.key(3)
    state = learner.init(jax.random.key(0))
    drawn = np.array([jax.random.uniform(k) for k in jax.random.split(jax.random.split(key)[1], 16)])
    assert len(set(drawn)) == 16
    np.testing.assert_allclose(learner.losses(state.model, learner.batch(state.model, key), jax.random.split(key)[1]), drawn)
    np.testing.assert_allclose(learner.update(state, key).metrics["loss"], drawn.mean(), rtol=1e-5)


def test_an_optimiser_passes_its_options_on():
    """The floor reaches the schedule, and each of Adam's numbers its place."""
    transform, params, gradient = sgd(1.0, steps=1, floor=0.25), jnp.zeros(1), jnp.ones(1)
    _, state = transform.update(gradient, transform.init(params), params)
    np.testing.assert_allclose(transform.update(gradient, state, params)[0], -0.25, rtol=1e-6)
    numbers = {"b1": 0.5, "b2": 0.7, "eps": 0.3, "eps_root": 0.2}
    ours, theirs = adamw(0.1, **numbers), optax.adam(0.1, **numbers)
    states = [ours.init(params), theirs.init(params)]
    for gradient in (jnp.ones(1), jnp.array([-0.5])):
        (found, states[0]), (wanted, states[1]) = ours.update(gradient, states[0], params), theirs.update(gradient, states[1], params)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


class Splits(Task):
    def sample(self, key, split="train"):
        return jnp.asarray({"train": 1.0, "iid": 2.0, "ood": 3.0}[split])


def test_supervised_training_draws_training_examples():
    learner = Supervised(build, Splits(), loss, adam, {"learning_rate": 0.05}, 3)
    np.testing.assert_array_equal(learner.batch(None, jax.random.key(0)), [1, 1, 1])
