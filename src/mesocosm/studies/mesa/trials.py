"""Trials of the mesa study: the networks to train, and measurements without training."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from mesocosm.studies.interface import Trial
from mesocosm.studies.mesa.config import Config, Network, Training
from mesocosm.studies.mesa.identities import check_identities
from mesocosm.studies.mesa.networks import NetworkArm, Source, build_linear, build_mesa, build_user_mixer
from mesocosm.studies.mesa.references import References, measure_polynomials, measure_references
from mesocosm.studies.mesa.train import train_linear, train_mesa, train_twice, train_user_mixer
from mesocosm.studies.part_names import code_of
from mesocosm.studies.parts import check_mixer

Layer = Literal["linear", "mesa", "user"]

LAYERS = {"linear": (train_linear, build_linear), "mesa": (train_mesa, build_mesa), "user": (train_user_mixer, build_user_mixer)}


def check(config: Config) -> None:
    """Reject a mixer that does not fit.

    Raises:
        ValueError: see `check_mixer`.
    """
    check_mixer(config.mixer, 4 * config.systems.dim, config.systems.length)


def trials(config: Config) -> list[Trial]:
    """One trial per network; trials that differ only in numbers share a program."""

    def arm(name: str, source: Source = "orthogonal", *, layers: int = 1, heads: int = 4, layer: Layer = "linear", training: Training | None = None) -> Trial:
        clip = config.deep_clip if layers > 1 or layer == "mesa" else config.network.residual_clip
        network = Network(layers, heads, config.network.key_dim, clip)
        training = training or (config.mesa if layer == "mesa" else config.linear if layers == 1 else config.deep)
        mixer = config.mixer if layer == "user" else ""
        settings = NetworkArm(config.systems, source, network, training, config.evaluation, config.probing, mixer)
        run, build = LAYERS[layer]
        parts = code_of(mixer) if mixer else ()
        return Trial(name, run, settings, models={"network": build}, over_seeds=config.over_seeds, user_parts=parts)

    heads, references = config.network.heads, References(config.systems, config.evaluation)
    if config.mixer:
        depths = (1, *(config.depths or (2,)))
        ours = [arm(f"linear-{depth}", layers=depth, heads=heads if depth == 1 else 4) for depth in depths]
        theirs = [arm(f"user-{depth}", layers=depth, layer="user") for depth in depths]
        return [Trial("references", measure_references, references, seeds=1), *ours, arm("mesa-1", layer="mesa"), *theirs]
    found = [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        Trial("references", measure_references, references, seeds=1),
        arm("linear-1", heads=heads),
        arm("linear-1-fixed", "fixed", heads=heads),
        arm("mesa-1", layer="mesa"),
        arm("linear-1-wide"),
    ]
    if config.fixed_seeds:
        found.append(replace(arm("fixed-system", "fixed", heads=heads, training=config.fixed), seeds=config.fixed_seeds))
        found.append(replace(arm("fresh-systems", heads=heads, training=config.fixed), seeds=config.fixed_seeds))
    found += [arm(f"linear-{depth}", layers=depth) for depth in config.depths]
    if config.depths:
        found.append(Trial("polynomials", measure_polynomials, references))
    for depth in config.contracting_depths:
        training = config.linear if depth == 1 else config.contracting
        found.append(arm(f"contracting-{depth}", "contracting", layers=depth, heads=heads if depth == 1 else 4, training=training))
    if config.contracting_depths:
        found += [arm("contracting-mesa-1", "contracting", layer="mesa"), arm("contracting-1-wide", "contracting")]
    if config.retrain_seeds:
        again = NetworkArm(config.systems, "orthogonal", config.network, config.linear, config.evaluation, config.probing)
        found.append(Trial("linear-1-again", train_twice, again, seeds=config.retrain_seeds, over_seeds=config.over_seeds))
    return found
