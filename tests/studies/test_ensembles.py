"""The ensembles study: what its smoke run measured, identities and mutants, pictures; what is not installed is not judged."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from mesocosm.analysis.tangent.variance_decomposition import VarianceParts
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.judge import judge
from mesocosm.claims.view import View
from mesocosm.lab.store.run_directory import Run
from mesocosm.studies.ensembles import claims, identities, images
from mesocosm.studies.ensembles.config import PRESETS, Toy
from mesocosm.studies.ensembles.image_kernels import Measured, slopes_by_size
from mesocosm.studies.ensembles.images import Standard, draw_training, held_out, of_classes, splits_for
from mesocosm.studies.ensembles.toy import plane, rank_correlation
from mesocosm.studies.ensembles.trained import halves, places
from mesocosm.tasks.data_sets import Images, Splits


def run(out, folder):
    command = [str(Path(sys.executable).with_name("mesocosm")), "run", "ensembles", "--preset", "smoke", "--out", str(out)]
    environment = {**os.environ, "MESOCOSM_DATA": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("ensembles")


def test_every_seed_and_arm_meets_the_same_evaluation_data(smoke):
    for table in ("kernel_detection", "trained_detection"):
        found = smoke.table(table)
        assert found.group_by("inside").agg(pl.col("digest").n_unique())["digest"].to_list() == [1, 1]


@pytest.mark.parametrize(
    ("table", "part", "all_noise", "setting"),
    [
        ("kernel_detection", "part", "full", ["network", "inside"]),
        ("trained_detection", "variant", "gd", ["outside", "inside"]),
        ("sweep", "variant", "gd", ["network"]),
    ],
)
def test_a_detection_row_can_be_recomputed(smoke, table, part, all_noise, setting):
    """Gains are differences of the AUROCs beside them; every part gains or loses somewhere."""
    found = smoke.table(table)
    full = found.filter(pl.col(part) == all_noise).select("seed", *setting, full="auroc")
    both = found.join(full, on=["seed", *setting])
    assert len(both) == len(found)
    np.testing.assert_allclose(both["gain"], both["auroc"] - both["full"], atol=1e-9)
    assert both.filter(pl.col("gain") != 0)[part].n_unique() == found[part].n_unique() - 1


def test_accuracies_are_compared_picture_by_picture(smoke):
    found = smoke.table("accuracies")
    both = found.join(found.filter(pl.col("ensemble") == "gd").select("seed", "inside", gd="accuracy"), on=["seed", "inside"])
    np.testing.assert_allclose(both["gain"], both["accuracy"] - both["gd"], atol=1e-12)
    assert set(found.filter(pl.col("gain") != 0)["ensemble"]) >= {"gd-c", "gd-c, half the members", "gd, one member"}


def test_growths_are_ratios_of_shares_in_the_sweep(smoke):
    found, grown = smoke.table("sweep"), smoke.table("sweep_shares")
    both = found.filter(pl.col("variant") == "gd-c").join(found.filter(pl.col("variant") == "gd"), on=["seed", "network"], suffix="_gd")
    share = {(seed, network): a / b for seed, network, a, b in both.select("seed", "network", "variance_inside", "variance_inside_gd").iter_rows()}
    for comparison, one, other in (("width", "base", "wide"), ("depth", "deep", "base")):
        rows = grown.filter(pl.col("comparison") == comparison)
        np.testing.assert_allclose(rows["growth"], [np.log(share[seed, one] / share[seed, other]) for seed in rows["seed"]], atol=1e-5)
    assert (grown.filter(pl.col("comparison").str.ends_with("unchanged"))["growth"] != 0).all()


@pytest.mark.parametrize("members", [3, 10])
def test_every_member_is_in_as_many_halves(members):
    found = halves(np.arange(2.0 * members).reshape(2, members))
    assert {half.shape for half in found} == {(2, (members + 1) // 2)}
    numbers, counts = np.unique(np.concatenate(found, axis=1)[1], return_counts=True)
    assert numbers.tolist() == list(range(members, 2 * members))
    assert len(set(counts)) == 1


def test_the_scale_of_the_readout_is_that_of_the_first_functions(smoke):
    """After a few steps function noise still goes with it, and kernel noise has hardly begun to."""
    found = smoke.table("sweep").group_by("network", "variant").agg(pl.col("variance_inside").mean())
    variance = {(network, variant): value for network, variant, value in found.iter_rows()}
    small, large = (smoke.view().config.sweep.readouts[place] for place in (0, -1))
    grown = {variant: variance["readout-1", variant] / variance["readout-0", variant] for variant in ("gd-c", "gd-a")}
    assert grown["gd-a"] > (large / small) ** 2 / 2
    assert grown["gd-c"] < 2


def test_the_two_trainings_of_the_interaction_stay_together():
    assert places(("gd", "gd-i", "gd-a")) == [slice(0, 1), slice(1, 3), slice(3, 4)]


@pytest.mark.slow
def test_what_is_not_installed_is_not_judged_and_says_how_to_get_it(tmp_path):
    """Kernel models in the plane are judged all the same; the run ends well."""
    from mesocosm.tasks import data_sets

    if not data_sets.missing(("fashion-mnist",)):
        pytest.skip("fashion-mnist is installed")
    out = tmp_path / "run"
    finished = run(out, tmp_path / "nothing")
    assert finished.returncode == 0, finished.stderr
    states = {name: status["state"] for name, status in Run(out).trials.items()}
    assert states["widths"] == states["identities"] == "finished"
    assert states["trained-fashion-mnist"] == "skipped"
    reasons = {row["id"]: row["reason"] for row in Run(out).claims}
    assert "dataset-fashion-mnist" in reasons["ensembles/C6.fashion-variance"]


def test_identities_hold_and_their_mutants_do_not(smoke):
    found = smoke.table("identities")
    assert set(found["identity"]) == {*identities.OF_MODELS, "kernel"}
    assert found["error"].max() < 1e-9
    assert found["mutant"].min() > 1e-4


def test_slopes_are_those_of_power_laws_whatever_the_pictures():
    """Kernel noise of order 1/n beside function noise of order 1: pictures of very different variance leave no error."""
    sizes, picture = [8, 16, 32, 64], np.random.default_rng(0).gamma(0.5, size=(2, 20))
    found = [Measured(VarianceParts(picture, picture, picture / n, *[picture] * 4), picture[:, None], picture) for n in sizes]
    slopes = slopes_by_size(found, sizes, 10)
    shuffled = np.polyfit([0, 1, 2, 3], [-1, -3, 0, -2], 1)[0]
    np.testing.assert_allclose(slopes["slope"], [[0, -1, -1, shuffled]] * 2, atol=1e-12)
    np.testing.assert_allclose(slopes["slope_error"], 0, atol=1e-12)


# --- rows -------------------------------------------------------------------------------------------------------------


def verdict(name, tables):
    """The verdict of one check at the preset cpu."""
    claim, check = name.split(".")
    chosen = [replace(each, checks=[one for one in each.checks if one.name == check]) for each in claims.CLAIMS if each.id == claim]
    view = View(PRESETS["cpu"].config, "cpu", tables)
    (row,) = judge("ensembles", chosen, view, Circumstances("mesocosm run ensembles"), strict=True)
    return row.verdict


def frame(*rows):
    """Ten seeds of each row, which is given by its axes and its means; seeds differ by 0.01, and all share an evaluation error of 0.002."""
    random, frames = np.random.default_rng(0), []
    for axes, means in rows:
        values = {name: mean + 0.01 * random.normal(size=10) for name, mean in means.items()}
        errors = {f"{name}_error": [0.002] * 10 for name in means}
        frames.append(pl.DataFrame({"seed": range(10), "digest": ["one"] * 10, **{name: [value] * 10 for name, value in axes.items()}, **values, **errors}))
    return pl.concat(frames)


def share(kernel):
    return {"widths": frame(({"width": 128}, {"full": 1.0, "function": 0.85, "kernel": kernel}))}


def distance(kernel):
    near, turned = {"function": 0.9, "kernel": kernel}, {"function": 0.4, "kernel": 0.6}
    rows = [({"network": claims.BIASED, "part": part}, {"distance_alone": near[part], "turned_distance_alone": turned[part]}) for part in near]
    return {"correlations": frame(*rows)}


def angle(kernel):
    parts = {"kernel": kernel, "function": 0.9, "interaction": 0.8}
    return {"correlations": frame(*(({"network": claims.PLAIN, "part": part}, {"angle_alone": value}) for part, value in parts.items()))}


def slopes(along, of, value):
    found = {("width", "function"): 0.0, ("width", "kernel"): -1.0, ("depth", "share"): 0.3, ("depth", "share, sizes shuffled"): 0.0, (along, of): value}
    rows = [({"along": along, "of": of, "inside": inside}, {"slope": slope}) for (along, of), slope in found.items() for inside in claims.BOTH]
    return {"kernel_slopes": frame(*rows)}


def growth(comparison, value, loss=0.0):
    goal = PRESETS["cpu"].config.sweep.trained.goal
    arms = [({"network": network, "variant": variant}, {}) for network in ("base", "wide", "deep") for variant in ("gd", "gd-c")]
    found = [({"comparison": name}, {"growth": number}) for name, number in ((comparison, value), (f"{comparison} unchanged", 0.0))]
    return {"sweep": frame(*arms).with_columns(worst_train_loss=goal + loss), "sweep_shares": frame(*found)}


def accuracy(half):
    goal, found = PRESETS["cpu"].config.trained.goal, {"gd-c, half the members": half, "gd, one member": -0.06}
    about = [(inside, name, gain) for inside in claims.BOTH for name, gain in found.items()]
    trained = frame(*(({"inside": inside, "variant": variant}, {}) for inside in claims.BOTH for variant in ("gd", "gd-c")))
    rows = (({"inside": inside, "ensemble": name}, {"gain": gain}) for inside, name, gain in about)
    return {"trained": trained.with_columns(worst_train_loss=goal), "accuracies": frame(*rows)}


@pytest.mark.parametrize(
    ("name", "with_it", "without"),
    [
        ("C1.share", share(0.15), share(0.4)),
        ("C3.distance-contrast", distance(0.7), distance(0.95)),
        ("C3.angle-contrast", angle(0.97), angle(0.8)),
        *(
            (f"C4.{data}-{row}", slopes(*place, true), slopes(*place, false))
            for data in claims.SHORT.values()
            for row, place, true, false in (
                ("kernel-width", ("width", "kernel"), -0.96, -0.8),
                ("function-width", ("width", "function"), 0.02, -0.2),
                ("depth", ("depth", "share"), 0.25, 0.0),
            )
        ),
        ("C6.width", growth("width", 1.3), growth("width", 0.3)),
        ("C6.depth", growth("depth", 0.7), growth("depth", 0.3)),
        *((f"C7.{data}-accuracy", accuracy(0.01), accuracy(-0.04)) for data in claims.SHORT.values()),
    ],
)
def test_a_row_holds_with_its_mechanism_and_fails_without(name, with_it, without):
    assert verdict(name, with_it) == "holds"
    assert verdict(name, without) == "fails"


def test_a_growth_that_any_two_draws_have_is_not_judged():
    unequal = growth("width", 1.3)
    unequal["sweep_shares"] = unequal["sweep_shares"].with_columns(growth=1.3 + 0 * pl.col("growth") + pl.col("seed") / 1000)
    assert verdict("C6.width", unequal) == "not judged"
    assert verdict("C6.width", growth("width", 1.3, loss=1.0)) == "not judged"


# --- pictures and the plane -------------------------------------------------------------------------------------------


def made_up():
    return Images(np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8), np.arange(60) % 3)


def test_subsets_are_balanced_drawn_once_and_differ_between_seeds():
    drawn = draw_training(made_up(), 4, jax.random.split(jax.random.key(0), 3))
    assert drawn.pixels.shape == (3, 12, 2, 2)
    for pixels, labels in zip(drawn.pixels, drawn.labels, strict=True):
        assert np.bincount(labels).tolist() == [4, 4, 4]
        assert len(np.unique(pixels[:, 0, 0])) == 12
        np.testing.assert_array_equal(pixels[:, 0, 0] % 3, labels)
    assert not np.array_equal(drawn.pixels[0], drawn.pixels[1])


@pytest.mark.parametrize("classes", [(1, 2), (2, 1)])
def test_classes_are_numbered_in_the_order_asked_for(classes):
    chosen = of_classes(made_up(), classes)
    assert len(chosen.labels) == 40
    np.testing.assert_array_equal(np.asarray(classes)[chosen.labels], chosen.pixels[:, 0, 0] % 3)


def test_outside_pictures_are_scaled_like_the_training_set():
    scale = Standard.of(made_up().pixels)
    scaled = scale(made_up().pixels, np.float64)
    assert abs(scaled.mean()) < 1e-12
    assert scaled.std() == pytest.approx(1)
    np.testing.assert_allclose(scale(np.full((1, 2, 2), 255, np.uint8), np.float64), (255 - 29.5) / made_up().pixels.std())


def test_distance_and_angle_are_to_the_nearest_point():
    places = plane(Toy(grid=7), 0.4)
    for place in (3, 20, 48):
        spot = places.grid[place]
        assert places.distance[place] == pytest.approx(min(np.linalg.norm(spot - point) for point in places.train))
        cosines = [spot @ point / np.linalg.norm(spot) / np.linalg.norm(point) for point in places.train]
        assert np.cos(places.angle[place]) == pytest.approx(max(cosines))
    assert not np.allclose(places.angle, places.turned_angle)


def test_a_rank_correlation_at_fixed_values_of_another_variable():
    """Independent reference: the recursion of partial correlations over Spearman's three."""
    random = np.random.default_rng(0)
    third = random.normal(size=200)
    a, b = third + random.normal(size=200), np.exp(third + random.normal(size=200))
    of = {pair: spearmanr(*pair_values).statistic for pair, pair_values in {"ab": (a, b), "ac": (a, third), "bc": (b, third)}.items()}
    assert rank_correlation(a, b) == pytest.approx(of["ab"])
    partial = (of["ab"] - of["ac"] * of["bc"]) / np.sqrt((1 - of["ac"] ** 2) * (1 - of["bc"] ** 2))
    assert rank_correlation(a, b, third) == pytest.approx(partial)
    assert abs(partial) < 0.15 < 0.4 < of["ab"]


def test_pilots_are_tested_on_pictures_that_no_record_is_tested_on_and_no_pilot_trained_on(monkeypatch):
    monkeypatch.setattr(images, "PILOT_TEST", 20)
    pixels = np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    splits = Splits(*(Images(pixels[rows], np.arange(len(pixels[rows]))) for rows in (slice(40), slice(40, None))))
    monkeypatch.setattr(images, "find", lambda name: SimpleNamespace(splits=lambda: splits))
    shown = {seed: [set(part.pixels[:, 0, 0].tolist()) for part in splits_for([seed], "any")] for seed in (0, 1000)}
    assert shown[0] == [set(range(40)), set(range(40, 60))]
    assert shown[1000] == [set(range(20, 40)), set(range(20))]


def test_too_few_test_pictures_are_refused():
    assert len(held_out(made_up(), 60).labels) == 60
    with pytest.raises(ValueError, match="there are 60 pictures to test on, not 61"):
        held_out(made_up(), 61)
