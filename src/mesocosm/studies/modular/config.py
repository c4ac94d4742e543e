"""Config and presets of the modular study. Small sizes come from the specification's calibration and from pilots (search.csv)."""

from dataclasses import dataclass, field, replace
from typing import Literal

from mesocosm.studies.interface import Preset

FOUR_ROOMS = ("#######", "#  #  #", "#  #  #", "##   ##", "#  #  #", "#  #  #", "#######")
"""The paper's grid."""
Method = Literal["linear", "nonlinear", "anil", "maml"]
"""A linear or a nonlinear hypernetwork whose codes adapt, a network whose last layer adapts, and one that adapts whole."""
Support = Literal["random", "non-compositional", "connected", "disconnected"]
"""Which tasks are in training: a random part; all without the last module; or equally many in which modules of the halves meet, or never do."""
Variant = Literal["", "-again", "-few", "-narrow"]
"""Linear hypernetworks on random combinations: the usual one, one from another start, one with fewer points in each task, and one with fewer hidden units."""


@dataclass(frozen=True)
class Constructions:
    """Random teachers for statements that need no training."""

    instances: int = 100
    inputs: int = 4
    hidden: int = 3
    points: int = 64
    codes: int = 4
    """Codes with all modules active."""
    starts: int = 12
    """Starts of the search for the student's best code."""
    steps: int = 40


@dataclass(frozen=True)
class Identification:
    """Students with three hidden units, fitted to three tasks for each pair of neighbouring modules until nothing is left of the loss."""

    modules: int = 4
    """Of teachers and students: 2, 3 or 4."""
    inputs: int = 4
    points: int = 48
    """Inputs per task."""
    starts: int = 48
    steps: int = 100
    no_loss: float = 1e-20
    """Relative training loss below which nothing is left to fit."""
    replicates: int | None = None
    """Teachers; None: as many as the run has seeds."""
    kept: int = 16
    """Students with the smallest losses, which are tested."""
    codes: int = 12
    """Unseen codes, with all modules active."""
    code_starts: int = 8
    code_steps: int = 60


@dataclass(frozen=True)
class Descent:
    """Students trained by gradient descent on pairs of six modules (paper: 16 inputs and hidden units, 60000 bilevel steps)."""

    inputs: int = 8
    hidden: int = 8
    outputs: int = 4
    more_modules: int = 2
    """Student modules over the teacher's."""
    more_hidden: int = 2
    """Student hidden units over the teacher's."""
    tasks: int = 16
    """Codes of each pair of modules."""
    points: int = 16
    """New inputs for each code in every step; as many times more as there are fewer codes, if they are discrete."""
    steps: int = 0
    learning_rate: float = 3e-3
    replicates: int | None = None
    """Students on each support; None: as many as the run has seeds."""


@dataclass(frozen=True)
class Hyperteacher:
    """Few-shot tasks of a teacher whose generated layers depend on two codes of zeros and ones."""

    inputs: int = 8
    hidden: tuple[int, ...] = (16,)
    outputs: int = 8
    generated: tuple[int, ...] = (0,)
    """Which layers are generated, counted from 0."""
    modules: int = 4
    """M, for each of the two codes."""
    active: int = 2
    """K, the most modules that are active in a code."""
    support: Support = "random"
    held_out: float = 0.25
    """Share of random combinations that are not in training."""
    points: int = 64
    """Support points, and as many query points."""
    temperature: float = 0.1
    """Of the softmax over the teacher's outputs."""
    normalising: int = 256
    """Inputs over which outputs have mean 0 and variance 1 in each task."""


@dataclass(frozen=True)
class Preferences:
    """Optimal action values of an agent with mixtures of preferences for colours, in one room (paper: four rooms with eight colours and preferences)."""

    layout: tuple[str, ...] = ("   ", "   ", "   ")
    """Rows of the grid; "#" is a wall."""
    colours: int = 6
    objects: int = 2
    modules: int = 6
    """Preferences."""
    active: int = 3
    """The most preferences in a mixture."""
    length: int = 4
    """Steps of an episode, and how far action values look ahead."""
    support: Support = "random"
    held_out: float = 0.25
    """Share of random mixtures that are not in training."""
    apart: int = 1
    """How far apart on a ring the preferences of a mixture are at most, on connected support."""
    episodes: int = 8
    """Demonstrations to adapt to, and as many query episodes."""
    codes: int = 16
    """Entries of a hypernetwork's code."""
    walls: bool = False
    """Whether networks see walls and what is in their cells, which is always the same."""


