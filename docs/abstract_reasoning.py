"""The pictures of the page on abstract reasoning: a Raven matrix, and fuzzy logic functions with a sequence. `python docs/abstract_reasoning.py` draws them."""

from pathlib import Path
from typing import Any

import altair as alt
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from mesocosm.tasks.fuzzy_logic import FuzzyLogic, fuzzy_function
from mesocosm.tasks.raven_matrices import RavenMatrices
from mesocosm.tasks.raven_rules import RULES

IMAGES = Path(__file__).parent / "images"
FEATURES = 3


def matrix(panels: Any, names: Any, title: str) -> alt.TopLevelMixin:
    """A grid of panels, each a column of coloured symbols; the last one, the answer, has a frame."""
    rows = []
    for row, column, place in np.ndindex(panels.shape):
        y = row * (FEATURES + 0.6) + place
        answer = (row, column) == (panels.shape[0] - 1, panels.shape[1] - 1)
        rows.append({"x": column * 1.3, "x2": column * 1.3 + 1, "y": y, "y2": y + 0.92, "symbol": str(panels[row, column, place]), "answer": answer})
    cells, plain = pl.DataFrame(rows), {"axis": None, "scale": alt.Scale(nice=False, zero=False, padding=4)}
    x, y = alt.X("x:Q", **plain), alt.Y("y:Q", sort="descending", **plain)
    squares = (
        alt.Chart(cells)
        .mark_rect(cornerRadius=3)
        .encode(
            x=x,
            x2="x2:Q",
            y=y,
            y2="y2:Q",
            color=alt.Color("symbol:N", legend=None, scale=alt.Scale(scheme="set3")),
            stroke=alt.condition("datum.answer", alt.value("black"), alt.value(None)),
            strokeWidth=alt.value(2),
        )
    )
    symbols = alt.Chart(cells.with_columns(x=pl.col("x") + 0.5, y=pl.col("y") + 0.46)).mark_text(fontSize=13).encode(x=x, y=y, text="symbol:N")
    subtitle = ", ".join(names)
    return alt.layer(squares, symbols).properties(width=220, height=260, title=alt.Title(title, subtitle=subtitle))


def raven() -> alt.TopLevelMixin:
    """The same matrix in the order of its rules and as it is shown."""
    task = RavenMatrices.create(features=FEATURES, shuffle_rules=True)
    example = task.sample(jax.random.key(251))
    names = [RULES[rule].title for rule in np.asarray(example.rules)]
    sides = matrix(np.asarray(example.features()), names, "Features in order"), matrix(np.asarray(example.panels), ["permuted within each column"], "As shown")
    return alt.hconcat(*sides, spacing=60)


def fuzzy() -> alt.TopLevelMixin:
    """Two functions of two variables, and a sequence."""
    side = np.linspace(0.0, 1.0, 13)
    points = np.stack(np.meshgrid(side, side), axis=-1)
    shade = alt.Color("value:Q", title="value", scale=alt.Scale(scheme="viridis", domain=[0, 1]))
    charts = []
    for terms, title in (([3], "and"), ([1, 2], "exclusive or")):
        values = np.asarray(fuzzy_function(jnp.asarray(points), jnp.asarray(terms)))
        rows = [
            {"x₁": round(float(x), 3), "x₂": round(float(y), 3), "value": round(float(v), 3)}
            for (x, y), v in zip(points.reshape(-1, 2), values.flat, strict=True)
        ]
        axes = {name: alt.Axis(values=[0, 0.5, 1], labelAngle=0) for name in ("x₁", "x₂")}
        place = alt.X("x₁:O", axis=axes["x₁"]), alt.Y("x₂:O", sort="descending", axis=axes["x₂"])
        charts.append(alt.Chart(pl.DataFrame(rows), title=title).mark_rect().encode(*place, shade).properties(width=150, height=150))
    example = FuzzyLogic.create(length=16).sample(jax.random.key(0))
    names = ["x₁", "x₂", "x₃", "x₄", "f(x)"]
    tokens = [
        {"token": token + 1, "entry": names[entry], "value": round(float(example.tokens[token, entry]), 3), "order": entry}
        for token, entry in np.ndindex(example.tokens.shape)
    ]
    sequence = (
        alt.Chart(pl.DataFrame(tokens), title="A sequence; the last f(x) is to be predicted")
        .mark_rect(stroke="white")
        .encode(alt.X("token:O", axis=alt.Axis(labelAngle=0)), alt.Y("entry:N", sort=names, title=None), shade)
    )
    return alt.hconcat(*charts, sequence.properties(width=320, height=110), spacing=30)


if __name__ == "__main__":
    raven().save(IMAGES / "raven.svg")
    fuzzy().save(IMAGES / "fuzzy.svg")
