"""A run's figures as pictures inside a page: the drawings in its folder `figures/`, as `data:` addresses that need neither a script nor another file."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from urllib.parse import quote

LARGE = 80_000
"""A drawing of more bytes is shown as a PNG picture if that is smaller: thousands of dots or lines take more room as shapes than as pixels."""


def picture(run: Path, figure: str, *, scale: float) -> str | None:
    """The address of a figure's picture; None if the run's folder has no drawing of it.

    Args:
        run: the run directory.
        figure: the figure's name.
        scale: pixels of a PNG picture for each pixel of the drawing.
    """
    file = run / "figures" / f"{figure}.svg"
    return data_address(file.read_text(encoding="utf-8"), scale) if file.exists() else None


def compact(drawing: str) -> str:
    """The same drawing in about half the bytes: coordinates to a hundredth of a pixel, and without descriptions of marks, which an image cannot tell anyone."""
    described = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", drawing)
    return re.sub(r'(?:\bd="|\btranslate\()[^")]*', lambda found: re.sub(r"(\.\d\d)\d+(?![\de])", r"\1", found[0]), described)


def data_address(drawing: str, scale: float) -> str:
    """An SVG drawing as a `data:` address, as a PNG picture if it is large and the picture is smaller."""
    vector = f"data:image/svg+xml,{quote(compact(drawing), safe=' =:;,./()-+')}"
    if len(vector) <= LARGE:
        return vector
    import vl_convert

    raster = f"data:image/png;base64,{base64.b64encode(vl_convert.svg_to_png(drawing, scale=scale)).decode()}"
    return min(vector, raster, key=len)
