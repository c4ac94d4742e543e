"""The q-norm against its limits, its formula in float64 and its gradient; seeds shared or not; a fixed seed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesocosm.learning import adam
from mesocosm.learning.relaxed_adversary import RelaxedAdversary, q_norm
from mesocosm.nn.blocks.seeds import NoiseToken, OneSeed, Seeded, SharedBits, SlotPermutation, TokenNoise
from mesocosm.tasks.task import Task

losses = st.lists(st.floats(-8, 2).map(lambda power: 10.0**power), min_size=1, max_size=12).map(np.array)


@pytest.mark.slow
@given(losses)
def test_q_goes_from_the_mean_to_the_maximum(values):
    norms = np.array([q_norm(jnp.asarray(values, jnp.float32), q) for q in (1.0, 2.0, 7.0, 100.0, 512.0, jnp.inf)])
    assert np.isfinite(norms).all()
    np.testing.assert_allclose([norms[0], norms[-1]], [values.mean(), values.max()], rtol=1e-5)
    assert (np.diff(norms) >= -1e-5 * norms[1:]).all()
    for q, norm in zip((1.0, 2.0, 7.0, 100.0, 512.0), norms[:-1], strict=True):
        assert values.max() / len(values) ** (1 / q) <= norm * (1 + 1e-4)
        np.testing.assert_allclose(q_norm(jnp.asarray(3 * values, jnp.float32), q), 3 * norm, rtol=1e-4)


@pytest.mark.parametrize("q", [1.0, 2.0, 5.0])
def test_the_gradient_is_that_of_the_plain_formula(q):
    values = np.random.default_rng(0).uniform(0.1, 2.0, 7)
    with jax.enable_x64(True):
        ours = jax.value_and_grad(q_norm)(jnp.asarray(values), q)
        plain = jax.value_and_grad(lambda x: jnp.mean(x**q) ** (1 / q))(jnp.asarray(values))
        np.testing.assert_allclose(ours[1], (values / ours[0]) ** (q - 1) / 7, rtol=1e-12)
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("q", [1.0, 100.0, jnp.inf])
def test_losses_of_zero_give_a_gradient_of_zero(q):
    value, gradient = jax.value_and_grad(q_norm)(jnp.zeros(4), q)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    assert np.isfinite(jax.grad(q_norm)(jnp.array([0.0, 1e-30, 2.0]), q)).all()


@pytest.mark.parametrize("values", [[1e-20, 2e-20], [1e20, 2e20], [1e-30], [900.0, 1000.0]])
def test_losses_of_any_size_have_the_norm_and_the_gradient_of_their_ratios(values):
    ratios = np.array(values) / max(values)
    for q in (1.0, 100.0, np.inf):
        norm = 1.0 if np.isinf(q) else np.mean(ratios**q) ** (1 / q)
        wanted = ratios == 1 if np.isinf(q) else (ratios / norm) ** (q - 1) / len(values)
        value, gradient = jax.value_and_grad(q_norm)(jnp.array(values), q)
        np.testing.assert_allclose(value, max(values) * norm, rtol=1e-5)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("wrong", [[-1.0, -2.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0], [1e38, 3e38]])
def test_what_has_no_norm_is_not_a_number(wrong):
    for q in (1.0, 4.0, jnp.inf):
        assert np.isnan(q_norm(jnp.array(wrong), q))
    assert np.isnan([q_norm(jnp.ones(2), q) for q in (0.0, 0.5, -1.0, np.nan)]).all()


class Two(Task):
    """Inputs -1 and 1."""

    def sample(self, key, split="train"):
        return jnp.sign(jax.random.normal(key, ()))


class Biased(eqx.Module):
    """Answers 1 with the probability of a logistic weight."""

    weight: jax.Array

    def __call__(self, x, *, key):
        return self.weight + jax.random.normal(key, ())


def build(key):
    return Biased(jnp.zeros(()))


def squared(model, x, key):
    return (model(x, key=key) - x) ** 2


def learner(**options):
    return RelaxedAdversary(build, Two(), squared, adam, {"learning_rate": 0.1}, batch_size=5, **options)


def test_the_mean_over_seeds_is_inside_and_all_inputs_see_the_same_seeds():
    x, key, model = jnp.array([-1.0, 1.0, 1.0, -1.0, 1.0]), jax.random.key(2), build(None)
    seeds = np.array([jax.random.normal(k, ()) for k in jax.random.split(key, 8)])
    by_hand = ((seeds[None] - np.asarray(x)[:, None]) ** 2).mean(axis=1)
    value, metrics = learner(q=4.0, seeds=8).objective(model, x, key)
    np.testing.assert_allclose(value, np.mean(by_hand**4) ** 0.25, rtol=1e-5)
    np.testing.assert_allclose([metrics["mean_loss"], metrics["largest_loss"]], [by_hand.mean(), by_hand.max()], rtol=1e-5)
    shared = learner(seeds=8).losses(model, x, key)
    assert shared[1] == shared[2] == shared[4]
    own = np.asarray(learner(seeds=8, shared=False).losses(model, x, key))
    assert len(set(own[[1, 2, 4]])) == 3


@pytest.mark.whole
@pytest.mark.parametrize("shared", [True, False])
def test_seeds_that_are_not_used_change_nothing_and_get_no_gradient(shared):
    x, key = jnp.array([-1.0, 1.0, 1.0, -1.0, 1.0]), jax.random.key(2)
    all_of = lambda few: learner(q=4.0, seeds=few, shared=shared)  # noqa: E731
    some = eqx.filter_jit(lambda used: learner(q=4.0, seeds=8, shared=shared, used=used))
    for few in (1, 3, 8):
        keys = jax.random.split(key, 8 if shared else (8, 5))[:few]
        seeds = jax.vmap(lambda k: jax.random.normal(k, ()) if shared else jax.vmap(lambda own: jax.random.normal(own, ()))(k))(keys).reshape(few, -1)
        np.testing.assert_allclose(some(float(few)).losses(build(None), x, key), ((seeds - x) ** 2).mean(axis=0), rtol=1e-5)
    objective = lambda of: eqx.filter_grad(lambda model: of.objective(model, x, key)[0])(build(None)).weight  # noqa: E731
    np.testing.assert_allclose(objective(some(8.0)), objective(all_of(8)), rtol=1e-5)
    assert objective(some(3.0)) != objective(some(8.0))


def test_a_part_of_a_seed_counts_as_one():
    x, key = jnp.array([-1.0, 1.0, 1.0, -1.0, 1.0]), jax.random.key(2)
    some = eqx.filter_jit(lambda used: learner(seeds=4, used=used).losses(build(None), x, key))
    np.testing.assert_array_equal(some(1.5), some(2.0))
    seeds = jax.vmap(lambda k: jax.random.normal(k, ()))(jax.random.split(key, 4))[:2, None]
    np.testing.assert_allclose(some(2.0), ((seeds - x) ** 2).mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"seeds": 0}, "not 0"), ({"q": 0.5}, "cannot be 0.5"), ({"q": np.nan}, "nan"), ({"seeds": 2, "used": 3.0}, "not 3"), ({"used": 0.0}, "not 0")],
)
def test_numbers_out_of_range_are_named(wrong, told):
    with pytest.raises(ValueError, match=told):
        learner(**wrong)


def test_one_seed_is_the_same_whatever_the_key():
    fixed = OneSeed.create(Biased(jnp.zeros(())), key=jax.random.key(5))
    assert fixed(1.0, key=jax.random.key(1)) == fixed(1.0) == jax.random.normal(jax.random.key(5), ())
    assert [leaf.shape for leaf in jax.tree.leaves(eqx.filter(fixed, eqx.is_inexact_array))] == [()]


def test_encodings_of_a_seed():
    tokens, key = jnp.eye(4, 6), jax.random.key(0)
    bits = SharedBits(3)(tokens, key=key)
    assert bits.shape == (4, 9)
    assert (bits[:, 6:] == bits[0, 6:]).all()
    assert set(np.unique(np.concatenate([SharedBits(3)(tokens, key=jax.random.key(i))[0, 6:] for i in range(9)]))) == {0.0, 1.0}
    noise = TokenNoise(2)(tokens, key=key)[:, 6:]
    assert noise.shape == (4, 2)
    assert len(np.unique(noise)) == 8
    again = jnp.concatenate([tokens, tokens[2:3]])
    slots = np.asarray(SlotPermutation(4)(again, key=key)[:, 6:])
    np.testing.assert_array_equal(slots[:4].sum(axis=0), 1)
    np.testing.assert_array_equal(slots[:4].sum(axis=1), 1)
    np.testing.assert_array_equal(slots[4], slots[2])
    for other in jax.random.split(key, 6):
        again_slots = SlotPermutation(4)(again, key=other)[:, 6:]
        np.testing.assert_array_equal(again_slots[4], again_slots[2])
    front = NoiseToken()(tokens, key=key)
    assert front.shape == (5, 6)
    for encoded in (bits[:, :6], SlotPermutation(4)(tokens, key=key)[:, :6], front[1:]):
        np.testing.assert_array_equal(encoded, tokens)
    doubled = Seeded(lambda tokens, factor: factor * tokens, NoiseToken())
    np.testing.assert_array_equal(doubled(tokens, 2.0, key=key), 2 * front)
