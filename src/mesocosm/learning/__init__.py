"""Training: `Learner`, `fit`, the random streams that pair the arms of an experiment, weight decay by name, and a monitor of its effect."""

from mesocosm.learning.balance_monitor import BalanceMonitor, attention_pairs
from mesocosm.learning.fit import Fitted, NonFinite, fit
from mesocosm.learning.fit_options import Checkpoint, Criterion, FitOptions, Probe, Watcher
from mesocosm.learning.learner import Learner
from mesocosm.learning.named_decay import ATTENTION, adamw_by_name, decay_by_name
from mesocosm.learning.streams import Stream, stream_key, stream_keys
from mesocosm.learning.supervised import Supervised, SupervisedState, adam, clipped_adamw, cosine_adamw

__all__ = [
    "ATTENTION",
    "BalanceMonitor",
    "Checkpoint",
    "Criterion",
    "FitOptions",
    "Fitted",
    "Learner",
    "NonFinite",
    "Probe",
    "Stream",
    "Supervised",
    "SupervisedState",
    "Watcher",
    "adam",
    "adamw_by_name",
    "attention_pairs",
    "clipped_adamw",
    "cosine_adamw",
    "decay_by_name",
    "fit",
    "stream_key",
    "stream_keys",
]
