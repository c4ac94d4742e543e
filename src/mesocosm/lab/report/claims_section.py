"""The claims table of the report: one group of rows a claim, one row a check, and behind each row its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mesocosm.lab.report.evidence import evidence
from mesocosm.lab.report.interval_plot import interval_ends, region_text, strip
from mesocosm.lab.report.markup import Html, element, join, number
from mesocosm.lab.report.page import slug

VERDICTS = ("holds", "fails", "inconclusive", "not judged")
MARKS = {"holds": "✓", "fails": "✕", "inconclusive": "≈", "not judged": "–"}
COLUMNS = (
    ("Verdict", "verdict", "verdict"),
    ("Claim and check", None, "claim"),
    ("Measured, with its control", "picture", None),
    ("Estimate", None, None),
    ("Holds if", None, None),
    ("Control", None, None),
    ("n", "number n", "n"),
)
"""Heading, class, and what a click on it sorts by."""

Row = Mapping[str, Any]


def group_by_claim(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows under their claim, both in the order in which they came."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["claim"]), []).append(row)
    return groups


def claim_verdict(rows: Sequence[Row]) -> str:
    """A claim holds iff all its checks hold and fails iff any fails; otherwise what keeps it open, `inconclusive` before `not judged`."""
    verdicts = {row["verdict"] for row in rows}
    if verdicts == {"holds"}:
        return "holds"
    return next((verdict for verdict in ("fails", "inconclusive") if verdict in verdicts), "not judged")


def claim_anchor(name: str) -> str:
    """Where a run's page shows a claim."""
    return f"claim-{slug(name)}"


def judged_share(rows: Sequence[Row]) -> str | None:
    """How many of a claim's checks were judged, where it was some and not all."""
    judged = sum(row["verdict"] != "not judged" for row in rows)
    return f"{judged} of {len(rows)} checks judged" if 0 < judged < len(rows) else None


def tally(rows: Sequence[Row]) -> Html:
    """How many claims came out how, in words and as a bar."""
    verdicts = _claim_verdicts(rows)
    return element(
        "div", element("p", f"{verdicts.count('holds')} of {len(verdicts)} claims hold", class_="headline"), tally_bar(rows), counts(rows), class_="tally"
    )


def tally_bar(rows: Sequence[Row]) -> Html:
    """The claims' verdicts as a bar."""
    verdicts = _claim_verdicts(rows)
    parts = [element("span", class_=f"part {slug(verdict)}", style=f"flex-grow:{verdicts.count(verdict)}") for verdict in VERDICTS if verdict in verdicts]
    return element("div", parts, class_="bar", aria_hidden="true")


def counts(rows: Sequence[Row]) -> Html:
    """The claims' verdicts in words."""
    verdicts = _claim_verdicts(rows)
    return element("ul", [element("li", badge(verdict), f" {verdicts.count(verdict)}") for verdict in VERDICTS if verdict in verdicts], class_="counts")


def _claim_verdicts(rows: Sequence[Row]) -> list[str]:
    return [claim_verdict(group) for group in group_by_claim(rows).values()]


def badge(verdict: str) -> Html:
    """A verdict as sign, word and colour."""
    return element("span", *_verdict(verdict), class_=f"badge {slug(verdict)}")


def word(verdict: str) -> Html:
    """A verdict as sign and word, coloured but without the badge's field."""
    return element("span", *_verdict(verdict), class_=f"word {slug(verdict)}")


def claims_section(rows: Sequence[Row], measured_at: Mapping[str, str] = MappingProxyType({})) -> Html:
    """The table, and how to read it; `measured_at` says of a check where the code is that measures it."""
    head = element("thead", element("tr", [element("th", text, scope="col", class_=class_, data_sort=key) for text, class_, key in COLUMNS]))
    bodies = [_claim(name, group, measured_at) for name, group in group_by_claim(rows).items()]
    judged = sum(row["verdict"] != "not judged" for row in rows)
    return element(
        "section",
        element("h2", "Claims"),
        _controls(rows),
        element("table", head, bodies, class_="claims"),
        element(
            "p",
            "A check holds if its whole 95 % interval lies inside the region that was fixed beforehand (shaded), fails if it lies outside, ",
            "and is inconclusive otherwise. ",
            "Its control, measured the same way, must lie outside. ",
            f"Intervals are not adjusted for the {judged} checks judged here; ‡ marks those that survive Holm's correction within the study.",
            class_="legend",
        ),
        id="claims",
    )


