"""The cocoa study: what its smoke run measured, theorems and their mutants, closed forms, and rows that can hold and can fail."""

from dataclasses import replace

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
from mesocosm.cli import main
from mesocosm.envs import KeyToDoor
from mesocosm.envs.key_to_door import OPEN_DOOR, TAKE_KEY
from mesocosm.envs.tabular import LayeredMDP
from mesocosm.envs.tree import Tree
from mesocosm.learning.exact_credit import Steps
from mesocosm.learning.learned_credit import Coefficients, LearnedCocoa
from mesocosm.learning.outcomes import reward_outcomes
from mesocosm.learning.reward_features import RewardFeatures
from mesocosm.studies.cocoa import claims, theorems
from mesocosm.studies.cocoa.closed_forms import signal_to_noise
from mesocosm.studies.cocoa.config import PRESETS, TRACK_RATES, Between, LearnedModels, Rooms, rate_of
from mesocosm.studies.cocoa.expectations import expected_contributions, relative_bias
from mesocosm.studies.cocoa.features import FeatureOutcomes, _outcomes
from mesocosm.studies.cocoa.figures_learned import coefficients
from mesocosm.studies.cocoa.learned import learned_credit
from mesocosm.studies.cocoa.perturbed import Noisy
from mesocosm.studies.cocoa.rooms import RoomsArm, build_room_policy, credit_of_contexts, rooms_of
from mesocosm.studies.cocoa.shadow import statistics
from mesocosm.studies.cocoa.signal import BY_RETURN, CLASSICAL, _track, _without_apples, exact_credit, first_step_signals
from mesocosm.studies.cocoa.switched import _switch
from mesocosm.studies.cocoa.track import success, track_of
from mesocosm.studies.cocoa.trials import trials
from mesocosm.studies.cocoa.users import check_estimator
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
    track = track_of(LearnedModels(length=6))
    policy, process = jax.nn.softmax(jax.random.normal(jax.random.key(0), (12, 4))), track.process
    w = exact_coefficients(track.mdp, policy, *reward_outcomes(track.mdp))[..., 1:]
    credit, observations = learned_credit("cocoa-reward", LearnedModels(length=6), track), jnp.asarray(track.mdp.observations, jnp.float32)
    true = layered_action_values(process.layered, policy)[0]
    found = [expected_contributions(credit, Coefficients(scale * w, observations), process, policy) for scale in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose([float(relative_bias(policy[0], expected, true)) for expected in found], [1.0, 0.25, 0.0], atol=1e-5)


@pytest.mark.whole
@pytest.mark.parametrize("name", ["cocoa-reward", "cocoa-feature", "cocoa-merged", "hca-plus", "hca", "q-critic", "advantage"])
def test_expected_contributions_are_the_mean_of_sampled_ones(name):
    """Of new networks, whose coefficients are wrong: 40000 episodes, up to a value that all actions share."""
    sizes = LearnedModels(length=5, width=16)
    track = track_of(sizes)
    table = np.arange(track.mdp.states * 4).reshape(-1, 4) % 3
    features = FeatureOutcomes(table, np.eye(3, 9), np.array(3), np.array(True))
    credit = learned_credit(name, sizes, track, features)
    policy = jax.nn.softmax(0.5 * jax.random.normal(jax.random.key(3), (track.mdp.states, 4)))
    models = credit.models_of(credit.build(jax.random.key(4)), jnp.asarray(track.mdp.observations, jnp.float32), policy)

    def one(key):
        episode = track.env.episode(key, lambda state: policy[track.env.index(state)], track.params)
        states = jax.vmap(track.env.index)(episode.states)
        return credit.contributions(models, Steps(states, episode.actions, episode.rewards, policy[states], episode.taken))[0]

    found = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=1000))(jax.random.split(jax.random.key(5), 40000))
    wanted = expected_contributions(credit, models, track.process, policy)
    sampled = np.asarray(found, np.float64)
    mean, error = sampled.mean(axis=0), sampled.std(axis=0) / 200
    apart = (mean - mean.mean()) - np.asarray(wanted - jnp.mean(wanted))
    assert np.abs(apart).max() < 5 * error.max() + 1e-5


@pytest.mark.whole
def test_the_mean_of_a_subclass_with_contributions_of_its_own_is_not_known():
    """It is not taken for its parent's; one that only learns otherwise is."""
    sizes = LearnedModels(length=6, width=8)
    track = track_of(sizes)
    policy, observations = jnp.full((12, 4), 0.25), jnp.asarray(track.mdp.observations, jnp.float32)
    for credit, known in ((OneForAll(9, 4, track.rewards, width=8), False), (Nothing(9, 4, track.rewards, width=8), True)):
        models = credit.models_of(credit.build(jax.random.key(0)), observations, policy)
        assert (expected_contributions(credit, models, track.process, policy) is not None) == known
    assert expected_contributions(learned_credit("immediate", sizes, track), None, track.process, policy) is None


