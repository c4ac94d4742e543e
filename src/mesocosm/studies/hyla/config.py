"""Config and presets of the hyla study. Numbers from the paper are marked; the others were searched on pilots (search.csv)."""

from dataclasses import dataclass, field
from typing import Literal

from mesocosm.studies.interface import Preset

FUZZY_PAPER = {"softmax": 63.28, "hyla": 81.13, "hyla-linear": 84.54, "hyla-unnormalised": 81.27, "linear-rms": 68.93}
"""100 R^2 on held-out combinations of fuzzy terms, 70 % held out, length 32 (paper: Table A1)."""
RAVEN_PAPER = {"softmax": 56.56, "hyla": 69.13, "hyla-linear": 56.54, "hyla-unnormalised": 62.53}
"""Accuracy on held-out combinations of rules in percent, four layers, 20M instances (paper: Table A1)."""

MIXTURES = ("softmax-moe", "linear-moe", "hyla-moe")
"""Networks of Table A1 with mixtures of experts."""


@dataclass(frozen=True)
class Fuzzy:
    """In-context regression of fuzzy logic functions."""

    variables: int = 4
    """Variables of a function (paper: 4)."""
    terms: int = 2
    """Terms of a function (paper: 2)."""
    held_out: float = 0.7
    """Fraction of the combinations of known terms that is held out (paper: 0.3, 0.5, 0.7)."""
    length: int = 16
    """Context tokens plus one (paper: 16 to 96, judged at 32)."""
    queries: int = 8
    """Queries that share a context (paper: 1). Several give more signal per step; they do not see each other, and the context does not see them."""


@dataclass(frozen=True)
class Raven:
    """Symbolic Raven matrices."""

    features: int = 2
    """Features of a panel (paper: 4)."""
    symbols: int = 8
    """Symbols (paper: 8)."""
    held_out: float = 0.25
    """Fraction of the multisets of rules that is held out (paper: 0.25)."""
    copies: int = 0
    """Further features, with the symbols of one of the others (control of C12)."""

    @property
    def places(self) -> int:
        """Symbols of a panel."""
        return self.features + self.copies


@dataclass(frozen=True)
class Language:
    """Windows of Python's manual in pieces of words (paper: C4 with a vocabulary of 32,000)."""

    vocabulary: int = 512
    """Bytes, and pairs learned from the text."""
    length: int = 32
    """Tokens that are predicted."""


@dataclass(frozen=True)
class Network:
    """A transformer with relative position biases, rotary positions on text. Sizes of keys and values are totals over heads, as in the authors' code."""

    layers: int = 2
    dim: int = 64
    """Width of the tokens."""
    heads: int = 8
    """Heads per layer (paper: 8 on fuzzy logic, 16 on Raven matrices)."""
    size: int = 16
    """Size of queries, keys and values, all heads together."""
    hidden: int = 128
    """Width of the feed-forward parts."""
    tied: bool = False
    """Whether all heads of a layer look with the mean of their weights, so that codes differ in their size only (control of C8)."""


@dataclass(frozen=True)
class Training:
    """AdamW on fresh examples: linear warm-up, then half a cosine down to a tenth of the peak (paper)."""

    steps: int
    """Updates."""
    learning_rate: float
    """Peak learning rate."""
    warmup: int
    """Steps of warm-up."""
    batch_size: int = 64
    """Sequences per step (paper: 128)."""
    weight_decay: float = 0.1
    """Decoupled decay of all but norms and biases (paper: 0.03 to 0.3)."""


@dataclass(frozen=True)
class Evaluation:
    """Fresh examples to evaluate trained networks on."""

    examples: int = 4096
    """Of each split (paper: 16,000 sequences, 51,200 matrices)."""
    probed: int = 2048
    """Of each split for probes: from training's combinations to fit them, from held-out ones to score them."""
    windows: int = 1024
    """Of held-out text."""


@dataclass(frozen=True)
class Ambiguity:
    """Matrices whose other answers are enumerated."""

    matrices: int = 10000
    features: tuple[int, ...] = (2, 4)
    """Features of the control and of the statement (paper: 4)."""
    symbols: int = 8


@dataclass(frozen=True)
class Identities:
    """Random instances for the identities."""

    instances: int = 100
    dim: int = 7
    heads: int = 3
    length: int = 6
    only: tuple[str, ...] = ()
    """Names of identities to check, if not all."""


@dataclass(frozen=True)
class Scale:
    """Another size, or another number of training's matrices, on Raven matrices (C7). What is not given is as in the judged network."""

    name: str
    steps: int = 0
    """Updates, if not 0."""
    width: float = 1.0
    """Factor on all widths and the number of heads."""
    layers: int = 0
    """Layers, if not 0."""
    only: tuple[str, ...] = ()
    """Which of the scaled layers are trained at it, if not all."""


