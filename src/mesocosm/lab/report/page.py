"""The shell of every page: one file that opens from disk, carries all it needs and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from mesocosm.lab.report.markup import Html, element, embed_json, embed_script, fill, join


def document(title: str, body: Html, *, scripts: Sequence[Html] = (), data: Any = None) -> str:
    """A whole page; `data` is what its scripts read, as JSON."""
    return fill(
        asset("report.html"),
        {
            "policy": _policy(scripts),
            "title": join(title),
            "style": asset("report.css"),
            "body": body,
            "data": element("script", embed_json(data), type="application/json", id="data") if data is not None else "",
            "scripts": join([element("script", script) for script in scripts]),
        },
    )


def asset(name: str) -> Html:
    """A file of ours that goes into pages as it is."""
    return Html(resources.files("mesocosm.lab.report").joinpath("assets", name).read_text(encoding="utf-8"))


def asset_script(name: str) -> Html:
    """A script of ours, ready to be embedded."""
    return embed_script(asset(name))


def brand(subject: str | None = None) -> Html:
    """The first line of every page."""
    return element("p", asset("mark.svg"), "mesocosm", element("span", subject) if subject else None, class_="brand")


def slug(text: str) -> str:
    """Text as part of an id, a class or a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "unnamed"


def _policy(scripts: Sequence[Html]) -> str:
    """A content security policy under which only these scripts run (Vega compiles its expressions, hence `unsafe-eval`) and no request leaves the page."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    allowed = f"script-src {hashes} 'unsafe-eval'" if scripts else "script-src 'none'"
    return f"default-src 'none'; {allowed}; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"
