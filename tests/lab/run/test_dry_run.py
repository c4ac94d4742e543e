"""A dry run calls every trial, finds what would fail, knows the memory, and neither trains nor writes nor allocates."""

import resource
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toy_study.trials as toy
from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UserError
from mesocosm.lab.run.dry_run import DryRunContext, dry_run
from mesocosm.lab.run.runner import execute
from mesocosm.studies.interface import Trial
from toy_study.config import PRESETS, Bowl, Config, Descent

STUDY = find("toy-study")
NAMES = ["identity", "rolling", "frozen", "probe"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_trial_of_every_preset_runs_dry_and_writes_nothing(tmp_path, preset):
    done = dry_run(STUDY, preset, compile=False, strict=True)
    assert [trial.trial for trial in done] == NAMES
    assert {(trial.state, trial.problem) for trial in done} == {("new", None)}
    steps = PRESETS[preset].config.steps
    assert [[(fit.name, fit.steps) for fit in trial.fits] for trial in done] == [[], [("descent", steps)], [("descent", steps)], []]
    assert [trial.memory_bytes for trial in done] == [None] * 4
    assert not list(tmp_path.iterdir())


def test_nothing_is_trained_and_arms_of_equal_shape_compile_once(monkeypatch):
    compiled, original = [], jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self, *args, **options: compiled.append(self) or original(self, *args, **options))
    monkeypatch.setattr("mesocosm.lab.run.context.fit", None)
    done = dry_run(STUDY, "smoke", strict=True)
    assert len(compiled) == 2  # the fit, and the height, which is evaluated three times
    assert done[1].memory_bytes == done[2].memory_bytes >= PRESETS["smoke"].seeds * 4 * (4 + 1)
    assert done[1].evaluations == done[2].evaluations == done[3].evaluations[:1] == done[3].evaluations[1:]
    assert done[1].fits[0].memory_bytes > done[1].evaluations[0] > 0
    assert done[0].memory_bytes is None


@pytest.mark.whole
def test_memory_grows_with_the_size_and_the_seeds():
    def memory(dim, seeds):
        return dry_run(STUDY, "smoke", config=Config(bowl=Bowl(dim=dim)), seeds=tuple(range(seeds)), strict=True)[1].memory_bytes

    base, wider, more = memory(100_000, 2), memory(200_000, 2), memory(100_000, 6)
    assert 1.8 < wider / base < 2.2
    assert 2.6 < more / base < 3.3
    assert base >= 2 * 100_000 * 4


def test_a_study_far_larger_than_this_machine_runs_dry(monkeypatch):
    declared = toy.trials
    monkeypatch.setattr(toy, "trials", lambda config: declared(config)[1:])  # the identity is NumPy's, as large as it says
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = dry_run(STUDY, "quick", config=Config(bowl=Bowl(dim=10**9), steps=10**6), strict=True)
    assert done[0].memory_bytes > 8 * 4 * 10**9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6  # kilobytes


def evaluated(function, models, *, seeds=(3, 4), shared=()) -> int:
    """Bytes of an evaluation."""
    child = DryRunContext(Trial("child", toy.probe, None), seeds, {}, {})
    result = child.evaluate(function, *models, shared=shared)
    assert jax.tree.leaves(result)[0].shape[0] == len(seeds)
    (found,) = child.evaluations
    return found


def balls(dim, seeds=2):
    return (toy.Ball(np.zeros((seeds, dim), np.float32)),)


def test_what_an_evaluation_needs_is_its_program_and_the_arguments_and_results_of_all_seeds():
    def outer(ball):
        return jnp.outer(ball.position, ball.position)

    def products(ball):
        return jnp.sum(jnp.sin(outer(ball) @ outer(ball)))

    n = 300
    assert evaluated(products, balls(n)) >= 4 * n**2  # a product of matrices, for one seed
    assert evaluated(products, balls(n, 20), seeds=tuple(range(20))) < 1.2 * evaluated(products, balls(n))
    assert evaluated(outer, balls(n)) >= 3 * 4 * n**2  # the result of a call, and those of both seeds
    more = evaluated(outer, balls(n, 20), seeds=tuple(range(20))) - evaluated(outer, balls(n))
    assert more == 18 * 4 * (n**2 + n)
    assert evaluated(lambda ball, x: jnp.sum(x) + toy.height(ball), balls(n), shared=(np.ones((n, n), np.float32),)) >= 4 * n**2
    assert evaluated(jnp.sin, (), shared=(np.ones(n, np.float32),)) >= (1 + 1 + 2) * 4 * n


