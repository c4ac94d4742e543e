"""What is decided by device stands in one table, which says what the code does."""

import ast
import importlib
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

import mesocosm
from mesocosm.cli.doctor import by_device
from mesocosm.lab.run import devices
from mesocosm.lab.run.devices import decisions, watches_for_stalls
from mesocosm.learning import program
from mesocosm.learning.fit import CHUNK_SECONDS

ROOT = Path(mesocosm.__file__).parent
ASKS = {"devices", "local_devices", "device_count", "local_device_count", "default_backend", "device_kind", "platform", "default_matmul_precision"}
REPORTS = {"mesocosm.cli.doctor", "mesocosm.lab.store.identity", "mesocosm.lab.store.provenance"}
"""Modules that say which devices there are, in a run's record, in a trial's identity and to the user, and decide nothing."""


def asks(file: Path) -> bool:
    """Whether a module asks JAX for devices, sets the precision of products, or gives options to the compiler."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    pythons_own = {"platform", "sys"}  # platform.platform(), sys.platform
    found = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in ASKS]
    asked = any(not (isinstance(node.value, ast.Name) and node.value.id in pythons_own) for node in found)
    return asked or any(isinstance(node, ast.keyword) and node.arg == "compiler_options" for node in nodes)


def test_every_module_that_decides_by_device_is_in_the_table():
    found = {".".join(("mesocosm", *file.relative_to(ROOT).with_suffix("").parts)) for file in ROOT.rglob("*.py") if asks(file)}
    listed = {decision.module for decision in decisions()}
    assert found - REPORTS <= listed
    assert {"mesocosm.learning.program", "mesocosm.analysis.tangent.kernel", "mesocosm.numerics.precision", "mesocosm.lab.run.devices"} <= found
    for module in listed:
        importlib.import_module(module)


def test_the_table_holds_the_values_of_the_code(monkeypatch):
    monkeypatch.setitem(program.FAST_TO_COMPILE, "xla_backend_optimization_level", 7)
    monkeypatch.setenv("NPROC", "5")
    told = {decision.what: decision.here for decision in decisions()}
    assert "xla_backend_optimization_level=7" in told["optimisation"]
    assert f"take {CHUNK_SECONDS:g} s" in told["chunks"]
    assert f"or {program.CHUNK_CAPACITY} steps" in told["chunks"]
    assert told["threads"].startswith("5 in")
    assert [finding.topic for finding in by_device(works=True)] == ["by device"] * len(told)
    assert by_device(works=False) == []


@pytest.mark.parametrize(("platforms", "watched"), [(["cpu"], True), (["cpu", "cpu"], True), (["gpu"], False), (["cpu", "gpu"], False)])
def test_only_a_run_on_a_cpu_is_watched(platforms, watched, monkeypatch):
    found = [SimpleNamespace(platform=platform, device_kind="a kind") for platform in platforms]
    monkeypatch.setattr(jax, "devices", lambda: found)
    assert watches_for_stalls() is watched
    told = {decision.what: decision.here for decision in devices.decisions()}
    assert ("never" in told["stalls"]) is not watched
    assert ("float32 anyway" in told["products"]) is watched
