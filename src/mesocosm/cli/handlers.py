"""Command handlers. Imports that load JAX are local, so that help and `list` stay fast."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mesocosm.claims.summary import tally_text
from mesocosm.cli import commands
from mesocosm.cli.parse import Comparison, StudyRun, StudySearch
from mesocosm.cli.terminal import claims_table, comparison_table, dry_run_table, losses_table, rounded, search_table, studies_table, study_page, trials_table
from mesocosm.cli.tour import Tour, run_tour
from mesocosm.lab.catalogue import find, packages
from mesocosm.lab.errors import UserError
from mesocosm.lab.events.progress import printable
from mesocosm.studies.interface import Study

if TYPE_CHECKING:
    import polars as pl

    from mesocosm.lab.run.cluster import Cluster
    from mesocosm.lab.run.dry_run import TrialDryRun
    from mesocosm.lab.store.run_directory import Run

MOST_SEEDS = 100_000
"""An upper limit, so that a typo does not fill the memory."""


GPU_BYTES = 80e9
"""The memory of the accelerator for which the presets `paper` are made."""


def handle(command: Any, line: str) -> int:
    """Dispatch a command to its handler and return the exit code."""
    match command:
        case commands.ListCommand():
            return list_studies(command.study)
        case StudyRun():
            return run(command, line)
        case StudySearch():
            return search(command, line)
        case Comparison():
            return compare_layers(command, line)
        case Tour():
            return run_tour(command, resuming(line), console())
        case commands.JudgeCommand():
            return judge(command.run)
        case commands.StatusCommand():
            return status(command.run)
        case commands.ReportCommand():
            return report(command.runs, command.out, command.open)
        case commands.DoctorCommand():
            return doctor(command.out)
        case commands.AuditCommand():
            return audit(command)
        case commands.BenchCommand():
            return bench(command)
        case commands.LayersCommand():
            return layers(command.name)
        case commands.DataCommand():
            return data()
        case commands.NewStudyCommand():
            return new_study(command)
    raise AssertionError(f"no handler for {command}")


def list_studies(name: str) -> int:
    """Print all studies, or one."""
    if name:
        console().print(study_page(find(name)))
        return 0
    found: list[Study | str] = []
    for known in packages():
        try:
            found.append(find(known))
        except UserError as broken:
            found.append(str(broken))
    console().print(studies_table(found) if found else "No studies are installed.")
    return 0


def run(asked: StudyRun, line: str) -> int:
    """Run a study and print its claims table."""
    study, command, earlier = asked
    if not 1 <= command.seeds <= MOST_SEEDS or command.first_seed < 0:
        raise UserError(f"--seeds must be 1 or more (at most {MOST_SEEDS}) and --first-seed 0 or more; they are {command.seeds} and {command.first_seed}")
    seeds = tuple(range(command.first_seed, command.first_seed + command.seeds))
    out = console()
    if earlier is not None:
        seeds, command = like_earlier(earlier, command, seeds, out)
    if command.dry_run:
        return dry_run(study, command, seeds)
    if command.compile:
        raise UserError("--compile belongs to --dry-run: `mesocosm run STUDY --dry-run --compile`")

    from mesocosm.lab.events.progress import screen
    from mesocosm.lab.events.track import tracked
    from mesocosm.lab.run.runner import execute

    where = cluster(command.where, command.store)
    try:
        with screen(out) as watching, tracked(command.track, watching) as observer:
            options: dict[str, Any] = {"config": command.config, "seeds": seeds, "out": command.out, "fresh": command.fresh, "fail_fast": command.fail_fast}
            options |= {"again": command.again, "repeats": earlier is not None}
            stopping: dict[str, Any] = {"end": partial(end_process, line, watching), "stalled_seconds": command.stalled, "cluster": where}
            done = execute(study, command.preset, **options, **stopping, observer=observer, command=line)
    except KeyboardInterrupt:
        print(f"mesocosm: stopped; nothing finished is lost. To resume: {resuming(line)}", file=sys.stderr)
        return 130
    return conclude(done, out, earlier)


def cluster(where: commands.Where, store: str | None = None) -> Cluster | None:
    """Where `--ray` says that the trials are computed, or None for here.

    Raises:
        UserError: an option that belongs to --ray is given without it, or a number is out of range.
    """
    if where.ray is None:
        default = commands.Where()
        alone = {"--ray-cores": where.ray_cores != default.ray_cores, "--ray-memory": where.ray_memory != default.ray_memory, "--store": store is not None}
        if given := [option for option, is_given in alone.items() if is_given]:
            raise UserError(f"{given[0]} belongs to --ray: `--ray auto {given[0]} ...`")
        return None
    if where.ray_cores < 1 or not 0 <= where.ray_memory < math.inf:
        raise UserError(f"--ray-cores must be 1 or more and --ray-memory 0 or more; they are {where.ray_cores} and {where.ray_memory:g}")

    from mesocosm.lab.run.cluster import Cluster

    return Cluster(where.ray, where.ray_cores, where.ray_memory, store)


def search(asked: StudySearch, line: str) -> int:
    """Train all configurations and print them, best first."""
    study, command = asked
    if not 1 <= command.seeds <= MOST_SEEDS:
        raise UserError(f"--seeds must be 1 or more (at most {MOST_SEEDS}), not {command.seeds}")
    table, dot, column = command.by.partition(".")
    if not dot:
        raise UserError("name the number that compares configurations: --by TABLE.COLUMN, a column of a table that trials write")
    trials = [word for word in command.on if "=" not in word]
    if len(trials) > 1:
        raise UserError(f"--on names {len(trials)} trials, {', '.join(trials)}; a search compares configurations by one")

    from mesocosm.lab.events.search_screen import SearchScreen
    from mesocosm.lab.run import search as searches
    from mesocosm.lab.run.proposals import dimension

    question = searches.Search(
        study,
        command.preset,
        command.config,
        seeds=tuple(range(command.first_seed, command.first_seed + command.seeds)),
        over=tuple(dimension(text, command.config) for text in command.over),
        by=(table, column),
        trial=trials[0] if trials else None,
        where=tuple((axis, value) for axis, sign, value in (word.partition("=") for word in command.on) if sign),
        method=command.method,
        arms=command.arms,
        maximize=command.maximize,
    )
    out, where = console(), cluster(command.where)
    try:
        with SearchScreen(out) as watching:
            stopping: dict[str, Any] = {"end": partial(end_process, line, watching), "stalled_seconds": command.stalled, "cluster": where}
            file, arms = searches.search(question, command.out, watching, command=line, **stopping)
    except KeyboardInterrupt:
        print(f"mesocosm: stopped; nothing finished is lost. To resume: {line}", file=sys.stderr)
        return 130
    out.print(search_table(question, arms))
    print_line(out, f"{len(arms)} configurations, {len(question.seeds)} pilot seeds each; a record uses seeds below 1000. Table: {file}")
    return int(all(arm.failure for arm in arms))


def compare_layers(asked: Comparison, line: str) -> int:
    """Search learning rates on pilot seeds, train every layer on every task, and print one table."""
    from mesocosm.cli import compare_command as comparing

    out, (study, command) = console(), asked
    comparing.check(study, command)
    where = cluster(command.where)
    out.print(comparing.parameters_table(command.config))
    if command.dry_run:
        return 0
    try:
        outcome = comparing.compare(study, command, out, line, end=lambda watching, why: end_process(line, watching, why), cluster=where)
    except KeyboardInterrupt:
        print(f"mesocosm: stopped; nothing finished is lost. To resume: {resuming(line)}", file=sys.stderr)
        return 130
    for run in outcome.runs:
        print_failures(run.path, run.trials, out)
    if outcome.table is not None:
        out.print(comparing.scores_table(outcome))
        if "cost" in outcome.runs[-1].tables:
            out.print(comparing.costs_table(outcome))
        for remark in outcome.remarks:
            print_line(out, remark)
        files = outcome.folder / comparing.TABLE, outcome.folder / comparing.SEARCH, outcome.runs[-1].path / "index.html"
        print_line(out, "Table: {}. Search: {}. Report: {}".format(*files))
    return max(exit_code(run.trials) for run in outcome.runs)


def end_process(line: str, watching: Any, why: str) -> None:
    """End the process from another thread if the main thread does not respond; the run can be resumed."""
    from mesocosm.lab.run.interrupt import aside

    try:
        aside(watching.__exit__, None, None, None)  # restores the terminal's cursor
        aside(lambda: print(f"mesocosm: {printable(why)}. Nothing finished is lost. To resume: {resuming(line)}", file=sys.stderr, flush=True))
        aside(sys.stdout.flush)
    finally:
        os._exit(130)


def like_earlier(
    earlier: Run, command: commands.ConfiguredRun[Any], seeds: tuple[int, ...], out: Console
) -> tuple[tuple[int, ...], commands.ConfiguredRun[Any]]:
    """Return the seeds (those of the run of `--like` by default) and the command with a new folder; print the differences.

    Raises:
        UserError: the run would be overwritten.
    """
    from mesocosm.lab.run.plan import Plan
    from mesocosm.lab.run.replication import folder_beside, setup_changes

    if (command.seeds, command.first_seed) == (len(earlier.seeds), earlier.seeds[0]):
        seeds = earlier.seeds  # not necessarily consecutive
    folder = command.out or folder_beside(earlier, Plan.of(earlier.study, command.preset, command.config, seeds).path)
    if folder.resolve() == earlier.path.resolve():
        raise UserError(f"--out {folder} is the run to compare with; choose another directory")
    changes = setup_changes(earlier, command.config, seeds)
    out.print(f"like {earlier.path}: {'except for' if changes else 'the same config and seeds'}", markup=False)
    for change in changes:
        out.print(f"  {change}", markup=False)
    return seeds, replace(command, out=folder)


def compare(earlier: Any, done: Any, out: Console) -> None:
    """Print the differences in environment, and the verdicts of two runs side by side."""
    from mesocosm.lab.run.replication import environment_changes, pairs

    out.print(f"\nCompared with {earlier.path}", markup=False, soft_wrap=True)
    for change in environment_changes(earlier.record, done.record):
        out.print(f"  {change}", markup=False, soft_wrap=True)
    out.print(comparison_table(pairs(earlier.claims, done.claims)))


def dry_run(study: Study, command: commands.ConfiguredRun[Any], seeds: tuple[int, ...]) -> int:
    """Print what `run` would do (`--dry-run`)."""
    out = console()
    with out.status("planning") if out.is_terminal else nullcontext() as waiting:
        from mesocosm.lab.run.dry_run import dry_run_plan, outline
        from mesocosm.lab.run.plan import Plan

        plan = Plan.of(study, command.preset, command.config, seeds, command.out)
        plan.check_directory()

        def tell(trial: str) -> None:
            line = f"compiling the programs of {trial}"
            waiting.update(line) if waiting is not None else print_line(out, line)

        trials = dry_run_plan(plan, observer=tell) if command.compile else outline(plan)
    out.print(dry_run_table(trials, compiled=command.compile))
    if command.compile:
        print_line(out, fitting(trials))
    left = sum(trial.minutes or 0.0 for trial in trials if trial.state != "cached")
    usual = study.presets[command.preset].seeds
    scaled = "" if len(seeds) == usual else f", scaled from {usual} seeds"
    minutes = f"about {rounded(left)} minutes, one trial at a time{scaled}" if plan.minutes else "minutes not measured for this config"
    print_line(out, f"{len(seeds)} seeds; {minutes}; {plan.path}")
    return 0


def fitting(trials: Sequence[TrialDryRun]) -> str:
    """Which trials need more memory than a large accelerator has; a compiler for another device may need more or less."""
    sizes = {trial.trial: trial.memory_bytes for trial in trials if trial.memory_bytes is not None}
    if large := [f"{name} ({size / 1e9:.0f} GB)" for name, size in sizes.items() if size > GPU_BYTES]:
        return f"More than a GPU of {GPU_BYTES / 1e9:g} GB has, for all seeds at once: {', '.join(large)}. Fewer seeds (--seeds) need less"
    most = max(sizes, key=lambda name: sizes[name], default=None)
    return f"Every program fits on a GPU of {GPU_BYTES / 1e9:g} GB; the largest is that of {most}" if most else "No trial trains"


def judge(path: Path) -> int:
    """Judge a run again and print its claims table."""
    from mesocosm.lab.run.runner import judge_run

    return conclude(judge_run(path), console())


def status(path: Path) -> int:
    """Print the state of each trial and how to resume."""
    from mesocosm.lab.store.run_directory import Run, in_use, run_file_errors

    with run_file_errors(path):
        found = Run(path)
        trials = found.trials
        busy = any(state["state"] == "running" for state in trials.values()) and in_use(path)
    if not busy:  # no process is running it: it was stopped or killed
        trials = {name: state | {"state": "interrupted"} if state["state"] == "running" else state for name, state in trials.items()}
    out = console()
    out.print(trials_table(trials))
    print_failures(path, trials, out)
    if busy:
        print_line(out, "A process is writing to this run now.")
    elif any(state["state"] != "finished" for state in trials.values()):
        print_line(out, f"To resume: {resuming(found.record['command'])}")
    return exit_code(trials)


def report(paths: Sequence[Path], out: Path | None, show: bool) -> int:
    """Rebuild the page of one run, or build a site."""
    from mesocosm.lab.report.site import write_site
    from mesocosm.lab.run.runner import report_run
    from mesocosm.lab.store.run_directory import Run

    if not paths:
        raise UserError("name a run: `mesocosm report RUN`, where RUN is a run directory such as runs/mesa-quick")
    if len(paths) > 1 and out is None:
        raise UserError(f"{len(paths)} runs make a site: name its folder with --out DIR")
    if len(paths) > 1:
        paths = runs_among(paths)
    page = report_run(paths[0]) if out is None else write_site([Run(path) for path in paths], out)
    print(page)
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0


def runs_among(paths: Sequence[Path]) -> list[Path]:
    """The run directories among several paths, such as those of `results/*`; prints which others are left out.

    Raises:
        UserError: a path does not exist, or none is a run directory.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
    runs = [path for path in paths if (path / "run.json").exists()]
    if not runs:
        raise UserError(f"none of the {len(paths)} paths is a run directory (with a run.json)")
    if others := [path.name for path in paths if path not in runs]:
        print(f"mesocosm: left out, since they have no run.json: {printable(', '.join(others))}", file=sys.stderr)
    return runs


