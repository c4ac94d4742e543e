"""What a study declares is refused where it makes no sense, before anything runs."""

import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesocosm.claims.replicates import NotJudged
from mesocosm.studies.interface import Check, Claim, Control, Exact, Figure, Mean, Reference, Region, Study, View, above, below, between

CONTROL = Control("without it", lambda view: None)  # type: ignore[arg-type]


def check(name="loss", kind=None, inside=None, judged_at=frozenset({"cpu"})) -> Check:
    return Check(name, kind or Mean("loss"), inside or above(0.5), CONTROL.measure, CONTROL, judged_at=judged_at)


# --- regions ---


@pytest.mark.parametrize(
    ("region", "direction", "threshold"), [(below(1.0), "<", 1.0), (above(0.0), ">", 0.0), (between(-1.0, 0.0), "in", [-1.0, 0.0]), (below(0.0), "<", 0.0)]
)
def test_a_region_reads_as_it_was_written(region, direction, threshold):
    assert (region.direction, region.threshold) == (direction, threshold)


@given(st.tuples(st.floats(-3, 3), st.floats(0.01, 3)), st.tuples(st.floats(-3, 3), st.floats(0.01, 3)))
def test_contains_and_excludes_agree_with_membership_of_the_points(edges, ends):
    """An interval is inside iff all its points are, outside iff none of them is; a grid with both ends stands for its points."""
    low, high = ends[0], ends[0] + ends[1]
    for region in (below(edges[0]), above(edges[0]), between(edges[0], edges[0] + edges[1])):
        corners = [corner for corner in (region.low, region.high) if corner is not None and low <= corner <= high]
        just_beside = [math.nextafter(corner, side) for corner in corners for side in (-math.inf, math.inf)]
        points = [x for x in (*np.linspace(low, high, 9), *corners, *just_beside) if low <= x <= high]
        members = [(region.low is None or x > region.low) and (region.high is None or x < region.high) for x in points]
        assert region.contains(low, high) == all(members)
        assert region.excludes(low, high) == (not any(members))


def test_a_region_is_open_at_its_ends():
    assert not above(0.5).contains(0.5, 1.0)
    assert above(0.5).excludes(0.0, 0.5)
    assert not between(0.0, 1.0).contains(0.5, 1.0)


@pytest.mark.parametrize(("low", "high"), [(None, None), (1.0, 1.0), (2.0, 1.0), (math.nan, None), (None, math.inf), (0.0, math.nan)])
def test_empty_and_infinite_regions_are_refused(low, high):
    with pytest.raises(ValueError, match="region"):
        Region(low, high)


# --- claims ---


def test_a_check_names_presets_that_exist():
    assert check(judged_at=frozenset({"quick", "cpu", "paper"})).judged_at == {"quick", "cpu", "paper"}
    with pytest.raises(ValueError, match="judged at gpu; the presets are smoke, quick, cpu, paper"):
        check(judged_at=frozenset({"gpu"}))
    with pytest.raises(ValueError, match="judged at no preset"):
        check(judged_at=frozenset())


@pytest.mark.parametrize("inside", [above(0.0), between(-1.0, 1.0), below(0.0), below(-1.0)])
def test_an_identity_has_a_positive_tolerance(inside):
    with pytest.raises(ValueError, match="positive tolerance"):
        check(kind=Exact("error"), inside=inside)
    assert check(kind=Exact("error"), inside=below(1e-6)).inside.high == 1e-6


def test_a_claim_is_either_checked_or_says_why_not():
    for options in ({}, {"checks": [check()], "unjudged": "too large"}):
        with pytest.raises(ValueError, match="C1 needs either checks or the reason"):
            Claim("C1", "So.", source="Fig. 1", **options)
    with pytest.raises(ValueError, match="two checks of the same name among loss, loss"):
        Claim("C1", "So.", source="Fig. 1", checks=[check(), check()])


def test_a_reference_is_a_number():
    with pytest.raises(ValueError, match="not nan"):
        Reference(math.nan, "paper")


# --- views, figures, studies ---


def test_a_view_remembers_what_was_read():
    view = View("config", "quick", {"loss": pl.DataFrame({"seed": [0]}), "other": pl.DataFrame()})
    assert view.table("loss")["seed"].to_list() == [0]
    with pytest.raises(NotJudged, match="no finished trial wrote the table 'probe'"):
        view.table("probe")
    assert view.read == {"loss"}


def test_a_figure_draws_from_a_view():
    view = View(None, "quick", {"loss": pl.DataFrame({"seed": [0, 1]})})
    figure = Figure("loss", "Loss", "Loss by seed.", lambda view: view.table("loss"))  # type: ignore[arg-type, return-value]
    assert len(figure.draw(view)) == 2  # type: ignore[arg-type]


def test_a_study_is_named_after_its_package():
    assert Study("mesocosm.studies.gated_rnn", title="", paper="").name == "gated-rnn"


def test_declaring_a_study_imports_neither_jax_nor_altair_nor_scipy():
    code = "import sys, mesocosm.studies.interface; sys.exit(any(name in sys.modules for name in ('jax', 'altair', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
