"""What the coala study's trials ask for and what they make of it, with little or no training; and what rows of the follow-up ask of an agent."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from jaxtyping import Array

from mesocosm.analysis.memory_one import ALWAYS_COOPERATE, ALWAYS_DEFECT, TIT_FOR_TAT, episode_values
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.envs.matrix_game import PRISONERS_DILEMMA
from mesocosm.learning.actor_critic_pool import PoolState
from mesocosm.learning.environment_pool import copied, newborn
from mesocosm.learning.fit import Fitted
from mesocosm.nn.actor_critic import Decision, MixerAgent, TabularAgent
from mesocosm.studies.coala import clean_up as clean_up_study
from mesocosm.studies.coala import in_context
from mesocosm.studies.coala.agents import MENU
from mesocosm.studies.coala.claims import CLAIMS
from mesocosm.studies.coala.clean_up import CleanUpArm, train_clean_up
from mesocosm.studies.coala.config import PRESETS, CleanUpPools, InContext
from mesocosm.studies.coala.in_context import FAR, FRESH, MixedArm, StepsArm, _pool, build_one, build_two, train_mixed, train_steps
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
)
from mesocosm.studies.coala.trials import trials
from mesocosm.studies.interface import Context, View

SIZES = InContext(iterations=20, extorting=10, meeting=30, mixed=40, settling=0.5, games=6, extorting_games=4, meeting_games=8, length=12, test_games=5)


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("coala")


# --- what is asked for


class Asked:
    """A context that trains nothing, and what it was asked to fit, evaluate, publish and tabulate; agents earn `peers` from each other, at the end of a fit."""

    def __init__(self, peers, answers):
        self.fits, self.evaluated, self.written, self.published = {}, [], [], {}
        self.peers, self.answers = peers, answers
        self.context = Mock(spec=Context)
        self.context.fit.side_effect, self.context.evaluate.side_effect = self.fit, self.evaluate
        self.context.rows.side_effect, self.context.publish.side_effect = self.rows, self.published.__setitem__

    def fit(self, name, learner, steps, state=None, start=0):
        self.fits[name] = SimpleNamespace(learner=learner, steps=steps, state=state, start=start)
        fitted, at = Mock(spec=Fitted), np.arange(start + 1, start + steps + 1)
        late = np.where((np.arange(steps) >= 0.9 * steps) | ("-" in name), 1.0, 0.0)
        history = {metric: np.tile(late * value, (2, 1)) for metric, value in self.peers.get(name.split("-")[0], {}).items()}
        fitted.configure_mock(model=f"{name} agents", state=PoolState(name, ()), history_steps=at, history=history)
        return fitted

    def evaluate(self, function, *given):
        self.evaluated.append((function, given))
        return self.answers[function.func.__name__]

    def rows(self, axes=None, **columns):
        self.written.append(columns)
        return pl.DataFrame({"written": [len(self.written) - 1]})

    def columns(self, table):
        return self.written[table["written"][0]]


ROUNDS, PARTS = np.zeros((2, SIZES.length)), np.zeros((2, 3))
ANSWERS = {
    "_beside": PoolState("both", ()),
    "_twice": PoolState("twins", ()),
    "_meet": {"reward": np.zeros(2), "other": np.ones(2), "late": np.zeros(2), "rounds": ROUNDS},
    "_meet_anybody": {"reward": np.zeros(2), "above_defecting": np.zeros(2)},
    "_each_other": {"peer": np.array([[0.1, 0.3], [0.5, 0.7]]), "parts": PARTS},
}


def test_an_extorter_learns_beside_a_responder_that_does_not_and_its_copies_learn_from_each_other():
    fixed, fresh = 0.7, 0.2  # how often each cooperates
    earned = {"extorter": {"peer_0": 2 * fresh - fixed, "peer_1": 2 * fixed - fresh}, "met": {"peer_0": 0.3, "peer_1": 0.5}}
    asked = Asked(earned, ANSWERS)
    tables = train_steps(StepsArm(SIZES), asked.context)
    extorter, met = asked.fits["extorter"], asked.fits["met"]
    assert (extorter.state.agents, met.state.agents) == ("both", "twins")
    np.testing.assert_array_equal(extorter.learner.settings.step, [0.0, 1.0])
    np.testing.assert_array_equal(met.learner.settings.step, 1.0)
    assert (extorter.learner.naive, extorter.learner.peers, met.learner.peers) == (0, 4, 8)
    assert met.learner.hyperparameters["learning_rate"] == SIZES.meeting_rate < extorter.learner.hyperparameters["learning_rate"] == SIZES.learning_rate
    assert extorter.learner.settings.p_naive == met.learner.settings.p_naive == 0
    ends = max(fit.start + fit.steps for name, fit in asked.fits.items() if name.startswith("responder"))
    assert ends <= extorter.start <= extorter.start + extorter.steps <= met.start
    assert set(asked.published) == {"responder", "extorter", "met"}
    assert set(tables) == {"responses", "response_curves", "anybody", "extortion", "extorters_met", "within_episodes", "in_context_training"}
    extortion, pairs = asked.columns(tables["extortion"]), asked.columns(tables["extorters_met"])
    np.testing.assert_allclose(extortion["difference"], 3 * (fixed - fresh))
    np.testing.assert_allclose(extortion["yields"], fixed)
    np.testing.assert_allclose(pairs["before"], [0.2, 0.6])
    np.testing.assert_allclose(pairs["after"], 0.4)


def test_without_memory_agents_are_tables_and_do_not_meet_again():
    asked = Asked({"extorter": {"peer_0": -0.1, "peer_1": 0.2}}, ANSWERS)
    tables = train_steps(StepsArm(SIZES, memory=False), asked.context)
    assert set(tables) == {"responses", "response_curves", "anybody", "extortion"}
    assert set(asked.published) == {"responder", "extorter"}
    remembering = Asked({"extorter": {"peer_0": -0.1, "peer_1": 0.2}, "met": {"peer_0": 0.0, "peer_1": 0.0}}, ANSWERS)
    train_steps(StepsArm(SIZES), remembering.context)
    key = jax.random.key(0)
    for name, fit in asked.fits.items():
        one, other = fit.learner, remembering.fits[name].learner
        assert isinstance(jax.eval_shape(one.build, key), TabularAgent)
        assert isinstance(jax.eval_shape(other.build, key), MixerAgent)
        assert (one.settings.entropy, one.naive, one.peers, one.hyperparameters) == (other.settings.entropy, other.naive, other.peers, other.hyperparameters)
        assert (fit.steps, fit.start) == (remembering.fits[name].steps, remembering.fits[name].start)
    for build, number in ((build_one, 1), (build_two, 2)):
        assert jax.eval_shape(partial(build, StepsArm(SIZES, memory=False)), key).table.shape == (number, 10, 2)
        assert jax.eval_shape(partial(build, StepsArm(SIZES)), key).heads.shape == (number, 2, SIZES.width)
    np.testing.assert_array_equal(asked.columns(tables["responses"])["other"], 1.0)


def test_mixed_pools_are_told_and_have_policies_if_their_arm_says_so():
    for arm, number in ((MixedArm(SIZES, 0.5, told=True), 6), (MixedArm(SIZES, 0.5), 6), (MixedArm(SIZES, 0.0), 3)):
        asked = Asked({"agents": {"peer_0": 0.2, "peer_1": 0.6}}, ANSWERS)
        tables = train_mixed(arm, asked.context)
        assert len(tables) == number
        np.testing.assert_allclose(asked.columns(tables["in_context_peers"])["peer"], 0.4)
        pool = asked.fits["agents-exploring"].learner
        assert (pool.agents, pool.naive, pool.peers) == ((2, 3, 3) if arm.p_tabular else (2, 0, 6))
        assert pool.settings.p_naive == arm.p_tabular
        assert pool.told == arm.told
        assert sum(fit.steps for fit in asked.fits.values()) == 60  # with settling
        tested = {function.func.__name__: function.args[0] for function, _ in asked.evaluated}
        assert tested["_each_other"].peers == 5
        if arm.p_tabular:
            assert (tested["_meet"].naive, tested["_meet"].peers, tested["_meet_anybody"].naive) == (5, 0, 5)


def test_arms_of_the_follow_up_differ_in_what_their_names_say():
    arms = {trial.name: trial.config for trial in trials(PRESETS["paper"].config)}
    sizes = PRESETS["paper"].config.in_context
    assert (arms[AMONG_POLICIES].p_tabular, arms[TOLD].p_tabular, arms[NO_POLICIES].p_tabular, arms[NEW_PAIRS].p_tabular) == (0.5, 0.5, 0.0, 0.0)
    assert [arms[name].told for name in (AMONG_POLICIES, TOLD, NO_POLICIES, NEW_PAIRS)] == [False, True, False, False]
    assert arms[AMONG_POLICIES].sizes == arms[TOLD].sizes == arms[NO_POLICIES].sizes == sizes
    new = arms[NEW_PAIRS].sizes
    assert (new.mixed, new.games, new.settling) == (sizes.meeting, sizes.meeting_games, 0.0)
    assert new.learning_rate == sizes.meeting_rate
    assert (new.entropy, new.length, new.discount) == (sizes.entropy, sizes.length, sizes.discount)
    assert [(arms[name].memory, arms[name].sizes) for name in (IN_CONTEXT, NO_MEMORY)] == [(True, sizes), (False, sizes)]


def test_pools_of_the_follow_up_have_the_numbers_of_their_config():
    sizes = InContext(discount=0.9, decay=0.8, reward_scale=0.5, entropy=0.4, learning_rate=0.01, length=20, games=6)
    pool = _pool(sizes, 2, 0.5, told=True)
    assert (pool.settings.discount, pool.settings.decay, pool.settings.reward_scale, pool.settings.rate) == (0.9, 0.8, 0.5, 0.0)
    assert pool.settings.entropy == pytest.approx(0.2)
    assert (pool.length, pool.episodes, pool.batch, pool.told) == (20, 1, 1, 1.0)
    assert _pool(sizes, 2, 0.5).told == 0.0


@pytest.mark.whole
def test_an_extorters_co_player_is_the_responder_and_its_copies_are_its_own():
    pool = _pool(InContext(width=2, games=2), 2, 0.0)
    responder = eqx.tree_at(lambda agents: agents.heads, _pool(InContext(width=2), 1, 1.0).init(jax.random.key(1)).agents, jnp.full((1, 2, 2), 7.0))
    new, both = pool.init(jax.random.key(0)), in_context._beside(pool, responder, jax.random.key(0))
    for found, given, fresh in zip(*(jax.tree.leaves(agents) for agents in (both.agents, responder, new.agents)), strict=True):
        np.testing.assert_array_equal(found[0], given[0])
        np.testing.assert_array_equal(found[1], fresh[1])
    marked = jax.tree.map(lambda leaf: leaf.at[FRESH].add(1.0), both.agents)
    twins = in_context._twice(pool, marked)
    for found, given in zip(jax.tree.leaves(twins.agents), jax.tree.leaves(marked), strict=True):
        np.testing.assert_array_equal(found, np.stack([given[1]] * 2))
    moments = [leaf for leaf in jax.tree.leaves(twins.optimizers) if leaf.ndim > 1]
    assert moments
    assert not any(np.asarray(leaf).any() for leaf in moments)


# --- how agents are tested


class Timed(eqx.Module):
    """Cooperates in one round only; never if there is no such round, and always if the round is -1."""

    at: Array

    def init_state(self):
        return jnp.zeros(())

    def step(self, state, observation):
        return state + 1, Decision(jnp.where((state == self.at) | (self.at == -1), FAR, -FAR), jnp.zeros(()))


def sure_policy(key):
    """Logits of a random deterministic policy."""
    return jnp.where(jax.random.bernoulli(key, shape=(5,)), FAR, -FAR)


def in_test(rounds, policy=sure_policy, peers=0.0):
    """The pool in which agents are tested, and agents that cooperate in these rounds."""
    return in_context._tested(replace(_pool(SIZES, len(rounds), 1.0 - peers), first=policy), SIZES), Timed(jnp.asarray(rounds))


def cooperator(key):
    return jnp.full(5, FAR)


@pytest.mark.parametrize("at", [7, 8, 9, 10])
def test_late_cooperation_is_that_of_the_last_third_but_for_the_last_two_rounds(at):
    pool, agents = in_test([float(at)], cooperator)
    found = jax.jit(lambda agents, key: in_context._meet(pool, agents, key))(agents, jax.random.key(0))
    np.testing.assert_allclose(found["late"], 0.5 if at in (8, 9) else 0.0)
    np.testing.assert_allclose(found["reward"], 2 - 1 / 12, rtol=1e-5)
    np.testing.assert_array_equal(found["rounds"], np.arange(12) == at)


def test_two_agents_are_measured_for_themselves_and_by_thirds():
    pool, agents = in_test([8.0, 99.0], peers=1.0)
    found = jax.jit(lambda agents, key: in_context._each_other(pool, agents, key))(agents, jax.random.key(0))
    np.testing.assert_allclose(found["peer"], [-1 / 12, 2 / 12], rtol=1e-5)
    np.testing.assert_allclose(found["parts"], [0, 0, 1 / 8])


@pytest.mark.parametrize("at", [-1.0, 99.0])
def test_beside_anybody_an_agent_is_compared_with_always_defecting_beside_the_same_policies(at):
    """Where all is certain, what is sampled is exact."""
    pool, agents = in_test([at])
    found = jax.jit(lambda agents, key: in_context._meet_anybody(pool, agents, key))(agents, jax.random.key(0))
    policies = jax.nn.sigmoid(pool.begin(agents, jax.random.key(0))[1].learners.reshape(-1, 5))

    def earns(policy):
        each = jax.vmap(lambda other: episode_values(PRISONERS_DILEMMA, jnp.asarray(policy, jnp.float32), other, SIZES.length)[0])
        return float(each(policies).mean()) / SIZES.length

    reward, defecting = earns(ALWAYS_COOPERATE if at == -1.0 else ALWAYS_DEFECT), earns(ALWAYS_DEFECT)
    np.testing.assert_allclose(found["reward"], reward, atol=1e-5)
    np.testing.assert_allclose(found["above_defecting"], reward - defecting, atol=1e-5)
    assert (found["above_defecting"] < -0.1) == (at == -1.0)


def test_who_nearly_always_defects_is_compared_in_the_same_games():
    """Both agents' games are the same until the first round in which they differ, so that the difference is of what happens from then on."""
    pool, agents = in_test([float(SIZES.length - 1)], in_context.any_policy)
    found = jax.jit(lambda agents, key: in_context._meet_anybody(pool, agents, key))(agents, jax.random.key(0))
    np.testing.assert_allclose(found["above_defecting"], -1 / SIZES.length, atol=1e-5)  # to cooperate in the last round costs one


