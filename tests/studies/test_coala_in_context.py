"""The coala study's agents that infer co-players within an episode, CleanUp-lite pools and the landscape: tables of the smoke run, and rows that can fail."""

from dataclasses import replace
from functools import reduce
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.memory_one import ALWAYS_DEFECT, TIT_FOR_TAT
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.lab.catalogue import find
from mesocosm.lab.report.figures import draw
from mesocosm.lab.run.runner import execute
from mesocosm.learning.actor_critic_pool import PoolState
from mesocosm.learning.fit import Fitted
from mesocosm.studies.coala.claims import CLAIMS
from mesocosm.studies.coala.config import PRESETS, Config, InContext
from mesocosm.studies.coala.figures import responses
from mesocosm.studies.coala.in_context import OPPONENTS, _meeting, _pool, _settle, any_policy, this_policy
from mesocosm.studies.coala.landscape import policy_at
from mesocosm.studies.coala.tables import (
    AMONG_POLICIES,
    CLEAN_UP_COLUMNS,
    COOPERATOR,
    DEFECTOR,
    IN_CONTEXT,
    NEW_PAIRS,
    NO_MEMORY,
    NO_POLICIES,
    RETALIATOR,
    TOLD,
    clean_up,
)
from mesocosm.studies.coala.trials import trials
from mesocosm.studies.interface import Context, View


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("coala")


def test_new_trials_are_off_unless_their_sizes_say_otherwise():
    names = {trial.name for trial in trials(Config())}
    assert names == {"estimators", "pools", "look-ahead"}


def test_random_policies_are_uniform_and_known_ones_certain():
    drawn = jax.nn.sigmoid(jax.vmap(any_policy)(jax.random.split(jax.random.key(0), 2000)))
    assert np.abs(np.quantile(np.asarray(drawn), [0.25, 0.5, 0.75], axis=0) - np.array([[0.25], [0.5], [0.75]])).max() < 0.05
    known = jax.nn.sigmoid(this_policy(OPPONENTS[RETALIATOR], jax.random.key(0)))
    np.testing.assert_allclose(known, TIT_FOR_TAT, atol=1e-6)


def test_the_landscapes_corners_are_tit_for_tat_and_always_defecting():
    np.testing.assert_array_equal(policy_at(jnp.ones(()), jnp.ones(())), TIT_FOR_TAT)
    np.testing.assert_array_equal(policy_at(jnp.zeros(()), jnp.zeros(())), ALWAYS_DEFECT)


def test_with_its_copy_tit_for_tat_earns_one_and_always_defecting_nothing(smoke):
    found = {(row["after_cc"], row["after_dc"]): row for row in smoke.table("landscape").iter_rows(named=True)}
    assert len(found) == 9
    assert found[1.0, 1.0]["copy"] == pytest.approx(1, abs=1e-4)
    assert found[0.0, 0.0]["copy"] == pytest.approx(0, abs=1e-4)
    one_round = 3 * (1 - PRESETS["smoke"].config.pairs.discount)  # who defects last against tit-for-tat is ahead by the difference of one round
    assert found[1.0, 1.0]["ego"] == pytest.approx(found[1.0, 1.0]["naive"], abs=one_round)
    assert found[0.0, 0.0]["ego"] > found[0.0, 0.0]["naive"] + 0.3


def test_each_opponent_pays_what_the_agents_cooperation_says(smoke):
    """Who always cooperates pays 2 - c and earns 2 c - 1, who always defects pays -c and earns 2 c."""
    curves = smoke.table("response_curves").group_by("trial", "seed", "opponent").agg(pl.col("cooperates").mean())
    both = smoke.table("responses").join(curves, on=["trial", "seed", "opponent"])
    for opponent, top in ((COOPERATOR, 2.0), (DEFECTOR, 0.0)):
        part = both.filter(pl.col("opponent") == opponent)
        np.testing.assert_allclose(part["reward"], top - part["cooperates"], atol=1e-5)
        np.testing.assert_allclose(part["other"], 2 * part["cooperates"] - top / 2, atol=1e-5)
    assert set(both["trial"]) == {IN_CONTEXT, NO_MEMORY, AMONG_POLICIES, TOLD}


