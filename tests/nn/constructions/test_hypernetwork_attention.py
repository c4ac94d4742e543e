"""The hand-set layer against the hypernetwork written out, for random sizes, any activation and any code."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import hypernetwork_layers, hypernetwork_tokens


def run(attention, feed, tokens):
    stream = tokens + attention(tokens)
    return stream + feed(stream)


@pytest.mark.whole
@pytest.mark.parametrize(("activation", "sizes"), [(jax.nn.gelu, (6, 16, 16, 1)), (jax.nn.relu, (1, 3, 5, 2)), (jnp.sin, (4, 7, 2, 3))])
def test_the_layer_runs_the_hypernetwork_and_with_one_head_fewer_does_not(activation, sizes):
    count, hidden, inputs, outputs = sizes
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(count), 4)
        modules, readout = jax.random.normal(keys[0], (count, hidden, inputs)), jax.random.normal(keys[1], (outputs, hidden))
        x, z = jax.random.normal(keys[2], (inputs,)), jax.random.normal(keys[3], (count,))
        attention, feed = hypernetwork_layers(modules, readout, activation)
        tokens = hypernetwork_tokens(x, z, hidden, outputs)
        found = run(attention, feed, tokens)[1]
        wanted = np.asarray(activation(sum(z[m] * modules[m] for m in range(count)) @ x) @ readout.T)
        assert np.abs(found[-outputs:] - wanted).max() < 1e-12
        np.testing.assert_array_equal(found[inputs : inputs + count], z)  # nothing else is written over
        fewer = jax.tree.map(lambda leaf: leaf[1:], eqx.filter(attention, eqx.is_array))
        assert np.abs(run(eqx.combine(fewer, attention), feed, tokens)[1, -outputs:] - wanted).max() > 1e-3
