import jax
import numpy as np
import pytest

from mesocosm.nn import delta_rule, gated_linear_attention
from nn.dense_reference import relative_error


def _problem(time=50, key_dim=6, value_dim=4):
    random = np.random.default_rng(0)
    query, key = random.standard_normal((2, time, key_dim)) / np.sqrt(key_dim)
    value, log_forget, input_gate = random.standard_normal((time, value_dim)), np.log(random.uniform(0.5, 0.999, time)), random.uniform(size=time)
    return tuple(x.astype(np.float32) for x in (query, key, value, log_forget, input_gate))


def _recursion(query, key, value, log_forget, input_gate, *, corrects):
    """The formulas of the two memories, in float64 NumPy."""
    query, key, value, log_forget, input_gate = (np.asarray(x, np.float64) for x in (query, key, value, log_forget, input_gate))
    memory, out = np.zeros((value.shape[1], key.shape[1])), []
    for q, k, v, g, b in zip(query, key, value, np.exp(log_forget), input_gate, strict=True):
        transport = np.eye(len(k)) - b * np.outer(k, k) if corrects else np.eye(len(k))
        memory = g * memory @ transport + b * np.outer(v, k)
        out.append(memory @ q)
    return np.array(out), memory


@pytest.mark.parametrize("chunk", [1, 16])
def test_gated_linear_attention_is_its_recursion(chunk):
    out, memory = jax.jit(gated_linear_attention, static_argnames="chunk")(*_problem(), chunk=chunk)
    expected, last = _recursion(*_problem(), corrects=False)
    assert relative_error(out, expected) < 1e-5
    assert relative_error(memory, last) < 1e-5


def test_the_delta_rule_is_its_recursion():
    out, memory = jax.jit(delta_rule)(*_problem())
    expected, last = _recursion(*_problem(), corrects=True)
    assert relative_error(out, expected) < 1e-5
    assert relative_error(memory, last) < 1e-5


@pytest.mark.parametrize("mix", [gated_linear_attention, delta_rule])
def test_two_segments_are_one_run(mix):
    mix = jax.jit(mix)
    whole, _ = mix(*_problem())
    first, memory = mix(*(x[:21] for x in _problem()))
    second, _ = mix(*(x[21:] for x in _problem()), memory)
    assert relative_error(np.concatenate([first, second]), whole) < 1e-5


def test_the_delta_rule_replaces_what_linear_attention_adds():
    key, value = np.eye(4, dtype=np.float32)[[0, 1, 0]], np.array([[1.0], [2.0], [5.0]], np.float32)
    corrected, added = (np.asarray(jax.jit(mix)(key, key, value)[1]) for mix in (delta_rule, gated_linear_attention))
    np.testing.assert_allclose(corrected @ key[2], [5.0], rtol=1e-6)
    np.testing.assert_allclose(added @ key[2], [6.0], rtol=1e-6)
