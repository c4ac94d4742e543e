"""HTML made of elements, so that no string of a user's reaches a page unescaped: whatever is not `Html` already is escaped on the way in."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Html(str):
    """Text that is markup already."""


def element(name: str, *children: Any, **attributes: Any) -> Html:
    """One element. Children that are not `Html` are escaped, None and False are left out, lists are opened.

    An attribute's trailing underscore is dropped and its other underscores become dashes (`class_`, `stroke_width`); True stands alone, None and False go.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(f" {key}" if value is True else f' {key}="{escape(f"{value:.6g}" if isinstance(value, float) else str(value))}"')
    opening = f"<{name}{''.join(written)}>"
    return Html(opening if name in VOID else f"{opening}{join(*children)}</{name}>")


def join(*children: Any) -> Html:
    """Children one after another, escaped where they are not `Html`."""
    parts = []
    for child in children:
        if child is None or child is False:
            continue
        if isinstance(child, Html):
            parts.append(str(child))
        elif isinstance(child, list | tuple):
            parts.append(str(join(*child)))
        else:
            parts.append(escape(str(child)))
    return Html("".join(parts))


def fill(template: str, parts: Mapping[str, str]) -> str:
    """Put parts into the template's `{{name}}` places, in one pass: a part that itself holds such a place stays as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)


def embed_json(value: Any) -> Html:
    """JSON for a `<script>` element: valid whatever the strings in it, without the characters that could end the element or start a comment."""
    text = json.dumps(finite(value), allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def embed_script(source: str) -> Html:
    """JavaScript for a `<script>` element: no sequence in it ends the element."""
    return Html(re.sub(r"<(?=/script|!--)", r"\\x3c", source, flags=re.IGNORECASE))


def finite(value: Any) -> Any:
    """The same value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | int | None, digits: int = 3) -> str:
    """A number as a reader wants it: a few significant digits, a real minus sign, powers of ten only where they help."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude < 1e-3 or magnitude >= 1e6:
        text = f"{value:.{digits - 1}e}"
    else:
        text = f"{value:.{digits}g}" if magnitude < 10**digits - 0.5 else f"{value:,.0f}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        mantissa = mantissa.rstrip("0").rstrip(".")
        text = f"10{power}" if mantissa == "1" else f"{mantissa}·10{power}"
    return text.replace("-", "−")


def duration(seconds: float | int) -> str:
    """A time as a reader wants it: 40 ms, 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
