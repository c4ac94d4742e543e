"""Treasure hunts in a grid: a transformer that hears its random seed first, trained by evolution, and tested on every treasure under every test seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from mesocosm.analysis.grid_hunts import hunt_values, shortest_ways
from mesocosm.envs import TreasureGrid
from mesocosm.learning.evolution import Evolution, pgpe
from mesocosm.learning.relaxed_adversary import Scalar, q_norm
from mesocosm.nn import Attention, FeedForward, LayerNorm, Linear, SequenceModel, SinusoidalPositions, TransformerBlock
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.randomized.config import Grid, Search
from mesocosm.studies.randomized.tables import LARGEST_Q

WORST = 95.0  # percentile over treasures


@dataclass(frozen=True)
class Hunter:
    """One agent: the grid, how it is trained, and whether its seed is random."""

    problem: Grid
    training: Search
    adversary: bool
    seeds: int
    randomised: bool
    test_seeds: int
    most: int | None = None
    """In a sweep over the number of seeds, its largest: the compiled program has room for so many."""

    @property
    def q(self) -> float:
        """The exponent over treasures."""
        return self.training.adversary_q if self.adversary else 1.0

    @property
    def structure(self) -> Hunter:
        """The arm without what a sweep varies: one compiled program trains all arms of equal structure."""
        return replace(self, training=replace(self.training, worst_q=None), adversary=True, seeds=1, test_seeds=1, most=None)


class Walker(eqx.Module):
    """A causal transformer over the steps of a hunt. Its first token is its seed, N(0, 1) entries; the others are observations.

    Attributes:
        model: tokens -> values of the four moves.
        only_seed: the one seed of a deterministic agent, as plain numbers; None if the seed is random.
        seed_size: number of random entries.
        features: size of an observation.
    """

    model: SequenceModel
    only_seed: UInt32[Array, " words"] | None
    seed_size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def begin(self, key: PRNGKeyArray) -> tuple[tuple, Float[Array, " moves"]]:
        """Memory of the seed, and values of the first move."""
        key = key if self.only_seed is None else jax.random.wrap_key_data(self.only_seed)
        return self.model.step(self.model.init_state(), jnp.concatenate([jax.random.normal(key, (self.seed_size,)), jnp.zeros(self.features)]))

    def observe(self, memory: tuple, observation: Float[Array, " features"]) -> tuple[tuple, Float[Array, " moves"]]:
        """Memory of one more step, and values of the next move."""
        return self.model.step(memory, jnp.concatenate([jnp.zeros(self.seed_size), observation]))


class Hunt(NamedTuple):
    """Hunts for every treasure under one seed.

    Attributes:
        places: of the walk that finds nothing.
        first: steps to each treasure in the first episode.
        second: after each treasure (first axis), steps of the second episode to each cell; None if there is one episode.
    """

    places: Int[Array | np.ndarray, "*seeds horizon"]
    first: Int[Array | np.ndarray, "*seeds cells"]
    second: Int[Array | np.ndarray, "*seeds cells cells"] | None

    @property
    def steps(self) -> Int[Array | np.ndarray, "*seeds cells"]:
        """Steps to each treasure, over all episodes."""
        return self.first if self.second is None else self.first + self.second.diagonal(axis1=-2, axis2=-1)


def build_walker(arm: Hunter, key: PRNGKeyArray) -> Walker:
    """A walker with random weights."""
    config, grid = arm.problem, grid_of(arm.problem)
    seed_key, embed_key, readout_key, *keys = jax.random.split(key, 3 + config.layers)
    mixer = partial(Attention.create, heads=config.heads, key_dim=config.key_size, bias=True, max_length=1 + grid.horizon * grid.episodes)
    blocks = tuple(TransformerBlock.create(config.width, mixer=mixer, feed_forward=partial(FeedForward.create, hidden=config.hidden), key=k) for k in keys)
    (features,) = grid.observation_space(grid.default_params).shape
    embed = Linear.create(config.seed_size + features, out_dim=config.width, key=embed_key)
    readout = Linear.create(config.width, out_dim=grid.num_actions, key=readout_key)
    model = SequenceModel(embed, SinusoidalPositions(config.width), blocks, LayerNorm.create(config.width), readout)
    return Walker(model, None if arm.randomised else jax.random.key_data(seed_key), config.seed_size, features)


def grid_of(config: Grid) -> TreasureGrid:
    """The environment."""
    return TreasureGrid(config.side, config.episodes)


def hunt(grid: TreasureGrid, walker: Walker, key: PRNGKeyArray) -> Hunt:
    """Every hunt under one seed: one walk, and one more for each treasure if there is a second episode."""
    walk = grid.explore(walker.observe, *walker.begin(key))
    if grid.episodes == 1:
        return Hunt(walk.places, walk.first_visits, None)

    def again(treasure: Array) -> Array:
        return grid.explore(walker.observe, *grid.after_finding(walker.observe, walk, treasure)).first_visits

    return Hunt(walk.places, walk.first_visits, jax.vmap(again)(jnp.arange(grid.cells)))


def hunting_loss(grid: TreasureGrid, most: int, q: Scalar, used: Scalar, walker: Walker, key: PRNGKeyArray) -> Float[Array, ""]:
    """The q-norm over treasures of the mean number of steps over the first `used` of `most` seeds; both numbers are traced, so that sweeps compile once."""
    steps = jax.vmap(lambda seed: hunt(grid, walker, seed).steps[1:])(jax.random.split(key, most))
    weights = (jnp.arange(most) < used) / used
    return q_norm(weights @ steps, q)


def test_hunts(arm: Hunter, walker: Walker, key: PRNGKeyArray) -> Hunt:
    """Every hunt under every test seed (a deterministic agent: one)."""
    seeds = jax.random.split(key, arm.test_seeds if arm.randomised else 1)
    return jax.lax.map(lambda seed: hunt(grid_of(arm.problem), walker, seed), seeds)


def learner_of(arm: Hunter) -> Evolution:
    """How an agent learns. The exponent and the number of seeds, up to `arm.most`, are traced."""
    training = arm.training
    hyperparameters = {"learning_rate": training.learning_rate, "std": training.std, "std_learning_rate": training.std_learning_rate}
    loss = Partial(hunting_loss, grid_of(arm.problem), arm.most or arm.seeds, arm.q, float(arm.seeds))
    return Evolution(Partial(build_walker, arm.structure), loss, pgpe, hyperparameters, training.population)


def train_walker(arm: Hunter, context: Context) -> Tables:
    """Train an agent and test it."""
    fitted = context.fit("walker", learner_of(arm), arm.training.generations)
    context.publish("walker", fitted.model)
    hunts = context.evaluate(Partial(test_hunts, arm), fitted.model, context.keys("eval"))
    return tables_of(arm, context, hunts)


def tables_of(arm: Hunter, context: Context, hunts: Hunt) -> Tables:
    """One row per replicate; the mean steps to each treasure; and how a second episode goes."""
    steps = hunts.steps.mean(axis=1)[:, 1:]
    worst, possible = steps.max(axis=1), hunt_values(arm.problem.side, arm.problem.episodes)
    labels = {"randomised": arm.randomised, "q": min(arm.q, LARGEST_Q), "m": arm.seeds}
    paths = [np.unique(places, axis=0, return_counts=True)[1] for places in hunts.places]
    tables = {
        "hunts": context.rows(
            **labels,
            average=steps.mean(axis=1),
            worst=worst,
            excess=worst - possible.deterministic,
            tail=np.percentile(steps, WORST, axis=1),
            unevenness=steps.std(axis=1),
            walk_unevenness=hunts.steps[:, :, 1:].std(axis=-1).mean(axis=-1),
            paths=[len(counts) for counts in paths],
            commonest=[counts.max() / counts.sum() for counts in paths],
        ),
        "visits": context.rows({"cell": range(1, steps.shape[1] + 1)}, **labels, steps=steps),
    }
    return tables if hunts.second is None else tables | {"returns": context.rows({}, **labels, **returns(arm.problem, hunts))}


def returns(config: Grid, hunts: Hunt) -> dict[str, list[float]]:
    """Shares of found treasures to which the second episode takes the shortest way: where it was found, and in the other cells, had it been moved there.

    Both are 0 for an agent that finds none.
    """
    shortest = shortest_ways(config.side)
    cells = np.arange(1, len(shortest))
    found = np.any(hunts.places[..., None] == cells, axis=-2)  # replicates, seeds, treasures
    straight = (np.asarray(hunts.second) == shortest)[..., 1:, 1:]  # ..., treasures, cells
    same = straight.diagonal(axis1=-2, axis2=-1)
    moved = (straight.sum(axis=-1) - same) / (len(cells) - 1)
    return {name: [part[of].sum() / max(of.sum(), 1) for part, of in zip(parts, found, strict=True)] for name, parts in (("same", same), ("moved", moved))}
