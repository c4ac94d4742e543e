"""Networks on parity: what the two arms share, and which position is scored."""

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.studies.mesa import parity
from mesocosm.studies.mesa.config import PRESETS
from mesocosm.studies.mesa.parity import ParityArm, build_parity
from mesocosm.tasks.parity import Parity

RUNS = PRESETS["smoke"].config.parity


def test_the_arms_differ_in_the_sign_of_their_gates_alone():
    signed, unsigned = (build_parity(ParityArm(RUNS, sign), jax.random.key(0)) for sign in (True, False))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(signed), jax.tree.leaves(unsigned), strict=True))
    for network, sign in ((signed, True), (unsigned, False)):
        for block in network.blocks:
            assert block.mixer.front.signed is sign
            np.testing.assert_array_equal(block.mixer.front.forget_bias, 0)
            np.testing.assert_allclose(block.mixer.regulariser(jnp.float32), RUNS.regulariser, rtol=1e-5)
            assert block.mixer.smallest_regulariser == RUNS.regulariser - 1


def test_the_last_position_is_scored(monkeypatch):
    """A network that counts is right; one that counts all bits but the last is right half of the time."""
    monkeypatch.setattr(parity, "_logits", lambda network, inputs: jax.vmap(network)(inputs))

    def counts(inputs, skip):
        bits = jnp.where(inputs == 1, 1, 0) * (jnp.arange(len(inputs)) < len(inputs) - skip)
        return jax.nn.one_hot(jnp.cumsum(bits) % 2, 3)

    found = [parity._accuracy(Parity(6), 512, lambda inputs, skip=skip: counts(inputs, skip), jax.random.key(0)) for skip in (0, 1)]
    assert found[0] == 1
    assert abs(found[1] - 0.5) < 0.1
