"""The cocoa study's measures on small tables with values worked out by hand, and what its trials measure of made-up curves, networks and features."""

from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.tables import long_table
from mesocosm.analysis.tabular.calibration import Calibration
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.claims.replicates import NotJudged, Replicates
from mesocosm.learning.exact_credit import Reinforce
from mesocosm.learning.reward_features import RewardFeatures
from mesocosm.nn.blocks.linear import Linear
from mesocosm.nn.hindsight import HindsightNetwork
from mesocosm.studies.cocoa import claims, learned, measures
from mesocosm.studies.cocoa.arm_checks import SEARCHED
from mesocosm.studies.cocoa.config import PRESETS, Features, LearnedModels, LearningRates, Switched
from mesocosm.studies.cocoa.features import FeatureOutcomes, _outcomes, best_start, with_places_for_all
from mesocosm.studies.cocoa.learned import HINDSIGHT, LearnedArm, hindsight, learned_credit, learner_of, learner_of_arm
from mesocosm.studies.cocoa.switched import _track, _train
from mesocosm.studies.cocoa.tables import LEARNED, LONG
from mesocosm.studies.cocoa.track import track_of
from mesocosm.studies.interface import Context, View

CONFIG = PRESETS["cpu"].config


def measured(measure, config=CONFIG, **tables):
    """The values of a measure on these tables, by seed."""
    return measure(View(config, "cpu", tables)).values.tolist()


def curves(column, levels, steps, **columns):
    """A table with a row for each (trial, seed, step), from {trial: [one curve for each seed]}."""
    rows = [
        {"trial": trial, "seed": seed, "step": step, column: value} | columns
        for trial, seeds in levels.items()
        for seed, curve in enumerate(seeds)
        for step, value in zip(steps, curve, strict=True)
    ]
    return pl.DataFrame(rows)


# --- measures


@pytest.mark.parametrize(("near_steps", "far_steps"), [(20, 10), (10, 20)])
def test_the_fall_from_near_to_far_is_over_as_many_iterations_as_both_have(near_steps, far_steps):
    """Over steps 0 and 10, the last included: 0.3 - 0.15 and 0.6 - 0.8."""
    config = replace(CONFIG, learned=replace(CONFIG.learned, steps=near_steps), long=replace(CONFIG.long, steps=far_steps))
    levels = {"learned-hca": [[0.2, 0.4, 0.9], [0.5, 0.7, 0.0]], "long-hca": [[0.1, 0.2, 0.9], [0.7, 0.9, 0.1]]}
    table = curves("treasure", levels, (0, 10, 20), estimator="hca", length=23)
    assert measured(measures.fall_of("hca"), config, learned=table) == pytest.approx([0.15, -0.2])
    assert measured(measures.over("hca", LEARNED, lambda config: 20), config, learned=table) == pytest.approx([0.5, 0.4])
    assert measured(measures.over("hca", LONG, lambda config: 0), config, learned=table) == pytest.approx([0.1, 0.7])


def test_short_tracks_are_compared_over_their_own_iterations():
    """The brief budget, not the one that short and long tracks share."""
    config = replace(CONFIG, learned=replace(CONFIG.learned, steps=20), long=replace(CONFIG.long, steps=20), brief_steps=10)
    levels = {"learned-hca": [[0.2, 0.4, 0.9]], "learned-trajcv": [[0.1, 0.1, 1.0]]}
    table = curves("treasure", levels, (0, 10, 20), estimator="hca", length=23)
    assert measured(measures.brief_lead("hca", "trajcv"), config, learned=table) == pytest.approx([0.2])


def test_a_part_of_the_training_is_that_between_two_shares_of_its_iterations():
    levels = {"long-hca": [[0.0, 0.1, 0.2, 0.3, 0.5, 1.0], [1.0, 0.5, 0.3, 0.2, 0.1, 0.0]]}
    table = curves("treasure", levels, (0, 20, 40, 60, 80, 100), estimator="hca", length=103)
    assert measured(measures.between_steps("hca", LONG, (0.0, 0.4)), learned=table) == pytest.approx([0.1, 0.6])
    assert measured(measures.between_steps("hca", LONG, (0.6, 1.0)), learned=table) == pytest.approx([0.6, 0.1])
    assert measured(measures.between_steps("hca", LONG, (0.9, 1.0)), learned=table) == [1.0, 0.0]


