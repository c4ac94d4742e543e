"""Terminal tables for studies, trials and claims. All text is literal; none is interpreted as markup."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mesocosm.claims.agreement import OTHER_VERDICTS
from mesocosm.claims.earlier import earlier_text, verdict_changed
from mesocosm.claims.summary import MARKS, claim_verdict, group_by_claim, judged_share, remarks, row_evidence
from mesocosm.lab.events.progress import printable
from mesocosm.lab.formatting import duration, interval_text, number, region_text
from mesocosm.studies.interface import Preset, Study

if TYPE_CHECKING:
    import polars as pl

    from mesocosm.cli.tour import Stop
    from mesocosm.lab.run.dry_run import TrialDryRun
    from mesocosm.lab.run.replication import Pair
    from mesocosm.lab.run.search import Arm, Search

COLOURS = {"holds": "green", "fails": "bold red", "inconclusive": "yellow", "not judged": "dim"}
OF_THE_RUN = ("preset ", "user part: ", "config changed: ")
STATES = {"finished": "green", "failed": "bold red", "running": "cyan", "skipped": "yellow", "interrupted": "yellow"}
OUTCOMES = {"done": "green", "failed": "bold red", "refused": "bold red", "stopped": "yellow", "skipped": "yellow"}


def studies_table(studies: Sequence[Study | str]) -> Table:
    """One row per study: name, title, presets with minutes; a string is the reason why a study could not be loaded."""
    table = _table("study", "what emerges", "presets (minutes, one trial at a time)")
    for study in studies:
        if isinstance(study, str):
            table.add_row(Text(printable(study), style="red"))
            continue
        presets = ", ".join(f"{name} ({_minutes(preset)})" if preset.minutes else name for name, preset in study.presets.items())
        table.add_row(Text(study.name, style="bold"), Text(printable(study.title)), Text(presets))
    return table


def study_page(study: Study) -> RenderableType:
    """One study in full: paper, presets, and claims with their sources and checks."""
    presets = _table("preset", "seeds", "minutes, one trial at a time")
    for name, preset in study.presets.items():
        presets.add_row(Text(name, style="bold"), str(preset.seeds), _minutes(preset) if preset.minutes else Text("not measured", style="dim"))
    parts: list[RenderableType] = [
        Text.assemble((study.name, "bold"), f"  {printable(study.title)}"),
        Text(printable(study.paper), style="dim"),
        Text(),
        presets,
    ]
    if "mixer" in study.slots:
        parts.append(Text("--mixer trains another layer beside its own: a name from `mesocosm layers`, or yours as package.module:Name.", style="dim"))
    if "model" in study.slots:
        parts.append(Text("--model trains your own seeded model beside its own: package.module:Name.", style="dim"))
    if "estimator" in study.slots:
        parts.append(Text("--estimator trains with your own estimator beside its own: package.module:Name.", style="dim"))
    for claim in study.claims:
        parts += [Text(), Text.assemble((claim.id, "bold"), f"  {printable(claim.statement)}", (f"  {printable(claim.source)}", "dim"))]
        if claim.unjudged:
            parts.append(Padding(Text(f"not judged: {printable(claim.unjudged)}", style="dim"), (0, 0, 0, 4)))
        for check in claim.checks:
            region = region_text({"threshold": check.inside.threshold, "direction": check.inside.direction})
            judged = ", ".join(name for name in study.presets if name in check.judged_at)
            words = f"{check.kind.of} {region}; control: {check.control.name}; judged at {judged}"
            parts.append(Padding(Text.assemble((check.name, "cyan"), (f"  {check.evidence}", "bold"), f": {printable(words)}"), (0, 0, 0, 4)))
    return Group(*parts)


def search_table(asked: Search, arms: Sequence[Arm]) -> Table:
    """The configurations of a search with the mean over seeds and its 95 % interval, best first, failed trainings last."""
    import numpy as np

    from mesocosm.claims.intervals import t_interval

    table = _table(*(dimension.field for dimension in asked.over), f"{'.'.join(asked.by)} [95 %]", "n")
    sign = -1 if asked.maximize else 1
    for arm in sorted(arms, key=lambda arm: (arm.mean is None, sign * (arm.mean or 0.0))):
        values = [Text(printable(f"{value:.4g}" if isinstance(value, float) else str(value))) for value in arm.values.values()]
        numbers = np.array(list(arm.numbers.values()))
        if arm.failure is not None:
            table.add_row(*values, Text(f"failed: {printable(arm.failure)}", style="red"), "0")
        elif len(numbers) < 2:
            table.add_row(*values, number(numbers.mean()), "1")
        else:
            found = t_interval(numbers, np.zeros(len(numbers)))
            table.add_row(*values, interval_text({"estimate": found.estimate, "low": found.low, "high": found.high}), str(len(numbers)))
    return table


def claims_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The verdicts: one row per claim and judged check, if any; why checks do not hold; and the checks that were not judged, grouped by reason."""
    table = _table("claim", "verdict", "estimate [95 %]", "holds if", "control", "n")
    for claim, checks in group_by_claim(rows).items():
        judged = [row for row in checks if row["verdict"] != "not judged"]
        if not judged:
            continue
        share = judged_share(checks)
        statement = Text.assemble((claim, "bold"), f" {printable(checks[0]['statement'])}", (f" ({share})" if share else "", "dim"))
        table.add_row(statement, _verdict(claim_verdict(checks)))
        for row in judged:
            table.add_row(*_check(row))
        table.add_section()
    return Group(*[table] * bool(table.rows), *_notes(rows), *_earlier(rows), *_reasons(rows))


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[Text]:
    """A sentence for each check that was judged and does not hold, or has a note though it is not judged: what was found, and where it is discussed."""
    lines = []
    for row in rows:
        if row["verdict"] in ("fails", "inconclusive") or row.get("note"):
            note = row.get("note") or "This is a finding of this run: nobody has written yet what stands behind it."
            page = f" See {row['page']}." if row.get("page") else ""
            name = (f"{row['id']} {row['verdict']}: ", COLOURS[row["verdict"]])
            lines.append(Text.assemble(name, printable(f"{note}{page}")))
    return lines


