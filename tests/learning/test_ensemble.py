"""Ensembles: what each variant starts as, what it becomes, and that nothing but the named noise is left."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from mesocosm.analysis.detection import auroc, output_variance
from mesocosm.analysis.tangent.kernel import kernel_block, of_module
from mesocosm.analysis.tangent.kernel_regression import as_matrix, interpolation_weights
from mesocosm.learning.ensemble import VARIANTS, Ensemble, EnsembleLearner, all_reached, arms_of, call, combined
from mesocosm.learning.ensemble_targets import cross_entropy, one_hot_error, squared_error
from mesocosm.learning.fit import fit
from mesocosm.nn.tangent_parametrisation import TangentMLP


def build(width, key, outputs=2):
    return TangentMLP.create(3, outputs, width=width, depth=1, bias_scale=0.3, key=key)


def problem(n=6, outputs=2):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (n, 3))
    return x, jnp.tanh(x[:, :outputs]) + 0.3, jax.random.normal(keys[2], (9, 3))


def learner(variants=("gd", "gd-c", "gd-a"), width=16, **options):
    x, y, _ = problem()
    given = {"members": 4, "optimizer": optax.sgd, "hyperparameters": {"learning_rate": 0.5}} | options
    optimizer, hyperparameters = given.pop("optimizer"), given.pop("hyperparameters")
    return EnsembleLearner(Partial(build, width), call, x, y, arms_of(variants), squared_error, optimizer, hyperparameters, **given)


def start_of(made):
    return eqx.filter_jit(made.init)(jax.random.key(3))


def outputs_at_start(made, x):
    state = start_of(made)
    return state, jax.jit(lambda state: made.model(state).outputs(x))(state)


@pytest.mark.whole
def test_before_training_gd_is_its_networks_gd_c_is_zero_and_gd_a_is_gd():
    x = problem()[2]
    state, (gd, centred, shared) = outputs_at_start(learner(), x)
    static = learner()._static()
    own = jax.jit(jax.vmap(lambda arrays: jax.vmap(eqx.combine(arrays, static))(x)))(state.drawn)
    np.testing.assert_allclose(gd, own, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(centred, 0)
    np.testing.assert_allclose(shared, gd, atol=1e-5)
    assert float(jnp.std(gd, axis=0).min()) > 0.1
    weights = jax.tree.leaves(state.networks)[0]
    np.testing.assert_array_equal(weights[2] == weights[2, :1], True)  # one start for all members
    assert not np.any(np.all(np.isclose(weights[0, 1:], weights[0, :1]), axis=(1, 2)))


@pytest.mark.whole
def test_gradients_of_gd_a_differ_by_the_residual_alone():
    """Members share their features: with equal residuals they have equal gradients."""
    made = learner(("gd-a",))
    state = start_of(made)
    same = state._replace(offsets=jnp.broadcast_to(state.offsets[:, :1], state.offsets.shape))
    update = eqx.filter_jit(made.update)
    moved, _ = update(same, jax.random.key(0))
    for leaf in jax.tree.leaves(moved.networks):
        np.testing.assert_allclose(leaf, jnp.broadcast_to(leaf[:, :1], leaf.shape), rtol=1e-5)
    apart, _ = update(state, jax.random.key(0))
    assert not np.allclose(jax.tree.leaves(apart.networks)[0][0, 0], jax.tree.leaves(apart.networks)[0][0, 1])


@pytest.mark.whole
def test_members_see_the_same_batches_and_arms_the_same_members():
    made = learner(("gd", "gd"), batch_size=2)
    state, update = start_of(made), eqx.filter_jit(made.update)
    for step in range(3):
        state, _ = update(state, jax.random.fold_in(jax.random.key(1), step))
    for leaf in jax.tree.leaves(state.networks):
        np.testing.assert_array_equal(leaf[0], leaf[1])
    twins = start_of(made)
    twins = twins._replace(networks=jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, :1], leaf.shape), twins.networks))
    for step in range(3):
        twins, _ = update(twins, jax.random.fold_in(jax.random.key(1), step))
    for leaf in jax.tree.leaves(twins.networks):
        np.testing.assert_allclose(leaf[0, 0], leaf[0, 3], rtol=1e-5)


@pytest.mark.whole
def test_one_after_another_is_side_by_side():
    by_vmap, by_map = (fit(learner(over_members=over, batch_size=3), 20, [0]) for over in ("vmap", "map"))
    for a, b in zip(jax.tree.leaves(by_vmap.model.networks), jax.tree.leaves(by_map.model.networks), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.whole
def test_an_ensemble_of_one_arm_is_that_many_trainings():
    """The members are what separate trainings of each would be, by a second implementation."""
    x, y, test = problem()
    made = learner(("gd",))
    state = start_of(made)
    fitted, update = state, eqx.filter_jit(made.update)
    for step in range(5):
        fitted, _ = update(fitted, jax.random.key(step))
    outputs = made.model(fitted).outputs(test)

    @jax.jit
    def descend(arrays):
        gradient = jax.grad(lambda a: jnp.mean((jax.vmap(eqx.combine(a, made._static()))(x) - y) ** 2))(arrays)
        return jax.tree.map(lambda a, g: a - 0.5 * g, arrays, gradient)

    for m in range(2):
        arrays = jax.tree.map(lambda leaf, m=m: leaf[m], state.drawn)
        for _ in range(5):
            arrays = descend(arrays)
        wanted = jax.vmap(eqx.combine(arrays, made._static()))(test)
        np.testing.assert_allclose(outputs[0, m], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.whole
def test_a_member_stops_at_the_goal_and_the_others_go_on():
    made = learner(optimizer=optax.adam, hyperparameters={"learning_rate": 3e-2}, goal=1e-3, check_every=5, width=64)
    fitted = fit(made, 3000, [0], until=(all_reached, 5))
    losses = jax.jit(lambda state: jax.vmap(made.losses)(state))(fitted.state)[0]
    assert fitted.reached[0]
    assert float(losses.max()) <= 1e-3
    assert float(losses.min()) > 1e-5  # they stopped, each soon after the goal
    again = fit(made, 3000, [0])  # without `until` the rest of the steps changes nothing
    for a, b in zip(jax.tree.leaves(again.state.networks), jax.tree.leaves(fitted.state.networks), strict=True):
        np.testing.assert_array_equal(a, b)


# --- what they become -------------------------------------------------------------------------------------------------


def distances(width, steps=1500):
    """Mean distance of each trained variant from its kernel model, relative to the spread of the full one."""
    x, y, test = problem(n=5)
    made = EnsembleLearner(
        Partial(build, width), call, x, y, arms_of(("gd", "gd-c", "gd-a", "gd-i")), squared_error, optax.sgd, {"learning_rate": 0.3}, members=4
    )
    fitted = fit(made, steps, [0])
    ensemble = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, fitted.model)

    def weights_and_start(arrays):
        function, params = of_module(eqx.combine(arrays, ensemble.static))
        weights = interpolation_weights(as_matrix(kernel_block(function, params, test, x)), as_matrix(kernel_block(function, params, x)))
        return weights, jnp.ravel(jax.vmap(lambda one: function(params, one))(test)), jnp.ravel(jax.vmap(lambda one: function(params, one))(x))

    own, start, start_train = jax.vmap(weights_and_start)(ensemble.drawn)
    shared = weights_and_start(ensemble.reference)[0]
    y = jnp.ravel(y)
    found = ensemble.outputs(test).reshape(5, 4, -1)
    wanted = {
        "gd": start + jnp.einsum("mtn,mn->mt", own, y - start_train),
        "gd-c": own @ y,
        "gd-a": start + (y - start_train) @ shared.T,
        "gd-i": -jnp.einsum("mtn,mn->mt", own - shared, start_train),
    }
    trained = {"gd": found[0], "gd-c": found[1], "gd-a": found[2], "gd-i": found[3] - found[4]}
    return {name: float(jnp.sqrt(jnp.mean((trained[name] - wanted[name]) ** 2)) / jnp.sqrt(jnp.mean(jnp.var(wanted["gd"], axis=0)))) for name in wanted}


@pytest.mark.slow
def test_wide_ensembles_become_their_kernel_models():
    with jax.enable_x64(True):
        narrow, wide = distances(64), distances(1024)
    for name in VARIANTS:
        assert wide[name] < 0.2, name
        assert wide[name] < 0.6 * narrow[name], name


@pytest.mark.slow
def test_the_distance_falls_with_the_square_root_of_the_width():
    widths = np.array([128, 512, 2048])
    with jax.enable_x64(True):
        found = [distances(int(n), steps=3000) for n in widths]
    for name in ("gd", "gd-c", "gd-a"):
        slope = np.polyfit(np.log(widths), [np.log(f[name]) for f in found], 1)[0]
        assert -0.8 < slope < -0.2, name


# --- for users --------------------------------------------------------------------------------------------------------


def user_init(key):
    """Parameters in a dictionary, and a rate that is no array: nothing of ours."""
    first, last = jax.random.split(key)
    return {"first": jax.random.normal(first, (3, 32)), "last": jax.random.normal(last, (32, 1)) / 6, "name": "a user's own"}


def user_apply(params, x):
    return jnp.tanh(x @ params["first"]) @ params["last"]


@pytest.mark.whole
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_users_own_function_in_every_variant(variant):
    x, y, test = problem(n=20, outputs=1)
    ensemble = Ensemble(user_init, user_apply, members=5, variant=variant)
    fitted = ensemble.fit(x, y, steps=1500, learning_rate=1e-2, goal=1e-4)
    mean, variance = fitted.predict(test)
    assert mean.shape == variance.shape == (9, 1)
    outputs = fitted.outputs(test)
    np.testing.assert_allclose(variance, np.var(outputs, axis=0), rtol=1e-4)
    np.testing.assert_allclose(fitted.score(test, output_variance), variance[:, 0], rtol=1e-4)
    assert fitted.reached
    assert float(fitted.losses.max()) <= 1e-4
    target = np.zeros_like(y) if variant == "gd-i" else y
    np.testing.assert_allclose(fitted.predict(x).mean, target, atol=0.05)
    assert auroc(np.asarray(fitted.score(x, output_variance)), np.asarray(fitted.score(5 * test, output_variance))).auroc > 0.9


@pytest.mark.whole
def test_a_seed_is_an_ensemble():
    x, y, test = problem()
    ensemble = Ensemble(Partial(build, 8), members=3)
    first, same, other = (ensemble.fit(x, y, steps=10, seed=seed).predict(test).mean for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("given", "told"), [({"variant": "gd-g"}, "no variant 'gd-g'; choose one of gd, gd-c, gd-a, gd-i"), ({"members": 1}, "two or more, not 1")]
)
def test_what_is_no_ensemble_is_said(given, told):
    """Our own guard is asked directly: the tests' type checks would speak before it."""
    ensemble = object.__new__(Ensemble)
    for name, value in ({"members": 5, "variant": "gd"} | given).items():
        object.__setattr__(ensemble, name, value)
    with pytest.raises(ValueError, match=told):
        Ensemble.__check_init__(ensemble)


