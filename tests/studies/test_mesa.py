"""The mesa study at its smoke preset: every line runs, every check is read, every figure is drawn; the paper's sizes lower."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.lab.catalogue import find
from mesocosm.lab.figures import draw
from mesocosm.lab.judge import Circumstances, fingerprints, judge
from mesocosm.lab.store import Run
from mesocosm.nn import LinearAttention, MesaAttention
from mesocosm.studies.mesa import claims, identities
from mesocosm.studies.mesa.config import PRESETS, Identities, Network
from mesocosm.studies.mesa.trials import Arm, build_linear, compressed, prediction_loss, products_of, trials
from mesocosm.tasks.linear_systems import LinearSystems

SEARCH = Path(__file__).parents[2] / "results/mesa/search.csv"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke preset by the command that a user types, in a process of its own."""
    out = tmp_path_factory.mktemp("mesa") / "run"
    command = [str(Path(sys.executable).with_name("mesocosm")), "run", "mesa", "--preset", "smoke", "--out", str(out)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return Run(out)


def test_every_trial_finishes_and_every_check_can_be_read(smoke):
    assert {status["state"] for status in smoke.trials.values()} == {"finished"}
    judged = smoke.study.claims
    rows = judge("mesa", judged, smoke.view(), Circumstances(command="", fingerprints=fingerprints(judged)), strict=True)
    missing = {row.id for row in rows if row.kind and row.estimate is None}
    # the smoke preset has no four and six layers and no contracting systems
    assert missing == {"mesa/C5.four", "mesa/C5.six", "mesa/C14.loss", "mesa/C14.depth", "mesa/C14.mesa", "mesa/C14.target"}
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
    losses = jax.vmap(lambda states: prediction_loss(network, _example(states), jax.random.key(0)))(test)
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


REHEARSAL = """
from mesocosm.lab.catalogue import find
from mesocosm.lab.rehearsal import rehearse
for trial in rehearse(find("mesa"), "{preset}", compile=False, strict=True):
    assert trial.problem is None and (trial.state_bytes > 0 or not trial.fits), trial
    print(trial.trial)
"""


@pytest.mark.parametrize("preset", ["quick", pytest.param("cpu", marks=pytest.mark.slow), pytest.param("paper", marks=pytest.mark.slow)])
def test_every_trial_of_a_preset_lowers(preset):
    """Nothing is run: each trial's programs are traced and lowered at full size."""
    lowered = subprocess.run([sys.executable, "-c", REHEARSAL.format(preset=preset)], capture_output=True, text=True, check=False)
    assert lowered.returncode == 0, lowered.stderr
    assert lowered.stdout.split() == [trial.name for trial in trials(PRESETS[preset].config)]


@pytest.mark.slow
def test_the_papers_programs_compile_and_tell_their_memory():
    command = [str(Path(sys.executable).with_name("mesocosm")), "run", "mesa", "--preset", "paper", "--dry-run"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    for trial in trials(PRESETS["paper"].config):
        line = next(line for line in told.stdout.splitlines() if line.split()[:1] == [trial.name])
        assert ("MiB" in line) == bool(trial.models or trial.name == "linear-1-again"), line


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


def test_the_number_of_searched_configurations_is_that_of_the_search():
    results = ("seed", "loss", "gradient_step_loss", "ridge_loss", "off_pattern", "step_size", "log_compressed_over_whole")
    tried = pl.read_csv(SEARCH, infer_schema_length=None).drop(results).unique()
    orthogonal, linear = pl.col("source") == "orthogonal", pl.col("kind") == "linear"
    groups = {
        claims.ONE_LAYER: orthogonal & linear & (pl.col("layers") == 1),
        claims.DEEP: orthogonal & linear & (pl.col("layers") > 1),
        claims.MESA: orthogonal & ~linear,
        claims.FIXED_SYSTEM: pl.col("source") == "fixed",
        claims.CONTRACTING: pl.col("source") == "contracting",
    }
    assert len(groups) == 5
    assert {number: tried.filter(group).height for number, group in groups.items()} == {number: number for number in groups}
