"""The report of a run: one page that opens from disk without a network and shows the claims first, then the figures, then how it was made."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mesocosm.lab import atomic
from mesocosm.lab.claims_section import claims_section, tally
from mesocosm.lab.figures import Drawn, draw, theme, vega_lite_version, write_pictures
from mesocosm.lab.markup import Html, duration, element, embed_json, embed_script, fill, join
from mesocosm.lab.store import Run


def write_report(run: Run) -> Path:
    """Draw the run's figures, write them as SVG and PNG into `figures/`, and the page as `index.html`.

    Returns:
        The page's path.
    """
    drawn = draw(run)
    write_pictures(drawn, run.path / "figures")
    page = run.path / "index.html"
    atomic.write_bytes(page, render(run, drawn).encode())
    return page


def render(run: Run, drawn: Sequence[Drawn]) -> str:
    """The page as text."""
    shown = [figure for figure in drawn if figure.spec is not None]
    data = {"specs": [figure.spec for figure in shown], "themes": {"light": theme(), "dark": theme(dark=True)}}
    scripts = [embed_script(_vega()), embed_script(_asset("report.js"))] if shown else []
    body = join(
        _masthead(run, drawn),
        element("main", claims_section(run.claims), _figures_section(drawn), _trials_section(run.trials), _making_section(run.record)),
    )
    return fill(
        _asset("report.html"),
        {
            "policy": _policy(scripts),
            "title": join(f"{run.study.name} · {run.preset} · mesocosm"),
            "style": _asset("report.css"),
            "body": body,
            "data": embed_json(data),
            "scripts": join([element("script", script) for script in scripts]),
        },
    )


# --- the sections ---------------------------------------------------------------------------------------------------


def _masthead(run: Run, drawn: Sequence[Drawn]) -> Html:
    seeds = len(run.seeds)
    facts = [
        f"preset {run.preset}",
        f"{seeds} seed{'s' * (seeds != 1)}",
        _when(run.record.get("started")),
        duration(run.record["wall_seconds"]) if run.record.get("wall_seconds") else None,
        run.record["device"]["processor"],
    ]
    links = [("claims", "Claims"), ("figures", "Figures") if drawn else None, ("trials", "Trials"), ("making", "How it was made")]
    return element(
        "header",
        element("p", Html(_asset("mark.svg")), "mesocosm", element("span", run.study.name), class_="brand"),
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
    modules = ", ".join(sorted({module for changed in outdated.values() for module in changed}))
    text = f"{len(outdated)} trial{'s' * (len(outdated) != 1)} made with older code: {modules} changed since"
    return element("p", element("span", "made with older code", class_="badge inconclusive"), f" {text}", class_="age")


def _figures_section(drawn: Sequence[Drawn]) -> Html | None:
    if not drawn:
        return None
    cards, place = [], 0
    for figure in drawn:
        if figure.spec is None:
            content = element("p", "Not drawn: ", figure.reason, class_="missing")
        else:
            picture = element("noscript", "This figure needs JavaScript; the folder figures/ holds it as a picture.")
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
                element("td", _seconds(status.get("seconds")), class_="number", data_label="Time"),
                element("td", _seconds(status.get("compile_seconds")), class_="number", data_label="Compiling"),
                element("td", _fits(status.get("fits")), data_label="Fits"),
            )
        )
        if status.get("error"):
            rows.append(element("tr", element("td", element("pre", status["error"]), colspan=5), class_=f"error {state}"))
    table = element("table", element("thead", head), element("tbody", rows), class_="trials")
    return element("section", element("h2", "Trials"), element("div", table, class_="scroll"), id="trials")


def _making_section(record: Mapping[str, Any]) -> Html:
    changes = {re.split(r"[:\s]", change)[0] for change in record.get("changes") or ()}
    facts = {
        "Started": _when(record.get("started")),
        "Wall time": _seconds(record.get("wall_seconds")),
        **{name.capitalize(): ", ".join(value) if isinstance(value, list) else value for name, value in record["device"].items()},
        "Seeds": _seeds(record.get("seeds") or ()),
        "Revision": record.get("git"),
    }
    config = [_setting(name, value, name in changes) for name, value in flatten(record.get("config"))]
    versions = [_setting(name, value, False) for name, value in (record.get("versions") or {}).items()]
    command = record.get("command")
    return element(
        "section",
        element("h2", "How it was made"),
        [element("p", "The command that makes this run again:"), element("pre", command, class_="command")] if command else None,
        element("dl", [[element("dt", name), element("dd", value)] for name, value in facts.items() if value not in (None, "", "–")], class_="record"),
        element(
            "div",
            element("div", element("h3", "Config"), element("div", element("table", element("tbody", config)), class_="scroll")),
            element("div", element("h3", "Versions"), element("div", element("table", element("tbody", versions)), class_="scroll")),
            class_="columns",
        ),
        id="making",
    )


def _setting(name: str, value: str, changed: bool) -> Html:
    cell = element("td", element("code", value), " changed from the preset" if changed else None)
    return element("tr", element("th", name, scope="row"), cell, class_="changed" if changed else None)


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested config as dotted names and values, in order."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if not isinstance(value, Mapping):
        return [(prefix, str(value))] if prefix else []
    return [pair for key, item in value.items() for pair in flatten(item, f"{prefix}.{key}" if prefix else str(key))]


def _fits(fits: Any) -> str:
    if isinstance(fits, Mapping):
        return ", ".join(f"{name} ({value['steps']:,} steps)" if isinstance(value, Mapping) and "steps" in value else str(name) for name, value in fits.items())
    return ", ".join(map(str, fits)) if isinstance(fits, Sequence) and not isinstance(fits, str) else str(fits or "")


def _seconds(value: float | int | None) -> str:
    return "–" if value is None else duration(value)


def _seeds(seeds: Sequence[int]) -> str:
    unbroken = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if unbroken else ", ".join(map(str, seeds))


def _when(started: Any) -> str | None:
    return str(started).replace("T", " ").partition(".")[0].partition("+")[0] if started else None


# --- what the page carries with it ----------------------------------------------------------------------------------


def _policy(scripts: Sequence[str]) -> str:
    """A content security policy under which only these scripts run (Vega compiles its expressions, hence `unsafe-eval`) and no request leaves the page."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    allowed = f"script-src {hashes} 'unsafe-eval'" if scripts else "script-src 'none'"
    return f"default-src 'none'; {allowed}; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"


def _asset(name: str) -> str:
    return resources.files("mesocosm.lab").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; it takes seconds to bundle and is the same for every page."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version())
