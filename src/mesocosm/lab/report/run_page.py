"""The report of a run: one offline page with claims, figures, trials, tables and provenance."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mesocosm.claims.claim import Claim
from mesocosm.claims.summary import PLURAL, checks_by_verdict, claim_evidence, group_by_claim, tally_by_evidence
from mesocosm.lab.formatting import duration, when
from mesocosm.lab.report import vega
from mesocosm.lab.report.figures import RenderedFigure, draw, theme
from mesocosm.lab.report.page import asset_script, page
from mesocosm.lab.report.provenance_section import provenance_section
from mesocosm.lab.report.tables_section import tables_read
from mesocosm.lab.store import atomic
from mesocosm.lab.store.code import listed
from mesocosm.lab.store.run_directory import Run, run_file_errors


def write_report(run: Run) -> Path:
    """Draw the run's figures as SVG and PNG into `figures/`, and write the page `index.html`.

    Returns:
        The page's path.

    Raises:
        UserError: the run directory cannot be written.
    """
    with ThreadPoolExecutor(1) as pool:
        bundled = pool.submit(vega.script)
        drawn = draw(run)
        bundled.result()
    file = run.path / "index.html"
    with run_file_errors(run.path):
        drawn = vega.write_pictures(drawn, run.path / "figures")
        atomic.write_bytes(file, render(run, drawn).encode())
    return file


def render(run: Run, drawn: Sequence[RenderedFigure], *, home: str | None = None) -> str:
    """The page as text; `home` is the address of the site's first page if the page is part of a site."""
    rows = run.claims
    specs = [figure.spec for figure in drawn if figure.spec is not None]
    return page(
        "run.html",
        f"{run.study.name} · {run.preset} · mesocosm",
        scripts=[asset_script("claims.js"), *([vega.script(), asset_script("figures.js")] if specs else [])],
        data={"specs": specs, "themes": {"light": theme(), "dark": theme(dark=True)}} if specs else None,
        run=run,
        home=home,
        facts=_facts(run),
        age=_age(run),
        groups=group_by_claim(rows),
        tally_by_evidence=tally_by_evidence(rows),
        plural=PLURAL,
        without_checks=sum(claim_evidence(group) is None for group in group_by_claim(rows).values()),
        checks_by_verdict=checks_by_verdict(rows),
        judged=sum(row["verdict"] != "not judged" for row in rows),
        measured_at=measured_at(run.study.name, run.study.claims),
        figures=drawn,
        trials=run.trials,
        tables=tables_read(rows, run.view(), run.tables),
        provenance=provenance_section(run.record),
    )


def measured_at(study: str, claims: Sequence[Claim]) -> dict[str, str]:
    """Id of a check of the study of this name -> file and line where it is written, in the code as it is now."""
    return {f"{study}/{claim.id}.{check.name}": check.line for claim in claims for check in claim.checks}


def _facts(run: Run) -> list[str]:
    """The facts in the page's header."""
    record, seeds = run.record, len(run.seeds)
    wall_time = duration(record["wall_seconds"]) if record.get("wall_seconds") else None
    facts = [f"preset {run.preset}", f"{seeds} seed{'s' * (seeds != 1)}", when(record.get("started")), wall_time, record["device"]["processor"]]
    return [fact for fact in facts if fact]


def _age(run: Run) -> str | None:
    """The changes in the code of the run's trials since the run."""
    outdated = run.outdated
    if not outdated:
        return None
    definitions = listed(sorted({definition for changed in outdated.values() for definition in changed}))
    return f"{len(outdated)} trial{'s' * (len(outdated) != 1)}; changed since: {definitions}"
