"""The ensembles study: what its smoke run measured, identities and mutants, pictures; what is not installed is not judged."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest

from mesocosm.lab.store.run_directory import Run
from mesocosm.studies.ensembles import claims, identities
from mesocosm.studies.ensembles.config import Toy
from mesocosm.studies.ensembles.images import Standard, draw_training, of_classes
from mesocosm.studies.ensembles.toy import plane
from mesocosm.studies.ensembles.trained import halves, places
from mesocosm.tasks.data_sets import Images

SEARCH = Path(__file__).parents[2] / "results/ensembles/search.csv"


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
    found = smoke.table("trained")
    both = found.join(found.filter(pl.col("variant") == "gd").select("seed", "inside", gd="accuracy"), on=["seed", "inside"])
    np.testing.assert_allclose(both["accuracy_gain"], both["accuracy"] - both["gd"], atol=1e-12)
    alone = smoke.table("networks_alone")
    np.testing.assert_array_equal(alone.filter(pl.col("variant") == "gd")["accuracy_gain"], 0)  # its offset is zero
    assert (alone.filter(pl.col("variant") == "gd-c")["accuracy_gain"] != both.filter(pl.col("variant") == "gd-c")["accuracy_gain"]).any()


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
    assert set(found["identity"]) == {*identities.OF_MODELS, *identities.OF_NETWORKS}
    assert found["error"].max() < 1e-9
    assert found["mutant"].min() > 1e-4


# --- pictures and the plane -------------------------------------------------------------------------------------------


def images():
    return Images(np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8), np.arange(60) % 3)


def test_subsets_are_balanced_drawn_once_and_differ_between_seeds():
    drawn = draw_training(images(), 4, jax.random.split(jax.random.key(0), 3))
    assert drawn.pixels.shape == (3, 12, 2, 2)
    for pixels, labels in zip(drawn.pixels, drawn.labels, strict=True):
        assert np.bincount(labels).tolist() == [4, 4, 4]
        assert len(np.unique(pixels[:, 0, 0])) == 12
        np.testing.assert_array_equal(pixels[:, 0, 0] % 3, labels)
    assert not np.array_equal(drawn.pixels[0], drawn.pixels[1])


@pytest.mark.parametrize("classes", [(1, 2), (2, 1)])
def test_classes_are_numbered_in_the_order_asked_for(classes):
    chosen = of_classes(images(), classes)
    assert len(chosen.labels) == 40
    np.testing.assert_array_equal(np.asarray(classes)[chosen.labels], chosen.pixels[:, 0, 0] % 3)


def test_outside_pictures_are_scaled_like_the_training_set():
    scale = Standard.of(images().pixels)
    scaled = scale(images().pixels, np.float64)
    assert abs(scaled.mean()) < 1e-12
    assert scaled.std() == pytest.approx(1)
    np.testing.assert_allclose(scale(np.full((1, 2, 2), 255, np.uint8), np.float64), (255 - 29.5) / images().pixels.std())


def test_distance_and_angle_are_to_the_nearest_point():
    places = plane(Toy(grid=7), 0.4)
    for place in (3, 20, 48):
        spot = places.grid[place]
        assert places.distance[place] == pytest.approx(min(np.linalg.norm(spot - point) for point in places.train))
        cosines = [spot @ point / np.linalg.norm(spot) / np.linalg.norm(point) for point in places.train]
        assert np.cos(places.angle[place]) == pytest.approx(max(cosines))
    assert not np.allclose(places.angle, places.turned_angle)


def test_the_number_of_searched_configurations_is_that_of_the_search():
    tried = pl.read_csv(SEARCH, infer_schema_length=None)
    settings = [
        "kind",
        "inside",
        "pooling",
        "width",
        "depth",
        "readout",
        "parametrisation",
        "train",
        "batch_size",
        "learning_rate",
        "goal",
        "steps",
        "network",
        "members",
    ]
    counted = {kind: tried.filter(pl.col("kind") == kind).select(settings).unique().height for kind in ("trained", "kernels", "wide")}
    assert counted == {"trained": claims.TRAINED, "kernels": claims.KERNELS, "wide": claims.WIDE}
