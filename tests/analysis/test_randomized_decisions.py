"""Votes against enumeration and known probabilities, statistics on cases worked by hand."""

from collections import Counter

import numpy as np
import pytest

from mesocosm.analysis.randomized_decisions import (
    majority,
    mean_vote,
    part_majority,
    sampled,
    seed_variance,
    success,
    tail_loss,
    verified,
    voters_needed,
    voting_groups,
)


def test_sampled_answers_follow_the_distribution_and_are_those_of_their_seed():
    probabilities = np.array([[[0.7, 0.2, 0.1]], [[0.0, 0.5, 0.5]]])
    drawn = sampled(probabilities, 20000, 0)
    assert drawn.shape == (20000, 2, 1)
    for value in range(3):
        np.testing.assert_allclose((drawn == value).mean(axis=0)[:, 0], probabilities[:, 0, value], atol=0.02)
    np.testing.assert_array_equal(drawn, sampled(probabilities, 20000, 0))
    assert (drawn != sampled(probabilities, 20000, 1)).any()


def test_success_by_hand():
    found = success(np.array([[1, 0, 1, 0], [1, 0, 0, 0]], bool))
    np.testing.assert_array_equal(found.rate, [1, 0, 0.5, 0])
    assert (found.average, found.minimum, found.never, found.always, found.spread) == (0.375, 0, 0.5, 0.25, 0.25)
    rates = np.repeat(np.arange(101)[None] / 100, 1, axis=0)
    assert tail_loss(rates) == pytest.approx(0.95)
    many = np.arange(100)[:, None] < np.arange(101)[None]
    assert success(many).tail == pytest.approx(0.05)


def test_the_tail_lies_between_order_statistics_and_never_and_always_mean_all_seeds():
    assert success(np.arange(4)[:, None] <= np.arange(4)).tail == pytest.approx(0.25 + 0.15 * 0.25)
    found = success(np.arange(5)[:, None] < np.array([0, 1, 4, 5]))
    np.testing.assert_allclose(found.rate, [0, 0.2, 0.8, 1])
    assert (found.never, found.always, found.spread) == (0.25, 0.25, 0.5)


def test_the_tail_loss_is_of_means_over_seeds_and_the_variance_a_mean_over_outputs():
    losses = np.array([[0.0, 2.0], [2.0, 4.0]])
    assert tail_loss(losses) == pytest.approx(1 + 0.95 * 2)
    probabilities = np.array([[[0.0, 0.5, 0.2]], [[1.0, 0.5, 0.4]]])
    np.testing.assert_allclose(seed_variance(probabilities), [(0.25 + 0 + 0.01) / 3])


def test_a_deterministic_model_has_no_variance_over_seeds():
    probabilities = np.random.default_rng(0).uniform(size=(1, 3, 4))
    np.testing.assert_array_equal(seed_variance(np.repeat(probabilities, 6, axis=0)), 0)
    np.testing.assert_allclose(seed_variance(np.array([[[0.0, 0.5]], [[1.0, 0.5]]])), [0.125])


def test_the_majority_is_the_most_frequent_whole_answer():
    decisions = np.random.default_rng(0).integers(0, 2, (7, 4, 5, 2))
    voted = majority(decisions)
    for x in np.ndindex(4, 5):
        counts = Counter(map(tuple, decisions[(slice(None), *x)].tolist()))
        best = max(counts.values())
        assert tuple(voted[x].tolist()) == min(word for word, count in counts.items() if count == best)
    np.testing.assert_array_equal(majority(decisions[::-1]), voted)
    np.testing.assert_array_equal(majority(decisions[:1]), decisions[0])


def test_parts_may_win_that_no_voter_combined():
    decisions = np.array([[[1, 1, 0]], [[1, 0, 1]], [[0, 1, 1]]])
    np.testing.assert_array_equal(part_majority(decisions), [[1, 1, 1]])
    np.testing.assert_array_equal(majority(decisions), [[0, 1, 1]])
    np.testing.assert_array_equal(part_majority(np.array([[[2]], [[0]]])), [[0]])


