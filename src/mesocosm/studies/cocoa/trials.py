"""Trials of the cocoa study: theorems and trees by enumeration, signal-to-noise ratios by distance, and policies trained with exact and with learned models."""

from __future__ import annotations

from mesocosm.studies.cocoa.config import Config
from mesocosm.studies.cocoa.learned import LearnedArm, build_network_policy, learn_models
from mesocosm.studies.cocoa.signal import measure_signal
from mesocosm.studies.cocoa.theorems import check_theorems
from mesocosm.studies.cocoa.train import EstimatorArm, build_policy, learn
from mesocosm.studies.cocoa.trees import measure_trees
from mesocosm.studies.interface import Trial


def trials(config: Config) -> list[Trial]:
    """The exact trials, and one per estimator; all arms use the same random numbers."""
    arms = [Trial(name, learn, EstimatorArm(name, config.learning), models={"policy": build_policy}) for name in config.estimators]
    learned = [
        Trial(f"learned-{name}", learn_models, LearnedArm(name, config.learned), models={"policy": build_network_policy}) for name in config.learned.estimators
    ]
    return [
        Trial("theorems", check_theorems, config.theorems, precision="float64", seeds=1),
        Trial("trees", measure_trees, config.trees, precision="float64", seeds=1),
        Trial("signal", measure_signal, config.signal),
        *arms,
        *learned,
    ]
