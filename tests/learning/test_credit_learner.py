"""The learner of a user's policy: every number is where it belongs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from mesocosm.envs import KeyToDoor
from mesocosm.learning.credit_learner import credit_learner
from mesocosm.learning.exact_credit import Reinforce
from mesocosm.learning.learned_credit import LearnedAdvantage

ENV = KeyToDoor(5)


def policy(key):
    return eqx.nn.Linear(9, 4, key=key)


@pytest.mark.slow
def test_numbers_are_where_they_belong():
    numbers = {"learning_rate": 0.1, "credit_learning_rate": 0.2, "entropy": 0.3, "exploration": 0.4, "batch_size": 5}
    learner = credit_learner(policy, Reinforce(), ENV, **numbers)
    found = (learner.hyperparameters["learning_rate"], learner.credit_hyperparameters["learning_rate"])
    assert (*found, learner.entropy, learner.exploration, learner.batch_size) == tuple(numbers.values())
    assert learner.credit_updates == 1
    batch = learner.sample(learner.init(jax.random.key(0)).policy.model, jax.random.key(1))
    assert batch.observations.shape == (5, 5, 9)


@pytest.mark.parametrize("given", [True, False])
def test_params_are_the_environments_unless_given(given):
    other = ENV.params(layout=7)
    learner = credit_learner(policy, Reinforce(), ENV, params=other if given else None)
    wanted = other if given else ENV.default_params
    assert (jnp.asarray(learner.params.cells) == jnp.asarray(wanted.cells)).all()
    assert (jnp.asarray(other.cells) != jnp.asarray(ENV.default_params.cells)).any()
    assert credit_learner(policy, Reinforce()).params is None


def test_a_policy_of_one_observation_is_applied_to_each_row():
    learner = credit_learner(policy, Reinforce(), ENV)
    module, rows = learner.init(jax.random.key(0)).policy.model, jax.random.normal(jax.random.key(1), (3, 9))
    assert jnp.allclose(module(rows), jnp.stack([module.module(row) for row in rows]), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"policy": eqx.nn.Linear(9, 4, key=jax.random.key(0))}, "a function of a random key that builds a module, not a Linear"),
        ({"credit": Reinforce}, "a credit is an object such as"),
        ({"credit": LearnedAdvantage(9, 3)}, "LearnedAdvantage was made for 3 actions; .* has 4"),
        ({"env": object()}, "object is not an Environment: wrap"),
        ({"batch_size": 0}, "one or more episodes, not 0"),
        ({"exploration": 2.0}, "from 0 to 1, not 2.0"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_compiled(given, told):
    with pytest.raises(ValueError, match=told):
        credit_learner(**{"policy": policy, "credit": Reinforce(), "env": ENV, **given})
