"""Statements about students that need no training: what a student may differ in and still be right everywhere, and students without training loss that fail."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from mesocosm.analysis.modules.composed_network import ComposedNetwork, best_codes, outputs
from mesocosm.analysis.modules.counterexamples import doubled, split_units, swapped, wide
from mesocosm.numerics.linear_algebra import solve
from mesocosm.studies.identity_trials import Errors, on_instances, relative_error
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.modular.config import Constructions

MODULES = 3
TRAINED = {"missing": ((0, 1), (0, 1)), "swapped": ((0,), (1, 2)), "doubled": ((0,), (1, 2)), "wide": ((0, 1), (1, 2)), "teacher": ((0, 1), (1, 2))}
"""Student -> the two families of codes on which it is right."""
STATEMENTS = ("C3 symmetry", "C19 split", "C20 permutation")


class Instance(NamedTuple):
    """What is random: a teacher, codes with all modules active, inputs for them; codes and inputs of the families; starts of the search for codes; and by how
    much students differ (a module, an order, scales, maps and shares of the units).
    """

    teacher: ComposedNetwork
    codes: Any
    x: Any
    trained: Any
    trained_x: Any
    starts: Any
    module: Any
    order: Any
    scales: Any
    maps: Any
    shares: Any


class Losses(NamedTuple):
    """Of each constructed student, the largest relative squared error over codes.

    Attributes:
        trained: on the codes of its families, with the teacher's codes, or those in the student's basis.
        unseen: on codes with all modules active, with the best codes of its own.
    """

    trained: Float[Array, " students"]
    unseen: Float[Array, " students"]


def check_constructions(config: Constructions, context: Context) -> Tables:
    """Identities with mutants, and the losses of all constructed students, on random teachers."""
    drawn = draw(config, numpy_generator(context.evaluation_key))
    errors, losses = context.evaluate(Partial(on_instances, check, config), shared=(drawn,))
    instance = {"instance": range(config.instances)}
    swap = partial(np.swapaxes, axis1=1, axis2=2)  # to seeds, statements, instances
    return {
        "identities": context.rows({"identity": STATEMENTS, **instance}, error=swap(errors.error), mutant=swap(errors.mutant)),
        "counterexamples": context.rows({**instance, "built": list(TRAINED)}, trained=losses.trained, unseen=losses.unseen),
    }


def check(config: Constructions, drawn: Instance) -> tuple[Errors, Losses]:
    """All statements on one instance, in one program."""
    errors = [statement(drawn) for statement in (symmetric, split, unscaled)]
    return jax.tree.map(lambda *each: jnp.stack(each), *errors), counterexamples(config, drawn)


def numpy_generator(key: Any) -> np.random.Generator:
    """Numbers from a key. Drawn on the host, they need no program, and programs that draw many kinds of them take long to compile."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint64))


def draw(config: Constructions, generator: np.random.Generator) -> Instance:
    """All instances; the leading axis."""
    n, hidden, normal = config.instances, config.hidden, generator.standard_normal
    codes = normal((n, config.codes, MODULES))
    starts = normal((n, config.codes, config.starts, MODULES))
    starts[:, :, 0] = codes
    return Instance(
        draw_teacher(generator, n, MODULES, hidden, config.inputs),
        codes,
        normal((n, config.codes, config.points, config.inputs)),
        normal((n, 2, MODULES)),
        normal((n, 2, config.points, config.inputs)),
        starts,
        normal((n, hidden, config.inputs)),
        np.argsort(generator.random((n, hidden)), axis=1),
        generator.uniform(1.2, 2.0, (n, hidden)),
        np.eye(MODULES) + 0.3 * normal((n, hidden, MODULES, MODULES)),
        generator.random((n, hidden)),
    )


def draw_teacher(generator: np.random.Generator, number: int, modules: int, hidden: int, inputs: int) -> ComposedNetwork:
    """Standard normal modules, and readouts of alternating signs whose sizes are uniform from 0.5 to 1.5; the leading axis is teachers."""
    theta = generator.standard_normal((number, modules, hidden, inputs))
    return ComposedNetwork(theta, (-1.0) ** np.arange(hidden) * generator.uniform(0.5, 1.5, (number, 1, hidden)))  # type: ignore[arg-type]


# --- what a student may differ in --------------------------------------------------------------------------------------


def shifted_silu(u: Array) -> Array:
    """silu(u + 1): smooth, with derivatives of all orders at 0."""
    return jax.nn.silu(u + 1)


