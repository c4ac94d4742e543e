"""What the gated-rnn study trains: students of a linear-attention teacher and in-context regressors, and what is read from them afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.in_context.gated_structure import block_energies, neuron_influence, prune, snap, state_sizes, weighted_forms
from mesocosm.analysis.in_context.polynomial_coefficients import (
    attention_coefficients,
    compare,
    derivative_coefficients,
    fitted_coefficients,
    gated_coefficients,
)
from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.analysis.tables import long_table
from mesocosm.learning.supervised import Supervised, cosine_adamw
from mesocosm.nn import FreeDecay, GatedLinearRNN, Mixer
from mesocosm.studies.gated_rnn.config import Config, Evaluation, Network, Prompts, Teacher, Training
from mesocosm.studies.gated_rnn.identities import check_identities
from mesocosm.studies.gated_rnn.networks import LAYERS, foreign
from mesocosm.studies.gated_rnn.tables import student_size
from mesocosm.studies.interface import Context, Tables, Trial
from mesocosm.studies.parts import check_mixer
from mesocosm.tasks.attention_teacher import Answered, LinearAttentionTeacher
from mesocosm.tasks.regression_prompts import Prompt, RegressionPrompts, gradient_step, gradient_step_attention
from mesocosm.tasks.task import batch, digest

LAGS = (1, 2, 4)


@dataclass(frozen=True)
class Arm:
    """One network that learns from teachers."""

    teacher: Teacher
    network: Network
    training: Training
    evaluation: Evaluation
    mixer: str = ""


@dataclass(frozen=True)
class PromptArm:
    """One network that learns regression in context."""

    prompts: Prompts
    network: Network
    training: Training
    evaluation: Evaluation


def check(config: Config) -> None:
    """Refuse a mixer that does not fit.

    Raises:
        ValueError: see `check_mixer`.
    """
    check_mixer(config.mixer, config.hidden, config.teacher.length)


def trials(config: Config) -> list[Trial]:
    """One trial for each network; all seeds of it are one program."""

    def student(name: str, layer: str, neurons: int, *, memory: float = 1.0, others: bool = False) -> Trial:
        training = config.other_student if others else config.student
        teacher, network = replace(config.teacher, memory=memory), Network(layer, neurons, config.products_per_neuron)
        arm = Arm(teacher, network, training, config.evaluation, config.mixer if layer == "foreign" else "")
        run = train_identified if layer == "gated" else train_student
        return Trial(name, run, arm, models={"student": build_student}, seeds=config.seeds_of_others if others else None, over_seeds=config.over_seeds)

    def regressor(layer: str, neurons: int, training: Training) -> Trial:
        arm = PromptArm(config.prompts, Network(layer, neurons, config.products_per_neuron), training, config.evaluation)
        name = f"prompts-{neurons}" if layer == "gated" else f"prompts-{layer}"
        models = {"regressor": build_regressor}
        return Trial(name, train_regressor, arm, models=models, seeds=config.seeds_of_others, over_seeds=config.over_seeds)

    students = [student(f"student-{neurons}", "gated", neurons) for neurons in config.neurons]
    if config.mixer:
        theirs = replace(student("student-foreign", "foreign", config.hidden, others=True), foreign=(config.mixer.partition(":")[0],))
        return [*students, theirs]
    judged = student_size(config)
    found = [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        *students,
        student("student-forgetful", "gated", judged, memory=config.forgetful),
        student("student-side", "side", config.side_neurons),
    ]
    found += [student(f"student-{name}", name, _size(name, config), others=True) for name in config.architectures]
    if config.prompt_neurons:
        found += [regressor("gated", neurons, config.regression) for neurons in config.prompt_neurons]
        found += [regressor("attention", 1, config.regression)]
        found += [regressor(name, config.hidden, config.other_regression) for name in config.prompt_architectures]
    return found


def _size(layer: str, config: Config) -> int:
    return student_size(config) if layer in ("glu", "side-ungated") else config.hidden


# --- students -------------------------------------------------------------------------------------------------------


def build_student(arm: Arm, key: PRNGKeyArray) -> Mixer:
    """The network of an arm."""
    build = foreign(arm.mixer) if arm.mixer else LAYERS[arm.network.layer]
    return build(arm.teacher.dim, arm.network, arm.training.gain, key)


def student_loss(student: Mixer, example: Answered, key: PRNGKeyArray) -> Float[Array, ""]:
    """Squared error, mean over positions and channels; the targets' variance is 1."""
    return jnp.mean((student(example.tokens) - example.targets) ** 2)


def learner(training: Training, build: Any, task: Any, loss: Any) -> Supervised:
    """Adam on fresh examples."""
    hyperparameters = {
        "learning_rate": training.learning_rate,
        "steps": float(training.steps),
        "weight_decay": 0.0,
        "clip": 1e6,
        "clip_norm": training.clip_norm,
    }
    return Supervised(build, task, loss, cosine_adamw, hyperparameters, training.batch_size)


class Trained(NamedTuple):
    """Students of all seeds, their teachers, and sequences of each: `test` to judge on, `held_out` to look inside with."""

    students: Any
    teachers: Any
    test: Answered
    held_out: Answered


