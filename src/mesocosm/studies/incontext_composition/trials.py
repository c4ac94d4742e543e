"""Trials of the incontext-composition study: exact statements, references, executors of given codes, and models in context."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.studies.incontext_composition.config import Config, Model, Training
from mesocosm.studies.incontext_composition.identities import check_identities
from mesocosm.studies.incontext_composition.networks import BOTTLENECKS, PLAIN, Arm, Executor, Predictors, Shape, build, build_executor
from mesocosm.studies.incontext_composition.references import measure_references
from mesocosm.studies.incontext_composition.train import train, train_executor
from mesocosm.studies.interface import Trial
from mesocosm.studies.part_names import code_of
from mesocosm.studies.parts import check_mixer


def check(config: Config) -> None:
    """Reject a mixer that does not fit the vanilla model.

    Raises:
        ValueError: see `check_mixer`.
    """
    check_mixer(config.mixer, config.vanilla_dim, config.prompting.pairs + config.prompting.queries, causal=False)


def trials(config: Config) -> list[Trial]:
    """One trial per model and training; arms are paired by seed, which decides teacher, initialisation and data."""
    if config.mixer:
        ours = [_trained(config, name, name, "connected+", config.training) for name in ("vanilla", "hypernet")]
        return [*ours, _trained(config, "user", "vanilla", "connected+", config.training, mixer=config.mixer)]
    untrained = [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        Trial("references", measure_references, Predictors(config.prompting, config.contexts, config.evaluation)),
    ]
    return [*untrained, *_in_context(config), *_given_code(config)]


def _in_context(config: Config) -> list[Trial]:
    """Models in context; a training that two fields of the config name is one trial."""
    full, short = config.training, config.short_training
    found = [_trained(config, model, model, "connected+", full) for model in config.models]
    found += [_trained(config, config.short_trial(model), model, "connected+", short) for model in config.short_models]
    found += [_trained(config, f"hypernet-{steps}", "hypernet", "connected+", replace(full, steps=steps, points=1)) for steps in config.lengths]
    if config.swapped_decay:
        found.append(_trained(config, "vanilla-undecayed", "vanilla", "connected+", short, swapped=True))
        found += [_trained(config, f"{model}-decayed", model, "connected+", full, swapped=True) for model in BOTTLENECKS]
    for support in config.supports:
        found += [_trained(config, f"{model}-{support}", model, support, short) for model in ("vanilla", "hypernet")]
    return list({trial.name: trial for trial in found}.values())


def _trained(config: Config, name: str, model: Model, support: str, training: Training, *, swapped: bool = False, mixer: str = "") -> Trial:
    """A model in context; `swapped` weight decay is that of the other kind of model."""
    plain = model in PLAIN
    shape = Shape(model, config.network, config.vanilla_dim if plain else config.network.dim, config.prompting, mixer)
    decay = training.vanilla_decay if plain != swapped else 0.0
    rate = dict(config.learning_rates).get(model, training.vanilla_learning_rate if plain else training.learning_rate)
    arm = Arm(shape, support, training, rate, decay, config.evaluation)
    parts = code_of(mixer) if mixer else ()
    return Trial(name, train, arm, models={"model": build}, over_seeds=config.over_seeds, user_parts=parts)


def _given_code(config: Config) -> list[Trial]:
    """Hypernetworks that are given the code; the one on Connected+ is H2's control."""
    supports = ["connected", "disconnected", *(["connected+"] if "told" in (*config.models, *config.short_models) else [])]
    found = []
    for support in supports:
        executor = Executor(config.network, support, config.execution, config.prompting, config.evaluation)
        found.append(Trial(f"given-code-{support}", train_executor, executor, models={"executor": build_executor}, over_seeds=config.over_seeds))
    return found