def doctor(out: Path) -> int:
    """Print what was found, and how to fix what is broken."""
    from mesocosm.cli.doctor import block, examine

    findings = examine(out)
    print(block(findings))
    return int(any(finding.remedy for finding in findings))


def audit(command: commands.AuditCommand) -> int:
    """Audit checkpoints and print the tables."""
    from mesocosm.audit import Options
    from mesocosm.cli.audit_command import run_audit
    from mesocosm.cli.audit_table import HELP

    if min(command.heads, command.kv_heads, command.top) < 0 or command.draws < 2:
        raise UserError(f"--heads, --kv-heads and --top must be 0 or more, and --draws 2 or more; {HELP}")
    heads, key_heads = command.heads or None, command.kv_heads or None
    options = Options(heads, key_heads, command.map, command.inputs_first, command.biases, command.config, command.draws, command.mlp)
    return run_audit(command.models, options, console(), comparing=command.compare, sort=command.sort, top=command.top, folder=command.out)


def bench(command: commands.BenchCommand) -> int:
    """Run the chosen benchmarks."""
    from mesocosm.cli import benchmarks

    folder = benchmarks.find_folder()
    return benchmarks.run(folder, benchmarks.choose(folder, command.names), quick=command.quick, threads=command.threads, out=command.out)