@dataclass(frozen=True)
class Goals:
    """Actions on the way to goals with four parts, the quadrant, the interaction, the maze and the object (paper: five mazes and objects, 121 squares)."""

    side: int = 5
    interactions: int = 2
    mazes: int = 3
    kinds: int = 3
    distractors: int = 2
    length: int = 15
    """Steps of an episode; mazes with longer paths are not used."""
    support: Literal["random", "non-compositional"] = "random"
    held_out: float = 0.25
    """Share of random goals that are not in training."""
    episodes: int = 1
    """Demonstrations to adapt to, and as many query episodes."""
    codes: int = 16
    """Entries of a hypernetwork's code."""


@dataclass(frozen=True)
class Training:
    """Outer loop: AdamW with a cosine. Inner loop: Adam, with a learned factor on its rate."""

    steps: int
    learning_rate: float
    inner_rate: float
    width: int
    layers: int = 1
    """Hidden layers."""
    inner_steps: int = 10
    tasks: int = 16
    """Tasks per outer step."""
    clip_norm: float = 1.0
    weight_decay: float = 1e-3
    floor: float = 0.02
    """The last rate over the first."""


@dataclass(frozen=True)
class Methods:
    """How each method is trained. The linear hypernetwork and ANIL have about 8800 parameters, MAML 2184, the nonlinear one 25696."""

    linear: Training = field(default_factory=lambda: Training(2000, 3e-2, 1.0, 32))
    nonlinear: Training = field(default_factory=lambda: Training(2000, 3e-3, 0.5, 32))
    anil: Training = field(default_factory=lambda: Training(300, 1e-2, 0.03, 512))
    maml: Training = field(default_factory=lambda: Training(400, 3e-2, 0.03, 128))

    def of(self, method: Method) -> Training:
        """That of one method."""
        return {"linear": self.linear, "nonlinear": self.nonlinear, "anil": self.anil, "maml": self.maml}[method]


VALUES = Methods(
    linear=Training(2000, 1e-2, 0.1, 64, layers=2, inner_steps=5),
    nonlinear=Training(2000, 3e-3, 0.1, 64, layers=2, inner_steps=5),
    anil=Training(2000, 1e-2, 0.03, 128, layers=2, inner_steps=5),
    maml=Training(2000, 1e-2, 0.03, 64, layers=2, inner_steps=5),
)
ACTIONS = Methods(
    linear=Training(600, 3e-2, 0.3, 64, layers=2),
    nonlinear=Training(600, 3e-3, 0.1, 48, layers=2),
    anil=Training(600, 3e-2, 0.01, 64, layers=2),
    maml=Training(600, 3e-2, 0.01, 64, layers=2),
)


@dataclass(frozen=True)
class Imitation:
    """Networks that adapt to demonstrations in the two worlds, with all methods of the config."""

    preferences: Preferences = field(default_factory=Preferences)
    preference_supports: tuple[Support, ...] = ()
    """Supports of mixtures that networks are trained on."""
    preference_methods: tuple[Method, ...] | None = None
    """Which methods there; None: all of the config."""
    linear_supports: tuple[Support, ...] = ()
    """Further supports, of linear hypernetworks only; connected and disconnected ones have mixtures of at most two preferences."""
    values: Methods = field(default_factory=lambda: VALUES)
    """How networks are trained on preferences."""
    halves_steps: int = 2000
    """Outer steps on connected and disconnected mixtures."""
    shorter_codes: int = 1
    """How many times shorter the codes of one more linear hypernetwork for random mixtures are; 1: none."""
    goals: Goals = field(default_factory=Goals)
    goal_supports: tuple[Literal["random", "non-compositional"], ...] = ()
    """Supports of goals that networks are trained on."""
    actions: Methods = field(default_factory=lambda: ACTIONS)
    """How networks are trained on goals."""
    scaled: float = 1.0
    """How many times as large the codes and hidden layers of one more linear hypernetwork for random goals are; 1: none."""
    tasks: int = 256
    """Of each test set."""


@dataclass(frozen=True)
class Evaluation:
    """Tasks of each test set, and the inner steps of a longer adaptation."""

    tasks: int = 256
    longer: int = 40


