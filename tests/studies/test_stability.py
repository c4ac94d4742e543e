"""How stable verdicts are: what the script saves and what the page shows."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(*parts):
    spec = importlib.util.spec_from_file_location(parts[-1], ROOT.joinpath(*parts).with_suffix(".py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runs(monkeypatch):
    """Two runs of one study: the first check is never judged, the second once, the third holds twice."""
    claims = {"first": ("not judged", "inconclusive", "holds"), "second": ("not judged", "holds", "holds")}

    class Made:
        def __init__(self, path):
            seed = 600 if path.name == "first" else 700
            self.path, self.preset, self.seeds, self.study = path, "quick", (seed, seed + 1), type("Study", (), {"name": "toy"})
            self.claims = [
                {"id": f"toy/C{i}.a", "kind": "mean", "evidence": "finding" if i == 2 else "identity", "verdict": verdict}
                for i, verdict in enumerate(claims[path.name])
            ]

    module = script("results", "stability")
    monkeypatch.setattr(module, "Run", Made)
    return module


def test_what_no_run_judged_is_left_out_and_the_rest_is_counted(runs, tmp_path):
    table = runs.stability([Path("first"), Path("second")])
    assert table.select("check", "first_seed", "verdict").rows() == [
        ("C1.a", 600, "inconclusive"),
        ("C1.a", 700, "holds"),
        ("C2.a", 600, "holds"),
        ("C2.a", 700, "holds"),
    ]
    table.write_csv(tmp_path / "stability.csv")
    shown = script("docs", "records").stability_table(tmp_path / "stability.csv").splitlines()
    assert shown[2:] == ["| toy | 2 | 1 | 1 | 0 | `C1.a` (inconclusive, holds) |", "| **all** | 2 | 1 | 1 | 0 |  |"]


def test_the_same_seeds_twice_are_refused(runs):
    with pytest.raises(ValueError, match="shares seeds"):
        runs.stability([Path("first"), Path("first")])
