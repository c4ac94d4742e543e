"""Trials of the coala study: the estimators by enumeration, pools with exact gradients, and LOLA-DICE."""

from __future__ import annotations

from mesocosm.studies.coala.config import Config
from mesocosm.studies.coala.identities import check_estimators
from mesocosm.studies.coala.pairs import train_look_ahead, train_pools
from mesocosm.studies.interface import Trial


def trials(config: Config) -> list[Trial]:
    """The exact trials; each trains all its arms in one program."""
    return [
        Trial("estimators", check_estimators, config, precision="float64", seeds=1),
        Trial("pools", train_pools, config.pairs),
        Trial("look-ahead", train_look_ahead, config),
    ]
