"""The mean contribution of an estimator at the first step, by dynamic programming: its bias without sampling."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.analysis.tabular.expected_contributions import expected_cocoa, expected_hca
from mesocosm.analysis.tabular.layered_programming import layered_action_values
from mesocosm.learning.credit_calibration import event_classes
from mesocosm.learning.exact_credit import Credit, ExactCocoa, Reinforce
from mesocosm.learning.learned_credit import CocoaOfClasses, LearnedAdvantage, LearnedQCritic, LearnedTrajCV
from mesocosm.learning.outcome_credit import LearnedHCAOfStates
from mesocosm.studies.cocoa.track import Process

Policy = Float[Array, "states actions"]


def expected_contributions(credit: Credit, models: Any, process: Process, policy: Policy) -> Float[Array, " actions"] | None:
    """$E[C_0(a)]$ given the models; None if it is not known, as for an estimator whose `contributions` are its own. The first step has no reward."""
    contributions = type(credit).contributions
    if contributions is CocoaOfClasses.contributions and isinstance(credit, CocoaOfClasses):
        return expected_cocoa(process.mdp, policy, event_classes(credit, process.mdp), models.w)[0]
    if contributions is LearnedHCAOfStates.contributions and isinstance(credit, LearnedHCAOfStates):
        coefficients, reward = models
        return expected_hca(process.mdp, policy, event_classes(credit, process.mdp), coefficients.w, reward)[0]
    if contributions is ExactCocoa.contributions and isinstance(credit, ExactCocoa):
        return expected_cocoa(process.mdp, policy, credit.classes, models)[0]
    if contributions in (Reinforce.contributions, LearnedAdvantage.contributions, LearnedTrajCV.contributions):
        return layered_action_values(process.layered, policy)[0]  # less a value that is the same for all actions
    return models[0] if contributions is LearnedQCritic.contributions else None


def relative_bias(policy: Float[Array, " actions"], expected: Float[Array, " actions"], true: Float[Array, " actions"]) -> Float[Array, ""]:
    """Squared distance of the expected gradient of the first state's logits from the true one, over the latter's square."""

    def gradient(contribution: Array) -> Array:
        return policy * (contribution - contribution @ policy)

    return jnp.sum((gradient(expected) - gradient(true)) ** 2) / jnp.sum(gradient(true) ** 2)