def train_student(arm: Arm, context: Context) -> Tables:
    """A student: its loss, and the polynomial that it computes."""
    trained = _train(arm, context)
    return _losses(arm, context, trained) | _black_box(arm, context, trained)


def train_identified(arm: Arm, context: Context) -> Tables:
    """A bilinear gated RNN: its loss, its polynomial, and the structure of its weights."""
    trained = _train(arm, context)
    return _losses(arm, context, trained) | _black_box(arm, context, trained) | _structure(arm, context, trained)


def _train(arm: Arm, context: Context) -> Trained:
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


def sequence_losses(student: Mixer, examples: Answered) -> Float[Array, " batch"]:
    """One number a sequence."""
    return jax.vmap(lambda example: student_loss(student, example, jax.random.key(0)))(examples)


def _losses(arm: Arm, context: Context, trained: Trained) -> dict[str, Any]:
    losses = context.evaluate(sequence_losses, trained.students, trained.test)
    digests = [digest(tokens) for tokens in _by_seed(trained.test)]
    error = losses.std(axis=1, ddof=1) / losses.shape[1] ** 0.5
    labels = {"layer": arm.network.layer, "neurons": arm.network.neurons}
    return {"loss": context.rows(**labels, digest=digests, loss=losses.mean(axis=1), error=error)}


def _by_seed(tree: Any) -> list[Any]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(len(jax.tree.leaves(tree)[0]))]


class Polynomial(NamedTuple):
    """A student's coefficients beside its teacher's: by derivatives at zero, and by least squares on data with the fraction that they explain."""

    derivative: Array
    fitted: Array
    wanted: Array
    explained: Array


def read_polynomial(student: Mixer, teacher: LinearAttentionTeacher, examples: Answered) -> Polynomial:
    """What the student computes, whatever its architecture."""
    _, time, dim = examples.tokens.shape
    derivative = derivative_coefficients(student, dim, time=time, source=time - 1)
    fitted = fitted_coefficients(jax.vmap(student)(examples.tokens)[:, -1], examples.tokens)
    return Polynomial(derivative, fitted.coefficients, attention_coefficients(teacher.attention), fitted.explained)


def _black_box(arm: Arm, context: Context, trained: Trained) -> dict[str, Any]:
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
    """A trained gated RNN, neuron by neuron and as a whole."""

    decay: Array
    influence: Array
    size: Array
    kept: Array
    loss: Array
    pruned_loss: Array
    snapped_loss: Array
    extreme: Array
    right_block: Array
    right_block_shuffled: Array
    coefficients: Array
    wanted: Array
    forms: Array
    snapped_forms: Array


def read_structure(threshold: float, student: GatedLinearRNN, teacher: LinearAttentionTeacher, test: Answered, held_out: Answered) -> Structure:
    """Influence on held-out sequences, pruning, snapping of the decays to 0 and 1, and the losses of each on the test sequences."""
    influence = neuron_influence(lambda rnn: jnp.mean(sequence_losses(rnn, held_out)), student)
    pruned, kept = prune(student, influence, threshold)
    snapped, size, decay = snap(pruned), state_sizes(student, held_out.tokens), student.decay()
    weight = jnp.maximum(influence, 0.0) * kept
    extreme = jnp.sum(weight * ((decay < 0.05) | (decay > 0.95))) / jnp.maximum(jnp.sum(weight), 1e-30)
    whole, without, rounded = (jnp.mean(sequence_losses(rnn, test)) for rnn in (student, pruned, snapped))
    blocks = block_energies(pruned, size).memory_query
    coefficients = jnp.mean(jnp.stack([gated_coefficients(snapped, lag) for lag in LAGS]), axis=0)
    forms, snapped_forms = weighted_forms(student, size), weighted_forms(snapped, size)
    shuffled = eqx.tree_at(lambda rnn: rnn.decay, pruned, FreeDecay(jnp.roll(decay, 1)))  # neurons come in random order
    other_blocks = block_energies(shuffled, size).memory_query
    wanted = attention_coefficients(teacher.attention)
    return Structure(decay, influence, size, kept, whole, without, rounded, extreme, blocks, other_blocks, coefficients, wanted, forms, snapped_forms)


def _structure(arm: Arm, context: Context, trained: Trained) -> dict[str, Any]:
    read = Partial(read_structure, arm.evaluation.threshold)
    found = context.evaluate(read, trained.students, trained.teachers, trained.test, trained.held_out)
    agreement, other = _compare(found.coefficients, found.wanted), _compare(found.coefficients, np.roll(found.wanted, 1, axis=0))
    scalars = {name: getattr(found, name) for name in ("loss", "pruned_loss", "snapped_loss", "extreme", "right_block", "right_block_shuffled")}
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


# --- prompts --------------------------------------------------------------------------------------------------------


def build_regressor(arm: PromptArm, key: PRNGKeyArray) -> Mixer:
    """The network of an arm."""
    dim = arm.prompts.input_dim + arm.prompts.target_dim
    return LAYERS[arm.network.layer](dim, arm.network, arm.training.gain, key)


