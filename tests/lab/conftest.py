"""A copy of the toy study whose code a test may change."""

import shutil
import sys
from pathlib import Path

import pytest

from mesocosm.lab.catalogue import find

TOY = Path(__file__).parent.parent / "toy_study"


@pytest.fixture
def toy_copy(tmp_path, monkeypatch):
    """(study, folder) of an installed package with the toy study's files, found through its entry point."""
    name = "toy_copy"
    site = tmp_path / "site"
    package = site / name
    shutil.copytree(TOY, package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in package.glob("*.py"):
        file.write_text(file.read_text().replace("toy_study", name))
    (site / f"{name}-0.dist-info").mkdir()
    (site / f"{name}-0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
    (site / f"{name}-0.dist-info" / "entry_points.txt").write_text(f"[mesocosm.studies]\n{name} = {name}\n")
    monkeypatch.syspath_prepend(str(site))
    yield find(name), package
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]
