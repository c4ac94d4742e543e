"""Training: `Learner`, `fit`, the random streams that pair the arms of an experiment, weight decay by name, and monitors of its effect."""

from mesocosm.learning.attention_decay import OTHERS, attention_decay, list_decay, torch_groups
from mesocosm.learning.attention_products import TorchBalance, attention_products
from mesocosm.learning.balance_monitor import BalanceMonitor, attention_pairs
from mesocosm.learning.bilevel import Bilevel, FewShot, InnerLoop, MetaLearned, first_order, unrolled
from mesocosm.learning.fit import Fitted, NonFinite, fit
from mesocosm.learning.fit_options import Checkpoint, Criterion, FitOptions, Probe, Watcher
from mesocosm.learning.gradient_learner import GradientLearner, GradientState, gradient_step
from mesocosm.learning.learner import Learner
from mesocosm.learning.named_decay import ATTENTION, decay_by_name, decay_rates
from mesocosm.learning.optimizers import adam, adamw, compose, sgd, warmup_cosine
from mesocosm.learning.relaxed_adversary import RelaxedAdversary, q_norm
from mesocosm.learning.streams import Stream, stream_key, stream_keys
from mesocosm.learning.supervised import Supervised

__all__ = [
    "ATTENTION",
    "OTHERS",
    "BalanceMonitor",
    "Bilevel",
    "Checkpoint",
    "Criterion",
    "FewShot",
    "FitOptions",
    "Fitted",
    "GradientLearner",
    "GradientState",
    "InnerLoop",
    "Learner",
    "MetaLearned",
    "NonFinite",
    "Probe",
    "RelaxedAdversary",
    "Stream",
    "Supervised",
    "TorchBalance",
    "Watcher",
    "adam",
    "adamw",
    "attention_decay",
    "attention_pairs",
    "attention_products",
    "compose",
    "decay_by_name",
    "decay_rates",
    "first_order",
    "fit",
    "gradient_step",
    "list_decay",
    "q_norm",
    "sgd",
    "stream_key",
    "stream_keys",
    "torch_groups",
    "unrolled",
    "warmup_cosine",
]
