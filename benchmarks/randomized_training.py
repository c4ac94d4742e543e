"""Randomised algorithms in one program: a training step and a test over all inputs and seeds against loops over seeds, and generations of evolution."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.learning.evolution import PACKAGES, Evolution, pgpe
from mesocosm.learning.fit import fit
from mesocosm.learning.optimizers import sgd
from mesocosm.learning.relaxed_adversary import RelaxedAdversary, q_norm
from mesocosm.learning.streams import stream_key
from mesocosm.studies.randomized.config import Recall, Training
from mesocosm.studies.randomized.networks import Arm, build_network, task_of
from mesocosm.studies.randomized.train import recall_loss
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "randomized_training"
TITLE = "all inputs and seeds in one program, and by hand"
LOOP = "a Python loop over seeds, one jitted call each"
LEARNING_RATE, Q = 0.01, 10.0
CHECKED_STEPS = 3
SEARCH = {"learning_rate": 0.01, "std": 0.1, "std_learning_rate": 0.01}
EVOLUTION_LIMIT = "The start and the end of a fit, and metrics of every generation"


@dataclass(frozen=True)
class Size:
    """Words to recall, width, inputs and seeds of a step, steps, inputs and seeds of the test, members and generations, seconds of timing a row."""

    pairs: int
    width: int
    batch: int
    seeds: int
    steps: int
    inputs: int
    test_seeds: int
    population: int
    generations: int
    seconds: float


SIZES = {
    "tiny": Size(3, 4, 4, 2, 3, 6, 4, 4, 3, 0.0),
    "small": Size(8, 24, 64, 8, 50, 256, 90, 64, 50, 1.0),
    "full": Size(8, 24, 64, 8, 500, 256, 90, 64, 50, 10.0),
}


def cases(sizes: str) -> Sequence[Case]:
    """A training, a test, generations."""
    size = SIZES[sizes]
    return [Case("training", 2, partial(train, size)), Case("test", 1, partial(test, size)), Case("generations", 2, partial(evolve, size))]


def arm(size: Size) -> Arm:
    """The study's network for recall, with a slot per key as its seed."""
    return Arm(Recall(pairs=size.pairs, width=size.width), Training(), Q, size.seeds, True, size.test_seeds)


def train(size: Size) -> list[Row]:
    """Steps on the q-norm over inputs of the mean over seeds. The loop takes two passes over the seeds: the losses, then the gradient of their weighted sum."""
    learner = RelaxedAdversary(
        jax.tree_util.Partial(build_network, arm(size)),
        task_of(arm(size).problem),
        recall_loss,
        sgd,
        {"learning_rate": LEARNING_RATE},
        size.batch,
        q=Q,
        seeds=size.seeds,
    )

    def fitted(steps: int) -> list[np.ndarray]:
        return arrays(jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, fit(learner, steps, [0]).model))

    looped = train_by_loop(size)
    checked, reference = fitted(CHECKED_STEPS), arrays(looped(CHECKED_STEPS))
    ours = Contender("mesocosm", lambda: fit(learner, size.steps, [0]), lambda _: checked)
    theirs = Contender(LOOP, lambda: looped(size.steps), lambda _: reference)
    text = f"{size.steps} steps, {size.batch} inputs, {size.seeds} seeds"
    return [Comparison(NAME, "training", text, size.seconds, Target("ratio", "≥", 1.0)).timed(ours, theirs, lambda _: reference)]


def train_by_loop(size: Size) -> Callable[[int], Any]:
    """The same training, step by step and seed by seed."""
    task = task_of(arm(size).problem)

    @jax.jit
    def draw(number: Any) -> Any:
        data_key, loss_key = jax.random.split(jax.random.fold_in(stream_key(0, "data"), number))
        return jax.vmap(task.sample)(jax.random.split(data_key, size.batch)), jax.random.split(loss_key, size.seeds)

    @jax.jit
    def losses(model: Any, examples: Any, seed: Any) -> Any:
        return jax.vmap(lambda example: recall_loss(model, example, seed))(examples)

    @jax.jit
    def weights(mean: Any) -> Any:
        return jax.grad(q_norm)(mean, Q)

    @jax.jit
    def gradient(model: Any, examples: Any, seed: Any, weight: Any) -> Any:
        return jax.grad(lambda m: jnp.sum(weight * losses(m, examples, seed)))(model)

    @jax.jit
    def move(model: Any, gradients: Any) -> Any:
        return jax.tree.map(lambda leaf, *parts: leaf - LEARNING_RATE * sum(parts) / size.seeds, model, *gradients)

    def run(steps: int) -> Any:
        model = build_network(arm(size), stream_key(0, "init"))
        for number in range(steps):
            examples, seeds = draw(number)
            weight = weights(sum(losses(model, examples, seed) for seed in seeds) / size.seeds)
            model = move(model, [gradient(model, examples, seed, weight) for seed in seeds])
        return jax.block_until_ready(model)

    return run


