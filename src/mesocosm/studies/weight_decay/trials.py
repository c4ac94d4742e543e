"""Trials of the weight-decay study."""

from __future__ import annotations

from mesocosm.studies.interface import Trial
from mesocosm.studies.weight_decay.config import Config
from mesocosm.studies.weight_decay.minima import check_step, find_minima
from mesocosm.studies.weight_decay.train import descend, factorise, factorise_adaptively, train_scalars, train_two_layers


def trials(config: Config) -> list[Trial]:
    """All trials run in float64, since the law concerns differences that shrink by many orders of magnitude."""
    instances = config.minima.instances
    return [
        Trial("step", check_step, config.minima, precision="float64", seeds=instances),
        Trial("minima", find_minima, config.minima, precision="float64", seeds=instances),
        Trial("descent", descend, config.descent, precision="float64"),
        Trial("factorisation", factorise, config.factorisation, precision="float64"),
        Trial("scalar-pair", train_scalars, config.scalar_pair, precision="float64"),
        Trial("adaptive", factorise_adaptively, config.adaptive, precision="float64"),
        Trial("two-layers", train_two_layers, config.two_layers, precision="float64"),
    ]
