"""Norms of single rows: read off the matrices, paired under rotary positions, and calibrated on random heads."""

import numpy as np
import polars as pl
import pytest

from mesocosm.audit import audit
from mesocosm.audit.heads import Heads
from mesocosm.audit.measure import Pair, pair_imbalance, pairs_of
from mesocosm.audit.row_norms import row_columns, row_norms
from mesocosm.audit.settings import Settings
from packed_models import FAMILIES, pack, write

ROTARY = Settings(positions="rotary", interleaved=False)


def drawn(seed=0, queries=4, keys=2, size=6, width=20):
    random = np.random.default_rng(seed)
    return Heads(*(random.standard_normal(shape) for shape in ((queries, size, width), (keys, size, width), (keys, size, width), (queries, width, size))))


def norms_of(heads, settings):
    return {(pair.product, pair.head): row_norms(pair, settings) for pair in pairs_of(heads)}


def test_norms_are_those_of_rows_summed_over_queries_that_share_a_key():
    heads = drawn()
    found = norms_of(heads, Settings(positions="additive"))
    for key in range(2):
        mine = slice(2 * key, 2 * key + 2)
        np.testing.assert_allclose(found["QK", key].a, np.square(heads.key[key]).sum(1))
        np.testing.assert_allclose(found["QK", key].b, np.square(heads.query[mine]).sum((0, 2)))
        np.testing.assert_allclose(found["VO", key].a, np.square(heads.output[mine]).sum((0, 1)))
        np.testing.assert_allclose(found["VO", key].b, np.square(heads.value[key]).sum(1))
        assert not found["QK", key].pair.any()


@pytest.mark.parametrize(("interleaved", "first"), [(False, (0, 3)), (True, (0, 1))])
def test_rotary_pairs_are_summed_and_survive_a_rotation_that_rows_do_not(interleaved, first):
    """A rotation within each pair leaves the scores under rotary positions, the sums over pairs, and nothing else."""
    settings = Settings(positions="rotary", interleaved=interleaved)
    heads = drawn(queries=2)
    rotation, angle = np.eye(6), 0.7
    i, j = first
    rotation[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    turned = heads._replace(query=rotation @ heads.query)
    before, after = (norms_of(each, settings)["QK", 0] for each in (heads, turned))
    assert before.pair.tolist() == [True] * 3
    np.testing.assert_allclose(before.b, after.b, rtol=1e-12)
    assert np.abs(np.square(heads.query[0]).sum(1) - np.square(turned.query[0]).sum(1)).max() > 0.1
    np.testing.assert_allclose(before.a[0], np.square(heads.key[0][list(first)]).sum())
    columns = row_columns(next(pairs_of(heads)), before, 8)
    assert columns["rows_relD"] == pytest.approx(pair_imbalance(heads, 0, settings), rel=1e-12)
    partial = norms_of(heads, Settings(positions="rotary", interleaved=interleaved, rotated=4))["QK", 0]
    assert partial.pair.tolist() == [True, True, False, False]
    np.testing.assert_allclose(partial.a[2:], np.square(heads.key[0]).sum(1)[4:])
    assert not norms_of(heads, settings)["VO", 0].pair.any()


def test_random_rows_lie_where_their_null_says_and_equal_ones_below():
    """Over 200 random heads, unequal norms included; for equal norms the null is 1 / sqrt(d)."""
    z, correlations = [], []
    for seed in range(200):
        random = np.random.default_rng(seed)
        pair = Pair("VO", 0, 1, random.standard_normal((60, 8)), (1 + seed % 3) * random.standard_normal((60, 8)))
        columns = row_columns(pair, row_norms(pair, ROTARY), 32)
        z.append((columns["rows_relD"] - columns["rows_relD_null1"]) / columns["rows_relD_null1_sd"])
        correlations.append(columns["rows_corr"])
    assert abs(np.mean(z)) < 0.6
    assert 0.6 < np.std(z) < 1.6
    assert np.std(correlations) == pytest.approx(1 / np.sqrt(7), rel=0.2)
    assert abs(np.mean(correlations)) < 0.1
    wide = Pair("QK", 0, 1, np.ones((1600, 32)), np.ones((1600, 32)))
    columns = row_columns(wide, row_norms(wide, Settings(positions="additive")), 32)
    assert columns["rows_relD_null1"] == pytest.approx(1 / 40, rel=0.1)
    assert columns["rows_relD"] == 0
    assert columns["rows_corr"] is None


def test_long_rows_that_face_long_rows_are_seen():
    random = np.random.default_rng(0)
    a = random.standard_normal((60, 8)) * np.geomspace(1, 0.1, 8)
    facing, shuffled = (Pair("VO", 0, 1, a, a[:, order] + 1e-3) for order in (np.arange(8), np.roll(np.arange(8), 3)))
    aligned, apart = (row_columns(pair, row_norms(pair, ROTARY), 32) for pair in (facing, shuffled))
    assert aligned["rows_corr"] > 0.99
    assert aligned["rows_relD"] < aligned["rows_relD_null1"] / 5
    assert apart["rows_corr"] < 0.3
    assert apart["rows_relD"] > apart["rows_relD_null1"] + 5 * apart["rows_relD_null1_sd"]
    dead = Pair("VO", 0, 1, np.zeros((6, 4)), np.zeros((6, 4)))
    assert row_columns(dead, row_norms(dead, ROTARY), 8) == {"rows_relD": 0.0, "rows_relD_null1": 0.0, "rows_relD_null1_sd": 0.0, "rows_corr": None}


def test_an_audit_has_the_rows_of_every_product(tmp_path):
    family = FAMILIES["mistral-gqa"]
    found = audit(write(tmp_path, pack(family)[0], family.config))
    rotary = found.row_norms.filter(product="QK")
    assert rotary["pair"].any()
    assert found.row_norms.filter(product="VO").group_by("block", "head").len()["len"].unique().to_list() == [family.size]
    sums = found.row_norms.filter(product="VO").group_by("block", "head", maintain_order=True).agg(pl.col("a", "b").sum())
    rows = found.rows.filter(product="VO")
    np.testing.assert_allclose(sums["a"], rows["normA2"], rtol=1e-9)
    np.testing.assert_allclose(sums["b"], rows["normB2"], rtol=1e-9)
