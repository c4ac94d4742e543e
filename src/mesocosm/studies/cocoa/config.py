"""Config and presets of the cocoa study. Numbers from the paper or the authors' code are marked.

The rest was searched on pilot seeds (search.csv).
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from mesocosm.studies.interface import Preset

Estimator = Literal["cocoa-reward", "q-critic", "advantage", "trajcv", "hca-plus", "hca-return", "counterfactual-return", "reinforce"]


LearnedEstimator = Literal["cocoa-reward", "cocoa-contrastive", "q-critic", "advantage", "trajcv", "hca-plus", "hca", "hca-return", "counterfactual-return"]


@dataclass(frozen=True)
class Theorems:
    """Random instances for the theorems."""

    instances: int = 100
    states: int = 6
    actions: int = 3
    rewards: int = 3


@dataclass(frozen=True)
class Trees:
    """Variance under the uniform policy, by enumeration of all action sequences, in each of the five environments that differ (paper: ten drawn ones)."""

    depth: int = 4
    """Decisions (paper: 4)."""
    branches: int = 6
    """Actions (paper: 6)."""
    overlaps: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Shared children (paper: 0 to 6)."""
    groups: tuple[int, ...] = (4, 32)
    """Groups of each reward, at every overlap (paper: 4 and 32)."""
    sweep_overlap: int = 3
    """Overlap of the sweep over groups (paper: 3)."""
    sweep_groups: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Signal:
    """Signal-to-noise ratio of the first step's gradient by distance; each replicate draws its own layout and episodes."""

    lengths: tuple[int, ...] = (23, 43, 63, 83, 103)
    """Lengths of the track: distance plus 3 (paper: distances 20 to 100)."""
    episodes: int = 4096
    """Episodes per replicate and length (paper: 512)."""


@dataclass(frozen=True)
class Learning:
    """A policy that learns linear key-to-door with exact models (paper: 10000 iterations of batch 8, a network of 64-64 units)."""

    length: int = 103
    """Length of the track (paper: distance 100)."""
    steps: int = 1500
    batch_size: int = 8
    """Episodes per iteration (paper: 8)."""
    policy: Literal["tabular", "network"] = "network"
    """Two hidden layers of 64 units (paper), or a free logit for each state and action."""
    learning_rate: float = 0.003
    """Learning rate of Adam for all estimators (authors' code, exact models: 3e-4 to 0.01)."""
    learning_rates: tuple[tuple[Estimator, float], ...] = ()
    """Learning rates of single estimators that differ from it."""
    entropy: float = 0.01
    """Weight of the entropy bonus (paper: 0.01 at distance 100)."""
    exploration: float = 0.05
    """Fraction of uniformly random actions (paper: 0.05)."""
    solved_by: int = 500
    """Iterations within which a solved task counts as solved almost at once."""
    solved_at: float = 0.9
    """Probability of the treasure above which the task counts as solved."""
    every: int = 20
    """Iterations between two measurements of that probability."""


@dataclass(frozen=True)
class LearnedModels:
    """A policy that learns linear key-to-door with models that learn beside it (paper: distances 20 to 100, 10000 iterations)."""

    length: int = 23
    """Length of the track: distance plus 3."""
    steps: int = 3000
    batch_size: int = 8
    """Episodes per iteration (paper: 8)."""
    width: int = 256
    """Hidden units of the models (paper: 256)."""
    gain: float = 1.0
    """Scale of the hindsight network's first outputs (paper: 1)."""
    by_episode: bool = False
    """Average the pairs of each episode first, which biases the coefficients (authors' code: yes)."""
    learning_rates: tuple[tuple[LearnedEstimator, float, float], ...] = (
        ("cocoa-reward", 3e-4, 3e-3),
        ("cocoa-contrastive", 3e-4, 3e-3),
        ("q-critic", 3e-4, 3e-3),
        ("advantage", 1e-3, 1e-3),
        ("trajcv", 3e-3, 1e-2),
        ("hca-plus", 3e-4, 3e-3),
        ("hca", 3e-4, 3e-3),
        ("hca-return", 1e-4, 1e-3),
        ("counterfactual-return", 1e-4, 1e-3),
    )
    """Learning rates of AdamW by estimator: the policy's and the models' (paper: Table 3; none is given for the second, seventh and last)."""
    entropy: float = 0.03
    """Weight of the entropy bonus (paper: 0.03 at distance 20)."""
    exploration: float = 0.05
    """Fraction of uniformly random actions (paper: 0.05)."""
    every: int = 50
    """Iterations between two measurements."""
    estimators: tuple[LearnedEstimator, ...] = ()
    """Estimators to train policies with."""


@dataclass(frozen=True)
class Config:
    """Config of the cocoa study."""

    theorems: Theorems = field(default_factory=Theorems)
    trees: Trees = field(default_factory=Trees)
    signal: Signal = field(default_factory=Signal)
    learning: Learning = field(default_factory=Learning)
    estimators: tuple[Estimator, ...] = ("cocoa-reward", "q-critic", "advantage", "trajcv", "hca-plus", "hca-return", "counterfactual-return", "reinforce")
    """Estimators with exact models to train policies with."""
    learned: LearnedModels = field(default_factory=LearnedModels)


_PAPER_RATES: tuple[tuple[Estimator, float], ...] = (
    ("cocoa-reward", 0.01),
    ("q-critic", 0.01),
    ("hca-plus", 3e-4),
    ("advantage", 1e-3),
    ("trajcv", 1e-3),
    ("hca-return", 1e-4),
    ("counterfactual-return", 1e-4),
    ("reinforce", 3e-4),
)

PRESETS = {
    "smoke": Preset(
        Config(
            theorems=Theorems(states=6, actions=2, rewards=2),
            trees=Trees(depth=3, branches=3, overlaps=(0, 1), groups=(2, 4), sweep_overlap=1, sweep_groups=(1, 2, 4)),
            signal=Signal(lengths=(6, 9), episodes=64),
            learning=Learning(length=9, steps=4, solved_by=2, every=2, policy="tabular"),
            estimators=("cocoa-reward", "q-critic", "hca-return", "reinforce"),
            learned=LearnedModels(length=6, steps=4, width=8, every=2, estimators=("cocoa-reward", "q-critic", "hca")),
        ),
        seeds=2,
    ),
    "quick": Preset(
        Config(
            trees=Trees(overlaps=(0, 1, 3, 5)),
            signal=Signal(lengths=(23, 103)),
            learning=Learning(steps=600),
            estimators=("cocoa-reward", "q-critic", "reinforce"),
        ),
        seeds=12,
        minutes={"theorems": 0.41, "trees": 0.4, "signal": 0.54, "cocoa-reward": 0.09, "q-critic": 0.07, "reinforce": 0.07},
    ),
    "cpu": Preset(
        Config(),
        seeds=40,
        minutes={
            "theorems": 0.76,
            "trees": 0.93,
            "signal": 1.8,
            "cocoa-reward": 0.39,
            "q-critic": 0.24,
            "advantage": 0.29,
            "trajcv": 0.31,
            "hca-plus": 2.2,
            "hca-return": 3.4,
            "counterfactual-return": 3.3,
            "reinforce": 0.29,
        },
    ),
    "paper": Preset(
        replace(Config(), learning=Learning(steps=10000, learning_rates=_PAPER_RATES), signal=Signal(episodes=8192)),
        seeds=30,
    ),
}