@dataclass(frozen=True)
class FuzzySize:
    """Fuzzy logic with other numbers of variables and terms (paper, without claims about it)."""

    name: str
    variables: int
    terms: int
    held_out: float
    steps: int
    """Updates."""


@dataclass(frozen=True)
class Config:
    """Config of the hyla study."""

    fuzzy: Fuzzy = field(default_factory=Fuzzy)
    fuzzy_network: Network = field(default_factory=Network)
    fuzzy_training: Training = field(default_factory=lambda: Training(steps=2500, learning_rate=1e-2, warmup=200))
    raven: Raven = field(default_factory=Raven)
    raven_network: Network = field(default_factory=lambda: Network(layers=3, size=32))
    raven_training: Training = field(default_factory=lambda: Training(steps=5000, learning_rate=3e-3, warmup=300))
    evaluation: Evaluation = field(default_factory=Evaluation)
    ambiguity: Ambiguity = field(default_factory=Ambiguity)
    identities: Identities = field(default_factory=Identities)
    language: Language = field(default_factory=Language)
    language_network: Network = field(default_factory=lambda: Network(heads=4, size=32))
    language_training: Training = field(default_factory=lambda: Training(steps=2000, learning_rate=1e-2, warmup=200, batch_size=16))
    variants: tuple[str, ...] = ("softmax", "hyla")
    """Layers on fuzzy logic: names in `mesocosm.nn.HYLA_VARIANTS`, with -moe for networks whose feed-forward parts are mixtures of four experts, two of them
    active (paper: numbers unknown)."""
    probed: tuple[str, ...] = ()
    """Those of them whose latent codes are read (C6)."""
    held_outs: tuple[float, ...] = ()
    """Further fractions of combinations held out, for softmax (C3)."""
    hyla_held_outs: tuple[float, ...] = ()
    """Those of them at which HYLA is trained, too."""
    lengths: tuple[int, ...] = ()
    """Further lengths, for softmax (C3)."""
    hyla_lengths: tuple[int, ...] = ()
    """Those of them at which HYLA is trained, too."""
    fuzzy_sizes: tuple[FuzzySize, ...] = ()
    """Further functions, for the layers of `scaled`."""
    raven_variants: tuple[str, ...] = ()
    """Layers on Raven matrices, named as in `variants`."""
    raven_heads: tuple[int, ...] = ()
    """Further numbers of heads of softmax attention on Raven matrices; one head is judged (C8)."""
    raven_tied: bool = False
    """Whether softmax attention with tied heads is trained on Raven matrices (control of C8)."""
    raven_features: tuple[int, ...] = ()
    """Further numbers of features, for softmax; of these and `raven`, the most features are compared with the fewest (C12), and so are the fewest with as many
    copies of one of them."""
    raven_features_steps: int = 0
    """Updates of the networks that are compared by features, if not 0; one of `scales` then has as many."""
    scales: tuple[Scale, ...] = ()
    """Further sizes and durations on Raven matrices (C7)."""
    scaled: tuple[str, ...] = ("softmax", "hyla")
    """Layers that are trained at these, and on `fuzzy_sizes`."""
    language_variants: tuple[str, ...] = ()
    """Decoders of text (C14)."""
    mixer: str = ""
    """A layer of `mesocosm layers` or your own (package.module:Name), with options as in Name(heads=2).
    Trains only it, softmax attention and HYLA."""
    over_seeds: Literal["vmap", "map"] = "map"


@dataclass(frozen=True)
class WithSweeps(Config):
    """The config with sweeps that no claim reads. Measurements see `Config`, so a field here does not change the code of a record's checks."""

    raven_held_outs: tuple[float, ...] = ()
    """Further fractions of the multisets of rules held out on Raven matrices, for softmax and HYLA (paper: 0.1 to 0.9, without a claim about them)."""