def symmetric(drawn: Instance) -> Errors:
    """Theorem 2, one direction: a map of the codes, a permutation and positive scales of the units leave all outputs. Mutant: each unit has its own map."""
    teacher, codes, x = drawn.teacher, drawn.codes, drawn.x

    def error(maps: Array) -> Array:
        """The student's code is z times the first map; unit i has modules in the basis of the i-th."""
        modules = jax.vmap(solve, in_axes=(0, 1), out_axes=1)(maps, teacher.modules[:, drawn.order]) / drawn.scales[:, None]
        student = ComposedNetwork(modules, teacher.readout[:, drawn.order] * drawn.scales)
        return relative_error(outputs(student, codes @ maps[0], x), outputs(teacher, codes, x))

    return Errors(error(jnp.broadcast_to(drawn.maps[0], drawn.maps.shape)), error(drawn.maps))


def split(drawn: Instance) -> Errors:
    """Theorem 5: wider students may split units, and have surplus ones that cancel. Mutant: the surplus adds up."""
    student = split_units(drawn.teacher, drawn.shares)
    wanted = outputs(drawn.teacher, drawn.codes, drawn.x)
    added = ComposedNetwork(student.modules, jnp.abs(student.readout))
    return Errors(*(relative_error(outputs(network, drawn.codes, drawn.x), wanted) for network in (student, added)))


def unscaled(drawn: Instance) -> Errors:
    """Theorems 7 and 8: units of a smooth network may change places. Mutant: they are rescaled as well, as units of a ReLU network may be."""
    teacher, order = drawn.teacher, drawn.order
    wanted = outputs(teacher, drawn.codes, drawn.x, shifted_silu)

    def error(scales: Array) -> Array:
        student = ComposedNetwork(teacher.modules[:, order] / scales[:, None], teacher.readout[:, order] * scales)
        return relative_error(outputs(student, drawn.codes, drawn.x, shifted_silu), wanted)

    return Errors(error(jnp.ones_like(drawn.scales)), error(drawn.scales))


# --- students without training loss ------------------------------------------------------------------------------------


def counterexamples(config: Constructions, drawn: Instance) -> Losses:
    """Students that are right on their families and wrong elsewhere, and the teacher with another basis of its modules, so that its codes must be found."""
    teacher, codes, x = drawn.teacher, drawn.codes, drawn.x
    rebased = teacher._replace(modules=solve(drawn.maps[0], teacher.modules.reshape(MODULES, -1)).reshape(teacher.modules.shape))
    missing = teacher._replace(modules=teacher.modules.at[2].set(drawn.module))
    students = {"missing": missing, "swapped": _swapped(teacher), "doubled": doubled(teacher, [0]), "wide": wide(teacher), "teacher": rebased}
    widest = max(student.modules.shape[1] for student in students.values())
    stacked: ComposedNetwork = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(_padded(students[name], widest) for name in TRAINED))
    families = np.array([[[module in family for module in range(MODULES)] for family in pair] for pair in TRAINED.values()], float)
    wanted = outputs(teacher, codes, x)

    inside = families * drawn.trained
    own = jnp.concatenate([inside[:-1], inside[-1:] @ drawn.maps[0]])

    def of_student(student: ComposedNetwork, inside: Array, own: Array) -> Losses:
        trained = _loss(outputs(student, own, drawn.trained_x), outputs(teacher, inside, drawn.trained_x))
        unseen = best_codes(student, x, wanted, drawn.starts, steps=config.steps)[1]
        return Losses(jnp.max(trained), jnp.max(unseen))

    return jax.vmap(of_student)(stacked, inside, own)


def _swapped(teacher: ComposedNetwork) -> ComposedNetwork:
    """`swapped`, which needs numbers, inside a program: units whose readouts have equal signs change places in module 0."""
    hidden = teacher.readout.shape[1]
    numbered = ComposedNetwork(np.arange(hidden)[None, :, None], (-1.0) ** np.arange(hidden)[None])  # type: ignore[arg-type]
    order = swapped(numbered, [0]).modules[0, :, 0]
    ratios = teacher.readout[0, order] / teacher.readout[0]
    return teacher._replace(modules=teacher.modules.at[0].set(ratios[:, None] * teacher.modules[0, order]))


def _padded(network: ComposedNetwork, hidden: int) -> ComposedNetwork:
    """With units of zeros."""
    spare = hidden - network.modules.shape[1]
    return ComposedNetwork(jnp.pad(network.modules, ((0, 0), (0, spare), (0, 0))), jnp.pad(network.readout, ((0, 0), (0, spare))))


def _loss(found: Float[Array, "tasks points outputs"], wanted: Float[Array, "tasks points outputs"]) -> Float[Array, " tasks"]:
    square = partial(jnp.sum, axis=(1, 2))
    return square((found - wanted) ** 2) / square(wanted**2)