@pytest.mark.parametrize(("crosses", "verdict"), [(True, "holds"), (False, "fails")])
def test_the_q_critic_leads_early_and_the_advantage_late(crosses, verdict):
    """Curves that cross after three quarters of the training, and the same in reverse; TrajCV as Advantage."""
    steps, noise = range(0, 101, 5), 0.01 * np.random.default_rng(0).normal(size=(4, 10))
    ahead = {"q-critic": [0.6 if step < 75 else 0.3 for step in steps], "advantage": [0.3 if step < 75 else 0.6 for step in steps]}
    if not crosses:
        ahead = dict(zip(ahead, reversed(ahead.values()), strict=True))
    levels = {f"long-{name}": curve for name, curve in (ahead | {"reinforce": [0.01] * len(steps), "trajcv": ahead["advantage"]}).items()}
    seeds = {trial: (np.asarray(curve) + noise[i][:, None]).tolist() for i, (trial, curve) in enumerate(levels.items())}
    tables = {"learned": curves("treasure", seeds, steps, estimator="any", length=103)}
    chosen = [claim for claim in claims.CLAIMS if claim.id.removeprefix("cocoa/") == "C24"]
    rows = judge("cocoa", chosen, View(CONFIG, "cpu", tables), Circumstances("", fingerprints=fingerprints(chosen)), strict=True)
    found = {row.id.removeprefix("cocoa/"): row.verdict for row in rows}
    names = ("C24.early", "C24.late", "C24.late-trajcv")
    assert {name: found[name] for name in names} == dict.fromkeys(names, verdict)


def test_the_bias_of_logits_is_that_of_the_second_half():
    table = curves("logit_bias", {"learned-hca": [[-1.0, -10.0, -20.0, -30.0], [-2.0, -4.0, -6.0, -8.0]], "long-hca": [[5.0] * 4] * 2}, (0, 10, 20, 30))
    assert measured(measures.logit_bias_of("hca", LEARNED), learned_bias=table) == [-25.0, -7.0]


def test_shadow_training_loses_what_is_near_and_not_far():
    """Bins count once: (0 + 6) / 2 near, and -9 far."""
    near = [{"step": step, "treasure": treasure, "snr": snr} for step, (treasure, snr) in enumerate([(0.05, 0.0), (0.95, 6.0), (0.96, 6.0)])]
    far = [{"step": step, "treasure": 0.05, "snr": snr} for step, snr in enumerate([-8.0, -10.0])]
    both = [row | {"trial": trial, "seed": 0, "estimator": "hca"} for trial, rows in (("shadow", near), ("long-shadow", far)) for row in rows]
    other = [row | {"estimator": "trajcv", "snr": 50.0} for row in both]
    assert measured(measures.shadow_fall("hca"), shadow=pl.DataFrame([*both, *other])) == pytest.approx([12.0])


def test_slower_is_more_iterations():
    took = {"switched-hca": [400, 50], "switched-trajcv": [100, 100]}
    rows = [{"trial": trial, "seed": seed, "took": value, "level": 0.9, "left": 1} for trial, seeds in took.items() for seed, value in enumerate(seeds)]
    assert measured(measures.slower("hca", "trajcv"), adapted=pl.DataFrame(rows)) == pytest.approx([np.log(4), -np.log(2)])


def test_a_training_that_had_not_found_the_treasure_is_not_scored():
    """Neither with one estimator nor with the other; a half is not more than a half; the rest keep their seeds."""
    levels = {"switched-hca": [0.9, 0.5, 0.9, 0.6, 0.1], "switched-trajcv": [0.9, 0.9, 0.4, 0.8, 0.1]}
    took = {"switched-hca": 400, "switched-trajcv": 100}
    rows = [
        {"trial": trial, "seed": seed, "took": took[trial], "level": level, "left": 1} for trial, seeds in levels.items() for seed, level in enumerate(seeds)
    ]
    found = measures.slower("hca", "trajcv")(View(CONFIG, "cpu", {"adapted": pl.DataFrame(rows)}))
    assert (found.ids, found.values.tolist()) == ((0, 3), pytest.approx([np.log(4)] * 2))
    never = pl.DataFrame(rows).with_columns(level=pl.lit(0.2))
    with pytest.raises(NotJudged, match="in no training had both estimators found the treasure before the switch"):
        measured(measures.slower("hca", "trajcv"), adapted=never)
    diverged = pl.DataFrame(rows).with_columns(level=pl.when(trial="switched-trajcv", seed=0).then(float("nan")).otherwise("level"))
    with pytest.raises(NotJudged, match="with trajcv, the probability of the treasure before the switch is not a number"):
        measured(measures.slower("hca", "trajcv"), adapted=diverged)


