"""Parts of trained networks exchanged: a softmax layer for linear attention, and the bounds of mesa layers' solvers."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import ResidualStack
from mesocosm.studies.mesa.config import PRESETS, Distillation, Evaluation, RawNetworks, Systems
from mesocosm.studies.mesa.distillation import DistilledArm, build_pupil, pupil_loss, replace_layer
from mesocosm.studies.mesa.memories import Bounds, MemoryArm, build_memory, measure_accuracy, memory_loss, solved, with_bounds
from mesocosm.studies.mesa.raw_networks import RawArm, build_raw
from mesocosm.tasks.linear_systems import LinearSystems
from mesocosm.tasks.task import batch

SMOKE = PRESETS["smoke"].config
ARM = RawArm(
    Systems(dim=3, length=8),
    "orthogonal",
    ("placed", "softmax"),
    RawNetworks(width=6, heads=2, key_dim=4),
    replace(SMOKE.linear, init_std=0.3),
    Evaluation(64, 64),
)
DISTILLED = DistilledArm("parent", ARM, Distillation())


@pytest.mark.whole
@pytest.mark.parametrize("index", [0, 1])
def test_a_silent_pupil_loses_the_layers_whole_output_and_its_network_lacks_the_layer(index):
    network = build_raw(ARM, jax.random.key(0))
    pupil = build_pupil(DISTILLED, index, "linear", jax.random.key(1))
    assert (pupil.position is not None) == (index == 0)
    example = LinearSystems.orthogonal(3, length=8).sample(jax.random.key(2))
    entering = network.activations(example.inputs)[index]
    assert pupil(entering).shape == entering.shape
    assert np.abs(pupil(entering)).max() > 1e-3
    silent = eqx.tree_at(lambda pupil: pupil.layer.output, pupil, replace_fn=jnp.zeros_like)
    output = np.asarray(network.stack.layers[index](entering))
    np.testing.assert_allclose(pupil_loss(index, network, silent, example, jax.random.key(0)), np.mean(np.sum(output**2, axis=-1)), rtol=1e-5)
    without = ResidualStack(network.stack.layers[:index] + network.stack.layers[index + 1 :], clip=network.stack.clip)
    lacking = eqx.tree_at(lambda network: network.stack, network, without)
    np.testing.assert_allclose(replace_layer(network, index, silent)(example.inputs), lacking(example.inputs), rtol=1e-5, atol=1e-7)


@pytest.mark.whole
def test_looser_bounds_take_fewer_steps_and_cost_more():
    arm = MemoryArm(replace(SMOKE.memories, layers=2, width=16, key_dim=8), "mesa", "recall")
    network = build_memory(arm, jax.random.key(0))
    examples = batch(arm.task, jax.random.key(1), 8, "iid")
    measure = eqx.filter_jit(lambda bounds: solved(bounds, network, examples))
    (exact, _, most), (near, _, some), (one, _, single) = (map(float, measure(bounds)) for bounds in (Bounds(1e-6), Bounds(1e-2), Bounds(0.0, 1)))
    assert single == 1
    assert 1 < some < most < 30
    assert abs(near - exact) < 0.02
    assert abs(one - exact) > abs(near - exact)
    assert all(block.mixer.steps == 3 for block in with_bounds(network, Bounds(0.1, 3)).blocks)
    assert all(block.mixer.steps == 30 for block in network.blocks)


def test_recall_networks_differ_in_their_memory_alone():
    networks = [build_memory(MemoryArm(SMOKE.memories, mixer, "noisy-recall"), jax.random.key(0)) for mixer in ("mesa", "gla", "delta-net")]
    fronts = [jax.tree.leaves(network.blocks[0].mixer.front) for network in networks]
    assert all(np.array_equal(a, b) for front in fronts[1:] for a, b in zip(front, fronts[0], strict=True))
    assert MemoryArm(SMOKE.memories, "mesa", "noisy-recall").task.distractors
    assert not MemoryArm(SMOKE.memories, "mesa", "recall").task.distractors


@pytest.mark.whole
@pytest.mark.parametrize("mixer", ["gla", "attention"])
def test_networks_of_automata_are_scored_by_what_may_come_next(mixer):
    """An untrained network guesses: about as often right as the alphabet's share of allowed symbols."""
    arm = MemoryArm(replace(SMOKE.memories, automata_length=64), mixer, "automata")
    network, examples = build_memory(arm, jax.random.key(0)), batch(arm.task, jax.random.key(1), 64, "iid")
    rate = float(eqx.filter_jit(measure_accuracy)(network, examples))
    assert 0.5 * np.mean(examples.allowed) < rate < 3 * np.mean(examples.allowed)
    assert np.isfinite(memory_loss(network, jax.tree.map(lambda leaf: leaf[0], examples), jax.random.key(0)))


def test_pupils_of_the_first_layer_see_the_order_of_tokens_and_others_do_not():
    x = jax.random.normal(jax.random.key(3), (8, 6))
    swapped = x[jnp.asarray([1, 0, *range(2, 8)])]
    pupils = {(index, kind): build_pupil(DISTILLED, index, kind, jax.random.key(1)) for index, kind in ((0, "linear"), (1, "linear"), (0, "softmax"))}
    moved = {of: float(np.abs(pupil(x)[-1] - pupil(swapped)[-1]).max() / np.abs(pupil(x)[-1]).max()) for of, pupil in pupils.items()}
    assert moved[1, "linear"] < 1e-5
    assert min(moved[0, "linear"], moved[0, "softmax"]) > 1e-3
    layer = build_raw(ARM, jax.random.key(0)).stack.layers[0]
    assert jax.tree.map(jnp.shape, jax.tree.leaves(pupils[0, "softmax"])) == jax.tree.map(jnp.shape, jax.tree.leaves(layer))
