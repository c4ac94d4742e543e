"""Linear probes of deep networks for the next state and the preconditioned input, at every layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from mesocosm.analysis.in_context.probes import ProbeData, fit_probe, preconditioning_target, probe_loss
from mesocosm.analysis.in_context.regression import ChebyshevInverse, fit_inverse
from mesocosm.nn import ResidualStack
from mesocosm.studies.interface import Context
from mesocosm.studies.mesa.networks import NetworkArm, Trained
from mesocosm.studies.mesa.references import Sequences
from mesocosm.tasks.linear_systems import constructed_tokens

GROUPS = 16


class ProbeCurves(NamedTuple):
    """Losses of linear probes at every layer (input first) and position in each group of held-out sequences, (layers + 1, positions, groups)."""

    target: Array
    preconditioned: Array
    shuffled_target: Array
    shuffled_preconditioned: Array


def measure_probes(arm: NetworkArm, context: Context, trained: Trained) -> dict[str, Any]:
    """Held-out probe losses by layer, position and group. The input is preconditioned by the polynomial of six steps that was learned on other sequences."""
    n, probing = arm.systems.length, arm.probing
    positions = sorted({*range(10, n + 1, 5), probing.target_position, probing.preconditioning_position})
    learn = Partial(learned_inverse, arm.evaluation.polynomial_steps)
    inverse = context.evaluate(learn, shared=(trained.sequences.tuning[0], context.evaluation_key))
    curves = context.evaluate(Partial(probe_network, tuple(positions), probing.sequences), trained.networks, trained.sequences, inverse)
    axes = {"layer": range(arm.network.layers + 1), "position": positions, "group": range(1, 1 + GROUPS)}
    return {"probes": context.rows(axes, layers=arm.network.layers, **curves._asdict())}


def learned_inverse(steps: int, tuning: Array, key: PRNGKeyArray) -> ChebyshevInverse:
    """The inverse of the learned six-step predictor, which is fitted to next states alone (paper: 20000 steps)."""
    return fit_inverse(ChebyshevInverse.neumann(6), tuning, key, steps=steps, include_last_pair=False)[0]


def probe_network(positions: tuple[int, ...], size: int, network: ResidualStack, sequences: Sequences, inverse: ChebyshevInverse) -> ProbeCurves:
    """Probe for the next state and the preconditioned input; the controls probe for those of another sequence."""
    fitted, held_out = (_probe_data(positions, network, inverse, observations[:size]) for observations in (sequences.tuning, sequences.test))
    return ProbeCurves(*map(_held_out_losses, fitted, held_out))


def _held_out_losses(fitted_on: ProbeData, held_out: ProbeData) -> Array:
    """The loss of one probe in each group of examples."""
    probe = jax.tree.map(lambda leaf: leaf[:, :, None], fit_probe(*fitted_on))
    activations, targets, weights = held_out
    return probe_loss(probe, in_groups(activations, 2), in_groups(targets, 1), None if weights is None else in_groups(weights, 1))


def in_groups(part: Array, axis: int) -> Array:
    """Split the axis of examples into groups of equal size; the rest is left out."""
    size = part.shape[axis] // GROUPS
    return jnp.stack([jax.lax.slice_in_dim(part, i * size, (i + 1) * size, axis=axis) for i in range(GROUPS)], axis=axis)


def _probe_data(positions: tuple[int, ...], network: ResidualStack, inverse: ChebyshevInverse, observations: Array) -> list[ProbeData]:
    at = np.asarray(positions) - 1
    inputs = observations[:, :-1]
    activations = jax.lax.map(lambda s: network.activations(constructed_tokens(s))[:, at], inputs, batch_size=128)
    activations = jnp.moveaxis(activations, 0, 2)
    targets = jnp.moveaxis(observations[:, at + 1], 0, 1)
    whitened = preconditioning_target(inputs, inverse)
    preconditioned, typical = whitened.targets[at], whitened.typical[at]
    return [
        ProbeData(activations, targets),
        ProbeData(activations, preconditioned, typical),
        ProbeData(activations, jnp.roll(targets, 1, axis=1)),
        ProbeData(activations, jnp.roll(preconditioned, 1, axis=1), jnp.roll(typical, 1, axis=1)),
    ]