@dataclass(frozen=True)
class Config:
    """Config of the modular study."""

    constructions: Constructions = field(default_factory=Constructions)
    identification: Identification = field(default_factory=Identification)
    fewer_modules: tuple[int, ...] = ()
    """Numbers of modules of further teachers and students without training loss, on connected pairs only."""
    descent: Descent = field(default_factory=Descent)
    many: tuple[int, ...] = ()
    """Student modules over the teacher's, for students on single modules and pairs with discrete and with continuous codes."""
    many_hidden: tuple[int, ...] = (4,)
    """Hidden units over the teacher's, for these students."""
    many_discrete: tuple[int, ...] = ()
    """Further ones for discrete codes."""
    teacher: Hyperteacher = field(default_factory=Hyperteacher)
    methods: tuple[Method, ...] = ("linear", "maml")
    """Which are trained."""
    training: Methods = field(default_factory=Methods)
    harder: bool = False
    """Whether they are also trained on single modules (K = 1) and on tasks without the last module."""
    halves: int = 0
    """Modules of a teacher for the linear hypernetwork on connected and disconnected support; 0: none."""
    halves_steps: int = 1200
    few_points: int = 0
    """Points of each task for one more linear hypernetwork; 0: none."""
    narrow: int = 0
    """Hidden units of one more linear hypernetwork; 0: none."""
    imitation: Imitation = field(default_factory=Imitation)
    evaluation: Evaluation = field(default_factory=Evaluation)


