"""A check as a picture: what it says, and where things lie in it."""

import pytest
from hostile import ROW
from seen import Page

from mesocosm.lab.report.interval_plot import Axis, Plot, interval_plot, replicate_plot
from mesocosm.lab.report.page import environment


def drawn(plot: Plot | None) -> Page:
    return Page(environment().get_template("interval_plot.html").module.draw(plot))


def test_a_plot_says_what_it_shows():
    (svg, attributes), *marks = drawn(interval_plot(ROW)).elements
    assert svg == "svg"
    assert attributes["aria-label"] == "−2 [−2.5, −1.5], region < −1, control 0 [−0.1, 0.1]"
    centres = {attributes["class"]: float(attributes["cx"]) for tag, attributes in marks if tag == "circle"}
    edge = next(float(attributes["x1"]) for tag, attributes in marks if tag == "line")
    assert centres["measured"] < edge < centres["control"]


def test_replicates_are_all_drawn():
    dots = [attributes for tag, attributes in drawn(replicate_plot(ROW)).elements if tag == "circle" and "dot" in attributes["class"]]
    assert len(dots) == 3
    assert [float(dot["cx"]) for dot in dots] == sorted(float(dot["cx"]) for dot in dots)


def test_nothing_measured_draws_nothing():
    assert interval_plot({**ROW, "estimate": None}) is None
    assert replicate_plot({**ROW, "replicates": None}) is None


def test_identity_is_drawn_by_decades_with_zero_at_the_edge():
    axis = Axis.around([0.0, 1e-12, 10.0], decades=True)
    assert axis.at(0.0) < axis.at(1e-12) < axis.at(1e-5) < axis.at(10.0)
    assert axis.at(1e-5) - axis.at(1e-6) == pytest.approx(axis.at(1e-1) - axis.at(1e-2))
    row = {**ROW, "kind": "exact", "estimate": 0.0, "low": None, "high": None, "threshold": 1e-12, "control": {"name": "m", "estimate": 9.0}, "reference": None}
    assert interval_plot(row) is not None


def test_one_value_alone_still_has_an_axis():
    assert interval_plot({**ROW, "estimate": 1.0, "low": 1.0, "high": 1.0, "threshold": 1.0, "control": None, "reference": None}) is not None
