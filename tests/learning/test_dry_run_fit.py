"""A dry-run fit has the very structure, shapes and dtypes of one that is run, without its memory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.learning.dry_run import dry_run_fit, placeholder
from mesocosm.learning.fit import fit
from mesocosm.learning.learner import Learner
from mesocosm.learning.program import for_each_seed


class Walk(Learner):
    """A random walk whose state has every kind of leaf."""

    rate: float
    table: jax.Array
    dim: int = eqx.field(static=True, default=3)

    def init(self, key):
        return {
            "x": jax.random.normal(key, (self.dim,)),
            "half": jnp.zeros(2, jnp.bfloat16),
            "t": jnp.array(0),
            "key": key,
            "word": "static",
            "on": jnp.array(True),
        }

    def update(self, state, key):
        x = state["x"] + self.rate * jnp.sum(self.table) * jax.random.normal(key, state["x"].shape)
        return {**state, "x": x, "t": state["t"] + 1}, {"size": jnp.sum(x**2), "count": state["t"]}

    def model(self, state):
        return {"x": 2 * state["x"], "rate": self.rate, "kind": "walk"}


def probe(learner, state, key):
    return {"norm": jnp.sum(state["x"] ** 2), "x": state["x"]}


def far(learner, state, key):
    return jnp.sum(state["x"] ** 2) > 1e6


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else leaf, tree)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [{}, {"probe": (probe, 4)}, {"until": (far, 2), "nonfinite": "freeze"}, {"per_seed": True, "probe": (probe, 3)}, {"over_seeds": "map"}, {"warm": True}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_the_outcome_has_the_form_of_a_real_one(precision, options):
    with jax.enable_x64(precision == "float64"):
        options = dict(options)
        learner = Walk(0.1, jnp.ones((2, 5) if options.get("per_seed") else 5))
        if options.pop("warm", False):
            options |= {"state": fit(learner, 5, [0, 1]).state, "start": 5}
        real = fit(learner, 1003, [0, 1], **options)
        dry, lowered = dry_run_fit(learner, 1003, [0, 1], **options)
    for part in ("state", "model", "steps", "reached", "diverged", "history", "probes"):
        assert shapes(getattr(dry, part)) == shapes(getattr(real, part)), part
    for part in ("history_steps", "probe_steps"):
        np.testing.assert_array_equal(getattr(dry, part), getattr(real, part))
    assert "while" in lowered.as_text()


@pytest.mark.parametrize("until", [False, True])
def test_every_seed_of_a_dry_run_runs_all_steps_and_does_not_diverge(until):
    dry, _ = dry_run_fit(Walk(0.1, jnp.ones(5)), 7, [0, 1], **({"until": (far, 2)} if until else {}))
    assert (dry.steps.tolist(), dry.reached.tolist(), dry.diverged.tolist()) == ([7, 7], [until, until], [False, False])
    assert all(np.all(values == 1) for values in dry.history.values())
    assert placeholder(jax.ShapeDtypeStruct((2,), bool)).tolist() == [False, False]


def test_what_a_real_fit_refuses_is_refused():
    learner = Walk(0.1, jnp.ones(5))
    for run in (fit, dry_run_fit):
        with pytest.raises(ValueError, match="at least one step"):
            run(learner, 0, [0])
        with pytest.raises(ValueError, match="needs both state and start"):
            run(learner, 1, [0], state={})
        with pytest.raises(ValueError, match="leading axis of 2 seeds"):
            run(learner, 1, [0, 1], per_seed=True)


def test_a_model_from_a_dry_run_can_start_the_next():
    learner = Walk(0.1, jnp.ones(5), dim=10**9)
    first, _ = dry_run_fit(learner, 10, range(4))
    second, _ = dry_run_fit(learner, 10, range(4), state=first.state, start=10)
    assert second.model["x"].shape == (4, 10**9)
    assert second.history_steps[-1] == 20


def test_a_placeholder_weighs_next_to_nothing():
    huge = placeholder(jax.ShapeDtypeStruct((10**6, 10**6), jnp.bfloat16))
    assert (huge.shape, huge.dtype, huge.strides) == ((10**6, 10**6), jnp.bfloat16, (0, 0))
    assert np.log(placeholder(jax.ShapeDtypeStruct((2,), jnp.float32))).tolist() == [0, 0]
    assert placeholder(jax.ShapeDtypeStruct((), jnp.int32)) == 0
    labels = placeholder(jax.ShapeDtypeStruct((10**6, 3), jnp.int32))
    assert (labels.strides[0], labels.dtype, labels[-1].tolist()) == (0, jnp.int32, [0, 1, 0])
    keys = jax.random.split(jax.random.key(3), 2)
    assert placeholder(jax.ShapeDtypeStruct(keys.shape, keys.dtype)).dtype == keys.dtype


def test_evaluations_with_new_arrays_in_the_function_share_a_program():
    traced = []

    class Scale(eqx.Module):
        by: jax.Array

        def __call__(self, x):
            traced.append(1)
            return self.by * x

    for by in (2.0, 3.0):
        out = for_each_seed(Scale(jnp.array(by)), (jnp.arange(3.0),), ())
        np.testing.assert_array_equal(out, by * np.arange(3.0))
    assert len(traced) == 3  # shapes, program, shapes
