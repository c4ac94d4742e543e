"""The sizes of the toy study."""

from dataclasses import dataclass, field

from mesocosm.studies.interface import Preset


@dataclass(frozen=True)
class Bowl:
    """The quadratic bowl."""

    dim: int = 4
    """Number of coordinates."""
    noise: float = 0.01
    """Standard deviation of the gradient's noise."""


@dataclass(frozen=True)
class Descent:
    """One arm: how the ball rolls in which bowl."""

    bowl: Bowl
    steps: int
    learning_rate: float


@dataclass(frozen=True)
class Config:
    """Everything that the toy study depends on."""

    bowl: Bowl = field(default_factory=Bowl)
    steps: int = 50
    """Updates of each arm."""
    learning_rate: float = 0.1
    instances: int = 100
    """Random instances of the identity."""
    label: str = "toy"


PRESETS = {
    "smoke": Preset(Config(steps=5), seeds=2),
    "quick": Preset(Config(), seeds=8, minutes={"identity": 0.01, "rolling": 0.02, "frozen": 0.02, "probe": 0.01}),
    "cpu": Preset(Config(steps=200), seeds=16),
}
