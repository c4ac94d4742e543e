"""Config and presets of the cocoa study. Numbers from the paper or the authors' code are marked.

The rest was searched on pilot seeds (search.csv).
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from mesocosm.studies.interface import Preset

Estimator = Literal["cocoa-reward", "q-critic", "advantage", "trajcv", "hca-plus", "hca-return", "counterfactual-return", "reinforce"]


LearnedEstimator = Literal[
    "cocoa-reward",
    "cocoa-feature",
    "cocoa-merged",
    "cocoa-contrastive",
    "cocoa-unsigned",
    "immediate",
    "q-critic",
    "advantage",
    "trajcv",
    "hca-plus",
    "hca",
    "hca-return",
    "counterfactual-return",
    "reinforce",
]
"""cocoa-merged: one outcome for all rewards; cocoa-unsigned: outcomes are rewards without their sign; immediate: COCOA with coefficients of 0."""

ExactAndLearned = Literal["cocoa-reward", "q-critic", "advantage"]


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


PAPER_RATES: tuple[tuple[Estimator, float], ...] = (
    ("cocoa-reward", 0.01),
    ("q-critic", 0.01),
    ("hca-plus", 3e-4),
    ("advantage", 1e-3),
    ("trajcv", 1e-3),
    ("hca-return", 1e-4),
    ("counterfactual-return", 1e-4),
    ("reinforce", 3e-4),
)


class LearningRates(NamedTuple):
    """Learning rates of AdamW: the policy's and the models'."""

    policy: float
    models: float


Rates = tuple[tuple[LearnedEstimator, float, float], ...]

TRACK_RATES: Rates = (
    ("cocoa-reward", 3e-4, 3e-3),
    ("cocoa-feature", 3e-4, 3e-3),
    ("cocoa-merged", 3e-4, 3e-3),
    ("cocoa-contrastive", 3e-4, 3e-3),
    ("cocoa-unsigned", 3e-4, 3e-3),
    ("immediate", 3e-4, 0.0),
    ("q-critic", 3e-4, 3e-3),
    ("advantage", 1e-3, 1e-3),
    ("trajcv", 3e-3, 1e-2),
    ("hca-plus", 3e-4, 3e-3),
    ("hca", 3e-4, 3e-3),
    ("hca-return", 1e-4, 1e-3),
    ("counterfactual-return", 1e-4, 1e-3),
    ("reinforce", 3e-4, 0.0),
)
ROOM_RATES: Rates = (
    ("cocoa-reward", 3e-4, 1e-3),
    ("immediate", 3e-4, 0.0),
    ("q-critic", 3e-4, 3e-3),
    ("advantage", 1e-3, 1e-3),
    ("trajcv", 1e-3, 3e-3),
    ("hca-plus", 1e-4, 1e-3),
    ("reinforce", 1e-3, 0.0),
)
USER_RATE = LearningRates(3e-4, 3e-3)


def rate_of(rates: Rates, estimator: LearnedEstimator) -> LearningRates:
    """The learning rates of an estimator.

    Raises:
        ValueError: there are none.
    """
    found = {name: LearningRates(policy, models) for name, policy, models in rates}
    if estimator not in found:
        raise ValueError(f"no learning rate is given for {estimator}; there are rates for {', '.join(found)}")
    return found[estimator]


@dataclass(frozen=True)
class Training:
    """How policies are trained with models that learn beside them."""

    steps: int = 10000
    """Iterations (paper: 10000)."""
    batch_size: int = 8
    """Episodes per iteration (paper: 8)."""
    width: int = 256
    """Hidden units of the models (paper: 256)."""
    entropy: float = 0.03
    """Weight of the entropy bonus."""
    exploration: float = 0.05
    """Fraction of uniformly random actions (paper: 0.05)."""
    every: int = 50
    """Iterations between two measurements."""
    replicates: int = 10
    """Trainings per estimator (paper: 30; task interleaving: 5)."""
    estimators: tuple[LearnedEstimator, ...] = ()
    """Estimators to train with; none for no such trial."""


@dataclass(frozen=True)
class LearnedModels(Training):
    """A policy that learns linear key-to-door (paper: distances 20 to 100; entropy bonus 0.03 at 20, 0.01 at 100, 0.0062 there with aliased rewards)."""

    length: int = 23
    """Length of the track: distance plus 3."""
    aliasing: bool = False
    """The treasure is worth as much as the smaller apple."""
    updates: int = 1
    """Steps of the models on each batch (paper: 1)."""
    gain: float = 1.0
    """Scale of the hindsight network's first outputs (paper: 1)."""
    leak: float = 0.0
    """Slope of its rectified outputs below 0 (paper: 0)."""
    by_episode: bool = False
    """Average the pairs of each episode first, which biases the coefficients (authors' code: yes)."""
    learning_rates: Rates = TRACK_RATES
    """Learning rates of AdamW by estimator, the policy's and the models' (paper: Table 3; it gives none for cocoa-merged, cocoa-contrastive,
    cocoa-unsigned, immediate, hca and counterfactual-return)."""