PRESETS = {
    "smoke": Preset(
        WithSweeps(
            fuzzy=Fuzzy(held_out=0.3, length=6, queries=2),
            fuzzy_network=Network(layers=1, dim=8, heads=2, size=4, hidden=8),
            fuzzy_training=Training(steps=3, learning_rate=1e-2, warmup=1, batch_size=4),
            raven_network=Network(layers=1, dim=8, heads=2, size=4, hidden=8),
            raven_training=Training(steps=3, learning_rate=3e-3, warmup=1, batch_size=4),
            evaluation=Evaluation(examples=64, probed=60, windows=16),
            ambiguity=Ambiguity(matrices=100, features=(2,)),
            identities=Identities(dim=4, heads=2, length=4, only=("C1 softmax", "C2 hyla")),
            language=Language(vocabulary=257, length=4),
            language_network=Network(layers=1, dim=8, heads=2, size=4, hidden=8),
            language_training=Training(steps=3, learning_rate=3e-3, warmup=1, batch_size=4),
            variants=("softmax",),
            probed=("softmax",),
            raven_variants=("softmax",),
            scales=(Scale("quarter", steps=2),),
            scaled=("softmax",),
            language_variants=("softmax",),
        ),
        seeds=2,
    ),
    "quick": Preset(
        WithSweeps(fuzzy_training=Training(steps=1500, learning_rate=1e-2, warmup=200), lengths=(8,)),
        seeds=4,
        minutes={"identities": 0.2, "ambiguous": 0.05, "fuzzy-softmax": 0.45, "fuzzy-hyla": 0.5, "fuzzy-softmax-length-8": 0.4},
    ),
    "cpu": Preset(
        WithSweeps(
            variants=("softmax", "hyla", "hyla-linear", "hyla-unnormalised", "linear-rms"),
            probed=("softmax", "hyla"),
            held_outs=(0.3,),
            hyla_held_outs=(0.3,),
            lengths=(8,),
            raven_variants=("softmax", "hyla"),
            raven_heads=(1,),
            raven_tied=True,
            raven_features=(3,),
            raven_features_steps=1250,
            scales=(Scale("quarter", steps=1250), Scale("narrow", width=0.5, only=("softmax",))),
            language_variants=("softmax", "linear", "hyla"),
        ),
        seeds=10,
        minutes={  # each trial on one of two free cores, from pilots
            "ambiguous": 0.6,
            "codes-fuzzy-hyla": 0.5,
            "codes-fuzzy-softmax": 0.5,
            "codes-raven-softmax": 0.5,
            "codes-raven-softmax-quarter": 0.1,
            "fuzzy-hyla": 4.7,
            "fuzzy-hyla-held-30": 4.7,
            "fuzzy-hyla-linear": 4.7,
            "fuzzy-hyla-unnormalised": 4.5,
            "fuzzy-linear-rms": 4.2,
            "fuzzy-softmax": 4.0,
            "fuzzy-softmax-held-30": 4.0,
            "fuzzy-softmax-length-8": 2.5,
            "identities": 1.5,
            "language-hyla": 3.0,
            "language-linear": 2.2,
            "language-softmax": 2.2,
            "raven-hyla": 11.5,
            "raven-hyla-quarter": 3.0,
            "raven-softmax": 9.0,
            "raven-softmax-copied": 3.6,
            "raven-softmax-features-3": 3.6,
            "raven-softmax-heads-1": 6.3,
            "raven-softmax-narrow": 5.0,
            "raven-softmax-quarter": 2.4,
            "raven-softmax-tied": 9.0,
        },
    ),
    "paper": Preset(
        WithSweeps(
            fuzzy=Fuzzy(length=32, queries=1),
            fuzzy_network=Network(dim=128, hidden=256),
            fuzzy_training=Training(steps=50000, learning_rate=3e-3, warmup=100, batch_size=128),
            raven=Raven(features=4),
            raven_network=Network(layers=4, dim=128, heads=16, size=64, hidden=256),
            raven_training=Training(steps=156250, learning_rate=1e-3, warmup=1000, batch_size=128),
            evaluation=Evaluation(examples=16384, probed=8192),
            variants=(
                "softmax",
                "linear",
                "hyla",
                "linear-rms",
                "linear-rms-relu",
                "hyla-unnormalised",
                "hyla-linear",
                "hyla-linear-unnormalised",
                "hyla-softmax",
                "hyla-deep",
                *MIXTURES,
            ),
            probed=("softmax", "linear", "hyla"),
            held_outs=(0.3, 0.5),
            hyla_held_outs=(0.3, 0.5),
            lengths=(16, 64, 96),
            hyla_lengths=(16, 64, 96),
            fuzzy_sizes=(FuzzySize("3-variables", 3, 2, 0.3, 50000), FuzzySize("5-variables", 5, 3, 0.5, 100000)),
            raven_variants=(
                "softmax",
                "linear",
                "hyla",
                "linear-rms",
                "linear-rms-relu",
                "hyla-unnormalised",
                "hyla-linear",
                "hyla-linear-unnormalised",
                "hyla-softmax",
                "hyla-deep",
                *MIXTURES,
            ),
            raven_held_outs=(0.1, 0.3, 0.5, 0.7, 0.9),
            raven_heads=(1,),
            raven_tied=True,
            raven_features=(2, 3),
            scales=(
                Scale("10M", steps=78125),
                Scale("40M", steps=312500),
                Scale("wide-2", width=2.0),
                Scale("wide-4", width=4.0),
                Scale("deep-8", layers=8),
                Scale("deep-16", layers=16),
            ),
            scaled=("softmax", "linear", "hyla"),
            language=Language(vocabulary=1024, length=256),
            language_network=Network(layers=8, dim=128, heads=16, size=128, hidden=256),
            language_training=Training(steps=5000, learning_rate=1e-3, warmup=1000, batch_size=128),
            language_variants=("softmax", "linear", "hyla"),
        ),
        seeds=10,
    ),
}
