"""Config and presets of the comparison of layers."""

from dataclasses import dataclass, field

from mesocosm.studies.interface import Preset

TASKS = (
    *("recall", "copy", "induction", "repeated-sequence", "parity", "automata", "linear-systems", "hidden-systems", "nonlinear-systems"),
    *("regression", "linear-attention", "fuzzy-logic", "raven", "hyperteacher", "text"),
)
"""The sequence tasks (`problems.PROBLEMS`)."""
SHORTER = ("recall", "linear-systems", "regression", "fuzzy-logic", "text")
"""Those of the quick preset."""
LAYERS = (
    *("attention", "hyla", "linear-attention", "mesa", "gated-linear-attention", "delta-net", "gated-mesa"),
    *("gated-rnn", "lru", "rg-lru", "hawk", "lstm", "gru"),
)
"""Our layers, without those that are whole residual blocks."""


@dataclass(frozen=True)
class Network:
    """Blocks of norm, layer, norm and feed-forward part around residual connections, between a linear embedding with learned positions and a linear readout.

    The feed-forward part of each layer is as wide as makes the parameters of a block equal.
    """

    dim: int = 16
    """Width of the tokens."""
    blocks: int = 2
    parameters: int = 16
    """Parameters of a block, in units of the squared width (attention has 4, its usual feed-forward part 8)."""


@dataclass(frozen=True)
class Training:
    """AdamW on fresh examples, gradients clipped to norm 1: linear warm-up, then half a cosine down to a tenth of the peak."""

    steps: int = 1000
    warmup: int = 100
    batch_size: int = 16
    """Sequences per step."""
    weight_decay: float = 0.01
    """Decoupled decay of all parameters."""


@dataclass(frozen=True)
class Evaluation:
    """Fresh examples to evaluate trained networks on."""

    examples: int = 1024
    """Of each split."""


@dataclass(frozen=True)
class Config:
    """Config of the comparison of layers."""

    layers: tuple[str, ...] = LAYERS
    """Names from `mesocosm layers`, or package.module:Name, with options as in Name(heads=2). Others are compared with the first one."""
    tasks: tuple[str, ...] = TASKS
    """Names of sequence tasks."""
    grid: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    """Learning rates that are tried on pilot seeds."""
    learning_rates: tuple[float, ...] = ()
    """The chosen rate for each layer and task, the tasks of the first layer first; empty for the search."""
    pilots: int = 2
    """Pilot seeds of each learning rate."""
    length: int = 32
    """Length of the sequences of tasks that have no length of their own."""
    network: Network = field(default_factory=Network)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)
    costs: tuple[int, ...] = (64, 256)
    """Lengths at which memory and operations of a layer are counted."""


_THREE = ("attention", "mesa", "hawk")

PRESETS = {
    "smoke": Preset(
        Config(
            layers=("attention", "gru"),
            tasks=("induction", "regression"),
            grid=(1e-3, 1e-2),
            pilots=1,
            length=16,
            network=Network(dim=8, blocks=1),
            training=Training(steps=3, warmup=1, batch_size=4),
            evaluation=Evaluation(examples=16),
            costs=(16,),
        ),
        seeds=2,
    ),
    "quick": Preset(
        Config(
            layers=_THREE,
            tasks=SHORTER,
            grid=(3e-3, 1e-2, 3e-2, 1e-1),
            length=24,
            training=Training(steps=250, warmup=25),
            evaluation=Evaluation(examples=512),
        ),
        seeds=6,
    ),
    "cpu": Preset(Config(), seeds=10),
}