PRESETS = {
    "smoke": Preset(
        Config(
            constructions=Constructions(points=8, codes=1, starts=1, steps=2),
            identification=Identification(points=16, starts=2, steps=3, no_loss=1e9, kept=2, codes=1, code_starts=2, code_steps=2),
            descent=Descent(steps=4, points=4, tasks=1),
            many=(2,),
            teacher=Hyperteacher(hidden=(4,), points=4, normalising=8),
            methods=("linear",),
            training=replace(Methods(), linear=Training(2, 1e-2, 1.0, 4, tasks=2, inner_steps=2)),
            imitation=Imitation(
                preferences=Preferences(episodes=1),
                preference_supports=("random",),
                values=replace(Methods(), linear=Training(2, 1e-2, 0.3, 4, tasks=2, inner_steps=2)),
                goal_supports=("random",),
                actions=replace(Methods(), linear=Training(2, 1e-2, 0.3, 4, tasks=2, inner_steps=2)),
                tasks=4,
            ),
            evaluation=Evaluation(tasks=4, longer=2),
        ),
        seeds=2,
    ),
    "quick": Preset(
        replace(
            Config(),
            identification=Identification(starts=24, kept=12),
            training=replace(Methods(), linear=Training(600, 3e-2, 1.0, 32), maml=Training(250, 3e-2, 0.03, 128)),
        ),
        seeds=3,
    ),
    "cpu": Preset(
        replace(
            Config(),
            identification=Identification(replicates=20),
            fewer_modules=(2, 3),
            descent=Descent(steps=20000, replicates=20),
            many=(2, 16),
            many_discrete=(2,),
            methods=("linear", "nonlinear", "anil", "maml"),
            harder=True,
            halves=6,
            halves_steps=2500,
            few_points=16,
            narrow=16,
            imitation=Imitation(
                preference_supports=("random",),
                preference_methods=("linear", "anil", "maml"),
                linear_supports=("non-compositional", "connected", "disconnected"),
                halves_steps=1200,
                goal_supports=("random", "non-compositional"),
                scaled=0.5,
            ),
        ),
        seeds=10,
        minutes={
            "constructions": 0.35,
            "identification": 10.4,
            "identification-2": 0.77,
            "identification-3": 1.7,
            "worlds": 0.11,
            "descent-connected": 3.6,
            "descent-reordered": 3.8,
            "descent-disconnected": 3.7,
            "descent-apart": 3.4,
            "descent-discrete-2x4": 3.9,
            "descent-discrete-16x4": 4.3,
            "descent-discrete-2x2": 2.9,
            "descent-discrete-16x2": 3.4,
            "descent-continuous-2x4": 4.5,
            "descent-continuous-16x4": 5.9,
            "k2-linear": 4.8,
            "k2-nonlinear": 8.2,
            "k2-anil": 3.2,
            "k2-maml": 2.4,
            "k1-linear": 4.7,
            "k1-nonlinear": 8.1,
            "k1-anil": 3.4,
            "k1-maml": 2.2,
            "non-compositional-linear": 3.6,
            "non-compositional-nonlinear": 8.2,
            "non-compositional-anil": 3.1,
            "non-compositional-maml": 2.2,
            "connected-linear": 4.8,
            "disconnected-linear": 4.5,
            "k2-linear-few": 2.3,
            "k2-linear-narrow": 3.3,
            "k2-linear-again": 3.5,
            "preferences-random-linear": 9.8,
            "preferences-random-anil": 3.2,
            "preferences-random-maml": 9.7,
            "preferences-non-compositional-linear": 8,
            "preferences-connected-linear": 5.5,
            "preferences-disconnected-linear": 5.1,
            "goals-random-linear": 3.8,
            "goals-random-nonlinear": 8.1,
            "goals-random-anil": 0.79,
            "goals-random-maml": 8.1,
            "goals-non-compositional-linear": 5.6,
            "goals-non-compositional-nonlinear": 7.7,
            "goals-non-compositional-anil": 0.61,
            "goals-non-compositional-maml": 7.5,
            "goals-random-linear-scaled": 2.6,
        },  # of the record, on one core, in part beside other work
    ),
    "paper": Preset(
        replace(
            Config(),
            descent=Descent(inputs=16, hidden=16, tasks=64, points=64, steps=60000, learning_rate=1e-3),
            fewer_modules=(2, 3),
            many=(2, 4, 8, 16, 32),
            many_hidden=(2, 4, 8, 16),
            teacher=Hyperteacher(inputs=16, hidden=(32, 32, 32), generated=(1, 2), modules=8, points=256, normalising=1000),
            methods=("linear", "nonlinear", "anil", "maml"),
            training=Methods(
                linear=Training(200000, 1e-3, 0.3, 128, layers=3, tasks=128, weight_decay=1e-2),
                nonlinear=Training(200000, 3e-3, 0.3, 128, layers=3, tasks=128, weight_decay=1e-2),
                anil=Training(200000, 1e-3, 0.03, 512, layers=3, tasks=128, inner_steps=100, clip_norm=2.0, weight_decay=1e-4),
                maml=Training(200000, 1e-3, 0.01, 384, layers=3, tasks=128, clip_norm=2.0, weight_decay=1e-4),
            ),
            harder=True,
            halves=8,
            halves_steps=200000,
            few_points=64,
            narrow=32,
            imitation=Imitation(
                preferences=Preferences(FOUR_ROOMS, colours=8, objects=4, modules=8, length=8, apart=2, episodes=16, codes=32, walls=True),
                preference_supports=("random", "non-compositional"),
                linear_supports=("connected", "disconnected"),
                values=Methods(
                    linear=Training(100000, 3e-4, 0.1, 64, layers=3, tasks=128, weight_decay=1e-2),
                    nonlinear=Training(100000, 3e-4, 0.1, 64, layers=2, tasks=128, clip_norm=2.0, weight_decay=1e-2),
                    anil=Training(100000, 3e-4, 0.01, 512, layers=4, tasks=128, inner_steps=100, clip_norm=2.0, weight_decay=1e-2),
                    maml=Training(100000, 1e-3, 0.01, 368, layers=3, tasks=128, clip_norm=2.0, weight_decay=1e-2),
                ),
                shorter_codes=2,
                goals=Goals(side=11, mazes=5, kinds=5, distractors=4, length=52, codes=8),
                goal_supports=("random", "non-compositional"),
                actions=Methods(
                    linear=Training(200000, 3e-3, 0.3, 32, layers=2, tasks=128, clip_norm=2.0, weight_decay=1e-2),
                    nonlinear=Training(200000, 1e-3, 0.1, 32, layers=2, tasks=128, clip_norm=2.0, weight_decay=1e-2),
                    anil=Training(200000, 1e-3, 0.01, 512, layers=2, tasks=128, inner_steps=100, clip_norm=2.0, weight_decay=1e-2),
                    maml=Training(200000, 1e-3, 0.01, 384, layers=2, tasks=128, weight_decay=1e-2),
                ),
                scaled=4.0,
                tasks=1024,
            ),
            evaluation=Evaluation(tasks=1024, longer=100),
        ),
        seeds=3,
    ),
}
