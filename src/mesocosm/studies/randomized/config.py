"""Config and presets of the randomized study. Small sizes are ours, from pilots (search.csv); those of `paper` are the paper's."""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from mesocosm.studies.interface import Preset


@dataclass(frozen=True)
class Recall:
    """Words of bits under keys, in a memory too small for all of them."""

    pairs: int = 8
    """Keys; the memory of two layers with this key and value size holds fewer."""
    bits: int = 3
    """Bits of a word; a guess is right once in 2^bits."""
    key_size: int = 2
    value_size: int = 3
    layers: int = 2
    width: int = 24
    seed: Literal["slots", "bits"] = "slots"
    """A random slot for each key, or the same random bits at every token (the paper's form, slower to learn)."""
    shared_bits: int = 10
    seed_gain: float = 0.1
    """Scale of the seed's initial weights, relative to those of keys and bits. At 1, most networks store words by slot on the expected loss too."""
    completions: int = 4
    """Draws of the other words for each query and target in the test set."""


@dataclass(frozen=True)
class Colouring:
    """Three colours for the vertices of a cycle, whose neighbours talk for a few rounds."""

    vertices: int = 7
    layers: int = 1
    """Rounds; three suffice for all cycles of seven vertices."""
    width: int = 16
    key_size: int = 16
    embedding_gain: float = 0.1
    """Variance of the initial input map, relative to 1 / fan in (as in the authors' code)."""
    seed_gain: float = 8.0
    """Scale of the noise's initial weights, relative to those of the names. At 1 and 3, some networks do not learn to use it on all cycles."""
    test_cycles: int = 0
    """Random cycles to test on; 0: all of them."""


@dataclass(frozen=True)
class Training:
    """Adam with a linear warm-up and a cosine to a tenth of the rate."""

    steps: int = 2500
    learning_rate: float = 3e-3
    warmup: int = 166
    batch_size: int = 64
    """Inputs per step."""
    seeds: int = 8
    """Random seeds m per step, the same for all inputs of a batch."""
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    epsilon: float = 1e-5
    b2: float = 0.95


@dataclass(frozen=True)
class Grid:
    """A grid with a treasure, and the transformer that walks in it."""

    side: int = 3
    episodes: Literal[1, 2] = 1
    layers: int = 1
    width: int = 16
    heads: int = 1
    key_size: int = 16
    hidden: int = 32
    seed_size: int = 8


@dataclass(frozen=True)
class Search:
    """PGPE: population, step sizes of the mean and of the standard deviations, and the initial standard deviation."""

    generations: int = 600
    """0: no agents are trained."""
    population: int = 64
    seeds: int = 8
    """Random seeds m per generation, the same for all members and treasures."""
    worst_q: float | None = None
    """The exponent over treasures that stands for the worst one; None: infinity, as in the paper."""
    learning_rate: float = 0.01
    std_learning_rate: float = 0.01
    std: float = 0.1
    """Ours. At the paper's 0.03, agents of this size stop at poor walks, also on the mean."""

    @property
    def adversary_q(self) -> float:
        """`worst_q` as a number (a config holds finite ones only)."""
        return inf if self.worst_q is None else self.worst_q


@dataclass(frozen=True)
class Theory:
    """Random games for the identities."""

    instances: int = 100
    rows: int = 6
    columns: int = 8


