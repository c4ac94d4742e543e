"""Everything that the library decides by device, in one table, which `mesocosm doctor` prints.

A decision that trials reach stays where it takes effect, because moving it would make records older than the code; the table reads the values there. A test
compares the table with the code: a module that asks which devices there are, sets the precision of products, or passes options to the compiler is either
in the table or among those that only report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax

from mesocosm.lab.store.provenance import thread_count
from mesocosm.learning import program
from mesocosm.learning.fit import CHUNK_SECONDS, LONGEST_CHUNK_SECONDS
from mesocosm.numerics import linear_algebra, precision, programs

Platform = Literal["cpu", "accelerator"]


@dataclass(frozen=True)
class Decision:
    """One thing that is, or could be, decided by device.

    Attributes:
        what: is decided.
        here: what it is on this machine.
        module: where it takes effect.
    """

    what: str
    here: str
    module: str


def platform() -> Platform:
    """Whether all devices that JAX computes on are CPUs."""
    return "cpu" if all(device.platform == "cpu" for device in jax.devices()) else "accelerator"


def watches_for_stalls() -> bool:
    """Whether a run without progress and without processor use has stalled: only on a CPU, for a process that waits for an accelerator is idle, too."""
    return platform() == "cpu"


def decisions() -> list[Decision]:
    """The table, for this machine."""
    here, devices = platform(), jax.devices()
    cpu = here == "cpu"
    only_cpu = "" if cpu else ", as measured on a CPU; not measured on this device"
    schedule = ", ".join(f"{name}={value}" for name, value in programs.SCHEDULE.items())
    level = ", ".join(f"{name}={value}" for name, value in program.FAST_TO_COMPILE.items()) or "the level in XLA_FLAGS"
    products = "float32 anyway" if cpu else f"elsewhere JAX's default for {devices[0].device_kind} (TF32 or bfloat16)"
    emulated = "" if devices[0].platform in ("cpu", "gpu", "cuda", "rocm") else ", emulated by this device"
    most = f"at most {LONGEST_CHUNK_SECONDS:g} s or {program.CHUNK_CAPACITY} steps"
    chunk = f"as many as take {CHUNK_SECONDS:g} s, measured while it runs, {most}; changes no bit"
    spread = f"each of {len(devices)} devices has a share" if len(devices) > 1 else "one device has them all"
    stalls = "after 120 s without progress and processor use" if watches_for_stalls() else "never: a process that waits for an accelerator is idle, too"
    return [
        Decision("products", f"{precision.FULL!r} in solvers, kernels and identities; {products}", precision.__name__),
        Decision("float64", f"trials that declare it (identities, kernels){emulated}; all others float32", "mesocosm.studies.interface"),
        Decision("schedule", f"{schedule}{'' if cpu else ': of no effect on this device'}", programs.__name__),
        Decision("optimisation", f"fits: {level}{only_cpu}", program.__name__),
        Decision("factorisations", f"one matrix at a time{only_cpu}", linear_algebra.__name__),
        Decision("seeds", f"{spread}; there by vmap or map as the trial's config says{only_cpu}", program.__name__),
        Decision("tangent kernels", f"rows: {spread}; blocks fit a budget of memory that the caller sets", "mesocosm.analysis.tangent.kernel"),
        Decision("chunks", f"steps between two looks of the host: {chunk}", "mesocosm.learning.fit"),
        Decision("threads", f"{thread_count()} in XLA's pool on the CPU (NPROC, or the cores that the process may use)", "mesocosm.lab.store.provenance"),
        Decision("stalls", f"a run is stopped {stalls}", __name__),
    ]