@dataclass(frozen=True)
class Between:
    """The same at the paper's distances between the shortest and the longest: treasure against credit distance (Fig. 1B left)."""

    lengths: tuple[int, ...] = (43, 63, 83)
    """Paper: distances 40, 60 and 80."""
    entropies: tuple[float, ...] = (0.0187, 0.0142, 0.0116)
    """Weight of the entropy bonus at each length (paper: the same)."""
    track: LearnedModels = field(default_factory=lambda: LearnedModels(every=100))

    def tracks(self) -> list[LearnedModels]:
        """The sizes at each length.

        Raises:
            ValueError: there are more lengths than weights, or fewer, or a length occurs twice.
        """
        if len(set(self.lengths)) != len(self.lengths):
            raise ValueError(f"each length between the shortest and the longest is trained once, not {list(self.lengths)}")
        if len(self.lengths) != len(self.entropies):
            raise ValueError(f"{len(self.lengths)} lengths between the shortest and the longest have {len(self.entropies)} entropies; give one for each")
        return [replace(self.track, length=length, entropy=entropy) for length, entropy in zip(self.lengths, self.entropies, strict=True)]


@dataclass(frozen=True)
class Features:
    """Features from which rewards are predicted, learned before the policy from episodes of a random one (COCOA-feature)."""

    episodes: int = 240
    """Episodes of the random policy (paper: 30 batches of 8)."""
    starts: int = 3
    """Trainings from different readouts; kept is the one that predicts rewards best (paper: 1). In pilots, one training in seven leaves the treasure with an
    apple's features and a larger error."""
    steps: int = 20000
    """Full-batch steps of each (paper: 20000)."""
    learning_rate: float = 0.003
    """Of AdamW (paper: 0.003)."""
    mask_shrinkage: float = 0.002
    """Paper: 0.001, with rewards as they are; here they are divided by the largest."""
    readout_shrinkage: float = 0.001
    """Paper: 0.03."""
    outcomes: int = 16
    """The most different feature vectors that events with a reward may have; a training with more is refused. On these tracks there are at most 12: two apples
    by key and position, and the treasure's for each action. There are as many places as are needed."""


@dataclass(frozen=True)
class Shadow(Training):
    """Models that learn from the episodes of a policy which they do not influence; it learns with the exact Q-critic (paper: distances 20 to 100)."""

    steps: int = 3000
    """Iterations (paper: 5000)."""
    entropy: float = 0.03
    """Weight of the entropy bonus (paper, distance 20: 0.03; authors' code, shadow training: 0.003)."""
    every: int = 25
    """Iterations between two measurements (authors' code: 5)."""
    estimators: tuple[LearnedEstimator, ...] = (
        *("cocoa-reward", "cocoa-feature", "cocoa-merged", "q-critic", "advantage", "trajcv", "hca-return", "hca-plus", "reinforce"),
    )
    """Estimators whose models learn; none for no such trial."""
    length: int = 23
    """Length of the track: distance plus 3."""
    exact: tuple[Estimator, ...] = ("cocoa-reward", "hca-plus", "q-critic")
    """Estimators that are measured beside them with exact models."""
    learning_rate: float = 3e-4
    """Of the policy (paper, Q-critic: 3e-4; authors' code, shadow training: 1e-4)."""
    episodes: int = 512
    """Episodes of a measurement, the same for all estimators (paper: 512)."""


