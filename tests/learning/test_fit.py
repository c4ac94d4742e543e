"""fit against a plain Python loop, in any cut, with every way a seed can end."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.learning.fit import NonFinite, fit
from mesocosm.learning.learner import Learner
from mesocosm.learning.streams import stream_key

TRACES: list[str] = []


class NoisyDescent(Learner):
    """Gradient descent on |x - target|^2 / 2 with gradient noise; leaps to infinity at `explode_at`."""

    learning_rate: float
    noise: float = 0.1
    target: float = 1.0
    explode_at: float = jnp.inf
    dim: int = eqx.field(static=True, default=3)

    def init(self, key):
        return {"x": jax.random.normal(key, (self.dim,)), "t": jnp.zeros(()), "key": jax.random.fold_in(key, 7)}

    def update(self, state, key):
        TRACES.append("update")
        gradient = state["x"] - self.target + self.noise * jax.random.normal(key, (self.dim,))
        x = state["x"] - self.learning_rate * gradient
        x = jnp.where(state["t"] >= self.explode_at, jnp.inf, x)
        loss = 0.5 * jnp.sum((x - self.target) ** 2)
        return {"x": x, "t": state["t"] + 1, "key": state["key"]}, {"loss": loss}

    def model(self, state):
        return state["x"]


class MemoryCheckpoint:
    """Keeps the newest snapshot in memory and asks to save after every chunk."""

    def __init__(self):
        self.snapshot = None

    def load(self, like):
        if self.snapshot is not None:
            assert {k: (v.shape, v.dtype) for k, v in like.items()} == {k: (v.shape, v.dtype) for k, v in self.snapshot.items()}
        return self.snapshot

    def due(self):
        return True

    def save(self, snapshot):
        self.snapshot = {name: np.array(array) for name, array in snapshot.items()}


class StopAfter:
    """Asks to stop once `step` is done."""

    def __init__(self, step):
        self.step, self.seen = step, 0

    def compiling(self): ...

    def compiled(self, seconds): ...

    def progress(self, step, steps, metrics):
        self.seen = step

    def stopping(self):
        return self.seen >= self.step


class Reports(StopAfter):
    """Keeps the loss of every report, and never stops."""

    def __init__(self):
        super().__init__(np.inf)
        self.losses = []

    def progress(self, step, steps, metrics):
        self.losses.append(metrics["loss"])


def by_hand(learner, seed, steps):
    state, losses = learner.init(stream_key(seed, "init")), []
    for t in range(steps):
        state, metrics = learner.update(state, jax.random.fold_in(stream_key(seed, "data"), t))
        losses.append(float(metrics["loss"]))
    return np.asarray(state["x"]), np.asarray(losses)


@pytest.mark.parametrize("over_seeds", ["vmap", "map"])
def test_equals_a_python_loop(over_seeds):
    learner = NoisyDescent(0.1)
    fitted = fit(learner, 23, [4, 9], over_seeds=over_seeds)
    for row, seed in enumerate([4, 9]):
        x, losses = by_hand(learner, seed, 23)
        np.testing.assert_allclose(fitted.model[row], x, rtol=1e-5)
        np.testing.assert_allclose(fitted.history["loss"][row], losses, rtol=1e-5)
    assert fitted.steps.tolist() == [23, 23]


@pytest.mark.whole
def test_history_averages_windows_of_long_fits():
    fitted = fit(NoisyDescent(0.1), 1203, [0])
    _, losses = by_hand(NoisyDescent(0.1), 0, 1203)
    assert fitted.history_steps[:2].tolist() == [3, 6]
    assert fitted.history_steps[-1] == 1203
    np.testing.assert_allclose(fitted.history["loss"][0, :400], losses[:1200].reshape(400, 3).mean(1), rtol=1e-5)


@pytest.mark.parametrize("stop", [1, 2, 40, 90])
def test_interrupted_and_resumed_has_the_same_bits(stop):
    whole = fit(NoisyDescent(0.05), 100, [0, 1, 2], probe=(probe_distance, 7))
    checkpoint = MemoryCheckpoint()
    with pytest.raises(KeyboardInterrupt):
        fit(NoisyDescent(0.05), 100, [0, 1, 2], probe=(probe_distance, 7), watcher=StopAfter(stop), checkpoint=checkpoint)
    assert checkpoint.snapshot["progress"][0] < 100
    resumed = fit(NoisyDescent(0.05), 100, [0, 1, 2], probe=(probe_distance, 7), checkpoint=checkpoint)
    for ours, theirs in zip(jax.tree.leaves(resumed.model), jax.tree.leaves(whole.model), strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(resumed.history["loss"], whole.history["loss"])
    assert np.array_equal(resumed.probes["distance"], whole.probes["distance"])
    assert np.array_equal(jax.random.key_data(resumed.state["key"]), jax.random.key_data(whole.state["key"]))


def probe_distance(learner, state, key):
    return {"distance": jnp.sum((state["x"] - learner.target) ** 2), "draw": jax.random.normal(key)}


def test_probe_times_and_paired_draws():
    fitted = fit(NoisyDescent(0.1), 10, [0, 1], probe=(probe_distance, 4))
    assert fitted.probe_steps.tolist() == [0, 4, 8, 10]
    assert fitted.probes["distance"].shape == (2, 4)
    assert np.ptp(fitted.probes["draw"], axis=1).tolist() == [0, 0]
    assert fitted.probes["draw"][0, 0] != fitted.probes["draw"][1, 0]
    start = NoisyDescent(0.1).init(stream_key(1, "init"))["x"]
    np.testing.assert_allclose(fitted.probes["distance"][1, 0], np.sum((np.asarray(start) - 1) ** 2), rtol=1e-5)


def close_enough(learner, state, key):
    return 0.5 * jnp.sum((state["x"] - learner.target) ** 2) < 0.02


@pytest.mark.parametrize("over_seeds", ["vmap", "map"])
def test_until_stops_each_seed_at_its_criterion(over_seeds):
    learner = NoisyDescent(0.1, noise=0.0)
    fitted = fit(learner, 500, range(4), until=(close_enough, 1), probe=(probe_distance, 100), over_seeds=over_seeds)
    for row in range(4):
        _, losses = by_hand(learner, row, int(fitted.steps[row]))
        assert losses[-1] < 0.02 <= losses[-2]
    assert len(set(fitted.steps.tolist())) > 1
    assert fitted.reached.all()
    assert not fitted.diverged.any()
    np.testing.assert_allclose(fitted.probes["distance"][:, -1], 2 * np.array([by_hand(learner, r, int(fitted.steps[r]))[1][-1] for r in range(4)]), rtol=1e-3)


@pytest.mark.parametrize("over_seeds", ["vmap", "map"])
def test_progress_counts_running_seeds_only(over_seeds):
    watcher = Reports()
    fit(NoisyDescent(0.1, noise=0.0), 500, range(4), until=(close_enough, 1), over_seeds=over_seeds, watcher=watcher)
    assert len(watcher.losses) > 1
    assert min(watcher.losses) > 0.012  # a seed stops below 0.02; with those that have stopped the mean of four would be less


def test_stop_names_fit_seed_step_and_metric():
    learner = NoisyDescent(0.1, explode_at=17.0)
    with pytest.raises(NonFinite, match="student: loss of seed 3 is inf at step 17"):
        fit(learner, 50, [3, 5], name="student")


@pytest.mark.parametrize("over_seeds", ["vmap", "map"])
def test_freeze_keeps_the_last_finite_state(over_seeds):
    exploding = jnp.array([jnp.inf, 6.0])
    learners = NoisyDescent(0.1, explode_at=exploding)
    fitted = fit(learners, 20, [0, 1], per_seed=True, nonfinite="freeze", over_seeds=over_seeds)
    assert fitted.diverged.tolist() == [False, True]
    assert fitted.steps.tolist() == [20, 6]
    np.testing.assert_allclose(fitted.model[1], by_hand(NoisyDescent(0.1), 1, 6)[0], rtol=1e-5)
    np.testing.assert_allclose(fitted.model[0], by_hand(NoisyDescent(0.1), 0, 20)[0], rtol=1e-5)
    assert np.isnan(fitted.history["loss"][1, 6:]).all()


def test_arms_that_differ_in_a_number_share_one_program():
    fit(NoisyDescent(0.31), 5, [0, 1], name="first arm")
    traced = len(TRACES)
    second = fit(NoisyDescent(0.17, noise=0.3), 900, [0, 1], name="second arm")
    assert len(TRACES) - traced <= 1  # the abstract trace that names the metrics; the program itself is found compiled
    assert second.compile_seconds < 0.2


def test_until_is_asked_only_every_so_often():
    dense = fit(NoisyDescent(0.1, noise=0.0), 500, range(4), until=(close_enough, 1)).steps
    sparse = fit(NoisyDescent(0.1, noise=0.0), 500, range(4), until=(close_enough, 8)).steps
    assert sparse.tolist() == (8 * np.ceil(dense / 8)).tolist()


def test_two_phases_that_go_on_equal_one():
    whole = fit(NoisyDescent(0.1), 10, [0, 1])
    first = fit(NoisyDescent(0.1), 5, [0, 1])
    kept = np.asarray(first.state["x"]).copy()
    second = fit(NoisyDescent(0.1), 5, [0, 1], state=first.state, start=5, probe=(probe_distance, 3))
    assert np.array_equal(first.state["x"], kept)
    assert np.array_equal(second.model, whole.model)
    assert second.probe_steps.tolist() == [5, 8, 10]
    replayed = fit(NoisyDescent(0.1), 5, [0, 1], state=first.state, start=0)
    assert not np.array_equal(replayed.model, whole.model)
    with pytest.raises(ValueError, match="leading axis of 3 seeds; one has shape"):
        fit(NoisyDescent(0.1, explode_at=jnp.ones(2)), 5, [0, 1, 2], per_seed=True)
    with pytest.raises(ValueError, match="needs both state and start"):
        fit(NoisyDescent(0.1), 5, [0, 1], state=first.state)


def test_a_model_that_computes_is_mapped_over_seeds():
    class Flat(NoisyDescent):
        def model(self, state):
            return {"total": jnp.sum(state["x"]), "rate": self.learning_rate, "name": "flat"}

    fitted = fit(Flat(jnp.array([0.1, 0.2])), 3, [0, 1], per_seed=True)
    np.testing.assert_allclose(fitted.model["total"], np.asarray(fitted.state["x"]).sum(1), rtol=1e-6)
    np.testing.assert_allclose(fitted.model["rate"], [0.1, 0.2])
    assert fitted.model["name"] == "flat"


@pytest.mark.parametrize("name", ["fit", "seed", "step"])
def test_a_metric_cannot_take_a_historys_column(name):
    class Named(NoisyDescent):
        def update(self, state, key):
            return state, {name: state["t"]}

    with pytest.raises(ValueError, match=f"a metric cannot be called '{name}'"):
        fit(Named(0.1), 3, [0])


def test_a_metric_with_an_axis_is_refused():
    class Vector(NoisyDescent):
        def update(self, state, key):
            return state, {"loss": state["x"]}

    with pytest.raises(ValueError, match=r"metric 'loss' has shape \(3,\)"):
        fit(Vector(0.1), 5, [0])


def test_an_update_that_changes_a_dtype_is_refused():
    class Drifting(NoisyDescent):
        def update(self, state, key):
            return {**state, "x": state["x"].astype(jnp.float16)}, {"loss": jnp.zeros(())}

    with pytest.raises(ValueError, match=r"from float32\[3\] to float16\[3\]"):
        fit(Drifting(0.1), 5, [0])


@pytest.mark.whole
def test_float32_bits_do_not_depend_on_a_float64_fit_in_between():
    before = fit(NoisyDescent(0.1), 30, [0, 1]).model
    with jax.enable_x64(True):
        double = fit(NoisyDescent(0.1), 30, [0, 1]).model
        assert double.dtype == np.float64
    after = fit(NoisyDescent(0.1), 30, [0, 1]).model
    assert after.dtype == np.float32
    assert np.array_equal(before, after)
    assert not np.array_equal(np.asarray(double, np.float32), before)
