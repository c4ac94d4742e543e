"""What stands behind a row of the claims table: its replicates, its control, the line that measured it, its tables and the command that makes it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesocosm.claims.claim import Claim
from mesocosm.lab.report.interval_plot import interval_text, replicate_plot
from mesocosm.lab.report.markup import Html, element, number
from mesocosm.lab.report.page import slug


def evidence(row: Mapping[str, Any], measured_at: str | None = None) -> Html:
    """The part of a check's row that opens.

    Args:
        row: an entry of `claims.json`.
        measured_at: file and line where the check is written, where known.
    """
    control = row.get("control") or {}
    facts = {
        "Measured": [row.get("metric"), ", ", _over(row)],
        "Estimate": interval_text(row),
        "Control": [control.get("name"), ": ", interval_text(control)] if control else None,
        "Reference": [number(row["reference"]), f" ({row['origin']})" if row.get("origin") else None] if row.get("reference") is not None else None,
        "Searched": f"{row['searched']} configurations, on other seeds" if row.get("searched") else None,
        "Holm": {True: "survives the correction within the study", False: "does not survive the correction within the study"}.get(row.get("holm")),  # type: ignore[arg-type]
        "In the paper": row.get("source"),
        "In the code": element("code", measured_at) if measured_at else None,
        "Tables": [[element("a", element("code", table), href=f"#{table_anchor(table)}"), " "] for table in row.get("tables") or ()],
        "Run it again": element("code", row["command"], class_="again") if row.get("command") else None,
    }
    listing = element("dl", [[element("dt", name), element("dd", value)] for name, value in facts.items() if value not in (None, [], "", 0)])
    return element("details", element("summary", "Evidence"), element("div", _picture(row), listing, class_="proof"))


def table_anchor(name: str) -> str:
    """Where the page shows a table."""
    return f"table-{slug(name)}"


def measured_at(study: str, claims: Sequence[Claim]) -> dict[str, str]:
    """Id of a check of the study of this name -> file and line where it is written, in the code as it is now."""
    return {f"{study}/{claim.id}.{check.name}": check.line for claim in claims for check in claim.checks}


def _picture(row: Mapping[str, Any]) -> Html | None:
    dots = replicate_plot(row)
    return element("div", dots, element("p", "Each dot is a replicate; the hollow mark is the control."), class_="dots") if dots else None


def _over(row: Mapping[str, Any]) -> str:
    if row.get("kind") in {"exact", "every"}:
        return f"{'largest' if row['kind'] == 'exact' else 'worst'} of {row.get('n')} instances"
    return f"{row.get('kind')} over {row.get('n')} replicates"