def test_agents_that_have_hardly_learned_cooperate_as_a_coin_and_earn_less_than_always_defecting(smoke):
    curves = smoke.table("response_curves").group_by("trial", "seed", "opponent").agg(pl.col("cooperates").mean())
    assert (curves["cooperates"] - 0.5).abs().max() < 0.25
    assert (smoke.table("extortion")["yields"] - 0.5).abs().max() < 0.25
    assert set(smoke.table("extortion")["trial"]) == {IN_CONTEXT, NO_MEMORY}
    assert (smoke.table("anybody")["above_defecting"] < -0.2).all()


@pytest.mark.slow
def test_all_measures_of_clean_up_are_kept_for_every_pool_and_kind_of_game(tmp_path):
    config = PRESETS["smoke"].config
    alone = replace(config, agents=replace(config.agents, iterations=0), in_context=replace(config.in_context, iterations=0, mixed=0))
    run = execute(find("coala"), "smoke", config=alone, out=tmp_path / "run", judged=False)
    assert {figure.name for figure in draw(run) if figure.reason is None} >= {"cleaning", "strip"}
    table = run.table("clean_up")
    assert set(CLEAN_UP_COLUMNS) <= set(table.columns)
    kinds = {name: set(part["beside"]) for (name,), part in table.group_by("trial")}
    assert kinds[clean_up("coala", shaping=True)] == {"naive"}
    assert kinds[clean_up("m-fos", shaping=False)] == {"naive", "peer"}
    np.testing.assert_allclose(table["reward"], table["own_harvested"], atol=1e-6)
    episodes = run.table("clean_up_episodes")
    assert set(episodes["when"]) == {"untrained", "trained"}
    peers = episodes.filter(pl.col("beside") == "peer")
    np.testing.assert_allclose(peers["own_cleaned"], peers["other_cleaned"], atol=1e-6)  # both agents' means are the same
    strip = run.table("clean_up_strip").group_by("trial", "time").agg(pl.col("player_0", "player_1").sum(), pl.len())
    assert (strip["player_0"] == 1).all()
    assert (strip["len"] == 20).all()


@pytest.mark.parametrize(("names", "rounds", "shown"), [((IN_CONTEXT, NO_MEMORY), 80, 80), (None, 80, 40), (None, 83, 28), (None, 100, 34)])
def test_responses_are_drawn_with_all_curves_and_at_most_5000_points(names, rounds, shown):
    axes = {"trial": list(names or (IN_CONTEXT, NO_MEMORY, AMONG_POLICIES, TOLD)), "seed": range(10), "opponent": list(OPPONENTS), "round": range(rounds)}
    parts = [pl.DataFrame({name: list(values)}) for name, values in axes.items()]
    table = reduce(lambda left, right: left.join(right, how="cross"), parts).with_columns(cooperates=pl.lit(0.5))
    chart = responses.draw(View(PRESETS["cpu"].config, "cpu", {"response_curves": table})).to_dict()
    (points,) = chart["datasets"].values()
    found = pl.DataFrame(points).group_by("trial", "seed", "opponent").agg(pl.len(), pl.col("round").min(), last=pl.col("round").max())
    assert found.height == 30 * len(axes["trial"])
    assert set(found["len"]) == {shown}
    assert set(found["round"]) == {0}
    assert found["last"].min() >= rounds - rounds / shown


def asked_of():
    """A context that trains nothing, and the list of what it is asked to train."""
    asked = []

    def fit(name, learner, steps, state=None, start=0):
        asked.append((name, start, steps, learner.settings.entropy, learner.hyperparameters["learning_rate"]))
        fitted, at = Mock(spec=Fitted), np.arange(start + 1, start + steps + 1)
        fitted.configure_mock(model=name, state=PoolState(name, ()), history_steps=at, history={"ego_0": np.tile(at, (2, 1))})
        return fitted

    context = Mock(spec=Context)
    context.fit.side_effect = fit
    return context, asked


def test_entropy_and_rate_fall_by_equal_factors_while_agents_settle():
    sizes = InContext(settling=0.5, reward_scale=0.1, entropy=0.32, last_entropy=0.02, learning_rate=0.016, last_rate=1 / 16)
    context, asked = asked_of()
    trained = _settle(context, "agents", _pool(sizes, 1, 1.0), sizes, 80)
    _, starts, lengths, entropies, rates = zip(*asked, strict=True)
    assert starts == (0, 80, 90, 100, 110)
    assert lengths == (80, 10, 10, 10, 10)
    np.testing.assert_allclose(entropies, 0.1 * np.array([0.32, 0.16, 0.08, 0.04, 0.02]))
    np.testing.assert_allclose(rates, [0.016, 0.008, 0.004, 0.002, 0.001])
    assert trained.agents == asked[-1][0] == "agents-settling-4"
    np.testing.assert_allclose(trained.last["ego_0"], np.arange(109, 121).mean())  # the last tenth


