"""Two groups of points in the plane: maps of each part of the variance, and its correlation with distance and angle to the points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.tables import long_table
from mesocosm.analysis.tangent.infinite_width import infinite_width_kernels
from mesocosm.analysis.tangent.variance_decomposition import VarianceParts, variance_parts
from mesocosm.nn.tangent_parametrisation import TangentMLP
from mesocosm.studies.ensembles.config import Toy
from mesocosm.studies.ensembles.kernels import draw_networks, models_of, weights_of
from mesocosm.studies.interface import Context, Tables

ANGLES = (0.3, 0.5, 0.7, 2.6, 2.8, 3.0)
RADII = (1.0, 1.3, 0.8, 1.1, 0.9, 1.2)
LABELS = (1.0, 1.0, 1.0, -1.0, -1.0, -1.0)
EDGE = 3.0
PARTS = ("full", "function", "kernel", "interaction")


@dataclass(frozen=True)
class Network:
    """One of the toy's networks."""

    name: str
    depth: int
    bias_scale: float


class Plane(NamedTuple):
    """The training points, and the distance and angle from each grid place to them.

    Attributes:
        train: the six points.
        grid: the places.
        distance: from a place to the nearest point.
        angle: the smallest angle between a place's direction and a point's.
        turned_distance, turned_angle: the same for the points rotated by 90 degrees, which the networks have not seen.
    """

    train: Float[np.ndarray, "6 2"]
    grid: Float[np.ndarray, "places 2"]
    distance: Float[np.ndarray, " places"]
    angle: Float[np.ndarray, " places"]
    turned_distance: Float[np.ndarray, " places"]
    turned_angle: Float[np.ndarray, " places"]


def plane(config: Toy, turn: float) -> Plane:
    """A grid, and six points rotated about the origin by `turn`, so that each replicate has its own points."""
    angles = np.asarray(ANGLES) + turn
    axis = np.linspace(-EDGE, EDGE, config.grid)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2) + 1e-3  # the shift avoids the origin, which has no angle

    def nearest(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = np.asarray(RADII)[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
        between = np.abs(np.angle(np.exp(1j * (np.arctan2(grid[:, 1], grid[:, 0])[:, None] - angles))))
        return np.linalg.norm(grid[:, None] - points, axis=-1).min(1), between.min(1)

    return Plane(np.asarray(RADII)[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1), grid, *nearest(angles), *nearest(angles + np.pi / 2))


def networks(config: Toy) -> list[Network]:
    """One hidden layer without and with biases, and two hidden layers."""
    return [Network("one hidden layer", 1, 0.0), Network("one hidden layer, biases", 1, config.bias_scale), Network("two hidden layers", 2, 0.0)]


def measure_toy(config: Toy, context: Context) -> Tables:
    """Rank correlations of each part of the variance with distance and angle, one row per network and part; the first seed's maps."""
    turns = np.asarray(context.evaluate(_turn, context.keys("env")))
    planes = [plane(config, float(turn)) for turn in turns]
    stacked = Plane(*(np.stack(parts) for parts in zip(*planes, strict=True)))
    tables, maps = [], []
    for network in networks(config):
        found = context.evaluate(Partial(toy_variances, config, network), stacked.train, stacked.grid, context.keys("init"))
        each = [[correlations(places, np.asarray(getattr(found, part)[seed])) for part in PARTS] for seed, places in enumerate(planes)]
        columns = {name: np.array([[part[name] for part in parts] for parts in each]) for name in each[0][0]}
        tables.append(context.rows({"part": PARTS}, network=network.name, **columns))
        axes = {"seed": context.seeds[:1], "network": [network.name], "place": range(config.grid**2)}
        first = {name: np.asarray(getattr(found, name)[:1])[:, None] for name in PARTS}
        maps.append(long_table(axes, x=stacked.grid[:1, None, :, 0], y=stacked.grid[:1, None, :, 1], **first))
    import polars as pl

    points = long_table(
        {"seed": context.seeds[:1], "point": range(len(LABELS))}, x=stacked.train[:1, :, 0], y=stacked.train[:1, :, 1], label=np.asarray(LABELS)[None]
    )
    return {"correlations": pl.concat(tables), "maps": pl.concat(maps), "points": points}


def correlations(places: Plane, variance: Float[np.ndarray, " places"]) -> dict[str, float]:
    """Rank correlations of a variance with the distance, and of the variance over the squared norm with the angle; `_alone`: of the variance, with the norm
    and the other of the two held fixed."""
    square = np.sum(places.grid**2, axis=1)
    per_square = variance / square
    return {
        "distance": rank_correlation(variance, places.distance),
        "turned_distance": rank_correlation(variance, places.turned_distance),
        "distance_alone": rank_correlation(variance, places.distance, places.angle, square),
        "turned_distance_alone": rank_correlation(variance, places.turned_distance, places.turned_angle, square),
        "angle": rank_correlation(per_square, places.angle),
        "turned_angle": rank_correlation(per_square, places.turned_angle),
        "angle_alone": rank_correlation(variance, places.angle, places.distance, square),
    }


def rank_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], *fixed: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation, partial if some variables are held fixed: the correlation of what a linear fit to their ranks leaves of the ranks."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(values) for values in (a, b, *fixed)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    left = ranks[:2] - np.linalg.lstsq(ranks[2:].T, ranks[:2].T, rcond=None)[0].T @ ranks[2:] if fixed else ranks
    return float(np.corrcoef(left)[0, 1])


def _turn(key: PRNGKeyArray) -> Array:
    return jax.random.uniform(key, (), maxval=2 * jnp.pi)


def _build(config: Toy, network: Network, key: PRNGKeyArray) -> TangentMLP:
    return TangentMLP.create(2, 1, width=config.width, depth=network.depth, bias_scale=network.bias_scale, key=key)


def toy_variances(config: Toy, network: Network, train: Array, grid: Array, key: PRNGKeyArray) -> VarianceParts:
    """One replicate of one network."""
    kernel = infinite_width_kernels(jnp.concatenate([grid, train]), train, depth=network.depth, bias_scale=network.bias_scale).ntk
    draws = draw_networks(Partial(_build, config, network), jax.random.split(key, config.members), grid, train, at_once=config.at_once)
    return variance_parts(models_of(draws, weights_of(kernel), jnp.asarray(LABELS)))
