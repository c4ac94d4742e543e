"""Runs the benchmarks of a checkout, each in its own process, so that threads, memory and peers do not interfere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mesocosm
from mesocosm.lab.catalogue import suggestion
from mesocosm.lab.errors import UserError
from mesocosm.lab.store.provenance import thread_count

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def find_folder() -> Path:
    """Find `benchmarks/` in the current directory or in mesocosm's source tree.

    Raises:
        UserError: neither exists.
    """
    for root in (Path.cwd(), Path(mesocosm.__file__).resolve().parents[2]):
        if (root / "benchmarks" / "stopwatch" / "driver.py").exists():
            return root / "benchmarks"
    raise UserError("the installed package does not contain the benchmarks: get mesocosm's source repository and run `mesocosm bench` inside it")


def choose(folder: Path, names: Sequence[str]) -> list[str]:
    """The benchmarks with these names, or all if none is given; dashes match underscores.

    Raises:
        UserError: an unknown name.
    """
    known = sorted(script.stem for script in folder.glob("*.py"))
    names = [name.replace("-", "_") for name in names]
    for name in names:
        if name not in known:
            raise UserError(f"there is no benchmark {name!r}{suggestion(name, known)}")
    return names or known


def run(folder: Path, names: Sequence[str], *, quick: bool, threads: int, out: Path | None) -> int:
    """Run benchmarks one after the other with a number of threads (0: one per core); return 1 if one failed."""
    words = ["--sizes", "small" if quick else "full", *(["--out", str(out)] if out else [])]
    failed = False
    with limited(threads) as environment:
        for name in names:
            done = subprocess.run([sys.executable, str(folder / f"{name}.py"), *words], env=environment, check=False)
            if done.returncode == 130:
                raise KeyboardInterrupt
            failed = failed or done.returncode != 0
    return int(failed)


@contextmanager
def limited(threads: int) -> Iterator[dict[str, str]]:
    """Yield an environment for programs with this many threads; XLA uses one thread per allowed core.

    Raises:
        UserError: there are fewer cores, or this system cannot select cores.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    available = thread_count()
    if not 0 <= threads <= available:
        raise UserError(f"--threads must be from 0 (all) to {available}, the number of cores; it is {threads}")
    if threads and not cores:
        raise UserError("--threads: this system cannot restrict a program to some of its cores")
    environment = os.environ | dict.fromkeys(THREAD_SETTINGS, str(threads or available))
    if not threads:
        yield environment
        return
    os.sched_setaffinity(0, cores[:threads])
    try:
        yield environment
    finally:
        os.sched_setaffinity(0, cores)
