"""Training: `Learner`, `fit`, the random streams that pair the arms of an experiment, weight decay by name, and a monitor of its effect."""

from mesocosm.learning.balance_monitor import BalanceMonitor, attention_pairs
from mesocosm.learning.fit import Fitted, NonFinite, fit
from mesocosm.learning.fit_options import Checkpoint, Criterion, FitOptions, Probe, Watcher
from mesocosm.learning.gradient_learner import GradientLearner, GradientState, gradient_step
from mesocosm.learning.learner import Learner
from mesocosm.learning.named_decay import ATTENTION, decay_by_name, decay_rates
from mesocosm.learning.optimizers import adam, adamw, compose, sgd, warmup_cosine
from mesocosm.learning.streams import Stream, stream_key, stream_keys
from mesocosm.learning.supervised import Supervised

__all__ = [
    "ATTENTION",
    "BalanceMonitor",
    "Checkpoint",
    "Criterion",
    "FitOptions",
    "Fitted",
    "GradientLearner",
    "GradientState",
    "Learner",
    "NonFinite",
    "Probe",
    "Stream",
    "Supervised",
    "Watcher",
    "adam",
    "adamw",
    "attention_pairs",
    "compose",
    "decay_by_name",
    "decay_rates",
    "fit",
    "gradient_step",
    "sgd",
    "stream_key",
    "stream_keys",
    "warmup_cosine",
]
