"""Decoders on text: blocks of equal parameters, the lesion of the solver, held-out windows, and text that pilots do not see."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.studies.mesa.config import PRESETS, LanguageRuns
from mesocosm.studies.mesa.language import LanguageArm, build_decoder, decoder_loss, held_out_windows, hidden_width, manual, window_losses, without_solve
from mesocosm.studies.mesa.memories import MIXERS
from mesocosm.tasks.tokens import TokenExample

RUNS = LanguageRuns(2, 300, 16, 2, 2, 8, 16)


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
@pytest.mark.parametrize("memory", MIXERS)
def test_decoders_see_no_later_token(memory):
    network, inputs = decoder("attention", memory), windows(1).inputs[0]
    run = eqx.filter_jit(lambda network, inputs: network(inputs))
    apart = np.asarray(run(network, inputs) - run(network, inputs.at[9].add(1))).any(-1)
    assert not apart[:9].any()
    assert apart[9:].all()


@pytest.mark.whole
def test_losses_of_windows_average_to_the_training_loss():
    network, examples = decoder("gla", "gla"), windows()
    found = eqx.filter_jit(window_losses)(False, network, examples)
    whole = jax.vmap(lambda example: decoder_loss(network, example, jax.random.key(0)))(examples)
    np.testing.assert_allclose(found.mean(1), whole, rtol=1e-5)
    assert found.shape == (4, RUNS.length)


@pytest.mark.whole
def test_losses_without_the_solve_are_those_of_the_lesioned_network():
    network, examples = decoder("attention", "mesa"), windows()
    measure = eqx.filter_jit(window_losses)
    lesioned = measure(True, network, examples)
    np.testing.assert_allclose(lesioned, measure(False, without_solve(network), examples), rtol=1e-6)
    assert np.abs(lesioned - measure(False, network, examples)).max() > 1e-4


@pytest.mark.whole
@pytest.mark.parametrize("pilots", [False, True])
def test_held_out_windows_are_disjoint_and_no_part_of_them_is_in_training(pilots):
    """Every window predicts the tokens after its own; of its runs of 16 tokens, hardly any stands in the text of training."""
    task = manual(replace(RUNS, vocabulary=512, length=64), pilots)
    found = held_out_windows(task)
    corpus, stretch = np.asarray(task.corpus), len(task.corpus) // task.groups
    parts = corpus[: stretch * task.groups].reshape(task.groups, stretch)
    per_part = len(found.inputs) // task.groups
    for group, part in enumerate(parts[:, -task.held_out :]):
        rows = slice(group * per_part, (group + 1) * per_part)
        np.testing.assert_array_equal(np.ravel(found.inputs[rows]), part[: per_part * 64])
        np.testing.assert_array_equal(np.ravel(found.targets[rows]), part[1 : per_part * 64 + 1])
    assert task.held_out - per_part * 64 <= 2 * 64

    def runs(text, length):
        return {bytes(run) for run in np.lib.stride_tricks.sliding_window_view(text.astype(np.uint16), length)}

    seen = set().union(*(runs(part[: -task.held_out], 16) for part in parts))
    met = [run in seen for window in np.asarray(found.inputs) for run in runs(window, 16)]
    assert np.mean(met) < 0.03


def test_windows_that_do_not_fit_are_refused():
    task = manual(RUNS, False)
    with pytest.raises(ValueError, match="no eighths"):
        held_out_windows(replace(task, length=12))
    with pytest.raises(ValueError, match="fewer than 2 windows of 2048"):
        held_out_windows(replace(task, length=2048))


@pytest.mark.whole
def test_pilots_never_see_the_text_on_which_a_record_is_tested():
    record, pilot = (manual(RUNS, pilots) for pilots in (False, True))
    stretch = len(record.corpus) // record.groups
    held_out = np.concatenate([np.asarray(record.corpus)[(i + 1) * stretch - record.held_out : (i + 1) * stretch] for i in range(record.groups)])
    assert len(pilot.corpus) + len(held_out) == record.groups * stretch
    kept = np.delete(np.asarray(record.corpus)[: record.groups * stretch].reshape(record.groups, -1), np.s_[stretch - record.held_out :], axis=1)
    np.testing.assert_array_equal(np.asarray(pilot.corpus), kept.ravel())
