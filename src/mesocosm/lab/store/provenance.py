"""Provenance of a run: versions, device and revision, for `run.json` and for problem reports."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mesocosm.numerics.schedule import memory_optimised

PACKAGES = ("mesocosm", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "polars", "altair", "vl-convert-python")


def provenance() -> dict[str, Any]:
    """The part of `run.json` that describes the machine and its software."""
    import jax

    return {
        "versions": {"python": platform.python_version(), **{package: installed_version(package) for package in PACKAGES}},
        "device": {
            "platform": platform.platform(),
            "processor": processor(),
            "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
            "threads": thread_count(),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
            "schedule": schedule(),
            "BLAS threads": os.environ.get("OPENBLAS_NUM_THREADS", "as many as cores"),
            "random": str(jax.config.jax_default_prng_impl),  # type: ignore[attr-defined]
        },
        "git": git_revision(),
    }


def installed_version(package: str) -> str | None:
    """The installed version; None if the package is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def thread_count() -> int:
    """Threads of XLA's pool on this machine: NPROC if set, otherwise the cores that the process may use."""
    if (asked := os.environ.get("NPROC", "")).isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def schedule() -> str:
    """How the library's programs are scheduled on a CPU: set by per-program compiler options, which XLA_FLAGS do not override."""
    return ", ".join(f"{name}={value}" for name, value in memory_optimised().items())


def processor() -> str:
    """The CPU's model name, if the system provides it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_revision() -> str | None:
    """Revision of the checkout that mesocosm runs from, with a mark for uncommitted changes of the package; None for an installed copy."""
    package = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, timeout=10, check=False)

    try:
        described = git("describe", "--always", "--abbrev=12")
        changed = git("diff", "--quiet", "HEAD", "--", ".").returncode == 1
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() + "-dirty" * changed or None if described.returncode == 0 else None
