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

PAIRS = {True: ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)), False: ((0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3))}
"""Connected support: neighbours on a ring of six modules. Disconnected: on two rings of three."""
MODULES = 6


@dataclass(frozen=True)
class DescentArm:
    """Students on one support."""

    connected: bool
    descent: Descent


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
    """A student with `wider` times the teacher's modules and units, standard normal codes and modules."""
    sizes, (module_key, readout_key, code_key) = arm.descent, jax.random.split(key, 3)
    modules, hidden = sizes.wider * MODULES, sizes.wider * sizes.hidden
    theta = jax.random.normal(module_key, (modules, hidden, sizes.inputs)) / modules**0.5
    readout = jax.random.normal(readout_key, (sizes.outputs, hidden)) / hidden**0.5
    return CodedStudent(ComposedNetwork(theta, readout), jax.random.normal(code_key, (arm.descent.tasks * len(PAIRS[True]), modules)) / modules**0.5)


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
    return {"descent": context.rows(connected=arm.connected, loss=losses, alignment=[worst for worst, _ in found], mean_alignment=[mean for _, mean in found])}


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


def _tasks(arm: DescentArm, keys: Any) -> Any:
    """The task of every replicate: codes with two active modules, with weights from 0.5 to 1 (`damped`), and a teacher."""
    masks = np.repeat(masks_of(MODULES, PAIRS[arm.connected]), arm.descent.tasks, axis=0)
    sizes, drawn = arm.descent, []
    for key in keys:
        generator = numpy_generator(key)
        normal, drawn_weights = generator.standard_normal, generator.exponential(size=masks.shape) * masks
        codes = 0.5 * (drawn_weights / (1 + drawn_weights.sum(axis=1, keepdims=True)) + 1) * masks
        theta = normal((MODULES, sizes.hidden, sizes.inputs)) / MODULES**0.5
        readout = normal((sizes.outputs, sizes.hidden)) / sizes.hidden**0.5
        drawn.append(KnownTasks(ComposedNetwork(jnp.asarray(theta, float), jnp.asarray(readout, float)), jnp.asarray(codes, float), sizes.points))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)