@dataclass(frozen=True)
class Config:
    """Config of the randomized study."""

    theory: Theory = field(default_factory=Theory)
    recall: Recall = field(default_factory=Recall)
    recall_training: Training = field(default_factory=Training)
    recall_q: tuple[float, ...] = ()
    """Exponents of randomised models on recall; 1 is training on the expected loss."""
    recall_fixed_q: tuple[float, ...] = ()
    """Exponents of deterministic models, which see one seed in training and test."""
    recall_seeds: tuple[int, ...] = ()
    """Numbers of seeds per step, beside that of the training, at the judged exponent."""
    recall_judged_q: float = 32.0
    """The exponent that claims about the adversary are judged at."""
    recall_weak_q: float = 8.0
    """The exponent of a weak adversary, up to which the paper's predictions do not vary with the seed."""
    colouring: Colouring = field(default_factory=Colouring)
    colouring_training: Training = field(default_factory=lambda: Training(steps=3000, learning_rate=5e-3, warmup=100, weight_decay=0.1))
    colouring_q: tuple[float, ...] = (1.0, 10.0)
    colouring_fixed_q: tuple[float, ...] = (1.0, 10.0)
    colouring_judged_q: float = 10.0
    enough_layers: int = 0
    """Rounds of a second pair of networks, for which randomness has nothing to offer; 0: not trained."""
    enough_learning_rate: float = 2e-3
    """Their rate. At that of one round, some of them do not learn all cycles."""
    enough_seeds: int = 16
    """Their seeds per step. With 4, one of three pilots diverged."""
    grid: Grid = field(default_factory=Grid)
    search: Search = field(default_factory=Search)
    grid_fixed: bool = False
    """Whether deterministic agents are trained beside the random ones."""
    grid_finite_q: float = 16.0
    """A finite exponent over treasures, for deterministic agents: members that all miss some treasure are equal at infinity, but not here."""
    grid_seeds: tuple[int, ...] = ()
    """Numbers of seeds per generation, beside that of the search, against the worst treasure."""
    larger_side: int = 0
    """Side of a second, larger grid; 0: no agents are trained there."""
    larger_generations: int = 1000
    larger_replicates: int | None = None
    """Replicates of its agents; None: as many as of the others."""
    twice_generations: int = 0
    """Generations of agents that hunt twice for the same treasure; 0: not trained."""
    twice_q: float = 4.0
    """Their exponent. At infinity, they return to the treasure by shortest paths in only half of the cases."""
    twice_replicates: int | None = None
    """Replicates of these; None: as many as of the others."""
    test_seeds: int = 90
    """Random seeds in the test; votes use groups of 5 and 30 of them."""
    sweep_replicates: int | None = None
    """Replicates of the networks that only the sweeps need; None: as many as of the others."""
    model: str = ""
    """Your own seeded model (package.module:Name), with options as in Name(width=32). Trains only it and ours, on recall and colouring."""

    def judged_q(self, problem: str) -> float:
        """The exponent that claims about the adversary are judged at."""
        adversary = self.search.adversary_q
        return {"recall": self.recall_judged_q, "grid": adversary, "larger": adversary}.get(problem, self.colouring_judged_q)

    def seeds_per_step(self, problem: str) -> int:
        """Random seeds per training step."""
        if problem == "enough":
            return self.enough_seeds
        return {"recall": self.recall_training, "grid": self.search, "larger": self.search}.get(problem, self.colouring_training).seeds


