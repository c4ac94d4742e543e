"""Trials of the mesa study: the networks to train, and measurements without training."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from mesocosm.studies.interface import Trial
from mesocosm.studies.mesa.config import Config, Network, Systems, Training
from mesocosm.studies.mesa.dimensions import measure_dimensions
from mesocosm.studies.mesa.distillation import DistilledArm, distil
from mesocosm.studies.mesa.few_shot import PARENT, FewShotArm, measure_few_shot
from mesocosm.studies.mesa.identities import check_identities
from mesocosm.studies.mesa.language import LanguageArm, build_decoder, train_decoder
from mesocosm.studies.mesa.memories import MemoryArm, build_memory, train_memory
from mesocosm.studies.mesa.networks import NetworkArm, Source, build_linear, build_mesa, build_user_mixer
from mesocosm.studies.mesa.parity import ParityArm, build_parity, train_parity
from mesocosm.studies.mesa.raw_networks import Layer as RawLayer
from mesocosm.studies.mesa.raw_networks import Observed, RawArm, build_raw
from mesocosm.studies.mesa.raw_train import train_raw
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
        clip = config.network.residual_clip
        if layers > 1 or layer == "mesa":
            clip = config.contracting_clip if source == "contracting" and layer == "linear" else config.deep_clip
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
        found += [arm("contracting-mesa-1", "contracting", layer="mesa", training=config.contracting_mesa), arm("contracting-1-wide", "contracting")]
    if config.retrain_seeds:
        again = NetworkArm(config.systems, "orthogonal", config.network, config.linear, config.evaluation, config.probing)
        found.append(Trial("linear-1-again", train_twice, again, seeds=config.retrain_seeds, over_seeds=config.over_seeds))
    if config.dimensions.dims:
        found.append(Trial("dimensions", measure_dimensions, config.dimensions))
    found += [trial for source in config.raw.sources for trial in _raw_trials(config, source)]
    return found + _distilled(config) + _few_shot(config) + _gated(config) + _decoders(config)


def _raw_arm(config: Config, name: str, source: Observed, layers: tuple[RawLayer, ...], training: Training, seeds: int, systems: Systems) -> Trial:
    arm = RawArm(systems, source, layers, config.raw.sizes, training, config.evaluation)
    return Trial(name, train_raw, arm, models={"network": build_raw}, seeds=seeds, over_seeds=config.over_seeds)


def _raw_trials(config: Config, source: Observed) -> list[Trial]:
    """Networks on one kind of system; those on nonlinear ones have feed-forward parts."""
    runs, prefix = config.raw, "" if source == "orthogonal" else f"{source}-"
    systems = replace(config.systems, dim=runs.observed) if source == "partial" else config.systems
    arms: dict[str, tuple[tuple[RawLayer, ...], Training]] = {
        "softmax-3": (("placed", "softmax", "softmax"), runs.softmax),
        "hybrid": (("placed", "mesa"), runs.hybrid),
        "hybrid-linear": (("placed", "linear"), runs.linear),
    }
    if source == "orthogonal":
        arms["unplaced-3"] = (("softmax", "softmax", "softmax"), runs.softmax)
    trials = []
    for name, (layers, training) in arms.items():
        fed: tuple[RawLayer, ...] = tuple(part for layer in layers for part in ((layer, "feed") if source == "nonlinear" else (layer,)))
        trials.append(_raw_arm(config, prefix + name, source, fed, training, runs.seeds, systems))
    return trials


def _distilled(config: Config) -> list[Trial]:
    """A network for each dimension, and what it loses with each layer replaced."""
    found, runs = [], config.distillation
    for dim in config.distillation.dims:
        sizes = replace(config.raw.sizes, width=4 * dim, key_dim=2 * dim)
        systems = replace(config.systems, dim=dim, length=4 * dim)
        layers: tuple[RawLayer, ...] = ("placed", "softmax", "softmax")
        arm, parent = RawArm(systems, "orthogonal", layers, sizes, config.raw.softmax, config.evaluation), f"softmax-3-dim-{dim}"
        found.append(Trial(parent, train_raw, arm, models={"network": build_raw}, seeds=runs.seeds, over_seeds=config.over_seeds))
        settings = DistilledArm(parent, arm, runs)
        found.append(Trial(f"distilled-{dim}", distil, settings, after=(parent,), seeds=runs.seeds, over_seeds=config.over_seeds))
    return found


def _few_shot(config: Config) -> list[Trial]:
    runs = config.few_shot
    if not runs.seeds:
        return []
    systems = replace(config.systems, length=runs.length)
    parent = _raw_arm(config, PARENT, "orthogonal", ("placed", "mesa"), config.raw.hybrid, runs.seeds, systems)
    return [parent, Trial("few-shot", measure_few_shot, FewShotArm(parent.config, runs), after=(PARENT,), seeds=runs.seeds, over_seeds=config.over_seeds)]


def _gated(config: Config) -> list[Trial]:
    """Networks of gated layers on recall, on automata and on parity."""
    runs, found = config.parity, []
    for problem in config.memories.problems if config.memories.seeds else ():
        for mixer in config.memories.mixers:
            arm = MemoryArm(config.memories, mixer, problem)
            models = {"network": build_memory}
            found.append(Trial(f"{problem}-{mixer}", train_memory, arm, models=models, seeds=config.memories.seeds, over_seeds=config.over_seeds))
    for name, signed in {"parity-signed": True, "parity-unsigned": False}.items() if runs.seeds else ():
        arm = ParityArm(runs, signed)
        found.append(Trial(name, train_parity, arm, models={"network": build_parity}, seeds=runs.seeds, over_seeds=config.over_seeds))
    return found


def _decoders(config: Config) -> list[Trial]:
    """Decoders on text: blocks of one memory, and one block of attention before those of another."""
    runs, found = config.language, []
    if not runs.seeds:
        return []
    for (first, later), rate in zip(runs.memories, runs.learning_rates, strict=True):
        name = first if later == first else f"{first}-{later}"
        arm, models = LanguageArm(runs, (first, *[later for _ in range(runs.layers - 1)]), rate), {"network": build_decoder}
        found.append(Trial(f"language-{name}", train_decoder, arm, models=models, seeds=runs.seeds, over_seeds=config.over_seeds))
    return found
