"""Trains linear attention, a mesa layer or the user's layer, and compares each with in-context regression."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from mesocosm.analysis.in_context.attention_products import ProductAttention, compress, expand, interpolate
from mesocosm.analysis.in_context.regression import least_squares, line_search
from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import ResidualStack
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import Systems
from mesocosm.studies.mesa.networks import NetworkArm, Trained, build_linear, build_mesa, build_user_mixer, learner, predict
from mesocosm.studies.mesa.probing import measure_probes
from mesocosm.studies.mesa.references import Sequences, draw_sequences, group_means, orthogonal_systems, sequence_losses, step_predictor
from mesocosm.studies.mesa.weights import measure_compressed, measure_weights, products_of
from mesocosm.tasks.linear_systems import LinearSystems
from mesocosm.tasks.task import digest


def train_linear(arm: NetworkArm, context: Context) -> Tables:
    """Linear attention: its losses, whole and compressed, and its weights (one layer) or probes (deeper)."""
    trained = _train(arm, build_linear, context)
    further = measure_weights if arm.network.layers == 1 else measure_probes
    return _losses(arm, context, trained) | measure_compressed(arm, context, trained) | further(arm, context, trained)


def train_mesa(arm: NetworkArm, context: Context) -> Tables:
    """One mesa layer: its losses."""
    return _losses(arm, context, _train(arm, build_mesa, context))


def train_user_mixer(arm: NetworkArm, context: Context) -> Tables:
    """The user's layer: its losses."""
    return _losses(arm, context, _train(arm, build_user_mixer, context))


def _train(arm: NetworkArm, build: Any, context: Context) -> Trained:
    """Train, publish, and draw the evaluation data. Each replicate has its own fixed system."""
    systems = arm.systems
    if arm.source == "fixed":
        task = context.evaluate(Partial(_draw_fixed_system, systems), context.keys("env"))
    elif arm.source == "contracting":
        task = LinearSystems.contracting(systems.dim, length=systems.length, noise=systems.noise)
    else:
        task = orthogonal_systems(arm.systems)
    fitted = context.fit("network", learner(arm, build, task), arm.training.steps, per_seed=arm.source == "fixed")
    context.publish("network", fitted.model)
    draw = Partial(draw_sequences, arm.evaluation)
    if arm.source == "fixed":
        return Trained(fitted.model, context.evaluate(Partial(_draw_with_teacher, draw, context.evaluation_key), task))
    return Trained(fitted.model, context.evaluate(draw, shared=(task, context.evaluation_key)))


def _draw_fixed_system(systems: Systems, key: PRNGKeyArray) -> LinearSystems:
    return LinearSystems.fixed_teacher(key, systems.dim, length=systems.length, noise=systems.noise)


def _draw_with_teacher(draw: Any, key: PRNGKeyArray, task: LinearSystems) -> Sequences:
    return draw(task, key)


class Measured(NamedTuple):
    """Half the squared errors on the test sequences, (sequences, time), of a network and its two references."""

    network: Array
    gradient_step: Array
    ridge: Array
    step_size: Array


def measure_network(network: ResidualStack, sequences: Sequences) -> Measured:
    """Evaluate a network and its references on the same sequences; the step size is searched on others."""
    step_size = line_search(sequences.tuning)
    return Measured(
        sequence_losses(Partial(predict, network), sequences.test),
        sequence_losses(Partial(step_predictor, step_size), sequences.test),
        sequence_losses(least_squares, sequences.test),
        step_size,
    )


