"""Compares the verdicts of several runs: one table per study, one row per check, one column per run; marks differences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from mesocosm.claims.agreement import DIFFERENCES, Row, differences
from mesocosm.claims.summary import group_by_claim
from mesocosm.lab.report.page import page
from mesocosm.lab.store.run_directory import Run


class Column:
    """A run in a site.

    Attributes:
        run: the run.
        page: its page, relative to the site.
    """

    def __init__(self, run: Run, page: str):
        self.run, self.page = run, page

    @property
    def name(self) -> str:
        """The run directory's name."""
        return self.run.path.resolve().name

    @cached_property
    def claims(self) -> list[dict[str, Any]]:
        """The run's judged checks."""
        return self.run.claims

    @cached_property
    def by_id(self) -> dict[str, Row]:
        """Check id -> its row."""
        return {row["id"]: row for row in self.claims}


class Study(NamedTuple):
    """The runs of one study.

    Attributes:
        name: the study's name.
        columns: its runs.
        claims: claim -> its checks; the first run's texts if they differ.
        kinds: check -> how the runs differ.
        summary: how many checks differ in each way.
    """

    name: str
    columns: Sequence[Column]
    claims: dict[str, list[Row]]
    kinds: dict[str, list[str]]
    summary: str

    @classmethod
    def of(cls, name: str, columns: Sequence[Column]) -> Study:
        """Compare the runs."""
        rows = {row["id"]: row for column in reversed(columns) for row in column.claims}
        metrics = {row["id"]: row["metric"] for column in reversed(columns) for row in column.claims if row.get("metric")}
        order = list(dict.fromkeys(row["id"] for column in columns for row in column.claims))
        kinds = {id: differences([column.by_id.get(id) for column in columns]) for id in order}
        found = [kind for of_check in kinds.values() for kind in of_check]
        summary = "; ".join(f"{found.count(kind)} {kind}" for kind in DIFFERENCES) if len(columns) > 1 else "one run, nothing to compare"
        return cls(name, columns, group_by_claim([{**rows[id], "metric": metrics.get(id)} for id in order]), kinds, summary)


def comparison(columns: Sequence[Column], home: str) -> str:
    """The page as text; `home` is the address of the site's first page."""
    studies: dict[str, list[Column]] = {}
    for column in columns:
        studies.setdefault(column.run.study.name, []).append(column)
    return page("comparison.html", "Verdicts compared · mesocosm", home=home, studies=[Study.of(name, group) for name, group in studies.items()])
