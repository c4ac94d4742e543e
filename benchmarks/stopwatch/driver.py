"""What `python benchmarks/NAME.py` does: its cases one after the other, a progress bar, the table, and the record with the machine's facts."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mesocosm.cli.benchmarks import THREAD_SETTINGS
from mesocosm.lab.store.provenance import provenance
from stopwatch.rows import Row, terminal_table

ROOT = Path(__file__).parents[2]
SIZES = ("tiny", "small", "full")
PEERS = ("torch", "fla-core", "flax", "padasip")


@dataclass(frozen=True)
class Case:
    """A few rows that are measured together; `weight` is the share of the time that they are expected to take, for the progress bar."""

    name: str
    weight: float
    measure: Callable[[], Sequence[Row]]


def main(name: str, title: str, cases: Callable[[str], Sequence[Case]], words: Sequence[str] | None = None) -> int:
    """The command line of one benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python benchmarks/{name}.py", description=title)
    parser.add_argument("--sizes", choices=SIZES, default="full", help="small: about a minute for all benchmarks; tiny: for the tests")
    parser.add_argument("--out", type=Path, help="folder of the record; by default benchmarks/results for the full sizes, runs/bench for the others")
    given = parser.parse_args(words)
    out = given.out or (ROOT / "benchmarks" / "results" if given.sizes == "full" else Path("runs") / "bench")
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=max(console.width, 200))
    console.print(f"{name}: {title}", style="bold", markup=False)
    began = time.perf_counter()
    try:
        rows = run(cases(given.sizes), console)
    except KeyboardInterrupt:
        return 130
    path = write(out, name, title, given.sizes, rows, time.perf_counter() - began)
    console.print(terminal_table(rows))
    verdicts = Counter(row.verdict for row in rows)
    console.print(f"{', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())}. Record: {path}", soft_wrap=True, markup=False)
    return 0


def run(cases: Sequence[Case], console: Console) -> list[Row]:
    """All rows; a bar with the time left on a terminal, a line a case in a log."""
    rows: list[Row] = []
    with ExitStack() as stack:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        bar = stack.enter_context(Progress(*columns, console=console, transient=True)) if console.is_terminal else None
        task = bar.add_task("", total=sum(case.weight for case in cases)) if bar else None
        for place, case in enumerate(cases, 1):
            if bar and task is not None:
                bar.update(task, description=case.name)
            began = time.perf_counter()
            rows += case.measure()
            if bar and task is not None:
                bar.advance(task, case.weight)
            else:
                console.print(f"  {place}/{len(cases)} {case.name} ({time.perf_counter() - began:.0f} s)", markup=False, soft_wrap=True)
    return rows


def write(folder: Path, name: str, title: str, sizes: str, rows: Sequence[Row], seconds: float) -> Path:
    """Write the record of one benchmark."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    record = {"benchmark": name, "title": title, "sizes": sizes, "seconds": seconds, "machine": machine(), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def machine() -> dict[str, Any]:
    """Where and when, with which versions and how many threads."""
    facts = provenance()
    threads = {
        "cores": os.cpu_count(),
        "XLA": facts["device"].pop("threads"),
        **{setting: os.environ.get(setting) for setting in (*THREAD_SETTINGS, "OPENBLAS_NUM_THREADS")},
    }
    if torch_version := installed("torch"):
        import torch

        threads["torch"] = torch.get_num_threads()
    versions = facts["versions"] | {package: installed(package) for package in PEERS} | {"torch": torch_version}
    load = [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), **facts, "versions": versions, "threads": threads, "load_at_end": load}


def installed(package: str) -> str | None:
    """Its version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