def answer(network: Mixer, tokens: Float[Array, "time width"], target_dim: int) -> Float[Array, " target_dim"]:
    """The prediction is what the network puts into the last channels at the query."""
    return network(tokens)[-1, -target_dim:]


def prompt_loss(network: Mixer, example: Prompt, key: PRNGKeyArray) -> Float[Array, ""]:
    """Squared error at the query, mean over target dimensions."""
    return jnp.mean((answer(network, example.tokens, example.target.shape[-1]) - example.target) ** 2)


def regression_task(prompts: Prompts) -> RegressionPrompts:
    """The task of an arm."""
    return RegressionPrompts(prompts.input_dim, prompts.target_dim, prompts.pairs)


class Measured(NamedTuple):
    """Of one regressor: squared errors a prompt, its own and the best gradient step's; and how like gradient descent it answers.

    Attributes:
        slope: of its predictions on the sums y_i (x_i . x_q).
        unexplained: fraction of its predictions' power that these sums leave.
        cosine: of the coefficients that least squares finds with those of gradient descent.
        sensitivity: mean cosine of the derivative of its prediction in the query with that of gradient descent.
    """

    losses: Array
    step_losses: Array
    out_of_distribution: Array
    step_out_of_distribution: Array
    slope: Array
    unexplained: Array
    cosine: Array
    sensitivity: Array


def measure_regressor(task: RegressionPrompts, network: Mixer, prompts: Prompt, large: Prompt) -> Measured:
    """On fresh prompts, and on fewer with inputs twice as large."""
    step, target_dim = task.optimal_step_size(), task.target_dim

    def predict(tokens: Array) -> Array:
        return answer(network, tokens, target_dim)

    def descend(tokens: Array) -> Array:
        return gradient_step(tokens, target_dim, step)

    found, steps = jax.vmap(predict)(prompts.tokens), jax.vmap(descend)(prompts.tokens)
    errors, step_errors = (jnp.mean((guess - prompts.target) ** 2, axis=1) for guess in (found, steps))
    far, step_far = (jnp.mean((jax.vmap(guess)(large.tokens) - large.target) ** 2) for guess in (predict, descend))
    slope = jnp.sum(found * steps) / jnp.sum(steps**2)
    unexplained = 1 - slope * jnp.sum(found * steps) / jnp.sum(found**2)
    few = prompts.tokens[: len(large.tokens)]
    wanted = attention_coefficients(gradient_step_attention(task.input_dim, target_dim, step))[-target_dim:]
    coefficients = fitted_coefficients(found, prompts.tokens).coefficients
    cosine, sensitivity = compare(coefficients, wanted).cosine, _sensitivity(predict, descend, few, task.input_dim)
    return Measured(errors, step_errors, far, step_far, slope * step, unexplained, cosine, sensitivity)


def _sensitivity(predict: Any, descend: Any, tokens: Float[Array, "batch time width"], input_dim: int) -> Float[Array, ""]:
    def derivative(guess: Any, one: Array) -> Array:
        return jax.jacfwd(lambda query: guess(one.at[-1, :input_dim].set(query)))(one[-1, :input_dim])

    ours, theirs = (jax.vmap(lambda one, guess=guess: derivative(guess, one))(tokens) for guess in (predict, descend))
    norms = jnp.sqrt(jnp.sum(ours**2, axis=(1, 2)) * jnp.sum(theirs**2, axis=(1, 2)))
    return jnp.mean(jnp.sum(ours * theirs, axis=(1, 2)) / jnp.maximum(norms, 1e-30))


def train_regressor(arm: PromptArm, context: Context) -> Tables:
    """A network on prompts: its loss beside the best gradient step's, and whether it computes that step."""
    task = regression_task(arm.prompts)
    fitted = context.fit("regressor", learner(arm.training, Partial(build_regressor, arm), task, prompt_loss), arm.training.steps)
    context.publish("regressor", fitted.model)
    test_key, other_key = jax.random.split(context.evaluation_key)
    prompts = batch(task, test_key, arm.evaluation.prompts, "iid")
    large = batch(task, other_key, arm.evaluation.held_out, "ood")
    found = context.evaluate(Partial(measure_regressor, task), fitted.model, shared=(prompts, large))
    versus, error = log_ratio_of_means(found.losses, found.step_losses)
    labels = {"layer": arm.network.layer, "neurons": arm.network.neurons, "digest": digest(prompts)}
    scalars = {name: getattr(found, name) for name in ("slope", "unexplained", "cosine", "sensitivity")}
    step_size, optimum = (np.asarray(float(value)) for value in (task.optimal_step_size(), task.one_step_loss()))
    return {
        "prompt_loss": context.rows(
            **labels,
            loss=found.losses.mean(1),
            step_loss=found.step_losses.mean(1),
            optimum=optimum,
            step_size=step_size,
            versus_step=versus,
            versus_step_error=error,
            out_of_distribution=found.out_of_distribution,
            step_out_of_distribution=found.step_out_of_distribution,
            **scalars,
        )
    }
