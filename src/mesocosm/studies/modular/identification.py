"""Students fitted by Levenberg and Marquardt's method from many starts: which of those without training loss have found the teacher's modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.modules.alignment import alignment, code_map, in_teacher_basis, match_units
from mesocosm.analysis.modules.composed_network import ComposedNetwork, best_codes, fit_students, outputs
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.modular.config import Identification
from mesocosm.studies.modular.constructions import draw_teacher, numpy_generator, shifted_silu

HIDDEN = 3
FAMILY_TASKS = 3
"""Tasks of each pair of modules, one more than the pair's dimension."""


class Condition(NamedTuple):
    """What students of one kind are fitted to.

    Attributes:
        families: the active modules of each task.
        codes: which code each task has; tasks of one family with one code are one task with more inputs.
        units: number of hidden units of the teacher; students have three.
        smooth: whether the activation is silu(u + 1) instead of ReLU.
    """

    families: tuple[tuple[int, ...], ...]
    codes: tuple[int, ...]
    units: int = HIDDEN
    smooth: bool = False


def conditions(modules: int) -> dict[str, Condition]:
    """The conditions by name. All have equally many tasks, three for each pair of neighbours, so that one program serves them.

    With fewer than four modules, only those of connected pairs with three tasks and with one.
    """
    tasks = FAMILY_TASKS * (modules - 1)
    pairs = tuple((at, at + 1) for at in range(modules - 1) for _ in range(FAMILY_TASKS))
    each = tuple(range(tasks))
    found = {"connected": Condition(pairs, each), "one task": Condition(pairs, tuple(FAMILY_TASKS * (task // FAMILY_TASKS) for task in each))}
    if modules < 4:
        return found
    if modules > 4:
        raise ValueError(f"students have 2, 3 or 4 modules, not {modules}")
    return {
        "connected": found["connected"],
        "disconnected": Condition(((0, 1),) * 5 + ((2, 3),) * 4, each),
        "absent": Condition(((0, 1),) * 5 + ((1, 2),) * 4, each),
        "one-hot": Condition(((0,),) * 3 + ((1,),) * 2 + ((2,),) * 2 + ((3,),) * 2, each),
        "one task": found["one task"],
        "wider": Condition(pairs, each, units=1),
        "smooth": Condition(pairs, each, smooth=True),
    }


class Coded(NamedTuple):
    """Conditions as arrays, with a leading axis: masks of the tasks, whose code they have, which units the teacher has, the activation."""

    masks: Any
    codes: Any
    units: Any
    smooth: Any


class World(NamedTuple):
    """A teacher, a code for each task and inputs; and, for the test, codes with all modules active, inputs, and starts of the search for a student's codes.
    The leading axis is replicates."""

    teacher: ComposedNetwork
    codes: Float[Array, "tasks modules"]
    x: Float[Array, "tasks points inputs"]
    unseen: Float[Array, "unseen modules"]
    unseen_x: Float[Array, "unseen points inputs"]
    searched: Float[Array, "unseen starts modules"]


class Kept(NamedTuple):
    """The students with the smallest losses, their codes and losses, and the codes that the teacher has for their tasks."""

    network: ComposedNetwork
    codes: Float[Array, "students tasks modules"]
    loss: Float[Array, " students"]
    wanted: Float[Array, "tasks modules"]


def identify(config: Identification, context: Context) -> Tables:
    """Fit students of every kind; test those with the smallest losses on codes with all modules active."""
    given, keys = coded(config.modules), context.keys("init")
    drawn = jax.tree.map(lambda *leaves: np.stack(leaves), *(world(config, key) for key in keys))
    kept = context.evaluate(Partial(fit_all, config, given), drawn, keys)
    maps, columns = _compare(config.modules, kept, drawn.teacher)
    unseen = context.evaluate(Partial(test_all, config, given), drawn, kept.network, maps)
    axes = {"condition": list(conditions(config.modules)), "student": range(config.kept)}
    return {"students": context.rows(axes, loss=kept.loss, fitted=kept.loss < config.no_loss, unseen=unseen, **columns)}


def coded(modules: int) -> Coded:
    """All conditions of students with so many modules."""
    rows = [
        Coded(
            np.array([[float(module in family) for module in range(modules)] for family in condition.families]),
            np.array(condition.codes),
            (np.arange(HIDDEN) < condition.units).astype(float),
            np.array(condition.smooth),
        )
        for condition in conditions(modules).values()
    ]
    return Coded(*(np.stack(part) for part in zip(*rows, strict=True)))


def world(config: Identification, key: PRNGKeyArray) -> World:
    """Everything random of a replicate but the students' starts, the same for all conditions."""
    generator = numpy_generator(key)
    normal: Any = generator.standard_normal
    modules, tasks = config.modules, FAMILY_TASKS * (config.modules - 1)
    teacher: ComposedNetwork = jax.tree.map(lambda leaf: leaf[0], draw_teacher(generator, 1, modules, HIDDEN, config.inputs))
    return World(
        teacher,
        normal((tasks, modules)),
        normal((tasks, config.points, config.inputs)),
        normal((config.codes, modules)),
        normal((config.codes, config.points, config.inputs)),
        normal((config.codes, config.code_starts - 1, modules)),
    )


def fit_all(config: Identification, given: Coded, drawn: World, key: PRNGKeyArray) -> Kept:
    """Students of each condition; the leading axis is conditions."""
    starts = jax.random.split(key, config.starts)

    def of_condition(condition: Coded) -> Kept:
        teacher, activation = _specified(drawn.teacher, condition)
        codes = condition.masks * drawn.codes[condition.codes]
        targets = outputs(teacher, codes, drawn.x, activation)
        students = fit_students(drawn.x, targets, starts, modules=config.modules, hidden=HIDDEN, steps=config.steps, activation=activation)
        best = jax.lax.top_k(-students.loss, config.kept)[1]
        network, own, loss = jax.tree.map(lambda leaf: leaf[best], students)
        return Kept(network, own, loss, codes)

    return jax.lax.map(of_condition, given)


def test_all(config: Identification, given: Coded, drawn: World, networks: ComposedNetwork, maps: Array) -> Float[Array, "conditions students"]:
    """The largest loss over unseen codes, each with the best code found for it, from the one that the linear map predicts and from random ones."""

    def of_condition(fitted: tuple[Coded, ComposedNetwork, Array]) -> Array:
        condition, students, maps = fitted
        teacher, activation = _specified(drawn.teacher, condition)
        targets = outputs(teacher, drawn.unseen, drawn.unseen_x, activation)

        def of_student(student: ComposedNetwork, inverse: Array) -> Array:
            starts = jnp.concatenate([(drawn.unseen @ inverse)[:, None], drawn.searched], axis=1)
            return jnp.max(best_codes(student, drawn.unseen_x, targets, starts, steps=config.code_steps, activation=activation)[1])

        return jax.vmap(of_student)(students, maps)

    return jax.lax.map(of_condition, (given, networks, maps))


def _specified(teacher: ComposedNetwork, condition: Coded) -> tuple[ComposedNetwork, Callable[[Array], Array]]:
    """The teacher with the condition's units, and its activation."""
    return teacher._replace(readout=teacher.readout * condition.units), lambda u: jnp.where(condition.smooth, shifted_silu(u), jax.nn.relu(u))


def _compare(modules: int, kept: Kept, teachers: ComposedNetwork) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The inverse of each student's map of codes; alignment with the teacher with and without this map; and how far scales of its units are from 1."""
    shape = kept.loss.shape
    units_of = [condition.units for condition in conditions(modules).values()]
    inverses = np.zeros((*shape, modules, modules))
    columns = {name: np.zeros(shape) for name in ("alignment", "unmapped", "scale")}
    for at in np.ndindex(shape):
        seed, condition, _ = at
        theirs, ours = np.asarray(teachers.modules[seed][:, : units_of[condition]]), np.asarray(kept.network.modules[at])
        forward = code_map(np.asarray(kept.codes[at]), np.asarray(kept.wanted[seed, condition]))
        mapped = in_teacher_basis(ours, forward)
        inverses[at] = np.linalg.pinv(forward)
        columns["alignment"][at] = alignment(theirs, mapped).worst
        columns["unmapped"][at] = alignment(theirs, ours).worst
        columns["scale"][at] = np.abs(match_units(theirs, mapped).scales - 1).max()
    return inverses, columns
