"""Trains products of two factors with several optimisers, along with controls that must differ."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from mesocosm.analysis.spectra.factor_spectra import balance, effective_rank, product_spectrum, rank_by_sum
from mesocosm.analysis.spectra.low_rank_law import Factors, decay_rate, soft_threshold
from mesocosm.learning.fit import Fitted
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.weight_decay.config import Adaptive, Deep, Descent, Factorisation, Minima, Pruning, ScalarPair, TwoLayers
from mesocosm.studies.weight_decay.parameterised import (
    Chain,
    MatrixLearner,
    MatrixProblem,
    Measurements,
    Target,
    Teacher,
    Whole,
    adam_l2,
    adamw,
    approximation_loss,
    gradient_descent,
    parameters,
    product_of,
    regression_loss,
    robust_loss,
)


def random_factors(key: PRNGKeyArray, rows: int, columns: int, rank: int, std: float) -> Factors:
    """Draw factors with independent normal entries."""
    drawn = std * jax.random.normal(key, (rows + columns, rank))
    return Factors(drawn[:rows], drawn[rows:])


def train(context: Context, name: str, learner: tuple[Any, ...], hyperparameters: Mapping[str, Any], steps: int, every: int | None = None) -> Fitted:
    """A fit of (build, loss, optimizer), with the parameters probed every so many steps."""
    build, loss, optimizer = learner
    return context.fit(name, MatrixLearner(build, loss, optimizer, hyperparameters), steps, probe=(parameters, every) if every else None)


class Trajectory(NamedTuple):
    """The factors during training, with leading axes (seeds, times)."""

    a: np.ndarray
    b: np.ndarray


def along(path: Trajectory) -> dict[str, Any]:
    """The gap and the norm of the imbalance along a trajectory."""
    found = balance(path.a, path.b)
    return {"gap": found.gap, "difference": found.difference}


def measured(factors: Any) -> dict[str, Any]:
    """The quantities in the law, for factors with any leading axes."""
    found = balance(factors.a, factors.b)
    columns = {name: getattr(found, name) for name in ("nuclear", "mean_square", "gap", "difference", "imbalance")}
    return columns | {"relative_gap": found.gap / found.mean_square}


def draw_problem(config: Minima | Descent, key: PRNGKeyArray) -> MatrixProblem:
    """Random factors, measurement matrices and noisy values."""
    factors_key, *keys = jax.random.split(key, 3)
    return MatrixProblem(random_factors(factors_key, config.rows, config.columns, config.columns, config.init_std), _draw_measurements(config, *keys))


def _draw_measurements(config: Minima | Descent | Deep, matrices_key: PRNGKeyArray, values_key: PRNGKeyArray) -> Measurements:
    matrices = jax.random.normal(matrices_key, (config.measurements, config.rows, config.columns)) / config.measurements**0.5
    drawn = jax.random.normal(values_key, (config.rows * config.columns + config.measurements,))
    target = drawn[: config.rows * config.columns].reshape(config.rows, config.columns)
    noise = drawn[config.rows * config.columns :] / config.measurements**0.5
    return Measurements(matrices, jnp.einsum("nij,ij->n", matrices, target) + config.noise * noise)


# --- along the way --------------------------------------------------------------------------------------------------


def descend(config: Descent, context: Context) -> Tables:
    """Gradient descent on a random loss that is not quadratic, with and without decay."""
    tables = []
    for arm, decay in (("decayed", config.decay), ("free", 0.0)):
        hyperparameters = {"learning_rate": config.learning_rate, "a": decay, "b": decay}
        fitted = train(context, arm, (Partial(draw_problem, config), robust_loss, gradient_descent), hyperparameters, config.steps, config.every)
        path = Trajectory(**fitted.probes)
        start = balance(path.a[:, 0], path.b[:, 0]).bound  # |D(0)| / 2 in the nuclear norm
        time = config.learning_rate * fitted.probe_steps
        bound = start[:, None] * np.exp(-2 * config.decay * time)
        law = float(decay_rate(config.learning_rate, config.decay))
        columns = {"time": np.broadcast_to(time, bound.shape), "bound": bound, "law": law, **along(path), **_bounds_on_gap(path)}
        tables.append(context.rows({"step": fitted.probe_steps.tolist()}, arm=arm, **columns))
    return {"descent": pl.concat(tables)}


def _bounds_on_gap(path: Trajectory) -> dict[str, Any]:
    """Half the nuclear norm of the imbalance (T4), and the paper's bound (Prop. B.4), along a trajectory."""
    linear = balance(path.a, path.b).bound
    nuclear = sum(np.linalg.svd(factor, compute_uv=False).sum(-1) for factor in (path.a, path.b))
    return {"linear": linear, "root": np.sqrt(2 * linear) * nuclear / 2}