def layers(name: str) -> int:
    """Print all layers, or one.

    Raises:
        UserError: there is no such layer.
    """
    from mesocosm.cli.layers_table import layer_page, layers_table

    try:
        console().print(layer_page(name) if name else layers_table())
    except ValueError as unknown:
        raise UserError(str(unknown)) from unknown
    return 0


def data() -> int:
    """Print the data sets and how to get the missing ones."""
    from mesocosm.cli.data_table import data_table, install_lines

    out = console()
    out.print(data_table())
    for line in install_lines():
        print_line(out, line)
    return 0


def new_study(command: commands.NewStudyCommand) -> int:
    """Write the files of a new study."""
    from mesocosm.cli import new_study as template

    made = template.new_study(command.name, command.folder)
    for path in made:
        print(path)
    if made[-1].name == "pyproject.toml":
        print(f"Next: pip install -e {made[-1].parent}, then mesocosm run {command.name}")
    else:
        print(f"Next: mesocosm run {command.name}; pytest {made[-2]}")
    return 0


def conclude(done: Run, out: Console, earlier: Run | None = None) -> int:
    """Print the claims table, the losses beside a user's part, the comparison with an earlier run, and a line of summary with the report's path."""
    out.print(claims_table(done.claims))
    own = {trial.name for trial in done.study.trials(done.config) if trial.user_parts}
    for table in losses(done, own):
        out.print(losses_table(table, own))
    trials = done.trials
    print_failures(done.path, trials, out)
    if earlier is not None:
        compare(earlier, done, out)
    print_line(out, f"{tally_text(done.claims)}. Report: {done.path / 'index.html'}")
    return exit_code(trials)


