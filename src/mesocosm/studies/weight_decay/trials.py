"""Trials of the weight-decay study."""

from __future__ import annotations

from mesocosm.studies.interface import Trial
from mesocosm.studies.weight_decay.config import Config
from mesocosm.studies.weight_decay.config_networks import Arm, Language, Pictures, Recall
from mesocosm.studies.weight_decay.flows import check_noisy_identity, follow_noise, follow_unbounded
from mesocosm.studies.weight_decay.identities import check_products
from mesocosm.studies.weight_decay.minima import check_step, find_minima
from mesocosm.studies.weight_decay.networks import build
from mesocosm.studies.weight_decay.surface import rest_on_a_line
from mesocosm.studies.weight_decay.train import descend, descend_deeply, factorise, factorise_adaptively, prune, train_scalars, train_two_layers
from mesocosm.studies.weight_decay.trained import TASKS, train_language, train_pictures, train_recall


def trials(config: Config) -> list[Trial]:
    """Trials on matrices run in float64, since the law concerns differences that shrink by many orders of magnitude; networks in float32."""
    instances = config.minima.instances
    return [
        Trial("step", check_step, config.minima, precision="float64", seeds=instances),
        Trial("minima", find_minima, config.minima, precision="float64", seeds=instances),
        Trial("descent", descend, config.descent, precision="float64"),
        Trial("factorisation", factorise, config.factorisation, precision="float64"),
        Trial("scalar-pair", train_scalars, config.scalar_pair, precision="float64"),
        Trial("adaptive", factorise_adaptively, config.adaptive, precision="float64"),
        Trial("two-layers", train_two_layers, config.two_layers, precision="float64"),
        Trial("pruning", prune, config.pruning, precision="float64", seeds=config.pruning.instances),
        Trial("surface", rest_on_a_line, config.surface, precision="float64", seeds=config.surface.instances),
        Trial("noise", follow_noise, config.noisy, precision="float64"),
        Trial("noise-identity", check_noisy_identity, config.noisy, precision="float64", seeds=1),
        Trial("boundedness", follow_unbounded, config.boundedness, precision="float64", seeds=1),
        Trial("deep-descent", descend_deeply, config.deep, precision="float64"),
        Trial("products", check_products, config.products, precision="float64", seeds=1),
        *(_trained(arm) for arm in arms(config)),
    ]


def arms(config: Config) -> list[Arm]:
    """The networks of all tasks; the last of each has the decay elsewhere in place of attention."""
    found = []
    for of in (config.language, config.recall, config.pictures):
        if of.decays:
            found += [*(Arm(of, decay, of.others) for decay in of.decays), Arm(of, 0.0, of.moved)]
    return found


def _trained(arm: Arm) -> Trial:
    run = {Recall: train_recall, Language: train_language, Pictures: train_pictures}[type(arm.of)]
    data = (arm.of.name,) if isinstance(arm.of, Pictures) else ()
    name = f"{TASKS[type(arm.of)]}-{arm.attention:g}-{arm.elsewhere:g}"
    return Trial(name, run, arm, models={"network": build}, seeds=arm.of.seeds, over_seeds=arm.of.over_seeds, data=data)