def test_what_is_told_makes_no_defector_cooperate():
    pool, agents = in_test([99.0], in_context.any_policy)
    found = jax.jit(lambda agents, key: in_context._meet_anybody(replace(pool, told=1.0), agents, key))(agents, jax.random.key(0))
    np.testing.assert_allclose(found["above_defecting"], 0.0, atol=1e-6)


def test_the_landscapes_sides_are_not_exchanged():
    np.testing.assert_array_equal(policy_at(jnp.ones(()), jnp.zeros(())), [1, 1, 0, 0, 0])


def test_the_landscapes_rows_and_columns_are_not_exchanged(smoke):
    """With its copy, who cooperates after CC only earns 1, and who does so after DC only nothing."""
    found = {(row["after_cc"], row["after_dc"]): row["copy"] for row in smoke.table("landscape").iter_rows(named=True)}
    assert found[1.0, 0.0] == pytest.approx(1, abs=1e-4)
    assert found[0.0, 1.0] == pytest.approx(0, abs=1e-4)


# --- CleanUp-lite


def test_pools_in_clean_up_have_the_numbers_and_the_estimator_of_their_arm():
    sizes = CleanUpPools(p_naive=0.6, naive=3, peers=2, length=7, learning_rate=0.1, naive_learning_rate=0.2, naive_discount=0.8, reward_scale=0.3, entropy=0.4)
    for method, alone in (("coala", True), ("m-fos", False), ("batch-unaware", False)):
        pool = clean_up_study._pool(CleanUpArm(sizes, method, alone))
        assert (pool.agents, pool.naive, pool.peers) == ((1, 5, 0) if alone else (2, 3, 2))
        assert {pool.estimators[place] for place in np.argmax(pool.choice, axis=1)} == {MENU[method]}
        np.testing.assert_array_equal(pool.choice.sum(axis=1), 1)
        assert pool.settings.p_naive == (1.0 if alone else 0.6)
        assert pool.first is (newborn if alone else copied)
        assert (pool.env.length, pool.batch, pool.episodes) == (7, sizes.batch, sizes.episodes)
        assert (pool.learner.discount, pool.learner.reward_scale, pool.settings.reward_scale, pool.settings.entropy) == (0.8, 0.3, 0.3, 0.4)
        assert (pool.hyperparameters["learning_rate"], pool.learner.hyperparameters["learning_rate"]) == (0.1, 0.2)


