"""Trials of the gated-rnn study: students of a linear-attention teacher, in-context regressors, and identities."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.studies.gated_rnn.config import Config, Network, Training
from mesocosm.studies.gated_rnn.identities import check_identities
from mesocosm.studies.gated_rnn.prompts import RegressorArm, build_regressor, train_regressor
from mesocosm.studies.gated_rnn.students import StudentArm, build_student
from mesocosm.studies.gated_rnn.tables import student_size
from mesocosm.studies.gated_rnn.train import train_identified, train_student
from mesocosm.studies.interface import Trial
from mesocosm.studies.part_names import code_of
from mesocosm.studies.parts import check_mixer


def check(config: Config) -> None:
    """Reject a mixer that does not fit.

    Raises:
        ValueError: see `check_mixer`.
    """
    check_mixer(config.mixer, config.hidden, config.teacher.length)


def trials(config: Config) -> list[Trial]:
    """One trial per network; all its seeds are one program."""

    def student(name: str, layer: str, neurons: int, *, memory: float = 1.0, training: Training = config.student) -> Trial:
        teacher, network = replace(config.teacher, memory=memory), Network(layer, neurons, config.products_per_neuron)
        arm = StudentArm(teacher, network, training, config.evaluation, config.mixer if layer == "user" else "")
        run = train_identified if layer == "gated" else train_student
        return Trial(name, run, arm, models={"student": build_student}, over_seeds=config.over_seeds)

    def regressor(layer: str, neurons: int, training: Training) -> Trial:
        arm = RegressorArm(config.prompts, Network(layer, neurons, config.products_per_neuron), training, config.evaluation)
        name = f"prompts-{neurons}" if layer == "gated" else f"prompts-{layer}"
        return Trial(name, train_regressor, arm, models={"regressor": build_regressor}, over_seeds=config.over_seeds)

    students = [student(f"student-{neurons}", "gated", neurons) for neurons in config.neurons]
    if config.mixer:
        theirs = replace(student("student-user", "user", config.hidden, training=config.other_student), user_parts=code_of(config.mixer))
        return [*students, theirs]
    judged = student_size(config)
    found = [
        Trial("identities", check_identities, config.identities, precision="float64", seeds=1),
        *students,
        student("student-forgetful", "gated", judged, memory=config.forgetful),
        student("student-side", "side", config.side_neurons),
    ]
    trainings = {name: replace(config.other_student, learning_rate=rate) for name, rate in config.learning_rates}
    for name in config.architectures:
        found.append(student(f"student-{name}", name, _size(name, config), training=trainings.get(name, config.other_student)))
    if config.prompt_neurons:
        found += [regressor("gated", neurons, config.regression) for neurons in config.prompt_neurons]
        found += [regressor("attention", 1, config.regression)]
        found += [regressor(name, config.hidden, config.other_regression) for name in config.prompt_architectures]
    return found


def _size(layer: str, config: Config) -> int:
    return student_size(config) if layer in ("glu", "side-ungated") else config.hidden
