"""Positions: rotations depend on distances alone, and buckets are those of T5."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesocosm.nn import RelativeBias, Rotary, SinusoidalChannels


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("size", [None, 4])
def test_rotary_scores_depend_on_distances_alone(size):
    part, q, k = Rotary(size=size), random(1, 1, 8), random(1, 1, 8, seed=1)

    def score(p, s):
        return float(jnp.sum(part.rotate(q, jnp.array([p])) * part.rotate(k, jnp.array([s]))))

    assert score(3, 1) == pytest.approx(score(45, 43), abs=1e-4)
    assert abs(score(3, 1) - score(3, 2)) > 1e-2
    assert float(jnp.linalg.norm(part.rotate(q, jnp.array([77])))) == pytest.approx(float(np.linalg.norm(q)), rel=1e-5)


def test_partial_rotary_leaves_the_other_channels():
    x = random(5, 2, 8)
    np.testing.assert_array_equal(Rotary(size=4).rotate(x, jnp.arange(5))[..., 4:], x[..., 4:])
    with pytest.raises(ValueError, match="even and at most 8, got 10"):
        Rotary(size=10).rotate(x, jnp.arange(5))


def bucket(n, buckets, max_distance):
    """The rule, in Python."""
    n, exact = max(n, 0), buckets // 2
    if n < exact:
        return n
    eps = np.finfo(np.float32).eps
    ratio = np.float32(np.log(np.float32(n) / np.float32(exact) + eps)) / np.float32(math.log(max_distance / exact))
    return min(exact + int(ratio * (buckets - exact)), buckets - 1)


@pytest.mark.whole
@given(st.integers(2, 40), st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_buckets_follow_the_rule(buckets, more):
    max_distance = buckets // 2 + more
    part = RelativeBias(jnp.arange(buckets, dtype=float)[None], max_distance)
    found = part.bias(jnp.array([250]), jnp.arange(260))[0, 0]
    np.testing.assert_array_equal(found, [bucket(250 - key, buckets, max_distance) for key in range(260)])


def test_two_sided_buckets_split_the_table():
    part = RelativeBias(jnp.arange(16.0)[None], 20, two_sided=True)
    found = part.bias(jnp.array([30]), jnp.arange(60))[0, 0]
    wanted = [bucket(abs(30 - key), 8, 20) + (8 if key > 30 else 0) for key in range(60)]
    np.testing.assert_array_equal(found, wanted)


def test_a_table_starts_with_unit_sum_of_squares():
    table = RelativeBias.create(200, buckets=32, key=jax.random.key(0)).table
    assert float(jnp.mean(jnp.sum(table**2, axis=1))) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("options", "message"), [({"buckets": 1}, "at least 2"), ({"buckets": 32, "max_distance": 16}, "distance above 16")])
def test_impossible_buckets_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RelativeBias.create(2, **options, key=jax.random.key(0))


def test_channels_are_added():
    x = random(5, 3)
    extended = SinusoidalChannels.create(2, dim=4).extend(x, jnp.arange(5))
    assert extended.shape == (5, 7)
    np.testing.assert_allclose(extended[:, 3], np.sin(np.arange(5)), atol=1e-6)


def test_rotation_turns_each_pair_of_channels_by_its_angle():
    """The vectors themselves, which scores do not show: a permutation of queries and keys alike would leave those as they are."""
    heads, positions = np.random.default_rng(0).standard_normal((3, 1, 6)), np.array([0, 1, 5])
    angles = positions[:, None, None] * 100.0 ** (-np.arange(3) / 3)
    turned = (heads[..., :3] + 1j * heads[..., 3:]) * np.exp(1j * angles)
    found = Rotary(100.0).rotate(jnp.asarray(heads, jnp.float32), jnp.asarray(positions))
    np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], axis=-1), rtol=1e-4, atol=1e-5)
