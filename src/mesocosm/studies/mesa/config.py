"""Config and presets of the mesa study. Numbers from the paper are marked; the rest was searched on pilot seeds (search.csv)."""

from dataclasses import dataclass, field, replace
from typing import Literal

from mesocosm.studies.interface import Preset

Memory = Literal["attention", "mesa", "gla", "delta-net"]


@dataclass(frozen=True)
class Systems:
    """The sequences to predict."""

    dim: int = 10
    """Size of a state (paper: 10)."""
    length: int = 50
    """Inputs per sequence (paper: 50)."""
    noise: float = 0.01
    """Standard deviation of the noise in the dynamics (paper: 0.01)."""


@dataclass(frozen=True)
class Training:
    """How a network is trained."""

    steps: int
    """Updates; the learning rate falls to zero along a half cosine over them."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""
    batch_size: int = 32
    """Fresh sequences per step."""
    weight_decay: float = 0.05
    """Decoupled weight decay, multiplied by the learning rate."""
    clip: float = 1.0
    """Element-wise bound on the gradient (paper: 1)."""
    clip_norm: float | None = 0.1
    """Bound on the gradient's norm (paper: none). Without it, rare large gradients repeatedly set deep networks back."""
    init_std: float = 0.002
    """Standard deviation of the initial weights (paper: 0.0002, which causes a long plateau)."""


@dataclass(frozen=True)
class Network:
    """A stack of layers on constructed tokens, of width 4 dim."""

    layers: int = 1
    heads: int = 2
    key_dim: int = 20
    """Size of keys, queries and values of a head (paper: 20)."""
    residual_clip: float = 4.0
    """Bound on the residual stream after each layer (paper: 4)."""


@dataclass(frozen=True)
class Evaluation:
    """The data on which networks and reference predictors are compared."""

    sequences: int = 2048
    """Test sequences."""
    tuning_sequences: int = 4096
    """Other sequences, for searching the step size, learning the polynomial and fitting probes."""
    polynomial_steps: int = 1000
    """Updates of the learned polynomial (Adam, learning rate 1e-2)."""


@dataclass(frozen=True)
class Probing:
    """Linear probes of the residual stream (paper: batch 256, positions 45 and 20)."""

    sequences: int = 1024
    """Sequences to fit a probe on, and as many others to evaluate it on."""
    target_position: int = 45
    preconditioning_position: int = 20


@dataclass(frozen=True)
class Identities:
    """Random instances for the identities."""

    instances: int = 100
    length: int = 24
    dim: int = 5


@dataclass(frozen=True)
class Dimensions:
    """Regression without a network, over dimensions (paper: 4, 6, 10, 20, 40, 60) and noise (paper: 0.01 and, in a second sweep, 0.1, 0.25 and 0.5)."""

    dims: tuple[int, ...] = ()
    """Sizes of a state; sequences are four times as long. None: no sweep."""
    noises: tuple[float, ...] = (0.01, 0.1, 0.25, 0.5)
    """Standard deviations. The paper prints the larger three as variances, but its losses are those of standard deviations."""
    sequences: int = 256
    """Test sequences of a replicate."""
    tuning_sequences: int = 32
    """Other sequences, on which the ridge and the inverse temperature are searched."""
    values: int = 40
    """Values of each (paper: 40)."""


@dataclass(frozen=True)
class RawNetworks:
    """Networks that see one observation per token."""

    width: int = 40
    """Width of the residual stream (paper: 40)."""
    heads: int = 4
    key_dim: int = 20
    """Size of keys, queries and values of a head (paper: 20)."""
    hidden: int = 160
    """Hidden units of the feed-forward parts, which only networks on nonlinear systems have (paper: 300)."""
    residual_clip: float | None = 15.0
    """Bound on the residual stream after each layer (paper: 1 and 15 with a mesa layer)."""