def descend_deeply(config: Deep, context: Context) -> Tables:
    """The same on a product of three matrices: the norms of its two balances, with and without decay."""
    tables = []
    for arm, decay in (("decayed", config.decay), ("free", 0.0)):
        hyperparameters = {"learning_rate": config.learning_rate, **dict.fromkeys("abc", decay)}
        fitted = train(context, arm, (Partial(_draw_chain, config), robust_loss, gradient_descent), hyperparameters, config.steps, config.every)
        squares = [(np.swapaxes(one, -1, -2) @ one, one @ np.swapaxes(one, -1, -2)) for one in (fitted.probes[name] for name in "abc")]
        apart = [np.linalg.norm(left[0] - right[1], axis=(-2, -1)) for left, right in itertools.pairwise(squares)]
        time = np.broadcast_to(config.learning_rate * fitted.probe_steps, apart[0].shape)
        law = float(decay_rate(config.learning_rate, config.decay))
        for place, difference in enumerate(apart, 1):
            tables.append(context.rows({"step": fitted.probe_steps.tolist()}, arm=arm, place=place, time=time, difference=difference, law=law))
    return {"deep_descent": pl.concat(tables)}


def _draw_chain(config: Deep, key: PRNGKeyArray) -> MatrixProblem:
    factors_key, *keys = jax.random.split(key, 3)
    shapes = ((config.rows, config.columns), (config.columns, config.columns), (config.columns, config.columns))
    layers = (config.init_std * jax.random.normal(one, shape) for one, shape in zip(jax.random.split(factors_key, 3), shapes, strict=True))
    return MatrixProblem(Chain(*layers), _draw_measurements(config, *keys))


def factorise(config: Factorisation, context: Context) -> Tables:
    """Fig. 1: trajectories and final singular values for every decay, and with only one factor regularised."""
    paths, ends = [], []
    arms = [("both", decay, decay, decay) for decay in config.decays] + [("one", max(config.decays), max(config.decays), 0.0)]
    draw = Partial(_draw_diagonal, config)
    for arm, decay, decay_a, decay_b in arms:
        hyperparameters = {"learning_rate": config.learning_rate, "a": decay_a, "b": decay_b}
        fitted = train(context, f"{arm}-{decay:g}", (draw, approximation_loss, gradient_descent), hyperparameters, config.steps, config.every)
        path = Trajectory(**fitted.probes)
        law = float(decay_rate(config.learning_rate, decay))
        axes = {"step": fitted.probe_steps.tolist()}
        time = np.broadcast_to(config.learning_rate * fitted.probe_steps, path.a.shape[:2])
        paths.append(context.rows(axes, arm=arm, decay=float(decay), time=time, law=law, **along(path)))
        ends.append(_end(context, config.values, fitted.model, arm=arm, decay=float(decay)))
    return {"trajectory": pl.concat(paths), "spectrum": pl.concat(ends)}


def _draw_diagonal(config: Factorisation | Pruning, key: PRNGKeyArray) -> MatrixProblem:
    size = len(config.values)
    return MatrixProblem(random_factors(key, size, size, size, config.init_std), Target(jnp.diag(jnp.asarray(config.values)), jnp.asarray(0.0)))


def _end(context: Context, values: tuple[float, ...], factors: Any, **columns: Any) -> pl.DataFrame:
    """Final singular values, the target's, and the soft threshold, largest first."""
    targets = np.sort(np.asarray(values))[::-1]
    spectrum = product_spectrum(factors.a, factors.b)
    threshold = np.asarray(soft_threshold(jnp.asarray(targets), columns["decay"]))
    target, wanted = (np.broadcast_to(row, spectrum.shape) for row in (targets, threshold))
    return context.rows({"mode": range(1, len(values) + 1)}, **columns, target=target, value=spectrum, threshold=wanted)


