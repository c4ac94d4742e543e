"""The coala study: what its smoke run measured, tests of a pair against known policies, and rows that can hold and can fail."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.memory_one import DC
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.learning.opponent_shaping import coala_pg
from mesocosm.studies.coala.agents import _pool, check_estimator
from mesocosm.studies.coala.claims import CLAIMS
from mesocosm.studies.coala.config import PRESETS
from mesocosm.studies.coala.pairs import FAR, meet_learners, pool_arms
from mesocosm.studies.coala.tables import (
    AGENTS_ALONE,
    ALONE,
    ALONE_FROM_TIT_FOR_TAT,
    DEFECTORS,
    ESCAPE,
    ESCAPE_ALONE,
    FOUR_ALONE,
    FROM_DEFECTING,
    FROM_TIT_FOR_TAT,
    MIXED,
    NOT_PULLED,
    PULLED,
    PULLED_AGENT,
    RETALIATORS,
    SHAPERS,
    ahead,
    mixed,
    mixed_ahead,
    of_four,
    shaping,
)
from mesocosm.studies.coala.trials import trials
from mesocosm.studies.interface import View

RETALIATES = np.array([1, 1, -1, 1, -1])
START = np.log(99) * RETALIATES
TESTED = jax.jit(lambda pair, naive: meet_learners(5.0, 3, START, pair, jax.random.key(0), naive, jnp.float32(0.9)))


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("coala")


def test_estimators_hold_and_their_mutants_do_not(smoke):
    found = smoke.table("identities")
    assert found["error"].max() < 1e-11
    assert found.group_by("identity").agg(pl.col("mutant").max())["mutant"].min() > 1e-4
    outward = smoke.table("always_defecting")
    assert (outward["slack"] == 0).all()
    assert (outward["alone"] == 0).all()


def test_arms_of_one_seed_start_from_the_same_noise_or_at_their_edge(smoke):
    first = smoke.table("pool_training").filter(pl.col("step") == 0).pivot("arm", index="seed", values="peer")
    np.testing.assert_allclose(first[SHAPERS], first[ALONE])
    assert first[SHAPERS].n_unique() == 2
    assert np.abs(np.asarray(first[ESCAPE]) - 0.01).max() < 0.01
    assert np.asarray(first[FROM_TIT_FOR_TAT]).min() > 0.5  # at a discount of 0.999, one slip in a hundred is long remembered


def test_known_policies_are_tested_as_what_they_are():
    """Two who play tit-for-tat earn 1 from each other and as much as any learner; always defecting earns most from those who do not learn to defect."""
    naive, logits = jax.random.normal(jax.random.key(1), (4, 5)), (FAR * RETALIATES, np.full(5, -FAR), START)
    fair, greedy, near = (TESTED(jnp.asarray([policy, policy], jnp.float32), naive) for policy in logits)
    np.testing.assert_allclose([fair.peer, greedy.peer], [1.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(near.lives, near.retaliation, atol=1e-5)  # where arms of tit-for-tat start
    assert np.abs(fair.lives - fair.retaliation).max() > 1e-3
    np.testing.assert_allclose(greedy.lives, fair.defection, atol=1e-5)
    assert fair.distance < 1e-4  # the fair one of the family
    assert greedy.distance > 0.1
    assert (np.diff(greedy.lives[:, 0]) < 0).all()


def test_arms_have_the_starts_and_shares_of_their_names():
    arms = pool_arms(PRESETS["cpu"].config.pairs)
    assert arms[MIXED].p_naive == arms[FROM_TIT_FOR_TAT].p_naive == 0.5
    assert {name for name, arm in arms.items() if arm.p_naive == 0} == {ALONE, ALONE_FROM_TIT_FOR_TAT, DEFECTORS, ESCAPE_ALONE}
    assert arms[DEFECTORS].start is arms[FROM_DEFECTING].start
    assert arms[DEFECTORS].discount == arms[FROM_DEFECTING].discount != arms[ESCAPE_ALONE].discount
    assert arms[FROM_TIT_FOR_TAT].start.centre[DC] > 4 > -4 > arms[ESCAPE].start.centre[DC]
    assert arms[RETALIATORS].start.spread == arms[ESCAPE].start.spread == 0
    np.testing.assert_allclose(arms[RETALIATORS].start.centre, START, rtol=1e-6)


# --- rows can hold and can fail


def verdicts(**tables):
    given = {name: table if "trial" in table.columns else table.with_columns(trial=pl.lit(name)) for name, table in tables.items()}
    run = Circumstances("", fingerprints=fingerprints(CLAIMS))
    rows = judge("coala", CLAIMS, View(PRESETS["cpu"].config, "cpu", given), run, strict=True)
    return {row.id.removeprefix("coala/"): row.verdict for row in rows if row.kind}


def around(mean, noise, seeds=32, spread=0.02):
    return mean + spread * np.random.default_rng(noise).normal(size=seeds)


def of_arms(**levels):
    """A table with a row for each seed and arm from column -> arm -> mean."""
    arms = sorted({arm for level in levels.values() for arm in level})
    return pl.concat(
        pl.DataFrame({"seed": range(32), "arm": [arm] * 32, **{column: around(level.get(arm, 0.0), noise) for column, level in levels.items()}})
        for noise, arm in enumerate(arms)
    )


@pytest.mark.parametrize(
    ("difference", "learner", "wanted"),
    [
        (0.7, 0.3, ("holds", "holds")),
        (0.35, -0.12, ("fails", "fails")),  # what always defecting does
        (0.7, -0.3, ("holds", "fails")),
    ],
)
def test_extorting_is_more_than_defecting_and_lets_the_learners_gain(difference, learner, wanted):
    levels = {"ego": {SHAPERS: learner + difference, ALONE: 0.23}, "naive": {SHAPERS: learner, ALONE: -0.12}, "defecting_gain": {SHAPERS: 0.35, ALONE: 0.35}}
    found = verdicts(pools=of_arms(**levels))
    assert (found["C5.extorts"], found["C5.learners-gain"]) == wanted


@pytest.mark.parametrize(("shapers", "defectors", "verdict"), [(0.8, 0.0, "holds"), (0.0, 0.0, "fails"), (0.8, 0.8, "not judged")])
def test_shapers_that_started_at_always_defecting_are_compared_with_those_that_stay_there(shapers, defectors, verdict):
    found = verdicts(pools=of_arms(above_defecting={FROM_DEFECTING: shapers, DEFECTORS: defectors}))
    assert found["C5.from-defecting"] == verdict


@pytest.mark.parametrize(
    ("together", "alone", "wanted"), [(0.9, 0.02, ("holds", "holds")), (0.4, 0.02, ("fails", "not judged")), (0.9, 0.8, ("not judged", "fails"))]
)
def test_mixed_pools_must_cooperate_and_pure_ones_must_not(together, alone, wanted):
    found = verdicts(pools=of_arms(peer={MIXED: together, ALONE: alone}))
    assert (found["C7.mixed"], found["C7.pure"]) == wanted


@pytest.mark.parametrize(("met", "never", "verdict"), [(0.9, 0.0, "holds"), (0.4, 0.0, "fails"), (0.9, 0.9, "not judged")])
def test_shapers_must_become_cooperative_because_they_were_shapers(met, never, verdict):
    table = of_arms(before={SHAPERS: 0.05, ALONE: 0.0, MIXED: 0.9}, after={SHAPERS: met, ALONE: never})
    found = verdicts(met=table)
    assert (found["C6.after"], found["C6.before"]) == (verdict, "holds")


def test_half_of_the_pairs_is_not_most_of_them():
    """Where runs end at two places, their mean says of no run what it did; a rate has an interval and leaves the question open."""
    half = of_arms(after={SHAPERS: 0.0, ALONE: 0.0}, before={SHAPERS: 0.0, MIXED: 0.0})
    cooperating = (pl.col("arm") == SHAPERS) & (pl.col("seed") % 2 == 0)
    assert verdicts(met=half.with_columns(after=pl.when(cooperating).then(0.95).otherwise("after")))["C6.after"] == "inconclusive"


@pytest.mark.parametrize(("escaped", "alone", "verdict"), [(0.9, 0.0, "holds"), (0.0, 0.0, "fails"), (0.9, 0.9, "not judged")])
def test_agents_that_defected_must_come_to_cooperate_because_of_naive_learners(escaped, alone, verdict):
    assert verdicts(pools=of_arms(peer={ESCAPE: escaped, ESCAPE_ALONE: alone}))["C9.cooperate"] == verdict


@pytest.mark.parametrize(("many", "repaired", "failing"), [(0.1, 0.6, set()), (0.7, 0.75, {"C11.many"}), (0.1, 0.12, {"C11.mixed-20"})])
def test_many_steps_ahead_must_defect_and_the_plain_gradient_must_repair_it(many, repaired, failing):
    levels = {ahead(0): 0.0, ahead(1): 0.9, ahead(20): many, mixed_ahead(20): repaired, mixed_ahead(10): 0.9, ahead(10): 0.3}
    found = verdicts(look_ahead=of_arms(peer=levels, ego=levels, naive=levels))
    assert {name for name in ("C11.one", "C11.many", "C11.mixed-20") if found[name] == "fails"} == failing


def of_trials(column, levels, seeds=10, spread=0.02, **axes):
    """A table with a row for each seed and trial."""
    columns = {name: [value] * seeds for name, value in axes.items()}
    return pl.concat(
        pl.DataFrame({"seed": range(seeds), "trial": [trial] * seeds, **columns, column: around(level, noise, seeds, spread)})
        for noise, (trial, level) in enumerate(levels.items())
    )


@pytest.mark.parametrize(("coala", "verdict"), [(0.9, "holds"), (0.1, "fails")])
def test_pools_of_coala_agents_must_cooperate(coala, verdict):
    found = verdicts(peer_means=of_trials("peer", {mixed("coala"): coala, mixed("m-fos"): 0.0}))
    assert found["C14.cooperate"] == verdict


@pytest.mark.parametrize(("name", "four"), [("m-fos", False), ("batch-unaware", False), ("alone", False), ("batch-unaware", True), ("alone", True)])
@pytest.mark.parametrize(
    ("coala", "others", "control", "verdict"),
    [(0.4, 0.0, 0.0, "holds"), (0.9, 0.85, 0.85, "fails"), (0.05, 0.0, 0.0, "fails"), (0.4, 0.0, 0.35, "not judged")],
)
def test_pools_of_coala_agents_must_cooperate_more_than_others_with_the_same_seeds(name, coala, others, control, verdict, four):
    """And others must not do so more than each other."""
    of, alone = (of_four, FOUR_ALONE) if four else (mixed, AGENTS_ALONE)
    levels = {of(method): control for method in ("m-fos", "batch-unaware")} | {alone: control, of("coala"): coala}
    levels[alone if name == "alone" else of(name)] = others
    found = verdicts(peer_means=of_trials("second_half", levels))
    assert found[f"C14.{'four-' * four}ahead-of-{name}"] == verdict


@pytest.mark.parametrize(("mfos", "unlike", "verdict"), [(0.02, 0, "holds"), (0.02, 1, "holds"), (0.02, 6, "inconclusive"), (0.4, 0, "fails")])
def test_one_pool_that_ends_elsewhere_does_not_undo_a_rate(mfos, unlike, verdict):
    first = of_trials("first", {shaping("coala"): 0.4, shaping("m-fos"): mfos}, seeds=PRESETS["cpu"].config.shaping_replicates)
    other = (pl.col("trial") == shaping("m-fos")) & (pl.col("seed") < unlike)
    assert verdicts(naive_means=first.with_columns(first=pl.when(other).then(0.5).otherwise("first")))["C13.m-fos"] == verdict


@pytest.mark.parametrize(("beside", "alone", "verdict"), [(0.55, 0.0, "holds"), (0.1, 0.0, "fails"), (0.55, 0.5, "not judged")])
def test_an_m_fos_agent_must_be_pulled_by_the_others(beside, alone, verdict):
    table = of_trials("peer", {PULLED: beside, NOT_PULLED: alone}, agent=PULLED_AGENT)
    assert verdicts(with_peer=table)["C15.pulled"] == verdict


@pytest.mark.parametrize(("later", "verdict"), [(np.log(8), "holds"), (np.log(3), "fails"), (np.log(1), "fails")])
def test_the_later_part_must_be_larger_for_coala_than_for_the_others(later, verdict):
    levels = {mixed("coala"): later, mixed("m-fos"): 0.0, mixed("batch-unaware"): 0.05}
    assert verdicts(balances=of_trials("balance", levels))["C16.m-fos"] == verdict


# --- what a config may say -----------------------------------------------------------------------------------------------

WRONG = {
    "agents.agents must be even, not 3": ("agents", {"agents": 3}),
    "agents.batch must be at least 1, not 0": ("agents", {"batch": 0}),
    "agents.p_naive must be between 0 and 1, not 1.5": ("agents", {"p_naive": 1.5}),
    "agents.shaping_iterations must be at least 1, not 0": ("agents", {"shaping_iterations": 0}),
    "agents.iterations must be at least 0, not -1": ("agents", {"iterations": -1}),
    "clean_up.episodes must be at least 1, not 0": ("clean_up", {"episodes": 0}),
    "in_context.p_tabular must be between 0 and 1, not -0.5": ("in_context", {"p_tabular": -0.5}),
    "in_context.p_tabular must be less than 1 in mixed pools": ("in_context", {"p_tabular": 1.0}),
    "in_context.length must be at least 9, not 8": ("in_context", {"length": 8}),
    "in_context.games must be at least 2 in mixed pools, not 1": ("in_context", {"games": 1}),
    "in_context.meeting must be at least 1, not 0": ("in_context", {"meeting": 0}),
    "in_context.entropy must be above 0 if in_context.settling is": ("in_context", {"entropy": 0.0}),
    "in_context.last_entropy must be at least 0, not -0.1": ("in_context", {"last_entropy": -0.1}),
    "look_ahead.discount must be less than 1": ("look_ahead", {"discount": 1.0}),
    "pairs.discount must be between 0 and 1, not 1.1": ("pairs", {"discount": 1.1}),
}


@pytest.mark.parametrize("told", WRONG)
def test_numbers_out_of_range_are_named(told):
    config, (part, fields) = PRESETS["smoke"].config, WRONG[told]
    with pytest.raises(ValueError, match=told):
        trials(replace(config, **{part: replace(getattr(config, part), **fields)}))


@pytest.mark.parametrize(
    ("told", "fields"),
    [
        ("landscape must be 0, or at least 2 points per side, not 1", {"landscape": 1}),
        ("landscape must be at least 0, not -3", {"landscape": -3}),
        ("agent_replicates must be at least 1, not 0", {"agent_replicates": 0}),
        ("clean_up_replicates must be at least 1, not 0", {"clean_up_replicates": 0}),
    ],
)
def test_the_studys_own_numbers_out_of_range_are_named(told, fields):
    with pytest.raises(ValueError, match=told):
        trials(replace(PRESETS["smoke"].config, **fields))


def test_pools_have_the_replicates_of_their_kind():
    config = replace(PRESETS["cpu"].config, agent_replicates=2, pair_replicates=3, shaping_replicates=4, clean_up_replicates=5)
    seeds = {trial.name: trial.seeds for trial in trials(config)}
    assert {seeds[mixed("coala")], seeds[mixed("m-fos")], seeds[AGENTS_ALONE]} == {3}
    assert {seeds[of_four("coala")], seeds[PULLED], seeds[FOUR_ALONE], seeds["in-context"], seeds["in-context-no-memory"]} == {2}
    assert (seeds[shaping("coala")], seeds["clean-up-mixed-coala"]) == (4, 5)


def mine(rewards, episode, values, discount, decay):
    return rewards


def test_a_users_estimator_is_trained_beside_coala_with_the_same_sizes_and_seeds():
    estimator = f"{__name__}:mine"
    config = replace(PRESETS["cpu"].config, estimator=estimator)
    found = {trial.name: trial for trial in trials(config)}
    assert set(found) == {mixed("coala"), mixed("user"), shaping("coala"), shaping("user")}
    for name, replicates in ((mixed, config.pair_replicates), (shaping, config.shaping_replicates)):
        ours, theirs = found[name("coala")], found[name("user")]
        assert (ours.seeds, theirs.seeds) == (replicates, replicates)
        assert (ours.user_parts, theirs.user_parts) == ((), (__name__,))
        assert (ours.config.estimators, theirs.config.estimators) == (("coala",) * 2, (estimator,) * 2)
        assert replace(ours.config, estimators=theirs.config.estimators) == theirs.config
        assert ours.config.p_naive == (1.0 if name is shaping else config.agents.p_naive)
        assert agents_of(theirs) == [mine, mine]
        assert agents_of(ours) == [coala_pg, coala_pg]


def agents_of(trial):
    """The estimator of each agent."""
    pool = _pool(trial.config)
    return [pool.estimators[place] for place in np.argmax(pool.choice, axis=1)]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_numbers_of_presets_are_in_range(preset):
    assert trials(PRESETS[preset].config)


def test_an_estimator_with_options_is_told_to_be_a_function():
    with pytest.raises(ValueError, match="name a function that sets them"):
        check_estimator("mesocosm.learning.opponent_shaping:coala_pg(decay=0.9)", 2)


def broken(rewards, episode, values, discount, decay):
    raise TypeError("\n  the shapes\nof many lines\ndiffer")


def test_what_an_estimator_says_of_itself_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"cannot be called as estimator\(.*\): TypeError: the shapes$") as error:
        check_estimator(f"{__name__}:broken", 2)
    assert "\n" not in str(error.value)
