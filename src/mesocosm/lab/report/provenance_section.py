"""How a run was made: the command, when and where, its config and the versions of what it used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mesocosm.lab.report.markup import Html, duration, element
from mesocosm.lab.store.configuration import flat


def provenance_section(record: Mapping[str, Any]) -> Html:
    """The last section of a run's page, read from `run.json`."""
    changes = {re.split(r"[:\s]", change)[0] for change in record.get("changes") or ()}
    facts = {
        "Started": when(record.get("started")),
        "Wall time": seconds_text(record.get("wall_seconds")),
        **{name.capitalize(): ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in record["device"].items()},
        "Seeds": seeds_text(record.get("seeds") or ()),
        "Revision": record.get("git"),
    }
    config = [_setting(name, str(value), name in changes) for name, value in flat(record.get("config")).items()]
    versions = [_setting(name, value, False) for name, value in (record.get("versions") or {}).items()]
    command = record.get("command")
    return element(
        "section",
        element("h2", "How it was made"),
        [element("p", "The command that makes this run again:"), element("pre", command, class_="command again")] if command else None,
        element("dl", [[element("dt", name), element("dd", value)] for name, value in facts.items() if value not in (None, "", "–")], class_="record"),
        element(
            "div",
            element("div", element("h3", "Config"), element("div", element("table", element("tbody", config)), class_="scroll")),
            element("div", element("h3", "Versions"), element("div", element("table", element("tbody", versions)), class_="scroll")),
            class_="columns",
        ),
        id="provenance",
    )


def seconds_text(value: float | int | None) -> str:
    """A time, or a dash where it is not known."""
    return "–" if value is None else duration(value)


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as a range where they are one."""
    unbroken = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if unbroken else ", ".join(map(str, seeds))


def when(started: Any) -> str | None:
    """A time stamp without fractions and zone."""
    return str(started).replace("T", " ").partition(".")[0].partition("+")[0] if started else None


def _setting(name: str, value: str, changed: bool) -> Html:
    cell = element("td", element("code", value), " changed from the preset" if changed else None)
    return element("tr", element("th", name, scope="row"), cell, class_="changed" if changed else None)