def _losses(arm: NetworkArm, context: Context, trained: Trained) -> dict[str, Any]:
    measured = context.evaluate(measure_network, trained.networks, trained.sequences)
    digests = [digest(test) for test in trained.sequences.test]
    mean = {name: getattr(measured, name).mean(-1) for name in ("network", "gradient_step", "ridge")}
    versus_step, versus_step_error = log_ratio_of_means(mean["network"], mean["gradient_step"])
    versus_ridge, versus_ridge_error = log_ratio_of_means(mean["network"], mean["ridge"])
    loss = context.rows(
        layers=arm.network.layers,
        digest=digests,
        loss=mean["network"].mean(-1),
        loss_error=mean["network"].std(-1) / np.sqrt(mean["network"].shape[-1]),
        gradient_step_loss=mean["gradient_step"].mean(-1),
        ridge_loss=mean["ridge"].mean(-1),
        versus_step=versus_step,
        versus_step_error=versus_step_error,
        versus_ridge=versus_ridge,
        versus_ridge_error=versus_ridge_error,
        step_size=measured.step_size,
    )
    positions = {"position": range(1, arm.systems.length + 1)}
    curve = context.rows(positions, **{name: getattr(measured, name).mean(1) for name in ("network", "gradient_step", "ridge")})
    fifth = arm.systems.length // 5
    parts = {"late": measured.network[..., -fifth:].mean(-1), "before": measured.network[..., -2 * fifth : -fifth].mean(-1)}
    groups = {name: group_means(losses) for name, losses in {"loss": mean["network"], **parts}.items()}
    by_group = context.rows({"group": range(1, 1 + groups["loss"].shape[-1])}, digest=digests, **groups)
    return {"loss": loss, "position_loss": curve, "group_loss": by_group}


# --- twice ------------------------------------------------------------------------------------------------------------


class Retrained(Supervised):
    """The second training; holds the compression of the first."""

    first: ProductAttention


def train_twice(arm: NetworkArm, context: Context) -> Tables:
    """Train, compress, and train again from the same seed at twice the learning rate, averaging the network with the first compression on the way."""
    task = orthogonal_systems(arm.systems)
    plain = learner(arm, build_linear, task)
    first = context.fit("first", plain, arm.training.steps).model
    scalars = context.evaluate(Partial(_compress_first, arm.systems.dim), first)
    test = context.evaluate(Partial(draw_sequences, arm.evaluation), shared=(task, context.evaluation_key)).test[0]
    faster = {**plain.hyperparameters, "learning_rate": 2 * arm.training.learning_rate}
    again = Retrained(plain.build, task, plain.loss, plain.optimizer, faster, plain.batch_size, scalars)
    every = max(1, arm.training.steps // 12)
    second = context.fit("second", again, arm.training.steps, per_seed=True, probe=(Partial(_interpolated, jnp.asarray(test)), every))
    losses = second.probes
    versus, error = log_ratio_of_means(losses["interpolated"], losses["network"])
    mutant, mutant_error = log_ratio_of_means(losses["shuffled"], losses["network"])
    means = {name: losses[name].mean(-1) for name in ("network", "interpolated", "compressed")}
    columns = {"versus_network": versus, "versus_network_error": error, "mutant": mutant, "mutant_error": mutant_error, **means}
    return {"interpolation": context.rows({"step": second.probe_steps.tolist()}, **columns)}


def _compress_first(dim: int, network: ResidualStack) -> ProductAttention:
    return expand(compress(products_of(network.layers[0]), dim), dim)


def _interpolated(test: Array, second: Retrained, state: Any, key: PRNGKeyArray) -> dict[str, Array]:
    """Losses of every test sequence, mean over positions."""
    network = state.model
    now = products_of(network.layers[0])
    stacks = {
        "network": network,
        "interpolated": ResidualStack((interpolate(now, second.first),), clip=network.clip, visible=network.visible),
        "compressed": ResidualStack((second.first,), clip=network.clip, visible=network.visible),
        "shuffled": ResidualStack((interpolate(now, _other_blocks(second.first)),), clip=network.clip, visible=network.visible),
    }
    return {name: sequence_losses(Partial(predict, stack), test).mean(-1) for name, stack in stacks.items()}


def _other_blocks(products: ProductAttention) -> ProductAttention:
    """The same numbers in other blocks: the key blocks of the current and the previous state are swapped."""
    dim = products.query_key.shape[1] // 4
    swap = np.r_[0 : 2 * dim, 3 * dim : 4 * dim, 2 * dim : 3 * dim]
    return ProductAttention(products.query_key[:, :, swap], products.value_output)
