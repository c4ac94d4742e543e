"""The smoke run of a study by the command that a user types."""

import os
import subprocess
import sys
from pathlib import Path

from made_up_data import write_fashion, write_mnist

LEFT_OUT = {
    "coala": ("--config.clean-up.iterations", "0"),
    "weight-decay": ("--config.language.decays", "--config.pictures.decays"),
    "mesa": (
        *("--config.raw.sources", "--config.distillation.dims"),
        *(word for part in ("few-shot", "memories", "parity", "language") for word in (f"--config.{part}.seeds", "0")),
    ),
}
"""Trials whose programs take as long to compile as all others of the study: slow tests run them (`complete`)."""


def run_smoke(study, path, options):
    """Make the run; a process that fails is the failure of every test that asked for it."""
    data = path.with_name(f"{path.name}-data")
    if study == "ensembles":
        data.mkdir()
        write_fashion(data)
        write_mnist(data)
    command = [str(Path(sys.executable).with_name("mesocosm")), "run", study, "--preset", "smoke", *options, "--out", str(path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "MESOCOSM_DATA": str(data)})
    assert finished.returncode == 0, finished.stderr