LABELS = jnp.array([0, 2, 1, 1, 0, 2])


def classifier(loss, variant="gd", labels=LABELS, **options):
    ensemble = Ensemble(Partial(build, 16, outputs=3), members=3, variant=variant, loss=loss, **options)
    return ensemble.fit(problem()[0], labels, steps=200, learning_rate=3e-2)


@pytest.mark.whole
def test_integer_labels_are_classes():
    x, one_hot = problem()[0], np.eye(3, dtype=np.float32)[LABELS]
    by_entropy, by_one_hot = (classifier(loss, "gd-a") for loss in (cross_entropy, one_hot_error))
    by_hand = classifier(squared_error, "gd-a", one_hot)
    several = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(cross_entropy(jnp.asarray(several), jnp.array([2, 1])), np.mean(np.log(np.exp(several).sum(1)) - [1.0, 1.0]), rtol=1e-6)
    np.testing.assert_array_equal(by_one_hot.losses, by_hand.losses)
    np.testing.assert_array_equal(by_one_hot.outputs(x), by_hand.outputs(x))
    outputs = np.asarray(by_entropy.outputs(x), np.float64)
    nats = np.log(np.exp(outputs).sum(-1)) - np.take_along_axis(outputs, np.asarray(LABELS)[None, :, None], 2)[..., 0]
    np.testing.assert_allclose(by_entropy.losses, nats.mean(1), rtol=1e-3)
    for fitted in (by_entropy, by_one_hot):
        np.testing.assert_array_equal(jnp.argmax(fitted.predict(x).mean, axis=-1), LABELS)