@pytest.mark.parametrize("door", [True, False])
@pytest.mark.slow
def test_the_treasure_is_reached_as_often_as_episodes_say(door):
    env = KeyToDoor(5, door=door)
    policy = jax.nn.softmax(2 * jax.random.normal(jax.random.key(0), (10, 4)))
    run = jax.vmap(lambda key: env.episode(key, lambda state: policy[env.index(state)], env.default_params).states)
    states = run(jax.random.split(jax.random.key(1), 20000))
    found = success(env, policy)
    assert float(found["treasure"]) == pytest.approx(float(states.treasure[:, -1].mean()), abs=0.02)
    assert float(found["key"]) == pytest.approx(float(states.has_key[:, -1].mean()), abs=0.02)


def test_the_control_of_a_whole_training_has_the_others_rate_and_length():
    listed = {trial.name: trial.config for trial in trials(PRESETS["cpu"].config)}
    for name in ("hca-plus", "hca-return"):
        control, other = listed[f"whole-cocoa-reward-as-{name}"], listed[f"whole-{name}"]
        assert (control.estimator, control.learning_rate) == ("cocoa-reward", other.learning_rate)
        assert (control.learning, control.name) == (other.learning, f"cocoa-reward-as-{name}")
    assert listed["cocoa-reward"].learning_rate == 0.003


def test_exact_models_know_the_new_reward_at_once():
    env = KeyToDoor(6, door=False, switching=True)
    for params, better in ((env.default_params, True), (_switch(env.default_params), False)):
        q = exact_credit("q-critic", env, params).models(jnp.full((12, 4), 0.25))[0]
        assert (q[TAKE_KEY] > q[OPEN_DOOR]) == better


def test_every_distance_between_has_an_entropy_and_every_estimator_a_rate():
    assert [(each.length, each.entropy) for each in Between().tracks()] == [(43, 0.0187), (63, 0.0142), (83, 0.0116)]
    with pytest.raises(ValueError, match="2 lengths between the shortest and the longest have 3 entropies"):
        Between(lengths=(43, 63)).tracks()
    with pytest.raises(ValueError, match=r"is trained once, not \[43, 43, 63\]"):
        Between(lengths=(43, 43, 63)).tracks()
    assert rate_of(TRACK_RATES, "trajcv") == (3e-3, 1e-2)
    assert {name for name, _, _ in TRACK_RATES} == {*PRESETS["cpu"].config.learned.estimators, *PRESETS["cpu"].config.switched.estimators}
    with pytest.raises(ValueError, match="no learning rate is given for hca; there are rates for cocoa-reward"):
        rate_of(TRACK_RATES[:1], "hca")


def test_statistics_of_shadows_are_those_of_whole_gradients():
    """Against gradients of all parameters; what all actions share is left out."""
    draw = np.random.default_rng(0)
    jacobian = draw.normal(size=(4, 30))
    jacobian -= jacobian.mean(axis=0)  # probabilities sum to one
    lengths, directions = np.linalg.eigh(jacobian @ jacobian.T)
    sampled, true, expected = draw.normal(size=(50, 4)) + 3, draw.normal(size=4), draw.normal(size=4)
    found = statistics(jnp.asarray(directions * np.sqrt(np.maximum(lengths, 0))), jnp.asarray(sampled), jnp.asarray(true), jnp.asarray(expected))
    each, g, mean = sampled @ jacobian, true @ jacobian, expected @ jacobian
    signal = g @ g
    np.testing.assert_allclose(found.snr, signal / np.mean(np.sum((each - g) ** 2, axis=1)), rtol=1e-4)
    np.testing.assert_allclose(found.variance, np.mean(np.sum((each - mean) ** 2, axis=1)) / signal, rtol=1e-4)
    np.testing.assert_allclose(found.bias, np.sum((mean - g) ** 2) / signal, rtol=1e-4)
    assert bool(found.known)


@pytest.mark.whole
def test_features_of_single_cells_make_three_outcomes():
    """Apples to the left, apples to the right, and the treasure; events without a reward share the first place."""
    env = KeyToDoor(9)
    mdp = env.tabular()
    mask = jnp.zeros((4, 9)).at[1, 2].set(1.0).at[2, 3].set(1.0).at[:, 6].set(1.0)
    found = _outcomes(8, RewardFeatures(mask, jnp.zeros(9)), mdp)
    rewarded = np.asarray(mdp.mean_reward) != 0
    classes = np.asarray(found.table)
    assert (int(found.number), bool(found.separate)) == (3, True)
    assert len({*classes[rewarded].tolist()}) == 3
    assert not set(classes[rewarded].tolist()) & set(classes[~rewarded].tolist())
    np.testing.assert_array_equal(np.asarray(found.vectors)[classes[-1, 0]], np.eye(9)[6])
    everything = _outcomes(8, RewardFeatures(mask.at[1, 6].set(0.0).at[1, 2].set(0.0), jnp.zeros(9)), mdp)
    assert not bool(everything.separate)  # nothing tells an apple from the treasure if it is picked to the left