def _controls(rows: Sequence[Row]) -> Html:
    """What filters and opens; hidden until the page's script has made it work."""
    verdicts = [verdict for verdict in VERDICTS if any(row["verdict"] == verdict for row in rows)]
    buttons = [
        element("button", *_verdict(verdict), f" {sum(row['verdict'] == verdict for row in rows)}", type="button", aria_pressed="false", data_verdict=verdict)
        for verdict in verdicts
    ]
    return element(
        "div",
        element("input", type="search", placeholder="Filter by text", aria_label="Filter the checks by text"),
        element("div", buttons, class_="verdicts", role="group", aria_label="Filter the checks by verdict"),
        element("button", "Open all evidence", type="button", class_="open-all"),
        element("p", role="status"),
        class_="controls",
        hidden=True,
    )


def _claim(name: str, rows: Sequence[Row], measured_at: Mapping[str, str]) -> Html:
    verdict = claim_verdict(rows)
    title = element(
        "tr",
        element("td", badge(verdict), class_="verdict"),
        element(
            "th",
            element(
                "div",
                element("span", name, class_="id"),
                element("span", rows[0]["source"], class_="source"),
                element("span", judged_share(rows), class_="source"),
                class_="line",
            ),
            element("p", rows[0]["statement"]),
            colspan=len(COLUMNS) - 1,
            scope="rowgroup",
        ),
        class_="claim",
    )
    most = max((row.get("n") or 0 for row in rows), default=0)
    checks = [_check(row, measured_at.get(row["id"]), alone=len(rows) == 1) for row in rows]
    return element("tbody", title, checks, id=claim_anchor(name), data_verdict=verdict, data_n=most)


def _check(row: Row, measured_at: str | None, *, alone: bool) -> Html:
    """The two lines of one check, its numbers and what stands behind them; `alone` in its claim it needs no verdict of its own."""
    if row.get("kind") is None:
        reason = element("td", element("p", row.get("reason"), class_="reason"), colspan=len(COLUMNS) - 1)
        return element("tr", element("td", class_="verdict"), reason, class_="row unjudged", data_verdict=row["verdict"])
    control = row.get("control") or {}
    unit = f" {row['unit']}" if row.get("unit") and row.get("estimate") is not None else ""
    cells = element(
        "tr",
        element("td", _small_verdict(row, alone), class_="verdict"),
        element("td", element("span", _check_name(row), class_="check"), element("span", row.get("metric"), class_="metric"), class_="what"),
        element("td", strip(row), class_="picture"),
        element("td", number(row.get("estimate")) + unit, element("span", interval_ends(row), class_="interval"), class_="number", data_label="Estimate"),
        element("td", region_text(row), class_="number", data_label="Holds if"),
        element(
            "td",
            number(control.get("estimate")),
            element("span", interval_ends(control), class_="interval"),
            element("span", control.get("name"), class_="interval"),
            class_="number control-cell",
            data_label="Control",
        ),
        element("td", row.get("n"), class_="number n", data_label="n"),
        class_=f"row {slug(row['verdict'])}",
        data_verdict=row["verdict"],
    )
    reason = element("p", row["reason"], class_="reason") if row.get("reason") else None
    page = [" See ", element("code", row["page"]), "."] if row.get("page") else None
    note = element("p", row["note"], page, class_="reason") if row.get("note") else None
    behind = element("td", reason, note, evidence(row, measured_at), colspan=len(COLUMNS) - 1)
    return join(cells, element("tr", element("td", class_="verdict"), behind, class_=f"evidence {slug(row['verdict'])}"))


def _small_verdict(row: Row, alone: bool) -> list[Html]:
    """Word and sign without the claim's badge, and a mark where Holm's correction is survived."""
    survives = element("span", "‡", title="survives Holm's correction within the study", class_="holm") if row.get("holm") else Html()
    return [Html() if alone else word(row["verdict"]), survives]


def _verdict(verdict: str) -> tuple[Html, str]:
    return element("span", MARKS.get(verdict, "?"), class_="sign", aria_hidden="true"), verdict


def _check_name(row: Row) -> str:
    return str(row["id"]).rpartition(".")[2]