@pytest.mark.parametrize(
    ("loss", "labels", "told", "options"),
    [
        (squared_error, LABELS, "choose loss=cross_entropy or loss=one_hot_error", {}),
        (squared_error, LABELS / 2, r"shape \(\) and the type float32, the network's output the shape \(3,\); they must be equal", {}),
        (cross_entropy, LABELS / 2, "cross_entropy takes integer labels", {}),
        (cross_entropy, jnp.ones((6, 3), int), "cross_entropy takes integer labels, without the axis of classes", {}),
        (one_hot_error, LABELS + 1, "the labels go from 1 to 3, but the network has the classes 0 to 2", {}),
        (cross_entropy, LABELS - 1, "the labels go from -1 to 1", {}),
        (cross_entropy, LABELS, "gd-i learns functions", {"variant": "gd-i"}),
        (cross_entropy, LABELS, "'gd' has no reference", {"reference": build(16, jax.random.key(0), 3)}),
        (
            cross_entropy,
            LABELS,
            r"float32\[15.*\] and should be float32\[16",
            {"variant": "gd-a", "reference": build(15, jax.random.key(0), 3)},
        ),
    ],
)
def test_targets_and_references_that_do_not_fit_are_refused(loss, labels, told, options):
    """Targets of another shape would broadcast, and a class that does not exist would have no gradient."""
    with pytest.raises(ValueError, match=told):
        classifier(loss, labels=labels, **options)


