"""The gated-rnn study's measurements: from tables to one number a replicate. Claims name them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.studies.interface import View


def identity(name: str, column: str = "error") -> Callable[[View], Instances]:
    """Relative errors of one identity."""
    return lambda view: Instances.of(view.table("identities", identity=name), column)


def instances(table: str, column: str, *, exhaustive: bool = False, **where: Any) -> Callable[[View], Instances]:
    """One column of a table of instances."""
    return lambda view: Instances.of(view.table(table, **where), column, exhaustive=exhaustive)


def log_instances(table: str, column: str) -> Callable[[View], Instances]:
    """The same on a decimal logarithm."""
    return lambda view: Instances(np.log10(Instances.of(view.table(table), column).values))


def column(table: str, trial: Callable[[View], str], value: str, error: str | None = None) -> Callable[[View], Replicates]:
    """One column of one trial, a value a seed."""
    return lambda view: Replicates.of(view.table(table, trial=trial(view)), value, error=error)


def log_loss(trial: Callable[[View], str], value: str = "loss") -> Callable[[View], Replicates]:
    """Decimal logarithm of a student's normalised loss."""
    return lambda view: Replicates.of(view.table("loss", trial=trial(view)), value, error="error").map(np.log10)


def log_ratio(trial: Callable[[View], str], other: Callable[[View], str]) -> Callable[[View], Replicates]:
    """Decimal logarithm of the ratio of two students' losses on the same teachers; of the seeds that both have."""

    def measure(view: View) -> Replicates:
        tables = [view.table("loss", trial=name(view)) for name in (trial, other)]
        seeds = set(tables[0]["seed"]) & set(tables[1]["seed"])
        losses = [Replicates.of(table.filter(table["seed"].is_in(sorted(seeds))), "loss", error="error") for table in tables]
        return losses[0].over(losses[1]).map(np.log10)

    return measure


def within_structure(value: str, trial: Callable[[View], str]) -> Callable[[View], Replicates]:
    """One column of the table `structure`."""
    return column("structure", trial, value)


def pruning_cost(trial: Callable[[View], str]) -> Callable[[View], Replicates]:
    """Decimal logarithm of the loss after pruning and snapping over the loss before."""

    def measure(view: View) -> Replicates:
        table = view.table("structure", trial=trial(view))
        return Replicates.of(table, "snapped_loss").over(Replicates.of(table, "loss")).map(np.log10)

    return measure


def over_optimum(trial: Callable[[View], str]) -> Callable[[View], Replicates]:
    """Step size in a regressor's predictions over the optimal one."""

    def measure(view: View) -> Replicates:
        table = view.table("prompt_loss", trial=trial(view))
        return Replicates.of(table, "slope").over(Replicates.of(table, "step_size"))

    return measure


def named(trial: str) -> Callable[[View], str]:
    """A trial of a fixed name."""
    return lambda view: trial


def judged_student(view: View) -> str:
    """The student with twice the compact count of neurons."""
    return f"student-{_judged_size(view)}"


def widest_student(view: View) -> str:
    """The student with the most neurons."""
    return f"student-{max(view.config.neurons)}"


def smallest_student(view: View) -> str:
    """The student with about half the neurons of the smallest construction at full rank."""
    return f"student-{min(view.config.neurons)}"


def compact_student(view: View) -> str:
    """The student with as many neurons as the compact construction."""
    return f"student-{_compact(view)}"


def _compact(view: View) -> int:
    dim = view.config.teacher.dim
    return dim * (dim + 3) // 2


def _judged_size(view: View) -> int:
    return min((neurons for neurons in view.config.neurons if neurons >= 2 * _compact(view)), default=max(view.config.neurons))


def widest_regressor(view: View) -> str:
    """The gated RNN on prompts with the most neurons, still fewer than the generic compact construction."""
    return f"prompts-{max(view.config.prompt_neurons, default=0)}"


def smallest_regressor(view: View) -> str:
    """The gated RNN on prompts with the fewest neurons."""
    return f"prompts-{min(view.config.prompt_neurons, default=0)}"
