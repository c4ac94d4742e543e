"""Config and presets of the gated-rnn study. The paper's numbers could not be obtained; ours were searched on pilot seeds (search.csv)."""

from dataclasses import dataclass, field, replace
from typing import Literal

from mesocosm.studies.interface import Preset


@dataclass(frozen=True)
class Teacher:
    """The linear attention that students learn from."""

    dim: int = 3
    """Size of tokens, keys and values; the generic constructions have 9 (compact) and 12 (full) neurons at 3."""
    length: int = 16
    """Tokens per sequence."""
    memory: float = 1.0
    """Factor on the fast weights at each step: 1 for linear attention, less for the teacher that forgets."""


@dataclass(frozen=True)
class Prompts:
    """In-context regression: uniform inputs, a fresh Gaussian map in every prompt, no noise."""

    input_dim: int = 3
    target_dim: int = 3
    pairs: int = 11


@dataclass(frozen=True)
class Training:
    """How a network is trained: by Adam, with a learning rate that falls to zero along half a cosine."""

    steps: int = 2000
    """Updates."""
    learning_rate: float = 1e-2
    """Peak learning rate."""
    batch_size: int = 32
    """Fresh sequences per step."""
    clip_norm: float = 1.0
    """Bound on the gradient's norm."""
    gain: float = 1.0
    """Initial weights have standard deviation gain / sqrt(fan-in)."""


@dataclass(frozen=True)
class Network:
    """A student."""

    layer: str = "gated"
    """A name in `networks.LAYERS`."""
    neurons: int = 18
    """Recurrent neurons."""
    products_per_neuron: int = 3
    """Products of the output gate per neuron, in a gated RNN."""


@dataclass(frozen=True)
class Evaluation:
    """Fresh sequences to evaluate trained networks on."""

    sequences: int = 4096
    """Test sequences from a teacher; each replicate has its own teacher."""
    prompts: int = 20000
    """Regression prompts, the same for all replicates and networks."""
    held_out: int = 512
    """Other sequences, for measuring the influence of neurons; also the number of out-of-distribution prompts."""
    threshold: float = 1e-6
    """Neurons that change the normalised loss by less than this are pruned."""


@dataclass(frozen=True)
class Identities:
    """Random instances for the identities."""

    instances: int = 100
    dim: int = 4
    length: int = 20


@dataclass(frozen=True)
class Config:
    """Config of the gated-rnn study."""

    teacher: Teacher = field(default_factory=Teacher)
    prompts: Prompts = field(default_factory=Prompts)
    evaluation: Evaluation = field(default_factory=Evaluation)
    identities: Identities = field(default_factory=Identities)
    student: Training = field(default_factory=Training)
    """Gated linear RNNs on the teacher."""
    other_student: Training = field(default_factory=Training)
    """Other architectures on the teacher."""
    regression: Training = field(default_factory=lambda: Training(batch_size=64))
    """Gated linear RNNs and linear attention on prompts."""
    other_regression: Training = field(default_factory=lambda: Training(steps=4000, batch_size=64))
    """Other architectures on prompts."""
    neurons: tuple[int, ...] = (5, 9, 18)
    """Students' sizes. C6 compares the compact count with the smallest size of at least twice as many."""
    products_per_neuron: int = 3
    """Products of the output gate per neuron, in all gated RNNs; with only one, some stop before they have found all the products that they need."""
    forgetful: float = 0.8
    """Memory of the teacher that forgets, whose students must not have perfect memory (C5)."""
    side_neurons: int = 9
    """Neurons of the side-gated student."""
    architectures: tuple[str, ...] = ()
    """Other architectures on the teacher: names in `networks.LAYERS`."""
    learning_rates: tuple[tuple[str, float], ...] = ()
    """Peak learning rates of the architectures that do not take that of `other_student`; the best on pilots, or the gated RNN's for a control of it."""
    prompt_neurons: tuple[int, ...] = ()
    """Sizes of gated RNNs on prompts."""
    prompt_architectures: tuple[str, ...] = ("gru", "lstm")
    """Other architectures on prompts: names in `networks.LAYERS`."""
    hidden: int = 48
    """Cells of the other architectures."""
    mixer: str = ""
    """A layer of `mesocosm layers` or your own (package.module:Name), with options as in Name(heads=2).
    Trains only it, between two linear maps, and gated linear RNNs on the teacher."""
    over_seeds: Literal["vmap", "map"] = "vmap"


OTHERS = ("glu", "side-ungated", "lstm", "gru", "lru", "lru-mlp", "lru-gated", "hawk")
RATES = (("glu", 1e-2), ("side-ungated", 1e-2), ("hawk", 1e-2), ("lstm", 1e-1))

PRESETS = {
    "smoke": Preset(
        Config(
            teacher=Teacher(length=5),
            prompts=Prompts(pairs=4),
            evaluation=Evaluation(sequences=64, prompts=64, held_out=16),
            identities=Identities(dim=2, length=6),
            student=Training(steps=3, batch_size=4),
            other_student=Training(steps=3, batch_size=4),
            regression=Training(steps=3, batch_size=4),
            other_regression=Training(steps=3, batch_size=4),
            neurons=(9, 18),
            architectures=("glu", "side-ungated"),
            prompt_neurons=(6,),
            prompt_architectures=("gru",),
            hidden=4,
        ),
        seeds=2,
    ),
    "quick": Preset(
        Config(),
        seeds=10,
        minutes={
            "identities": 0.28,
            "student-5": 0.25,
            "student-9": 0.25,
            "student-18": 0.3,
            "student-forgetful": 0.3,
            "student-side": 0.2,
        },
    ),
    "cpu": Preset(
        replace(
            Config(),
            student=Training(steps=4000),
            other_student=Training(steps=4000, learning_rate=3e-2),
            regression=Training(steps=4000, batch_size=64),
            neurons=(5, 9, 12, 18, 27),
            architectures=("glu", "side-ungated", "lstm", "gru", "lru", "hawk"),
            learning_rates=RATES,
            prompt_neurons=(6, 12, 24),
            prompt_architectures=("gru",),
        ),
        seeds=20,
        minutes={
            "identities": 0.18,
            "student-5": 0.52,
            "student-9": 0.57,
            "student-12": 0.59,
            "student-18": 0.71,
            "student-27": 1.1,
            "student-forgetful": 0.66,
            "student-side": 0.53,
            "student-glu": 0.88,
            "student-side-ungated": 0.65,
            "student-lstm": 1.8,
            "student-gru": 1.7,
            "student-lru": 2.3,
            "student-hawk": 11.0,
            "prompts-6": 1.7,
            "prompts-12": 0.76,
            "prompts-24": 1.1,
            "prompts-attention": 0.46,
            "prompts-gru": 1.9,
        },
    ),
    "paper": Preset(
        replace(
            Config(),
            teacher=Teacher(dim=4),
            student=Training(steps=50000, batch_size=256),
            other_student=Training(steps=50000, learning_rate=3e-2, batch_size=256),
            regression=Training(steps=50000, batch_size=512),
            other_regression=Training(steps=50000, batch_size=512),
            neurons=(7, 14, 20, 28, 42),
            side_neurons=14,
            architectures=OTHERS,
            learning_rates=RATES,
            prompt_neurons=(6, 12, 18, 24),
        ),
        seeds=10,
    ),
}
