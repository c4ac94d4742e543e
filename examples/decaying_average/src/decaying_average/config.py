"""The sizes of the study."""

from dataclasses import dataclass, field

from mesocosm.studies.interface import Preset


@dataclass(frozen=True)
class Walk:
    """A random walk seen through noise."""

    step: float = 0.3
    """Standard deviation of a step of the level."""
    noise: float = 1.0
    """Standard deviation of an observation about the level."""
    length: int = 100
    """Observations of a sequence; predictions count from the middle on, where the first level is forgotten."""


@dataclass(frozen=True)
class Config:
    """Everything that the study depends on."""

    walk: Walk = field(default_factory=Walk)
    steps: int = 400
    """Updates."""
    learning_rate: float = 0.03
    """Of Adam."""
    batch_size: int = 64
    """Fresh sequences a step."""
    test_sequences: int = 4096
    """Sequences on which both predictors are compared."""


PRESETS = {
    "smoke": Preset(Config(steps=20, test_sequences=64), seeds=2),
    "quick": Preset(Config(), seeds=5, minutes={"moving": 0.04, "still": 0.02}),
}