def test_a_confident_voter_outweighs_two_that_hesitate():
    yes = np.array([0.45, 0.45, 0.99])
    probabilities = np.stack([1 - yes, yes], axis=-1)[:, None, None]
    np.testing.assert_array_equal(mean_vote(probabilities), [[1]])
    np.testing.assert_array_equal(part_majority(np.argmax(probabilities, axis=-1)), [[0]])


@pytest.mark.parametrize(("p", "voters", "whole", "by_bit", "any_"), [(0.2, 5, 0.376, 0.239, 0.675), (0.39, 30, 1.0, 0.942, 1.0), (0.3, 30, 0.994, 0.807, 1.0)])
def test_votes_of_independent_seeds_succeed_as_often_as_simulated_elsewhere(p, voters, whole, by_bit, any_):
    """A seed is right with probability p, else guesses one of 32 words; reference values have a standard error below 0.004."""
    generator = np.random.default_rng(1)
    trials = 4000
    stored = generator.random((voters, trials)) < p
    guesses = generator.integers(0, 2, (voters, trials, 5))
    right = generator.integers(0, 2, (trials, 5))
    decisions = np.where(stored[..., None], right, guesses)
    for voted, expected in ((majority(decisions), whole), (part_majority(decisions), by_bit)):
        assert np.all(voted == right, axis=-1).mean() == pytest.approx(expected, abs=3 * np.sqrt(0.25 / trials + 0.004**2))
    assert verified(stored).mean() == pytest.approx(any_, abs=0.03)


def test_groups_of_voters():
    seeds = np.arange(11)
    groups = voting_groups(seeds[:, None], 4)
    np.testing.assert_array_equal(groups[..., 0], [[0, 4], [1, 5], [2, 6], [3, 7]])
    for wrong in (12, 0, -1):
        with pytest.raises(ValueError, match=f"{wrong} voters"):
            voting_groups(seeds, wrong)


def test_decisions_of_any_sign_are_counted_and_what_is_no_sample_is_refused():
    np.testing.assert_array_equal(part_majority(np.array([[[-1]], [[-1]], [[0]]])), [[-1]])
    for nothing in ((0, 3), (3, 0)):
        for function in (success, tail_loss, seed_variance):
            with pytest.raises(ValueError, match="needs seeds and inputs"):
                function(np.zeros(nothing, bool if function is success else float))
        for function in (majority, part_majority):
            with pytest.raises(ValueError, match="a vote needs voters"):
                function(np.zeros((*nothing, 2), int))
    with pytest.raises(ValueError, match=r"\(seeds, inputs\), not one of shape \(3,\)"):
        success(np.ones(3, bool))
    for function in (success, verified):
        for wrong in (np.nan, 0.5, 2.0, -1.0):
            with pytest.raises(ValueError, match="success is 0 or 1"):
                function(np.array([[wrong, 1.0]]))
        np.testing.assert_array_equal(function(np.array([[0, 1]]))[0], function(np.array([[False, True]]))[0])
    for wrong in ([1.5, -0.5], [np.nan, 1.0], [-2.0, 3.0]):
        with pytest.raises(ValueError, match="not negative"):
            sampled(np.array([[wrong]]), 3, 0)
    assert sampled(np.full((1, 1, 1000), 1e-3, np.float32), 3, 0).shape == (3, 1, 1)
    with pytest.raises(ValueError, match="is NaN"):
        mean_vote(np.array([[[[np.nan, 0.5]]], [[[0.2, 0.8]]]]))


@pytest.mark.whole
def test_enough_voters_are_right():
    assert [voters_needed(0.1, wrong, 0.05) for wrong in (1, 2, 31)] == [600, 738, 1286]
    for margin in (1e-9, 1e-200):
        with pytest.raises(ValueError, match="needs more than"):
            voters_needed(margin, 1, 0.05)
    answers = np.random.default_rng(0).choice(3, p=(0.4, 0.3, 0.3), size=(738, 2000, 1))
    assert np.mean(majority(answers)[:, 0] != 0) < 0.05
    for arguments in ((0.0, 2, 0.05), (0.1, 2, 1.0), (0.1, 0, 0.5)):
        with pytest.raises(ValueError, match="a vote needs"):
            voters_needed(*arguments)
