"""Decoders on text: blocks of equal parameters, the lesion of the solver, and text that pilots do not see."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.studies.mesa.config import PRESETS, LanguageRuns
from mesocosm.studies.mesa.language import LanguageArm, build_decoder, decoder_loss, hidden_width, manual, position_losses, without_solve
from mesocosm.tasks.tokens import TokenExample

RUNS = LanguageRuns(2, 300, 16, 2, 2, 8, 12, windows=4)


def decoder(*memories):
    return build_decoder(LanguageArm(RUNS, memories, 1e-3), jax.random.key(0))


def windows(count=4):
    tokens = jax.random.randint(jax.random.key(1), (count, RUNS.length + 1), 0, RUNS.vocabulary)
    return TokenExample(tokens[:, :-1], tokens[:, 1:], jnp.ones((count, RUNS.length)))


@pytest.mark.parametrize("preset", ["cpu", "paper"])
def test_blocks_of_all_memories_have_as_many_parameters_as_one_of_attention(preset):
    runs = PRESETS[preset].config.language
    sizes = {}
    for memory in ("attention", "mesa", "gla", "delta-net"):
        network = eqx.filter_eval_shape(lambda key, memory=memory: build_decoder(LanguageArm(runs, (memory,), 1e-3), key), jax.random.key(0))
        sizes[memory] = sum(leaf.size for leaf in jax.tree.leaves(network.blocks) if hasattr(leaf, "size"))
    assert hidden_width(runs, "attention") == 4 * runs.width
    assert all(abs(size - sizes["attention"]) <= runs.width + 1 for size in sizes.values())


@pytest.mark.whole
def test_the_lesion_takes_one_step_in_mesa_layers_and_changes_no_other():
    mixed = decoder("attention", "mesa")
    lesioned = without_solve(mixed)
    assert eqx.tree_equal(lesioned.blocks[0], mixed.blocks[0])
    assert (mixed.blocks[1].mixer.steps, lesioned.blocks[1].mixer.steps) == (30, 1)
    inputs = windows().inputs[0]
    _, shown = eqx.filter_jit(lambda network, x: network.explain(x))(lesioned, inputs)
    assert int(jnp.max(shown[1].steps)) == 1


@pytest.mark.whole
def test_losses_by_position_average_to_the_training_loss():
    network, examples = decoder("gla", "gla"), windows()
    found = eqx.filter_jit(position_losses)(False, network, examples)
    whole = jax.vmap(lambda example: decoder_loss(network, example, jax.random.key(0)))(examples)
    np.testing.assert_allclose(found.mean(), whole.mean(), rtol=1e-5)
    assert found.shape == (RUNS.length,)


@pytest.mark.whole
def test_losses_without_the_solve_are_those_of_the_lesioned_network():
    network, examples = decoder("attention", "mesa"), windows()
    measure = eqx.filter_jit(position_losses)
    lesioned = measure(True, network, examples)
    np.testing.assert_allclose(lesioned, measure(False, without_solve(network), examples), rtol=1e-6)
    assert np.abs(lesioned - measure(False, network, examples)).max() > 1e-4


@pytest.mark.whole
def test_pilots_never_see_the_text_on_which_a_record_is_tested():
    record, pilot = (manual(RUNS, pilots) for pilots in (False, True))
    stretch = len(record.corpus) // record.groups
    held_out = np.concatenate([np.asarray(record.corpus)[(i + 1) * stretch - record.held_out : (i + 1) * stretch] for i in range(record.groups)])
    assert len(pilot.corpus) + len(held_out) == record.groups * stretch
    kept = np.delete(np.asarray(record.corpus)[: record.groups * stretch].reshape(record.groups, -1), np.s_[stretch - record.held_out :], axis=1)
    np.testing.assert_array_equal(np.asarray(pilot.corpus), kept.ravel())