def test_every_input_has_a_target():
    x, y, _ = problem()
    with pytest.raises(ValueError, match="6 inputs and 5 targets"):
        inspect.unwrap(Ensemble.fit)(Ensemble(Partial(build, 8), members=3), x, y[:5], steps=1)  # without the tests' type checks


@pytest.mark.whole
def test_a_given_reference_is_where_all_members_start():
    """Gradient descent on few steps stays near it, and the members differ by their offsets alone."""
    x, y, test = problem()

    def made(key):
        return eqx.nn.Sequential([eqx.nn.Lambda(lambda x: x), build(8, key)])  # the function is another one in every network

    reference = made(jax.random.key(7))
    ensembles = (Ensemble(made, members=3, variant="gd-a", reference=given) for given in (reference, None))
    shared, drawn = (ensemble.fit(x, y, steps=1, learning_rate=1e-6) for ensemble in ensembles)
    given = jax.tree.leaves(eqx.filter(reference, eqx.is_array))
    for leaf, start in zip(jax.tree.leaves(shared.ensemble.networks), given, strict=True):
        np.testing.assert_allclose(leaf, jnp.broadcast_to(start, leaf.shape), atol=1e-5)
    np.testing.assert_allclose(shared.outputs(test), drawn.outputs(test), atol=1e-4)  # before training, gd-a is gd, whatever its reference
    assert not np.allclose(jax.tree.leaves(drawn.ensemble.networks)[0], jax.tree.leaves(shared.ensemble.networks)[0], atol=1e-2)


def test_two_trainings_make_one_prediction():
    outputs = jax.random.normal(jax.random.key(0), (2, 3, 4, 1))
    np.testing.assert_allclose(combined(outputs), outputs[0] - outputs[1])
    np.testing.assert_allclose(combined(outputs[:1]), outputs[0])
