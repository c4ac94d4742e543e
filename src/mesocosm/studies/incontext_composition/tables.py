"""Tables and trials of the incontext-composition study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value

# --- trials -----------------------------------------------------------------------------------------------------------

VANILLA, HYPERNET, LATENT_MLP, TOLD, HYLA = (Trials(name) for name in ("vanilla", "hypernet", "latent-mlp", "told", "hyla"))
UNDECAYED, DECAYED = Trials("vanilla-undecayed"), Trials("hypernet-decayed")
"""The vanilla model without weight decay, and the one with a hypernetwork with it."""


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
    told: Value
    shuffled: Value


class Curve(Table):
    """The same during training."""

    step: Axis
    digest: Value
    train: Estimate
    held_out: Estimate
    told: Value


class References(Table):
    """R^2 of predictors that are not trained."""

    predictor: Axis
    pairs: Axis
    digest: Value
    train: Estimate
    held_out: Estimate
    unstructured: Estimate


class Executed(Table):
    """R^2 of a hypernetwork that is given the code, on tasks with the same lists of pairs as in context, but drawn anew; the base is the mean of a task's own
    outputs. The digest is that of the training tasks.
    """

    digest: Value
    train: Estimate
    held_out: Estimate
    shared: Estimate


class Modules(Table):
    """Largest absolute cosine of each of the teacher's units with a student's, mean over units: with the student's own teacher, and with another."""

    own: Value
    foreign: Value
