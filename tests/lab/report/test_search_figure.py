"""The figure of a study's pilots has a line for each configuration, at the height of its result."""

import json

import polars as pl
import pytest

from mesocosm.claims.pilots import Pilots, pilots
from mesocosm.claims.replicates import NotJudged
from mesocosm.lab.catalogue import find
from mesocosm.lab.report.search_figure import panels, parallel_coordinates, search_figures

TABLE = """
kind,made_by,origin,rate,width,depth,seed,note,loss
a,pilot,ours,0.1,,1,1000,,4.0
a,pilot,ours,0.1,,1,1001,,2.0
a,pilot,ours,0.01,,1,1000,,300.0
a,pilot,ours,0.01,8,1,1000,not finite,
b,pilot,ours,0.1,8,2,1000,,1.0
"""


def tried(text: str) -> Pilots:
    return Pilots(pl.read_csv(text.strip().encode()))


def lines(table: Pilots) -> list[dict]:
    """The rows behind the lines of the first panel."""
    spec = parallel_coordinates(table).to_dict()
    layer = spec["vconcat"][0]["layer"][0]
    return spec["datasets"][layer["data"]["name"]]


def test_what_was_tried_in_one_configuration_has_no_panel():
    assert list(panels(tried(TABLE))) == ["a"]


def test_a_line_is_a_configuration_and_ends_at_the_mean_of_its_seeds():
    first, second, third = lines(tried(TABLE))
    assert (first["configuration"], first["seeds"], first["result"]) == ("rate 0.1, width not set", 2, 3.0)
    assert (second["configuration"], second["result"]) == ("rate 0.01, width not set", 300.0)
    assert [first["a0"], second["a0"], third["a0"]] == [1.0, 0.0, 0.0]
    assert [first["a1"], third["a1"]] == [0.0, 1.0]
    assert (first["a2"], second["a2"], third["a2"]) == (0.0, 1.0, None)  # the axis of results; nothing came of the third
    assert third["height"] < 0 <= first["height"]


def test_heights_are_logarithmic_where_results_span_decades():
    wide = tried("kind,rate,seed,loss\na,1,1000,1\na,2,1000,10\na,3,1000,100\n")
    assert [line["a1"] for line in lines(wide)] == pytest.approx([0.0, 0.5, 1.0])
    narrow = tried("kind,rate,seed,loss\na,1,1000,1\na,2,1000,10\na,3,1000,19\n")
    assert [line["a1"] for line in lines(narrow)] == pytest.approx([0.0, 0.5, 1.0])


def test_rows_of_a_search_stand_in_a_panel_of_their_trial():
    both = tried("kind,trial,rate,seed,loss\na,,1,1000,1\na,,2,1000,10\n,linear,1,1000,1\n,linear,2,1000,10\n")
    assert list(panels(both)) == ["a", "linear"]


def test_where_nothing_varies_the_page_says_so():
    with pytest.raises(NotJudged, match="no setting"):
        parallel_coordinates(tried("kind,rate,seed,loss\na,1,1000,1\na,1,1001,10\n"))


def test_a_study_with_pilots_gets_the_figure():
    (figure,) = search_figures("toy_study")
    assert figure.name == "pilots"
    assert "0.01" in json.dumps(figure.draw(None).to_dict())
    assert lines(pilots("toy_study"))[-1]["result"] is None


@pytest.mark.parametrize("study", ["mesa", "gated-rnn", "weight-decay", "cocoa", "ensembles", "hyla", "randomized"])
def test_the_figure_of_every_table_is_small(study):
    table = pilots(find(study).package)
    assert len(json.dumps(parallel_coordinates(table).to_dict())) < 150_000
