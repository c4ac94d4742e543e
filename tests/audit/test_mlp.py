"""Products of MLPs: found under each library's names, measured without forming what is as large as the hidden layer squared."""

import numpy as np
import pytest

from mesocosm.analysis.spectra.factor_spectra import balance, product_spectrum
from mesocosm.audit import Options, audit
from mesocosm.audit.measure import Pair, measure
from mesocosm.audit.mlp import MLPS
from packed_models import FAMILIES, pack, write

WIDTH, HIDDEN = 5, 12
RANDOM = np.random.default_rng(0)
FIRST, SECOND, GATE = (RANDOM.standard_normal(shape).astype(np.float32) for shape in ((HIDDEN, WIDTH), (WIDTH, HIDDEN), (HIDDEN, WIDTH)))
TWO = {
    "model.layers.0.mlp": ("up_proj", "down_proj", FIRST),
    "model.layers.1.mlp": ("gate_up_proj", "down_proj", np.concatenate([GATE, FIRST])),
    "layers.0.mlp": ("Wi", "Wo", np.concatenate([GATE, FIRST])),
    "layers.0.feed_forward": ("w3", "w2", FIRST),
    "encoder.block.0.layer.1.DenseReluDense": ("wi_1", "wo", FIRST),
    "encoder.block.1.layer.1.DenseReluDense": ("wi", "wo", FIRST),
    "h.0.mlp": ("c_fc", "c_proj", FIRST.T),
    "h.1.mlp": ("c_fc", "c_proj", FIRST),  # nanoGPT
    "gpt_neox.layers.0.mlp": ("dense_h_to_4h", "dense_4h_to_h", FIRST),
    "decoder.layers.0": ("fc1", "fc2", FIRST),
    "encoder.layer.0": ("intermediate.dense", "output.dense", FIRST),
    "albert_layers.0": ("ffn", "ffn_output", FIRST),
    "transformer.layer.0.ffn": ("lin1", "lin2", FIRST),
    "decoder.blocks.0.mlp": ("0", "2", FIRST),
}


def mlp(block: str) -> dict[str, np.ndarray]:
    first, second, stored = TWO[block]
    gates = {f"{block}.{gate}.weight": GATE for gate in {"up_proj": ("gate_proj",), "w3": ("w1",), "wi_1": ("wi_0",)}.get(first, ())}
    return {f"{block}.{first}.weight": stored, f"{block}.{second}.weight": SECOND.T if block == "h.0.mlp" else SECOND} | gates


@pytest.mark.parametrize("block", TWO)
def test_each_library_gives_the_product_of_its_two_matrices(block, tmp_path):
    (row,) = audit(write(tmp_path, mlp(block)), Options(mlps=True)).audited.iter_rows(named=True)
    assert row["nuc"] == pytest.approx(np.linalg.svd(SECOND.astype(float) @ FIRST, compute_uv=False).sum())
    assert (row["product"], row["block"], row["d_h"], row["d_model"], row["applies"]) == ("MLP", block, HIDDEN, WIDTH, "no")
    assert [row["normA2"], row["normB2"]] == pytest.approx([np.sum(SECOND.astype(float) ** 2), np.sum(FIRST.astype(float) ** 2)])


def test_every_name_of_the_table_is_tested():
    assert {first for first, _, _ in TWO.values()} == {known.first.removesuffix(r"\.weight").rpartition(r")\.")[2].replace("\\", "") for known in MLPS}


def test_mlps_stand_beside_attention_and_only_when_asked_for(tmp_path):
    family = FAMILIES["llama"]
    broken = {"model.layers.3.mlp.up_proj.weight": FIRST, "model.layers.4.mlp.up_proj.weight": FIRST, "model.layers.4.mlp.down_proj.weight": FIRST}
    folder = write(tmp_path, pack(family)[0] | mlp("model.layers.0.mlp") | broken, family.config)
    assert "MLP" not in audit(folder).audited["product"]
    found = audit(folder, Options(mlps=True, draws=3))
    assert found.audited["product"].value_counts().sort("product").rows() == [("MLP", 1), ("QK", 8), ("VO", 8)]
    missing, unfit = found.skipped["reason"]
    assert missing == "missing: model.layers.3.mlp.down_proj.weight"
    assert "have shapes [12, 5] and [12, 5], which do not fit" in unfit


def test_a_wide_product_is_measured_as_its_definition_says():
    a, b = RANDOM.standard_normal((4, 9)), RANDOM.standard_normal((3, 9))
    b[:2] += a[:2]
    row, spectra = measure(Pair("MLP", 0, 1, a, b))
    exact = balance(a, b)
    np.testing.assert_allclose(spectra.values, product_spectrum(a, b))
    found = [row[name] for name in ("nuc", "fro", "relD", "cosPQ", "cosPQ_centered")]
    np.testing.assert_allclose(found, [exact.nuclear, exact.mean_square, exact.imbalance, exact.cosine, exact.cosine_centered])


def test_a_dead_mlp_is_a_row_of_zeros():
    row, _ = measure(Pair("MLP", 0, 1, np.zeros((3, 8)), np.zeros((3, 8))), draws=2)
    assert [row[name] for name in ("ratio", "relD", "cosPQ", "cosPQ_centered", "stable")] == [0.0] * 5
