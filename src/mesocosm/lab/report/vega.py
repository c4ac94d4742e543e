"""Vega without a network: a script that draws figures in a page, and the same figures as SVG and PNG files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mesocosm.lab.report.figures import RenderedFigure, theme
from mesocosm.lab.report.page import embed_script
from mesocosm.lab.store import atomic


def vega_lite_version() -> str:
    """Altair's Vega-Lite version in vl-convert's notation; the two must agree."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


@cache
def script() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script, which makes `vegaEmbed` global.

    Bundling takes over a second and depends only on two versions, so the result is kept in the user's cache folder if that is writable.
    """
    kept = _cache_folder() / f"vega-lite-{vega_lite_version()}-vl-convert-{version('vl-convert-python')}.js"
    with contextlib.suppress(OSError):
        return Markup(kept.read_text(encoding="utf-8"))
    import vl_convert

    bundle = embed_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version()))
    with contextlib.suppress(OSError):
        atomic.write_bytes(kept, bundle.encode())
    return bundle


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mesocosm"


def write_pictures(drawn: Sequence[RenderedFigure], folder: Path) -> list[RenderedFigure]:
    """Write `NAME.svg` and `NAME.png` of every figure, and remove those of figures that cannot be drawn.

    Returns:
        The figures; one whose specification Vega rejects carries the reason instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda figure: _write_picture(figure, folder), drawn))


def _write_picture(figure: RenderedFigure, folder: Path) -> RenderedFigure:
    import vl_convert

    settings: Any = {"vl_version": vega_lite_version(), "config": {**theme(), "background": "white"}}
    if figure.spec is not None:
        try:
            vector = vl_convert.vegalite_to_svg(figure.spec, **settings)
        except ValueError as error:
            figure = replace(figure, spec=None, reason=_first_line(error))
        else:
            atomic.write_bytes(folder / f"{figure.name}.svg", vector.encode())
            atomic.write_bytes(folder / f"{figure.name}.png", vl_convert.svg_to_png(vector, scale=2.0))
            return figure
    for kind in ("svg", "png"):
        (folder / f"{figure.name}.{kind}").unlink(missing_ok=True)
    return figure


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
