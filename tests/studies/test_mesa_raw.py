"""The mesa study's networks on observations: what its measures find in networks whose answer is known."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import Attention
from mesocosm.studies.mesa.config import PRESETS, Evaluation, RawNetworks, Systems
from mesocosm.studies.mesa.raw_networks import RawArm, RawNetwork, build_raw
from mesocosm.studies.mesa.raw_train import measure_maps, measure_raw
from mesocosm.studies.mesa.references import draw_sequences, orthogonal_systems
from mesocosm.tasks.linear_systems import LinearSystems

SYSTEMS = Systems(dim=3, length=12)
EVALUATION = Evaluation(sequences=256, tuning_sequences=256)
SIZES = RawNetworks(width=8, heads=2, key_dim=4, hidden=6)


def _network(*layers, source="orthogonal"):
    arm = RawArm(SYSTEMS, source, layers, SIZES, replace(PRESETS["smoke"].config.linear, init_std=0.3), EVALUATION)
    return build_raw(arm, jax.random.key(0))


@pytest.fixture(scope="module")
def sequences():
    return jax.jit(lambda key: draw_sequences(EVALUATION, orthogonal_systems(SYSTEMS), key))(jax.random.key(1))


def _looking_back(network, distance):
    """The network with a first layer that only looks `distance` tokens back, and copies what it sees into other channels."""
    dim, width = 3, 8
    layer = network.stack.layers[0]
    only = replace(layer, mask=None, query=layer.query * 0, key=layer.key * 0)
    embed = jnp.zeros((width, dim)).at[:dim].set(jnp.eye(dim))
    value, output = jnp.zeros_like(layer.value).at[0, :dim, :dim].set(jnp.eye(dim)), jnp.zeros_like(layer.output).at[0, dim : 2 * dim, :dim].set(jnp.eye(dim))

    class Looking(Attention):
        def _attend(self, x, positions, valid):
            weights = jnp.eye(len(x), k=-distance)[None].repeat(2, 0)
            return self.merge(jnp.einsum("hts,shv->thv", weights, jnp.einsum("td,hvd->thv", x, self.value))), weights

    looking = Looking(**{name: getattr(only, name) for name in only.__dataclass_fields__} | {"value": value, "output": output})
    return RawNetwork(embed, eqx.tree_at(lambda stack: stack.layers, network.stack, (looking,)), network.read)


@pytest.mark.whole
def test_binding_sensitivity_and_maps_find_the_token_that_the_layer_looks_at(sequences):
    network = _looking_back(_network("placed"), 2)
    found, maps = (eqx.filter_jit(measure)(network, sequences) for measure in (measure_raw, measure_maps))
    after = np.asarray(found.binding)[1]
    assert set(np.flatnonzero(after < 1e-5)) == {0, 2}
    assert np.asarray(found.binding)[0].argmin() == 0
    assert set(np.flatnonzero(np.asarray(found.sensitivity) > 1e-6)) == {0, 2}
    np.testing.assert_allclose(maps.mass, np.eye(8)[2][None].repeat(2, 0), atol=1e-6)
    np.testing.assert_allclose(maps.spread, 0.0, atol=1e-6)


@pytest.mark.whole
def test_losses_are_the_networks_and_probes_of_other_sequences_find_nothing(sequences):
    network = _network("placed", "mesa")
    found = eqx.filter_jit(measure_raw)(network, sequences)
    predicted = jax.jit(jax.vmap(network))(sequences.test[:, :-1])
    losses = 0.5 * np.sum((np.asarray(predicted) - np.asarray(sequences.test[:, 1:])) ** 2, axis=-1)
    np.testing.assert_allclose(found.curve, losses.mean(0), rtol=1e-4)
    np.testing.assert_allclose(np.mean(found.loss), losses.mean(), rtol=1e-4)
    np.testing.assert_allclose(np.mean(found.late), losses[:, -1].mean(), rtol=1e-4)
    variance = 0.5 * np.var(np.asarray(sequences.test[:, -1]), axis=0).sum()
    assert (np.asarray(found.shuffled).mean(-1) > 0.95 * variance).all()
    assert np.asarray(found.target).shape[0] == 3
    assert np.asarray(found.target)[0].mean() > 0.8 * variance  # an embedded observation does not tell the next one of an unknown system
    fixed = LinearSystems.fixed_teacher(jax.random.key(2), SYSTEMS.dim, length=SYSTEMS.length)
    known = eqx.filter_jit(measure_raw)(network, draw_sequences(EVALUATION, fixed, jax.random.key(1)))
    assert np.asarray(known.target)[0].mean() < 0.05 * np.asarray(known.shuffled)[0].mean()  # but that of a known one


def test_networks_on_nonlinear_systems_normalise_keys_after_the_first_layer():
    placed, feed, softmax, mesa = _network("placed", "feed", "softmax", "mesa").stack.layers
    assert (placed.unit_keys, softmax.unit_keys, mesa.unit_keys) == (False, True, True)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, 8)), jnp.float32)
    inward, outward = feed.feed_forward.inward, feed.feed_forward.outward
    np.testing.assert_allclose(feed(x), jax.nn.gelu(x @ inward.T) @ outward.T, rtol=1e-5, atol=1e-6)
    assert not _network("placed", "softmax").stack.layers[1].unit_keys
