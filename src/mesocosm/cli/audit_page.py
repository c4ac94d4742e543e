"""The audit's page: a summary per part of the model, heat maps over layers and heads, spectra with bands for the nulls, norms of rows, and all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from mesocosm.audit.checkpoint_audit import Audit
from mesocosm.audit.summary import summary
from mesocosm.cli.audit_table import READING, notes_of, skipped_lines, spread_cells
from mesocosm.lab.formatting import number
from mesocosm.lab.report import vega
from mesocosm.lab.report.figures import RenderedFigure, theme
from mesocosm.lab.report.page import asset_script, finite, page
from mesocosm.lab.store import atomic

MOST_CELLS = 4800  # Altair draws up to 5000 rows
MOST_ROWS = 400  # in the page's table; the files hold all
LAYERS_DRAWN = 6
PLACES_DRAWN = 400  # of a spectrum; times the layers, fewer than Altair draws
MAPS = (
    ("score", "(ratio − null 2) / (1 − null 2)", "How far the nuclear norm stands above its value under random rotations: 0 there, 1 at balance."),
    ("rank95_sum / d_h", "rank95_sum / d_h", "Share of the head's dimensions (of an MLP, of the width) that carry 95 % of the sum of singular values."),
    ("stable / null 1", "stable rank over null 1", "The stable rank divided by that of Gaussian factors of the same shapes and norms."),
    ("relD", "relD", "Imbalance of the factors, ‖P − Q‖ / (‖P‖ + ‖Q‖): 0 at balance."),
)
PLACE = pl.concat_str("product", pl.lit(" "), "part")


SUMMARY_HEADINGS = (
    *("Part", "Product", "Heads", "ratio, median [range]", "null 1", "null 2", "above, below null 2 by 2 sd"),
    *("rank95_sum", "null 1", "stable", "null 1"),
)
ROW_HEADINGS = ("Block", "Head", "Product", "ratio", "null 1", "null 2", "rank95_sum", "null 1", "null 2", "relD", "cosPQ", "law")


class Model(NamedTuple):
    """A checkpoint on the page.

    Attributes:
        name: as it was given.
        facts: what was audited, in a few words.
        summary: cells of a line for each product of each part of the model.
        notes: what was skipped, and what to bear in mind.
        rows: cells of a line for each product of each head.
        more_rows: number of lines that are not shown.
    """

    name: str
    facts: str
    summary: list[list[str]]
    notes: list[str]
    rows: list[list[str]]
    more_rows: int

    @classmethod
    def of(cls, audit: Audit) -> Model:
        """What the page says of an audit."""
        rows = audit.audited
        facts = f"{rows.height} products in {rows['block'].n_unique()} blocks, {audit.skipped.height} skipped"
        notes = [f"{product}: {note}" for product, note in notes_of(rows)] + skipped_lines(audit.skipped)
        shown = [_row(row) for row in rows.head(MOST_ROWS).iter_rows(named=True)]
        return cls(audit.model, facts, _summary(rows), notes, shown, max(rows.height - MOST_ROWS, 0))


def write_page(audits: Sequence[Audit], folder: Path) -> Path:
    """Write `index.html` into a folder: one self-contained file that needs no network."""
    file = folder / "index.html"
    atomic.write_bytes(file, render(audits).encode())
    return file


def render(audits: Sequence[Audit]) -> str:
    """The page as text."""
    figures = [figure for audit in audits for figure in draw(audit)]
    data = {"specs": [figure.spec for figure in figures], "themes": {"light": theme(), "dark": theme(dark=True)}}
    return page(
        "audit.html",
        "Audit · mesocosm",
        scripts=[vega.script(), asset_script("figures.js")] if figures else [],
        data=data if figures else None,
        models=[Model.of(audit) for audit in audits],
        figures=figures,
        reading=READING,
        summary_headings=SUMMARY_HEADINGS,
        row_headings=ROW_HEADINGS,
    )


def _summary(rows: pl.DataFrame) -> list[list[str]]:
    return [
        [
            row["part"],
            row["product"],
            str(row["products"]),
            f"{row['ratio']:.4f} [{row['low']:.4f}, {row['high']:.4f}]",
            f"{row['null1']:.4f}",
            f"{row['null2']:.4f}",
            f"{row['above']}, {row['below']}",
            *(number(row[name]) for name in ("rank95_sum", "rank95_sum_null1", "stable", "stable_null1")),
        ]
        for row in summary(rows).iter_rows(named=True)
    ]


def _row(row: Mapping[str, Any]) -> list[str]:
    places = [row["block"], str(row["head"]), row["product"]]
    return [*places, *spread_cells(row, "ratio"), *spread_cells(row, "rank95_sum"), f"{row['relD']:.3f}", f"{row['cosPQ']:.3f}", row["applies"]]


# --- figures --------------------------------------------------------------------------------------------------------


def draw(audit: Audit) -> list[RenderedFigure]:
    """Heat maps, then spectra."""
    if audit.audited.is_empty():
        return []
    maps = [
        RenderedFigure(f"map-{number}", title, f"{caption} {short(audit.model)}.", finite(heat_map(audit, name, title)))
        for number, (name, title, caption) in enumerate(MAPS)
    ]
    caption = (
        f"Singular values divided by the factors' mean squared norm, mean over heads, for up to {LAYERS_DRAWN} layers; their area is the ratio. Bands: both "
        f"nulls, plus and minus two standard deviations. {short(audit.model)}."
    )
    figures = [*maps, RenderedFigure("spectra", "Spectra and their nulls", caption, finite(spectra_chart(audit)))]
    if audit.row_norms.is_empty():
        return figures
    rows = (
        f"Squared norms of single rows in the first head of up to {LAYERS_DRAWN} layers: rows of key and query, columns of the output and rows of the value; "
        f"under rotary positions, sums over pairs. On the diagonal at balance; random rows are close to it too (rows_relD_null1). {short(audit.model)}."
    )
    return [*figures, RenderedFigure("rows", "Norms of rows", rows, finite(rows_chart(audit)))]


def short(model: str) -> str:
    """Shorten a path to its last two parts, for captions."""
    return "/".join(Path(model).parts[-2:])


def heat_map(audit: Audit, measure: str, title: str) -> dict[str, Any]:
    """Layer by head, with one panel per product and part; averaged over heads if there are more cells than Altair can draw."""
    import altair as alt

    share = (pl.col("rank95_sum") / pl.min_horizontal("d_h", "d_model")).alias("rank95_sum / d_h")
    rows = audit.audited.with_columns(share, (pl.col("stable") / pl.col("stable_null1")).alias("stable / null 1"), panel=PLACE)
    rows = rows.select("panel", "layer", "head", pl.col(measure).alias("value"))
    if rows.height > MOST_CELLS:
        rows = rows.group_by("panel", "layer", maintain_order=True).agg(pl.lit(0).alias("head"), pl.col("value").mean())
    colour = alt.Color("value:Q", title=title, legend=alt.Legend(orient="bottom", gradientLength=200), scale=alt.Scale(scheme="viridis"))
    x, y = alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)), alt.Y("layer:O", title="layer")
    tooltip = ["panel", "layer", "head", alt.Tooltip("value", title=title, format=".4f")]
    chart = alt.Chart(rows).mark_rect().encode(x=x, y=y, color=colour, tooltip=tooltip)
    facets = chart.properties(width=alt.Step(16), height=alt.Step(16)).facet(alt.Facet("panel:N", title=None), columns=2).resolve_scale(x="independent")
    return facets.to_dict()


def spectra_chart(audit: Audit) -> dict[str, Any]:
    """Mean spectra by layer inside the bands of both nulls."""
    import altair as alt

    rows = audit.spectra.join(audit.audited.select("block", "product", "head", "fro"), on=["block", "product", "head"]).with_columns(panel=PLACE)
    parts = rows["panel"].unique(maintain_order=True).to_list()[:4]
    layers = _spread(rows["layer"].unique().sort().to_list(), LAYERS_DRAWN)
    places = _spread(rows["index"].unique().sort().to_list(), PLACES_DRAWN)
    rows = rows.filter(pl.col("panel").is_in(parts) & pl.col("layer").is_in(layers) & pl.col("index").is_in(places))
    scaled = rows.with_columns(pl.col("values", "null1", "null1_sd", "null2", "null2_sd") / pl.col("fro"))
    by_layer = scaled.group_by("panel", "layer", "index", maintain_order=True).agg(pl.col("values").mean())
    bands = scaled.group_by("panel", "index", maintain_order=True).agg(pl.col("null1", "null1_sd", "null2", "null2_sd").mean())
    nulls = pl.concat(
        bands.select(
            "panel", "index", low=pl.col(null) - 2 * pl.col(f"{null}_sd"), high=pl.col(null) + 2 * pl.col(f"{null}_sd"), null=pl.lit(f"null {null[-1]}")
        )
        for null in ("null1", "null2")
    )
    x = alt.X("index:Q", title="index")
    y = alt.Y("low:Q", title="singular value / fro")
    colour = alt.Color("layer:O", scale=alt.Scale(scheme="viridis"))
    hues = alt.Color("null:N", title=None, scale=alt.Scale(range=["#b98c1d", "#8b5580"]))
    panels = []
    for panel in parts:
        band = alt.Chart(nulls.filter(panel=panel)).mark_area(opacity=0.35).encode(x=x, y=y, y2="high:Q", color=hues)
        lines = alt.Chart(by_layer.filter(panel=panel)).mark_line(strokeWidth=1.5).encode(x=x, y="values:Q", color=colour, tooltip=["layer", "index", "values"])
        panels.append(alt.layer(band, lines).resolve_scale(color="independent").properties(width=270, height=200, title=panel))
    return alt.concat(*panels, columns=2).to_dict()


def rows_chart(audit: Audit) -> dict[str, Any]:
    """Squared norms of both factors' rows in the first head of each layer, with one panel per product and part."""
    import altair as alt

    rows = audit.row_norms.filter(pl.col("head") == 0).with_columns(panel=PLACE)
    layers = _spread(rows["layer"].unique().sort().to_list(), LAYERS_DRAWN)
    places = _spread(rows["index"].unique().sort().to_list(), PLACES_DRAWN)
    parts = rows["panel"].unique(maintain_order=True).to_list()[:4]
    rows = rows.filter(pl.col("layer").is_in(layers) & pl.col("index").is_in(places)).select("panel", "layer", "index", "a", "b", "pair")
    colour = alt.Color("layer:O", scale=alt.Scale(scheme="viridis"))
    panels = []
    for panel in parts:
        mine = rows.filter(panel=panel)
        product = panel.partition(" ")[0]
        names = ("‖row of W_K‖²", "‖row of W_Q‖²") if product == "QK" else ("‖column of P‖²", "‖row of W_V‖²")
        ends = pl.DataFrame(
            {"a": [least := mine.select(pl.min_horizontal("a", "b").min()).item(), most := mine.select(pl.max_horizontal("a", "b").max()).item()]}
        )
        x, y = alt.X("a:Q", title=names[0], scale=alt.Scale(zero=False)), alt.Y("b:Q", title=names[1], scale=alt.Scale(zero=False))
        line = alt.Chart(ends.with_columns(b=pl.Series([least, most]))).mark_line(strokeDash=[4, 3], color="#888888").encode(x=x, y=y)
        dots = alt.Chart(mine).mark_circle(size=22, opacity=0.7).encode(x=x, y=y, color=colour, tooltip=["layer", "index", "a", "b", "pair"])
        panels.append(alt.layer(line, dots).properties(width=250, height=250, title=panel))
    return alt.concat(*panels, columns=2).to_dict()


def _spread(values: Sequence[int], most: int) -> list[int]:
    """At most this many of the values, evenly spaced, including both ends."""
    if len(values) <= most:
        return list(values)
    return [values[round(place * (len(values) - 1) / (most - 1))] for place in range(most)]
