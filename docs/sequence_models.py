"""The table and the picture of the page on sequence models: every layer of `LAYERS`, as the mixer of a two-layer transformer, on recall and on text.

`python docs/sequence_models.py attention mesa` measures these layers again (`all`: every layer, half an hour on two cores) and keeps the numbers in
`sequence_models.json`; without arguments, the table and the picture are made from what is kept.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from mesocosm.learning import Supervised, adamw, fit
from mesocosm.nn import LAYERS, language_model
from mesocosm.tasks.recall import MultiQueryRecall
from mesocosm.tasks.task import batch
from mesocosm.tasks.text import Text, python_manual
from mesocosm.tasks.tokens import accuracy, cross_entropy

DOCS = Path(__file__).parent
KEPT, PAGE, PICTURE = DOCS / "sequence_models.json", DOCS / "sequence-models.md", DOCS / "images" / "recall.svg"
SEEDS = (0, 1, 2)
RECALL = {"steps": 500, "batch": 32, "every": 25}
TEXT = {"steps": 200, "batch": 16, "every": 100}
SHOWN = ("attention", "delta-net", "mesa", "gated-linear-attention", "linear-attention", "lstm", "lru")


def loss(model: Any, example: Any, key: Any) -> Any:
    """The mean over scored positions."""
    return cross_entropy(model(example.inputs), example)


def probe(learner: Any, state: Any, key: Any) -> dict[str, Any]:
    """Accuracy, and loss in bits, on new examples."""
    examples = batch(learner.task, key, 256, "iid")
    logits = jax.vmap(learner.model(state))(examples.inputs)
    return {"accuracy": accuracy(logits, examples), "bits": cross_entropy(logits, examples) / jnp.log(2.0)}


def train(name: str, task: Any, *, steps: int, batch: int, every: int) -> tuple[Any, float]:
    """The fit of all seeds, and its seconds."""
    build = partial(language_model, task.vocabulary, 64, layers=2, mixer=LAYERS[name].create)
    learner = Supervised(lambda key: build(key=key), task, loss, adamw, {"learning_rate": 3e-3, "warmup": steps // 10, "steps": steps, "clip_norm": 1.0}, batch)
    start = time.perf_counter()
    fitted = fit(learner, steps, SEEDS, probe=(probe, every), nonfinite="freeze")
    return fitted, time.perf_counter() - start


def measure(name: str) -> dict[str, Any]:
    """The numbers of one layer."""
    recall, seconds = train(name, MultiQueryRecall(vocabulary=32, pairs=4, length=24), **RECALL)
    text, text_seconds = train(name, Text.create(python_manual(), length=64), **TEXT)
    return {
        "steps": recall.probe_steps.tolist(),
        "accuracy": np.round(recall.probes["accuracy"], 4).tolist(),
        "recall_loss": np.round(recall.probes["bits"], 4).tolist(),
        "bits": np.round(text.probes["bits"][:, -1], 4).tolist(),
        "first_bits": np.round(text.probes["bits"][:, 0], 4).tolist(),
        "seconds": [round(seconds), round(text_seconds)],
        "diverged": [int(recall.diverged.sum()), int(text.diverged.sum())],
    }


def spread(values: Any, digits: int) -> str:
    """Mean (smallest to largest)."""
    return f"{np.mean(values):.{digits}f} ({np.min(values):.{digits}f} to {np.max(values):.{digits}f})"


def table(kept: dict[str, Any]) -> str:
    """One row per layer."""
    lines = ["| mixer | recall accuracy | bits per character |", "|---|---|---|"]
    for name in LAYERS:
        if name in kept:
            row = kept[name]
            lines.append(f"| `{name}` | {spread([a[-1] for a in row['accuracy']], 2)} | {spread(row['bits'], 2)} |")
    return "\n".join(lines)


def picture(kept: dict[str, Any]) -> alt.Chart:
    """Accuracy over steps, the mean over seeds."""
    rows = [
        {"mixer": name, "step": step, "accuracy": value}
        for name in SHOWN
        if name in kept
        for step, value in zip(kept[name]["steps"], np.mean(kept[name]["accuracy"], axis=0).tolist(), strict=True)
    ]
    return (
        alt.Chart(pl.DataFrame(rows), width=520, height=280)
        .mark_line()
        .encode(
            alt.X("step:Q", title="step"),
            alt.Y("accuracy:Q", title="recall accuracy", scale=alt.Scale(domain=[0, 1])),
            alt.Color("mixer:N", sort=list(SHOWN), title="mixer"),
        )
    )


def main() -> None:
    """Measure, then write the table and the picture."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in list(LAYERS) if sys.argv[1:] == ["all"] else sys.argv[1:]:
        kept[name] = measure(name)
        KEPT.write_text(json.dumps(kept) + "\n")
        print(name, [a[-1] for a in kept[name]["accuracy"]], kept[name]["bits"], kept[name]["seconds"], kept[name]["diverged"], flush=True)
    before, rest = PAGE.read_text().split("<!-- table -->\n")
    after = rest.split("<!-- end of table -->")[1]
    PAGE.write_text(f"{before}<!-- table -->\n{table(kept)}\n<!-- end of table -->{after}")
    picture(kept).save(PICTURE)


if __name__ == "__main__":
    main()
