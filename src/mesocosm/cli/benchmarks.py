"""The benchmarks of a checkout, each a program of its own, so that its threads, memory and peers meet no other's."""

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
    """`benchmarks/` here, or in the source tree that mesocosm runs from.

    Raises:
        UserError: there is neither.
    """
    for root in (Path.cwd(), Path(mesocosm.__file__).resolve().parents[2]):
        if (root / "benchmarks" / "stopwatch" / "driver.py").exists():
            return root / "benchmarks"
    raise UserError("the benchmarks are no part of the installed package: get mesocosm's source repository and call `mesocosm bench` inside it")


def choose(folder: Path, names: Sequence[str]) -> list[str]:
    """The benchmarks of these names, all where there is none; dashes may stand for underscores.

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
    """Run them one after the other, each with so many threads (0: as many as there are cores); returns 1 if one failed."""
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
    """The environment of programs with so many threads; XLA has as many as it may use cores.

    Raises:
        UserError: more than there are, or cores cannot be chosen on this system.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    available = thread_count()
    if not 0 <= threads <= available:
        raise UserError(f"--threads must be 0 (all) to {available}, the cores that there are; it is {threads}")
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
