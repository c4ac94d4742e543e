"""The cocoa study at its smoke preset: every line runs, every check is read, every figure is drawn; closed forms and theorems by themselves."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.enumeration import every_episode
from mesocosm.envs import KeyToDoor
from mesocosm.envs.random_mdp import random_mdp
from mesocosm.lab.catalogue import find
from mesocosm.lab.figures import draw
from mesocosm.lab.judge import Circumstances, fingerprints, judge
from mesocosm.lab.store import Run
from mesocosm.studies.cocoa import claims, theorems
from mesocosm.studies.cocoa.closed_forms import Track, signal_to_noise
from mesocosm.studies.cocoa.config import PRESETS, Theorems
from mesocosm.studies.cocoa.signal import exact_credit, first_step_signals, partly_trained
from mesocosm.studies.cocoa.trials import trials

SEARCH = Path(__file__).parents[2] / "results/cocoa/search.csv"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke preset by the command that a user types, in a process of its own."""
    out = tmp_path_factory.mktemp("cocoa") / "run"
    command = [sys.executable, "-m", "mesocosm", "run", "cocoa", "--preset", "smoke", "--out", str(out)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return Run(out)


def test_every_trial_finishes_and_every_check_can_be_read(smoke):
    assert {status["state"] for status in smoke.trials.values()} == {"finished"}
    judged = smoke.study.claims
    rows = judge("cocoa", judged, smoke.view(), Circumstances(command="", fingerprints=fingerprints(judged)), strict=True)
    missing = {row.id for row in rows if row.kind and row.estimate is None}
    # the smoke preset has fewer offsets, other groups, and fewer estimators that learn
    absent = {"C10.lowest", "C10.overlap", "C10.more-groups", "C10.states", "C12.hca-plus", "C22.counterfactual-return"}
    assert missing == {f"cocoa/{name}" for name in absent}
    assert {row.verdict for row in rows} == {"not judged"}


def test_every_figure_is_drawn(smoke):
    assert [figure.reason for figure in draw(smoke)] == [None] * len(smoke.study.figures)


def test_a_published_policy_is_the_one_that_was_measured(smoke):
    table = smoke.table("learning", trial="cocoa-reward")
    last = table.filter((pl.col("seed") == 1) & (pl.col("step") == pl.col("step").max()))["key"][0]
    np.testing.assert_allclose(jax.nn.softmax(smoke.model("cocoa-reward", seed=1).logits[0])[0], last, rtol=1e-5)
    at_first = smoke.table("learning").filter(pl.col("step") == 0)
    np.testing.assert_allclose(at_first["treasure"].to_numpy(), 1 / 16, rtol=1e-5)


@pytest.mark.slow
def test_the_learners_of_the_papers_sizes_lower():
    told = "import sys; from mesocosm.lab.catalogue import find; from mesocosm.lab.rehearsal import rehearse\n"
    told += "for trial in rehearse(find('cocoa'), 'paper', compile=False, strict=True):\n    assert trial.problem is None, trial\n    print(trial.trial)"
    lowered = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert lowered.returncode == 0, lowered.stderr
    assert lowered.stdout.split() == [trial.name for trial in trials(PRESETS["paper"].config)]


def test_theorems_hold_and_their_mutants_do_not():
    with jax.enable_x64(True):
        config = Theorems(states=6, actions=2, rewards=2)
        episodes = every_episode(random_mdp(jax.random.key(0), 6, 2, 2, theorems.LAYERS))
        for name, theorem in theorems.THEOREMS.items():
            errors = jax.vmap(lambda key, theorem=theorem: theorem(config, episodes, key))(jax.random.split(jax.random.key(1), 3))
            assert errors.error.max() < 1e-9, name
            assert errors.mutant.max() > 1e-5, name
        chain = every_episode(theorems.chain_mdp(jax.random.key(0), 3))
        order = jax.vmap(lambda key: theorems.covariance_order(Theorems(), chain, key))(jax.random.split(jax.random.key(1), 3))
        assert order.error.min() > -1e-10
        assert order.mutant.max() < -1e-4


def test_the_bandit_is_the_papers():
    """Policy (2/3, 1/3): HCA-return's advantages differ by 5/3 where the true ones differ by 3."""
    found = theorems.bandit(jnp.float32(2 / 3))
    np.testing.assert_allclose(found.error, ((3 - 5 / 3) / 3) ** 2, rtol=1e-4)
    assert found.mutant < 1e-10


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


def test_a_claim_names_a_control_that_is_another_measurement():
    for claim in find("cocoa").claims:
        for check in claim.checks:
            assert check.control.measure is not check.measure, check.name


def test_the_number_of_searched_configurations_is_that_of_the_search():
    tried = pl.read_csv(SEARCH).select("policy", "learning_rate", "entropy", "exploration", "optimizer").unique()
    assert len(tried) == claims.SEARCHED
