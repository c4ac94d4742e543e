"""Trials of the incontext-composition study: exact statements, references, executors of given codes, and models in context."""

from __future__ import annotations

from mesocosm.studies.incontext_composition.config import Config, Model, Training
from mesocosm.studies.incontext_composition.identities import check_identities
from mesocosm.studies.incontext_composition.networks import PLAIN, Arm, Executor, References, Shape, build, build_executor
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
    """One trial per model; arms are paired by seed, which decides teacher, initialisation and data."""

    rates = dict(config.learning_rates)

    def trained(name: str, model: Model, support: str, training: Training, *, swapped: bool = False, mixer: str = "") -> Trial:
        plain = model in PLAIN
        shape = Shape(model, config.network, config.vanilla_dim if plain else config.network.dim, config.prompting, mixer)
        decay = training.vanilla_decay if plain != swapped else 0.0
        rate = rates.get(model, training.vanilla_learning_rate if plain else training.learning_rate)
        arm = Arm(shape, support, training, rate, decay, config.evaluation)
        parts = code_of(mixer) if mixer else ()
        return Trial(name, train, arm, models={"model": build}, over_seeds=config.over_seeds, user_parts=parts)

    if config.mixer:
        ours = [trained(name, name, "connected+", config.training) for name in ("vanilla", "hypernet")]
        return [*ours, trained("user", "vanilla", "connected+", config.training, mixer=config.mixer)]
    found = [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        Trial("references", measure_references, References(config.prompting, config.contexts, config.evaluation)),
    ]
    # H2's control, on the support of the models in context
    for support in ("connected", "disconnected", *(["connected+"] if "told" in config.models else [])):
        executor = Executor(config.network, support, config.execution, config.evaluation)
        found.append(Trial(f"given-code-{support}", train_executor, executor, models={"executor": build_executor}, over_seeds=config.over_seeds))
    found += [trained(model, model, "connected+", config.training) for model in config.models]
    if config.swapped_decay:
        found.append(trained("vanilla-undecayed", "vanilla", "connected+", config.training, swapped=True))
        found.append(trained("hypernet-decayed", "hypernet", "connected+", config.training, swapped=True))
    found += [trained(f"{model}-{support}", model, support, config.short_training) for support in config.supports for model in ("vanilla", "hypernet")]
    return found
