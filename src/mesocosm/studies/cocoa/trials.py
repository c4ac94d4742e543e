"""Trials of the cocoa study: theorems and trees by enumeration, signal-to-noise ratios, and policies trained with exact and with learned models."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.studies.cocoa.config import Config, LearnedEstimator, LearnedModels
from mesocosm.studies.cocoa.learned import LearnedArm, learn_models
from mesocosm.studies.cocoa.perturbed import measure_perturbed
from mesocosm.studies.cocoa.rooms import RoomsArm, build_room_policy, learn_rooms
from mesocosm.studies.cocoa.shadow import ShadowArm, train_shadows
from mesocosm.studies.cocoa.signal import measure_signal
from mesocosm.studies.cocoa.switched import ExactSwitchedArm, SwitchedArm, learn_switched, learn_switched_exactly
from mesocosm.studies.cocoa.tables import ALIASED, BETWEEN, EXACT, LEARNED, LONG, ROOMS, SWITCHED, USER, WHOLE
from mesocosm.studies.cocoa.theorems import check_theorems
from mesocosm.studies.cocoa.track import build_network_policy
from mesocosm.studies.cocoa.train import EstimatorArm, build_policy, learn
from mesocosm.studies.cocoa.trees import measure_trees
from mesocosm.studies.cocoa.users import UserArm, check_estimator, learn_with_users
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
        return [_learned(config, f"{LEARNED}{name}", name, config.learned) for name in config.learned.estimators] + [_user(config)]
    brief = replace(config.learned, steps=min(config.brief_steps, config.learned.steps))
    tracks: list[tuple[str, LearnedEstimator, LearnedModels]] = [
        *((LEARNED, name, brief if name in config.brief else config.learned) for name in config.learned.estimators),
        *((kind, name, sizes) for kind, sizes in {LONG: config.long, ALIASED: config.aliased}.items() for name in sizes.estimators),
        *((f"{BETWEEN}{sizes.length - 3}-", name, sizes) for sizes in config.between.tracks() for name in sizes.estimators),
    ]
    return [
        Trial("theorems", check_theorems, config.theorems, precision="float64", seeds=1),
        Trial("trees", measure_trees, config.trees, precision="float64", seeds=1),
        Trial("signal", measure_signal, config.signal),
        *_exact(config),
        *(_learned(config, f"{kind}{name}", name, sizes) for kind, name, sizes in tracks),
        *_further(config),
    ]


def _exact(config: Config) -> list[Trial]:
    """Policies with exact models, for a short training and for the paper's."""
    models = {"policy": build_policy}
    short = [Trial(name, learn, EstimatorArm(name, config.learning), models=models) for name in config.estimators]
    arms = [EstimatorArm(name, config.whole) for name in config.whole_estimators]
    arms += [EstimatorArm("cocoa-reward", config.whole, at_rate_of=name) for name in config.whole_controls]
    return short + [Trial(f"{WHOLE}{arm.name}", learn, arm, models=models, seeds=config.whole_replicates) for arm in arms]


def _learned(config: Config, name: str, estimator: LearnedEstimator, sizes: LearnedModels) -> Trial:
    return Trial(name, learn_models, LearnedArm(estimator, sizes, config.features), models={"policy": build_network_policy}, seeds=sizes.replicates)


def _user(config: Config) -> Trial:
    arm, sizes = UserArm(config.estimator, config.learned), config.learned
    return Trial(USER, learn_with_users, arm, models={"policy": build_network_policy}, seeds=sizes.replicates, user_parts=code_of(config.estimator))


def _further(config: Config) -> list[Trial]:
    """Shadow training, task interleaving, the switch of rewards, and noise on models; a setting without estimators or noise has no trial."""
    found = []
    for name, sizes in (("shadow", config.shadow), ("long-shadow", config.long_shadow)):
        if sizes.estimators:
            found.append(Trial(name, train_shadows, ShadowArm(sizes, config.features), seeds=sizes.replicates))
    for name in config.rooms.estimators:
        arm = RoomsArm(name, config.rooms)
        found.append(Trial(f"{ROOMS}{name}", learn_rooms, arm, models={"policy": build_room_policy}, seeds=config.rooms.replicates))
    switched, replicates = config.switched, config.switched.track.replicates
    for name in switched.estimators:
        found.append(Trial(f"{SWITCHED}{name}", learn_switched, SwitchedArm(name, switched, config.features), seeds=replicates))
    for name in switched.exact:
        found.append(Trial(f"{SWITCHED}{EXACT}{name}", learn_switched_exactly, ExactSwitchedArm(name, switched), seeds=replicates))
    if config.perturbed.sigmas:
        found.append(Trial("perturbed", measure_perturbed, config.perturbed, seeds=config.perturbed.replicates))
    return found
