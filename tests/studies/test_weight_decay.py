"""The weight-decay study: its optimisers do what the law says."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.spectra.factor_spectra import product_spectrum
from mesocosm.analysis.spectra.low_rank_law import Factors
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.learning.fit import fit
from mesocosm.studies.interface import View
from mesocosm.studies.weight_decay import claims, measures
from mesocosm.studies.weight_decay.config import PRESETS, Factorisation, TwoLayers
from mesocosm.studies.weight_decay.parameterised import (
    MatrixLearner,
    Target,
    Whole,
    adam_l2,
    adamw,
    approximation_loss,
    gradient_descent,
    product_of,
    regression_loss,
)
from mesocosm.studies.weight_decay.tables import Minima
from mesocosm.studies.weight_decay.train import _draw_diagonal, _draw_rotated, _draw_teacher, _orthonormal


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("decay", [0.1, 0.2, 0.4])
def test_the_factorisation_follows_the_law(decay):
    """I4, from one seed: rate, singular values, gap."""
    config = Factorisation()
    rates = {"learning_rate": config.learning_rate, "a": decay, "b": decay}
    learner = MatrixLearner(jax.tree_util.Partial(_draw_diagonal, config), approximation_loss, gradient_descent, rates)
    model = fit(learner, config.steps, [1000]).model
    values = product_spectrum(model.a[0], model.b[0])
    wanted = np.maximum(np.array([1, 0.8, 0.6, 0.4, 0.2]) - decay, 0)
    critical = np.isclose([1, 0.8, 0.6, 0.4, 0.2], decay)
    np.testing.assert_allclose(values[~critical], wanted[~critical], atol=1e-3)
    assert np.all(values[critical] < 0.02)
    mean_square = (np.sum(np.square(model.a[0])) + np.sum(np.square(model.b[0]))) / 2
    assert 0 <= mean_square - values.sum() < 1e-8


@pytest.mark.usefixtures("float64")
def test_decays_act_on_the_parameter_of_their_name():
    model = Whole(jnp.ones((1, 1)))
    for optimizer in (adam_l2(0.1, 10.0, w=0.5), adamw(0.1, 10.0, w=0.5), gradient_descent(0.1, w=0.5)):
        updates, _ = optimizer.update(Whole(jnp.zeros((1, 1))), optimizer.init(model), model)
        assert updates.w < 0
    both = _draw_diagonal(Factorisation(), jax.random.key(0))[0]
    optimizer = gradient_descent(0.1, a=0.5, b=0.0)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, both), optimizer.init(both), both)
    np.testing.assert_allclose(updates.a, -0.05 * both.a)
    np.testing.assert_array_equal(updates.b, 0)


@pytest.mark.whole
@pytest.mark.usefixtures("float64")
def test_noise_and_batches_do_not_move_the_mean_gradient():
    """The gradient of the noisy losses is that of the clean ones, on average."""
    target = Target(jnp.diag(jnp.array([1.0, 0.5])), jnp.array(1.0))
    keys = jax.random.split(jax.random.key(0), 20000)
    mean = jax.vmap(lambda key: jax.grad(approximation_loss)(jnp.zeros((2, 2)), target, key))(keys).mean(0)
    np.testing.assert_allclose(mean, -target.matrix, atol=0.03)
    teacher = _draw_teacher(PRESETS["cpu"].config.two_layers, jax.random.key(1))[1]
    mean = jax.vmap(lambda key: jax.grad(regression_loss)(jnp.zeros((20, 20)), teacher, key))(keys[:2000]).mean(0)
    np.testing.assert_allclose(mean, -teacher.matrix, atol=0.03)


@pytest.mark.usefixtures("float64")
def test_a_rotated_target_has_its_singular_values_and_fresh_vectors():
    config = PRESETS["cpu"].config.adaptive
    first, second = (_draw_rotated(config, 0.0, jax.random.key(seed))[1].matrix for seed in (0, 1))
    for matrix in (first, second):
        np.testing.assert_allclose(np.linalg.svd(matrix, compute_uv=False), [1, 0.8, 0.6, 0.4, 0.2], rtol=1e-12)
    assert np.abs(first - second).max() > 0.1


@pytest.mark.whole
@pytest.mark.usefixtures("float64")
def test_the_number_of_active_neurons_depends_on_the_basis():
    """Descent commutes with rotations of the hidden space: the product is the same, and neurons that had vanished are active in another basis."""
    config = TwoLayers(width=6, teacher_values=(1.5, 1.0), batch_size=16)
    factors, teacher = _draw_teacher(config, jax.random.key(0))
    keys, rotation = jax.random.split(jax.random.key(1), 300), _orthonormal(jax.random.normal(jax.random.key(2), (6, 6)))
    optimizer = gradient_descent(0.02, a=0.1, b=0.1)

    @jax.jit
    def descend(model):
        def step(carry, key):
            model, state = carry
            updates, state = optimizer.update(jax.grad(lambda model: regression_loss(product_of(model), teacher, key))(model), state, model)
            return (jax.tree.map(jnp.add, model, updates), state), None

        return jax.lax.scan(step, (model, optimizer.init(model)), keys)[0][0]

    few = Factors(*(factor.at[:, 2:].set(0.0) for factor in factors))  # two neurons, in this basis
    here, there = descend(few), descend(Factors(*(factor @ rotation for factor in few)))
    np.testing.assert_allclose(there.a, here.a @ rotation, atol=1e-12)
    np.testing.assert_allclose(product_of(there), product_of(here), atol=1e-12)
    active = [int(np.sum(np.linalg.norm(model.a, axis=0) * np.linalg.norm(model.b, axis=0) > config.active)) for model in (here, there)]
    assert active == [2, 6]


def test_the_product_of_factors_and_of_a_whole_matrix():
    a, b = np.random.default_rng(0).standard_normal((2, 3, 4, 2))
    np.testing.assert_allclose(product_of(Factors(jnp.asarray(a), jnp.asarray(b)))[1], a[1] @ b[1].T, rtol=1e-5)
    assert product_of(Whole(jnp.ones((2, 2)))).shape == (2, 2)


def test_errors_are_absolute_values():
    view = View(None, "cpu", {"minima": pl.DataFrame({"arm": ["both", "both", "one"], "difference": [-4e-16, 2e-9, 3.0]})})
    np.testing.assert_array_equal(measures.absolute(Minima.difference, arm="both")(view).values, [4e-16, 2e-9])


def test_rates_are_fitted_before_rounding_takes_over():
    time = np.linspace(0, 50, 26)
    rows = pl.DataFrame({"time": time, "difference": np.maximum(np.exp(-0.8 * time), 1e-14)})
    assert measures.fitted_rate(rows) == pytest.approx(0.8)


# --- rows can hold and can fail ----------------------------------------------------------------------------------------


def verdict(name, **tables):
    """The verdict of one check at `cpu` on made-up tables."""
    claim, check = name.split(".")
    chosen = [replace(each, checks=[one for one in each.checks if one.name == check]) for each in claims.CLAIMS if each.id == claim]
    given = {table: rows.with_columns(trial=pl.lit(table)) for table, rows in tables.items()}
    view = View(PRESETS["cpu"].config, "cpu", given)
    (row,) = judge("weight-decay", chosen, view, Circumstances("", fingerprints=fingerprints(chosen)), strict=True)
    return row.verdict


@pytest.mark.parametrize(("typical", "late", "expected"), [(1e-4, 1, "holds"), (1e-4, 36, "fails"), (1e-2, 0, "fails")])
def test_a_late_mode_does_not_decide_on_the_threshold(typical, late, expected):
    """The weakest mode of one initialisation in forty may be far away; not that of most."""
    distances = typical * np.exp(np.random.default_rng(0).normal(size=40)) + 0.05 * (np.arange(40) < late)
    rows = [
        {"seed": seed, "arm": arm, "decay": decay, "target": target, "value": max(target - (decay if arm == "both" else 0.02), 0) + (target == 0.2) * distance}
        for seed, distance in enumerate(distances)
        for arm, decay in (("both", 0.1), ("one", 0.6))
        for target in (0.2, 0.4, 1.0)
    ]
    rows = pl.DataFrame(rows).with_columns(value=pl.col("value") * (1 + 1e-3 * pl.col("seed") * (pl.col("arm") == "one")))
    assert verdict("C3.linear", spectrum=rows) == expected


@pytest.mark.parametrize(("missed", "direct", "expected"), [(0, 0.2, "holds"), (7, 0.2, "inconclusive"), (20, 0.2, "fails"), (0, 0.0, "not judged")])
def test_factored_scalars_must_be_at_the_threshold_in_most_initialisations(missed, direct, expected):
    rows = [
        {"seed": seed, "optimizer": "adam_l2", "form": form, "decay": decay, "scalar": 1, "target": 0.3, "value": max(0.3 - decay, 0.0) + off}
        for seed in range(40)
        for form, off in (("factored", 0.05 if seed < missed else 1e-16), ("direct", direct))
        for decay in (0.0, 0.1, 0.4)
    ]
    assert verdict("C8.scalars-l2", scalars=pl.DataFrame(rows)) == expected


@pytest.mark.parametrize(("kept", "kept_by_one", "expected"), [(3, 11, "holds"), (4, 11, "fails"), (3, 3, "not judged")])
def test_decay_on_both_must_keep_the_teachers_directions(kept, kept_by_one, expected):
    rows = [{"seed": seed, "arm": arm, "directions": number, "teacher": 3} for seed in range(40) for arm, number in (("both", kept), ("one", kept_by_one))]
    assert verdict("C9.directions", hidden=pl.DataFrame(rows)) == expected