def _earlier(rows: Sequence[Mapping[str, Any]]) -> list[Text]:
    """A line for each check to which an earlier record gave another verdict, and one for all others that earlier records judged alike."""
    lines = [Text.assemble((f"{row['id']} {row['verdict']}; ", "yellow"), printable(str(earlier_text(row)))) for row in rows if verdict_changed(row)]
    alike = sum(bool(row.get("earlier")) for row in rows) - len(lines)
    return lines + ([Text(f"{alike} {'check has' if alike == 1 else 'checks have'} the verdict of every earlier record", style="dim")] if alike else [])


def _reasons(rows: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Remarks on judged checks and unjudged checks, one line per remark or reason; what concerns the whole run needs no further detail."""
    unjudged, without = dict[str, list[str]](), list[str]()
    for row in rows:
        reason = str(row.get("reason") or "")
        if row.get("kind") is None:
            without.append(str(row["id"]))
        elif row["verdict"] == "not judged":
            told = reason.partition(";")[0] if reason.startswith(OF_THE_RUN) else reason
            unjudged.setdefault(told, []).append(str(row["id"]).rpartition("/")[2])
    lines = [Text(f"{_listed(names)}: {printable(reason)}", style="dim") for reason, names in remarks(rows).items()]
    lines += [Text(f"not judged, {printable(reason)}: {_listed(names)}", style="dim") for reason, names in unjudged.items()]
    study = without[0].partition("/")[0] if without else ""
    names = [name.rpartition("/")[2] for name in without]
    return lines + [Text(f"without a check, `mesocosm list {study}` says why: {', '.join(names)}", style="dim")] * bool(without)


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _check(row: Mapping[str, Any]) -> list[RenderableType]:
    control = row.get("control") or {}
    evidence = row_evidence(row)
    kind = "" if evidence == "finding" else f" ({evidence})"
    name = Text.assemble((f"  {str(row['id']).rpartition('.')[2]}", "cyan"), (f": {printable(str(row.get('metric') or ''))}{kind}", "dim"))
    contrast = Text.assemble(interval_text(control), (f" {printable(str(control.get('name', '')))}", "dim"))
    unit = f" {row['unit']}" if row.get("unit") else ""
    return [name, _verdict(row["verdict"]), Text(interval_text(row) + unit), Text(region_text(row)), contrast, Text(number(row.get("n")))]


def comparison_table(pairs: Sequence[Pair]) -> RenderableType:
    """Verdict and estimate of each check in an earlier run and now, with differences highlighted."""
    table = _table("check", "before", "estimate [95 %]", "now", "estimate [95 %]", "difference")
    for pair in pairs:
        sides = [cell for row in (pair.before, pair.now) for cell in _side(row)]
        style = "bold" if pair.differs else "dim"
        table.add_row(Text(printable(pair.id), style=style), *sides, Text(f"≠ {', '.join(pair.differs)}" if pair.differs else "", style="bold yellow"))
    changed = sum(not set(OTHER_VERDICTS).isdisjoint(pair.differs) for pair in pairs)
    same = sum(not pair.differs for pair in pairs)
    summary = f"{len(pairs)} checks: {same} unchanged, {changed} with a different verdict, {len(pairs) - same - changed} with other differences"
    return Group(table, Text(summary))


def _side(row: Mapping[str, Any] | None) -> tuple[RenderableType, RenderableType]:
    return (Text("–", style="dim"), Text()) if row is None else (_verdict(row["verdict"]), Text(interval_text(row)))


def trials_table(trials: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per trial: state, time, and the error or the diverged seeds."""
    table = _table("trial", "state", "time", "")
    for name, status in trials.items():
        state = str(status.get("state", "waiting"))
        seconds = status.get("seconds")
        error = Text(printable(str(status.get("error") or diverged_text(status))), style="red" if state == "failed" else "dim")
        table.add_row(Text(printable(name), style="bold"), Text(state, style=STATES.get(state, "dim")), duration(seconds) if seconds is not None else "", error)
    return table


def tour_table(stops: Sequence[Stop]) -> Table:
    """One row per study of `run all`: what became of it, its time, and why it did not end well."""
    table = _table("study", "outcome", "time", "")
    for stop in stops:
        outcome = Text(stop.outcome, style=OUTCOMES.get(stop.outcome, "dim"))
        seconds = duration(stop.seconds) if stop.seconds else ""
        table.add_row(Text(printable(stop.study), style="bold"), outcome, seconds, Text(printable(stop.told), style="dim"))
    return table


def losses_table(table: pl.DataFrame, own: Collection[str]) -> Table:
    """Losses of each trial, mean and range over seeds; the trials of `own` stand out."""
    names = [column for column in table.columns if column == "loss" or column.endswith("_loss")]
    shown = _table("trial", *(f"{name.replace('_', ' ')}: mean [range]" for name in names), "seeds")
    for (trial,), rows in table.partition_by("trial", as_dict=True, maintain_order=True).items():
        cells = [interval_text({"estimate": rows[name].mean(), "low": rows[name].min(), "high": rows[name].max()}) for name in names]
        shown.add_row(Text(printable(f"{trial} (yours)" if trial in own else str(trial)), style="bold" if trial in own else ""), *cells, str(rows.height))
    return shown


def diverged_text(status: Mapping[str, Any]) -> str:
    """The seeds of each fit that diverged and were frozen at their last finite state."""
    fits = {name: fit["diverged"] for name, fit in status.get("fits", {}).items() if fit.get("diverged")}
    return "; ".join(f"{name}: seed {', '.join(map(str, seeds))} diverged" for name, seeds in fits.items())


def dry_run_table(trials: Sequence[TrialDryRun], *, compiled: bool) -> Table:
    """A dry run: trials, their minutes, the memory of their programs if these were compiled, and their state from an earlier run."""
    table = _table("trial", "minutes", *["memory"] * compiled, "state", "")
    none = Text("–", style="dim")
    for trial in trials:
        budget = none if trial.minutes is None else f"{trial.minutes:.3g}"
        memory = none if trial.memory_bytes is None else f"{trial.memory_bytes / 2**20:.3g} MiB"
        state = Text(trial.state, style="dim" if trial.state == "cached" else "yellow")
        why = Text(printable(trial.problem or trial.why), style="dim")
        table.add_row(Text(printable(trial.trial), style="bold"), budget, *[memory] * compiled, state, why)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(Text(column), overflow="fold")  # brackets are no markup
    return table


def _verdict(verdict: str) -> Text:
    return Text(f"{MARKS.get(verdict, '?')} {verdict}", style=COLOURS.get(verdict, ""), no_wrap=True)


def rounded(minutes: float) -> str:
    """Two digits, or whole minutes."""
    return f"{minutes:.2g}" if minutes < 100 else f"{minutes:.0f}"


def _minutes(preset: Preset) -> str:
    return rounded(sum(preset.minutes.values()))
