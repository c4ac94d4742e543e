"""Trials of the hyla study: networks on fuzzy logic and Raven matrices, their latent codes, identities and ambiguous matrices."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.studies.hyla.codes import read_rules, read_terms
from mesocosm.studies.hyla.config import Config, Scale
from mesocosm.studies.hyla.identities import check_identities, find_ambiguous
from mesocosm.studies.hyla.networks import Arm, FuzzyArm, RavenArm, build
from mesocosm.studies.hyla.tables import percent
from mesocosm.studies.hyla.train import train_fuzzy, train_raven
from mesocosm.studies.interface import Trial
from mesocosm.studies.part_names import code_of
from mesocosm.studies.parts import check_mixer


def check(config: Config) -> None:
    """Reject a mixer that does not fit either task.

    Raises:
        ValueError: see `check_mixer`.
    """
    check_mixer(config.mixer, config.fuzzy_network.dim, config.fuzzy.length - 1 + config.fuzzy.queries, causal=False)
    check_mixer(config.mixer, config.raven_network.dim, 9 * config.raven.features, causal=False)


def trials(config: Config) -> list[Trial]:
    """One trial per network; arms are paired by seed, which decides split, initialisation and data."""
    fuzzy = FuzzyArm(config.fuzzy_network, "softmax", config.fuzzy_training, config.evaluation, task=config.fuzzy)
    raven = RavenArm(config.raven_network, "softmax", config.raven_training, config.evaluation, task=config.raven)

    arms: dict[str, Arm] = {"fuzzy": fuzzy, "raven": raven}

    def trained(name: str, arm: Arm) -> Trial:
        run = train_raven if isinstance(arm, RavenArm) else train_fuzzy
        parts = code_of(arm.mixer) if arm.mixer else ()
        return Trial(name, run, arm, models={"network": build}, over_seeds=config.over_seeds, user_parts=parts)

    def variant(task: str, name: str) -> Trial:
        return trained(f"{task}-{name}", replace(arms[task], variant=name))

    if config.mixer:
        ours = [variant(task, name) for task in arms for name in ("softmax", "hyla")]
        return ours + [trained(f"{task}-user", replace(arm, mixer=config.mixer)) for task, arm in arms.items()]
    found = [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        Trial("ambiguous", find_ambiguous, config.ambiguity, seeds=1),
        *(variant("fuzzy", name) for name in config.variants),
    ]
    for held_out in config.held_outs:
        task = replace(config.fuzzy, held_out=held_out)
        found += [trained(f"fuzzy-{name}-held-{percent(held_out)}", replace(fuzzy, task=task, variant=name)) for name in ("softmax", "hyla")]
    found += [trained(f"fuzzy-softmax-length-{length}", replace(fuzzy, task=replace(config.fuzzy, length=length))) for length in config.lengths]
    found += [Trial(f"codes-fuzzy-{name}", read_terms, replace(fuzzy, variant=name), after=(f"fuzzy-{name}",)) for name in config.probed]
    found += [variant("raven", name) for name in config.raven_variants]
    for heads in config.raven_heads:
        found.append(trained(f"raven-softmax-heads-{heads}", replace(raven, network=replace(config.raven_network, heads=heads))))
    if config.raven_heads:
        found.append(trained("raven-softmax-again", replace(raven, again=True)))
    for features in config.raven_features:
        found.append(trained(f"raven-softmax-features-{features}", replace(raven, task=replace(config.raven, features=features))))
    if "softmax" in config.raven_variants:
        found.append(Trial("codes-raven-softmax", read_rules, raven, after=("raven-softmax",)))
    found += [
        trained(f"raven-{name}-{scale.name}", _scaled(replace(raven, variant=name), scale)) for scale in config.scales for name in ("softmax", "linear", "hyla")
    ]
    return found


def _scaled(arm: RavenArm, scale: Scale) -> RavenArm:
    """Wider by a factor, with as many more heads, so that a head keeps its size; or deeper, or trained for longer."""
    network, factor = arm.network, scale.width
    wider = replace(
        network,
        layers=scale.layers,
        dim=factor * network.dim,
        heads=factor * network.heads,
        size=factor * network.size,
        hidden=factor * network.hidden,
    )
    return replace(arm, network=wider, training=replace(arm.training, steps=scale.steps))
