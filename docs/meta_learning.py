"""The picture of the page on meta-learning, from what the page's own code trains: `python docs/meta_learning.py`."""

from pathlib import Path
from typing import Any

import altair as alt
import jax
import jax.numpy as jnp
import polars as pl
from markdown_it import MarkdownIt

DOCS = Path(__file__).parent
TASKS = 2
"""The seed of the two tasks."""


def page() -> dict[str, Any]:
    """The names that the page's blocks define, run in order."""
    names: dict[str, Any] = {"__name__": "page"}
    for token in MarkdownIt().parse((DOCS / "meta-learning.md").read_text()):
        if token.type == "fence" and token.info == "python":
            exec(token.content, names)
    return names


def curves(names: dict[str, Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Predictions of both networks after five steps, and the points they adapted to, for two tasks."""
    x = jnp.linspace(-5, 5, 101)
    lines, points = [], []
    for task, key in enumerate(jax.random.split(jax.random.key(TASKS), 2)):
        example = names["Sinusoids"]().sample(key)
        points.append(pl.DataFrame({"task": task, "x": example.support[0][:, 0].tolist(), "y": example.support[1][:, 0].tolist()}))
        for method, learner in (("MAML", names["maml"]), ("hypernetwork", names["modules"])):
            model = names["first_seed"](names["fitted"][method].model)
            adapted = learner.adapt(model, example.support, jax.random.key(0)).network
            lines.append(pl.DataFrame({"task": task, "network": method, "x": x.tolist(), "y": jax.vmap(adapted)(x[:, None])[:, 0].tolist()}))
    return pl.concat(lines), pl.concat(points)


def picture(lines: pl.DataFrame, points: pl.DataFrame) -> alt.TopLevelMixin:
    """A panel for each task."""
    panels = []
    for task in (0, 1):
        line = alt.Chart(lines.filter(pl.col("task") == task), width=300, height=200).mark_line().encode(x="x", y="y", color="network")
        dots = alt.Chart(points.filter(pl.col("task") == task)).mark_point(filled=True, color="black", size=40).encode(x="x", y="y")
        panels.append(line + dots)
    return alt.hconcat(*panels)


if __name__ == "__main__":
    picture(*curves(page())).save(DOCS / "images" / "sinusoids.svg")