@dataclass(frozen=True)
class RawRuns:
    """Networks on observations: three softmax layers, with and without positions, and one softmax layer before a mesa layer or linear attention."""

    sources: tuple[Literal["orthogonal", "partial", "nonlinear"], ...] = ()
    """Systems that they are trained on: observed linear, partially observed, and nonlinear ones. None: no networks."""
    seeds: int = 10
    """Replicates."""
    sizes: RawNetworks = field(default_factory=RawNetworks)
    softmax: Training = field(default_factory=lambda: Training(steps=2000, learning_rate=1e-2, clip_norm=1.0, init_std=0.05))
    """Three layers (paper: seven, 10000 steps of batch 256)."""
    hybrid: Training = field(default_factory=lambda: Training(steps=1200, learning_rate=6e-3, clip_norm=1.0, init_std=0.05))
    """A softmax layer and a mesa layer."""
    linear: Training = field(default_factory=lambda: Training(steps=1500, init_std=0.05))
    """A softmax layer and linear attention."""
    observed: int = 5
    """Size of an observation of partially observed systems, whose states are three times as large (paper: 5)."""


@dataclass(frozen=True)
class Distillation:
    """Layers of linear attention that replace the softmax layers of trained networks (paper: 4 to 60 dimensions, 15000 steps of batch 64)."""

    dims: tuple[int, ...] = ()
    """Sizes of a state; networks are four times as wide, sequences four times as long. None: no networks."""
    seeds: int = 5
    """Replicates."""
    steps: int = 1000
    """Updates of a replacement (Adam)."""
    learning_rate: float = 3e-3
    batch_size: int = 32


@dataclass(frozen=True)
class FewShotRuns:
    """Few-shot regression by a network trained on systems, and the tuning of its prompts (paper: 224 tokens, 5000 steps)."""

    seeds: int = 0
    """Replicates; 0: none are trained."""
    length: int = 120
    """Tokens of a training sequence, and of the longest prompt."""
    prefix: int = 20
    """Tuned tokens before the first pair (paper: 20)."""
    steps: int = 500
    """Updates of a prompt (Adam)."""
    learning_rate: float = 1e-2
    batch_size: int = 32
    sequences: int = 1024
    """Test sequences."""


@dataclass(frozen=True)
class Memories:
    """Networks of gated layers and of attention on recall, plain and with noise, and on automata (paper: MAD and RegBench; width 128, 8 heads of size 16)."""

    seeds: int = 0
    """Replicates; 0: none are trained."""
    width: int = 64
    layers: int = 2
    heads: int = 4
    key_dim: int = 16
    vocabulary: int = 32
    pairs: int = 12
    length: int = 64
    automata_length: int = 256
    """Positions of a sequence of strings."""
    problems: tuple[Literal["recall", "noisy-recall", "automata"], ...] = ("recall", "noisy-recall", "automata")
    mixers: tuple[Literal["mesa", "gla", "delta-net", "attention"], ...] = ("mesa", "gla", "delta-net", "attention")
    steps: int = 2000
    learning_rate: float = 3e-3
    batch_size: int = 32
    weight_decay: float = 0.01
    sequences: int = 512
    """Test sequences."""
    tolerances: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    """Bounds of the solver's residual (N4)."""
    fixed_steps: tuple[int, ...] = (1, 2, 3, 5, 10, 30)
    """Numbers of steps without such a bound."""


@dataclass(frozen=True)
class LanguageRuns:
    """Small decoders on Python's manual (papers: the Pile and SlimPajama; 140 million to a billion parameters)."""

    seeds: int = 0
    """Replicates; 0: none are trained."""
    vocabulary: int = 512
    """Byte pairs."""
    width: int = 64
    layers: int = 2
    """Blocks of equal parameters."""
    heads: int = 4
    key_dim: int = 16
    length: int = 64
    """Tokens of a window, a multiple of 8."""
    steps: int = 600
    memories: tuple[tuple[Memory, Memory], ...] = (
        *(("attention", "attention"), ("mesa", "mesa"), ("gla", "gla"), ("delta-net", "delta-net")),
        *(("attention", "mesa"), ("attention", "gla")),
    )
    """Of the first block and of the others, for each decoder."""
    learning_rates: tuple[float, ...] = (2e-2, 1e-2, 1e-2, 1e-2, 1e-2, 1e-2)
    """Of each decoder: the best in pilots of 600 steps (three rates; four for attention)."""
    batch_size: int = 16
    weight_decay: float = 0.1