def test_an_equal_average_is_not_more():
    """More, equal and less."""
    learning = curves("treasure", {"whole-hca": [[0.0, 1.0], [0.5, 0.5], [0.0, 0.25]], "whole-hca-plus": [[0.0, 0.5], [0.25, 0.75], [0.25, 0.25]]}, (0, 10))
    assert measured(measures.finds_more("hca", "hca-plus"), learning=learning) == [1.0, 0.0, 0.0]
    assert measured(measures.finds_more("hca-plus", "hca"), learning=learning) == [0.0, 0.0, 1.0]


def test_averages_over_training_are_not_those_of_its_end():
    rows = [{"seed": seed, "mean": 0.1 * seed, "last": 0.9} for seed in range(3)]
    table = pl.DataFrame([row | {"trial": trial} for trial in ("long-hca", "rooms-hca") for row in rows])
    assert measured(measures.mean_of("hca", LONG), learned_last=table) == pytest.approx([0.0, 0.1, 0.2])
    assert measured(measures.rooms_mean("hca"), rooms_last=table) == pytest.approx([0.0, 0.1, 0.2])


def test_a_certain_treasure_is_in_the_last_bin():
    rows = [{"trial": "shadow", "seed": 0, "step": i, "estimator": "hca", "treasure": x, "snr": y} for i, (x, y) in enumerate([(1.0, 4.0), (0.95, 8.0)])]
    rows += [{"trial": "shadow", "seed": 0, "step": 9, "estimator": "hca", "treasure": 0.0, "snr": 0.0}]
    assert measured(measures.binned("hca", measures.Shadow.snr), shadow=pl.DataFrame(rows)) == pytest.approx([3.0])


def test_what_exceeds_a_number_is_above_it():
    values = Replicates(np.array([0.25, 0.5, 0.75]), (0, 1, 2), ("",) * 3, np.zeros(3))
    assert measures.exceeds(measures.Measure((), lambda view: values), 0.5)(None).values.tolist() == [0.0, 0.0, 1.0]
    assert measures.stays_below(measures.Measure((), lambda view: values), 0.5)(None).values.tolist() == [1.0, 0.0, 0.0]


def test_both_conditions_hold_where_each_does():
    one, other = (Replicates(np.array(values), (0, 1, 2, 3), ("",) * 4, np.zeros(4)) for values in ([0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]))
    first, second = (measures.Measure((), lambda view, values=values: values) for values in (one, other))
    assert measures.both(first, second)(None).values.tolist() == [0.0, 0.0, 0.0, 1.0]


# --- switched rewards


def made_up(fits):
    """A context of four seeds whose fits have the curves that it was given."""
    context = Mock(spec=Context)
    context.fit.side_effect = lambda name, *args, **options: fits[name]
    context.rows.side_effect = lambda axes=MappingProxyType({}), **columns: long_table({"seed": range(4), **axes}, **columns)
    return context


def test_the_treasure_is_left_when_its_probability_first_is_below_a_tenth():
    """After it comes back it stays left; never left, all iterations count; left at once, one measurement; 0.1 itself is not below."""
    sizes = Switched(track=LearnedModels(length=5, steps=20, every=10), after=35)
    learner, other = (learner_of(sizes.track, LearningRates(1e-3, 1e-3), _track(sizes), Reinforce()) for _ in range(2))
    before = np.array([[0.1, 0.6, 0.9], [0.2, 0.7, 0.8], [0.3, 0.4, 0.05], [0.4, 0.8, 0.95]])
    after = np.array([[0.9, 0.5, 0.05, 0.2], [0.8, 0.7, 0.7, 0.6], [0.05, 0.04, 0.03, 0.01], [0.95, 0.1, 0.1, 0.02]])
    fits = {
        "before": SimpleNamespace(state="trained", probe_steps=np.array([0, 10, 20]), probes={"treasure": before}),
        "after": SimpleNamespace(state="switched", probe_steps=np.array([20, 30, 40, 50]), probes={"treasure": after}),
    }
    context = made_up(fits)
    tables = _train("hca", sizes, learner, other, context)
    assert tables["adapted"]["took"].to_list() == [20, 35, 10, 30]
    assert tables["adapted"]["left"].to_list() == [1, 0, 1, 1]
    assert tables["adapted"]["level"].to_list() == [0.9, 0.8, 0.05, 0.95]
    assert tables["switched"].filter(seed=0)["step"].to_list() == [0, 10, 20, 30, 40, 50]
    assert tables["switched"].filter(seed=0)["treasure"].to_list() == [0.1, 0.6, 0.9, 0.5, 0.05, 0.2]
    first, second = context.fit.call_args_list
    assert (first.args[0], first.args[1] is learner, first.args[2]) == ("before", True, 20)
    assert (second.args[0], second.args[1] is other, second.args[2]) == ("after", True, 35)
    assert (second.kwargs["state"], second.kwargs["start"]) == ("trained", 20)


