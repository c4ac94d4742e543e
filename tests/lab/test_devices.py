"""The same study on several devices: the seeds are spread over them, also where they do not divide, and the findings stay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

SCRIPT = """
import sys
from pathlib import Path
import jax
from mesocosm.lab.catalogue import find
from mesocosm.lab.runner import execute
from mesocosm.learning.fit import Loop

spread = set()
place = Loop._place
def watched(self, running):
    placed = place(self, running)
    spread.add(len(placed.active.sharding.device_set))
    return placed
Loop._place = watched

assert len(jax.devices()) == int(sys.argv[2])
run = execute(find("toy-study"), "quick", seeds=tuple(range(int(sys.argv[3]))), out=Path(sys.argv[1]))
run.model("rolling", seed=int(sys.argv[3]) - 1)
print(spread)
"""


def run(out: Path, devices: int, seeds: int) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(out), str(devices), str(seeds)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "used"), [(8, 4), (6, 3), (5, 3)])
def test_four_devices_find_what_one_finds(tmp_path, seeds, used):
    assert run(tmp_path / "one", 1, seeds) == "{1}"
    assert run(tmp_path / "four", 4, seeds) == f"{{{used}}}"
    verdicts = [[(row["id"], row["verdict"]) for row in json.loads((tmp_path / out / "claims.json").read_text())] for out in ("one", "four")]
    assert verdicts[0] == verdicts[1]
    assert dict(verdicts[0])["toy-study/C2.drop"] == "holds"
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