@dataclass(frozen=True)
class ParityRuns:
    """Networks with the gated mesa layer on parity (paper: width 128, 4 heads of size 128, length 40, batch 256, 10000 steps)."""

    seeds: int = 0
    """Replicates; 0: none are trained."""
    width: int = 32
    layers: int = 2
    heads: int = 4
    key_dim: int = 8
    regulariser: float = 50.0
    """Lambda at the start; its lower bound is smaller by 1 (paper: 50 and 49)."""
    length: int = 20
    """Bits of a training sequence."""
    factors: tuple[int, ...] = (1, 2, 4)
    """Lengths of test sequences, in training lengths."""
    sequences: int = 512
    """Test sequences of each length."""
    steps: int = 2000
    learning_rate: float = 3e-3
    batch_size: int = 64
    weight_decay: float = 0.03


@dataclass(frozen=True)
class Config:
    """Config of the mesa study."""

    systems: Systems = field(default_factory=Systems)
    evaluation: Evaluation = field(default_factory=Evaluation)
    identities: Identities = field(default_factory=Identities)
    network: Network = field(default_factory=Network)
    """The one-layer network; deeper ones have 4 heads (paper)."""
    linear: Training = field(default_factory=lambda: Training(steps=300))
    """One layer of linear attention."""
    fixed: Training = field(default_factory=lambda: Training(steps=3000, batch_size=16, clip_norm=None, init_std=0.05))
    """One layer of linear attention on one fixed system (C15), and on fresh systems as its control; larger initial weights escape the plateau."""
    fixed_seeds: int = 0
    """Replicates of these two arms."""
    deep: Training = field(default_factory=lambda: Training(steps=2000, learning_rate=2e-3, clip_norm=1.0))
    """Two or more layers. A bound of 0.1 takes from rare sequences, on which late positions overshoot, what they have to say: in pilots of four layers, the
    loss at the last position is then 0.24, and 0.03 with a bound of 1."""
    deep_clip: float = 2.0
    """Bound on the residual stream of deep networks and of the mesa layer (paper: 4, at which deep networks are repeatedly set back)."""
    contracting: Training = field(default_factory=lambda: Training(steps=3000, learning_rate=1e-3, batch_size=64))
    """Two or more layers on contracting systems, whose gradients are larger."""
    contracting_clip: float = 4.0
    """Bound on the residual stream of these networks (paper: 4)."""
    contracting_mesa: Training = field(default_factory=lambda: Training(steps=2000, batch_size=64, init_std=0.05))
    """The mesa layer on contracting systems; in pilots, batches of 32 left it worse than ridge regression."""
    mesa: Training = field(default_factory=lambda: Training(steps=250, init_std=0.05))
    """The mesa layer, 4 heads (paper)."""
    depths: tuple[int, ...] = ()
    """Deeper networks on orthogonal systems."""
    contracting_depths: tuple[int, ...] = ()
    """Networks on contracting systems; 1 is the one-layer network."""
    retrain_seeds: int = 0
    """Replicates that train the one-layer network twice and average it with its own compression (C3)."""
    probing: Probing = field(default_factory=Probing)
    dimensions: Dimensions = field(default_factory=Dimensions)
    """The sweep over dimensions (C9, C20)."""
    raw: RawRuns = field(default_factory=RawRuns)
    """Networks on observations (C7, C10, C11)."""
    distillation: Distillation = field(default_factory=Distillation)
    """Their softmax layers replaced by linear attention (C8)."""
    few_shot: FewShotRuns = field(default_factory=FewShotRuns)
    """Few-shot regression (C12, C13)."""
    memories: Memories = field(default_factory=Memories)
    """Recall and automata by gated layers, and the mesa layer's solver (N4, N6, N7)."""
    parity: ParityRuns = field(default_factory=ParityRuns)
    """Length generalisation on parity (N10)."""
    language: LanguageRuns = field(default_factory=LanguageRuns)
    """Decoders on text (C17, N8)."""
    mixer: str = ""
    """A layer of `mesocosm layers` or your own (package.module:Name), with options as in Name(heads=2).
    Trains only it, linear attention and the mesa layer."""
    over_seeds: Literal["vmap", "map"] = "map"
    """How seeds share a program. On two cores, one seed after another was faster than all at once."""