# --- learners and hindsight networks


OF_HINDSIGHT = (
    "cocoa-reward",
    "cocoa-feature",
    "cocoa-merged",
    "cocoa-contrastive",
    "cocoa-unsigned",
    "hca-plus",
    "hca",
    "hca-return",
    "counterfactual-return",
)


@pytest.mark.parametrize("name", OF_HINDSIGHT)
def test_hindsight_networks_get_their_options(name):
    sizes = LearnedModels(length=4, width=3, gain=0.5, leak=0.25, by_episode=True)
    features = FeatureOutcomes(np.zeros((8, 4), int), np.eye(2, 9), np.array(2), np.array(True))
    for given in (sizes, LearnedModels(length=4, width=5)):
        credit = learned_credit(name, given, track_of(given), features)
        assert (credit.width, credit.gain, credit.leak, credit.by_episode) == (given.width, given.gain, given.leak, given.by_episode)


@pytest.mark.parametrize("updates", [1, 3])
def test_the_learner_of_an_arm_has_its_sizes_and_rates(updates):
    """The policy's rate, then the models'."""
    sizes = LearnedModels(length=4, width=3, updates=updates, leak=0.25, by_episode=True, batch_size=2, entropy=0.5, exploration=0.125)
    sizes = replace(sizes, learning_rates=(("hca", 0.5, 0.5), ("cocoa-reward", 0.25, 0.75)))
    learner, tables = learner_of_arm(LearnedArm("cocoa-reward", sizes, Features()), Mock(spec=Context), track_of(sizes))
    assert tables == {}
    assert (learner.credit_updates, learner.batch_size, learner.entropy, learner.exploration) == (updates, 2, 0.5, 0.125)
    assert (learner.hyperparameters["learning_rate"], learner.credit_hyperparameters["learning_rate"]) == (0.25, 0.75)
    assert (learner.credit.leak, learner.credit.by_episode) == (0.25, True)


@pytest.mark.parametrize(("column", "silent"), [(5, 0.0), (7, 0.0), (1, 1.0), (9, 0.0)])
def test_a_hindsight_networks_state_is_in_its_columns(monkeypatch, column, silent):
    """One of two hidden units lives, and one of 72 outputs. It sees one input: an entry of the observation, or (column 9) that the outcome is the first."""
    sizes = LearnedModels(length=4, width=2)
    track = track_of(sizes)
    credit = learned_credit("cocoa-reward", sizes, track)
    network = HindsightNetwork(
        Linear(jnp.zeros((2, 12)).at[0, column].set(1.0), jnp.array([0.0, -1.0])),
        Linear(jnp.zeros((8, 2)).at[0, 0].set(1.0), jnp.zeros(8)),
        Linear(jnp.zeros((64, 2)), jnp.zeros(64)),
    )
    policy, observations = jnp.full((8, 4), 0.25), jnp.asarray(track.mdp.observations, jnp.float32)
    models = credit.models_of(network, observations, policy)
    calibration = Calibration(*jnp.arange(len(Calibration._fields), dtype=float))
    monkeypatch.setattr(learned, "calibration_of", lambda *args: calibration)
    found = hindsight(credit, models, network, track.process, policy)
    assert tuple(found) == HINDSIGHT
    assert (float(found["dead_hidden"]), float(found["silent"])) == (0.5, silent)
    assert float(found["dead_outputs"]) == pytest.approx(71 / 72)
    assert {name: float(found[name]) for name in Calibration._fields} == calibration._asdict()
    assert hindsight(credit, None, network, track.process, policy) == {}