LONG_SHADOW = Shadow(
    length=103,
    entropy=0.01,
    every=50,
    estimators=("cocoa-reward", "cocoa-feature", "cocoa-merged", "q-critic", "advantage", "trajcv", "hca-return", "reinforce"),
)


@dataclass(frozen=True)
class Rooms(Training):
    """A policy that learns task interleaving (paper: five contexts, three of them open, 10000 iterations)."""

    steps: int = 2000
    entropy: float = 0.01
    """Weight of the entropy bonus (paper: 0.01)."""
    every: int = 100
    """Iterations between two measurements."""
    estimators: tuple[LearnedEstimator, ...] = ("cocoa-reward", "immediate", "q-critic", "advantage", "trajcv", "hca-plus", "reinforce")
    """Estimators to train with; none for no such trial."""
    contexts: int = 3
    """Paper: 5."""
    most_open: int = 2
    """Paper: 3."""
    kinds: int = 2
    """Paper: 2."""
    death: float = 0.05
    """Probability that an episode ends after a step (paper: 0.05)."""
    limit: int = 50
    """Time limit (paper: 100)."""
    learning_rates: Rates = ROOM_RATES
    """Learning rates of AdamW by estimator, the policy's and the models' (paper: Table 4; it gives none for immediate)."""


@dataclass(frozen=True)
class Switched:
    """The treasure changes its sign after some iterations; the key suffices to reach it (paper: distance 40, 60000 iterations, then 10000)."""

    track: LearnedModels = field(default_factory=lambda: LearnedModels(length=13, steps=3000, every=10, replicates=20))
    after: int = 3000
    """Iterations after the switch."""
    found_at: float = 0.5
    """Probability of the treasure before the switch above which a training counts as one that had found it; others are not scored."""
    adapted_at: float = 0.1
    """Probability of the treasure below which the policy has left it."""
    estimators: tuple[LearnedEstimator, ...] = ("cocoa-reward", "cocoa-feature", "cocoa-unsigned", "q-critic", "advantage")
    """Estimators to train with; none for no such trial."""
    exact: tuple[ExactAndLearned, ...] = ("q-critic",)
    """Those that are also trained with exact models, which need not learn the new reward."""


@dataclass(frozen=True)
class Perturbed:
    """Exact models multiplied by noise, under a policy that takes key and door, and picks the right side of each apple, with the same probability."""

    length: int = 103
    """Paper: distance 100."""
    sigmas: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
    """Standard deviations of the noise (paper: the same)."""
    skill: float = 0.7
    """That probability; the treasure then has about one half."""
    episodes: int = 512
    """Paper: 512."""
    replicates: int = 20
    """Paper: 30."""


@dataclass(frozen=True)
class Config:
    """Config of the cocoa study."""

    theorems: Theorems = field(default_factory=Theorems)
    trees: Trees = field(default_factory=Trees)
    signal: Signal = field(default_factory=Signal)
    learning: Learning = field(default_factory=Learning)
    estimators: tuple[Estimator, ...] = ("cocoa-reward", "q-critic", "advantage", "trajcv", "hca-plus", "hca-return", "counterfactual-return", "reinforce")
    """Estimators with exact models to train policies with."""
    whole: Learning = field(default_factory=lambda: Learning(steps=10000, learning_rates=PAPER_RATES, every=100))
    """The paper's whole training with exact models."""
    whole_replicates: int = 10
    whole_estimators: tuple[Estimator, ...] = ()
    whole_controls: tuple[Estimator, ...] = ()
    """Estimators at whose rates COCOA-reward has such a training, too."""
    learned: LearnedModels = field(default_factory=LearnedModels)
    brief: tuple[LearnedEstimator, ...] = ("cocoa-contrastive", "immediate", "hca-plus", "hca", "hca-return", "counterfactual-return")
    """Estimators that are trained for fewer iterations there, and compared with the others over these."""
    brief_steps: int = 5000
    long: LearnedModels = field(default_factory=lambda: LearnedModels(length=103, entropy=0.01, every=100))
    """The same at distance 100."""
    between: Between = field(default_factory=Between)
    aliased: LearnedModels = field(default_factory=lambda: LearnedModels(length=103, aliasing=True, entropy=0.0062, every=100))
    """The same with aliased rewards."""
    features: Features = field(default_factory=Features)
    shadow: Shadow = field(default_factory=lambda: Shadow(estimators=()))
    long_shadow: Shadow = field(default_factory=lambda: replace(LONG_SHADOW, estimators=()))
    """The same at distance 100."""
    rooms: Rooms = field(default_factory=lambda: Rooms(estimators=()))
    switched: Switched = field(default_factory=lambda: Switched(estimators=(), exact=()))
    perturbed: Perturbed = field(default_factory=lambda: Perturbed(sigmas=()))
    estimator: str = ""
    """Your own estimator, package.module:Name, called as Name(features, actions, rewards); it gives a `learning.learned_credit.LearnedCredit`. Trains
    policies with it beside ours on the track of `learned`, and nothing else."""