_PAPER_LINEAR = Training(steps=5000, learning_rate=1e-4, batch_size=256, weight_decay=0.1, clip_norm=None, init_std=2e-4)

_PAPER_RAW = Training(steps=10000, batch_size=256, clip_norm=None, init_std=0.05)
_TINY = Training(steps=4, batch_size=4, init_std=0.05)

PRESETS = {
    "smoke": Preset(
        Config(
            systems=Systems(length=12),
            evaluation=Evaluation(sequences=64, tuning_sequences=64, polynomial_steps=5),
            identities=Identities(length=9, dim=3),
            linear=Training(steps=4, batch_size=4),
            fixed=Training(steps=4, batch_size=4, init_std=0.05),
            fixed_seeds=2,
            deep=Training(steps=4, batch_size=4),
            contracting=Training(steps=4, batch_size=4),
            contracting_mesa=Training(steps=4, batch_size=4, init_std=0.05),
            mesa=Training(steps=4, batch_size=4, init_std=0.05),
            depths=(2,),
            retrain_seeds=2,
            probing=Probing(sequences=64, target_position=11, preconditioning_position=10),
            dimensions=Dimensions(dims=(2, 3, 4), noises=(0.01, 0.5), sequences=8, tuning_sequences=8, values=3),
            raw=RawRuns(("orthogonal",), 2, RawNetworks(16, 2, 4, 8), softmax=_TINY, hybrid=_TINY, linear=_TINY, observed=2),
            distillation=Distillation(dims=(2,), seeds=2, steps=2, batch_size=4),
            few_shot=FewShotRuns(seeds=2, length=24, prefix=3, steps=2, batch_size=4, sequences=64),
            memories=Memories(
                2, 8, 1, 2, 4, 12, 3, 16, 16, ("recall",), ("mesa", "gla"), steps=2, batch_size=4, sequences=64, tolerances=(1e-1, 1e-4), fixed_steps=(1, 30)
            ),
            parity=ParityRuns(seeds=2, width=8, layers=1, heads=2, key_dim=4, length=4, sequences=64, steps=2, batch_size=4),
            language=LanguageRuns(2, 300, 8, 2, 2, 4, 16, steps=2, memories=(("attention", "mesa"),), learning_rates=(1e-2,), batch_size=4),
        ),
        seeds=2,
    ),
    "quick": Preset(
        Config(),
        seeds=5,
        minutes={
            "identities": 0.6,
            "references": 0.05,
            "linear-1": 0.27,
            "linear-1-fixed": 0.2,
            "mesa-1": 0.3,
            "linear-1-wide": 0.23,
        },
    ),
    "cpu": Preset(
        replace(
            Config(),
            linear=Training(steps=800),
            fixed=Training(steps=5000, batch_size=16, clip_norm=None, init_std=0.05),
            fixed_seeds=10,
            mesa=Training(steps=1000, init_std=0.05),
            depths=(2, 4, 6),
            contracting_depths=(1, 4),
            retrain_seeds=20,
            dimensions=Dimensions(dims=(4, 6, 10, 20, 40, 60)),
            raw=RawRuns(sources=("orthogonal",)),
            distillation=Distillation(dims=(4, 10), seeds=10),
            few_shot=FewShotRuns(seeds=10, length=96),
            memories=Memories(
                10, 32, heads=2, key_dim=8, vocabulary=64, pairs=20, length=96, problems=("recall", "noisy-recall"), mixers=("mesa", "gla"), steps=600
            ),
            parity=ParityRuns(seeds=10),
            language=LanguageRuns(seeds=10),
        ),
        seeds=10,
        minutes={
            "identities": 0.12,
            "references": 0.026,
            "linear-1": 0.58,
            "linear-1-fixed": 0.58,
            "fixed-system": 1.4,
            "fresh-systems": 1.4,
            "mesa-1": 2.8,
            "linear-1-wide": 0.9,
            "linear-2": 5.2,
            "linear-4": 8.2,
            "linear-6": 14.0,
            "polynomials": 3.6,
            "contracting-1": 0.67,
            "contracting-4": 23.0,
            "contracting-mesa-1": 11.0,
            "contracting-1-wide": 1.0,
            "linear-1-again": 2.9,
            "dimensions": 2.2,
            "softmax-3": 6.5,
            "unplaced-3": 6.4,
            "hybrid": 6.5,
            "hybrid-linear": 3.5,
            "softmax-3-dim-4": 0.77,
            "softmax-3-dim-10": 4.8,
            "distilled-4": 1.2,
            "distilled-10": 6.9,
            "few-shot-network": 16.0,
            "few-shot": 11.0,
            "recall-mesa": 8.6,
            "recall-gla": 3.5,
            "noisy-recall-mesa": 7.3,
            "noisy-recall-gla": 3.5,
            "parity-signed": 6.8,
            "parity-unsigned": 6.4,
            "language-attention": 4.5,
            "language-mesa": 12.0,
            "language-gla": 6.5,
            "language-delta-net": 8.0,
            "language-attention-mesa": 8.5,
            "language-attention-gla": 5.5,
        },
    ),
    "paper": Preset(
        replace(
            Config(),
            deep_clip=4.0,
            linear=_PAPER_LINEAR,
            fixed=_PAPER_LINEAR,
            fixed_seeds=10,
            deep=replace(_PAPER_LINEAR, steps=15000),
            contracting=replace(_PAPER_LINEAR, steps=15000),
            mesa=replace(_PAPER_LINEAR, learning_rate=4e-4),
            contracting_mesa=replace(_PAPER_LINEAR, learning_rate=4e-4),
            depths=(2, 4, 6),
            contracting_depths=(1, 2, 4, 6),
            retrain_seeds=10,
            dimensions=Dimensions(dims=(4, 6, 10, 20, 40, 60), sequences=2048, tuning_sequences=512),
            raw=RawRuns(
                ("orthogonal", "partial", "nonlinear"),
                sizes=RawNetworks(width=80, hidden=300),
                softmax=replace(_PAPER_RAW, steps=10000, learning_rate=8e-4),
                hybrid=replace(_PAPER_RAW, steps=20000, learning_rate=3e-4),
                linear=replace(_PAPER_RAW, steps=20000, learning_rate=3e-4),
            ),
            distillation=Distillation((4, 6, 10, 20, 40, 60), seeds=10, steps=15000, learning_rate=1e-3, batch_size=64),
            few_shot=FewShotRuns(10, length=224, steps=5000, learning_rate=1e-3, batch_size=64, sequences=2048),
            memories=Memories(10, width=128, heads=8, steps=20000, learning_rate=1e-3, batch_size=128),
            parity=ParityRuns(10, width=128, key_dim=128, length=40, steps=10000, learning_rate=1e-3, batch_size=256),
            language=LanguageRuns(10, 2048, 256, 6, 4, 64, 256, steps=20000, learning_rates=(1e-3,) * 6, batch_size=64),
        ),
        seeds=10,
    ),
}