def test_tables_of_clean_up_are_of_the_last_tenth_and_of_agents_before_and_after_training(monkeypatch):
    monkeypatch.setattr(clean_up_study, "_strip", lambda *given: pl.DataFrame())
    sizes = CleanUpPools(iterations=20, episodes=3, test_games=6)
    context, columns, tested = Mock(spec=Context), [], []

    def fit(name, pool, iterations):
        at = np.arange(1, iterations + 1)
        history = {f"{kind}_{column}": np.tile((at > 18) * value, (2, 1)) for kind, value in (("naive", 1.0), ("peer", 2.0)) for column in CLEAN_UP_COLUMNS}
        fitted = Mock(spec=Fitted)
        fitted.configure_mock(model="trained", history_steps=at, history=history)
        return fitted

    def evaluate(function, *given):
        if function.func is clean_up_study._agents:
            return "untrained"
        tested.append(function.args[0])
        return {kind: dict.fromkeys(CLEAN_UP_COLUMNS, np.full((2, 3), number)) for kind, number in zip(("naive", "peer"), KNOWN[given[0]], strict=True)}

    def rows(axes, **values):
        columns.append(values)
        return pl.DataFrame()

    context.fit.side_effect, context.evaluate.side_effect, context.rows.side_effect = fit, evaluate, rows
    train_clean_up(CleanUpArm(sizes, "coala", False), context)
    means, curve, episodes = columns
    np.testing.assert_array_equal(means["dirt"], [[1, 2]] * 2)
    assert curve["dirt"].shape == (2, 2, 20)
    np.testing.assert_array_equal(episodes["dirt"][0, :, :, 0], list(KNOWN.values()))  # when, beside
    assert {(pool.naive, pool.peers) for pool in tested} == {(6, 6)}


