"""The report of a run: one page that opens from disk without a network and shows the claims first, then the figures, then how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mesocosm.lab.report import vega
from mesocosm.lab.report.claims_section import claims_section, tally
from mesocosm.lab.report.evidence import measured_at
from mesocosm.lab.report.figures import RenderedFigure, draw, theme
from mesocosm.lab.report.markup import Html, duration, element, join
from mesocosm.lab.report.page import asset_script, brand, document
from mesocosm.lab.report.provenance_section import provenance_section, seconds_text, when
from mesocosm.lab.report.tables_section import tables_section
from mesocosm.lab.store import atomic
from mesocosm.lab.store.code import listed
from mesocosm.lab.store.run_directory import Run, run_file_errors


def write_report(run: Run) -> Path:
    """Draw the run's figures, write them as SVG and PNG into `figures/`, and the page as `index.html`.

    Returns:
        The page's path.

    Raises:
        UserError: the run directory cannot be written.
    """
    with ThreadPoolExecutor(1) as pool:
        bundled = pool.submit(vega.script)
        drawn = draw(run)
        bundled.result()
    page = run.path / "index.html"
    with run_file_errors(run.path):
        drawn = vega.write_pictures(drawn, run.path / "figures")
        atomic.write_bytes(page, render(run, drawn).encode())
    return page


def render(run: Run, drawn: Sequence[RenderedFigure], *, home: str | None = None) -> str:
    """The page as text; `home` is the address of the site's first page, where the page is part of a site."""
    specs = [figure.spec for figure in drawn if figure.spec is not None]
    body = join(
        _masthead(run, drawn, home),
        element(
            "main",
            claims_section(run.claims, measured_at(run.study.name, run.study.claims)),
            _figures_section(drawn),
            _trials_section(run.trials),
            tables_section(run.claims, run.view()),
            provenance_section(run.record),
        ),
    )
    scripts = [asset_script("claims.js"), *([vega.script(), asset_script("figures.js")] if specs else [])]
    data = {"specs": specs, "themes": {"light": theme(), "dark": theme(dark=True)}}
    return document(f"{run.study.name} · {run.preset} · mesocosm", body, scripts=scripts, data=data if specs else None)


# --- the sections ---------------------------------------------------------------------------------------------------


def _masthead(run: Run, drawn: Sequence[RenderedFigure], home: str | None) -> Html:
    seeds = len(run.seeds)
    facts = [
        f"preset {run.preset}",
        f"{seeds} seed{'s' * (seeds != 1)}",
        when(run.record.get("started")),
        duration(run.record["wall_seconds"]) if run.record.get("wall_seconds") else None,
        run.record["device"]["processor"],
    ]
    tables = any(row.get("tables") for row in run.claims)
    links = [
        ("claims", "Claims"),
        ("figures", "Figures") if drawn else None,
        ("trials", "Trials"),
        ("tables", "Tables") if tables else None,
        ("provenance", "How it was made"),
    ]
    return element(
        "header",
        element("p", element("a", "All runs", href=home), class_="home") if home else None,
        brand(run.study.name),
        element("h1", run.study.title),
        element("p", run.study.paper, class_="paper"),
        tally(run.claims),
        element("ul", [element("li", fact) for fact in facts if fact], class_="facts"),
        _age(run),
        element("nav", [element("a", text, href=f"#{anchor}") for anchor, text in filter(None, links)], aria_label="Sections"),
    )


def _age(run: Run) -> Html | None:
    """The badge of a record whose trials' code has changed since it was made."""
    outdated = run.outdated
    if not outdated:
        return None
    definitions = listed(sorted({definition for changed in outdated.values() for definition in changed}))
    text = f"{len(outdated)} trial{'s' * (len(outdated) != 1)} made with older code: {definitions} changed since"
    return element("p", element("span", "made with older code", class_="badge inconclusive"), f" {text}", class_="age")


def _figures_section(drawn: Sequence[RenderedFigure]) -> Html | None:
    if not drawn:
        return None
    cards, place = [], 0
    for figure in drawn:
        if figure.spec is None:
            content = element("p", "Not drawn: ", figure.reason, class_="missing")
        else:
            picture = element("noscript", "This figure needs JavaScript. The folder figures/ of the run holds it as a picture.")
            content = element("div", picture, class_="plot", id=f"figure-{place}", data_name=figure.name)
            place += 1
        caption = element("figcaption", element("strong", figure.title), " ", figure.caption)
        cards.append(element("figure", content, caption, class_="card" if figure.spec else "card empty"))
    return element("section", element("h2", "Figures"), element("div", cards, class_="figures"), id="figures")


def _trials_section(trials: Mapping[str, Mapping[str, Any]]) -> Html:
    head = element("tr", [element("th", text, scope="col") for text in ("Trial", "State", "Time", "Compiling", "Fits")])
    rows = []
    for name, status in trials.items():
        state = str(status.get("state", "waiting"))
        rows.append(
            element(
                "tr",
                element("th", name, scope="row"),
                element("td", element("span", state, class_=f"state {state}"), data_label="State"),
                element("td", seconds_text(status.get("seconds")), class_="number", data_label="Time"),
                element("td", seconds_text(status.get("compile_seconds")), class_="number", data_label="Compiling"),
                element("td", _fits(status.get("fits")), data_label="Fits"),
            )
        )
        if status.get("error"):
            rows.append(element("tr", element("td", element("pre", status["error"]), colspan=5), class_=f"error {state}"))
    table = element("table", element("thead", head), element("tbody", rows), class_="trials")
    return element("section", element("h2", "Trials"), element("div", table, class_="scroll"), id="trials")


def _fits(fits: Any) -> str:
    if isinstance(fits, Mapping):
        return ", ".join(f"{name} ({value['steps']:,} steps)" if isinstance(value, Mapping) and "steps" in value else str(name) for name, value in fits.items())
    return ", ".join(map(str, fits)) if isinstance(fits, Sequence) and not isinstance(fits, str) else str(fits or "")
