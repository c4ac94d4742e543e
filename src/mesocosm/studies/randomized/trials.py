"""Trials of the randomized study: theory, recall, colouring and treasure hunts."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.learning.evolution import PACKAGES
from mesocosm.studies.interface import Trial
from mesocosm.studies.part_names import code_of
from mesocosm.studies.parts import check_model
from mesocosm.studies.randomized.config import Config, Search
from mesocosm.studies.randomized.grid import Hunter, build_walker, train_walker
from mesocosm.studies.randomized.networks import Arm, build_network, sizes_of
from mesocosm.studies.randomized.tables import name
from mesocosm.studies.randomized.theory import check_theory
from mesocosm.studies.randomized.train import VOTERS, train


def check(config: Config) -> None:
    """Reject a model that does not fit recall or colouring.

    Raises:
        ValueError: see `check_model`.
    """
    for problem in (config.recall, config.colouring):
        check_model(config.model, *sizes_of(problem))


def check_numbers(config: Config) -> None:
    """Reject sizes, numbers of seeds and exponents for which nothing can be trained, tested or judged.

    Raises:
        ValueError: names the field.
    """
    at_least = {
        "colouring.vertices": (3, config.colouring.vertices),
        "grid.side": (2, config.grid.side),
        "larger_side": (2, config.larger_side or 2),
        "recall_training.seeds": (1, config.recall_training.seeds),
        "colouring_training.seeds": (1, config.colouring_training.seeds),
        "search.seeds": (1, config.search.seeds),
        "enough_seeds": (1, config.enough_seeds),
        "recall_seeds": (1, *config.recall_seeds),
        "grid_seeds": (1, *config.grid_seeds),
        "recall_q": (1, *config.recall_q),
        "recall_fixed_q": (1, *config.recall_fixed_q),
        "recall_judged_q": (1, config.recall_judged_q),
        "recall_weak_q": (1, config.recall_weak_q),
        "colouring_q": (1, *config.colouring_q),
        "colouring_fixed_q": (1, *config.colouring_fixed_q),
        "colouring_judged_q": (1, config.colouring_judged_q),
        "search.worst_q": (1, config.search.adversary_q),
        "grid_finite_q": (1, config.grid_finite_q),
        "twice_q": (1, config.twice_q),
        "search.population": (2, config.search.population),
        "test_seeds": (max(VOTERS), config.test_seeds),
    }
    for field, (least, *found) in at_least.items():
        if wrong := [number for number in found if not number >= least]:
            raise ValueError(f"{field} must be at least {least}, not {wrong[0]:g}")
    if config.search.population % 2:
        raise ValueError(f"search.population must be even, not {config.search.population}: members come in pairs")
    trained = {name: getattr(config, name) for name in ("recall_q", "recall_fixed_q", "colouring_q", "colouring_fixed_q")}
    for field, exponents in trained.items():
        judged = config.judged_q(field.partition("_")[0])
        if exponents and not config.model and judged not in exponents:
            raise ValueError(
                f"{field} must have {judged:g}, the exponent that claims are judged at, or nothing; it has {', '.join(f'{q:g}' for q in exponents)}"
            )


def trials(config: Config) -> list[Trial]:
    """One trial per network. The networks of a sweep, over q or over the number of seeds, share one compiled program for each number of replicates.

    Raises:
        ValueError: a number in the config is out of range; the message names its field.
    """
    check_numbers(config)
    if config.model:
        return _beside(config)
    recall = {(True, q, config.recall_training.seeds) for q in config.recall_q}
    recall |= {(False, q, 1) for q in config.recall_fixed_q}
    recall |= {(True, config.recall_judged_q, seeds) for seeds in config.recall_seeds}
    colouring = {(True, q, config.colouring_training.seeds) for q in config.colouring_q} | {(False, q, 1) for q in config.colouring_fixed_q}

    def arm(problem: str, randomised: bool, q: float, seeds: int) -> Trial:
        of, training = (config.recall, config.recall_training) if problem == "recall" else (config.colouring, config.colouring_training)
        sweep = randomised and seeds != training.seeds
        judged = {1.0, config.judged_q(problem), *([config.recall_weak_q] if problem == "recall" and randomised else [])}
        swept = q not in judged or (sweep and seeds != 1)
        return Trial(
            name(problem, randomised, q, seeds),
            train,
            Arm(of, training, q, seeds, randomised, config.test_seeds, most=max(config.recall_seeds) if sweep else None),
            models={"network": build_network},
            seeds=config.sweep_replicates if swept else None,
        )

    found = [Trial("theory", check_theory, config.theory, precision="float64", seeds=1)]
    found += [arm("recall", *key) for key in sorted(recall)] + [arm("colouring", *key) for key in sorted(colouring)]
    return found + _enough(config) + _hunts(config)


def _beside(config: Config) -> list[Trial]:
    """A user's model beside ours: a random seed on the expected loss and against the adversary, and one fixed seed against the adversary."""
    found = []
    for problem, of, training in (("recall", config.recall, config.recall_training), ("colouring", config.colouring, config.colouring_training)):
        judged = config.judged_q(problem)
        for randomised, q, seeds in ((True, 1.0, training.seeds), (True, judged, training.seeds), (False, judged, 1)):
            ours = Arm(of, training, q, seeds, randomised, config.test_seeds)
            found.append(Trial(name(problem, randomised, q, seeds), train, ours, models={"network": build_network}))
            theirs = replace(ours, model=config.model)
            label = name(f"{problem}-user", randomised, q, seeds)
            found.append(Trial(label, train, theirs, models={"network": build_network}, user_parts=code_of(config.model)))
    return found


