"""Arrays become rows in one order, and what a table should not hold is refused."""

import ml_dtypes
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.tables import long_table


def test_rows_stand_in_the_order_of_the_axes():
    table = long_table({"seed": [0, 1], "size": (4, 8, 16)}, loss=np.arange(6.0).reshape(2, 3), teacher=np.array([7, 9]), arm="gated", trained=True, note=None)
    assert table.columns == ["seed", "size", "loss", "teacher", "arm", "trained", "note"]
    assert table["seed"].to_list() == [0, 0, 0, 1, 1, 1]
    assert table["size"].to_list() == [4, 8, 16] * 2
    assert table["loss"].to_list() == [0, 1, 2, 3, 4, 5]
    assert table["teacher"].to_list() == [7, 7, 7, 9, 9, 9]
    assert set(table["arm"]) == {"gated"}
    assert table["trained"].dtype == pl.Boolean


def test_every_row_can_be_found_again():
    """Against a loop: the row of labels (a, b, c) holds the array's entry at their indices."""
    array = np.random.default_rng(0).normal(size=(2, 3, 4))
    table = long_table({"a": "xy", "b": range(3), "c": [0.5, 1.5, 2.5, 3.5]}, value=array)
    for i, a in enumerate("xy"):
        for j in range(3):
            for k in range(4):
                row = table.filter(a=a, b=j, c=k + 0.5)
                assert row["value"].to_list() == [array[i, j, k]]


def test_no_axes_make_one_row():
    assert long_table({}, loss=0.5, steps=np.int32(3)).rows() == [(0.5, 3)]


def test_an_empty_axis_makes_no_rows():
    assert long_table({"seed": []}, loss=np.zeros(0)).shape == (0, 2)


def test_strings_and_short_floats_are_read(tmp_path):
    digests, halves = np.array(["ab", "cd"]), np.array([0.5, 1.5], dtype=ml_dtypes.bfloat16)
    table = long_table({"seed": [0, 1]}, digest=digests, loss=halves, half=np.float16([1, 2]))
    assert table["digest"].to_list() == ["ab", "cd"]
    assert table["loss"].dtype == pl.Float32
    assert table["half"].dtype == pl.Float32
    table.write_parquet(tmp_path / "table.parquet")
    assert pl.read_parquet(tmp_path / "table.parquet").equals(table)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.zeros(3), r"has shape \(3,\); the axes \('seed', 'size'\) have lengths \(2, 3\)"),
        (np.zeros((2, 3, 1)), r"has shape \(2, 3, 1\)"),
        (np.array([1.0, np.nan]), "1 values that are not finite"),
        (float("inf"), "1 values that are not finite"),
        (np.array([1j, 0]), "holds complex128"),
        ([None, {}], "holds object"),
    ],
)
def test_what_does_not_belong_in_a_table_is_refused(column, message):
    with pytest.raises(ValueError, match=message):
        long_table({"seed": [0, 1], "size": [4, 8, 16]}, value=column)


def test_a_column_cannot_overwrite_an_axis():
    with pytest.raises(ValueError, match="'seed' would be both"):
        long_table({"seed": [0, 1]}, seed=np.zeros(2))
