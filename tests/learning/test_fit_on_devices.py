"""Seeds spread over four devices: what one device finds up to rounding, with the same bits each time; also where the devices do not divide them."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, jax, numpy as np
import mesocosm.learning.fit
from mesocosm.learning import Supervised, adam, fit
from mesocosm.learning.program import SeedAxis, seed_axis
from mesocosm.nn import LinearAttention
from mesocosm.tasks.linear_systems import LinearSystems

fits = sys.modules["mesocosm.learning.fit"]

def build(key):
    return LinearAttention.create(3, heads=1, key_dim=3, std=0.3, key=key)

def loss(model, example, key):
    return ((model(example.inputs) - example.targets) ** 2).mean()

def probe(learner, state, key):
    return {"norm": (state.model.query ** 2).sum()}

learner = Supervised(build, LinearSystems.orthogonal(3, length=5), loss, adam, {"learning_rate": 0.01}, 4)
assert [1 if (mesh := seed_axis(n, False, "map").mesh) is None else mesh.size for n in (1, 2, 5, 8, 9)] == [1, 2, 3, 4, 3]
def on_one_device(*arguments, **options):
    spread, fits.seed_axis = fits.seed_axis, lambda seeds, per_seed, over_seeds: SeedAxis(per_seed, over_seeds)
    try:
        return fit(*arguments, **options)
    finally:
        fits.seed_axis = spread

for seeds, over_seeds in ((range(5), "map"), (range(8), "vmap")):
    many, again, one = (run(learner, 20, seeds, over_seeds=over_seeds, probe=(probe, 7)) for run in (fit, fit, on_one_device))
    used = [len(end.state.model.query.sharding.device_set) for end in (many, one)]
    assert used == [seed_axis(len(seeds), False, over_seeds).mesh.size, 1]
    for found in (lambda end: end.history["loss"], lambda end: end.probes["norm"], lambda end: np.asarray(end.model.query)):
        np.testing.assert_allclose(found(many), found(one), rtol=1e-5)
        np.testing.assert_array_equal(found(many), found(again))
    onward = fit(learner, 3, seeds, state=many.state, start=20)
    assert np.isfinite(onward.history["loss"]).all()
    first = fit(learner, 3, seeds[:2], state=jax.tree.map(lambda leaf: leaf[:2] if hasattr(leaf, "shape") else leaf, many.state), start=20)
    np.testing.assert_allclose(first.history["loss"], onward.history["loss"][:2], rtol=1e-4)
"""


def test_four_devices_find_what_one_finds():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
