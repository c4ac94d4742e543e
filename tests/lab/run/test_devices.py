"""The same study on several devices: the seeds are spread over them, also where they do not divide, and the findings stay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mesocosm
from mesocosm.lab.store.run_directory import Run

SCRIPT = """
import sys
from pathlib import Path
import jax
from mesocosm.lab.catalogue import find
from mesocosm.lab.run.runner import execute
from mesocosm.learning.fit import Loop

spread = set()
place = Loop._place
def watched(self, running):
    placed = place(self, running)
    spread.add(len(placed.active.sharding.device_set))
    return placed
Loop._place = watched

assert len(jax.devices()) == int(sys.argv[2])
execute(find(sys.argv[4]), "quick", seeds=tuple(range(int(sys.argv[3]))), out=Path(sys.argv[1]))
print(spread)
"""


def run(study: str, out: Path, devices: int, seeds: int) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(mesocosm.__file__).parents[1]), str(Path(__file__).parents[2])]),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(out), str(devices), str(seeds), study]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def verdicts(out: Path) -> dict[str, str]:
    return {row["id"]: row["verdict"] for row in json.loads((out / "claims.json").read_text())}


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "used"), [(8, 4), (6, 3), (5, 3)])
def test_four_devices_find_what_one_finds(tmp_path, seeds, used):
    assert run("toy-study", tmp_path / "one", 1, seeds) == "{1}"
    assert run("toy-study", tmp_path / "four", 4, seeds) == f"{{{used}}}"
    assert verdicts(tmp_path / "one") == verdicts(tmp_path / "four")
    assert verdicts(tmp_path / "one")["toy-study/C2.drop"] == "holds"
    Run(tmp_path / "four").model("rolling", seed=seeds - 1)
    tables = sorted(file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*.parquet"))
    assert len(tables) == 6
    for table in tables:
        one, four = (pl.read_parquet(tmp_path / out / table) for out in ("one", "four"))
        assert one.columns == four.columns
        for column in one.columns:
            if one[column].dtype.is_float():
                np.testing.assert_allclose(four[column], one[column], rtol=1e-4, atol=1e-7)
            else:
                assert one[column].equals(four[column])


@pytest.mark.slow
def test_a_study_of_the_house_has_the_same_verdicts_on_four_devices(tmp_path):
    assert run("weight-decay", tmp_path / "one", 1, 10) == "{1}"
    assert run("weight-decay", tmp_path / "four", 4, 10) == "{4}"
    found = verdicts(tmp_path / "one")
    assert found == verdicts(tmp_path / "four")
    assert "holds" in found.values()
