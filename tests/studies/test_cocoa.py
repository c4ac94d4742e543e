"""The cocoa study: what its smoke run measured, theorems and their mutants, closed forms, and rows that can hold and can fail."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.tabular.dynamic_programming import exact_coefficients
from mesocosm.analysis.tabular.layered_programming import layered_action_values
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.envs import KeyToDoor
from mesocosm.envs.key_to_door import OPEN_DOOR, TAKE_KEY
from mesocosm.envs.tabular import LayeredMDP
from mesocosm.envs.tree import Tree
from mesocosm.learning.outcomes import reward_outcomes
from mesocosm.studies.cocoa import claims, theorems
from mesocosm.studies.cocoa.closed_forms import signal_to_noise
from mesocosm.studies.cocoa.config import PRESETS
from mesocosm.studies.cocoa.learned import first_contributions, relative_bias
from mesocosm.studies.cocoa.signal import BY_RETURN, CLASSICAL, _track, _without_apples, exact_credit, first_step_signals
from mesocosm.studies.interface import View


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


def signals(names, env, params, policy, episodes):
    """Decibels of the first step's gradient, by estimator."""
    credits = tuple(exact_credit(name, env, params) for name in names)
    mdp = LayeredMDP.of(env.tabular(params))
    found = first_step_signals(env, episodes, credits, mdp, params, policy, jax.random.key(1))
    return dict(zip(names, 10 * np.log10(np.asarray(found.snr)), strict=True))


@pytest.mark.whole
@pytest.mark.parametrize("length", [8, pytest.param(23, marks=pytest.mark.slow)])
def test_samples_agree_with_the_closed_forms(length):
    """20000 episodes, 0.3 dB."""
    env = KeyToDoor(length)
    params = env.params(layout=7)
    found = signals(CLASSICAL, env, params, jnp.full((2 * length, 4), 0.25), 20000)
    wanted = {name: 10 * np.log10(ratio) for name, ratio in signal_to_noise(_track(params)).items()}
    assert found == pytest.approx(wanted, abs=0.3)


@pytest.mark.whole
def test_cocoa_rewards_signal_is_the_odds_of_the_treasure():
    """Under any policy whose apple phase ignores the key, and whatever the apples."""
    env = KeyToDoor(8)
    policy = jnp.full((16, 4), 0.25).at[0, TAKE_KEY].set(0.7).at[12, OPEN_DOOR].set(0.8).at[5:7, 1].set(0.6)
    policy = policy / policy.sum(axis=1, keepdims=True)
    odds = policy[0, TAKE_KEY] * policy[12, OPEN_DOOR]
    found = signals(("cocoa-reward",), env, env.params(layout=7), policy, 20000)
    assert found["cocoa-reward"] == pytest.approx(float(10 * np.log10(odds / (1 - odds))), abs=0.3)


@pytest.mark.whole
def test_without_apples_credit_by_the_return_is_as_good_as_by_the_reward():
    """The return is the treasure, and the Counterfactual Return is COCOA-reward, episode by episode; HCA-return keeps 3/4 of each gradient."""
    env = KeyToDoor(8)
    params = _without_apples(env.params(layout=7))
    found = signals(BY_RETURN, env, params, jnp.full((16, 4), 0.25), 20000)
    assert found["counterfactual-return"] == pytest.approx(found["cocoa-reward"], abs=1e-3)
    p = 1 / 16
    kept = p**2 / (p * (3 / 4 - p) ** 2 + (1 - p) * p**2)
    assert found["hca-return"] == pytest.approx(10 * np.log10(kept), abs=0.3)
    with_apples = signals(BY_RETURN, env, env.params(layout=7), jnp.full((16, 4), 0.25), 20000)
    assert with_apples["counterfactual-return"] < with_apples["cocoa-reward"] - 3


@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("groups", [1, 4, 32])
def test_five_offsets_further_rewards_and_groups_are_the_same(overlap, groups):
    """Classes may be renamed but hold the same events, so that five environments are all there are."""
    tree = Tree(overlap=overlap)
    here, there = (np.asarray(tree.outcomes(tree.params(offset), groups)).ravel() for offset in (2, 7))
    pairs = set(zip(here.tolist(), there.tolist(), strict=True))
    assert len(pairs) == len(np.unique(here)) == len(np.unique(there))
    rewards, further = (np.asarray(tree.outcomes(tree.params(offset))) for offset in (2, 7))
    np.testing.assert_array_equal(rewards, further)


def test_shuffled_groups_tell_no_more_than_the_reward(smoke):
    """Their variance is COCOA-reward's, in every environment and at every overlap; that of groups is not."""
    for table in (smoke.table("tree"), smoke.table("tree_groups").with_columns(overlap=pl.lit(1))):
        assert sorted(set(table["offset"])) == [0, 1, 2, 3, 4]
        wide = table.pivot("estimator", index=["offset", "overlap"], values="variance")
        np.testing.assert_allclose(wide["shuffled-4"], wide["cocoa-reward"], rtol=1e-10)
        assert (wide["groups-4"] / wide["cocoa-reward"] - 1).abs().max() > 0.01


# --- learned models


