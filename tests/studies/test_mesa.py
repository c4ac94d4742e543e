"""The mesa study at its smoke preset: every line runs, every check is read, every figure is drawn; the paper's sizes lower."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.lab.catalogue import find
from mesocosm.lab.figures import draw
from mesocosm.lab.judge import Circumstances, fingerprints, judge
from mesocosm.lab.rehearsal import rehearse
from mesocosm.lab.runner import execute
from mesocosm.nn import LinearAttention, MesaAttention
from mesocosm.studies.mesa import identities
from mesocosm.studies.mesa.config import PRESETS, Identities, Network
from mesocosm.studies.mesa.trials import Arm, build_linear, compressed, prediction_loss, products_of, trials
from mesocosm.tasks.linear_systems import LinearSystems


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return execute(find("mesa"), "smoke", out=tmp_path_factory.mktemp("mesa") / "run")


def test_every_trial_finishes_and_every_check_can_be_read(smoke):
    assert {status["state"] for status in smoke.trials.values()} == {"finished"}
    claims = smoke.study.claims
    rows = judge("mesa", claims, smoke.view(), Circumstances(command="", fingerprints=fingerprints(claims)), strict=True)
    missing = {row.id for row in rows if row.kind and row.estimate is None}
    assert missing == {"mesa/C5.four", "mesa/C5.six"}  # the smoke preset has no four and six layers
    assert {row.verdict for row in rows} == {"not judged"}


def test_every_figure_is_drawn(smoke):
    assert [figure.reason for figure in draw(smoke)] == [None] * len(smoke.study.figures)


def test_a_published_network_predicts_as_it_was_measured(smoke):
    """The loss in the table is the rebuilt network's on the same sequences."""
    from mesocosm.studies.mesa.references import draw_sequences

    config = smoke.config
    task = LinearSystems.orthogonal(config.systems.dim, length=config.systems.length)
    test = draw_sequences(config.evaluation, task, jax.random.key(2**31 - 1)).test
    network = smoke.model("linear-2", seed=1)
    losses = jax.vmap(lambda states: prediction_loss(network, _example(states), None))(test)
    table = smoke.table("loss", trial="linear-2")
    np.testing.assert_allclose(losses.mean(), table.filter(table["seed"] == 1)["loss"][0], rtol=1e-5)
    assert all(isinstance(layer, LinearAttention) for layer in network.layers)
    assert isinstance(smoke.model("mesa-1").layers[0], MesaAttention)


def _example(states):
    from mesocosm.tasks.linear_systems import Trajectory

    return Trajectory(states, jnp.zeros((states.shape[1],) * 2))


def test_arms_are_paired_and_share_their_evaluation_data(smoke):
    losses = smoke.table("loss")
    fresh = losses.filter(~losses["trial"].str.contains("fixed|contracting"))
    assert fresh["digest"].n_unique() == 1
    fixed = losses.filter(losses["trial"] == "fixed-system")
    assert fixed["digest"].n_unique() == len(fixed)


@pytest.mark.parametrize("preset", ["quick", "cpu", "paper"])
def test_every_trial_of_a_preset_lowers(preset):
    """Nothing is run: each trial's programs are traced and lowered at full size."""
    rehearsed = rehearse(find("mesa"), preset, compile=False, strict=True)
    assert [trial.trial for trial in rehearsed] == [trial.name for trial in trials(PRESETS[preset].config)]
    assert all(trial.problem is None for trial in rehearsed)
    assert all(trial.state_bytes > 0 for trial in rehearsed if trial.fits)


@pytest.mark.slow
def test_the_papers_programs_compile_and_tell_their_memory():
    for trial in rehearse(find("mesa"), "paper", strict=True):
        print(trial.trial, trial.memory_bytes)
        assert not trial.fits or trial.memory_bytes > trial.state_bytes


def test_a_claim_names_a_control_that_is_another_measurement():
    for claim in find("mesa").claims:
        for check in claim.checks:
            assert check.control.measure is not check.measure, check.name


def test_identities_hold_and_their_mutants_do_not():
    with jax.enable_x64(True):
        for name, identity in identities.IDENTITIES.items():
            errors = jax.vmap(lambda key, identity=identity: identity(Identities(length=9, dim=3), key))(jax.random.split(jax.random.key(1), 4))
            assert errors.error.max() < 1e-10, name
            assert errors.mutant.max() > 1e-3, name


def test_the_printed_mutant_formula_differs_only_in_its_mutation():
    """The dense key gradient behind the mutant of N2, unmutated, is autodiff's: so it is the mutation that fails."""
    with jax.enable_x64(True):
        tokens = identities._tokens(Identities(length=9, dim=3), jax.random.key(0))
        error = jax.random.normal(jax.random.key(1), tokens.value.shape)
        wanted = jax.grad(lambda t: jnp.sum(error * identities.dense_output(t)))(tokens).key
        np.testing.assert_allclose(identities._key_gradient(tokens, error, mutant=False), wanted, rtol=1e-9, atol=1e-12)


def test_compressing_a_compressed_network_changes_nothing():
    config = PRESETS["smoke"].config
    arm = Arm(config.systems, "orthogonal", Network(layers=2, heads=2), replace(config.linear, init_std=0.1), config.evaluation, config.probing)
    small = compressed(build_linear(arm, jax.random.key(0)), config.systems.dim)
    with pytest.raises(AssertionError):
        products_of(small.layers[0])
    whole = products_of(build_linear(arm, jax.random.key(0)).layers[0])
    assert not np.allclose(small.layers[0].query_key, whole.query_key)
    np.testing.assert_allclose(np.trace(small.layers[0].query_key[0]), np.trace(whole.query_key[0]), rtol=1e-5)