def prune(config: Pruning, context: Context) -> Tables:
    """Sec. 3.4: what is left of distinct singular values with both matrices regularised, with one, and with a single matrix in their place."""
    pruned, rests = [], []
    targets = np.asarray(config.values)
    kept = np.maximum(targets - config.decay, 0.0)
    for arm, draw, decays in (
        ("both", _draw_diagonal, {"a": config.decay, "b": config.decay}),
        ("one", _draw_diagonal, {"a": config.decay, "b": 0.0}),
        ("single", _draw_whole, {"w": config.decay}),
    ):
        hyperparameters = {"learning_rate": config.learning_rate, **decays}
        model = train(context, arm, (Partial(draw, config), approximation_loss, gradient_descent), hyperparameters, config.steps).model
        whole = np.asarray(product_of(model))
        spectrum = np.linalg.svd(whole, compute_uv=False)
        distance = np.abs(whole - np.diag(targets / (1 + config.decay))).max(axis=(-2, -1))
        counts = {"directions": np.sum(spectrum > config.active, -1), "above": int(np.sum(targets > config.decay)), "rank95_sum": rank_by_sum(spectrum)}
        pruned.append(context.rows(arm=arm, **counts, distance=distance))
        if isinstance(model, Factors):
            rows = np.abs(model.a @ np.swapaxes(model.a, -1, -2) - np.diag(kept)).max(axis=(-2, -1))
            rests.append(context.rows(arm=arm, error=np.maximum(rows, np.abs(model.a - model.b).max(axis=(-2, -1)))))
    return {"pruned": pl.concat(pruned), "equilibrium": pl.concat(rests)}


def _draw_whole(config: Pruning, key: PRNGKeyArray) -> MatrixProblem:
    size = len(config.values)
    return MatrixProblem(Whole(config.init_std * jax.random.normal(key, (size, size))), Target(jnp.diag(jnp.asarray(config.values)), jnp.asarray(0.0)))


# --- adaptive optimisers --------------------------------------------------------------------------------------------


def train_scalars(config: ScalarPair, context: Context) -> Tables:
    """Two scalars, direct and factored, under Adam with L2 (no noise) and AdamW (noisy targets)."""
    tables = []
    for optimizer, decays, noise in ((adam_l2, config.decays, 0.0), (adamw, config.decoupled_decays, config.noise)):
        for form in ("direct", "factored"):
            draw = Partial(_draw_scalars, config, form, noise)
            for decay in decays:
                rates = {"w": decay} if form == "direct" else {"a": decay, "b": decay}
                hyperparameters = {"learning_rate": config.learning_rate, "steps": float(config.steps), **rates}
                name = f"{optimizer.__name__}-{form}-{decay:g}"
                model = train(context, name, (draw, approximation_loss, optimizer), hyperparameters, config.steps).model
                values = np.asarray(product_of(model))[..., 0, 0]
                targets = np.broadcast_to(np.asarray(config.targets), values.shape)
                axes = {"scalar": range(1, len(config.targets) + 1)}
                unequal = np.abs(np.abs(model.a) - np.abs(model.b))[..., 0, 0] if isinstance(model, Factors) else np.zeros_like(values)
                tables.append(context.rows(axes, optimizer=optimizer.__name__, form=form, decay=float(decay), target=targets, value=values, unequal=unequal))
    return {"scalars": pl.concat(tables)}


def _draw_scalars(config: ScalarPair, form: str, noise: Any, key: PRNGKeyArray) -> MatrixProblem:
    number = len(config.targets)
    a, b = config.init_std * jax.random.normal(key, (2, number, 1, 1))
    target = Target(jnp.asarray(config.targets)[:, None, None], jnp.asarray(noise))
    return MatrixProblem(Factors(a, b) if form == "factored" else Whole(a), target)