def test_without_signs_a_reward_and_its_negative_are_one_outcome():
    """Of the switched track, whose treasure may have either sign; those of COCOA-reward are two."""
    track = _track(Switched(track=LearnedModels(length=5)))
    signed, unsigned = (learned_credit(name, LearnedModels(length=5, width=3), track) for name in ("cocoa-reward", "cocoa-unsigned"))
    rewards = jnp.array([0.0, *track.rewards])
    assert min(track.rewards) < 0
    assert len({*signed.outcomes(rewards).tolist()}) == len(track.rewards) + 1
    assert unsigned.outcomes(rewards).tolist() == unsigned.outcomes(-rewards).tolist()
    assert {*unsigned.outcomes(rewards).tolist()} == {-1, *range(unsigned.number)}
    assert unsigned.number == signed.number - 1


# --- features


def test_each_replicate_keeps_the_start_with_the_smallest_error():
    starts = [
        jax.vmap(lambda seed, start=start: RewardFeatures(jnp.full((2, 4), start), jnp.full(4, 10 * start + seed)))(jnp.arange(3.0)) for start in (0.0, 1.0)
    ]
    kept = best_start(starts, np.array([[0.2, 0.1, 0.3], [0.1, 0.4, 0.2]]))
    assert kept.mask[:, 0, 0].tolist() == [1, 0, 1]
    assert kept.readout[:, 0].tolist() == [10, 1, 12]


@pytest.mark.slow
def test_as_many_places_as_vectors_number_them_all():
    """In the order of their codes, with the first feature the lowest bit: apples to the left (cell 2), to the right (cell 3), the treasure (cell 6)."""
    mdp = track_of(LearnedModels(length=9)).mdp
    model = RewardFeatures(jnp.zeros((4, 9)).at[1, 2].set(1.0).at[2, 3].set(1.0).at[:, 6].set(1.0), jnp.zeros(9))
    rewarded, observed = np.asarray(mdp.mean_reward) != 0, np.asarray(mdp.observations)
    wanted = np.where(rewarded, np.select([observed[:, 2] > 0, observed[:, 3] > 0], [0, 1], 2)[:, None], -1)
    assert set(wanted[rewarded].tolist()) == {0, 1, 2}
    found = jax.device_get(_outcomes(3, model, mdp))
    np.testing.assert_array_equal(found.table, wanted)
    np.testing.assert_array_equal(found.vectors, np.eye(9)[[2, 3, 6]])
    assert (int(found.number), bool(found.separate)) == (3, True)


@pytest.mark.whole
def test_there_are_as_many_places_as_the_training_with_the_most_vectors_needs():
    """A further place repeats the first vector, so that a network sees nothing that does not occur; too few places are refused."""
    mdp = track_of(LearnedModels(length=9)).mdp
    cells = jnp.zeros((4, 9)).at[1, 2].set(1.0).at[2, 3].set(1.0).at[:, 6].set(1.0)
    keeps_the_key = cells.at[:, 8].set(1.0)
    models = [RewardFeatures(mask, jnp.zeros(9)) for mask in (cells, keeps_the_key)]
    found = FeatureOutcomes(*(np.stack(part) for part in zip(*(jax.device_get(_outcomes(8, model, mdp)) for model in models), strict=True)))
    fewer, more = found.number.tolist()
    assert fewer == 3 < more < 8
    places = with_places_for_all(found)
    assert places.vectors.shape[1] == more
    np.testing.assert_array_equal(places.vectors[0, 3:], np.broadcast_to(places.vectors[0, 0], (more - 3, 9)))
    assert len({tuple(vector) for vector in places.vectors[1].tolist()}) == more
    short = FeatureOutcomes(*(np.stack(part) for part in zip(*(jax.device_get(_outcomes(more - 1, model, mdp)) for model in models), strict=True)))
    with pytest.raises(ValueError, match=f"have {more} different feature vectors, and there are places for {more - 1}"):
        with_places_for_all(short)


# --- pilots


def test_rows_about_features_count_the_pilots_of_features():
    """Besides those of the training; the others do not."""
    searched = {f"{claim.id.removeprefix('cocoa/')}.{check.name}": check.searched for claim in claims.CLAIMS for check in claim.checks}
    training = {"C13": "long", "C14": "shadow", "C15": "shadow", "C16": "long", "C17": "shadow", "C19": "aliased", "C20": "switched"}
    others = {"C15.feature-bias", "C15.far-feature-bias", "C19.bias", "C20.feature"}
    rows = {name for name in searched if "cocoa-feature" in name or "C19.sooner" in name or name in others}
    assert len(rows) == 24
    assert {name: searched[name] for name in rows} == {name: SEARCHED[training[name.partition(".")[0]]] + SEARCHED["features"] for name in rows}
    assert max(count for name, count in searched.items() if name not in rows) < SEARCHED["features"]
