"""Meta-gradients against finite differences, loops by hand and implicit differentiation; learned rates; what is fast and what is slow."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.learning import Bilevel, FewShot, InnerLoop, adamw, fit, sgd
from mesocosm.learning.bilevel import (
    MetaLearned,
    all_but_output_bias,
    codes,
    first_order,
    last_layer,
    one_rate,
    rate_per_array,
    rate_per_parameter,
    unrolled,
    whole,
)
from mesocosm.learning.chunked_bilevel import ChunkedBilevel
from mesocosm.nn import MLP, CodedNetwork, Hypernetwork, layer_groups
from mesocosm.tasks.task import Task

KEY = jax.random.key(0)


class Lines(Task):
    """Points of a line through zero with a random slope."""

    points: int = eqx.field(static=True, default=6)

    def sample(self, key, split="train"):
        slope, x = jax.random.normal(key, ()), jax.random.normal(jax.random.fold_in(key, 1), (2, self.points, 1))
        return FewShot((x[0], slope * x[0]), (x[1], slope * x[1]))


def squared(network, data, key):
    x, y = data
    return jnp.mean((jax.vmap(network)(x) - y) ** 2)


def plain(key):
    return MLP.create(1, 5, 4, 1, key=key)


def modular(key):
    hypernetwork = Hypernetwork.create(MLP.scaled(1, 5, 5, 1, key=key), 3, pieces=layer_groups, normalised=False, key=key)
    return CodedNetwork.create(hypernetwork, output_bias=1, key=key)


def learner(build=plain, fast=whole, inner=(sgd, {"learning_rate": 0.1}), steps=2, batch_size=3, points=6, **options):
    slow = options.pop("slow", whole)
    return Bilevel(build, Lines(points), squared, adamw, {"learning_rate": 1e-2}, batch_size, InnerLoop(fast, *inner, steps, **options), slow)


def gradient_and_value(learner):
    """The meta-gradient as a vector, and the objective as a function of the vector, for one batch."""
    model = learner.inner.start(learner.build(KEY))
    trained, fixed = eqx.partition(model, learner.trained(model))
    batch = learner.batch(model, jax.random.key(1))
    flat, restore = jax.flatten_util.ravel_pytree(trained)
    flat = flat + 0.1 * jax.random.normal(KEY, flat.shape)  # no bias or rate is zero
    value = jax.jit(lambda flat: learner.objective(eqx.combine(restore(flat), fixed), batch, KEY)[0])
    return flat, jax.jit(jax.grad(value))(flat), value


ADAMW = (adamw, {"learning_rate": 0.03, "eps_root": 1e-7, "weight_decay": 1e-2})
METHODS = {
    "maml": {"fast": whole, "rates": rate_per_parameter},
    "anil": {"fast": last_layer, "rates": one_rate, "inner": ADAMW},
    "codes": {"build": modular, "fast": codes, "rates": rate_per_array, "inner": ADAMW, "slow": all_but_output_bias},
}


@pytest.mark.parametrize(
    ("method", "steps"),
    [(m, s) if (m, s) == ("codes", 1) else pytest.param(m, s, marks=pytest.mark.whole) for m in METHODS for s in (1, 2, 5)],
)
def test_the_unrolled_meta_gradient_is_that_of_finite_differences(method, steps):
    with jax.enable_x64(True):
        flat, gradient, value = gradient_and_value(learner(**METHODS[method], steps=steps, checkpointed=steps == 2))
        for key in jax.random.split(KEY, 10):
            direction = jax.random.normal(key, flat.shape)
            differences = (value(flat + 1e-6 * direction) - value(flat - 1e-6 * direction)) / 2e-6
            np.testing.assert_allclose(gradient @ direction, differences, rtol=1e-4, atol=1e-7)
        assert jnp.linalg.norm(gradient) > 1e-2


@pytest.mark.whole
def test_first_order_takes_the_inner_gradients_as_constants():
    with jax.enable_x64(True):
        flat, gradient, _ = gradient_and_value(learner(gradient=first_order, steps=3))
        model = plain(KEY)
        restore = jax.flatten_util.ravel_pytree(model)[1]

        def by_hand(flat, task):
            loss = lambda flat, data: squared(restore(flat), data, None)  # noqa: E731
            for _ in range(3):
                flat = flat - 0.1 * jax.lax.stop_gradient(jax.grad(loss)(flat, task.support))
            return loss(flat, task.query)

        batch = learner().batch(None, jax.random.key(1))
        expected = jax.grad(lambda flat: jnp.mean(jax.vmap(partial(by_hand, flat))(batch)))(flat)
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)
        exact = gradient_and_value(learner(gradient=unrolled, steps=3))[1]
        assert jnp.linalg.norm(exact - gradient) > 0.05 * jnp.linalg.norm(exact)


class Ridge(eqx.Module):
    """A fast vector, and the slow logarithm of its penalty."""

    weight: jax.Array
    log_penalty: jax.Array


def logistic(model, data, key):
    x, y = data
    return jnp.mean(jnp.log1p(jnp.exp(-y * (x @ model.weight)))) + 0.5 * jnp.exp(model.log_penalty) @ model.weight**2


@pytest.mark.whole
def test_at_an_inner_optimum_the_meta_gradient_is_that_of_implicit_differentiation():
    with jax.enable_x64(True):
        x, other = jax.random.normal(KEY, (2, 20, 3))
        support, query = (x, jnp.sign(x[:, 0] + 0.5 * x[:, 1] - 0.3)), (other, jnp.sign(other[:, 0]))
        inner = InnerLoop(lambda model: model.weight, sgd, {"learning_rate": 0.5}, 600)
        penalty = jnp.log(jnp.array([0.1, 0.2, 0.4]))

        def query_loss(penalty):
            adapted = inner(logistic, MetaLearned(Ridge(jnp.zeros(3), penalty), None), support, KEY)
            return logistic(adapted.network, query, None), adapted.network.weight

        unrolled_gradient, optimum = jax.jit(jax.grad(query_loss, has_aux=True))(penalty)

        def loss_at(data, weight, penalty):
            return logistic(Ridge(weight, penalty), data, None)

        on_support, on_query = partial(loss_at, support), partial(loss_at, query)
        np.testing.assert_allclose(jax.grad(on_support)(optimum, penalty), 0, atol=1e-12)
        hessian, mixed = jax.hessian(on_support)(optimum, penalty), jax.jacobian(jax.grad(on_support), argnums=1)(optimum, penalty)
        direct, through = jax.grad(on_query, argnums=1)(optimum, penalty), jax.grad(on_query)(optimum, penalty)
        implicit = direct - np.linalg.solve(hessian, through) @ mixed
        np.testing.assert_allclose(unrolled_gradient, implicit, rtol=1e-8)
        assert np.abs(implicit - direct).max() > 1e-2


@pytest.mark.whole
def test_learned_rates_multiply_the_updates():
    task = Lines().sample(KEY)
    for rates in (one_rate, rate_per_array, rate_per_parameter):
        twice = learner(fast=last_layer, steps=1, rates=rates)
        start = twice.inner.start(plain(KEY))
        doubled = start._replace(log_rates=jax.tree.map(lambda rate: rate + jnp.log(2), start.log_rates))
        before, once, moved = (jax.tree.leaves(net) for net in (start.network, *(twice.adapt(m, task.support, KEY).network for m in (start, doubled))))
        for a, b, c in zip(before, once, moved, strict=True):
            np.testing.assert_allclose(c - a, 2 * (b - a), rtol=1e-4, atol=1e-6)
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(rates(plain(KEY).layers[-1]))) for rates in (one_rate, rate_per_array, rate_per_parameter)]
    assert sizes == [1, 2, 5]


@pytest.mark.whole
def test_only_what_is_fast_adapts_and_the_inner_losses_are_those_before_each_step():
    task, method = Lines().sample(KEY), learner(fast=last_layer, steps=3)
    start = method.inner.start(plain(KEY))
    adapted = method.adapt(start, task.support, KEY)
    for before, after in zip(start.network.layers[:-1], adapted.network.layers[:-1], strict=True):
        np.testing.assert_array_equal(before.weight, after.weight)
    one_step = learner(fast=last_layer, steps=1).adapt(start, task.support, KEY)
    np.testing.assert_allclose(adapted.losses[:2], [squared(start.network, task.support, None), squared(one_step.network, task.support, None)], rtol=1e-5)
    assert adapted.losses[2] < adapted.losses[1] < adapted.losses[0]


def test_the_keys_of_inner_steps_differ():
    def key_as_gradient(network, data, key):
        return network.weight[0] * jax.random.normal(key, ())

    start = MetaLearned(Ridge(jnp.zeros(1), jnp.zeros(1)), None)
    inner = InnerLoop(lambda model: model.weight, sgd, {"learning_rate": 1.0}, 2)
    moved = inner(key_as_gradient, start, None, KEY).network.weight[0]
    np.testing.assert_allclose(moved, -sum(jax.random.normal(key, ()) for key in jax.random.split(KEY, 2)), rtol=1e-5)


def test_a_fast_parameter_without_a_gradient_is_named():
    class Extra(eqx.Module):
        network: MLP
        unused: jax.Array
        blocked: jax.Array

        def __call__(self, x):
            return self.network(x) + jax.lax.stop_gradient(self.blocked)

    start = MetaLearned(Extra(plain(KEY), jnp.zeros(2), jnp.zeros(1)), None)
    task = Lines().sample(KEY)
    with pytest.raises(ValueError, match=r"depend on the fast parameter \.unused, \.blocked, which"):
        InnerLoop(whole, sgd, {"learning_rate": 0.1}, 1)(squared, start, task.support, KEY)
    InnerLoop(lambda model: model.network, sgd, {"learning_rate": 0.1}, 1)(squared, start, task.support, KEY)
    with pytest.raises(ValueError, match="nothing can adapt"):
        InnerLoop(lambda model: (), sgd, {"learning_rate": 0.1}, 1)(squared, start, task.support, KEY)


@pytest.mark.whole
def test_a_bilevel_learner_is_trained_by_fit():
    method = learner(modular, codes, (sgd, {"learning_rate": 0.1}), steps=2, batch_size=8, rates=one_rate, slow=all_but_output_bias)
    fitted = fit(method, 150, seeds=[0, 1])
    assert (fitted.history["loss"][:, -20:].mean(axis=1) < 0.5 * fitted.history["loss"][:, :20].mean(axis=1)).all()
    np.testing.assert_array_equal(fitted.model.network.output_bias, 0)
    assert (np.abs(fitted.model.log_rates) > 0.05).all()


@pytest.mark.whole
def test_a_checkpointed_loop_has_the_same_gradient_with_less_memory():
    def program(checkpointed):
        method = learner(lambda key: MLP.create(1, 8, 8, 1, key=key), steps=8, batch_size=8, points=256, checkpointed=checkpointed)
        model = method.inner.start(method.build(KEY))
        batch = method.batch(model, KEY)
        gradient = eqx.filter_jit(eqx.filter_grad(lambda model: method.objective(model, batch, KEY)[0])).lower(model).compile()
        return gradient(model), gradient.compiled.memory_analysis().temp_size_in_bytes

    (stored, large), (again, small) = program(False), program(True)
    for a, b in zip(*map(jax.tree.leaves, (stored, again)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert small < 0.5 * large


def chunked(method, chunk):
    """The same learner in chunks."""
    return ChunkedBilevel(**{name: getattr(method, name) for name in method.__dataclass_fields__}, chunk=chunk)


@pytest.mark.parametrize("build", [plain, modular])
@pytest.mark.whole
def test_a_gradient_by_chunks_is_the_gradient_and_needs_the_memory_of_a_chunk(build):
    method = learner(build, codes if build is modular else whole, steps=3, batch_size=8, points=128, rates=one_rate)

    def step(method):
        program = jax.jit(lambda state, key: method.update(state, key)).lower(method.init(KEY), jax.random.key(1)).compile()
        return program(method.init(KEY), jax.random.key(1)), program.memory_analysis().temp_size_in_bytes

    (at_once, large), (by_chunks, small) = step(method), step(chunked(method, 2))
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(by_chunks.metrics[name], at_once.metrics[name], rtol=1e-5)
    for a, b in zip(*(jax.tree.leaves(result.state.model) for result in (at_once, by_chunks)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert small < 0.5 * large
    with pytest.raises(ValueError, match="8 tasks cannot be divided into chunks of 3"):
        chunked(method, 3).update(method.init(KEY), KEY)


@pytest.mark.whole
def test_chunks_are_mapped_over_seeds():
    method = learner(batch_size=4)
    models = [fit(one, 3, seeds=[0, 1]).model for one in (method, chunked(method, 1))]
    for a, b in zip(*map(jax.tree.leaves, models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_any_optax_optimiser_adapts():
    adapted = learner(inner=(optax.sgd, {"learning_rate": 0.1, "momentum": 0.9})).adapt(MetaLearned(plain(KEY), None), Lines().sample(KEY).support, KEY)
    assert adapted.losses[1] < adapted.losses[0]