def losses(run: Run, own: Collection[str]) -> list[pl.DataFrame]:
    """The tables with one loss a seed that some of these trials wrote, with the other trials beside them."""
    tables = [table for name, table in run.tables.items() if name != "history" and "loss" in table.columns] if own else []
    return [table for table in tables if not set(own).isdisjoint(table["trial"]) and not table.select("trial", "seed").is_duplicated().any()]


def print_failures(path: Path, trials: Mapping[str, Mapping[str, Any]], out: Console) -> None:
    """Print which trials failed and where their tracebacks are."""
    if failed := [name for name, state in trials.items() if state["state"] == "failed"]:
        file = path / "trials" / (failed[0] if len(failed) == 1 else "NAME") / "error.txt"
        print_line(out, f"Failed: {', '.join(failed)}. The traceback is in {file}. Run the same command to retry.")


def print_line(out: Console, line: str) -> None:
    """Print a line without wrapping or markup."""
    out.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def resuming(line: str) -> str:
    """Return the command that resumes a run: the original one without `--fresh`."""
    try:
        return shlex.join(word for word in shlex.split(line) if word != "--fresh")
    except ValueError:  # an unmatched quote: run.json was edited
        return line


def exit_code(trials: Mapping[str, Mapping[str, Any]]) -> int:
    """Return 1 if a trial failed, else 0; a trial skipped for missing data does not count."""
    return int(any(trial["state"] == "failed" for trial in trials.values()))


def console() -> Console:
    """Return a console on standard output, wide enough for tables if it is not a terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=max(out.width, 140))