KNOWN = {"untrained": (3.0, 4.0), "trained": (5.0, 6.0)}


# --- what rows ask


def late_cooperation(policy, others, rounds=80):
    """Exact cooperation with opponents in the last third but for two rounds: from both players' sums of rewards r and r', as it is (r + 2 r') / 3."""
    first, last = rounds - rounds // 3, rounds - 2

    def between(other):
        return episode_values(PRISONERS_DILEMMA, policy, other, last) - episode_values(PRISONERS_DILEMMA, policy, other, first)

    return np.asarray(jax.jit(jax.vmap(between))(others)) @ [1, 2] / 3 / (last - first)


TRIES = np.array([0.0, 1.0, 0.4, 0.0, 0.12])  # offers cooperation now and then, insists a little, and leaves who cooperates anyway


def test_a_policy_without_memory_passes_on_known_opponents_and_earns_less_than_always_defecting_beside_random_ones():
    """None of these 41 policies without memory can pass the row "beyond-defecting" of X4; one of them passes the others."""
    known = jnp.asarray(np.stack([TIT_FOR_TAT, ALWAYS_COOPERATE, ALWAYS_DEFECT]), jnp.float32)
    retaliator, cooperator, defector = late_cooperation(jnp.asarray(TRIES, jnp.float32), known)
    assert retaliator > 0.9
    assert cooperator < 0.01
    assert defector < 0.18
    drawn = np.random.default_rng(0)
    own = np.concatenate([TRIES[None], drawn.uniform(size=(20, 5)), drawn.integers(0, 2, (20, 5)).astype(float)])
    earns = jax.jit(jax.vmap(jax.vmap(lambda own, other: episode_values(PRISONERS_DILEMMA, own, other, 80)[0] / 80, (None, 0)), (0, None)))
    others = jnp.asarray(drawn.uniform(size=(300, 5)))
    mean, defecting = (np.asarray(earns(jnp.asarray(policies), others)).mean(axis=1) for policies in (own, np.zeros((1, 5))))
    assert mean[0] < defecting - 0.05
    assert (mean <= defecting + 1e-4).all()


