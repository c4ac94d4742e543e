"""Tables and trials of the incontext-composition study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value
from mesocosm.studies.incontext_composition.config import Config, Model

# --- trials -----------------------------------------------------------------------------------------------------------

VANILLA, HYPERNET, LATENT_MLP = (Trials(name) for name in ("vanilla", "hypernet", "latent-mlp"))
UNDECAYED = Trials("vanilla-undecayed")
"""The vanilla model without weight decay, trained as long as the `short` ones."""
DECAYED, MLP_DECAYED = Trials("hypernet-decayed"), Trials("latent-mlp-decayed")
"""Models with a bottleneck, with the vanilla model's weight decay."""


def short(model: Model) -> Trials:
    """A model that was trained with `Config.short_training` on Connected+."""

    def name(config: Config) -> str:
        return config.short_trial(model)

    return Trials(name)


def trainings(*models: Model) -> Trials:
    """Trainings of these models on Connected+, of all lengths."""

    def names(config: Config) -> tuple[str, ...]:
        return tuple(name for model in models for name in config.trainings(model) or (model,))

    return Trials(names)


def on(model: str, support: str) -> Trials:
    """A model on another support."""
    return Trials(f"{model}-{support}")


def given_code(support: str) -> Trials:
    """A hypernetwork that is given the code."""
    return Trials(f"given-code-{support}")


# --- tables -----------------------------------------------------------------------------------------------------------


class Explained(Table):
    """R^2 at the queries: training's pairs of modules, held-out ones, pairs that Connected and Disconnected both hold out, and tasks with modules of their own;
    and R^2 of the code of held-out pairs, read from the residual stream by a probe that is fitted on training's pairs, and by one that is fitted on other
    tasks' codes.
    """

    digest: Value
    train: Estimate
    held_out: Estimate
    shared: Estimate
    unstructured: Estimate
    decoded: Value
    decoded_shuffled: Value


class Curve(Table):
    """The same during training; `tasks` is the number of tasks seen."""

    model: Axis
    step: Axis
    tasks: Value
    digest: Value
    train: Estimate
    held_out: Estimate
    decoded: Value
    decoded_shuffled: Value


class References(Table):
    """R^2 of predictors that are not trained, on the test prompts of models that are trained on a support."""

    predictor: Axis
    support: Axis
    pairs: Axis
    digest: Value
    train: Estimate
    held_out: Estimate
    shared: Estimate
    unstructured: Estimate


class Executed(Table):
    """R^2 of a hypernetwork that is given the code, at the queries of the same test prompts as models in context have."""

    digest: Value
    train: Estimate
    held_out: Estimate
    shared: Estimate
    unstructured: Estimate


class Modules(Table):
    """Largest absolute cosine of each of the teacher's units with a student's, mean over units: with the student's own teacher, and with another."""

    own: Value
    foreign: Value
