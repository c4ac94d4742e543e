"""What a notebook shows of a run: its verdicts and figures as one piece of HTML that works without a script, a style sheet or a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mesocosm.claims.summary import group_by_claim, tally_text
from mesocosm.lab.formatting import from_here, when
from mesocosm.lab.report.figures import figures_of
from mesocosm.lab.report.page import render
from mesocosm.lab.report.pictures import picture

if TYPE_CHECKING:
    from mesocosm.lab.store.run_directory import Run

SCALE = 1.5
"""Pixels of a picture for each pixel on the page, so that it is sharp on most screens."""


def run_display(run: Run) -> str:
    """Verdicts and figures of a judged run, or the states of its trials before it is judged. Text from studies is escaped.

    The figures are those in the run's folder `figures/`, which the run or `mesocosm report RUN` wrote.

    Raises:
        UserError: the run's files are damaged.
    """
    judged = (run.path / "claims.json").exists()
    rows = run.claims if judged else []
    facts = [f"preset {run.preset}", f"{len(run.seeds)} seed{'s' * (len(run.seeds) != 1)}", when(run.record.get("started")), from_here(run.path)]
    return render(
        "notebook.html",
        study=run.study,
        facts=[fact for fact in facts if fact],
        summary=tally_text(rows),
        groups={name: judged_rows for name, group in group_by_claim(rows).items() if (judged_rows := [row for row in group if row["verdict"] != "not judged"])},
        unjudged=unjudged(rows),
        figures=pictures(run) if judged else [],
        trials=None if judged else run.trials,
    )


def unjudged(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Reason -> the names of the checks, or of the claims without checks, that were not judged for it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] == "not judged":
            found.setdefault(str(row.get("reason") or ""), []).append(str(row["id"]).partition("/")[2])
    return found


def pictures(run: Run) -> list[tuple[str, str, str]]:
    """(title, caption, address) of each figure that was drawn."""
    found = [(figure.title, figure.caption, picture(run.path, figure.name, scale=SCALE)) for figure in figures_of(run)]
    return [(title, caption, address) for title, caption, address in found if address is not None]