def test_regions_of_the_follow_up():
    """Rates are of runs above the specification's medians (X1 to X4); X5.extorts is beyond always defecting; X6 and X7 are like X1 and X4."""
    regions = {f"{claim.id}.{check.name}": (check.inside.direction, check.inside.threshold) for claim in CLAIMS if claim.id[0] == "X" for check in claim.checks}
    assert regions == {
        "X1.cooperate": (">", 0.5),
        "X2.defect": ("<", 0.5),
        "X3.defect": ("<", 0.5),
        f"X4.{RETALIATOR}": (">", 0.5),
        f"X4.{COOPERATOR}": ("<", 0.5),
        f"X4.{DEFECTOR}": ("<", 0.5),
        "X4.beyond-defecting": (">", 0.005),
        "X5.extorts": (">", 0.2),
        "X5.yields": (">", 0.4),
        "X6.cooperate": (">", 0.5),
        f"X7.{COOPERATOR}": ("<", 0.2),
        f"X7.{DEFECTOR}": ("<", 0.2),
    }


def verdicts(**tables):
    judged = judge("coala", CLAIMS, View(PRESETS["paper"].config, "paper", tables), Circumstances("", fingerprints=fingerprints(CLAIMS)), strict=True)
    return {row.id.removeprefix("coala/"): row.verdict for row in judged if row.kind}