def factorise_adaptively(config: Adaptive, context: Context) -> Tables:
    """A rotated target under Adam with L2 (no noise) and AdamW (noisy targets): final balance and rank by decay."""
    ends, balances = [], []
    arms = [(adam_l2, 0.0, "both", decay) for decay in config.decays] + [(adamw, config.noise, "both", decay) for decay in config.decoupled_decays]
    for optimizer, noise, arm, decay in [*arms, (adamw, config.noise, "one", max(config.decoupled_decays))]:
        rates = {"learning_rate": config.learning_rate, "steps": float(config.steps), "a": decay, "b": 0.0 if arm == "one" else decay}
        learner = (Partial(_draw_rotated, config, noise), approximation_loss, optimizer)
        model = train(context, f"{optimizer.__name__}-{arm}-{decay:g}", learner, rates, config.steps).model
        columns: dict[str, Any] = {"optimizer": optimizer.__name__, "arm": arm, "decay": float(decay)}
        spectrum = product_spectrum(model.a, model.b)
        ranks: dict[str, Any] = {"rank95_sum": rank_by_sum(spectrum), "effective_rank": effective_rank(spectrum)}
        balances.append(context.rows(**columns, **measured(model), **ranks))
        ends.append(_end(context, config.values, model, **columns))
    return {"adaptive_balance": pl.concat(balances), "adaptive_spectrum": pl.concat(ends)}


def _draw_rotated(config: Adaptive, noise: Any, key: PRNGKeyArray) -> MatrixProblem:
    """A target with fresh singular vectors, so that no coordinate of Adam's is aligned with them; by Gram and Schmidt, since LAPACK stays out of programs."""
    size = len(config.values)
    factors_key, vectors_key = jax.random.split(key)
    left, right = (_orthonormal(matrix) for matrix in jax.random.normal(vectors_key, (2, size, size)))
    matrix = (left * jnp.asarray(config.values)) @ right.T
    return MatrixProblem(random_factors(factors_key, size, size, size, config.init_std), Target(matrix, jnp.asarray(noise)))


def _orthonormal(matrix: Array) -> Array:
    columns: list[Array] = []
    for place in range(matrix.shape[1]):
        column = matrix[:, place]
        for _ in range(2):  # twice is enough
            for other in columns:
                column = column - other * (other @ column)
        columns.append(column / jnp.linalg.norm(column))
    return jnp.stack(columns, axis=1)


# --- two layers -----------------------------------------------------------------------------------------------------


def train_two_layers(config: TwoLayers, context: Context) -> Tables:
    """Count the hidden directions that stay with both matrices regularised, one, or none."""
    counts, spectra = [], []
    for arm, decay_a, decay_b in (("both", config.decay, config.decay), ("one", config.decay, 0.0), ("none", 0.0, 0.0)):
        hyperparameters = {"learning_rate": config.learning_rate, "a": decay_a, "b": decay_b}
        learner = (Partial(_draw_teacher, config), regression_loss, gradient_descent)
        model = train(context, arm, learner, hyperparameters, config.steps).model
        spectrum = product_spectrum(model.a, model.b)
        neurons = np.linalg.norm(model.a, axis=1) * np.linalg.norm(model.b, axis=1)
        counts.append(context.rows(arm=arm, directions=np.sum(spectrum > config.active, -1), teacher=len(config.teacher_values)))
        sizes = {"place": range(1, config.width + 1)}
        spectra.append(context.rows(sizes, arm=arm, value=spectrum, neuron=np.sort(neurons, axis=-1)[:, ::-1].copy()))
    return {"hidden": pl.concat(counts), "hidden_spectrum": pl.concat(spectra)}


def _draw_teacher(config: TwoLayers, key: PRNGKeyArray) -> MatrixProblem:
    factors_key, vectors_key = jax.random.split(key)
    rank = len(config.teacher_values)
    left, right = (_orthonormal(matrix) for matrix in jax.random.normal(vectors_key, (2, config.width, rank)))
    matrix = (left * jnp.asarray(config.teacher_values)) @ right.T
    teacher = Teacher(matrix, jnp.asarray(config.noise), jnp.zeros(config.batch_size))
    return MatrixProblem(random_factors(factors_key, config.width, config.width, config.width, config.init_std), teacher)