def test_without_settling_agents_explore_only():
    sizes, (context, asked) = InContext(), asked_of()
    _settle(context, "agents", _pool(sizes, 1, 1.0), sizes, 80)
    assert [each[:3] for each in asked] == [("agents-exploring", 0, 80)]


def test_each_step_of_the_follow_up_has_its_games_and_extorters_their_rate():
    sizes = InContext(games=6, extorting_games=4, meeting_games=8, meeting_rate=0.25)
    assert (_pool(sizes, 1, 1.0).naive, _pool(sizes, 1, 1.0).peers) == (6, 0)
    assert (_pool(sizes, 2, 0.5).naive, _pool(sizes, 2, 0.5).peers) == (3, 3)
    assert (_meeting(sizes).naive, _meeting(sizes).peers) == (0, 8)
    assert _meeting(sizes).hyperparameters["learning_rate"] == 0.25


# --- rows can hold and can fail


def verdicts(**tables):
    run = Circumstances("", fingerprints=fingerprints(CLAIMS))
    rows = judge("coala", CLAIMS, View(PRESETS["paper"].config, "paper", tables), run, strict=True)
    return {row.id.removeprefix("coala/"): row.verdict for row in rows if row.kind}


def around(mean, noise, seeds=10):
    return mean + 0.02 * np.random.default_rng(noise).normal(size=seeds)


def test_mixed_pools_of_the_follow_up_are_judged_at_the_published_size_only():
    judged = {claim.id: {name for check in claim.checks for name in check.judged_at} for claim in CLAIMS if claim.id.startswith("X")}
    assert {claim for claim, names in judged.items() if names == {"paper"}} == {"X1", "X2", "X3", "X7"}
    assert {claim for claim, names in judged.items() if "cpu" in names} == {"X4", "X5", "X6"}


def of_steps(**levels):
    """A row for each seed from column -> mean."""
    return pl.DataFrame({"seed": range(10), "trial": [IN_CONTEXT] * 10, **{name: around(level, noise) for noise, (name, level) in enumerate(levels.items())}})


def of_pools(**levels):
    return pl.concat(
        pl.DataFrame({"seed": range(10), "trial": [trial] * 10, "peer": around(level, noise)}) for noise, (trial, level) in enumerate(levels.items())
    )


@pytest.mark.parametrize(
    ("levels", "wanted"),
    [
        ((0.9, 0.0, 0.0), ("holds", "holds", "holds")),
        ((0.9, 0.0, 0.4), ("holds", "holds", "fails")),
        ((0.6, 0.0, 0.0), ("fails", "holds", "holds")),
        ((0.1, 0.0, 0.0), ("fails", "not judged", "not judged")),  # where nobody cooperates, it shows nothing that others do not
        ((0.9, 0.9, 0.9), ("not judged", "fails", "fails")),
    ],
)
def test_policies_must_bring_cooperation_and_telling_must_take_it_away(levels, wanted):
    found = verdicts(in_context_peers=of_pools(**dict(zip((AMONG_POLICIES, TOLD, NO_POLICIES), levels, strict=True))))
    assert (found["X1.cooperate"], found["X2.defect"], found["X3.defect"]) == wanted


def late(**levels):
    """Cooperation in the last third with each opponent, of agents with memory and without."""
    parts = [
        of_steps(late=level, reward=0.0, other=0.0).with_columns(opponent=pl.lit(opponent), trial=pl.lit(trial))
        for trial, found in levels.items()
        for opponent, level in found.items()
    ]
    return pl.concat(parts)


DEFECTORS = dict.fromkeys((RETALIATOR, COOPERATOR, DEFECTOR), 0.02)


@pytest.mark.parametrize(("kind", "verdict"), [(0.95, "holds"), (0.5, "fails"), (0.02, "fails")])
def test_most_agents_must_come_to_cooperate_with_tit_for_tat(kind, verdict):
    found = verdicts(responses=late(**{IN_CONTEXT: {**DEFECTORS, RETALIATOR: kind}, NO_MEMORY: DEFECTORS}))
    assert found[f"X4.{RETALIATOR}"] == verdict


