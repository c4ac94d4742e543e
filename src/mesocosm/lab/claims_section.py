"""The claims table of the report: one group of rows a claim, one row a check, and behind each row its evidence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mesocosm.lab.markup import Html, element, join, number
from mesocosm.lab.strip import interval_text, region_text, replicate_plot, strip

VERDICTS = ("holds", "fails", "inconclusive", "not judged")
MARKS = {"holds": "✓", "fails": "✕", "inconclusive": "≈", "not judged": "–"}
COLUMNS = ("Check", "Measured, with its control", "Estimate", "Holds if", "Control", "n")

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


def judged_share(rows: Sequence[Row]) -> str | None:
    """How many of a claim's checks were judged, where it was some and not all."""
    judged = sum(row["verdict"] != "not judged" for row in rows)
    return f"{judged} of {len(rows)} checks judged" if 0 < judged < len(rows) else None


def tally(rows: Sequence[Row]) -> Html:
    """How many claims came out how, as a bar and in words."""
    verdicts = [claim_verdict(group) for group in group_by_claim(rows).values()]
    counts = {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
    bar = [element("span", class_=f"part {_slug(verdict)}", style=f"flex-grow:{count}") for verdict, count in counts.items()]
    words = [element("li", badge(verdict), f" {count}") for verdict, count in counts.items()]
    return element(
        "div",
        element("p", f"{counts.get('holds', 0)} of {len(verdicts)} claims hold", class_="headline"),
        element("div", bar, class_="bar", aria_hidden="true"),
        element("ul", words, class_="counts"),
        class_="tally",
    )


def badge(verdict: str) -> Html:
    """A verdict as sign, word and colour."""
    return element("span", element("span", MARKS.get(verdict, "?"), class_="sign", aria_hidden="true"), verdict, class_=f"badge {_slug(verdict)}")


def claims_section(rows: Sequence[Row]) -> Html:
    """The table, and how to read it."""
    head = element("thead", element("tr", [element("th", column, scope="col") for column in COLUMNS]))
    bodies = [_claim(name, group) for name, group in group_by_claim(rows).items()]
    judged = sum(row["verdict"] != "not judged" for row in rows)
    return element(
        "section",
        element("h2", "Claims"),
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


def _claim(name: str, rows: Sequence[Row]) -> Html:
    verdict = claim_verdict(rows)
    title = element(
        "tr",
        element(
            "th",
            element(
                "div",
                badge(verdict),
                element("span", name, class_="id"),
                element("span", rows[0]["source"], class_="source"),
                element("span", judged_share(rows), class_="source"),
                class_="line",
            ),
            element("p", rows[0]["statement"]),
            colspan=len(COLUMNS),
            scope="rowgroup",
        ),
        class_="claim",
    )
    return element("tbody", title, [_check(row, alone=len(rows) == 1) for row in rows], id=_slug(name), data_verdict=verdict)


def _check(row: Row, *, alone: bool) -> Html:
    """The lines of one check; `alone` in its claim it needs no verdict of its own."""
    if row.get("kind") is None:
        return element("tr", element("td", element("p", row.get("reason"), class_="reason"), colspan=len(COLUMNS)))
    control = row.get("control") or {}
    unit = f" {row['unit']}" if row.get("unit") and row.get("estimate") is not None else ""
    cells = element(
        "tr",
        element(
            "td",
            element("span", _check_name(row), class_="check"),
            _small_verdict(row, alone),
            element("span", row.get("metric"), class_="metric"),
            class_="what",
        ),
        element("td", strip(row), class_="picture"),
        element("td", number(row.get("estimate")) + unit, element("span", _interval(row), class_="interval"), class_="number", data_label="Estimate"),
        element("td", region_text(row), class_="number", data_label="Holds if"),
        element("td", interval_text(control), element("span", control.get("name"), class_="interval"), class_="number", data_label="Control"),
        element("td", row.get("n"), class_="number", data_label="n"),
        class_=f"row {_slug(row['verdict'])}",
    )
    reason = element("p", row["reason"], class_="reason") if row.get("reason") else None
    return join(cells, element("tr", element("td", reason, _evidence(row), colspan=len(COLUMNS)), class_=f"evidence {_slug(row['verdict'])}"))


def _evidence(row: Row) -> Html:
    """What stands behind a row: every replicate, and where the numbers come from."""
    control = row.get("control") or {}
    facts = {
        "Measured": [row.get("metric"), ", ", _over(row)],
        "Estimate": interval_text(row),
        "Control": [control.get("name"), ": ", interval_text(control)] if control else None,
        "A replicate draws anew": row.get("replicate"),
        "Reference": [number(row["reference"]), f" ({row['origin']})" if row.get("origin") else None] if row.get("reference") is not None else None,
        "Configurations tried before": row.get("searched"),
        "Holm": {True: "survives the correction within the study", False: "does not survive the correction within the study"}.get(row.get("holm")),  # type: ignore[arg-type]
        "Tables": [[element("code", table), " "] for table in row.get("tables") or ()],
        "Command": element("code", row["command"]) if row.get("command") else None,
    }
    dots = replicate_plot(row)
    listing = element("dl", [[element("dt", name), element("dd", value)] for name, value in facts.items() if value not in (None, [], "", 0)])
    picture = element("div", dots, element("p", "Each dot is a replicate; the hollow mark is the control."), class_="dots") if dots else None
    return element("details", element("summary", "Evidence"), element("div", picture, listing, class_="proof"))


def _small_verdict(row: Row, alone: bool) -> Html:
    survives = element("span", "‡", title="survives Holm's correction within the study", class_="holm") if row.get("holm") else None
    return element("span", None if alone else badge(row["verdict"]), survives, class_="verdict")


def _over(row: Row) -> str:
    if row.get("kind") in {"exact", "every"}:
        return f"{'largest' if row['kind'] == 'exact' else 'worst'} of {row.get('n')} instances"
    return f"{row.get('kind')} over {row.get('n')} replicates"


def _check_name(row: Row) -> str:
    return str(row["id"]).rpartition(".")[2]


def _interval(row: Row) -> str | None:
    return None if row.get("low") is None or row.get("high") is None else f"[{number(row['low'])}, {number(row['high'])}]"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "unnamed"
