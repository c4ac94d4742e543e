"""What changes on an accelerator: the studies' identities in float32, as far as nothing is trained for them, and the gated mesa layer against one kernel of
flash-linear-attention, that of MesaNet. Nothing begins after nine minutes, so that ten are exceeded only by a part that takes longer than one.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl

from mesocosm.claims.claim import Check, Exact
from mesocosm.claims.replicates import NotJudged
from mesocosm.claims.view import View
from mesocosm.lab.catalogue import find, packages
from mesocosm.lab.errors import error_line
from mesocosm.lab.events.event import ignore
from mesocosm.lab.run.context import TrialContext
from mesocosm.lab.run.devices import platform
from mesocosm.lab.run.interrupt import Interrupt
from mesocosm.numerics.precision import FULL
from mesocosm.studies.interface import Trial
from peers import in_jax
from peers.in_triton import mesa_kernel
from peers.layers import KINDS, Kind
from peers.problem import Problem, Reference, Unavailable
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target

NAME = "accelerator"
TITLE = "this device: identities in float32, and the gated mesa layer beside flash-linear-attention's kernel"
MOST_SECONDS = 540.0
"""A part that would begin later is skipped: a trial, an evaluation of a trial, a kernel, and its timing. What has begun is not cut short."""
FLOAT32 = Target("ours", "≤", 1e-3)
"""The aim for identities, which hold to 1e-5 or better in float64."""
BFLOAT16_ERROR = 3e-2
LATE = f"not begun after {MOST_SECONDS:g} s"
PRESETS = {"tiny": "smoke", "small": "smoke", "full": "quick"}
STUDIES = {"tiny": ("weight-decay",)}
KERNELS = {"tiny": ((32, 64),), "small": ((64, 512),), "full": ((64, 512), (64, 2048), (128, 2048))}
"""Key sizes and lengths."""


def cases(sizes: str) -> list[Case]:
    """All of them, the identities of each study first."""
    began, preset = time.monotonic(), PRESETS[sizes]
    own = [name for name, package in packages().items() if package.startswith("mesocosm.studies.")]
    found = [Case(f"identities of {name}", 1.0, partial(identities, name, preset, began)) for name in STUDIES.get(sizes, own)]
    for key_size, tokens in KERNELS[sizes]:
        found += [Case(f"kernel, {kind}, key size {key_size}, {tokens} tokens", 0.5, partial(kernel, key_size, tokens, kind, began)) for kind in KINDS]
    return found


def late(began: float) -> bool:
    """Whether no further part is begun."""
    return time.monotonic() - began > MOST_SECONDS


# --- identities -------------------------------------------------------------------------------------------------------


class Untrained(TrialContext):
    """The context of a trial that only evaluates, and begins no evaluation too late.

    Attributes:
        began: when the benchmark did.
    """

    began: float = math.inf

    def evaluate(self, function: Callable[..., Any], *per_seed: Any, shared: tuple[Any, ...] = ()) -> Any:
        """As in a run, unless it is too late."""
        if late(self.began):
            raise Unavailable(f"an evaluation is {LATE}")
        return super().evaluate(function, *per_seed, shared=shared)

    def fit(self, name: str, *_: Any, **__: Any) -> Any:
        """Refuse."""
        raise Unavailable("it trains")


def identities(name: str, preset: str, began: float) -> list[Row]:
    """One row a precision of products for each exact check: its largest error in float32, with that of its mutant in the place of the peer.
    A check that reads a trained network, or a trial after another, is skipped.
    """
    study = find(name)
    config, seeds = study.presets[preset].config, study.presets[preset].seeds
    checks = [(f"{claim.id}.{check.name}", check) for claim in study.claims for check in claim.checks if isinstance(check.kind, Exact)]
    # Identities are in float64, have their own number of instances and need no other trial.
    trials = [trial for trial in study.trials(config) if trial.precision == "float64" and trial.seeds and not trial.after and not trial.models]
    rows, precisions = [], (FULL,) if platform() == "cpu" else (FULL, "default")  # on a CPU they are the same
    for precision in precisions:
        written = {trial.name: tables_of(trial, seeds, precision, began) for trial in trials}
        view = View(config, preset, _joined(written))
        obstacles = [found for found in written.values() if isinstance(found, str)]
        for check_name, check in checks:
            target, limit = FLOAT32 if precision == FULL else None, f"float32 is too short for: {check.kind.of}"
            head = Comparison(NAME, f"{name}/{check_name}, products in {precision}", f"{preset}, float32", 0.0, target, limit)
            rows.append(_row(head, check, view, obstacles))
    return rows


def tables_of(trial: Trial, seeds: int, precision: str, began: float) -> dict[str, pl.DataFrame] | str:
    """What the trial writes when it is computed in float32, or why it does not."""
    if late(began):
        return f"trial {trial.name} is {LATE}"
    scope = nullcontext() if precision == "default" else jax.default_matmul_precision(precision)
    with tempfile.TemporaryDirectory() as folder, scope, warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        context = Untrained(Path(folder), replace(trial, precision="float32"), tuple(range(trial.seeds or seeds)), "", {}, ignore, Interrupt(lambda _: None))
        context.began = began
        try:
            return dict(trial.run(trial.config, context))
        except Unavailable as reason:
            return f"trial {trial.name}: {reason}"
        except Exception as error:  # what needs float64 may say so in any way
            return f"trial {trial.name} does not run in float32: {error_line(error)}"


def _joined(tables: dict[str, dict[str, pl.DataFrame] | str]) -> dict[str, pl.DataFrame]:
    parts: dict[str, list[pl.DataFrame]] = {}
    for trial, written in tables.items():
        for name, table in written.items() if isinstance(written, dict) else ():
            parts.setdefault(name, []).append(table.select(pl.lit(trial).alias("trial"), pl.all()))
    return {name: pl.concat(found, how="diagonal_relaxed") for name, found in parts.items()}


def _row(head: Comparison, check: Check, view: View, obstacles: Sequence[str]) -> Row:
    try:
        error, mutant = (float(np.max(np.abs(measure(view).values))) for measure in (check.measure, check.control.measure))
    except NotJudged as reason:
        return head.skipped(check.control.name, "; ".join(obstacles) or str(reason))
    if not np.isfinite(error) or not np.isfinite(mutant):
        return head.skipped(check.control.name, "not finite in float32")
    return head.measured("error", max(error, float(np.finfo(np.float32).tiny)), check.control.name, mutant)


# --- kernels ----------------------------------------------------------------------------------------------------------


def kernel(key_size: int, tokens: int, kind: Kind, began: float) -> list[Row]:
    """Our gated mesa layer, in float32, beside the kernel."""
    problem = Problem.draw(key_size, tokens, gated=True)
    head = Comparison(NAME, f"gated mesa layer, {kind}", problem.size, 2.0, largest_error=BFLOAT16_ERROR)
    if late(began):
        return [head.skipped("fla kernel", LATE)]
    gradient = kind != "forward"
    try:
        theirs = mesa_kernel(problem, gradient)
    except Unavailable as reason:
        return [head.skipped("fla kernel", str(reason))]
    reference = Reference.of(problem)
    if late(began):
        return [head.skipped("fla kernel", f"its timing is {LATE}")]
    return [head.timed(in_jax.ours(problem, gradient), theirs, reference.gradient if gradient else reference.output)]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
