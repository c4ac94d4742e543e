"""`mesocosm run all`: every study in turn, each in a process of its own, and one site of all runs at the end.

A study that cannot be run, fails or is killed leaves the others alone. What has finished is not run again, so the same command resumes the tour.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from mesocosm.cli.commands import RunCommand
from mesocosm.cli.terminal import tour_table
from mesocosm.lab.catalogue import find, packages, suggestion
from mesocosm.lab.errors import UserError
from mesocosm.lab.events.progress import printable

ALL = "all"
"""The name that stands for every study."""
OF_ONE_STUDY = ("mixer", "model", "estimator", "like")
"""Options of `run` that belong to one study."""
STOPPED = 130


class Tour(NamedTuple):
    """A parsed `run all`.

    Attributes:
        command: the options.
        words: those to pass on to each study, without `--out` and `--store`.
    """

    command: RunCommand
    words: tuple[str, ...]


@dataclass(frozen=True)
class Stop:
    """A study on the tour.

    Attributes:
        study: its name.
        path: its run directory.
        outcome: "done", "failed" (a trial did, or the process was killed), "refused", "stopped", "skipped" or "left".
        told: why it did not end well.
        seconds: how long it took.
    """

    study: str
    path: Path
    outcome: str
    told: str = ""
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        """Whether nothing went wrong with it."""
        return self.outcome in ("done", "skipped")


def tour_of(command: RunCommand) -> Tour:
    """Check the options, and write them as words again.

    Raises:
        UserError: an option that belongs to one study, or a preset that no study has.
    """
    for name in OF_ONE_STUDY:
        if getattr(command, name) is not None:
            raise UserError(f"--{name} belongs to one study, not to all; run that study alone")
    words = []
    for holder, option in [(command, option) for option in fields(RunCommand)] + [(command.where, option) for option in fields(command.where)]:
        given = getattr(holder, option.name)
        if option.name in ("study", "out", "store", "where", *OF_ONE_STUDY) or given == option.default:
            continue
        flag = "--stalled-after" if option.name == "stalled" else f"--{option.name.replace('_', '-')}"
        words += [flag] if given is True else [word for value in (given if isinstance(given, tuple) else (given,)) for word in (flag, str(value))]
    return Tour(command, tuple(words))


def run_tour(tour: Tour, resume: str, out: Console) -> int:
    """Run every study, print what became of each, and write the site.

    Args:
        tour: what was asked for.
        resume: the command that resumes it.
        out: where to print.

    Returns:
        130 if the tour was stopped, 1 if a study failed or could not be run, else 0.

    Raises:
        UserError: no study has the preset, or the site cannot be written.
    """
    command, names = tour.command, list(packages())
    folder = command.out or Path("runs")
    known = {name: _presets(name) for name in names}
    presets = dict.fromkeys(preset for found in known.values() if not isinstance(found, str) for preset in found)
    if command.preset not in presets:
        raise UserError(f"no study has a preset {command.preset!r}{suggestion(command.preset, presets)}")
    stops: list[Stop] = []
    with _signals() as asked:
        for place, name in enumerate(names, start=1):
            path = folder / folder_name(name, command)
            found = known[name]
            if isinstance(found, str):
                stops.append(Stop(name, path, "refused", found))
            elif command.preset not in found:
                stops.append(Stop(name, path, "skipped", f"has no preset {command.preset!r}"))
            elif asked.stopped or (command.fail_fast and not all(stop.well for stop in stops)):
                stops.append(Stop(name, path, "left"))
            else:
                out.print(Text.assemble("\n", (printable(name), "bold"), (f"  study {place} of {len(names)}", "dim")))
                store = ("--store", f"{command.store.rstrip('/')}/{path.name}") if command.store is not None else ()
                stops.append(_run_study(name, path, (*tour.words, *store), asked))
    out.print(tour_table(stops))
    if any(stop.outcome in ("stopped", "left") for stop in stops) and asked.stopped:
        print(f"mesocosm: stopped; nothing finished is lost. To resume: {resume}", file=sys.stderr)
        return STOPPED
    if not command.dry_run:
        _write_site([stop.path for stop in stops if stop.outcome in ("done", "failed")], folder / f"all-{command.preset}", out)
    return int(not all(stop.well for stop in stops))


def folder_name(study: str, command: RunCommand) -> str:
    """The folder of a study's run: that of `mesocosm run STUDY`, unless the seeds differ from the preset's."""
    seeds = [f"-seeds-{command.seeds}"] * bool(command.seeds) + [f"-from-{command.first_seed}"] * bool(command.first_seed)
    return "".join([study, "-", command.preset, *seeds])


def _presets(name: str) -> Sequence[str] | str:
    """The presets of a study, or why it cannot be loaded."""
    try:
        return list(find(name).presets)
    except UserError as broken:
        return str(broken)
    except Exception as error:  # its config module
        return f"{type(error).__name__}: {error}"


class _Asked:
    """Whether the tour is to stop, and the process to tell."""

    def __init__(self) -> None:
        self.stopped = False
        self.process: subprocess.Popen[bytes] | None = None


@contextmanager
def _signals() -> Iterator[_Asked]:
    """Remember Ctrl-C, which the terminal also sends to the study's process, and pass SIGTERM on to it. The tour ends after the study has saved its state."""
    asked = _Asked()

    def handle(number: int, frame: FrameType | None) -> None:
        asked.stopped = True
        if number == signal.SIGTERM and asked.process is not None:
            asked.process.send_signal(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) not in (signal.SIG_IGN, None)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_study(name: str, path: Path, words: Sequence[str], asked: _Asked) -> Stop:
    """Run a study in a process of its own, and tell what became of it."""
    began = time.monotonic()
    sys.stdout.flush()
    safely = [] if os.getcwd() in sys.path else ["-P"]  # a file in the working directory must not stand in for a module
    with subprocess.Popen([sys.executable, *safely, "-m", "mesocosm", "run", name, *words, "--out", os.fspath(path)]) as process:
        asked.process = process
        code = process.wait()
        asked.process = None
    seconds = time.monotonic() - began
    if code == 0:
        return Stop(name, path, "done", seconds=seconds)
    if asked.stopped:
        return Stop(name, path, "stopped", "the same command resumes it", seconds)
    if code == 2:
        return Stop(name, path, "refused", "the message is above", seconds)
    told = {1: f"see mesocosm status {shlex.quote(os.fspath(path))}", STOPPED: "stalled; the message is above"}
    killed = f"killed by signal {-code}; the system kills processes that need too much memory" if code < 0 else f"ended with exit code {code}"
    return Stop(name, path, "failed", told.get(code, killed), seconds)


def _write_site(paths: Sequence[Path], folder: Path, out: Console) -> None:
    """Write the site of those runs that were judged, and print its path."""
    from mesocosm.lab.report.site import write_site
    from mesocosm.lab.store.run_directory import Run

    judged = [Run(path) for path in paths if (path / "claims.json").exists()]
    if judged:
        page = write_site(judged, folder)
        out.print(f"One site of {len(judged)} run{'s' * (len(judged) != 1)}: {page}", soft_wrap=True, markup=False, highlight=False)