PRESETS = {
    "smoke": Preset(
        Config(
            theory=Theory(rows=3, columns=4),
            recall=Recall(pairs=3, bits=2, completions=1, width=8),
            recall_training=Training(steps=3, batch_size=4, seeds=1),
            recall_q=(1.0, 8.0, 32.0),
            recall_fixed_q=(1.0, 32.0),
            colouring=Colouring(vertices=5, width=4, key_size=4),
            colouring_training=Training(steps=3, batch_size=4, seeds=2),
            enough_layers=2,
            enough_seeds=2,
            grid=Grid(side=2, width=4, key_size=2, hidden=4, seed_size=2),
            search=Search(generations=2, population=4, seeds=1),
            grid_fixed=True,
            larger_side=2,
            larger_generations=2,
            twice_generations=1,
            test_seeds=30,
        ),
        seeds=2,
    ),
    "quick": Preset(
        Config(),
        seeds=3,
        minutes={
            "colouring-fixed-q1": 0.22,
            "colouring-fixed-q10": 0.07,
            "colouring-random-q1-m8": 0.31,
            "colouring-random-q10-m8": 0.21,
            "grid-random-q1-m8": 0.27,
            "grid-random-qinf-m8": 0.12,
            "theory": 0.08,
        },  # on one core, with an empty compilation cache
    ),
    "cpu": Preset(
        replace(
            Config(),
            recall_q=(1.0, 4.0, 8.0, 16.0, 32.0, 100.0),
            recall_fixed_q=(1.0, 4.0, 8.0, 16.0, 32.0, 100.0),
            recall_seeds=(1, 2, 4, 16),
            colouring_q=(1.0, 2.0, 3.0, 5.0, 10.0),
            colouring_fixed_q=(1.0, 2.0, 3.0, 5.0, 10.0),
            enough_layers=3,
            grid_fixed=True,
            grid_seeds=(1, 2, 4, 16),
            larger_side=4,
            larger_replicates=10,
            twice_generations=600,
            twice_replicates=10,
            sweep_replicates=5,
        ),
        seeds=12,
        minutes={
            "colouring-fixed-q1": 0.23,
            "colouring-fixed-q10": 0.16,
            "colouring-fixed-q2": 0.14,
            "colouring-fixed-q3": 0.07,
            "colouring-fixed-q5": 0.07,
            "colouring-random-q1-m8": 1.15,
            "colouring-random-q10-m8": 1.11,
            "colouring-random-q2-m8": 0.52,
            "colouring-random-q3-m8": 0.45,
            "colouring-random-q5-m8": 0.46,
            "enough-fixed-q10": 0.57,
            "enough-random-q10-m16": 9.14,
            "grid-fixed-q1": 0.45,
            "grid-fixed-q16": 0.28,
            "grid-fixed-qinf": 0.33,
            "grid-random-q1-m1": 1.84,
            "grid-random-q1-m8": 1.07,
            "grid-random-qinf-m1": 1.61,
            "grid-random-qinf-m16": 1.45,
            "grid-random-qinf-m2": 1.46,
            "grid-random-qinf-m4": 1.43,
            "grid-random-qinf-m8": 0.76,
            "larger-fixed-qinf": 0.39,
            "larger-random-q1-m8": 2.89,
            "larger-random-qinf-m8": 2.38,
            "recall-fixed-q1": 0.46,
            "recall-fixed-q100": 0.13,
            "recall-fixed-q16": 0.14,
            "recall-fixed-q32": 0.33,
            "recall-fixed-q4": 0.24,
            "recall-fixed-q8": 0.14,
            "recall-random-q1-m8": 1.78,
            "recall-random-q100-m8": 0.79,
            "recall-random-q16-m8": 0.83,
            "recall-random-q32-m1": 2.02,
            "recall-random-q32-m16": 2.27,
            "recall-random-q32-m2": 0.99,
            "recall-random-q32-m4": 1.05,
            "recall-random-q32-m8": 1.61,
            "recall-random-q4-m8": 0.91,
            "recall-random-q8-m8": 1.7,
            "theory": 0.04,
            "twice-random-q4-m8": 9.31,
        },  # of the record, on two cores that other programs used too
    ),
    "bits8": Preset(
        replace(
            Config(),
            recall=Recall(seed="bits", seed_gain=1.0),
            recall_training=Training(steps=5000, warmup=333),
            recall_q=(1.0, 100.0),
            recall_fixed_q=(1.0, 100.0),
            recall_judged_q=100.0,
            colouring_q=(),
            colouring_fixed_q=(),
            search=Search(generations=0),
        ),
        seeds=3,
    ),  # the paper's form of the seed at the size of `cpu`; no row is judged
    "paper": Preset(
        replace(
            Config(),
            recall=Recall(pairs=20, bits=5, key_size=5, value_size=5, width=40, seed="bits", seed_gain=1.0, completions=16),
            recall_training=Training(steps=30000, warmup=2000, batch_size=512, seeds=30),
            recall_q=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0, 128.0, 256.0, 512.0),
            recall_fixed_q=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0, 128.0, 256.0, 512.0),
            recall_seeds=(1, 5, 10, 15, 20, 50),
            recall_judged_q=100.0,
            colouring=Colouring(vertices=10, layers=2, seed_gain=1.0),
            colouring_training=Training(steps=300000, learning_rate=1e-3, warmup=1000, batch_size=256, seeds=10, weight_decay=0.1),
            colouring_q=(1.0, 2.0, 3.0, 4.0, 6.0, 10.0),
            colouring_fixed_q=(1.0, 2.0, 3.0, 4.0, 6.0, 10.0),
            grid=Grid(side=5, episodes=2, layers=2, width=80, heads=4, key_size=10, hidden=320, seed_size=80),
            search=Search(generations=25000, population=300, seeds=10, std=0.03),
            grid_fixed=True,
            grid_seeds=(1, 5, 20),
            enough_layers=3,
            enough_learning_rate=1e-3,
            test_seeds=100,
        ),
        seeds=10,  # fewer can decide no rate
    ),
}
