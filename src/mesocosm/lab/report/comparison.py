"""The verdicts of several runs beside each other: a table a study, a row a check, a column a run, differences marked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from mesocosm.claims.agreement import DIFFERENCES, Row, differences
from mesocosm.lab.report.claims_section import claim_anchor, group_by_claim, word
from mesocosm.lab.report.interval_plot import interval_ends
from mesocosm.lab.report.markup import Html, element, join, number
from mesocosm.lab.report.page import brand, document, slug
from mesocosm.lab.report.provenance_section import when
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
        """The same by their ids."""
        return {row["id"]: row for row in self.claims}


def comparison(columns: Sequence[Column], home: str) -> str:
    """The page as text; `home` is the address of the site's first page."""
    studies: dict[str, list[Column]] = {}
    for column in columns:
        studies.setdefault(column.run.study.name, []).append(column)
    only = element("label", element("input", type="checkbox", class_="only"), "Only differences", class_="filter")
    body = join(
        element("header", element("p", element("a", "All runs", href=home), class_="home"), brand(), element("h1", "Verdicts compared"), only),
        element("main", [_study(name, group) for name, group in studies.items()]),
    )
    return document("Verdicts compared · mesocosm", body)


def _study(name: str, columns: Sequence[Column]) -> Html:
    head = element("tr", element("th", "Check", scope="col"), [_heading(column) for column in columns])
    rows = {row["id"]: row for column in reversed(columns) for row in column.claims}  # where texts differ, the first run's
    order = list(dict.fromkeys(row["id"] for column in columns for row in column.claims))
    bodies = [_claim(claim, [str(row["id"]) for row in group], group[0], columns) for claim, group in group_by_claim([rows[id] for id in order]).items()]
    table = element("table", element("thead", head), bodies, class_="comparison")
    found = [kind for id in order for kind in differences([column.by_id.get(id) for column in columns])]
    words = "; ".join(f"{found.count(kind)} {kind}" for kind in DIFFERENCES) if len(columns) > 1 else "one run, nothing to compare"
    return element(
        "section",
        element("h2", name),
        element("p", f"{len(order)} checks: {words}", class_="count"),
        element("div", table, class_="scroll"),
        id=f"study-{slug(name)}",
    )


def _heading(column: Column) -> Html:
    run = column.run
    facts = f"{run.preset} · {len(run.seeds)} seed{'s' * (len(run.seeds) != 1)}"
    made = element("span", when(run.record.get("started")), class_="metric")
    return element("th", element("a", column.name, href=column.page), element("span", facts, class_="metric"), made, scope="col")


def _claim(name: str, ids: Sequence[str], first: Row, columns: Sequence[Column]) -> Html:
    title = element("th", element("p", element("span", name, class_="id"), " ", first["statement"]), colspan=len(columns) + 1, scope="rowgroup")
    rows = [_check(id, columns) for id in ids]
    return element("tbody", element("tr", title, class_="claim"), rows)


def _check(id: str, columns: Sequence[Column]) -> Html:
    found = [column.by_id.get(id) for column in columns]
    metric = next((row["metric"] for row in found if row is not None and row.get("metric")), None)
    kinds = differences(found)
    mark = element("span", ", ".join(kinds), class_="disagreement") if kinds else None
    label = element("th", element("span", id.partition("/")[2], class_="check"), mark, element("span", metric, class_="metric"), scope="row")
    return element("tr", label, [_cell(column, id) for column in columns], class_=" ".join(["differs", *map(slug, kinds)]) if kinds else "same")


def _cell(column: Column, id: str) -> Html:
    """Verdict, estimate and interval; the verdict leads to the claim on the run's own page."""
    row = column.by_id.get(id)
    if row is None:
        return element("td", "no such check", class_="absent")
    verdict = element("a", word(row["verdict"]), href=f"{column.page}#{claim_anchor(row['claim'])}")
    value = element("span", number(row["estimate"]), class_="value") if row.get("estimate") is not None else None
    return element("td", verdict, value, element("span", interval_ends(row), class_="interval"), title=row.get("reason"))
