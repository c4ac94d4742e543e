"""Trials of the comparison of layers: each layer on each task, and what each layer costs."""

from __future__ import annotations

import re

from mesocosm.comparisons.layers.config import Config
from mesocosm.comparisons.layers.cost import Cost, measure_cost
from mesocosm.comparisons.layers.networks import Shape, widths
from mesocosm.comparisons.layers.problems import PROBLEMS
from mesocosm.comparisons.layers.train import Cell, search, train
from mesocosm.studies.interface import Trial
from mesocosm.studies.part_names import code_of
from mesocosm.studies.parts import check_mixer


def check(config: Config) -> None:
    """Reject layers and tasks that cannot be compared.

    Raises:
        ValueError: a layer or a task is unknown or named twice, a layer does not fit (`check_mixer`; every task needs a causal one) or is too large, or there
            are no learning rates to try, or not one for each layer and task.
    """
    for what, names in (("layer", [label(layer) for layer in config.layers]), ("task", config.tasks)):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the {what} {twice[0]} is named twice")
    for task in config.tasks:
        if task not in PROBLEMS:
            raise ValueError(f"there is no task {task!r}; the sequence tasks are {', '.join(PROBLEMS)}")
    if not config.grid or min(config.grid) <= 0:
        raise ValueError("the learning rates to try, --config.grid, are one or more positive numbers")
    if len(config.learning_rates) not in (0, len(config.layers) * len(config.tasks)):
        raise ValueError(f"{len(config.layers)} layers on {len(config.tasks)} tasks need as many learning rates, not {len(config.learning_rates)}")
    for layer in config.layers:
        check_mixer(layer, config.network.dim, config.length)
        _ = widths(layer, config.network)


def trials(config: Config) -> list[Trial]:
    """One trial per layer and task; with chosen learning rates, also one per layer for its cost. Without, they are the pilots of the search."""
    cells = [(layer, task) for layer in config.layers for task in config.tasks]
    found = []
    for place, (layer, task) in enumerate(cells):
        rates = config.learning_rates[place : place + 1] or config.grid
        cell = Cell(Shape(layer, task, config.length, config.network), config.training, config.evaluation, rates)
        found.append(Trial(f"{task}-{label(layer)}", train if config.learning_rates else search, cell, user_parts=code_of(layer)))
    if config.learning_rates:
        costs = [(layer, Cost(layer, config.network, config.costs)) for layer in config.layers]
        found += [Trial(f"cost-{label(layer)}", measure_cost, cost, seeds=1, user_parts=code_of(layer)) for layer, cost in costs]
    return found


def label(layer: str) -> str:
    """A layer's name as a part of a trial's name: other characters than letters, digits and . _ + = , become dashes."""
    return re.sub(r"[^A-Za-z0-9._+=,]+", "-", layer).strip("-")
