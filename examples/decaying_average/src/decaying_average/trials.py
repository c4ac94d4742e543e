"""What the study trains: one decay, on walks that move and on walks that stand almost still."""

from dataclasses import replace

from decaying_average.config import Config
from decaying_average.train import build, train
from mesocosm.studies.interface import Trial


def trials(config: Config) -> list[Trial]:
    """Two arms of one program."""
    still = replace(config, walk=replace(config.walk, step=config.walk.step / 10))
    return [Trial("moving", train, config, models={"forecaster": build}), Trial("still", train, still, models={"forecaster": build})]