@pytest.mark.whole
def test_exact_coefficients_have_no_bias_and_none_have_all_of_it():
    env = KeyToDoor(6)
    mdp, policy = env.tabular(), jax.nn.softmax(jax.random.normal(jax.random.key(0), (12, 4)))
    layered, w = LayeredMDP.of(mdp), exact_coefficients(mdp, policy, *reward_outcomes(mdp))[..., 1:]
    true = layered_action_values(layered, policy)[0]
    bias = [float(relative_bias(policy[0], first_contributions(layered, policy, scale * w), true)) for scale in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(bias, [1.0, 0.25, 0.0], atol=1e-5)


def test_policies_with_learned_models_start_as_the_others_do(smoke):
    table = smoke.table("learned").filter(pl.col("step") == 0)
    assert set(table["estimator"]) == {"cocoa-reward", "q-critic", "hca"}
    apart = table.group_by("seed").agg(pl.col("treasure").max() - pl.col("treasure").min())
    assert apart["treasure"].max() < 1e-6
    assert set(smoke.table("learned_bias")["estimator"]) == {"cocoa-reward", "q-critic"}


# --- rows can hold and can fail ----------------------------------------------------------------------------------------


def verdicts(tables, names):
    """Verdicts at `cpu` on made-up tables."""
    given = {name: table if "trial" in table.columns else table.with_columns(trial=pl.lit(name)) for name, table in tables.items()}
    run = Circumstances("", fingerprints=fingerprints(claims.CLAIMS))
    rows = judge("cocoa", claims.CLAIMS, View(PRESETS["cpu"].config, "cpu", given), run, strict=True)
    return {name: row.verdict for row in rows if (name := row.id.removeprefix("cocoa/")) in names}


LEVELS = {"reinforce": 5.0, "hca-plus": 4.0, "cocoa-reward": 1.0}


def trees(level, odd=0.0):
    """Tables in which groups-n has this level in decibels, shuffled groups that of COCOA-reward; in environment 3, `odd` is added to groups of 32 and 128."""
    trees, config = {}, PRESETS["cpu"].config.trees
    for name, overlaps, groups in (("tree", config.overlaps, config.groups), ("tree_groups", (0,), config.sweep_groups)):
        rows = [
            {"offset": offset, "overlap": overlap, "estimator": estimator, "variance": 10 ** (decibels / 10)}
            for offset in range(5)
            for overlap in overlaps
            for estimator, decibels in [
                *LEVELS.items(),
                *((f"groups-{n}", level(n) + odd * (offset == 3 and n in (32, 128))) for n in groups),
                *((f"shuffled-{n}", 1.0) for n in groups),
            ]
        ]
        trees[name] = pl.DataFrame(rows) if name == "tree" else pl.DataFrame(rows).drop("overlap")
    return trees


GROUPS = ("C10.few-groups", "C10.more-groups", "C10.states", "C11.rises", "C11.to-states")


@pytest.mark.parametrize(
    ("level", "odd", "failing"),
    [
        (lambda n: 1 + 0.4 * np.log2(n), 0.0, ()),
        (lambda n: 1.0, 0.0, ("C10.few-groups", "C10.more-groups", "C11.rises", "C11.to-states")),
        (lambda n: 2.3 - 0.15 * np.log2(n), 0.0, ("C10.more-groups", "C11.rises", "C11.to-states")),
        (lambda n: 1 + 0.4 * np.log2(n), 1.5, ("C10.states", "C11.rises")),
        (lambda n: 1 + 0.4 * np.log2(n), -2.5, ("C10.more-groups", "C11.rises", "C11.to-states")),
    ],
)
def test_groups_must_order_the_variance_in_every_environment(level, odd, failing):
    assert verdicts(trees(level, odd), GROUPS) == {name: "fails" if name in failing else "holds" for name in GROUPS}


@pytest.mark.parametrize(("learners", "verdict"), [(0, "holds"), (8, "holds"), (18, "inconclusive"), (36, "fails")])
def test_how_many_learn_is_judged_as_a_rate(learners, verdict):
    """Outcomes at two ends are not averaged."""
    ends = {"cocoa-reward": 40, "q-critic": 40, "hca-plus": learners, "hca-return": learners, "reinforce": 0, "counterfactual-return": learners}
    table = pl.DataFrame(
        [{"trial": name, "seed": seed, "solved": int(seed < good), "last": 0.97 if seed < good else 0.01} for name, good in ends.items() for seed in range(40)]
    )
    found = verdicts({"solved": table}, ("C12.cocoa-reward", "C12.hca-plus", "C12.reinforce", "C22.hca-return", "C22.counterfactual-return"))
    assert found == {"C12.cocoa-reward": "holds", "C12.reinforce": "holds"} | dict.fromkeys(
        ("C12.hca-plus", "C22.hca-return", "C22.counterfactual-return"), verdict
    )


@pytest.mark.parametrize(("lead", "lead_without", "verdict"), [(18.0, -2.0, "holds"), (4.0, -2.0, "fails"), (18.0, 17.0, "not judged")])
def test_the_lead_over_credit_by_the_return_must_come_from_the_apples(lead, lead_without, verdict):
    rows = [
        {"seed": seed, "estimator": estimator, "length": 23, "apples": apples, "snr": level - (ahead if estimator != "cocoa-reward" else 0), "snr_error": 0.1}
        for seed, level in enumerate(np.random.default_rng(0).normal(size=12))
        for estimator in BY_RETURN
        for apples, ahead in ((True, lead + level), (False, lead_without + level))
    ]
    names = ("C22.hca-return-signal", "C22.counterfactual-return-signal")
    assert verdicts({"signal_by_return": pl.DataFrame(rows)}, names) == dict.fromkeys(names, verdict)
