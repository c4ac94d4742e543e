"""The whole test run checks shapes: jaxtyping annotations are enforced by beartype in every module of the package but five that only read syntax trees."""

import functools
import gc
import importlib
import os
import shutil
import signal
import sys
from importlib.machinery import PathFinder
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook
from packaging.version import Version

from mesocosm.numerics.schedule import memory_optimised

# A shell starts what runs in the background with Ctrl-C ignored, and an ignored signal stays ignored, in programs that tests start, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile much and run little: optimised code would cost ten times the compilation, and a program in pieces for several threads a sixth more.
# A jaxlib of later years may not know these flags, and stops at one.
FAST_TO_COMPILE = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
# The tests' own programs are scheduled like the library's, without which LAPACK's calls can deadlock.
SCHEDULE = " ".join(f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in memory_optimised().items())
if Version(version("jaxlib")) < Version("0.12"):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST_TO_COMPILE} {SCHEDULE} --xla_cpu_multi_thread_eigen=false".strip()
# A test's files need not outlive a power cut.
os.fsync = lambda descriptor: None
# Every core has a worker: threads of their own would wait for each other in busy loops.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What was compiled is kept for the other workers, for the processes that tests start, and for the next run, unless reading it would take as long.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
install_import_hook("mesocosm", "beartype.beartype")
# The search for a trial's code calls tiny functions so often that checking their types takes nine tenths of its time; pyright checks them once.
UNCHECKED = {f"mesocosm.lab.store.{name}" for name in ("code", "definitions", "measurement_code", "references", "sources")}


class Unchecked:
    """Finds these modules before the hook does."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, path, target) if name in UNCHECKED else None


sys.meta_path.insert(0, Unchecked)
# JAX makes a context for each program that it lowers, which takes a tenth of the tests' time; one serves many.
LOWERING: Any = importlib.import_module("jax._src.interpreters.mlir")
LOWERING.make_ir_context = functools.lru_cache(maxsize=1)(LOWERING.make_ir_context)
# The first example of a test compiles, the next ones do not: their times say nothing.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

TOY = Path(__file__).parent / "toy_study"
MAPS = Path("/proc/self/maps")
MOST_MAPS = 30_000


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What collection makes stays to the end: the garbage collector searches it once, not every so often meanwhile, a sixth of the time, and after it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_runtest_teardown(item, nextitem):
    """Between modules, drop compiled programs once they hold many of the 65,530 memory maps that Linux gives a process; XLA crashes without one."""
    if (nextitem is None or nextitem.path != item.path) and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        sys.modules["jax"].clear_caches()
        LOWERING.make_ir_context.cache_clear()
        gc.collect()


@pytest.fixture
def toy_copy(tmp_path, monkeypatch):
    """(study, folder) of a copy of the toy study whose code a test may change; found through its entry point, as an installed package is."""
    from mesocosm.lab.catalogue import find

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
