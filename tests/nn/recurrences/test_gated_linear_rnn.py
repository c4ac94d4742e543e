"""The gated linear RNN against its formula, its streaming form, and the transformations that leave its function unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import BilinearGate, FreeDecay, GatedLinearRNN, GatedLinearUnit, PolarDecay, SideGate, SigmoidDecay, Ungated
from nn.random_weights import with_random_weights

GATES = [Ungated, BilinearGate, GatedLinearUnit, SideGate]


def layer(input_gate=BilinearGate, output_gate=BilinearGate):
    sizes = {"out_dim": 2, "state_dim": 5, "products": 4}
    return with_random_weights(lambda key: GatedLinearRNN.create(3, **sizes, input_gate=input_gate, output_gate=output_gate, key=key))


@jax.jit
def run(rnn, x):
    return rnn(x)


@jax.jit
def run_and_stream(rnn, x):
    return rnn(x), rnn.stream(rnn.init_state(), x)[1]


def tokens(time=12, dim=3, seed=1):
    return np.random.default_rng(seed).standard_normal((time, dim))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def dense_gate(gate, u, c):
    match gate:
        case Ungated():
            return u @ np.asarray(gate.weight).T
        case BilinearGate():
            return (u @ np.asarray(gate.left).T) * (u @ np.asarray(gate.right).T)
        case GatedLinearUnit():
            return (u @ np.asarray(gate.value).T) * sigmoid(u @ np.asarray(gate.gate).T)
        case SideGate():
            return (u @ np.asarray(gate.value).T) * (c @ np.asarray(gate.gate).T)


@pytest.mark.parametrize(
    ("input_gate", "output_gate"), [pytest.param(one, other, marks=[] if one is other else [pytest.mark.whole]) for one in GATES for other in GATES]
)
def test_the_layer_is_its_formula_and_streams(input_gate, output_gate):
    with jax.enable_x64(True):
        rnn, x = layer(input_gate, output_gate), tokens()
        padded = np.concatenate([x, np.ones((12, 1))], axis=1)
        decay, state, wanted = sigmoid(12 * (np.asarray(rnn.decay.position) - 0.5)), np.zeros(5), []
        for token in padded:
            state = decay * state + dense_gate(rnn.input, token, token)
            wanted.append(np.asarray(rnn.readout) @ dense_gate(rnn.output, state, token))
        for found in run_and_stream(rnn, x):
            np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-11, atol=1e-12)


def test_a_later_token_changes_nothing_before_it():
    rnn, x = layer(), tokens()
    whole, moved = np.asarray(run(rnn, x)), np.asarray(run(rnn, np.concatenate([x[:7], x[7:8] + 1.0, x[8:]])))
    assert (moved[:7] == whole[:7]).all()
    assert not np.allclose(moved[7:], whole[7:])


def test_decays_stay_where_they_belong():
    with jax.enable_x64(True):
        np.testing.assert_allclose(SigmoidDecay(jnp.asarray([0.0, 0.5, 1.0]))(), [0.0024726, 0.5, 0.9975274], atol=1e-6)
        polar = np.asarray(jax.jit(lambda key: PolarDecay.create(400, smallest=0.4, largest=0.9, max_phase=0.5, key=key)())(jax.random.key(0)))
        assert 0.4 <= np.abs(polar).min() < 0.45
        assert 0.87 < np.abs(polar).max() <= 0.9
        assert 0 < np.angle(polar).min() < 0.01
        assert 0.48 < np.angle(polar).max() <= 0.5
        np.testing.assert_allclose(np.mean(np.abs(polar) ** 2), (0.4**2 + 0.9**2) / 2, atol=0.03)  # uniform on the ring: |lambda|^2 is uniform


def test_complex_neurons_are_pairs_of_real_ones():
    """One complex neuron behind linear gates: its real part is a damped rotation."""
    with jax.enable_x64(True):
        x, turn = tokens(dim=1), np.exp(-0.1 + 0.4j)
        one = jnp.asarray(np.ones((1, 1)))
        rnn = GatedLinearRNN(Ungated(jnp.asarray([[1.0, 0.0]])), FreeDecay(jnp.asarray([turn])), Ungated(one), one)
        lag = np.arange(12)[:, None] - np.arange(12)
        kernel = np.where(lag >= 0, np.exp(-0.1 * lag) * np.cos(0.4 * lag), 0)
        np.testing.assert_allclose(np.asarray(run(rnn, x))[:, 0], kernel @ x[:, 0], rtol=1e-11, atol=1e-12)


def permuted(rnn):
    order = np.array([3, 0, 4, 1, 2])
    return GatedLinearRNN(
        BilinearGate(rnn.input.left[order], rnn.input.right[order]),
        FreeDecay(rnn.decay()[order]),
        BilinearGate(rnn.output.left[:, order], rnn.output.right[:, order]),
        rnn.readout,
    )


def swapped(rnn):
    return GatedLinearRNN(BilinearGate(rnn.input.right, rnn.input.left), rnn.decay, BilinearGate(rnn.output.right, rnn.output.left), rnn.readout)


def rescaled(rnn):
    a, b = jnp.linspace(0.5, 2.0, 5), jnp.linspace(-1.5, -0.7, 5)
    p, q = jnp.linspace(0.3, 1.1, 4), jnp.linspace(2.0, -1.0, 4)
    return GatedLinearRNN(
        BilinearGate(a[:, None] * rnn.input.left, b[:, None] * rnn.input.right),
        rnn.decay,
        BilinearGate(p[:, None] * rnn.output.left / (a * b), q[:, None] * rnn.output.right / (a * b)),
        rnn.readout / (p * q),
    )


@pytest.mark.parametrize("transform", [permuted, swapped, rescaled])
def test_invariances_leave_the_function_unchanged(transform):
    with jax.enable_x64(True):
        rnn, x = layer(), tokens()
        other = jax.jit(transform)(rnn)
        assert not all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(rnn.input), jax.tree.leaves(other.input), strict=True))
        np.testing.assert_allclose(run(other, x), run(rnn, x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("gate", GATES)
def test_a_silenced_channel_is_not_read(gate):
    random = np.random.default_rng(3)
    signal, context = random.standard_normal((6, 5), np.float32), random.standard_normal((6, 3), np.float32)

    @jax.jit
    def outputs(made, signal, context, factors):
        return made.scaled(factors)(signal, context), made(signal * factors, context), made(signal, context)

    scaled, wanted, unscaled = outputs(
        with_random_weights(lambda key: gate.create(4, 5, 3, key=key)), signal, context, np.array([1.0, 0.0, 2.0, 1.0, 1.0], np.float32)
    )
    np.testing.assert_allclose(scaled, wanted, rtol=1e-5, atol=1e-6)
    assert not np.allclose(scaled, unscaled)


@pytest.mark.parametrize("gate", [BilinearGate, SideGate])
def test_initial_weights_have_the_width_of_their_fan_in(gate):
    made = jax.jit(lambda key: gate.create(300, 16, 4, gain=0.5, key=key))(jax.random.key(0))
    first, second = map(np.asarray, jax.tree.leaves(made))
    np.testing.assert_allclose(first.std(), 0.5 / 4, rtol=0.05)
    np.testing.assert_allclose(second.std(), 0.5 / (4 if gate is BilinearGate else 2), rtol=0.05)


def test_training_finds_gradients_for_every_part():
    gradients = jax.jit(jax.grad(lambda rnn, x: jnp.sum(rnn(x) ** 2)))(layer(), tokens())
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
