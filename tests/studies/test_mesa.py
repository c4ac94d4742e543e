"""The mesa study: what its smoke run measured, the paper's sizes, its identities and mutants."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.nn import LinearAttention, MesaAttention
from mesocosm.studies.mesa import claims, identities
from mesocosm.studies.mesa.config import PRESETS, Identities, Network
from mesocosm.studies.mesa.networks import NetworkArm, build_linear, prediction_loss
from mesocosm.studies.mesa.trials import trials
from mesocosm.studies.mesa.weights import compressed, products_of
from mesocosm.tasks.linear_systems import LinearSystems

SEARCH = Path(__file__).parents[2] / "results/mesa/search.csv"


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("mesa")


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


@pytest.mark.slow
def test_the_papers_programs_compile_and_tell_their_memory():
    command = [str(Path(sys.executable).with_name("mesocosm")), "run", "mesa", "--preset", "paper", "--dry-run"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    for trial in trials(PRESETS["paper"].config):
        line = next(line for line in told.stdout.splitlines() if line.split()[:1] == [trial.name])
        assert ("MiB" in line) == bool(trial.models or trial.name == "linear-1-again"), line


def test_identities_hold_and_their_mutants_do_not(smoke):
    found = smoke.table("identities")
    assert set(found["identity"]) == set(identities.IDENTITIES)
    assert found["error"].max() < 1e-10
    assert found.group_by("identity").agg(pl.col("mutant").max())["mutant"].min() > 1e-3


def test_the_printed_mutant_formula_differs_only_in_its_mutation():
    """The dense key gradient behind the mutant of N2, unmutated, is autodiff's: so it is the mutation that fails."""
    with jax.enable_x64(True):
        tokens = identities._tokens(Identities(length=9, dim=3), jax.random.key(0))
        error = jax.random.normal(jax.random.key(1), tokens.value.shape)
        wanted = jax.grad(lambda t: jnp.sum(error * identities.dense_output(t)))(tokens).key
        np.testing.assert_allclose(identities._key_gradient(tokens, error, mutant=False), wanted, rtol=1e-9, atol=1e-12)


def test_compressing_a_compressed_network_changes_nothing():
    config = PRESETS["smoke"].config
    arm = NetworkArm(config.systems, "orthogonal", Network(layers=2, heads=2), replace(config.linear, init_std=0.1), config.evaluation, config.probing)
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
        "one layer": orthogonal & linear & (pl.col("layers") == 1),
        "deep": orthogonal & linear & (pl.col("layers") > 1),
        "mesa": orthogonal & ~linear,
        "fixed system": pl.col("source") == "fixed",
        "contracting": pl.col("source") == "contracting",
    }
    assert {name: tried.filter(group).height for name, group in groups.items()} == claims.SEARCHED
