"""Iterated games: known pairs of policies, the infinite sum term by term, players exchanged, play step by step, and strategies that enforce a line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.memory_one import (
    ALWAYS_COOPERATE,
    ALWAYS_DEFECT,
    SWAPPED,
    TIT_FOR_TAT,
    chain,
    episode_values,
    largest_scale,
    nearest_extortion,
    values,
    visits,
    zero_determinant,
)
from mesocosm.envs.matrix_game import CHICKEN, MATCHING_PENNIES, PRISONERS_DILEMMA, STAG_HUNT, MatrixGame

GAMES = pytest.mark.parametrize("game", [PRISONERS_DILEMMA, STAG_HUNT, CHICKEN, MATCHING_PENNIES])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64():
        yield


def policies(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).random((*shape, 5)))


@pytest.mark.parametrize(
    ("own", "other", "wanted"),
    [
        (TIT_FOR_TAT, TIT_FOR_TAT, (1, 1)),
        (ALWAYS_DEFECT, ALWAYS_COOPERATE, (2, -1)),
        (ALWAYS_COOPERATE, ALWAYS_DEFECT, (-1, 2)),
        (ALWAYS_DEFECT, ALWAYS_DEFECT, (0, 0)),
        (np.full(5, 0.5), np.full(5, 0.5), (0.5, 0.5)),
        (TIT_FOR_TAT, ALWAYS_DEFECT, (-0.05, 0.1)),
    ],
)
def test_known_pairs_of_the_prisoners_dilemma(own, other, wanted):
    np.testing.assert_allclose(values(PRISONERS_DILEMMA, jnp.asarray(own), jnp.asarray(other), 0.95), wanted, atol=1e-12)


@GAMES
def test_values_are_the_discounted_sum_term_by_term(game):
    for own, other in zip(policies(0, 5), policies(1, 5), strict=True):
        now, transitions = chain(own, other)
        total, payoffs = np.zeros(2), np.asarray(game.payoffs).reshape(2, 4)
        for t in range(400):
            total += 0.9**t * payoffs @ now
            now = now @ transitions
        np.testing.assert_allclose(values(game, own, other, 0.9, normalised=False), total, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(values(game, own, other, 0.9), 0.1 * total, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(visits(own, other, 0.9).sum(), 1, rtol=1e-12)


@GAMES
def test_exchanging_the_players_exchanges_the_values(game):
    own, other = policies(2, 2)
    exchanged = MatrixGame(np.asarray(game.payoffs)[::-1].swapaxes(1, 2))
    np.testing.assert_allclose(values(exchanged, other, own, 0.97), values(game, own, other, 0.97)[::-1], rtol=1e-12)


def test_values_are_what_two_players_earn_who_remember_their_own_last_actions():
    """Play action by action, each player looking up its own action first; the length of a game is geometric, so that no reward needs a discount."""
    own, other = np.asarray(policies(3, 2))
    generator, discount, games = np.random.default_rng(0), 0.8, 40000
    memory = np.zeros((games, 2), int)
    total, running = np.zeros((games, 2)), np.ones(games, bool)
    payoffs = np.asarray(PRISONERS_DILEMMA.payoffs)
    while running.any():
        actions = (generator.random((games, 2)) >= np.stack([own[memory[:, 0]], other[memory[:, 1]]], axis=1)).astype(int)
        total += running[:, None] * payoffs[:, actions[:, 0], actions[:, 1]].T
        memory = 1 + 2 * actions + actions[:, ::-1]
        running &= generator.random(games) < discount
    error = total.std(axis=0) / games**0.5
    exact = values(PRISONERS_DILEMMA, jnp.asarray(own), jnp.asarray(other), discount, normalised=False)
    assert (np.abs(total.mean(axis=0) - exact) < 3 * error).all()


def test_a_gradient_is_that_of_finite_differences_and_needs_no_inverse():
    own, other = policies(4, 2)

    reward = jax.jit(lambda own: values(PRISONERS_DILEMMA, own, other, 0.95)[0])
    steps = 1e-6 * np.eye(5)
    found = [(reward(own + step) - reward(own - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(jax.grad(reward)(own), found, rtol=1e-7)


def test_a_long_episode_earns_the_undiscounted_value_and_a_short_one_what_its_steps_do():
    own, other = policies(5, 2)
    now, transitions = chain(own, other)
    payoffs = np.asarray(STAG_HUNT.payoffs).reshape(2, 4)
    np.testing.assert_allclose(episode_values(STAG_HUNT, own, other, 3), payoffs @ (now + now @ transitions + now @ transitions @ transitions), rtol=1e-12)
    np.testing.assert_allclose(episode_values(STAG_HUNT, own, other, 4000) / 4000, values(STAG_HUNT, own, other, 1 - 1e-7), rtol=1e-3)
    changing = policies(6, 3)
    first, second = (chain(changing[t], other) for t in (0, 1))
    wanted = payoffs @ (first.start + first.start @ second.transitions + first.start @ second.transitions @ chain(changing[2], other).transitions)
    np.testing.assert_allclose(episode_values(STAG_HUNT, changing, other, 3), wanted, rtol=1e-12)


# --- zero-determinant strategies -----------------------------------------------------------------------------------------


def test_the_fair_strategy_of_the_largest_scale_is_tit_for_tat():
    assert float(largest_scale(PRISONERS_DILEMMA, 1.0)) == pytest.approx(1 / 3)
    np.testing.assert_allclose(zero_determinant(PRISONERS_DILEMMA, 1.0, 1 / 3).policy, TIT_FOR_TAT[1:], atol=1e-12)


@pytest.mark.parametrize(("game", "baseline", "slopes"), [(PRISONERS_DILEMMA, None, (1.5, 3.0, 8.0)), (PRISONERS_DILEMMA, 1.0, (2.0, 5.0))])
def test_a_zero_determinant_strategy_enforces_its_line_on_any_opponent(game, baseline, slopes):
    for slope in slopes:
        scale = 0.7 * largest_scale(game, slope, baseline)
        policy = zero_determinant(game, slope, scale, baseline).policy
        assert policy.min() >= 0
        assert policy.max() <= 1
        kappa = game.payoffs[0][1][1] if baseline is None else baseline
        for start, other in zip((0.0, 0.3, 1.0), policies(7, 3), strict=True):
            own, theirs = values(game, jnp.concatenate([jnp.array([start]), policy]), other, 1 - 1e-5)
            assert float(own - kappa - slope * (theirs - kappa)) == pytest.approx(0, abs=1e-3)
            assert abs(float(own - kappa - 1.2 * slope * (theirs - kappa))) > 1e-2


def test_scales_beyond_the_largest_leave_the_interval_and_wrong_signs_have_none():
    for slope in (1.0, 2.0, 10.0):
        scale = float(largest_scale(PRISONERS_DILEMMA, slope))
        assert scale == pytest.approx(1 / (1 + 2 * slope))
        beyond = zero_determinant(PRISONERS_DILEMMA, slope, 1.01 * scale).policy
        assert beyond.min() < 0 or beyond.max() > 1
    assert float(largest_scale(PRISONERS_DILEMMA, -5.0)) == 0


@pytest.mark.whole
def test_the_nearest_extortion_strategy_finds_one_and_no_other_is_nearer():
    true = zero_determinant(PRISONERS_DILEMMA, 4.0, 0.06)
    found = nearest_extortion(PRISONERS_DILEMMA, true.policy)
    np.testing.assert_allclose(found.policy, true.policy, atol=2e-3)
    assert float(found.slope) == pytest.approx(4, rel=0.01)
    policy = policies(8)[1:]
    nearest = jnp.sum((nearest_extortion(PRISONERS_DILEMMA, policy).policy - policy) ** 2)
    slopes, shares = jnp.meshgrid(jnp.linspace(1, 20, 60), jnp.linspace(0, 1, 60))
    tried = jax.vmap(lambda slope, share: zero_determinant(PRISONERS_DILEMMA, slope, share * largest_scale(PRISONERS_DILEMMA, slope)).policy)
    assert jnp.sum((tried(slopes.ravel(), shares.ravel()) - policy) ** 2, axis=1).min() >= nearest - 1e-3


# --- all-defect in a mixed pool -------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_against_learners_defection_is_improved_by_forgiving_and_against_a_defector_by_nothing():
    """Projected on [0, 1]: at all-defect, only the entry after DC has a gradient that points inside, and only if some opponents learn."""
    learners, discount = jnp.asarray(np.random.default_rng(9).normal(size=(64, 5))), 0.95

    def shaping(own, logits):
        def reward(logits):
            return values(PRISONERS_DILEMMA, own, jax.nn.sigmoid(logits), discount)

        def learn(logits, _):
            return logits + 5 * jax.grad(lambda q: reward(q)[1])(logits), reward(logits)[0]

        return jnp.mean(jax.lax.scan(learn, logits, None, 20)[1])

    def peer(own):
        return values(PRISONERS_DILEMMA, own, jnp.zeros(5), discount)[0]

    shaped = jax.jit(jax.grad(lambda own: jnp.mean(jax.vmap(shaping, (None, 0))(own, learners))))(jnp.zeros(5))
    met = jax.grad(peer)(jnp.zeros(5))
    for share in (0.1, 0.5, 1.0):
        inside = jnp.maximum(share * shaped + (1 - share) * met, 0)
        assert float(inside[3]) > 1e-3
        np.testing.assert_allclose(jnp.delete(inside, 3), 0, atol=1e-8)
    np.testing.assert_allclose(jnp.maximum(met, 0), 0, atol=1e-8)


def test_the_view_from_the_other_side_is_its_own_inverse():
    np.testing.assert_array_equal(SWAPPED[SWAPPED], np.arange(5))