def test_a_trial_needs_what_the_larger_of_its_fits_and_evaluations_needs(monkeypatch):
    def roll(config, context):
        tables = toy.roll(config, context)
        context.evaluate(lambda ball: jnp.outer(ball.position, ball.position), context.model("other", "ball"))
        return tables

    arm = Trial("other", toy.roll, Descent(Bowl(dim=500), 5, 0.1), models={"ball": toy.build_ball})
    monkeypatch.setattr(toy, "trials", lambda config: [arm, replace(arm, name="second", run=roll, after=("other",))])
    first, second = dry_run(STUDY, "smoke", strict=True)
    assert first.memory_bytes == first.fits[0].memory_bytes == second.fits[0].memory_bytes
    assert second.memory_bytes == max(second.evaluations) >= 3 * 4 * 500**2 > first.memory_bytes
    assert [trial.evaluations for trial in dry_run(STUDY, "smoke", compile=False)] == [(), ()]


def test_states_reasons_and_minutes_are_those_of_the_run_that_would_happen(tmp_path):
    assert [trial.minutes for trial in dry_run(STUDY, "quick", compile=False)] == [0.01, 0.02, 0.02, 0.01]
    assert [trial.minutes for trial in dry_run(STUDY, "quick", seeds=(0, 1), compile=False)] == [0.01, 0.005, 0.005, 0.0025]
    assert [trial.minutes for trial in dry_run(STUDY, "quick", config=Config(steps=7), compile=False)] == [None] * 4
    execute(STUDY, "smoke", out=tmp_path / "run")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert [trial.state for trial in dry_run(STUDY, "smoke", out=tmp_path / "run", compile=False)] == ["cached"] * 4
    done = dry_run(STUDY, "smoke", config=Config(steps=5, learning_rate=0.2), out=tmp_path / "run", compile=False)
    assert [(trial.trial, trial.state, trial.why) for trial in done][1:3] == [
        ("rolling", "stale", "config (learning_rate: 0.1 -> 0.2)"),
        ("frozen", "cached", ""),
    ]
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
    with pytest.raises(UserError, match="no preset 'huge'"):
        dry_run(STUDY, "huge")


def test_what_would_fail_is_found_and_the_others_are_still_run_dry(monkeypatch):
    wrong = lambda config, key: toy.Ball(jnp.zeros(config.bowl.dim + 1))  # noqa: E731
    arm = Trial("rolling", toy.roll, Descent(Bowl(), 5, 0.1), models={"ball": wrong})
    monkeypatch.setattr(toy, "trials", lambda config: [arm, replace(arm, name="right", models={"ball": toy.build_ball})])
    done = dry_run(STUDY, "smoke", compile=False)
    assert done[0].problem == (
        "ValueError: 'ball', which trial rolling publishes, is not the module that the trial declares: position is float32[2, 4] and should be float32[2, 5]"
    )
    assert done[1].problem is None
    with pytest.raises(ValueError, match="is not the module") as raised:
        dry_run(STUDY, "smoke", compile=False, strict=True)
    assert raised.value.__notes__ == ["raised in the dry run of trial rolling"]


def context(**options) -> DryRunContext:
    parent = Trial("parent", toy.roll, Descent(Bowl(), 5, 0.1), models={"ball": toy.build_ball})
    return DryRunContext(Trial("child", toy.probe, None, after=("parent",), **options), (3, 4), {"parent": parent})


def test_it_hands_out_what_the_run_would():
    child = context()
    assert child.parents == ("parent",)
    model = child.model("parent", "ball")
    assert isinstance(model, toy.Ball)
    assert (model.position.shape, model.position.dtype) == ((2, 4), np.float32)
    assert child.evaluate(toy.height, model).shape == (2,)
    assert child.evaluate(jnp.sin, shared=(np.ones(3),)).shape == (2, 3)
    assert child.evaluate(jax.random.normal, child.keys("eval")).shape == (2,)
    assert child.rows({"x": [1, 2, 3]}, y=np.full((2, 3), np.nan))["seed"].to_list() == [3, 3, 3, 4, 4, 4]
    with pytest.raises(ValueError, match="shape"):
        child.rows(y=np.ones(3))


@pytest.mark.whole
def test_it_refuses_what_the_run_would():
    child = context()
    learner = toy.NoisyDescent(0.1, 0.0, 4)
    child.fit("descent", learner, 5)
    for wrong, told in [
        (lambda: child.fit("descent", learner, 5), "twice"),
        (lambda: child.fit("a/b", learner, 5), "cannot name a fit"),
        (lambda: child.fit("more", learner, 0), "at least one step"),
        (lambda: child.publish("ball", None), "declares models"),
        (lambda: child.model("elsewhere", "ball"), "in `after`"),
        (lambda: child.model("parent", "marble"), "publishes ball; asked for 'marble'"),
    ]:
        with pytest.raises((ValueError, KeyError), match=told):
            wrong()
