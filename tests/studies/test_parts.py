"""Every layer of the registry and every way to name one fits the studies that train a user's layer; what does not is one line; its code is its trial's."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest

from mesocosm.lab.catalogue import find
from mesocosm.lab.store.code import trial_code
from mesocosm.nn import LAYERS, GatedMesaAttention, MesaAttention
from mesocosm.studies.gated_rnn.students import build_student, student_loss
from mesocosm.studies.mesa.networks import build_user_mixer, prediction_loss
from mesocosm.studies.mesa.references import orthogonal_systems
from mesocosm.studies.part_names import code_of, find_constructor, read_name
from mesocosm.studies.parts import check_mixer, user_mixer
from mesocosm.tasks.attention_teacher import LinearAttentionTeacher

KEY = jax.random.key(0)


def trial(study, mixer):
    """The trial of one user's layer at the smoke preset."""
    config = replace(find(study).presets["smoke"].config, mixer=mixer)
    return next(trial for trial in find(study).trials(config) if trial.name in ("user-1", "student-user"))


def network_and_loss(study, arm):
    """A new network of an arm, and its loss on one example."""
    if study == "mesa":
        return build_user_mixer(arm, KEY), lambda network: prediction_loss(network, orthogonal_systems(arm.systems).sample(KEY, "iid"), KEY)
    teacher = LinearAttentionTeacher.draw(KEY, arm.teacher.dim, length=arm.teacher.length)
    return build_student(arm, KEY), lambda network: student_loss(network, teacher.sample(KEY, "iid"), KEY)


@pytest.mark.parametrize("study", ["mesa", "gated-rnn"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_of_the_registry_fits_and_learns(study, name):
    find(study).check(replace(find(study).presets["smoke"].config, mixer=name))
    network, loss = network_and_loss(study, trial(study, name).config)
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss))(network)
    assert 0 < value < 1e3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    layer = (gradient.layers[0] if study == "mesa" else gradient.block).layer
    assert any(np.abs(leaf).max() > 1e-8 for leaf in jax.tree.leaves(layer))