@pytest.mark.whole
def test_contexts_are_credited_by_rewards_and_not_by_one_outcome_for_all():
    """Rewards differ by context, so their exact coefficients credit a question's own; one outcome for all credits every context alike."""
    sizes = Rooms(contexts=2, most_open=1, kinds=1, limit=8)
    env = rooms_of(sizes)
    mdp = env.tabular()
    by_reward, by_state, merged = np.asarray(credit_of_contexts(env, 1.0, build_room_policy(RoomsArm("reinforce", sizes), jax.random.key(0)), mdp))
    np.testing.assert_allclose(by_reward.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(by_reward, np.eye(2), atol=1e-4)
    np.testing.assert_allclose(merged, 0.5, atol=0.05)
    assert by_state.shape == (2, 2)


def test_noise_multiplies_the_hindsight_distribution():
    """w + 1 = h / pi, and values as they are."""
    noise = np.full((12, 4), 0.5, np.float32)
    values = Noisy(exact_credit("q-critic", KeyToDoor(6), KeyToDoor(6).default_params), noise, hindsight=False)
    policy = jnp.full((12, 4), 0.25)
    np.testing.assert_allclose(values.models(policy), 1.5 * values.credit.models(policy), rtol=1e-6)
    exact = exact_credit("cocoa-reward", KeyToDoor(6), KeyToDoor(6).default_params)
    w = exact.models(policy)
    noisy = Noisy(exact, np.full(w.shape, 0.5, np.float32), hindsight=True)
    np.testing.assert_allclose(noisy.models(policy) + 1, 1.5 * (w + 1), rtol=1e-6)


class Nothing(LearnedCocoa):
    """An estimator of a user."""


class OneForAll(LearnedCocoa):
    """Has one contribution for all actions."""

    def contributions(self, models, steps):
        return super().contributions(models, steps)[:, :1]


class Concrete(LearnedCocoa):
    """Asks for a number where there is none in a compiled program."""

    def loss(self, network, experience):
        return super().loss(network, experience) * float(experience.steps.rewards.max())


def not_an_estimator(features, actions, rewards):
    return len(rewards)


@pytest.mark.whole
def test_an_estimator_of_a_users_must_fit():
    check_estimator(f"{__name__}:Nothing", LearnedModels(length=6, width=8))
    with pytest.raises(ValueError, match="of type int, which is not"):
        check_estimator(f"{__name__}:not_an_estimator", LearnedModels(length=6, width=8))
    with pytest.raises(ValueError, match="cannot be called as Name"):
        check_estimator(f"{__name__}:verdicts", LearnedModels(length=6, width=8))
    with pytest.raises(ValueError, match="name yours as"):
        check_estimator("nothing", LearnedModels(length=6, width=8))
    with pytest.raises(ValueError, match="takes no options"):
        check_estimator(f"{__name__}:Nothing(gain=0.1)", LearnedModels(length=6, width=8))
    with pytest.raises(ValueError, match=r"contributions of one episode have shape \[6, 1\], not \[6, 4\]"):
        check_estimator(f"{__name__}:OneForAll", LearnedModels(length=6, width=8))
    with pytest.raises(ValueError, match="cannot learn from a batch: Concret"):
        check_estimator(f"{__name__}:Concrete", LearnedModels(length=6, width=8))


def test_a_module_that_is_not_found_may_be_in_this_folder(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "cocoa", "--preset", "smoke", "--estimator", "no_such_credit:Mine", "--dry-run"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "no_such_credit:Mine: the module no_such_credit cannot be imported" in line
    assert line.endswith("if you set PYTHONPATH=.")


def test_an_estimator_of_a_users_trains_beside_ours_and_nothing_else():
    config = replace(PRESETS["cpu"].config, estimator=f"{__name__}:Nothing")
    listed = {trial.name: trial for trial in trials(config)}
    assert set(listed) == {"user", *(f"learned-{name}" for name in config.learned.estimators)}
    assert listed["user"].user_parts == (__name__,)
    assert listed["learned-q-critic"].user_parts == ()


def test_policies_with_learned_models_start_as_the_others_do(smoke):
    table = smoke.table("learned").filter(pl.col("step") == 0)
    assert set(table["estimator"]) == {"cocoa-reward", "cocoa-feature"}
    apart = table.group_by("seed").agg(pl.col("treasure").max() - pl.col("treasure").min())
    assert apart["treasure"].max() < 1e-6
    assert set(smoke.table("learned_bias")["estimator"]) == set(smoke.table("hindsight")["estimator"]) == {"cocoa-reward", "cocoa-feature"}
    assert (smoke.table("features")["number"] <= 12).all()


def test_no_distribution_has_less_log_loss_than_the_exact_one_and_new_networks_are_far_from_it(smoke):
    table = smoke.table("hindsight")
    assert (table["log_loss"] >= table["least_log_loss"] - 1e-5).all()
    assert (table["policy_log_loss"] >= table["least_log_loss"] - 1e-5).all()
    assert table.filter(pl.col("step") == 0)["coefficient_error"].min() > 0.01


def test_exact_models_have_no_bias(smoke):
    assert smoke.table("shadow").filter(estimator="exact-hca-plus")["bias"].max() < -60
    assert smoke.table("shadow").filter(estimator="hca-plus")["bias"].min() > -60


def test_a_critic_has_no_variance_at_the_first_step(smoke):
    table = smoke.table("shadow")
    assert table.filter(estimator="q-critic")["variance"].max() < -60
    assert table.filter(estimator="hca-plus")["variance"].min() > -20


# --- rows can hold and can fail ----------------------------------------------------------------------------------------


def test_the_figure_of_coefficients_shows_an_episode_with_the_key_and_no_outcome_that_cannot_come():
    """In the first training the treasure can come at step 0 only, in the others at every step; the apples cannot come at the last."""
    rows = [
        {"trial": "learned-cocoa-reward", "seed": seed, "step": step, "action": action, "reward": reward, "learned": seed, "exact": 0.1 if possible else 0.0}
        for seed in (3, 4, 5)
        for step in range(3)
        for reward in (0.1, 0.2)
        for action in range(4)
        for possible in [step < 2 if reward == 0.1 else step == 0 or seed > 3]
    ]
    shown = pl.DataFrame(coefficients.draw(View(PRESETS["smoke"].config, "smoke", {"coefficients": pl.DataFrame(rows)})).data)
    assert shown.filter(pl.col("reward") == 0.1)["time"].unique().sort().to_list() == [0, 1]
    assert shown.filter(pl.col("reward") == 0.2)["time"].unique().sort().to_list() == [0, 1, 2]
    assert shown.filter(model="learned")["w"].unique().to_list() == [4]


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
    ends |= {f"whole-{name}": learners for name in ("hca-plus", "hca-return")} | {f"whole-cocoa-reward-as-{name}": 40 for name in ("hca-plus", "hca-return")}
    table = pl.DataFrame(
        [{"trial": name, "seed": seed, "solved": int(seed < good), "last": 0.97 if seed < good else 0.01} for name, good in ends.items() for seed in range(40)]
    )
    names = ("C12.hca-plus", "C12.hca-return", "C12.hca-plus-at-last", "C12.hca-return-at-last", "C22.hca-return", "C22.counterfactual-return")
    assert verdicts({"solved": table}, ("C12.cocoa-reward", *names)) == {"C12.cocoa-reward": "holds"} | dict.fromkeys(names, verdict)


NOISE = np.random.default_rng(0).normal(size=(12, 10))


def means(levels, spread=0.02):
    """A table of averages over training with these levels by trial."""
    rows = [{"trial": name, "seed": seed, "mean": level + spread * NOISE[i % 12, seed]} for i, (name, level) in enumerate(levels.items()) for seed in range(10)]
    return pl.DataFrame(rows).with_columns(last=pl.col("mean"))


@pytest.mark.parametrize(("ours", "verdict"), [(0.7, "holds"), (0.25, "fails"), (0.36, "inconclusive")])
def test_cocoa_must_need_fewer_iterations(ours, verdict):
    others = {"cocoa-merged": 0.01, "immediate": 0.03, "q-critic": 0.25, "advantage": 0.25, "trajcv": 0.25, "reinforce": 0.02}
    levels = {"cocoa-reward": ours, "cocoa-feature": 0.7, **others}
    names = ("C13.cocoa-reward-q-critic", "C13.cocoa-feature-trajcv")
    found = verdicts({"learned_last": means({f"long-{name}": level for name, level in levels.items()})}, names)
    assert found == {"C13.cocoa-reward-q-critic": verdict, "C13.cocoa-feature-trajcv": "holds"}


def test_features_are_judged_by_how_many_trainings_lead():
    """Lost trainings lie at another place, and are counted."""
    others = {"cocoa-merged": 0.01, "immediate": 0.03, "q-critic": 0.25, "advantage": 0.25, "trajcv": 0.25, "reinforce": 0.02}
    table = means({f"long-{name}": level for name, level in (others | {"cocoa-reward": 0.7, "cocoa-feature": 0.7}).items()})
    for lost, verdict in ((1, "holds"), (4, "inconclusive"), (10, "fails")):
        without = (pl.col("trial") == "long-cocoa-feature") & (pl.col("seed") < lost)
        given = table.with_columns(mean=pl.when(without).then(0.02).otherwise(pl.col("mean")))
        assert verdicts({"learned_last": given}, ("C13.cocoa-feature-q-critic",)) == {"C13.cocoa-feature-q-critic": verdict}


def test_a_lead_without_the_mechanism_is_not_judged():
    """One outcome for all rewards that learns as well as COCOA-reward."""
    levels = {"cocoa-reward": 0.7, "cocoa-feature": 0.7, "cocoa-merged": 0.7, "q-critic": 0.25, "advantage": 0.25, "trajcv": 0.25, "reinforce": 0.02}
    found = verdicts({"learned_last": means({f"long-{name}": level for name, level in levels.items()})}, ("C13.cocoa-reward-q-critic",))
    assert found == {"C13.cocoa-reward-q-critic": "not judged"}


@pytest.mark.parametrize(("behind", "verdict"), [(0.3, "holds"), (-0.3, "fails")])
def test_the_lead_at_the_distances_between_is_the_smallest_of_them(behind, verdict):
    """Far ahead at two distances does not make up for the third."""
    gaps = {43: 0.5, 63: behind, 83: 0.5}
    rows = [
        {"trial": f"between-{length - 3}-{name}", "seed": seed, "step": step, "estimator": name, "length": length, "treasure": level + 0.01 * NOISE[0, seed]}
        for length, gap in gaps.items()
        for name, level in (("cocoa-reward", 0.5), ("q-critic", 0.5 - gap), ("reinforce", 0.01))
        for seed in range(5)
        for step in (0, 100)
    ]
    wanted = {"C16.between-q-critic": verdict}
    assert verdicts({"learned": pl.DataFrame(rows)}, wanted) == wanted


@pytest.mark.parametrize(("feature", "merged", "verdict"), [(0.6, 0.2, "holds"), (0.2, 0.2, "fails"), (0.6, 0.6, "not judged")])
def test_what_features_add_is_not_there_without_them(feature, merged, verdict):
    levels = {"cocoa-reward": 0.2, "q-critic": 0.2, "advantage": 0.2, "cocoa-feature": feature, "cocoa-merged": merged}
    rows = [
        {"trial": f"aliased-{name}", "seed": seed, "step": step, "estimator": name, "length": 103, "treasure": level + 0.01 * NOISE[i, seed]}
        for i, (name, level) in enumerate(levels.items())
        for seed in range(10)
        for step in (0, 100)
    ]
    names = ("C19.sooner", "C19.sooner-q-critic", "C19.sooner-advantage")
    assert verdicts({"learned": pl.DataFrame(rows)}, names) == dict.fromkeys(names, verdict)


@pytest.mark.parametrize(
    ("contrastive", "classifier", "verdict", "than_classifier"),
    [(0.6, 0.65, "holds", "holds"), (0.2, 0.65, "fails", "fails"), (0.7, 0.65, "holds", "fails")],
)
def test_contrast_is_slightly_worse_than_a_classifier(contrastive, classifier, verdict, than_classifier):
    levels = {"cocoa-contrastive": contrastive, "cocoa-reward": classifier, "immediate": 0.03, "reinforce": 0.02}
    rows = [
        {"trial": f"learned-{name}", "seed": seed, "step": step, "estimator": name, "length": 23, "treasure": level + 0.01 * NOISE[i, seed]}
        for i, (name, level) in enumerate(levels.items())
        for seed in range(10)
        for step in (0, 100)
    ]
    wanted = {"C6.learned": verdict, "C6.classifier": than_classifier}
    assert verdicts({"learned": pl.DataFrame(rows)}, wanted) == wanted


@pytest.mark.parametrize(("bias", "verdict"), [(-20.0, "holds"), (2.0, "fails")])
def test_the_bias_of_cocoa_is_averaged_in_bins_of_the_treasure(bias, verdict):
    """Most measurements lie in one bin, which counts once."""
    rows = [
        {"trial": trial, "seed": seed, "step": step, "estimator": name, "length": 23, "treasure": treasure, "known": 1, "snr": 0.0, "variance": 0.0}
        | {"bias": NOISE[0, seed] + (level - 4 if treasure > 0.9 else level + 4)}
        for trial in ("shadow", "long-shadow")
        for name, level in (("cocoa-reward", bias if trial == "shadow" else -40.0), ("cocoa-merged", 1.0))
        for seed in range(10)
        for step, treasure in enumerate([0.95, *[0.96] * 20, 0.55])
    ]
    assert verdicts({"shadow": pl.DataFrame(rows)}, ("C15.bias", "C15.far-bias")) == {"C15.bias": verdict, "C15.far-bias": "holds"}


@pytest.mark.whole
def test_gradients_at_either_distance_are_those_of_its_own_trial():
    """20 dB ahead near and behind far; features in nine of ten trainings, if they credit something."""
    levels = {"cocoa-reward": 0.0, "cocoa-feature": 0.0, "cocoa-merged": 0.0, "advantage": -20.0, "hca-plus": -40.0, "exact-hca-plus": -40.0}
    rows = [
        {"trial": trial, "seed": seed, "step": 0, "estimator": name, "length": 23, "treasure": 0.5, "known": 1, "variance": 0.0}
        | {"bias": -20.0 if name == "cocoa-feature" else 0.0}
        | {"snr": NOISE[i, seed] + (level if trial == "shadow" or name != "cocoa-reward" else -40.0) - 60 * (name == "cocoa-feature" and seed == 0)}
        for trial in ("shadow", "long-shadow")
        for i, (name, level) in enumerate(levels.items())
        for seed in range(10)
    ]
    wanted = {"C14.cocoa-reward-advantage": "holds", "C14.far-cocoa-reward-advantage": "fails"}
    wanted |= {"C14.cocoa-feature-advantage": "holds", "C14.far-cocoa-feature-advantage": "holds", "C14.advantage-hca-plus": "not judged"}
    assert verdicts({"shadow": pl.DataFrame(rows)}, wanted) == wanted
    features = ("C14.cocoa-feature-advantage", "C14.far-cocoa-feature-advantage")
    assert verdicts({"shadow": pl.DataFrame(rows).with_columns(bias=pl.lit(0.0))}, features) == dict.fromkeys(features, "fails")


def shadows(levels, column):
    """Shadow training at one probability of the treasure, at either distance, from {estimator: (near, far)}; the other statistics are 0."""
    return pl.DataFrame(
        [
            {"trial": trial, "seed": seed, "step": 0, "estimator": name, "length": 23, "treasure": 0.5, "known": 1, "snr": 0.0, "variance": 0.0, "bias": 0.0}
            | {column: level + 0.2 * NOISE[(i + 6 * far) % 12, seed]}
            for i, (name, both) in enumerate(levels.items())
            for far, (trial, level) in enumerate(zip(("shadow", "long-shadow"), both, strict=True))
            for seed in range(10)
        ]
    )


@pytest.mark.parametrize(("reward", "verdict"), [((-20.0, -20.0), "holds"), ((0.0, 0.0), "fails")])
def test_what_credits_nothing_leads_the_critic_in_bias_by_the_critics_own_and_not_enough(reward, verdict):
    """A silent COCOA-reward has 0 dB; the Q-critic 5 dB near and 13 dB far."""
    levels = {"cocoa-reward": reward, "cocoa-merged": (0.0, 0.0), "q-critic": (5.0, 13.0)}
    names = ("C15.bias-q-critic", "C15.far-bias-q-critic")
    assert verdicts({"shadow": shadows(levels, "bias")}, names) == dict.fromkeys(names, verdict)


@pytest.mark.parametrize(("lost", "little", "much"), [((0.0, 8.0), "holds", "holds"), ((8.0, 0.0), "fails", "fails")])
def test_what_is_lost_with_distance(lost, little, much):
    """COCOA loses the first, the others the second, and REINFORCE and exact COCOA-reward, the controls, always 12 and 0 dB."""
    ours, others = lost
    levels = dict.fromkeys(("cocoa-reward", "cocoa-feature"), (0.0, -ours))
    levels |= dict.fromkeys(("q-critic", "advantage", "trajcv", "hca-return"), (-30.0, -30.0 - others))
    levels |= {"reinforce": (-45.0, -57.0), "exact-cocoa-reward": (0.0, 0.0)}
    wanted = {f"C17.{name}-learned": little for name in ("cocoa-reward", "cocoa-feature")}
    wanted |= {f"C17.{name}-learned": much for name in ("q-critic", "advantage", "trajcv", "hca-return")}
    assert verdicts({"shadow": shadows(levels, "snr")}, wanted) == wanted


@pytest.mark.parametrize(("level", "falls", "finds"), [(0.7, "holds", "holds"), (0.2, "fails", "fails")])
def test_an_average_that_is_low_everywhere_does_not_fall_and_is_not_enough(level, falls, finds):
    """At distance 20 it is 0.75 in both cases; with 0.02 at both distances, it falls by nothing and finds nothing. Features must not fall and find it."""
    names = ("C16.cocoa-reward", "C16.cocoa-reward-level", "C16.cocoa-feature")
    for near, far, wanted in ((0.75, level, (falls, finds, finds)), (0.02, 0.02, ("holds", "fails", "fails"))):
        levels = {f"learned-{name}": near for name in ("cocoa-reward", "cocoa-feature")} | {"learned-advantage": 0.7, "long-advantage": 0.2}
        levels |= {"learned-cocoa-merged": 0.1}
        levels |= {f"long-{name}": far for name in ("cocoa-reward", "cocoa-feature")} | {"long-cocoa-merged": 0.1}
        rows = [
            {"trial": trial, "seed": seed, "step": step, "estimator": "any", "length": 23, "treasure": value + 0.01 * NOISE[i, seed]}
            for i, (trial, value) in enumerate(levels.items())
            for seed in range(10)
            for step in (0, 100)
        ]
        assert verdicts({"learned": pl.DataFrame(rows)}, names) == dict(zip(names, wanted, strict=True))


@pytest.mark.parametrize(("feature", "merged", "verdict"), [(-30.0, 5.0, "holds"), (5.0, 5.0, "fails"), (-30.0, -30.0, "not judged")])
def test_features_have_little_bias_where_rewards_are_aliased(feature, merged, verdict):
    levels = {"aliased-cocoa-reward": 10.0, "long-cocoa-reward": -30.0, "aliased-cocoa-feature": feature, "aliased-cocoa-merged": merged}
    rows = [
        {"trial": trial, "seed": seed, "step": step, "estimator": "any", "length": 103, "logit_bias": level + NOISE[0, seed]}
        for trial, level in levels.items()
        for seed in range(10)
        for step in (50, 100)
    ]
    assert verdicts({"learned_bias": pl.DataFrame(rows)}, ("C19.bias", "C19.reward-bias")) == {"C19.bias": verdict, "C19.reward-bias": "holds"}
    unbiased = pl.DataFrame(rows).with_columns(logit_bias=pl.when(trial="aliased-cocoa-reward").then(-30.0).otherwise("logit_bias"))
    assert verdicts({"learned_bias": unbiased}, ("C19.reward-bias",)) == {"C19.reward-bias": "fails"}


@pytest.mark.parametrize(("per_decade", "lead", "verdict"), [(20.0, 5.0, "holds"), (5.0, -5.0, "fails")])
def test_what_noise_costs_is_an_identity_and_what_is_left_a_finding(per_decade, lead, verdict):
    """The Q-critic loses 20 dB a decade from 0.03 on, the classical ones nothing; COCOA-reward has this lead over Advantage at the largest noise."""
    config, draw = PRESETS["cpu"].config.perturbed, np.random.default_rng(0)
    falls = {"cocoa-reward": per_decade, "q-critic": 20.0}
    ends = {"cocoa-reward": -30.0, "q-critic": 0.0, "advantage": -30.0 - lead, "hca-plus": -50.0, "reinforce": -60.0}
    rows = [
        {"trial": "perturbed", "seed": seed, "estimator": name, "sigma": sigma, "snr_error": 0.0}
        | {"snr": end + falls.get(name, 0.0) * np.log10(0.3 / max(sigma, 0.03)) + 0.1 * draw.normal()}
        for name, end in ends.items()
        for sigma in config.sigmas
        for seed in range(10)
    ]
    names = ("C23.sensitive", "C23.advantage")
    assert verdicts({"perturbed": pl.DataFrame(rows)}, names) == dict.fromkeys(names, verdict)
    evidence = {check.name: check.evidence for claim in claims.CLAIMS if claim.id.removeprefix("cocoa/") == "C23" for check in claim.checks}
    assert evidence == {"sensitive": "identity", "advantage": "finding", "hca-plus": "finding"}


@pytest.mark.parametrize(("critics", "verdict"), [(800, "holds"), (200, "fails")])
def test_critics_leave_the_treasure_later(critics, verdict):
    """The control of both is the Q-critic with exact models."""
    took = {"cocoa-reward": 400, "q-critic": critics, "advantage": critics, "exact-q-critic": 300}
    rows = [
        {"trial": f"switched-{name}", "seed": seed, "level": 0.9, "took": iterations + NOISE[i, seed], "left": 1}
        for i, (name, iterations) in enumerate(took.items())
        for seed in range(10)
    ]
    names = ("C20.q-critic", "C20.advantage")
    assert verdicts({"adapted": pl.DataFrame(rows)}, names) == dict.fromkeys(names, verdict)


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


# --- each side of a difference, each distance and each column is the one that the row names


@pytest.mark.parametrize("leads_near", [True, False])
def test_variance_is_the_others_less_cocoas_at_the_rows_own_distance(leads_near):
    """30 dB at one distance, -30 at the other; states as outcomes vary as the others do."""
    ahead = (30.0, -30.0) if leads_near else (-30.0, 30.0)
    others = ("advantage", "trajcv", "reinforce", "hca-return", "hca-plus", "exact-hca-plus")
    table = shadows({"cocoa-reward": (0.0, 0.0)} | dict.fromkeys(others, ahead), "variance")
    wanted = {f"C15.variance-{name}": "holds" if leads_near else "fails" for name in others[:-1]}
    wanted |= {f"C15.far-variance-{name}": "fails" if leads_near else "holds" for name in others[:-2]}
    assert verdicts({"shadow": table}, wanted) == wanted


@pytest.mark.parametrize("large_near", [True, False])
def test_the_critics_bias_is_large_at_the_rows_own_distance(large_near):
    sizes = (5.0, -5.0) if large_near else (-5.0, 5.0)
    levels = {"q-critic": sizes, "exact-q-critic": (-60.0, -60.0), "hca-plus": (-5.0, -60.0) if large_near else (-15.0, 5.0), "exact-hca-plus": (-60.0, -60.0)}
    near, far = ("holds", "fails") if large_near else ("fails", "holds")
    wanted = {"C26.q-critic": near, "C26.far-q-critic": far, "C26.hca-plus": near}
    assert verdicts({"shadow": shadows(levels, "bias")}, wanted) == wanted


@pytest.mark.parametrize(("below", "verdict"), [(6.0, "holds"), (-6.0, "fails"), (20.0, "fails")])
def test_hca_pluss_variance_is_a_little_below_reinforces(below, verdict):
    levels = {"reinforce": (40.0, 0.0), "hca-plus": (40.0 - below, 0.0), "cocoa-reward": (0.0, 0.0)}
    assert verdicts({"shadow": shadows(levels, "variance")}, ("C26.variance",)) == {"C26.variance": verdict}


@pytest.mark.parametrize(("ours", "verdict"), [(0.8, "holds"), (0.6, "fails")])
def test_rooms_are_judged_by_the_average_over_training(ours, verdict):
    """At the end it is the other way round."""
    others = ("q-critic", "advantage", "trajcv", "hca-plus", "reinforce")
    levels = {"rooms-cocoa-reward": ours, "rooms-immediate": 0.5} | {f"rooms-{name}": 0.7 for name in others}
    table = means(levels, 0.005).with_columns(last=1.0 - pl.col("mean"))
    wanted = {f"C18.{name}": verdict for name in others}
    assert verdicts({"rooms_last": table}, wanted) == wanted


@pytest.mark.parametrize(("ours", "merged", "verdict"), [(0.8, 0.4, "holds"), (0.4, 0.4, "fails"), (0.8, 0.8, "not judged")])
def test_credit_of_contexts_is_that_of_cocoas_policies(ours, merged, verdict):
    levels = {"cocoa-reward": ours, "hca-plus": 0.4, "cocoa-merged": merged}
    rows = [
        {"trial": f"rooms-{trained}", "seed": seed, "encoding": name, "diagonal": (level if trained == "cocoa-reward" else 0.4) + 0.01 * NOISE[i, seed]}
        for trained in ("cocoa-reward", "hca-plus")
        for i, (name, level) in enumerate(levels.items())
        for seed in range(10)
    ]
    assert verdicts({"rooms_diagonal": pl.DataFrame(rows)}, ("C18.context",)) == {"C18.context": verdict}


@pytest.mark.parametrize(("hca", "verdict"), [(0.3, "holds"), (0.55, "fails"), (0.05, "fails")])
def test_hca_finds_as_much_as_hca_plus(hca, verdict):
    levels = {"learned-hca": hca, "learned-hca-plus": 0.3, "learned-cocoa-reward": 0.7}
    rows = [
        {"trial": trial, "seed": seed, "step": step, "estimator": "any", "length": 23, "treasure": level + 0.01 * NOISE[i, seed]}
        for i, (trial, level) in enumerate(levels.items())
        for seed in range(10)
        for step in (0, 100)
    ]
    assert verdicts({"learned": pl.DataFrame(rows)}, ("C21.alike",)) == {"C21.alike": verdict}


@pytest.mark.parametrize(("learners", "verdict"), [(10, "holds"), (0, "fails")])
def test_advantage_and_trajcv_learn_with_exact_models_and_reinforce_does_not(learners, verdict):
    ends = {"whole-advantage": learners, "whole-trajcv": learners, "whole-reinforce": 0}
    rows = [{"trial": name, "seed": seed, "solved": 0, "last": 0.97 if seed < good else 0.01} for name, good in ends.items() for seed in range(10)]
    wanted = dict.fromkeys(("C25.advantage", "C25.trajcv"), verdict)
    assert verdicts({"solved": pl.DataFrame(rows)}, wanted) == wanted


@pytest.mark.parametrize(("rewards", "verdict"), [(500, "holds"), (300, "fails")])
def test_features_leave_the_treasure_sooner_in_most_trainings(rewards, verdict):
    """The control, rewards without their sign, leaves it sooner still."""
    took = {"cocoa-reward": rewards, "cocoa-feature": 400, "cocoa-unsigned": 200}
    rows = [
        {"trial": f"switched-{name}", "seed": seed, "level": 0.9, "took": iterations + 5 * NOISE[i, seed % 10], "left": 1}
        for i, (name, iterations) in enumerate(took.items())
        for seed in range(20)
    ]
    assert verdicts({"adapted": pl.DataFrame(rows)}, ("C20.feature",)) == {"C20.feature": verdict}