def test_agents_that_end_at_two_places_have_a_rate():
    table = late(**{IN_CONTEXT: {**DEFECTORS, RETALIATOR: 0.5}, NO_MEMORY: DEFECTORS})
    some = (pl.col("trial") == IN_CONTEXT) & (pl.col("opponent") == RETALIATOR)
    for number, verdict in ((5, "inconclusive"), (9, "holds"), (1, "fails")):
        found = verdicts(responses=table.with_columns(late=pl.when(some & (pl.col("seed") < number)).then(0.95).otherwise("late")))
        assert found[f"X4.{RETALIATOR}"] == verdict


def test_agents_that_all_do_the_same_have_a_verdict():
    table = late(**{IN_CONTEXT: {**DEFECTORS, RETALIATOR: 0.95}, NO_MEMORY: DEFECTORS})
    same = (pl.col("opponent") == COOPERATOR) & (pl.col("trial") == IN_CONTEXT)
    assert verdicts(responses=table.with_columns(late=pl.when(same).then(0.0).otherwise("late")))[f"X4.{COOPERATOR}"] == "holds"


def test_an_agent_that_cooperates_with_tit_for_tat_without_memory_shows_nothing():
    found = verdicts(responses=late(**{IN_CONTEXT: {**DEFECTORS, RETALIATOR: 0.95}, NO_MEMORY: {**DEFECTORS, RETALIATOR: 0.95}}))
    assert found[f"X4.{RETALIATOR}"] == "not judged"


@pytest.mark.parametrize(("above", "without", "verdict"), [(0.04, -0.02, "holds"), (-0.04, -0.02, "fails"), (0.04, 0.03, "not judged")])
def test_the_best_response_must_earn_more_than_defecting_and_agents_without_memory_must_not(above, without, verdict):
    table = pl.concat(of_steps(reward=1.0, above_defecting=level).with_columns(trial=pl.lit(t)) for t, level in ((IN_CONTEXT, above), (NO_MEMORY, without)))
    assert verdicts(anybody=table)["X4.beyond-defecting"] == verdict


def extorted(difference, yields, given):
    """Tables in which a defector in the learner's place gains three times what it is given; agents without memory give nothing to anybody."""
    both = [(IN_CONTEXT, difference, yields, given), (NO_MEMORY, 0.0, 0.0, 0.0)]
    parts = [of_steps(difference=gain, yields=share).with_columns(trial=pl.lit(trial)) for trial, gain, share, _ in both]
    beside = [of_steps(late=0.0, reward=-c, other=2 * c).with_columns(trial=pl.lit(trial), opponent=pl.lit(DEFECTOR)) for trial, _, _, c in both]
    return {"extortion": pl.concat(parts), "responses": pl.concat(beside)}


@pytest.mark.parametrize(
    ("difference", "yields", "given", "wanted"),
    [
        (0.8, 0.6, 0.05, ("holds", "holds")),
        (0.1, 0.1, 0.05, ("fails", "fails")),
        (0.8, 0.6, 0.25, ("fails", "holds")),  # who cooperates with a defector is not extorted, but exploited
    ],
)
def test_an_extorter_must_gain_more_than_a_defector_would(difference, yields, given, wanted):
    found = verdicts(**extorted(difference, yields, given))
    assert (found["X5.extorts"], found["X5.yields"]) == wanted


def test_who_learns_beside_an_agent_without_memory_must_not_extort_it():
    tables = extorted(0.8, 0.6, 0.05)
    without = pl.col("trial") == NO_MEMORY
    tables["extortion"] = tables["extortion"].with_columns(pl.when(without).then(0.7).otherwise(name).alias(name) for name in ("difference", "yields"))
    found = verdicts(**tables)
    assert (found["X5.extorts"], found["X5.yields"]) == ("not judged", "not judged")


@pytest.mark.parametrize(("after", "new", "verdict"), [(0.9, 0.5, "holds"), (0.6, 0.0, "fails"), (0.9, 0.9, "not judged")])
def test_extorters_must_come_to_cooperate_because_they_were_extorters(after, new, verdict):
    found = verdicts(extorters_met=of_steps(before=0.1, after=after), in_context_peers=of_pools(**{NEW_PAIRS: new}))
    assert found["X6.cooperate"] == verdict
