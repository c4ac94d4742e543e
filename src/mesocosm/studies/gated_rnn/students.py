"""Students of the gated-rnn study: arm, builder, learner, and losses on sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import Mixer
from mesocosm.studies.gated_rnn.config import Evaluation, Network, Teacher, Training
from mesocosm.studies.gated_rnn.networks import LAYERS, user_layer
from mesocosm.tasks.attention_teacher import Answered


@dataclass(frozen=True)
class StudentArm:
    """One network trained on teachers."""

    teacher: Teacher
    network: Network
    training: Training
    evaluation: Evaluation
    mixer: str = ""


def build_student(arm: StudentArm, key: PRNGKeyArray) -> Mixer:
    """Build the network of an arm."""
    build = user_layer(arm.mixer) if arm.mixer else LAYERS[arm.network.layer]
    return build(arm.teacher.dim, arm.network, arm.training.gain, key)


def student_loss(student: Mixer, example: Answered, key: PRNGKeyArray) -> Float[Array, ""]:
    """Squared error, mean over positions and channels; the targets' variance is 1."""
    return jnp.mean((student(example.tokens) - example.targets) ** 2)


def learner(training: Training, build: Any, task: Any, loss: Any) -> Supervised:
    """Adam on fresh examples."""
    hyperparameters = {"learning_rate": training.learning_rate, "steps": float(training.steps), "clip_norm": training.clip_norm}
    return Supervised(build, task, loss, adamw, hyperparameters, training.batch_size)


class Trained(NamedTuple):
    """Students of all seeds, their teachers, and sequences from each: `test` for losses, `held_out` for measurements inside the student."""

    students: Any
    teachers: Any
    test: Answered
    held_out: Answered


def sequence_losses(student: Mixer, examples: Answered) -> Float[Array, " batch"]:
    """The loss of each sequence."""
    return jax.vmap(lambda example: student_loss(student, example, jax.random.key(0)))(examples)
