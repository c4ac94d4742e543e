"""The weight-decay study's propositions and appendices: statements at known cases, and rows that can hold and can fail."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.spectra.adamw_fixed_point import Line
from mesocosm.analysis.spectra.factor_spectra import rank_by_sum
from mesocosm.analysis.spectra.low_rank_law import Factors, imbalance
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.learning.fit import fit
from mesocosm.studies.interface import View
from mesocosm.studies.weight_decay import claims
from mesocosm.studies.weight_decay.config import PRESETS, Boundedness, Products, Pruning
from mesocosm.studies.weight_decay.flows import _flow
from mesocosm.studies.weight_decay.identities import IDENTITIES, deep_bounds, draw_factors, gap_bounds
from mesocosm.studies.weight_decay.parameterised import MatrixLearner, Whole, approximation_loss, gradient_descent
from mesocosm.studies.weight_decay.surface import _away_from_rest
from mesocosm.studies.weight_decay.train import _draw_whole

CONFIG = PRESETS["cpu"].config


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# --- statements -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
def test_drawn_factors_are_balanced_and_other_factors_of_their_product_are_not():
    factors, others = draw_factors(Products(), jax.random.key(0))
    np.testing.assert_allclose(imbalance(factors), 0, atol=1e-13)
    np.testing.assert_allclose(others.a @ others.b.T, factors.a @ factors.b.T, atol=1e-12)
    assert np.abs(imbalance(others)).max() > 0.1


@pytest.mark.whole
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", IDENTITIES)
def test_every_identity_holds_and_its_mutant_does_not(name):
    error, mutant = jax.jit(jax.vmap(lambda key: IDENTITIES[name](Products(), key)))(jax.random.split(jax.random.key(2), 3))
    assert np.max(error) < 1e-12
    assert np.min(mutant) > 1e-3


@pytest.mark.whole
@pytest.mark.usefixtures("float64")
def test_bounds_on_the_gap_hold_and_their_ratio_is_as_derived():
    """I14 and I15."""
    keys = jax.random.split(jax.random.key(3), 20)
    two = jax.jit(jax.vmap(lambda key: gap_bounds(Products(), key)))(keys)
    assert np.max(two.paper) < np.max(two.linear) < 0
    assert np.max(two.order) < 0 < np.min(two.equal_norms)
    assert np.max(two.ratio) < 1
    for depth in (3, 4):
        deep = jax.jit(jax.vmap(lambda key, depth=depth: deep_bounds(depth, Products(), key)))(keys)
        assert np.all((np.asarray(deep.ratio) > 0) & (np.asarray(deep.ratio) < 1))
        assert np.max(deep.unbalanced) > 1


@pytest.mark.whole
@pytest.mark.usefixtures("float64")
def test_a_single_matrix_is_shrunk_and_keeps_its_rank():
    """I17."""
    config = Pruning(values=(0.5, 1.0, 2.0, 3.0), steps=300)
    learner = MatrixLearner(jax.tree_util.Partial(_draw_whole, config), approximation_loss, gradient_descent, {"learning_rate": 0.05, "w": config.decay})
    found = np.linalg.svd(fit(learner, config.steps, [1000]).model.w[0], compute_uv=False)
    targets = np.array(config.values)[::-1]
    np.testing.assert_allclose(found, targets / (1 + config.decay), atol=1e-8)
    assert rank_by_sum(found) == rank_by_sum(targets)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("factored", [False, True])
def test_parameters_at_the_closed_form_are_at_rest(factored):
    """I16, without training: zero where AdamW rests, and not where Adam with L2 does."""
    line, errors = Line((2.0, 1.0), 1.0), {}
    for rule in ("adamw", "adam_l2"):
        point = jnp.asarray(line.rest(0.05, 1.0, rule=rule, factored=factored))[:, None, None]
        model = Factors(jnp.sqrt(point), jnp.sqrt(point)) if factored else Whole(point)
        errors[rule] = _away_from_rest(line, model, jnp.asarray(0.05), jnp.asarray(1.0))
    assert errors["adamw"] < 1e-12
    assert errors["adam_l2"] > 1e-4


@pytest.mark.whole
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("share", [0.9, 1.1])
def test_the_unbounded_flow_of_orthogonal_factors_has_a_closed_form(share):
    """With u = scale^2, 1/u = 2/lambda + (1/u_0 - 2/lambda) exp(2 lambda t): zero after a finite time if u_0 > lambda / 2."""
    config = Boundedness(steps=400, limit=5.0)
    start = share * config.decay / 2
    factors = Factors(start**0.5 * jnp.eye(3), start**0.5 * jnp.eye(3)[::-1])
    flown = jax.jit(lambda factors: _flow(config, factors, lambda whole: -jnp.sum(whole**2)))(factors)
    inverse = 2 / config.decay + (1 / start - 2 / config.decay) * np.exp(2 * config.decay * float(flown.time))
    assert 10.0**flown.growth == pytest.approx(1 / inverse / start, rel=1e-6)
    assert (flown.growth > 0) == (share > 1)


# --- rows can hold and can fail -----------------------------------------------------------------------------------------


def verdict(name, **tables):
    """The verdict of one check at `cpu` on made-up tables."""
    claim, check = name.split(".")
    chosen = [replace(each, checks=[one for one in each.checks if one.name == check]) for each in claims.CLAIMS if each.id == claim]
    given = {table: rows.with_columns(trial=pl.lit(table)) for table, rows in tables.items()}
    (row,) = judge("weight-decay", chosen, View(CONFIG, "cpu", given), Circumstances("", fingerprints=fingerprints(chosen)), strict=True)
    return row.verdict


@pytest.mark.parametrize(("factored", "direct", "expected"), [(0.0, 0.2, "holds"), (0.05, 0.2, "fails"), (0.0, 0.0, "not judged")])
def test_factored_scalars_must_end_at_the_smallest_l1_norm(factored, direct, expected):
    rows = [
        {"seed": seed, "rule": "adamw", "form": form, "setting": "small", "first": 0.4, "second": second, "error": 0.0}
        for seed in range(100)
        for form, second in (("factored", factored), ("direct", direct))
    ]
    assert verdict("C11.l1", end_points=pl.DataFrame(rows)) == expected


@pytest.mark.parametrize(("apart", "far", "expected"), [(1e-3, 0.1, "holds"), (0.1, 0.1, "fails"), (1e-3, 1e-3, "not judged")])
def test_the_two_rules_must_end_together_where_the_premise_is_met(apart, far, expected):
    rows = [
        {"seed": seed, "rule": rule, "form": "direct", "setting": setting, "first": 0.4 + (rule == "adamw") * off, "second": 0.2, "error": 0.0}
        for seed in range(100)
        for setting, off in (("small", apart), ("large", far))
        for rule in ("adamw", "adam_l2")
    ]
    assert verdict("C11.same-direct", end_points=pl.DataFrame(rows)) == expected


def noisy_rows(power, floor, decay_of_silent):
    """Exponential fall at the law's rate, plus a floor that grows like a power of the noise."""
    noisy, random = CONFIG.noisy, np.random.default_rng(0)
    times = noisy.step * noisy.block * np.arange(1, noisy.blocks + 1)
    return pl.DataFrame(
        [
            {"seed": seed, "arm": arm, "noise": noise, "time": time, "start": 1.0, "difference": size}
            for seed in range(10)
            for arm, noise in [("decayed", 0.0), *(("decayed", noise) for noise in noisy.noises), ("free", 0.0)]
            for time in times
            for fall in [np.exp(-(decay_of_silent if arm == "decayed" else 0.0) * 2 * noisy.learning_rate * noisy.decay * time)]
            for size in [(fall + floor * noise**power) * (1 + 0.01 * random.normal())]
        ]
    )


