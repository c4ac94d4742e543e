"""The cocoa study: what its smoke run measured, theorems and their mutants, closed forms."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.envs import KeyToDoor
from mesocosm.studies.cocoa import claims, theorems
from mesocosm.studies.cocoa.closed_forms import Track, signal_to_noise
from mesocosm.studies.cocoa.measures import rank_with_groups
from mesocosm.studies.cocoa.signal import exact_credit, first_step_signals, partly_trained
from mesocosm.studies.interface import View

SEARCH = Path(__file__).parents[2] / "results/cocoa/search.csv"


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("cocoa")


def test_a_published_policy_is_the_one_that_was_measured(smoke):
    table = smoke.table("learning", trial="cocoa-reward")
    last = table.filter((pl.col("seed") == 1) & (pl.col("step") == pl.col("step").max()))["key"][0]
    np.testing.assert_allclose(jax.nn.softmax(smoke.model("cocoa-reward", seed=1).logits[0])[0], last, rtol=1e-5)
    at_first = smoke.table("learning").filter(pl.col("step") == 0)
    np.testing.assert_allclose(at_first["treasure"].to_numpy(), 1 / 16, rtol=1e-5)


def test_theorems_hold_and_their_mutants_do_not(smoke):
    found = smoke.table("theorems")
    assert set(found["theorem"]) == set(theorems.THEOREMS)
    assert found["error"].max() < 1e-9
    assert found.group_by("theorem").agg(pl.col("mutant").max())["mutant"].min() > 1e-5
    order = smoke.table("covariances")
    assert order["smallest_eigenvalue"].min() > -1e-10
    assert order["mutant"].max() < -1e-4


def test_the_bandit_is_the_papers():
    """Policy (2/3, 1/3): HCA-return's advantages differ by 5/3 where the true ones differ by 3."""
    found = theorems.bandit(jnp.float32(2 / 3))
    np.testing.assert_allclose(found.error, ((3 - 5 / 3) / 3) ** 2, rtol=1e-4)
    assert found.mutant < 1e-10


@pytest.mark.whole
@pytest.mark.parametrize("length", [8, pytest.param(23, marks=pytest.mark.slow)])
def test_samples_agree_with_the_closed_forms(length):
    """20000 episodes, 0.3 dB."""
    env = KeyToDoor(length)
    params = env.params(layout=7)
    names = ("cocoa-reward", "trajcv", "advantage", "hca-plus", "reinforce")
    credits = tuple(exact_credit(name, env, params) for name in names)
    mdp, uniform = credits[0].mdp, jnp.full((2 * length, 4), 0.25)
    found = first_step_signals(env, 20000, credits, mdp, params, uniform, jax.random.key(1))
    track = Track(int(np.isin(params.cells, [1, 2]).sum()), *map(float, params.apple), float(params.treasure))
    wanted = [signal_to_noise(track)[name] for name in names]
    np.testing.assert_allclose(10 * np.log10(found.snr), 10 * np.log10(wanted), atol=0.3)


def test_the_partly_trained_policy_is_what_it_says():
    env = KeyToDoor(9)
    params = env.params(layout=2)
    table = partly_trained(env, params)
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose((table[0, 0], table[2 * 7, 3], table[2 * 7 - 1, 3]), 0.5)
    apples = [p for p in range(1, 7) if params.cells[p] in (1, 2)]
    for position in apples:
        np.testing.assert_allclose(table[2 * position - 1 : 2 * position + 1, params.cells[position]], 0.7, rtol=1e-6)


def test_the_number_of_searched_configurations_is_that_of_the_search():
    tried = pl.read_csv(SEARCH).select("policy", "learning_rate", "entropy", "exploration", "optimizer").unique()
    assert len(tried) == claims.SEARCHED


def test_a_rank_correlation_is_known_to_the_swap_of_two_ranks():
    """Equal correlations have an interval; a swap is seen."""
    rising = pl.DataFrame({"offset": [0] * 4 + [1] * 4, "estimator": [f"groups-{n}" for n in (1, 2, 4, 8)] * 2, "variance": [1.0, 2, 3, 4, 1, 2, 4, 3]})
    found = rank_with_groups(View(None, "cpu", {"tree_groups": rising}))
    np.testing.assert_allclose(found.values, [1.0, 0.8])
    np.testing.assert_allclose(found.errors, 0.2 / np.sqrt(12))
