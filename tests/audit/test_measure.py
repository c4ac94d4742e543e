"""The rows' numbers: the ratio beside its nulls, calibrated on random heads and moved by aligned ones."""

import numpy as np
import pytest

from mesocosm.audit import audit
from mesocosm.audit.checkpoint_audit import SCHEMA
from mesocosm.audit.comparison import compare
from mesocosm.audit.measure import Pair, measure
from packed_models import Family, draw_heads, linear, write

WIDE = Family(
    linear("self.query self.key self.value output.dense"),
    {"model_type": "bert", "hidden_size": 96, "num_attention_heads": 12},
    "bert.encoder.layer.{}.attention",
    heads=12,
    key_heads=12,
    size=8,
    width=96,
)


def random_pair(seed, m=60, n=60, r=8, scale=1.0):
    random = np.random.default_rng(seed)
    return Pair("QK", 0, 1, random.standard_normal((m, r)), scale * random.standard_normal((n, r)))


def test_gaussian_heads_lie_where_their_null_says():
    """Over 200 random heads the z score of null 1 has mean 0 and spread 1: the null is calibrated, unequal norms included."""
    rows = [measure(random_pair(seed, scale=1 + seed % 3))[0] for seed in range(200)]
    for measured, null in (("ratio", "null1"), ("stable", "stable_null1")):
        z = np.array([(row[measured] - row[null]) / row[f"{null}_sd"] for row in rows])
        assert abs(z.mean()) < 0.6, measured  # the nulls' means come from 32 draws, the same ones for all rows
        assert 0.6 < z.std() < 1.6, measured
    assert abs(np.mean([row["rank95_sum"] - row["rank95_sum_null1"] for row in rows])) < 0.2
    z = np.array([(row["ratio"] - row["null2"]) / row["null2_sd"] for row in rows])
    assert abs(z.mean()) < 0.4
    assert 0.7 < z.std() < 1.4


def test_alignment_shows_against_both_nulls_and_scale_does_not_hide_it():
    random = np.random.default_rng(0)
    a = random.standard_normal((60, 8)) * np.geomspace(1, 0.05, 8)
    row, spectra = measure(Pair("QK", 0, 1, a, a + 1e-3 * random.standard_normal(a.shape)))
    assert row["ratio"] > 0.999
    assert row["score"] > 0.99
    assert row["null2"] + 5 * row["null2_sd"] < row["ratio"]
    assert row["relD"] < 1e-2
    assert row["cosPQ"] > 0.999
    assert row["rank95_sum"] < row["rank95_sum_null1"] - 5 * row["rank95_sum_null1_sd"]
    rotation, _ = np.linalg.qr(random.standard_normal((8, 8)))
    rotated = measure(Pair("QK", 0, 1, a, a @ rotation))[0]
    assert abs(rotated["score"]) < 0.6  # null 2 has the spectra of both factors, and so it is one of its own draws
    assert rotated["null2"] == pytest.approx(row["null2"], abs=5 * row["null2_sd"])
    assert spectra.values.sum() == pytest.approx(row["nuc"])
    assert spectra.null2.sum() == pytest.approx(row["null2"] * row["fro"])
    assert spectra.null1.sum() == pytest.approx(row["null1"] * row["fro"])


def test_unequal_norms_lower_the_ratio_and_its_null_alike():
    equal, unequal = measure(random_pair(1))[0], measure(random_pair(1, scale=3.0))[0]
    for value in ("ratio", "null1", "null2"):
        unscaled = [row[value] * row["fro"] / (row["normA2"] * row["normB2"]) ** 0.5 for row in (equal, unequal)]
        assert unscaled[0] == pytest.approx(unscaled[1], rel=1e-9)
    assert unequal["ratio"] < 0.6 * equal["ratio"] + 0.02
    assert unequal["relD"] > 0.7


def test_a_dead_head_is_a_row_of_zeros_and_no_nan():
    row, _ = measure(Pair("VO", 3, 1, np.zeros((12, 4)), np.ones((12, 4))))
    assert all(np.isfinite(value) for value in row.values())
    assert (row["nuc"], row["ratio"], row["rank95_sum"], row["stable"], row["effective"]) == (0, 0, 0, 0, 0)
    row, _ = measure(Pair("VO", 3, 1, np.zeros((12, 4)), np.zeros((12, 4))))
    assert all(np.isfinite(value) for value in row.values())


def wide_model(seed):
    random, tensors = np.random.default_rng(seed), {}
    for layer in range(2):
        tensors |= WIDE.pack(WIDE.prefix.format(layer), draw_heads(random, WIDE))
    return tensors


def test_a_row_has_the_published_schema(tmp_path):
    found = audit(write(tmp_path, wide_model(0), WIDE.config))
    assert dict(found.rows.schema) == SCHEMA
    wanted = "model layer head group product d_model d_h nuc fro ratio null1 null1_sd null2 null2_sd draws score relD cosPQ rank95_sum rank95_energy"
    assert set((wanted + " stable effective normA2 normB2 applies notes").split()) <= set(SCHEMA)
    assert found.rows["draws"].unique().to_list() == [32]
    assert found.rows.height == 2 * 12 * 2
    assert found.spectra.height == 2 * 12 * 2 * 8
    assert found.row_norms.height == 2 * 12 * 2 * 8
    assert found.rows.null_count().sum_horizontal().item() == 48 * 3  # no gain to fold, no rotary pairs, no reason
    np.testing.assert_allclose(found.rows["score"], (found.rows["ratio"] - found.rows["null2"]) / (1 - found.rows["null2"]))


def test_two_checkpoints_are_compared_product_by_product(tmp_path):
    first, second = wide_model(0), wide_model(0)
    name = "bert.encoder.layer.1.attention.self.query.weight"
    key = second["bert.encoder.layer.1.attention.self.key.weight"]
    second[name][8:16] = key[8:16]  # the second head of the second layer asks with its key
    del second["bert.encoder.layer.0.attention.output.dense.weight"]
    audits = [audit(write(tmp_path / n, tensors, WIDE.config)) for n, tensors in (("a", first), ("b", second))]
    found = compare(*audits)
    assert found.height == 48
    assert dict(found["found_in"].value_counts().iter_rows()) == {"both": 24, "a": 24}
    changed = found.filter(found["ratio_change"].abs() > 1e-12)
    assert changed.select("layer", "product", "head").rows() == [(1, "QK", 1)]
    assert changed["ratio_b"].item() == pytest.approx(1)
    assert changed["ratio_change"].item() == pytest.approx(changed["ratio_b"].item() - changed["ratio_a"].item())
