"""Measurements of a student: the polynomial that it computes, for any architecture, and the structure of a gated RNN's weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

from mesocosm.analysis.in_context.gated_structure import (
    block_energies,
    keep_products,
    memory_with_query,
    neuron_influence,
    prune,
    snap,
    state_sizes,
    weighted_forms,
)
from mesocosm.analysis.in_context.polynomial_coefficients import (
    attention_coefficients,
    compare,
    derivative_coefficients,
    fitted_coefficients,
    gated_coefficients,
)
from mesocosm.analysis.tables import long_table
from mesocosm.nn import FreeDecay, GatedLinearRNN, Mixer
from mesocosm.studies.gated_rnn.students import StudentArm, Trained, sequence_losses
from mesocosm.studies.interface import Context
from mesocosm.tasks.attention_teacher import Answered, LinearAttentionTeacher

LAGS = (1, 2, 4)


class Polynomial(NamedTuple):
    """Coefficients of a student (by derivatives at zero, and by least squares with the fraction that they explain) and of its teacher."""

    derivative: Array
    fitted: Array
    wanted: Array
    explained: Array


def read_polynomial(student: Mixer, teacher: LinearAttentionTeacher, examples: Answered) -> Polynomial:
    """Read the polynomial that a student computes, for any architecture."""
    _, time, dim = examples.tokens.shape
    derivative = derivative_coefficients(student, dim, time=time, source=time - 1)
    fitted = fitted_coefficients(jax.vmap(student)(examples.tokens)[:, -1], examples.tokens)
    return Polynomial(derivative, fitted.coefficients, attention_coefficients(teacher.attention), fitted.explained)


def measure_polynomial(arm: StudentArm, context: Context, trained: Trained) -> dict[str, Any]:
    """Agreement of the students' polynomials with their teachers', and the first seed's coefficients."""
    found = context.evaluate(read_polynomial, trained.students, trained.teachers, trained.held_out)
    columns = {}
    for name, coefficients in (("derivative", found.derivative), ("fitted", found.fitted)):
        agreement = _compare(coefficients, found.wanted)
        other = _compare(coefficients, np.roll(found.wanted, 1, axis=0))
        columns |= {f"{name}_cosine": agreement.cosine, f"{name}_error": agreement.relative_error, f"{name}_other_teacher": other.cosine}
    labels = {"layer": arm.network.layer, "neurons": arm.network.neurons}
    return {"polynomial": context.rows(**labels, explained=found.explained, **columns), "coefficients": _first_seed(context, found)}


def _compare(found: Array, wanted: Array) -> Any:
    return jax.tree.map(np.asarray, jax.vmap(compare)(jnp.asarray(found), jnp.asarray(wanted)))


def _first_seed(context: Context, found: Polynomial) -> Any:
    dim = found.wanted.shape[-1]
    i, j = np.triu_indices(dim)
    axes = {"seed": context.seeds[:1], "output": range(dim), "pair": [f"{a}{b}" for a, b in zip(i, j, strict=True)], "now": range(dim)}
    return long_table(axes, **{name: getattr(found, name)[:1][:, :, i, j] for name in ("derivative", "fitted", "wanted")})


# --- structure ------------------------------------------------------------------------------------------------------


class Structure(NamedTuple):
    """Measurements of a trained gated RNN, per neuron and as a whole.

    Attributes:
        block_loss: with only the products of a neuron with memory and one without.
        other_block_loss: with as many other products, those of the neurons that have these decays once the decays are moved by one neuron.
    """

    decay: Array
    influence: Array
    size: Array
    kept: Array
    loss: Array
    pruned_loss: Array
    snapped_loss: Array
    block_loss: Array
    other_block_loss: Array
    extreme: Array
    right_block: Array
    right_block_shuffled: Array
    coefficients: Array
    wanted: Array
    forms: Array
    snapped_forms: Array


def read_structure(threshold: float, student: GatedLinearRNN, teacher: LinearAttentionTeacher, test: Answered, held_out: Answered) -> Structure:
    """Measure influence on held-out sequences, prune, snap decays to 0 and 1, and measure losses on the test sequences."""
    influence = neuron_influence(lambda rnn: jnp.mean(sequence_losses(rnn, held_out)), student)
    pruned, kept = prune(student, influence, threshold)
    snapped, size, decay = snap(pruned), state_sizes(student, held_out.tokens), student.decay()
    weight = jnp.maximum(influence, 0.0) * kept
    moved = jnp.roll(decay, 1)  # neurons are in random order
    shuffled = eqx.tree_at(lambda rnn: rnn.decay, pruned, FreeDecay(moved))

    def loss(rnn: GatedLinearRNN) -> Array:
        return jnp.mean(sequence_losses(rnn, test))

    return Structure(
        decay=decay,
        influence=influence,
        size=size,
        kept=kept,
        loss=loss(student),
        pruned_loss=loss(pruned),
        snapped_loss=loss(snapped),
        block_loss=loss(keep_products(student, memory_with_query(decay))),
        other_block_loss=loss(keep_products(student, memory_with_query(moved))),
        extreme=jnp.sum(weight * ((decay < 0.05) | (decay > 0.95))) / jnp.maximum(jnp.sum(weight), 1e-30),
        right_block=block_energies(pruned, size).memory_query,
        right_block_shuffled=block_energies(shuffled, size).memory_query,
        coefficients=jnp.mean(jnp.stack([gated_coefficients(snapped, lag) for lag in LAGS]), axis=0),
        wanted=attention_coefficients(teacher.attention),
        forms=weighted_forms(student, size),
        snapped_forms=weighted_forms(snapped, size),
    )


def measure_structure(arm: StudentArm, context: Context, trained: Trained) -> dict[str, Any]:
    """Effects of pruning and snapping, per neuron and as a whole."""
    read = Partial(read_structure, arm.evaluation.threshold)
    found = context.evaluate(read, trained.students, trained.teachers, trained.test, trained.held_out)
    agreement, other = _compare(found.coefficients, found.wanted), _compare(found.coefficients, np.roll(found.wanted, 1, axis=0))
    losses = ("loss", "pruned_loss", "snapped_loss", "block_loss", "other_block_loss")
    scalars = {name: getattr(found, name) for name in (*losses, "extreme", "right_block", "right_block_shuffled")}
    labels = {"neurons": arm.network.neurons, "memory": arm.teacher.memory}
    number = range(arm.network.neurons)
    each = {name: getattr(found, name) for name in ("decay", "influence", "size", "kept")}
    order = np.argsort(-found.decay[0])
    forms = np.stack([found.forms[0], found.snapped_forms[0]])[:, :, order][..., order]
    axes = {"stage": ["trained", "pruned and snapped"], "output": range(forms.shape[1]), "row": number, "column": number}
    return {
        "structure": context.rows(
            **labels, **scalars, survivors=found.kept.sum(1), cosine=agreement.cosine, coefficient_error=agreement.relative_error, other_teacher=other.cosine
        ),
        "neurons": context.rows({"neuron": number}, **labels, **each),
        "forms": long_table({"seed": context.seeds[:1], **axes}, **labels, value=forms[None]),
    }
