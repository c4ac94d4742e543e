"""The example package is installed like anyone's: its study is found and judged, its layer is trained beside ours, and what does not fit is one line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from mesocosm.lab.catalogue import find

EXAMPLE = Path(__file__).parent.parent / "examples" / "decaying_average"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--root-user-action=ignore"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", folder, EXAMPLE], check=True)
    (folder / "layers.py").write_text(MISFITS)
    return folder


MISFITS = """
import equinox as eqx, jax.numpy as jnp

class Narrow(eqx.Module):
    def __init__(self, dim, *, key): pass
    def __call__(self, x): return x[:, 1:]

class Clairvoyant(Narrow):
    def __call__(self, x): return jnp.broadcast_to(x.mean(0), x.shape)

class Energetic(Narrow):
    def __call__(self, x): return jnp.broadcast_to((x * x).mean(0), x.shape)

class Endless(Narrow):
    def __call__(self, x): return x / 0.0

class Keyless(eqx.Module):
    def __init__(self, dim): pass
    def __call__(self, x): return x

class Plain:
    def __init__(self, dim, *, key): pass
    def __call__(self, x): return x
"""


def mesocosm(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run([sys.executable, "-m", "mesocosm", *words], capture_output=True, text=True, env=environment, cwd=installed, check=False)


@pytest.mark.whole
def test_the_eleventh_study_is_found_and_judged(installed):
    assert "decaying-average" in mesocosm(installed, "list").stdout
    done = mesocosm(installed, "run", "decaying-average", "--out", "run")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((installed / "run" / "claims.json").read_text())
    assert (row["verdict"], row["n"]) == ("holds", 5)


@pytest.mark.slow
def test_a_layer_of_ones_own_stands_beside_ours(installed):
    done = mesocosm(installed, "run", "mesa", "--preset", "smoke", "--mixer", "decaying_average.layer:DecayingAverage", "--out", "mixer")
    assert done.returncode == 0, done.stderr
    rows = json.loads((installed / "mixer" / "claims.json").read_text())
    assert {row["verdict"] for row in rows} == {"not judged"}
    assert all("user part: mixer = decaying_average.layer:DecayingAverage" in row["reason"] for row in rows if row["metric"])
    for trial in ("user-1", "user-2", "linear-1", "linear-2", "mesa-1"):
        loss, position = (pl.read_parquet(installed / "mixer" / "trials" / trial / "tables" / f"{table}.parquet") for table in ("loss", "position_loss"))
        assert loss["layers"].unique().to_list() == [1 if trial == "mesa-1" else int(trial[-1])]
        assert position["position"].max() == 12
    codes = json.loads((installed / "mixer" / "code.json").read_text())
    names = {trial: json.loads((installed / "mixer" / "trials" / trial / "status.json").read_text())["identity"]["code"] for trial in ("user-1", "linear-1")}
    assert "DecayingAverage" in codes[names["user-1"]]
    assert "DecayingAverage" not in codes[names["linear-1"]]


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("layers", "there is no layer 'layers'"),
        ("nowhere.layers:Mine", "the module nowhere.layers cannot be imported"),
        ("layers:Missing", "the module layers has no Missing"),
        ("layers:Plain", "is not an equinox module (it is a Plain)"),
        ("layers:Keyless", "cannot be built for tokens of width 40: TypeError"),
        ("layers:Narrow", "gives float32[12, 39] for tokens float32[12, 40]"),
        ("layers:Clairvoyant", "depends on later tokens"),
        ("layers:Energetic", "depends on later tokens"),
        ("layers:Endless", "is not finite"),
    ],
)
def test_a_class_that_does_not_fit_is_one_line(installed, monkeypatch, tmp_path, capsys, part, says):
    from mesocosm.cli import main

    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "mesa", "--preset", "smoke", "--mixer", part]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_is_read_without_the_part_that_it_trained():
    study = find("mesa")
    gone = replace(study.presets["smoke"].config, mixer="no_longer.there:Mixer")
    assert [trial.name for trial in study.trials(gone) if trial.user_parts] == ["user-1", "user-2"]
    with pytest.raises(ValueError, match="cannot be imported"):
        study.check(gone)


def test_a_study_without_a_place_for_a_mixer_says_so(capsys, tmp_path, monkeypatch):
    from mesocosm.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["run", "toy-study", "--mixer", "layers:Plain"]) == 2
    assert "study toy-study does not accept a --mixer" in capsys.readouterr().err
