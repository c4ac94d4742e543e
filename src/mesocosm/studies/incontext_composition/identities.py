"""Exact statements, in float64 on random instances: the laws of codes and masks, symmetries of the teacher, and a layer of linear attention that runs it.

Each statement comes with a named mutant, whose error must be large.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mesocosm import nn
from mesocosm.numerics.linear_algebra import solve
from mesocosm.studies.identity_trials import Errors, check_statements, relative_error
from mesocosm.studies.incontext_composition.config import Identities
from mesocosm.studies.incontext_composition.networks import HIDDEN, INPUTS, MODULES, draw_labelled, split_of
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.compositional_supports import masks_of
from mesocosm.tasks.hyperteacher import Teacher, damped

POINTS = 20
RING = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5))
TABLE_1 = {
    "connected": (RING, ((0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (1, 5), (2, 4), (2, 5), (3, 5))),
    "disconnected": (
        ((0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)),
        ((0, 3), (0, 4), (0, 5), (1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)),
    ),
    "connected+": ((*RING, (0, 2), (1, 3), (2, 4), (3, 5), (0, 4), (1, 5)), ((0, 3), (1, 4), (2, 5))),
}
"""Pairs of modules in training and held out, counted from 0 (paper: Table 1)."""


def check_identities(config: Identities, context: Context) -> Tables:
    """Check every statement on `config.instances` random instances."""
    return {"identities": check_statements(context, config, IDENTITIES)}


def _draw(key: PRNGKeyArray) -> tuple[Teacher, Float[Array, " modules"], Float[Array, "points inputs"]]:
    """A teacher, a positive code and inputs, all random."""
    shapes = ((MODULES, HIDDEN, INPUTS), (1, HIDDEN), (MODULES,), (POINTS, INPUTS))
    ends = np.cumsum([prod(shape) for shape in shapes])
    drawn = jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1])
    modules, readout, code, inputs = (part.reshape(shape) for part, shape in zip(drawn, shapes, strict=True))
    return Teacher((modules / INPUTS**0.5, readout / HIDDEN**0.5), jax.nn.gelu, True), jnp.abs(code), inputs


# --- C2: linear attention runs a hypernetwork -------------------------------------------------------------------------


def construction_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C2: one layer of linear attention with a head per module, and a feed-forward part, compute the task's network from its code. Mutant: one head fewer,
    that of the most active module.

    The code is divided by the norm of its weights.
    """
    teacher, code, inputs = _draw(key)
    plain = teacher.plain_code(code)
    modules, readout = teacher.layers
    attention, feed = nn.hypernetwork_layers(modules, readout, jax.nn.gelu)
    tokens = jax.vmap(lambda x: nn.hypernetwork_tokens(x, plain, HIDDEN, 1))(inputs)

    def run(attention: nn.LinearAttention) -> Array:
        stream = tokens + jax.vmap(attention)(tokens)
        return (stream + jax.vmap(feed)(stream))[:, 1, -1:]

    fewer = eqx.tree_at(lambda layer: layer.output, attention, attention.output.at[jnp.argmax(plain)].set(0.0))
    wanted = teacher.execute(plain, inputs)
    return Errors(jnp.max(jnp.abs(run(attention) - wanted)), jnp.max(jnp.abs(run(fewer) - wanted)))


# --- C6: the setting --------------------------------------------------------------------------------------------------


def _listed(mask: Array, pairs: tuple[tuple[int, int], ...]) -> Bool[Array, ""]:
    return jnp.any(jnp.all(mask == masks_of(MODULES, pairs), axis=1))


def support_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C6: drawn masks are in their list of Table 1. Mutant: training's and held-out masks are exchanged."""
    errors, mutants = [], []
    for number, (name, lists) in enumerate(TABLE_1.items()):
        drawn = split_of(name)
        for rows, wanted, other in ((drawn.train, *lists), (drawn.held_out, *lists[::-1])):
            mask = jax.random.choice(jax.random.fold_in(key, number), rows)
            errors.append(1.0 - _listed(mask, wanted))
            mutants.append(1.0 - _listed(mask, other))
    return Errors(jnp.max(jnp.stack(errors)), jnp.min(jnp.stack(mutants)))


def code_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C6: the codes of tasks have two active modules, with entries of 1/2 or more that sum to 3/2, and are 0 elsewhere. Mutant: the sampler that divides by
    1 + the sum.
    """
    errors, mutants = [], []
    for name, split in product(TABLE_1, ("train", "ood")):
        task = draw_labelled(name, 1, key)
        for found, weighting in ((errors, task.weighting), (mutants, damped)):
            code = replace(task, weighting=weighting).sample(key, split).code
            active = jnp.sort(code)[-2:]
            below = jnp.maximum(0.5 - jnp.min(active), 0.0)
            found.append(below + jnp.abs(jnp.sum(active) - 1.5) + jnp.abs(jnp.sum(code) - jnp.sum(active)))
    return Errors(jnp.max(jnp.stack(errors)), jnp.min(jnp.stack(mutants)))


def norm_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C6: the largest singular value of a task's weights is 1, up to the error of `operator_norm`. Mutant: weights divided by their Frobenius norm."""
    teacher, code, _ = _draw(key)
    weights = teacher.weights(teacher.plain_code(code))[0]
    largest = jnp.linalg.norm(weights, 2)
    return Errors(jnp.abs(largest - 1), jnp.abs(largest / jnp.linalg.norm(weights) - 1))


def scale_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C6: the length of a code has no effect. Mutant: its sign."""
    teacher, code, inputs = _draw(key)
    scale, wanted = jnp.exp(inputs[0, 0]), teacher(inputs, code)
    return Errors(relative_error(teacher(inputs, scale * code), wanted), relative_error(teacher(inputs, -scale * code), wanted))


def student_identity(config: Identities, key: PRNGKeyArray) -> Errors:
    """C6: a linear hypernetwork with the teacher's modules in another basis is the teacher, on held-out pairs too. Mutant: codes are not divided by the norm of
    their weights.
    """
    teacher, code, inputs = _draw(key)
    modules, readout = teacher.layers
    basis = jnp.eye(MODULES) + 0.1 * inputs[:MODULES, :MODULES]
    empty = eqx.filter_eval_shape(lambda key: nn.Composed.create(INPUTS, 1, code=MODULES, hidden=HIDDEN, key=key), key)
    parts = (basis @ modules.reshape(MODULES, -1), readout)
    student = eqx.tree_at(lambda student: (student.hypernetwork.generators[0].modules, student.hypernetwork.kept[1]), empty, parts)
    wanted = teacher(inputs, code)

    def run(plain: Array) -> Array:
        return student(solve(basis.T, plain), inputs)

    return Errors(relative_error(run(teacher.plain_code(code)), wanted), relative_error(run(code), wanted))


IDENTITIES = {
    "C2 construction": construction_identity,
    "C6 supports": support_identity,
    "C6 codes": code_identity,
    "C6 norm": norm_identity,
    "C6 scale": scale_identity,
    "C6 student": student_identity,
}