@pytest.mark.parametrize(("power", "expected"), [(1.0, "holds"), (2.0, "holds"), (3.0, "fails"), (0.0, "fails")])
def test_the_floor_must_grow_with_the_noise(power, expected):
    assert verdict("C12.floor", noisy_paths=noisy_rows(power, 1.0, 1.0)) == expected


@pytest.mark.parametrize(("rate", "expected"), [(1.0, "holds"), (0.8, "fails")])
def test_without_noise_the_imbalance_must_fall_at_the_laws_rate(rate, expected):
    rows = noisy_rows(1.0, 1.0, rate)
    assert verdict("C12.rate", noisy_paths=rows) == expected
    assert verdict("C12.silent", noisy_paths=rows) == "holds"
    assert verdict("C12.silent", noisy_paths=noisy_rows(0.0, 1e-7, 1.0)) == "not judged"


@pytest.mark.parametrize(("second", "expected"), [(1.0, "holds"), (0.9, "fails")])
def test_both_balances_of_three_layers_must_fall_at_the_laws_rate(second, expected):
    rows = [
        {"seed": seed, "arm": arm, "place": place, "step": step, "time": 0.1 * step, "law": 0.4, "difference": np.exp(-0.04 * rate * (1 + 1e-4 * seed) * step)}
        for seed in range(10)
        for arm, moving in (("decayed", 1.0), ("free", 0.0))
        for place, rate in ((1, moving), (2, moving * second))
        for step in range(0, 100, 10)
    ]
    assert verdict("C15.rate", deep_descent=pl.DataFrame(rows)) == expected


@pytest.mark.parametrize(("kept", "kept_by_single", "expected"), [(15, 20, "holds"), (16, 20, "fails"), (15, 15, "not judged")])
def test_two_factors_must_keep_the_directions_above_the_decay(kept, kept_by_single, expected):
    rows = [
        {"seed": seed, "arm": arm, "directions": number, "above": 15, "distance": 0.0}
        for seed in range(100)
        for arm, number in (("both", kept), ("single", kept_by_single))
    ]
    assert verdict("C9.above", pruned=pl.DataFrame(rows)) == expected


@pytest.mark.parametrize(("both", "one", "expected"), [(3, 4, "holds"), (4, 4, "fails"), (3, 3, "not judged")])
def test_the_pseudo_rank_must_be_low_with_decay_on_both(both, one, expected):
    names = ("gap", "difference", "imbalance", "relative_gap", "effective_rank")
    rows = [
        {"seed": seed, "optimizer": "adamw", "arm": arm, "decay": 0.8, "rank95_sum": modes, **dict.fromkeys(names, 1.0)}
        for seed in range(40)
        for arm, modes in (("both", both), ("one", one))
    ]
    assert verdict("C8.pseudo-rank-adamw", adaptive_balance=pl.DataFrame(rows)) == expected
