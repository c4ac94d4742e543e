"""Config and presets of the weight-decay study. Numbers from the paper are marked; the rest is ours or was searched on pilot seeds."""

from dataclasses import dataclass, field

from mesocosm.studies.interface import Preset


@dataclass(frozen=True)
class Factorisation:
    """The paper's 5 x 5 factorisation of a diagonal matrix (Fig. 1), by gradient descent."""

    values: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    """Singular values of the target (paper)."""
    decays: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6)
    """The grid of decays; 0.4 is the paper's."""
    learning_rate: float = 0.05
    steps: int = 1000
    """Updates (paper: shown at 1000)."""
    init_std: float = 0.3
    every: int = 10
    """Steps between two measurements."""


@dataclass(frozen=True)
class Descent:
    """Gradient descent on a random loss that is not quadratic."""

    rows: int = 6
    columns: int = 5
    measurements: int = 40
    noise: float = 0.3
    decay: float = 0.2
    learning_rate: float = 0.005
    steps: int = 2000
    init_std: float = 0.5
    every: int = 40


@dataclass(frozen=True)
class Minima:
    """Random regularised problems, solved to their minimum."""

    instances: int = 100
    rows: int = 6
    columns: int = 5
    measurements: int = 40
    noise: float = 0.3
    """Standard deviation of the measurements' noise, relative to that of one entry of a measurement matrix."""
    decay: float = 1.0
    """Removes about two of five modes."""
    init_std: float = 0.5
    learning_rate: float = 0.005
    momentum: float = 0.9
    steps: int = 20000
    one_steps: int = 400
    """Updates with one factor regularised. That problem has no minimum: the other factor grows forever, until the search diverges."""


@dataclass(frozen=True)
class ScalarPair:
    """Two scalars, direct and factored, under Adam."""

    targets: tuple[float, ...] = (1.0, 0.3)
    decays: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    """Under Adam with L2; the last exceeds the small target."""
    decoupled_decays: tuple[float, ...] = (0.0, 0.2, 0.4, 0.8)
    """Under AdamW."""
    noise: float = 1.0
    """Standard deviation of the targets' noise under AdamW. Without it, the limit hardly depends on the decay."""
    learning_rate: float = 0.02
    steps: int = 4000
    init_std: float = 0.5


@dataclass(frozen=True)
class Adaptive:
    """The factorisation of a rotated target under Adam with L2 and under AdamW."""

    values: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    decays: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    decoupled_decays: tuple[float, ...] = (0.0, 0.2, 0.4, 0.8)
    noise: float = 1.0
    learning_rate: float = 0.02
    steps: int = 4000
    init_std: float = 0.3


@dataclass(frozen=True)
class TwoLayers:
    """A linear network with one hidden layer learns a teacher of low rank, online."""

    width: int = 20
    """Inputs, outputs and hidden neurons."""
    teacher_values: tuple[float, ...] = (1.5, 1.0, 0.7)
    noise: float = 0.1
    batch_size: int = 64
    decay: float = 0.1
    learning_rate: float = 0.02
    steps: int = 5000
    init_std: float = 0.2
    active: float = 1e-3
    """A singular value above this counts as an active direction."""


@dataclass(frozen=True)
class Config:
    """Config of the weight-decay study."""

    factorisation: Factorisation = field(default_factory=Factorisation)
    descent: Descent = field(default_factory=Descent)
    minima: Minima = field(default_factory=Minima)
    scalar_pair: ScalarPair = field(default_factory=ScalarPair)
    adaptive: Adaptive = field(default_factory=Adaptive)
    two_layers: TwoLayers = field(default_factory=TwoLayers)


PRESETS = {
    "smoke": Preset(
        Config(
            factorisation=Factorisation(steps=40),
            descent=Descent(steps=80),
            minima=Minima(steps=10, one_steps=5),
            scalar_pair=ScalarPair(steps=10),
            adaptive=Adaptive(steps=10),
            two_layers=TwoLayers(steps=10),
        ),
        seeds=2,
    ),
    "quick": Preset(Config(), seeds=20),
    "cpu": Preset(
        Config(),
        seeds=40,
        minutes={"step": 0.024, "minima": 0.14, "descent": 0.088, "factorisation": 0.09, "scalar-pair": 0.22, "adaptive": 0.26, "two-layers": 1.1},
    ),
    "paper": Preset(Config(), seeds=40),
}