def of_seeds(trial, noise, **levels):
    """Ten seeds about levels; a string is a label."""
    spread = 0.02 * np.random.default_rng(noise).normal(size=10)
    columns = {name: [level] * 10 if isinstance(level, str) else level + spread for name, level in levels.items()}
    return pl.DataFrame({"seed": range(10), "trial": [trial] * 10, **columns})


def test_thresholds_of_rates_of_the_follow_up_are_in_their_metrics():
    told = {f"{claim.id}.{check.name}": check.kind.of for claim in CLAIMS if claim.id[0] == "X" for check in claim.checks}
    wanted = {"X1.cooperate": 0.7, "X2.defect": 0.2, f"X4.{RETALIATOR}": 0.8, f"X4.{COOPERATOR}": 0.2, f"X4.{DEFECTOR}": 0.2, "X6.cooperate": 0.7}
    for name, threshold in wanted.items():
        assert f"more than {threshold} " in told[name]


@pytest.mark.parametrize("trial", [IN_CONTEXT, AMONG_POLICIES])
@pytest.mark.parametrize(
    ("late", "kind", "wanted"), [(0.05, 0.9, ("holds", "fails")), (0.5, 0.9, ("fails", "fails")), (0.05, 0.1, ("not judged", "not judged"))]
)
def test_who_does_not_reciprocate_is_defected_on_by_agents_that_cooperate_with_tit_for_tat(trial, late, kind, wanted):
    levels = {RETALIATOR: kind, COOPERATOR: late, DEFECTOR: 0.4}
    table = pl.concat(of_seeds(trial, noise, opponent=name, late=level, reward=0.0) for noise, (name, level) in enumerate(levels.items()))
    found, claim = verdicts(responses=table), {IN_CONTEXT: "X4", AMONG_POLICIES: "X7"}[trial]
    assert (found[f"{claim}.{COOPERATOR}"], found[f"{claim}.{DEFECTOR}"]) == wanted
