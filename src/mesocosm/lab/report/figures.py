"""Draws a study's figures from the tables of a run, one Vega-Lite specification each, with a light and a dark theme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mesocosm.claims.replicates import NotJudged
from mesocosm.lab.report.page import finite
from mesocosm.lab.report.search_figure import search_figures
from mesocosm.lab.store.run_directory import Run
from mesocosm.studies.interface import Figure

FONT = 'Inter, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'


@dataclass(frozen=True)
class RenderedFigure:
    """A figure of a run: its specification, or the reason why it was not drawn.

    Attributes:
        name: the figure's name in its study and in file names.
        title: one line.
        caption: what the reader should see.
        spec: a Vega-Lite specification with its data inside; None if it was not drawn.
        reason: why it was not drawn.
    """

    name: str
    title: str
    caption: str
    spec: dict[str, Any] | None = None
    reason: str | None = None


def theme(*, dark: bool = False) -> dict[str, Any]:
    """The Vega-Lite config for everything that a figure does not set itself."""
    ink, soft, line = ("#e9e5db", "#a9aca6", "#273031") if dark else ("#1c2426", "#5c6663", "#efece4")
    light_hues = ["#0d6e64", "#c8562f", "#43659c", "#b98c1d", "#8b5580", "#5f7d36", "#7a7a7a"]
    dark_hues = ["#54c1b1", "#f0906c", "#8db0e6", "#e3c263", "#cf9cc7", "#a3c77a", "#b4b4b4"]
    hues = dark_hues if dark else light_hues
    labelled_ticks = {"condition": {"test": "datum.label === ''", "value": 0}, "value": 1}  # a log axis has up to eight more in each decade
    label = {"labelColor": soft, "titleColor": ink, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": 500}
    return {
        "font": FONT,
        "background": None,
        "view": {"stroke": None},
        "axis": {
            **label,
            "gridColor": line,
            "gridOpacity": labelled_ticks,
            "domainColor": soft,
            "tickColor": soft,
            "titlePadding": 8,
            "labelPadding": 4,
            "tickSize": 4,
        },
        "legend": {**label, "symbolStrokeWidth": 2, "orient": "bottom", "columns": 4},
        "header": {**label},
        "title": {"color": ink, "subtitleColor": soft, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
        "text": {"color": ink},
        "rule": {"color": soft},
        "mark": {"color": hues[0], "tooltip": True},
        "line": {"strokeWidth": 2},
        "range": {
            "category": hues,
            "ramp": {"scheme": "viridis"},
            "heatmap": {"scheme": "viridis"},
            "diverging": [hues[1], "#192021" if dark else "#f4f1ea", hues[0]],
        },
    }


def figures_of(run: Run) -> list[Figure]:
    """The figures of the run's study, and that of its pilots."""
    return [*run.study.figures, *search_figures(run.study.package)]


def draw(run: Run) -> list[RenderedFigure]:
    """Every figure of the run's study and of its pilots. A figure that cannot be drawn carries the reason, so that the page still appears."""
    view = run.view()
    drawn = []
    for figure in figures_of(run):
        words = (figure.name, figure.title, figure.caption)
        try:
            drawn.append(RenderedFigure(*words, spec=finite(figure.draw(view).to_dict())))
        except NotJudged as missing:
            drawn.append(RenderedFigure(*words, reason=str(missing)))
        except Exception as error:
            drawn.append(RenderedFigure(*words, reason=f"{type(error).__name__}: {error}"))
    return drawn
