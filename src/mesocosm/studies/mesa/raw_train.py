"""Trains networks on observations, and looks inside: what tokens hold after each layer, and where the first layer's attention goes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.in_context.probes import ProbeData, fit_probe, probe_loss
from mesocosm.nn import Attention
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.probing import in_groups
from mesocosm.studies.mesa.raw_networks import RawArm, RawNetwork, raw_learner
from mesocosm.studies.mesa.references import GROUPS, Sequences, draw_sequences, orthogonal_systems, sequence_losses
from mesocosm.tasks.hidden_systems import NonlinearSystems, PartiallyObservedSystems
from mesocosm.tasks.task import Task, digest

BACK = 8
"""Tokens that probes look for: the current one and seven before it (paper)."""
SENSED = 64
"""Sequences whose gradients are taken."""


def train_raw(arm: RawArm, context: Context) -> Tables:
    """Train, and measure losses, probes and, if the first layer is softmax attention, its maps."""
    task, own = _task(arm, context)
    fitted = context.fit("network", raw_learner(arm, task), arm.training.steps, per_seed=own)
    context.publish("network", fitted.model)
    draw = Partial(draw_sequences, arm.evaluation)
    if own:
        sequences = context.evaluate(Partial(_draw_own, draw, context.evaluation_key), task)
    else:
        sequences = context.evaluate(draw, shared=(task, context.evaluation_key))
    found = context.evaluate(measure_raw, fitted.model, sequences)
    digests = [digest(test) for test in sequences.test]
    groups = {"group": range(1, 1 + found.loss.shape[-1])}
    layers, probed = range(1 + len(arm.layers)), range(1, 1 + found.target.shape[-1])
    tables = {
        "raw_loss": context.rows(groups, digest=digests, loss=found.loss, late=found.late),
        "raw_curve": context.rows({"position": range(1, 1 + found.curve.shape[-1])}, loss=found.curve),
        "raw_probes": context.rows({"layer": layers, "group": probed}, target=found.target, shuffled_target=found.shuffled),
        "binding": context.rows({"layer": layers, "back": range(BACK)}, error=found.binding),
        "sensitivity": context.rows({"back": range(BACK)}, sensitivity=found.sensitivity),
    }
    if arm.layers[0] in ("placed", "softmax"):
        maps = context.evaluate(measure_maps, fitted.model, sequences)
        tables["attention_mass"] = context.rows({"head": range(1, 1 + arm.sizes.heads), "back": range(BACK)}, mass=maps.mass, spread=maps.spread)
    return tables


def _task(arm: RawArm, context: Context) -> tuple[Task, bool]:
    """The systems, and whether each seed has its own."""
    systems = arm.systems
    if arm.source == "partial":
        return PartiallyObservedSystems(systems.dim, 3 * systems.dim, systems.length, systems.noise), False
    if arm.source == "nonlinear":
        return context.evaluate(Partial(_draw_nonlinear, systems.dim, systems.length, systems.noise), context.keys("env")), True
    return orthogonal_systems(systems), False


def _draw_nonlinear(dim: int, length: int, noise: float, key: PRNGKeyArray) -> NonlinearSystems:
    return NonlinearSystems.draw(key, dim, length, noise)


def _draw_own(draw: Any, key: PRNGKeyArray, task: NonlinearSystems) -> Sequences:
    return draw(task, key)


class RawMeasures(NamedTuple):
    """Of one network on the test sequences.

    Attributes:
        loss: mean over positions, by group of sequences.
        late: at the last position, by group.
        curve: by position.
        target: probes of the last position's next observation, after every layer (the embedding first), by group.
        shuffled: probes of another sequence's.
        binding: mean squared errors of probes of the last tokens, after every layer, by number of tokens back.
        sensitivity: of the first layer's last output to the last observations: norms of rows of the Jacobian.
    """

    loss: Array
    late: Array
    curve: Array
    target: Array
    shuffled: Array
    binding: Array
    sensitivity: Array


def measure_raw(network: RawNetwork, sequences: Sequences) -> RawMeasures:
    """All measurements; probes are fitted on the other sequences."""
    losses = sequence_losses(network, sequences.test)
    held_out, fitted = _last_activations(network, sequences.test), _last_activations(network, sequences.tuning)
    target, shuffled = (
        _probe_losses(fitted, jnp.roll(sequences.tuning[:, -1], shift, 0), held_out, jnp.roll(sequences.test[:, -1], shift, 0)) for shift in (0, 1)
    )
    binding = [
        _probe_losses(fitted, sequences.tuning[:, -2 - back], held_out, sequences.test[:, -2 - back]).mean(-1) * 2 / sequences.test.shape[-1]
        for back in range(BACK)
    ]
    return RawMeasures(
        _means(losses.mean(-1)), _means(losses[:, -1]), losses.mean(0), target, shuffled, jnp.stack(binding, axis=-1), _sensitivity(network, sequences.test)
    )


def group_losses(network: Any, test: Float[Array, "sequences time_plus_1 dim"]) -> Float[Array, " groups"]:
    """Mean losses over positions in groups of test sequences."""
    return _means(sequence_losses(network, test).mean(-1))


def _means(losses: Float[Array, " sequences"]) -> Float[Array, " groups"]:
    return jnp.stack([group.mean() for group in jnp.array_split(losses, min(GROUPS, len(losses)))])


def _last_activations(network: RawNetwork, observations: Float[Array, "sequences time_plus_1 dim"]) -> Float[Array, "layers sequences width"]:
    found = jax.lax.map(lambda states: network.activations(states[:-1])[:, -1], observations, batch_size=128)
    return jnp.moveaxis(found, 0, 1)


def _probe_losses(fitted: Array, targets: Array, held_out: Array, held_out_targets: Array) -> Float[Array, "layers groups"]:
    probe = jax.tree.map(lambda leaf: leaf[:, None], fit_probe(*ProbeData(fitted, targets)))
    return probe_loss(probe, in_groups(held_out, 1), in_groups(held_out_targets, 0))


def _sensitivity(network: RawNetwork, observations: Float[Array, "sequences time_plus_1 dim"]) -> Float[Array, " back"]:
    def first_output(inputs: Float[Array, "time dim"]) -> Float[Array, " width"]:
        return network.activations(inputs)[1, -1]

    def norms(states: Float[Array, "time_plus_1 dim"]) -> Float[Array, " back"]:
        jacobian = jax.jacrev(first_output)(states[:-1])
        return jnp.linalg.norm(jacobian, axis=-1).mean(0)[::-1][:BACK]

    return jax.lax.map(norms, observations[:SENSED], batch_size=16).mean(0)


class Maps(NamedTuple):
    """The first layer's attention on the tokens back, mean over late positions.

    Attributes:
        mass: mean over sequences, (heads, back).
        spread: its standard deviation over sequences.
    """

    mass: Array
    spread: Array


def measure_maps(network: RawNetwork, sequences: Sequences) -> Maps:
    """Average the attention of positions in the second half by distance."""
    layer = network.stack.layers[0]
    assert isinstance(layer, Attention)

    def one(states: Float[Array, "time_plus_1 dim"]) -> Float[Array, "heads back"]:
        weights = layer.explain(states[:-1] @ network.embed.T)[1].attention
        assert weights is not None
        length = weights.shape[-1]
        at = np.arange(length // 2, length)
        return jnp.stack([weights[:, at, np.maximum(at - back, 0)].mean(-1) for back in range(BACK)], axis=-1)

    found = jax.lax.map(one, sequences.test, batch_size=128)
    return Maps(found.mean(0), found.std(0))
