"""The outcomes of every event as a credit sees them, and its coefficients beside the exact ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.envs import KeyToDoor
from mesocosm.learning.credit_calibration import calibration_of, event_classes
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
