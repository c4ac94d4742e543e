"""`mesocosm compare`: a search over learning rates on pilot seeds, then a run with the chosen rates on other seeds, both ordinary runs of the comparison.

comparison.json  what was asked
pilots/          the run of the search
search.csv       every pilot, and which rates were chosen
run/             the run that is judged, with its page
comparison.csv   the table that is printed, with intervals
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mesocosm.cli.commands import ConfiguredCompare
from mesocosm.comparisons.layers.config import Config
from mesocosm.comparisons.layers.networks import widths
from mesocosm.comparisons.layers.summary import MEAN, at_the_ends, chosen_rates, compared, costs, searched
from mesocosm.comparisons.layers.trials import check as check_config
from mesocosm.lab.errors import UserError
from mesocosm.lab.events.progress import printable, screen
from mesocosm.lab.formatting import duration, interval_text, number
from mesocosm.lab.run.cluster import Cluster
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store import atomic
from mesocosm.lab.store.configuration import plain
from mesocosm.lab.store.identity import digest
from mesocosm.lab.store.run_directory import Run, run_file_errors
from mesocosm.learning.streams import FIRST_PILOT_SEED
from mesocosm.studies.interface import Study

ASKED, SEARCH, TABLE = "comparison.json", "search.csv", "comparison.csv"
MOST_SEEDS = 500


class Outcome(NamedTuple):
    """What came of a comparison.

    Attributes:
        folder: its folder.
        config: with the chosen learning rates.
        runs: the run of the search, if there was one, and the one that is judged unless a pilot failed.
        table: `summary.compared`; None if a pilot failed.
        remarks: what a reader of the table should know.
    """

    folder: Path
    config: Config
    runs: list[Run]
    table: pl.DataFrame | None
    remarks: list[str]


def check(study: Study, command: ConfiguredCompare[Config]) -> None:
    """Reject what cannot be compared, before anything is trained.

    Raises:
        UserError: too few seeds, pilots' seeds, or a layer or task that does not fit.
    """
    last = command.first_seed + command.seeds
    if not 2 <= command.seeds <= MOST_SEEDS or command.first_seed < 0 or last > FIRST_PILOT_SEED:
        raise UserError(
            f"--seeds must be 2 to {MOST_SEEDS}, since an interval needs two, and seeds lie below {FIRST_PILOT_SEED}, where pilots begin; "
            f"they are {command.first_seed} to {last - 1}"
        )
    if command.config.pilots < 1:
        raise UserError(f"--config.pilots must be 1 or more, not {command.config.pilots}")
    try:
        check_config(command.config)
    except ValueError as unfit:
        raise UserError(str(unfit)) from unfit


def compare(
    study: Study, command: ConfiguredCompare[Config], out: Console, line: str, *, end: Callable[[Any, str], None], cluster: Cluster | None = None
) -> Outcome:
    """Search, then run, and write the tables.

    Args:
        study: the comparison.
        command: what was asked.
        out: where progress is shown.
        line: the command line, for the record.
        end: as in `runner.execute`, after the screen.
        cluster: compute the trials on a Ray cluster instead of in this process.

    Raises:
        UserError: the folder holds something else, or cannot be written.
        KeyboardInterrupt: it was asked to stop; the same call resumes it.
    """
    config, seeds = command.config, tuple(range(command.first_seed, command.first_seed + command.seeds))
    question = {"preset": command.preset, "config": plain(config), "seeds": list(seeds)}
    folder = Path(os.path.abspath(command.out or Path("runs") / f"compare-{command.preset}-{digest(question)[:6]}"))
    _prepare(folder, question | {"command": line}, fresh=command.fresh)

    def run(config: Config, seeds: Sequence[int], name: str, *, judged: bool) -> Run:
        with screen(out) as watching:
            options: dict[str, Any] = {"config": config, "seeds": tuple(seeds), "out": folder / name, "fresh": command.fresh, "judged": judged, "repeats": True}
            stopping: dict[str, Any] = {"end": partial(end, watching), "stalled_seconds": command.stalled, "cluster": cluster}
            return execute(study, command.preset, **options, **stopping, observer=watching, command=line)

    runs = []
    if not config.learning_rates:
        pilots = range(FIRST_PILOT_SEED, FIRST_PILOT_SEED + config.pilots * len(config.grid))
        out.print(Text(f"search over {len(config.grid)} learning rates on {len(pilots)} pilot seeds", style="bold"))
        runs.append(run(config, pilots, "pilots", judged=False))
        if any(state["state"] != "finished" for state in runs[0].trials.values()):
            return Outcome(folder, config, runs, None, [])
        search = searched(config, runs[0].tables["pilot"])
        _write(folder / SEARCH, search)
        config = replace(config, learning_rates=chosen_rates(search))
        out.print(Text(f"training with the chosen rates on {len(seeds)} other seeds", style="bold"))
    runs.append(run(config, seeds, "run", judged=True))
    if "score" not in runs[-1].tables:
        return Outcome(folder, config, runs, None, [])
    table = compared(runs[-1].view())
    _write(folder / TABLE, table)
    return Outcome(folder, config, runs, table, remarks(config, runs[-1]))


def remarks(config: Config, run: Run) -> list[str]:
    """What a reader of the table should know: diverged seeds, and chosen rates at the ends of those that were tried."""
    told = []
    score = run.tables["score"]
    if diverged := score.filter("diverged").select("layer", "task", "seed").n_unique():
        told.append(f"{diverged} trainings diverged; they count with their last finite state.")
    if ends := at_the_ends(config):
        told.append(f"{ends} of {len(config.learning_rates)} chosen learning rates are at an end of those that were tried; --config.grid tries others.")
    return told


def _prepare(folder: Path, question: Mapping[str, Any], *, fresh: bool) -> None:
    """Accept a new or empty folder, or one with the same comparison.

    Raises:
        UserError: it holds something else, or cannot be written.
    """
    with run_file_errors(folder):
        known: Any = {}
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            try:
                known = dict(atomic.read_json(folder / ASKED))
            except (OSError, ValueError, TypeError):
                raise UserError(f"{folder} is not a comparison (it has no {ASKED}); choose another folder with --out") from None
        other = [name for name in ("preset", "config", "seeds") if known and known.get(name) != question[name]]
        if other and not fresh:
            raise UserError(f"{folder} holds another comparison, whose {', '.join(other)} differ; choose another folder with --out, or discard it with --fresh")
        if fresh:  # the runs are discarded when they start, under their locks
            for name in (SEARCH, TABLE):
                (folder / name).unlink(missing_ok=True)
        atomic.write_json(folder / ASKED, question)


def _write(file: Path, table: pl.DataFrame) -> None:
    with run_file_errors(file.parent):
        atomic.write_bytes(file, table.write_csv().encode())


# --- what is printed --------------------------------------------------------------------------------------------------


def parameters_table(config: Config) -> Table:
    """How the parameters of a block are spent by each layer."""
    table = _table("layer", "its parameters", "width of the feed-forward part", "parameters of a block", "of the wanted")
    for layer in config.layers:
        spent = widths(layer, config.network)
        share = f"{100 * spent.block / spent.wanted:.1f} %"
        table.add_row(Text(printable(layer), style="bold"), f"{spent.layer:,}", f"{spent.hidden:,}", f"{spent.block:,}", share)
    return table


def scores_table(outcome: Outcome) -> Table:
    """One row for each task and split, one column for each layer: score with its interval, and an arrow where the difference to the first layer is certain."""
    assert outcome.table is not None
    layers = outcome.config.layers
    table = _table("score [95 %]", *layers)
    for task, split in outcome.table.select("task", "split").unique(maintain_order=True).rows():
        cells = {row["layer"]: row for row in outcome.table.filter(task=task, split=split).iter_rows(named=True)}
        if task == MEAN:
            table.add_section()
        table.add_row(Text(task + ", held out" * (split == "ood"), style="bold"), *(_score(cells.get(layer)) for layer in layers))
    count = outcome.table["n"].max()
    table.caption = (
        f"score: 1 - loss / loss of the best constant prediction; {count} seeds. ▲ ▼: above or below {printable(layers[0])} on the same seeds, "
        "after Holm's correction for all differences of the table"
    )
    return table


def costs_table(outcome: Outcome) -> Table:
    """One row for each layer: operations and memory of its gradient at each length, and the measured time of a training step."""
    rows = costs(outcome.runs[-1].view())
    lengths = outcome.config.costs
    operations, memory = ([f"{what} at length {length}" for length in lengths] for what in ("operations per token", "memory"))
    table = _table("layer", *operations, *memory, "time a step and seed")
    for layer in outcome.config.layers:
        of = {row["length"]: row for row in rows.filter(layer=layer).iter_rows(named=True)}
        counted = [number(of[length]["operations_per_token"]) if of else "–" for length in lengths]
        bytes_needed = [f"{of[length]['memory_bytes'] / 2**10:,.0f} kB" if of else "–" for length in lengths]
        table.add_row(Text(printable(layer), style="bold"), *counted, *bytes_needed, duration(step_seconds(outcome.runs[-1], layer)))
    return table


def step_seconds(run: Run, layer: str) -> float:
    """Seconds of one training step of one seed, mean over tasks, without compiling; 0 if nothing finished."""
    tasks = {trial.name: len(run.seeds) for trial in run.study.trials(run.config) if getattr(getattr(trial.config, "shape", None), "layer", None) == layer}
    fits = [(fit, seeds) for name, seeds in tasks.items() for fit in run.trials[name].get("fits", {}).values()]
    times = [(fit["seconds"] - fit["compile_seconds"]) / fit["steps"] / seeds for fit, seeds in fits]
    return sum(times) / len(times) if times else 0.0


def _score(row: Mapping[str, Any] | None) -> Text:
    if row is None:
        return Text("failed", style="red")
    arrow, style = ("", "") if not row["holm"] else (" ▲", "green") if row["difference"] > 0 else (" ▼", "yellow")
    ends = {"estimate": row["score"], "low": row["score_low"], "high": row["score_high"]}
    return Text(interval_text(ends) + arrow, style=style)


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", caption_justify="left")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(Text(printable(column)), overflow="fold", justify="right")
    return table
