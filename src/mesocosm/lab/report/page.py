"""Renders pages from Jinja templates, which escape every string that is not markup. Each page is one file and makes no network requests."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mesocosm.claims.earlier import earlier_text, verdict_changed
from mesocosm.claims.summary import MARKS, claim_verdict, judged_share, remarks, row_evidence, tally
from mesocosm.lab.formatting import interval_ends, interval_text, number, region_text, seconds_text, seeds_text, when
from mesocosm.lab.report.interval_plot import interval_plot, replicate_plot


def page(template: str, title: str, *, scripts: Sequence[Markup] = (), data: Any = None, **context: Any) -> str:
    """A whole page; its scripts read `data` as JSON."""
    shell = {"title": title, "policy": _policy(scripts), "scripts": scripts, "data": None if data is None else embed_json(data)}
    return render(template, **shell, **context)


def render(template: str, **context: Any) -> str:
    """Render a template of `templates/`."""
    return environment().get_template(template).render(**context)


@cache
def environment() -> Environment:
    """The Jinja environment with the functions that templates call."""
    loader = PackageLoader("mesocosm.lab.report")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    texts = (interval_ends, interval_text, number, region_text, seconds_text, seeds_text, when)
    own = (
        check_name,
        claim_anchor,
        earlier_text,
        fits_text,
        largest_n,
        measured_over,
        pixels,
        share_that_holds,
        shared_remarks,
        slug,
        table_anchor,
        verdict_changed,
    )
    parts = (claim_verdict, interval_plot, judged_share, replicate_plot, row_evidence, tally)
    made.filters |= {function.__name__: function for function in (*texts, *own, *parts)}
    made.globals |= {"asset": asset, "marks": MARKS}
    return made


# --- embedded files and data ----------------------------------------------------------------------------------------


def asset(name: str) -> Markup:
    """A file of `assets/`, embedded without escaping."""
    return Markup(resources.files("mesocosm.lab.report").joinpath("assets", name).read_text(encoding="utf-8"))


def asset_script(name: str) -> Markup:
    """A script of `assets/`, ready to embed."""
    return embed_script(asset(name))


def embed_script(source: str) -> Markup:
    """Escape JavaScript so that it cannot end its `<script>` element."""
    return Markup(re.sub(r"<(?=/script|!--)", r"\\x3c", str(source), flags=re.IGNORECASE))


def embed_json(value: Any) -> Markup:
    """JSON for a `<script>` element, without characters that could end the element or start a comment."""
    text = json.dumps(finite(value), allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _policy(scripts: Sequence[Markup]) -> str:
    """A content security policy under which only these scripts run (Vega compiles its expressions, hence `unsafe-eval`) and no request leaves the page."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    allowed = f"script-src {hashes} 'unsafe-eval'" if scripts else "script-src 'none'"
    return f"default-src 'none'; {allowed}; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"


# --- filters --------------------------------------------------------------------------------------------------------


def slug(text: Any) -> str:
    """Convert text to part of an id, a class or a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", str(text)).strip("-") or "unnamed"


def claim_anchor(name: Any) -> str:
    """The anchor of a claim on a run's page."""
    return f"claim-{slug(name)}"


def table_anchor(name: str) -> str:
    """The anchor of a table on a run's page."""
    return f"table-{slug(name)}"


def check_name(id: str) -> str:
    """The last part of a check's id."""
    return id.rpartition(".")[2]


def shared_remarks(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    """Remark -> the number of judged checks that carry it, if they are more than two."""
    return {remark: len(ids) for remark, ids in remarks([row for rows in groups.values() for row in rows]).items() if len(ids) > 2}


def share_that_holds(verdicts: Mapping[str, int]) -> str:
    """How many of the judged claims hold, such as "3 of 4 claims hold"; claims that were not judged are told apart."""
    number = sum(verdicts.values())
    judged = number - verdicts.get("not judged", 0)
    if not judged:
        return f"none of {number} claims judged"
    return f"{verdicts.get('holds', 0)} of {judged} {'judged ' * (judged < number)}claims hold"


def largest_n(rows: Sequence[Mapping[str, Any]]) -> int:
    """The largest n among a claim's checks, its sort key."""
    return max((row.get("n") or 0 for row in rows), default=0)


def measured_over(row: Mapping[str, Any]) -> str:
    """The statistic and its n, such as "mean over 5 replicates"."""
    if row.get("kind") in {"exact", "every"}:
        return f"{'largest' if row['kind'] == 'exact' else 'worst'} of {row.get('n')} instances"
    return f"{row.get('kind')} over {row.get('n')} replicates"


def fits_text(fits: Any) -> str:
    """A trial's fits with their steps; accepts anything from older or damaged status files."""
    if isinstance(fits, Mapping):
        return ", ".join(f"{name} ({value['steps']:,} steps)" if isinstance(value, Mapping) and "steps" in value else str(name) for name, value in fits.items())
    return ", ".join(map(str, fits)) if isinstance(fits, Sequence) and not isinstance(fits, str) else str(fits or "")


def pixels(value: float | int) -> str:
    """A length in pixels, rounded to a tenth."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
