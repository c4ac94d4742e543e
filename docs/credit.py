"""The table and the picture of the page on credit assignment, from the page's own code on more seeds.

`python docs/credit.py COCOA HCA` measures these estimators again (`all`: each of them, about two minutes on two idle cores) and keeps the numbers in
`credit.json`; without arguments, the table and the picture are made from what is kept.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl
from markdown_it import MarkdownIt

from mesocosm.learning.exact_credit import Reinforce
from mesocosm.learning.learned_credit import LearnedAdvantage, LearnedHCA

DOCS = Path(__file__).parent
KEPT, PAGE, PICTURE = DOCS / "credit.json", DOCS / "credit.md", DOCS / "images" / "credit.svg"
UPDATES, SEEDS, EVERY = 1000, range(10, 20), 50
ESTIMATORS = ("COCOA", "HCA", "advantage", "REINFORCE")


def page() -> dict[str, Any]:
    """The names that the page's first blocks define, until it has what compares estimators."""
    names: dict[str, Any] = {"__name__": "page"}
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for token in MarkdownIt().parse(PAGE.read_text()):
            if token.type == "fence" and token.info == 'python title="umbrella.py"':
                (Path(folder) / "umbrella.py").write_text(token.content)
                importlib.import_module("umbrella")
            elif token.type == "fence" and token.info == "python":
                exec(token.content.partition("fitted = ")[0].partition("found = ")[0], names)
                if "lead" in names:
                    return names
    raise LookupError(f"{PAGE.name} no longer defines `lead`")


def measure(names: dict[str, Any], estimator: str, seeds: range = SEEDS) -> list[list[float]]:
    """The probability of the right choice, a row for each seed."""
    hca, advantage = LearnedHCA(4, 2, width=64, gain=0.1), LearnedAdvantage(4, 2, width=64)
    credits = {"COCOA": names["cocoa"], "HCA": hca, "advantage": advantage, "REINFORCE": Reinforce()}
    return np.round(np.asarray(names["train"](credits[estimator], UPDATES, seeds), float), 4).tolist()


def table(names: dict[str, Any], kept: dict[str, Any]) -> str:
    """A row for each estimator."""
    found = {name: np.array(kept[name]) for name in ESTIMATORS}
    lines = [f"| credit | right choice after {UPDATES // 2} updates | after {UPDATES} | COCOA's lead, mean over training | seeds on which it leads |"]
    lines.append("|---" * 5 + "|")
    for name, curves in found.items():
        half, last = (f"{at.mean():.2f} ({at.min():.2f} to {at.max():.2f})" for at in (curves[:, len(curves[0]) // 2], curves[:, -1]))
        lead, ahead = names["lead"](found["COCOA"], curves), int(np.sum(found["COCOA"].mean(axis=1) > curves.mean(axis=1)))
        of_cocoa = "|" if name == "COCOA" else f"{lead.estimate:.2f} [{lead.low:.2f}, {lead.high:.2f}] | {ahead} of {lead.n}"
        lines.append(f"| {name} | {half} | {last} | {of_cocoa} |")
    return "\n".join(lines)


def picture(kept: dict[str, Any]) -> alt.TopLevelMixin:
    """Each seed, and the mean over seeds."""
    rows = [
        {"credit": name, "seed": seed, "update": EVERY * place, "right": value}
        for name in ESTIMATORS
        for seed, curve in enumerate(kept[name])
        for place, value in enumerate(curve)
    ]
    base = alt.Chart(pl.DataFrame(rows), width=520, height=300).encode(
        alt.X("update:Q", title="updates of 16 episodes"), alt.Color("credit:N", sort=list(ESTIMATORS), title=None, legend=alt.Legend(symbolOpacity=1))
    )
    axis = {"title": "probability of the right choice", "scale": alt.Scale(domain=[0.4, 1])}
    each = base.mark_line(opacity=0.2, strokeWidth=1).encode(alt.Y("right:Q", **axis), alt.Detail("seed:N"))
    return each + base.mark_line(strokeWidth=3).encode(alt.Y("mean(right):Q", **axis))


def main() -> None:
    """Measure, then write the table and the picture."""
    kept, names = json.loads(KEPT.read_text()) if KEPT.exists() else {}, page()
    for estimator in ESTIMATORS if sys.argv[1:] == ["all"] else sys.argv[1:]:
        kept[estimator] = measure(names, estimator)
        KEPT.write_text(json.dumps(kept) + "\n")
    before, rest = PAGE.read_text().split("<!-- table -->\n")
    after = rest.split("<!-- end of table -->")[1]
    PAGE.write_text(f"{before}<!-- table -->\n{table(names, kept)}\n<!-- end of table -->{after}")
    picture(kept).save(PICTURE)


if __name__ == "__main__":
    main()
