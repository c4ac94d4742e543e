"""Trials of the hyla study: networks on fuzzy logic, Raven matrices and text, their latent codes, identities and ambiguous matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import comb

from mesocosm.nn import HYLA_VARIANTS
from mesocosm.studies.hyla.codes import compare_rules, read_rules, read_terms
from mesocosm.studies.hyla.config import MIXTURES, Config, Scale, WithSweeps
from mesocosm.studies.hyla.identities import check_identities, find_ambiguous
from mesocosm.studies.hyla.networks import Arm, FuzzyArm, LanguageArm, RavenArm, build
from mesocosm.studies.hyla.tables import percent
from mesocosm.studies.hyla.train import train_fuzzy, train_language, train_raven
from mesocosm.studies.interface import Trial
from mesocosm.studies.part_names import code_of
from mesocosm.studies.parts import check_mixer
from mesocosm.tasks.raven_rules import RULES


def check(config: Config) -> None:
    """Reject a mixer that does not fit either task.

    Raises:
        ValueError: see `check_mixer`.
    """
    check_mixer(config.mixer, config.fuzzy_network.dim, config.fuzzy.length - 1 + config.fuzzy.queries, causal=False)
    check_mixer(config.mixer, config.raven_network.dim, 9 * config.raven.features, causal=False)


def check_lists(config: WithSweeps) -> None:
    """Reject heads that do not divide a network, layers that do not exist, lists that would train a network twice or nowhere, and splits that cannot be drawn.

    Raises:
        ValueError: a network's size is not a multiple of its heads; a list of the config has an entry twice, one too many, or no layer's name; or a fraction of
            the multisets of rules leaves none to hold out, or too few to train on.
    """
    others = [replace(config.raven_network, heads=heads) for heads in config.raven_heads]
    for network in (config.fuzzy_network, config.raven_network, config.language_network, *others):
        if network.heads < 1 or network.size % network.heads:
            raise ValueError(f"{network.heads} heads cannot share queries, keys and values of size {network.size}, all heads together")
    named: dict[str, Sequence[object]] = {
        "held_outs": [percent(held_out) for held_out in (config.fuzzy.held_out, *config.held_outs)],
        "lengths": [config.fuzzy.length, *config.lengths],
        "raven_held_outs": [percent(held_out) for held_out in (config.raven.held_out, *config.raven_held_outs)],
        "raven_heads": [config.raven_network.heads, *config.raven_heads],
        "raven_features": [config.raven.features, *config.raven_features],
        "scales": [scale.name for scale in config.scales],
        "fuzzy_sizes": [size.name for size in config.fuzzy_sizes],
    }
    layers = {name: getattr(config, name) for name in ("variants", "probed", "raven_variants", "scaled", "language_variants")}
    existing = (*HYLA_VARIANTS, *MIXTURES)
    for name, entries in layers.items():
        if unknown := [entry for entry in entries if entry not in existing]:
            raise ValueError(f"{name} has {unknown[0]}, which is no layer of this study; there are {', '.join(existing)}")
    named |= layers
    for name, entries in named.items():
        if twice := [entry for entry in entries if entries.count(entry) > 1]:
            raise ValueError(f"{name} has {twice[0]} twice, or the judged network has it, too")
    for name, among in (("hyla_held_outs", config.held_outs), ("hyla_lengths", config.lengths)):
        if lacking := [entry for entry in getattr(config, name) if entry not in among]:
            raise ValueError(f"{name} has {lacking[0]}, which {name.removeprefix('hyla_')} lacks")
    _check_multisets(config)


def _check_multisets(config: WithSweeps) -> None:
    """Reject fractions of the multisets of rules that hold none out, or leave too few for every rule to occur in training."""
    judged = config.raven
    drawn = [(judged.features, held_out) for held_out in (judged.held_out, *config.raven_held_outs)]
    for features, held_out in drawn + [(other, judged.held_out) for other in config.raven_features]:
        multisets = comb(len(RULES) + features - 1, features)
        held = int(multisets * held_out)
        if held < 1 or (multisets - held) * features < len(RULES):
            told = f"a fraction of {held_out} holds out {held} of {multisets} multisets of rules"
            raise ValueError(f"on Raven matrices with {features} features, {told}; hold out at least one, and leave enough for all {len(RULES)} rules to occur")


def trials(config: WithSweeps) -> list[Trial]:
    """One trial per network; arms are paired by seed, which decides split, initialisation and data.

    Raises:
        ValueError: see `check_lists`.
    """
    check_lists(config)
    if config.mixer:
        arms: dict[str, Arm] = {"fuzzy": _fuzzy_arm(config), "raven": _raven_arm(config)}
        ours = [_trained(config, f"{task}-{name}", replace(arm, variant=name)) for task, arm in arms.items() for name in ("softmax", "hyla")]
        return ours + [_trained(config, f"{task}-user", replace(arm, mixer=config.mixer)) for task, arm in arms.items()]
    language = LanguageArm(config.language_network, "softmax", config.language_training, config.evaluation, task=config.language)
    return [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        Trial("ambiguous", find_ambiguous, config.ambiguity, seeds=1),
        *_fuzzy(config),
        *_raven(config),
        *(_trained(config, f"language-{name}", replace(language, variant=name)) for name in config.language_variants),
        *_other_raven(config),
    ]


def _fuzzy_arm(config: Config) -> FuzzyArm:
    """Softmax attention on fuzzy logic."""
    return FuzzyArm(config.fuzzy_network, "softmax", config.fuzzy_training, config.evaluation, task=config.fuzzy)


def _raven_arm(config: Config) -> RavenArm:
    """Softmax attention on Raven matrices."""
    return RavenArm(config.raven_network, "softmax", config.raven_training, config.evaluation, task=config.raven)


def _trained(config: Config, name: str, arm: Arm) -> Trial:
    run = {FuzzyArm: train_fuzzy, RavenArm: train_raven, LanguageArm: train_language}[type(arm)]
    parts = code_of(arm.mixer) if arm.mixer else ()
    return Trial(name, run, arm, models={"network": build}, over_seeds=config.over_seeds, user_parts=parts)


def _fuzzy(config: Config) -> list[Trial]:
    """Layers at the judged fraction held out and length; some of them at other fractions and lengths; codes."""
    arm, task = _fuzzy_arm(config), config.fuzzy
    found = [_trained(config, f"fuzzy-{name}", replace(arm, variant=name)) for name in config.variants]
    for held_out in config.held_outs:
        other = replace(arm, task=replace(task, held_out=held_out))
        layers = ("softmax", "hyla") if held_out in config.hyla_held_outs else ("softmax",)
        found += [_trained(config, f"fuzzy-{name}-held-{percent(held_out)}", replace(other, variant=name)) for name in layers]
    for length in config.lengths:
        other = replace(arm, task=replace(task, length=length))
        layers = ("softmax", "hyla") if length in config.hyla_lengths else ("softmax",)
        found += [_trained(config, f"fuzzy-{name}-length-{length}", replace(other, variant=name)) for name in layers]
    for size in config.fuzzy_sizes:
        other = replace(task, variables=size.variables, terms=size.terms, held_out=size.held_out)
        sized = replace(arm, task=other, training=replace(arm.training, steps=size.steps))
        found += [_trained(config, f"fuzzy-{name}-{size.name}", replace(sized, variant=name)) for name in config.scaled]
    return found + [Trial(f"codes-fuzzy-{name}", read_terms, replace(arm, variant=name), after=(f"fuzzy-{name}",)) for name in config.probed]


def _raven(config: Config) -> list[Trial]:
    """Softmax attention at the judged size, and its codes."""
    if "softmax" not in config.raven_variants:
        return []
    arm = _raven_arm(config)
    return [_trained(config, "raven-softmax", arm), Trial("codes-raven-softmax", read_rules, arm, after=("raven-softmax",))]


def _other_raven(config: WithSweeps) -> list[Trial]:
    """Softmax attention with other numbers of heads and features, and its controls; other layers, fractions held out, sizes and numbers of matrices; codes."""
    arm, task, network = _raven_arm(config), config.raven, config.raven_network
    found = [_trained(config, f"raven-softmax-heads-{heads}", replace(arm, network=replace(network, heads=heads))) for heads in config.raven_heads]
    if config.raven_tied:
        found.append(_trained(config, "raven-softmax-tied", replace(arm, network=replace(network, tied=True))))
    shorter = replace(arm, training=replace(arm.training, steps=config.raven_features_steps or arm.training.steps))
    for features in config.raven_features:
        found.append(_trained(config, f"raven-softmax-features-{features}", replace(shorter, task=replace(task, features=features))))
    if config.raven_features:
        counts = (task.features, *config.raven_features)
        copied = replace(task, features=min(counts), copies=max(counts) - min(counts))
        found.append(_trained(config, "raven-softmax-copied", replace(shorter, task=copied)))
    found += [_trained(config, f"raven-{name}", replace(arm, variant=name)) for name in config.raven_variants if name != "softmax"]
    for held_out in config.raven_held_outs:
        other = replace(arm, task=replace(task, held_out=held_out))
        found += [_trained(config, f"raven-{name}-held-{percent(held_out)}", replace(other, variant=name)) for name in ("softmax", "hyla")]
    for scale in config.scales:
        found += [_trained(config, f"raven-{name}-{scale.name}", _scaled(replace(arm, variant=name), scale)) for name in scale.only or config.scaled]
    longer = [scale for scale in config.scales if scale.steps and "softmax" in config.scaled]
    return found + [Trial(f"codes-raven-softmax-{scale.name}", compare_rules, _scaled(arm, scale), after=(f"raven-softmax-{scale.name}",)) for scale in longer]


def _scaled(arm: RavenArm, scale: Scale) -> RavenArm:
    """Wider by a factor, with as many more heads, so that a head keeps its size; or deeper, or trained for longer."""
    network, training = arm.network, arm.training
    widths = {name: round(scale.width * getattr(network, name)) for name in ("dim", "heads", "size", "hidden")}
    return replace(
        arm, network=replace(network, layers=scale.layers or network.layers, **widths), training=replace(training, steps=scale.steps or training.steps)
    )
