"""Trains students of a linear-attention teacher."""

from __future__ import annotations

from typing import Any

import jax
from jax.tree_util import Partial
from jaxtyping import PRNGKeyArray

from mesocosm.studies.gated_rnn.config import Evaluation, Teacher
from mesocosm.studies.gated_rnn.structure import measure_polynomial, measure_structure
from mesocosm.studies.gated_rnn.students import StudentArm, Trained, build_student, learner, sequence_losses, student_loss
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.attention_teacher import Answered, LinearAttentionTeacher
from mesocosm.tasks.task import batch, digest


def train_student(arm: StudentArm, context: Context) -> Tables:
    """Train a student; measure its loss and the polynomial that it computes."""
    trained = _train(arm, context)
    return _losses(arm, context, trained) | measure_polynomial(arm, context, trained)


def train_identified(arm: StudentArm, context: Context) -> Tables:
    """Train a bilinear gated RNN; measure its loss, its polynomial and the structure of its weights."""
    trained = _train(arm, context)
    return _losses(arm, context, trained) | measure_polynomial(arm, context, trained) | measure_structure(arm, context, trained)


def _train(arm: StudentArm, context: Context) -> Trained:
    teachers = context.evaluate(Partial(_draw_teacher, arm.teacher), context.keys("env"))
    fitted = context.fit("student", learner(arm.training, Partial(build_student, arm), teachers, student_loss), arm.training.steps, per_seed=True)
    context.publish("student", fitted.model)
    test, held_out = context.evaluate(Partial(_draw_sequences, arm.evaluation, context.evaluation_key), teachers)
    return Trained(fitted.model, teachers, test, held_out)


def _draw_teacher(teacher: Teacher, key: PRNGKeyArray) -> LinearAttentionTeacher:
    return LinearAttentionTeacher.draw(key, teacher.dim, length=teacher.length, memory=teacher.memory)


def _draw_sequences(evaluation: Evaluation, key: PRNGKeyArray, teacher: LinearAttentionTeacher) -> tuple[Answered, Answered]:
    test_key, other_key = jax.random.split(key)
    return batch(teacher, test_key, evaluation.sequences, "iid"), batch(teacher, other_key, evaluation.held_out, "iid")


def _losses(arm: StudentArm, context: Context, trained: Trained) -> dict[str, Any]:
    losses = context.evaluate(sequence_losses, trained.students, trained.test)
    digests = [digest(tokens) for tokens in _by_seed(trained.test)]
    error = losses.std(axis=1, ddof=1) / losses.shape[1] ** 0.5
    labels = {"layer": arm.network.layer, "neurons": arm.network.neurons}
    return {"loss": context.rows(**labels, digest=digests, loss=losses.mean(axis=1), error=error)}


def _by_seed(tree: Any) -> list[Any]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(len(jax.tree.leaves(tree)[0]))]
