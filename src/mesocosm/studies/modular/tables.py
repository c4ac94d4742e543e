"""Tables and trials of the modular study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value
from mesocosm.studies.modular.config import Method

# --- trials -----------------------------------------------------------------------------------------------------------


def trained(problem: str, method: Method, variant: str = "") -> Trials:
    """A network of a method on the tasks of a hyperteacher, or a variant of it."""
    return Trials(f"{problem}-{method}{variant}")


def imitating(world: str, method: str) -> Trials:
    """A network of a method in a world on a support."""
    return Trials(f"{world}-{method}")


def identified(modules: int) -> Trials:
    """Students without training loss that have so many modules."""
    return Trials("identification" if modules == 4 else f"identification-{modules}")


def descended(name: str) -> Trials:
    """Students trained by gradient descent."""
    return Trials(f"descent-{name}")


# --- tables -----------------------------------------------------------------------------------------------------------


class Counterexamples(Table):
    """Relative squared errors of constructed students: on codes of their families, and on codes with all modules active, with the best codes of their own."""

    built: Axis
    trained: Value
    unseen: Value


class Students(Table):
    """The students with the smallest losses: the loss, whether nothing is left of it, the largest one over unseen codes, the alignment with the teacher
    with and without the map of codes, and how far the scales of their units are from 1.
    """

    condition: Axis
    loss: Value
    fitted: Value
    unseen: Value
    alignment: Value
    unmapped: Value
    scale: Value


class Descent(Table):
    """Students trained by gradient descent: the relative loss on new inputs, and the alignment, smallest and mean over the teacher's units."""

    loss: Value
    alignment: Value
    mean_alignment: Value


class Accuracy(Table):
    """Accuracy after adaptation on known combinations, on held-out ones, with all modules active, and there with more inner steps; R^2 of the
    codes of held-out combinations, and of known ones (half of them, decoded by the other half); and the learned inner rate.
    """

    known: Estimate
    held_out: Estimate
    every: Estimate
    longer: Estimate
    r2: Value
    r2_known: Value
    rate: Value


class Imitation(Table):
    """On query episodes after adaptation, for known and for held-out combinations: the loss, the share of steps with the right action, the share of
    episodes with only such steps, and half the variance of the targets, summed over actions; the loss on held-out combinations after adaptation to
    demonstrations of another one; loss and variance on the combinations with the last preference or quadrant; and the learned inner rate.
    """

    known_loss: Estimate
    known_accuracy: Estimate
    known_episodes: Estimate
    known_spread: Estimate
    held_out_loss: Estimate
    held_out_accuracy: Estimate
    held_out_episodes: Estimate
    held_out_spread: Estimate
    strangers_loss: Estimate
    last_loss: Estimate
    last_spread: Estimate
    rate: Value
