"""Trials of the randomized study: theory, recall and colouring."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.studies.interface import Trial
from mesocosm.studies.randomized.config import Config
from mesocosm.studies.randomized.networks import Arm, build_network
from mesocosm.studies.randomized.tables import name
from mesocosm.studies.randomized.theory import check_theory
from mesocosm.studies.randomized.train import train


def trials(config: Config) -> list[Trial]:
    """One trial per network; networks that differ only in q share one compiled program."""
    recall = {(True, q, config.seeds_per_step) for q in config.recall_q}
    recall |= {(False, q, 1) for q in config.recall_fixed_q}
    recall |= {(True, config.recall_judged_q, seeds) for seeds in config.recall_seeds}
    colouring = {(True, q, config.seeds_per_step) for q in config.colouring_q} | {(False, q, 1) for q in config.colouring_fixed_q}

    def arm(problem: str, randomised: bool, q: float, seeds: int) -> Trial:
        of, training = (config.recall, config.recall_training) if problem == "recall" else (config.colouring, config.colouring_training)
        judged = {1.0, config.recall_judged_q if problem == "recall" else config.colouring_judged_q}
        swept = q not in judged or (randomised and seeds not in (1, config.seeds_per_step))
        return Trial(
            name(problem, randomised, q, seeds),
            train,
            Arm(of, training, q, seeds, randomised, config.test_seeds),
            models={"network": build_network},
            seeds=config.sweep_replicates if swept else None,
        )

    found = [Trial("theory", check_theory, config.theory, precision="float64", seeds=1)]
    found += [arm("recall", *key) for key in sorted(recall)] + [arm("colouring", *key) for key in sorted(colouring)]
    return found + (_enough(config) if config.enough_layers else [])


def _enough(config: Config) -> list[Trial]:
    """Colouring with as many rounds as it takes."""
    problem = replace(config.colouring, layers=config.enough_layers)
    return [
        Trial(
            name("enough", randomised, config.colouring_judged_q, seeds),
            train,
            Arm(problem, config.colouring_training, config.colouring_judged_q, seeds, randomised, config.test_seeds),
            models={"network": build_network},
        )
        for randomised, seeds in ((True, config.seeds_per_step), (False, 1))
    ]
