"""The outcomes of every event as a credit sees them, and its coefficients beside the exact ones."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.envs import KeyToDoor
from mesocosm.learning.credit_calibration import calibration_of, event_classes, value_errors
from mesocosm.learning.learned_credit import LearnedCocoa
from mesocosm.learning.outcome_credit import LearnedCocoaOfOutcomes, LearnedCocoaOfStates, LearnedCocoaOfVectors
from mesocosm.learning.outcomes import reward_outcomes

MDP = KeyToDoor(5).tabular()
VALUES = np.asarray(MDP.reward_values)
REWARDS = tuple(float(value) for value in VALUES if value)
TABLE = np.arange(MDP.states * 4).reshape(-1, 4) % 2


def at_the_treasure(observation, action, reward):
    return (observation[6] > 0).astype(jnp.int32)


@pytest.mark.parametrize(
    ("credit", "wanted"),
    [
        (LearnedCocoa(9, 4, REWARDS), lambda s, a, r: r - 1),
        (LearnedCocoaOfVectors(9, 4, TABLE, np.eye(2, 9)), lambda s, a, r: TABLE[s, a] if r else -1),
        (LearnedCocoaOfStates(9, 4, MDP.states, rewarded_only=False), lambda s, a, r: s),
        (LearnedCocoaOfOutcomes(9, 4, at_the_treasure, 2), lambda s, a, r: int(MDP.observations[s, 6] > 0) if r else -1),
    ],
)
def test_every_event_has_its_outcome(credit, wanted):
    assert VALUES[0] == 0
    found = np.asarray(event_classes(credit, MDP))
    assert found.tolist() == [[[wanted(s, a, r) for r in range(len(VALUES))] for a in range(4)] for s in range(MDP.states)]


@pytest.mark.whole
def test_a_credit_with_exact_coefficients_has_no_error():
    policy = jax.nn.softmax(jax.random.normal(jax.random.key(0), (MDP.states, 4)))
    w = dp.exact_coefficients(MDP, policy, *reward_outcomes(MDP))[..., 1:]
    found = calibration_of(LearnedCocoa(9, 4, REWARDS), w, MDP, policy)
    assert max(float(found.calibration_error), float(found.coefficient_error), float(found.log_loss - found.least_log_loss)) < 1e-5
    assert float(found.coefficient_size) > 0.1


def test_coefficients_of_another_number_of_outcomes_are_refused():
    policy, credit = jnp.full((MDP.states, 4), 0.25), LearnedCocoa(9, 4, REWARDS)
    with pytest.raises(ValueError, match=f"coefficients of 5 outcomes, and the credit has {len(REWARDS)}"):
        calibration_of(credit, jnp.zeros((MDP.states, 4, 5)), MDP, policy)


@pytest.mark.whole
def test_errors_of_values_are_means_over_the_steps_of_an_episode(monkeypatch):
    """By a loop over states and actions; exact values have none, and a value that is off by a constant is off by that."""
    policy = jax.nn.softmax(jax.random.normal(jax.random.key(0), (MDP.states, 4)))
    exact = dp.action_values(MDP, policy)
    for values in (exact, dp.state_values(policy, exact)):
        assert float(value_errors(values, MDP, policy).value_error) < 1e-6
        assert float(value_errors(values + 0.5, MDP, policy).value_error) == pytest.approx(0.5, rel=1e-5)
    wrong = exact + jax.random.normal(jax.random.key(1), exact.shape)
    visits, squares = np.asarray(dp.occupancy(MDP, policy)), np.zeros(2)
    for s in range(MDP.states):
        for a in range(4):
            squares += visits[s] / visits.sum() * float(policy[s, a]) * np.array([float(wrong[s, a] - exact[s, a]) ** 2, float(exact[s, a]) ** 2])
    np.testing.assert_allclose(value_errors(wrong, MDP, policy), np.sqrt(squares), rtol=1e-4)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would complain first
    with pytest.raises(ValueError, match=r"the shape of the values is \[3\], neither \[10\] \(V\) nor \[10, 4\] \(Q\)"):
        value_errors(jnp.zeros(3), MDP, policy)
