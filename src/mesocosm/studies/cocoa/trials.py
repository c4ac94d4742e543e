"""Trials of the cocoa study: theorems and trees by enumeration, signal-to-noise ratios, and policies trained with exact and with learned models."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.studies.cocoa.config import Config, LearnedEstimator, LearnedModels
from mesocosm.studies.cocoa.learned import LearnedArm, build_network_policy, check_estimator, learn_models
from mesocosm.studies.cocoa.perturbed import measure_perturbed
from mesocosm.studies.cocoa.rooms import RoomsArm, build_room_policy, learn_rooms
from mesocosm.studies.cocoa.shadow import ShadowArm, train_shadows
from mesocosm.studies.cocoa.signal import measure_signal
from mesocosm.studies.cocoa.switched import SwitchedArm, learn_switched
from mesocosm.studies.cocoa.tables import ALIASED, LEARNED, LONG, ROOMS, SWITCHED, USER, WHOLE
from mesocosm.studies.cocoa.theorems import check_theorems
from mesocosm.studies.cocoa.train import EstimatorArm, build_policy, learn
from mesocosm.studies.cocoa.trees import measure_trees
from mesocosm.studies.interface import Trial
from mesocosm.studies.part_names import code_of


def check(config: Config) -> None:
    """Reject an estimator that does not fit, and a preset that trains no policies with learned models.

    Raises:
        ValueError: the preset trains none, or see `check_estimator`.
    """
    if not config.learned.estimators:
        raise ValueError("this preset trains no policy with learned models: choose --preset cpu, or set --config.learned.estimators")
    check_estimator(config.estimator, config.learned)


def trials(config: Config) -> list[Trial]:
    """The exact trials, and one per estimator and setting; all arms of a setting use the same random numbers."""
    if config.estimator:
        return [_learned(config, f"{LEARNED}{name}", name, config.learned) for name in config.learned.estimators] + [
            _learned(config, USER, "user", config.learned)
        ]
    tracks = {LEARNED: config.learned, LONG: config.long, ALIASED: config.aliased}
    brief = replace(config.learned, steps=min(config.brief_steps, config.learned.steps))
    return [
        Trial("theorems", check_theorems, config.theorems, precision="float64", seeds=1),
        Trial("trees", measure_trees, config.trees, precision="float64", seeds=1),
        Trial("signal", measure_signal, config.signal),
        *_exact(config),
        *(
            _learned(config, f"{kind}{name}", name, brief if kind == LEARNED and name in config.brief else sizes)
            for kind, sizes in tracks.items()
            for name in sizes.estimators
        ),
        *_further(config),
    ]


def _exact(config: Config) -> list[Trial]:
    """Policies with exact models, for a short training and for the paper's."""
    models = {"policy": build_policy}
    short = [Trial(name, learn, EstimatorArm(name, config.learning), models=models) for name in config.estimators]
    return short + [
        Trial(f"{WHOLE}{name}", learn, EstimatorArm(name, config.whole), models=models, seeds=config.whole_replicates) for name in config.whole_estimators
    ]


def _learned(config: Config, name: str, estimator: LearnedEstimator, sizes: LearnedModels) -> Trial:
    user = config.estimator if estimator == "user" else ""
    arm = LearnedArm(estimator, sizes, config.features, user)
    return Trial(name, learn_models, arm, models={"policy": build_network_policy}, seeds=sizes.replicates, user_parts=code_of(user) if user else ())


def _further(config: Config) -> list[Trial]:
    """Shadow training, task interleaving, the switch of rewards, and noise on models; a setting without estimators or noise has no trial."""
    found = []
    if config.shadow.estimators:
        found.append(Trial("shadow", train_shadows, ShadowArm(config.shadow, config.features), seeds=config.shadow.replicates))
    for name in config.rooms.estimators:
        arm = RoomsArm(name, config.rooms)
        found.append(Trial(f"{ROOMS}{name}", learn_rooms, arm, models={"policy": build_room_policy}, seeds=config.rooms.replicates))
    for name in config.switched.estimators:
        found.append(Trial(f"{SWITCHED}{name}", learn_switched, SwitchedArm(name, config.switched, config.features), seeds=config.switched.track.replicates))
    if config.perturbed.sigmas:
        found.append(Trial("perturbed", measure_perturbed, config.perturbed, seeds=config.perturbed.replicates))
    return found