def test(size: Size) -> list[Row]:
    """The losses of all inputs under all seeds."""
    model = build_network(arm(size), jax.random.key(0))
    examples = jax.vmap(task_of(arm(size).problem).sample)(jax.random.split(jax.random.key(1), size.inputs))
    seeds = jax.random.split(jax.random.key(2), size.test_seeds)

    def under(seed: Any) -> Any:
        return jax.vmap(lambda example: recall_loss(model, example, seed))(examples)

    together, one = jax.jit(lambda seeds: jax.lax.map(under, seeds)), jax.jit(under)
    ours = Contender("mesocosm", lambda: jax.block_until_ready(together(seeds)), lambda out: [np.asarray(out)])
    theirs = Contender(LOOP, lambda: jax.block_until_ready([one(seed) for seed in seeds]), lambda out: [np.stack(out)])
    row = Comparison(NAME, "test", f"{size.inputs} inputs, {size.test_seeds} seeds", size.seconds, Target("ratio", "≥", 1.0))
    return [row.timed(ours, theirs, lambda _: [np.asarray(together(seeds))])]


def evolve(size: Size) -> list[Row]:
    """Generations of PGPE: `Evolution` under `fit` against evosax in a scan written by hand."""
    row = Comparison(NAME, "generations", f"{size.generations} of {size.population} members", size.seconds, Target("ratio", "≥", 0.9), EVOLUTION_LIMIT)
    peer = "evosax in a hand-written scan"
    if importlib.util.find_spec("evosax") is None:
        return [row.skipped(peer, f"evosax is not installed; {PACKAGES['evosax']}")]
    examples = jax.vmap(task_of(arm(size).problem).sample)(jax.random.split(jax.random.key(1), size.batch))

    def worst(model: Any, key: Any) -> Any:
        over_seeds = jax.vmap(lambda seed: jax.vmap(lambda example: recall_loss(model, example, seed))(examples))
        return q_norm(over_seeds(jax.random.split(key, size.seeds)).mean(axis=0), jnp.inf)

    learner = Evolution(jax.tree_util.Partial(build_network, arm(size)), worst, pgpe, SEARCH, size.population)
    by_hand = evolve_by_hand(size, worst)
    checked = arrays(jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, fit(learner, size.generations, [0]).model))
    ours = Contender("mesocosm", lambda: fit(learner, size.generations, [0]), lambda _: checked)
    theirs = Contender(peer, by_hand, arrays)
    return [row.timed(ours, theirs, lambda _: arrays(by_hand()))]


def evolve_by_hand(size: Size, worst: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    """The same generations, with the keys that `fit` and `Evolution` use."""
    build_key, strategy_key = jax.random.split(stream_key(0, "init"))
    mean = build_network(arm(size), build_key)
    strategy, params = pgpe(size.population, mean, **SEARCH)

    def generation(state: Any, number: Any) -> Any:
        ask_key, loss_key, tell_key = jax.random.split(jax.random.fold_in(stream_key(0, "data"), number), 3)
        members, state = strategy.ask(ask_key, state, params)
        losses = jax.vmap(lambda member: worst(member, loss_key))(members)
        state, _ = strategy.tell(tell_key, members, losses, state, params)
        return jax.tree.map(lambda leaf, start: jnp.asarray(leaf, start.dtype), state, first), None

    first = jax.tree.map(jnp.asarray, strategy.init(strategy_key, mean, params))
    run = jax.jit(lambda state: strategy.get_mean(jax.lax.scan(generation, state, jnp.arange(size.generations))[0]))
    return lambda: jax.block_until_ready(run(first))


def arrays(model: Any) -> list[np.ndarray]:
    """Its numbers."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