def _enough(config: Config) -> list[Trial]:
    """Colouring with as many rounds as it takes; nothing has to draw the network's attention to the seed, which it does not need."""
    problem = replace(config.colouring, layers=config.enough_layers, seed_gain=1.0)
    training = replace(config.colouring_training, learning_rate=config.enough_learning_rate)
    return [
        Trial(
            name("enough", randomised, config.colouring_judged_q, seeds),
            train,
            Arm(problem, training, config.colouring_judged_q, seeds, randomised, config.test_seeds),
            models={"network": build_network},
        )
        for randomised, seeds in ((True, config.enough_seeds), (False, 1))
        if config.enough_layers
    ]


def _hunts(config: Config) -> list[Trial]:
    """Agents in the grid, in a larger one, and one that hunts twice."""
    if not config.search.generations:
        return []

    def hunter(problem: str, arm: Hunter, replicates: int | None) -> Trial:
        return Trial(name(problem, arm.randomised, arm.q, arm.seeds), train_walker, arm, models={"walker": build_walker}, seeds=replicates, packages=PACKAGES)

    def once(search: Search, randomised: bool, adversary: bool, seeds: int) -> Trial:
        sweep = randomised and seeds != search.seeds
        arm = Hunter(config.grid, search, adversary, seeds, randomised, config.test_seeds, max(config.grid_seeds) if sweep else None)
        return hunter("grid", arm, None)

    arms = {(True, adversary, config.search.seeds) for adversary in (False, True)}
    arms |= {(True, adversary, seeds) for seeds in config.grid_seeds for adversary in (False, True) if adversary or seeds == 1}
    arms |= {(False, adversary, 1) for adversary in (False, True) if config.grid_fixed}
    found = [once(config.search, *arm) for arm in sorted(arms)]
    if config.grid_fixed:
        found.append(once(replace(config.search, worst_q=config.grid_finite_q), False, True, 1))
    if config.larger_side:
        grid, search = replace(config.grid, side=config.larger_side), replace(config.search, generations=config.larger_generations)
        for randomised, adversary in ((True, True), (True, False), (False, True)):
            arm = Hunter(grid, search, adversary, search.seeds if randomised else 1, randomised, config.test_seeds)
            found.append(hunter("larger", arm, config.larger_replicates))
    if config.twice_generations:
        grid, search = replace(config.grid, episodes=2), replace(config.search, generations=config.twice_generations, worst_q=config.twice_q)
        found.append(hunter("twice", Hunter(grid, search, True, search.seeds, True, config.test_seeds), config.twice_replicates))
    return found