_WHOLE: tuple[Estimator, ...] = ("advantage", "trajcv", "hca-plus", "hca-return", "reinforce")
_WHOLE_CONTROLS: tuple[Estimator, ...] = ("hca-plus", "hca-return")
_SHORT: tuple[LearnedEstimator, ...] = (
    "cocoa-reward",
    "cocoa-feature",
    "cocoa-merged",
    "cocoa-contrastive",
    "immediate",
    "q-critic",
    "advantage",
    "trajcv",
    "hca-plus",
    "hca",
    "hca-return",
    "counterfactual-return",
    "reinforce",
)
_LONG: tuple[LearnedEstimator, ...] = ("cocoa-reward", "cocoa-feature", "cocoa-merged", "immediate", "q-critic", "advantage", "trajcv", "reinforce")
_BETWEEN: tuple[LearnedEstimator, ...] = ("cocoa-reward", "q-critic", "advantage", "reinforce")
_ALIASED: tuple[LearnedEstimator, ...] = ("cocoa-reward", "cocoa-feature", "cocoa-merged", "q-critic", "advantage")

PRESETS = {
    "smoke": Preset(
        Config(
            theorems=Theorems(states=6, actions=2, rewards=2),
            trees=Trees(depth=3, branches=3, overlaps=(0, 1), groups=(4,), sweep_overlap=1, sweep_groups=(1, 2, 4)),
            signal=Signal(lengths=(6,), episodes=64),
            learning=Learning(length=9, steps=4, solved_by=2, every=2, policy="tabular"),
            estimators=("cocoa-reward", "hca-return", "reinforce"),
            learned=LearnedModels(length=6, steps=4, width=8, every=2, replicates=2, estimators=("cocoa-reward", "cocoa-feature")),
            features=Features(episodes=8, steps=20),
            shadow=Shadow(
                length=6, steps=4, width=8, every=2, episodes=16, replicates=2, estimators=("cocoa-reward", "q-critic", "hca-plus"), exact=("hca-plus",)
            ),
            rooms=Rooms(contexts=2, most_open=1, kinds=1, limit=6, steps=4, width=8, every=2, replicates=2, estimators=("cocoa-reward",)),
            switched=Switched(LearnedModels(length=6, steps=4, width=8, every=2, replicates=2), after=4, estimators=("q-critic",), exact=("q-critic",)),
            perturbed=Perturbed(length=6, sigmas=(0.01, 0.1), episodes=16, replicates=2),
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
        Config(
            whole_estimators=_WHOLE,
            whole_controls=_WHOLE_CONTROLS,
            learned=LearnedModels(estimators=_SHORT),
            long=replace(Config().long, estimators=_LONG),
            between=Between(track=replace(Between().track, estimators=_BETWEEN)),
            aliased=replace(Config().aliased, estimators=_ALIASED),
            shadow=Shadow(),
            long_shadow=LONG_SHADOW,
            rooms=Rooms(),
            switched=Switched(),
            perturbed=Perturbed(),
        ),
        seeds=20,
        minutes={
            "theorems": 1.07,
            "trees": 1.16,
            "signal": 1.46,
            "cocoa-reward": 0.44,
            "q-critic": 0.36,
            "advantage": 0.3,
            "trajcv": 0.3,
            "hca-plus": 1.73,
            "hca-return": 2.83,
            "counterfactual-return": 1.77,
            "reinforce": 0.17,
            "whole-advantage": 0.41,
            "whole-trajcv": 0.41,
            "whole-hca-plus": 3.38,
            "whole-hca-return": 4.73,
            "whole-reinforce": 0.44,
            "whole-cocoa-reward-as-hca-plus": 1.5,
            "whole-cocoa-reward-as-hca-return": 1.5,
            "learned-cocoa-reward": 1.26,
            "learned-cocoa-feature": 1.77,
            "learned-cocoa-merged": 0.61,
            "learned-cocoa-contrastive": 0.65,
            "learned-immediate": 0.15,
            "learned-q-critic": 0.33,
            "learned-advantage": 0.3,
            "learned-trajcv": 0.34,
            "learned-hca-plus": 2.12,
            "learned-hca": 2.17,
            "learned-hca-return": 0.65,
            "learned-counterfactual-return": 0.71,
            "learned-reinforce": 0.2,
            "long-cocoa-reward": 5.04,
            "long-cocoa-feature": 9.83,
            "long-cocoa-merged": 2.03,
            "long-immediate": 0.39,
            "long-q-critic": 1.03,
            "long-advantage": 0.81,
            "long-trajcv": 1.01,
            "long-reinforce": 0.38,
            "aliased-cocoa-reward": 3.6,
            "aliased-cocoa-feature": 9.3,
            "aliased-cocoa-merged": 1.9,
            "aliased-q-critic": 1.03,
            "aliased-advantage": 0.81,
            "between-40-cocoa-reward": 1.84,
            "between-40-q-critic": 0.8,
            "between-40-advantage": 0.76,
            "between-40-reinforce": 0.38,
            "between-60-cocoa-reward": 2.9,
            "between-60-q-critic": 0.78,
            "between-60-advantage": 0.68,
            "between-60-reinforce": 0.34,
            "between-80-cocoa-reward": 3.74,
            "between-80-q-critic": 1,
            "between-80-advantage": 1,
            "between-80-reinforce": 0.6,
            "shadow": 4.3,
            "long-shadow": 8.0,
            "rooms-cocoa-reward": 0.76,
            "rooms-immediate": 0.31,
            "rooms-q-critic": 0.35,
            "rooms-advantage": 0.45,
            "rooms-trajcv": 0.33,
            "rooms-hca-plus": 4.22,
            "rooms-reinforce": 0.24,
            "switched-cocoa-reward": 1.45,
            "switched-cocoa-feature": 1.88,
            "switched-cocoa-unsigned": 1.45,
            "switched-q-critic": 0.41,
            "switched-advantage": 0.38,
            "switched-exact-q-critic": 0.2,
            "perturbed": 0.35,
        },  # of the record on seeds 500 to 519, two trials at a time beside other programs, each on one core; what is new or longer since then: estimates
    ),
    "paper": Preset(
        replace(
            Config(),
            learning=Learning(steps=10000, learning_rates=PAPER_RATES),
            whole_estimators=_WHOLE,
            whole_controls=_WHOLE_CONTROLS,
            whole_replicates=30,
            signal=Signal(episodes=8192),
            learned=LearnedModels(replicates=30, estimators=_SHORT),
            brief_steps=10000,
            long=replace(Config().long, replicates=30, estimators=_LONG),
            between=Between(track=replace(Between().track, replicates=30, estimators=_BETWEEN)),
            aliased=replace(Config().aliased, replicates=30, estimators=_ALIASED),
            shadow=Shadow(steps=5000, replicates=30),
            long_shadow=replace(LONG_SHADOW, steps=5000, replicates=30),
            rooms=Rooms(contexts=5, most_open=3, limit=100, steps=10000),
            switched=Switched(LearnedModels(length=43, steps=60000, every=10, replicates=30), after=10000),
            perturbed=Perturbed(replicates=30),
        ),
        seeds=30,
    ),
}
