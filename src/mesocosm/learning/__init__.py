"""How networks change: Learner, fit and the random streams that pair the arms of an experiment."""

from mesocosm.learning.fit import Checkpoint, Criterion, Fitted, NonFinite, Probe, Watcher, fit
from mesocosm.learning.learner import Learner
from mesocosm.learning.streams import Stream, stream_key, stream_keys
from mesocosm.learning.supervised import Supervised, SupervisedState, adam, clipped_adamw, cosine_adamw

__all__ = [
    "Checkpoint",
    "Criterion",
    "Fitted",
    "Learner",
    "NonFinite",
    "Probe",
    "Stream",
    "Supervised",
    "SupervisedState",
    "Watcher",
    "adam",
    "clipped_adamw",
    "cosine_adamw",
    "fit",
    "stream_key",
    "stream_keys",
]
