"""Tables of pilots: what counts as a configuration."""

import polars as pl
import pytest

from mesocosm.claims.pilots import Pilots, has_pilots, pilots

ROWS = """
kind,made_by,learning_rate,steps,seed,loss
a,pilot,0.1,50,1000,2
a,pilot,0.1,50,1001,3
a,pilot,0.2,50,1000,2
a,pilot,0.2,90,1000,1
b,specification,0.1,,,2
b,pilot,0.1,,1000,2
"""
TABLE = Pilots(pl.read_csv(ROWS.strip().encode()))


def test_seeds_outcomes_and_makers_make_no_configuration():
    assert TABLE.settings == ["kind", "learning_rate", "steps"]
    assert TABLE.outcomes == ["loss"]
    assert TABLE.count() == 4
    assert TABLE.counts("kind") == {"a": 3, "b": 1}


def test_what_is_counted_can_be_chosen():
    assert TABLE.count(pl.col("steps") < 60, kind="a") == 2
    assert TABLE.count(kind="a", beside=("steps",)) == 2
    assert TABLE.counts("kind", made_by="pilot") == {"a": 3, "b": 1}
    assert TABLE.counts("kind", made_by="specification") == {"b": 1}


def test_a_misspelt_column_is_an_error():
    with pytest.raises(ValueError, match="no column 'knd'"):
        TABLE.count(knd="a")
    with pytest.raises(ValueError, match="needs a column 'seed'"):
        Pilots(TABLE.table.drop("seed"))


def test_tables_join_and_keep_their_configurations():
    other = Pilots(pl.DataFrame({"trial": ["c", "c"], "learning_rate": [0.1, 0.5], "seed": [1000, 1000], "loss": [1.0, 2.0], "outcome": [None, "failed"]}))
    both = TABLE.joined(other)
    assert both.table.columns == ["kind", "learning_rate", "steps", "trial", "made_by", "seed", "loss", "outcome"]
    assert (both.count(), both.count(trial="c"), both.counts("kind")) == (6, 2, TABLE.counts("kind"))
    assert both.joined(other).table.height == both.table.height
    with pytest.raises(ValueError, match="'steps' is a setting"):
        TABLE.joined(Pilots(pl.DataFrame({"kind": ["a"], "seed": [1000], "steps": [3]})))


def test_a_package_holds_its_table():
    assert has_pilots("toy_study")
    assert pilots("toy_study").count() == 3
    assert not has_pilots("mesocosm.studies")
