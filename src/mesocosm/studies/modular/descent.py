"""Students with twice the teacher's modules and units, trained by gradient descent: do they align with the teacher's modules?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.modules.alignment import alignment, code_map, in_teacher_basis
from mesocosm.analysis.modules.composed_network import ComposedNetwork, outputs
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Supervised
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.modular.config import Descent
from mesocosm.studies.modular.constructions import numpy_generator
from mesocosm.tasks.compositional_supports import masks_of
from mesocosm.tasks.task import Split, Task

RING = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0))
SUPPORTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "connected": RING,
    "reordered": ((0, 2), (2, 4), (4, 1), (1, 3), (3, 5), (5, 0)),
    "disconnected": ((0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)),
    "apart": ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)),
    "singles": (*((module,) for module in range(6)), *RING),
}
"""Which modules are active together. Neighbours on a ring of six modules, or on another ring of the same; on two rings of three; pairs that share no module
at all; and single modules with neighbours on a ring."""
MODULES = 6
"""Of the teacher; a support of more modules has a teacher with more."""


@dataclass(frozen=True)
class DescentArm:
    """Students on one support, with one code of each set of modules, the normalised mask, or with many."""

    support: str
    descent: Descent
    discrete: bool = False


class Batch(NamedTuple):
    """New inputs for every task, and the teacher's outputs."""

    x: Float[Array, "*batch tasks points inputs"]
    y: Float[Array, "*batch tasks points outputs"]


class KnownTasks(Task[Batch]):
    """The tasks of a teacher with these codes; an example has new inputs for all of them, uniform with variance 1."""

    teacher: ComposedNetwork
    codes: Float[Array, "tasks modules"]
    points: int = eqx.field(static=True)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Batch:
        """Draw inputs."""
        shape = (self.codes.shape[0], self.points, self.teacher.modules.shape[-1])
        x = jax.random.uniform(key, shape, minval=-(3**0.5), maxval=3**0.5)
        return Batch(x, outputs(self.teacher, self.codes, x))


class CodedStudent(eqx.Module):
    """A composed network with a code of its own for each training task."""

    network: ComposedNetwork
    codes: Float[Array, "tasks student_modules"]

    def __call__(self, x: Float[Array, "tasks points inputs"]) -> Float[Array, "tasks points outputs"]:
        """Outputs of each task's network at its inputs."""
        return outputs(self.network, self.codes, x)


def build_student(arm: DescentArm, key: PRNGKeyArray) -> CodedStudent:
    """A student with some times the teacher's modules and units, standard normal codes and modules."""
    sizes, (module_key, readout_key, code_key) = arm.descent, jax.random.split(key, 3)
    modules, hidden = sizes.more_modules * MODULES, sizes.more_hidden * sizes.hidden
    theta = jax.random.normal(module_key, (modules, hidden, sizes.inputs)) / modules**0.5
    readout = jax.random.normal(readout_key, (sizes.outputs, hidden)) / hidden**0.5
    return CodedStudent(ComposedNetwork(theta, readout), jax.random.normal(code_key, (len(_masks(arm)), modules)) / modules**0.5)


def descend(arm: DescentArm, context: Context) -> Tables:
    """Train all replicates, and compare their modules with the teacher's."""
    task = _tasks(arm, context.keys("env"))
    rates = {"learning_rate": arm.descent.learning_rate, "steps": float(arm.descent.steps), "floor": 1e-3}
    learner = Supervised(Partial(build_student, arm), task, relative_loss, adamw, rates, batch_size=1)
    fitted = context.fit("student", learner, arm.descent.steps, per_seed=True)
    context.publish("student", fitted.model)
    found = [
        _aligned(jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), fitted.model), jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), task))
        for i in range(len(context.seeds))
    ]
    losses = context.evaluate(last_loss, fitted.model, task, context.keys("eval"))
    labels = {
        "support": arm.support,
        "codes": "discrete" if arm.discrete else "continuous",
        "modules": arm.descent.more_modules,
        "hidden": arm.descent.more_hidden,
    }
    return {"descent": context.rows(**labels, loss=losses, alignment=[worst for worst, _ in found], mean_alignment=[mean for _, mean in found])}


def relative_loss(student: CodedStudent, example: Batch, key: Any) -> Float[Array, ""]:
    """Squared error over the squared targets."""
    return jnp.sum((student(example.x) - example.y) ** 2) / jnp.sum(example.y**2)


def last_loss(student: CodedStudent, task: KnownTasks, key: PRNGKeyArray) -> Float[Array, ""]:
    """The relative loss on new inputs."""
    return relative_loss(student, task.sample(key), None)


def _aligned(student: CodedStudent, task: KnownTasks) -> tuple[float, float]:
    """Alignment, as in the authors' code with a little ridge: smallest and mean over the teacher's units."""
    own, ours, wanted, theirs = (np.asarray(part) for part in (student.codes, student.network.modules, task.codes, task.teacher.modules))
    found = alignment(theirs, in_teacher_basis(ours, code_map(own, wanted, l2=1e-2)))
    return found.worst, found.mean


def _masks(arm: DescentArm) -> np.ndarray:
    """The active modules of each task."""
    sets = SUPPORTS[arm.support]
    masks = masks_of(max(MODULES, *(module + 1 for active in sets for module in active)), sets)
    return masks if arm.discrete else np.repeat(masks, arm.descent.tasks, axis=0)


def _tasks(arm: DescentArm, keys: Any) -> Any:
    """The task of every replicate: a teacher, and normalised masks as codes, or ones with weights from 0.5 to 1 (`damped`); equally many inputs in all."""
    masks, sizes, drawn = _masks(arm), arm.descent, []
    modules, points = masks.shape[1], sizes.points * (sizes.tasks if arm.discrete else 1)
    for key in keys:
        generator = numpy_generator(key)
        normal, drawn_weights = generator.standard_normal, generator.exponential(size=masks.shape) * masks
        codes = 0.5 * (drawn_weights / (1 + drawn_weights.sum(axis=1, keepdims=True)) + 1) * masks
        if arm.discrete:
            codes = masks / np.linalg.norm(masks, axis=1, keepdims=True)
        theta = normal((modules, sizes.hidden, sizes.inputs)) / modules**0.5
        readout = normal((sizes.outputs, sizes.hidden)) / sizes.hidden**0.5
        drawn.append(KnownTasks(ComposedNetwork(jnp.asarray(theta, float), jnp.asarray(readout, float)), jnp.asarray(codes, float), points))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)
