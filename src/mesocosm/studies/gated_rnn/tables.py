"""Tables and trials of the gated-rnn study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value
from mesocosm.studies.gated_rnn.config import Config

# --- trials -----------------------------------------------------------------------------------------------------------


def compact_neurons(config: Config) -> int:
    """Neurons of the compact construction, which fits every teacher."""
    from mesocosm.nn import compact_count  # here, so that listing studies imports no JAX

    return compact_count(config.teacher.dim)


def student_size(config: Config) -> int:
    """Neurons of the judged student: the smallest with at least twice the compact count, else the largest."""
    enough = [neurons for neurons in config.neurons if neurons >= 2 * compact_neurons(config)]
    return min(enough, default=max(config.neurons))


def student(network: str) -> Trials:
    """The student with this name."""
    return Trials(f"student-{network}")


JUDGED = Trials(lambda config: f"student-{student_size(config)}")
"""The student with twice the compact count of neurons."""
WIDEST = Trials(lambda config: f"student-{max(config.neurons)}")
SMALLEST = Trials(lambda config: f"student-{min(config.neurons)}")
"""About half the neurons of the smallest construction at full rank."""
COMPACT = Trials(lambda config: f"student-{compact_neurons(config)}")
"""As many neurons as the compact construction."""
FORGETFUL = student("forgetful")
SIDE = student("side")
SIDE_UNGATED = student("side-ungated")

WIDEST_REGRESSOR = Trials(lambda config: f"prompts-{max(config.prompt_neurons, default=0)}")
"""The most neurons, but still fewer than the generic compact construction."""
SMALLEST_REGRESSOR = Trials(lambda config: f"prompts-{min(config.prompt_neurons, default=0)}")
GRU_REGRESSOR = Trials("prompts-gru")
ATTENTION_REGRESSOR = Trials("prompts-attention")


# --- students ---------------------------------------------------------------------------------------------------------


class Loss(Table):
    """A student's test loss, over the variance of its targets."""

    digest: Value
    loss: Value
    error: Value


class Structure(Table):
    """Losses of a gated RNN after pruning, and the structure of its weights."""

    loss: Value
    block_loss: Value
    other_block_loss: Value
    extreme: Value
    right_block: Value
    right_block_shuffled: Value
    cosine: Value
    other_teacher: Value


class PromptLoss(Table):
    """A regressor's loss, that of the best gradient step, and its similarity to gradient descent."""

    digest: Value
    step_size: Value
    versus_step: Estimate
    slope: Value
    unexplained: Value


# --- without training -------------------------------------------------------------------------------------------------


class Limits(Table):
    """Errors of LSTM and GRU near linear attention."""

    lstm: Value
    lstm_ratio: Value
    lstm_held_ratio: Value
    gru: Value


class Gates(Table):
    """The fraction of power that the best weights without a gate leave unexplained."""

    missing: Axis
    unexplained: Value
