"""Pages from Jinja templates, which escape every string that is not markup already; each page is one file that asks the network for nothing."""

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

from mesocosm.claims.summary import MARKS, claim_verdict, judged_share, tally
from mesocosm.lab.formatting import interval_ends, interval_text, number, region_text, seconds_text, seeds_text, when
from mesocosm.lab.report.interval_plot import interval_plot, replicate_plot


def page(template: str, title: str, *, scripts: Sequence[Markup] = (), data: Any = None, **context: Any) -> str:
    """A whole page; `data` is what its scripts read, as JSON."""
    shell = {"title": title, "policy": _policy(scripts), "scripts": scripts, "data": None if data is None else embed_json(data)}
    return render(template, **shell, **context)


def render(template: str, **context: Any) -> str:
    """A template of `templates/`, filled."""
    return environment().get_template(template).render(**context)


@cache
def environment() -> Environment:
    """The templates, with what they call."""
    loader = PackageLoader("mesocosm.lab.report")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    texts = (interval_ends, interval_text, number, region_text, seconds_text, seeds_text, when)
    parts = (claim_anchor, claim_verdict, interval_plot, judged_share, replicate_plot, slug, table_anchor, tally)
    made.filters |= {function.__name__: function for function in (*texts, *parts, check_name, fits_text, largest_n, measured_over, pixels)}
    made.globals |= {"asset": asset, "marks": MARKS}
    return made


# --- what goes into a page as it is ---------------------------------------------------------------------------------


def asset(name: str) -> Markup:
    """A file of ours that goes into pages as it is."""
    return Markup(resources.files("mesocosm.lab.report").joinpath("assets", name).read_text(encoding="utf-8"))


def asset_script(name: str) -> Markup:
    """A script of ours, ready to be embedded."""
    return embed_script(asset(name))


def embed_script(source: str) -> Markup:
    """JavaScript for a `<script>` element: no sequence in it ends the element."""
    return Markup(re.sub(r"<(?=/script|!--)", r"\\x3c", str(source), flags=re.IGNORECASE))


def embed_json(value: Any) -> Markup:
    """JSON for a `<script>` element: valid whatever the strings in it, without the characters that could end the element or start a comment."""
    text = json.dumps(finite(value), allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def finite(value: Any) -> Any:
    """The same value with null for NaN and infinity, which JSON does not have."""
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
    """Text as part of an id, a class or a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", str(text)).strip("-") or "unnamed"


def claim_anchor(name: Any) -> str:
    """Where a run's page shows a claim."""
    return f"claim-{slug(name)}"


def table_anchor(name: str) -> str:
    """Where a run's page shows a table."""
    return f"table-{slug(name)}"


def check_name(id: str) -> str:
    """The check's own name at the end of its id."""
    return id.rpartition(".")[2]


def largest_n(rows: Sequence[Mapping[str, Any]]) -> int:
    """What the claim is sorted by."""
    return max((row.get("n") or 0 for row in rows), default=0)


def measured_over(row: Mapping[str, Any]) -> str:
    """Of what the estimate is an estimate."""
    if row.get("kind") in {"exact", "every"}:
        return f"{'largest' if row['kind'] == 'exact' else 'worst'} of {row.get('n')} instances"
    return f"{row.get('kind')} over {row.get('n')} replicates"


def fits_text(fits: Any) -> str:
    """The fits of a trial with their steps; whatever an older or damaged status file holds in their place."""
    if isinstance(fits, Mapping):
        return ", ".join(f"{name} ({value['steps']:,} steps)" if isinstance(value, Mapping) and "steps" in value else str(name) for name, value in fits.items())
    return ", ".join(map(str, fits)) if isinstance(fits, Sequence) and not isinstance(fits, str) else str(fits or "")


def pixels(value: float | int) -> str:
    """A length in a drawing, to a tenth."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
