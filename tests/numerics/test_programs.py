"""Programs of the library cannot deadlock XLA's pool of threads: hardly, since they are scheduled in a row, and not at all, since no LAPACK call
gets a batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.numerics.linear_algebra import solve
from mesocosm.numerics.programs import SCHEDULE, filter_jit, jit

TWO_THREADS = {"NPROC": "2", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
CHEAP = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"  # to compile; the flag for the schedule stays out


def run(script: str, *arguments: str, seconds: float) -> str:
    environment = {**os.environ, **TWO_THREADS, "XLA_FLAGS": CHEAP}
    done = subprocess.run([sys.executable, *script.split(), *arguments], capture_output=True, text=True, env=environment, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    ("study", "programs"),
    {"mesa": 5, "cocoa": 5, "ensembles": 5, "weight-decay": 1}.items(),
)
@pytest.mark.slow
def test_every_program_with_several_lapack_calls_runs_three_hundred_times(study, programs):
    found = json.loads(run(str(Path(__file__).parent / "call_often.py"), study, "300", seconds=400).splitlines()[-1])
    assert found["batched"] == []
    assert found["programs"] >= programs


SIX_SOLVES = """
import sys
import jax, jax.numpy as jnp
from mesocosm.numerics.linear_algebra import {function} as solve
batches = [jnp.tile(jnp.eye(10) * (i + 2.0), (768, 1, 1)) for i in range(6)]
program = jax.jit(lambda batches: [jax.vmap(solve)(a, a) for a in batches])  # a user's own: none of our compiler options
for _ in range(300):
    jax.block_until_ready(program(batches))
"""


@pytest.mark.slow
@pytest.mark.parametrize("function", ["solve", "solve_positive"])
def test_solves_do_not_deadlock_in_a_program_of_a_users_own(function, tmp_path):
    """With `jnp.linalg.solve` in its place this hangs at the first call or soon (jaxlib 0.10.2)."""
    script = tmp_path / "six_solves.py"
    script.write_text(SIX_SOLVES.format(function=function))
    run(str(script), seconds=120)


@pytest.mark.whole
def test_the_schedule_is_an_option_of_the_compilation():
    """XLA's text of the scheduled program differs from that of its own choice, and is the one that the flag in the environment would give."""
    script = """
import sys, equinox as eqx, jax, jax.numpy as jnp
from mesocosm.numerics.programs import filter_jit, jit
def two_chains(x):
    return jnp.sum(jnp.sin(x @ x) @ x) + jnp.sum(jnp.cos(x @ x.T) @ x)
x = jnp.ones((64, 64))
programs = {
    "ours": lambda: jit(two_chains).lower(x).compile(),
    "with another option": lambda: jit(two_chains, compiler_options={"xla_cpu_enable_fast_math": False}).lower(x).compile(),
    "jax": lambda: jax.jit(two_chains).lower(x).compile(),
    "ours filtered": lambda: filter_jit(two_chains).lower(x).compile().compiled,
    "jax filtered": lambda: eqx.filter_jit(two_chains).lower(x).compile().compiled,
}
print(programs[sys.argv[1]]().as_text())
"""
    flags = " ".join(f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in SCHEDULE.items())
    texts = {}
    for name, kind, given in (
        *((kind, kind, "") for kind in ("ours", "with another option", "jax", "ours filtered", "jax filtered")),
        ("flag", "jax", flags),
        ("flag filtered", "jax filtered", flags),
    ):
        environment = {**os.environ, "XLA_FLAGS": given, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run([sys.executable, "-c", script, kind], capture_output=True, text=True, env=environment, timeout=120, check=True)
        texts[name] = [line.partition(", metadata")[0] for line in done.stdout.splitlines() if " = " in line]
    assert texts["ours"] == texts["with another option"] == texts["flag"] != texts["jax"]
    assert texts["ours filtered"] == texts["flag filtered"] != texts["jax filtered"]


@pytest.mark.parametrize(("given", "own"), [("", {"xla_backend_optimization_level": 1}), ("--xla_backend_optimization_level=3", {})])
def test_the_training_loop_keeps_the_schedule_beside_its_own_level_unless_the_user_gives_one(given, own):
    script = "import json; from mesocosm.learning.program import run_chunk; print(json.dumps(run_chunk.options))"
    environment = {**os.environ, "XLA_FLAGS": given}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120, check=True)
    assert json.loads(done.stdout) == {**SCHEDULE, **own}


def test_a_program_is_traced_like_any_function_inside_another_one():
    traces = []

    @jit
    def square(x):
        traces.append(type(x).__name__)
        return jnp.sum(x**2)

    x = jnp.arange(3.0)
    assert float(square(x)) == 5
    assert float(square(x)) == 5
    assert len(traces) == 1
    np.testing.assert_allclose(jax.grad(square)(x), 2 * x)
    np.testing.assert_allclose(jax.vmap(square)(x[:, None]), x**2)
    np.testing.assert_allclose(jax.jit(jax.grad(square))(x), 2 * x)
    np.testing.assert_allclose(jax.lax.map(square, x[:, None]), x**2)
    assert square.eval_shape(x).shape == ()
    assert square.__name__ == "square"


@pytest.mark.whole
def test_the_first_call_may_be_inside_a_trace():
    """Even the import may be: then the options still hold for what is called outside of it, and only there."""
    script = """
import jax, jax.numpy as jnp
def f(x):
    from mesocosm.numerics import programs
    return programs.jit(jnp.sin)(x)
print(jax.jit(f)(1.0), jax.grad(f)(1.0))
from mesocosm.numerics import programs
assert programs._outermost()
program = programs.jit(jnp.sin)
program._inside = None
print(program(1.0))
"""
    found = [float(word) for word in run("-c", script, seconds=120).split()]
    np.testing.assert_allclose(found, [np.sin(1), np.cos(1), np.sin(1)], rtol=1e-6)


@pytest.mark.whole
def test_options_are_passed_on():
    double = jit(lambda x, times: x * times, static_argnames="times", donate_argnames="x")
    assert float(double(jnp.ones(()), times=3)) == 3
    with pytest.raises(Exception, match="No such compile option: 'xla_nothing'"):
        jit(jnp.sin, compiler_options={"xla_nothing": True})(1.0)
    layer = eqx.nn.Linear(3, 3, key=jax.random.key(0))
    np.testing.assert_allclose(filter_jit(lambda layer, x: layer(x))(layer, jnp.ones(3)), layer(jnp.ones(3)), rtol=1e-6)

    class Scale(eqx.Module):
        factor: float

        @filter_jit
        def __call__(self, x):
            return self.factor * x

    assert float(Scale(2.0)(jnp.ones(()))) == 2
    assert np.isfinite(jit(solve)(jnp.eye(2), jnp.ones((2, 1)))).all()
