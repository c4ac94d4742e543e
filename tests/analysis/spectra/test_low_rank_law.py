"""T1 to T9 and the optimisers' table, each against a second computation: autodiff, SciPy's minimiser, integration of the flow."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from mesocosm.analysis.spectra.factor_spectra import balance
from mesocosm.analysis.spectra.low_rank_law import (
    Factors,
    balanced_factors,
    decay_rate,
    gap_bound,
    imbalance,
    imbalance_after,
    imbalance_after_adamw_step,
    imbalance_after_step,
    joint_decay,
    l2_penalty,
    mode_strength,
    soft_threshold,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def random_factors(seed, m=6, n=5, r=4):
    return Factors(normal(seed, m, r), normal(seed + 100, n, r))


def curved(target, w):
    """A convex loss that is not quadratic."""
    return jnp.sum(jnp.log(jnp.cosh(w - target)))


def quadratic(target, w):
    return jnp.sum((w - target) ** 2) / 2


@jax.jit
def descend(target, decays, factors, learning_rate, steps):
    """Gradient descent on |A B^T - M|^2 / 2 + (l_A |A|^2 + l_B |B|^2) / 2."""

    def objective(f):
        return quadratic(target, f.a @ f.b.T) + decays[0] * jnp.sum(f.a**2) / 2 + decays[1] * jnp.sum(f.b**2) / 2

    def step(_, f):
        return jax.tree.map(lambda x, g: x - learning_rate * g, f, jax.grad(objective)(f))

    return jax.lax.fori_loop(0, steps, step, factors)


def small_factors(*seeds):
    return Factors(*(0.3 * np.random.default_rng(seed).standard_normal((5, 5)) for seed in seeds))


def test_the_penalty_of_balanced_factors_is_the_nuclear_norm():
    """T1: attained at the SVD's factors, and no other factors of the product lie below."""
    product = normal(0, 6, 5)
    nuclear = np.linalg.svd(product, compute_uv=False).sum()
    best = jax.jit(balanced_factors, static_argnums=1)(product, 5)
    np.testing.assert_allclose(np.asarray(best.a) @ np.asarray(best.b).T, product, atol=1e-12)
    assert jax.jit(l2_penalty)(best) == pytest.approx(nuclear, rel=1e-12)
    assert np.abs(jax.jit(imbalance)(best)).max() < 1e-12
    change = np.eye(5) + 0.4 * np.random.default_rng(0).standard_normal((20, 5, 5))
    others = Factors(np.asarray(best.a) @ change, np.asarray(best.b) @ np.linalg.inv(change).mT)
    assert np.min(jax.jit(l2_penalty)(others)) > nuclear


def test_stationary_points_are_balanced():
    """I5 (T2): whatever the loss, here on a product whose rank is bounded by the factors."""
    decay, target = 0.3, 2 * normal(1, 6, 5)

    def objective(flat):
        f = Factors(flat[:18].reshape(6, 3), flat[18:].reshape(5, 3))
        return curved(target, f.a @ f.b.T) + decay * l2_penalty(f)

    gradient, hessian = jax.jit(jax.grad(objective)), jax.jit(jax.hessian(objective))
    start = minimize(jax.jit(objective), normal(2, 33), jac=gradient, method="BFGS").x
    for _ in range(4):  # Newton, with the flat directions of the inner rotation left out
        start = start - np.linalg.pinv(hessian(start), rtol=1e-8) @ gradient(start)
    assert np.linalg.norm(gradient(start)) < 1e-10
    f = Factors(start[:18].reshape(6, 3), start[18:].reshape(5, 3))
    assert np.linalg.norm(jax.jit(imbalance)(f)) < 1e-8 / decay
    assert abs(balance(*f).gap) < 1e-8
    assert balance(*f).nuclear > 1


def flow(gradient, factors, time, steps):
    """Integrate the gradient flow by Runge and Kutta's method."""
    dt = time / steps

    def step(f, _):
        def add(scale, k):
            return jax.tree.map(lambda x, y: x + scale * y, f, k)

        k1 = gradient(f)
        k2 = gradient(add(dt / 2, k1))
        k3 = gradient(add(dt / 2, k2))
        k4 = gradient(add(dt, k3))
        return jax.tree.map(lambda x, a, b, c, d: x + dt / 6 * (a + 2 * b + 2 * c + d), f, k1, k2, k3, k4), None

    return jax.lax.scan(step, factors, None, length=steps)[0]


def downhill(loss, decay, f):
    return jax.tree.map(jnp.negative, jax.grad(lambda g: loss(g.a @ g.b.T) + decay * l2_penalty(g))(f))


def test_the_imbalance_falls_exponentially_along_the_flow_and_bounds_the_gap():
    """T3 for a loss that is not quadratic, T4 along the way."""
    start, decay = random_factors(3), 0.2

    @jax.jit
    def after(start, time):
        end = flow(partial(downhill, partial(curved, normal(4, 6, 5)), decay), start, time, 400)
        expected = imbalance_after(imbalance(start), decay, time)
        return end, imbalance(end), expected, gap_bound(expected)

    for time in (0.5, 2.0):
        end, found, expected, bound = after(start, time)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert 0 <= balance(*end).gap <= bound + 1e-9
        assert balance(*end).bound == pytest.approx(float(bound), rel=1e-6)


def gradient_of_factors(f, g):
    """From that of their product."""
    return Factors(g @ f.b, g.T @ f.a)


@jax.jit
def step_of_sgd(f, g, eta, decay):
    """The imbalance before and after a step of optax's, and the law's."""
    optimizer = optax.chain(optax.add_decayed_weights(decay), optax.sgd(eta))
    updates, _ = optimizer.update(gradient_of_factors(f, g), optimizer.init(f), f)
    return imbalance(f), imbalance(optax.apply_updates(f, updates)), imbalance_after_step(f, g, eta, decay)


@pytest.mark.parametrize("seed", range(5))
def test_one_step_changes_the_imbalance_as_t5_says(seed):
    """I1: for any matrix in place of the gradient, by optax's own SGD."""
    eta, decay = 0.1, 0.3
    before, found, wanted = map(np.asarray, step_of_sgd(random_factors(seed), normal(seed + 50, 6, 5), eta, decay))
    assert np.linalg.norm(found - wanted) < 1e-14 * np.linalg.norm(found)
    without_source = (1 - eta * decay) ** 2 * before
    assert np.linalg.norm(found - without_source) > 1e-3 * np.linalg.norm(found)


def test_the_minimum_of_the_quadratic_loss_is_the_soft_threshold():
    """T6 with a rotated target, and its scalar case T9."""
    left, right = (np.linalg.qr(normal(seed, 5, 5))[0] for seed in (5, 6))
    values = np.array([1.0, 0.8, 0.6, 0.3, 0.1])
    end = descend(left * values @ right.T, (0.2, 0.2), small_factors(7, 8), 0.1, 4000)
    kept = np.asarray(jax.jit(soft_threshold)(values, 0.2))
    np.testing.assert_allclose(np.linalg.svd(end.a @ end.b.T, compute_uv=False), kept, atol=1e-5)
    np.testing.assert_allclose(end.a @ end.b.T, left * kept @ right.T, atol=1e-5)
    assert jax.jit(soft_threshold)(np.array([1.0]), 0.4) == pytest.approx(0.6)


@jax.jit
def flow_of_quadratic(target, decay, start, time):
    return flow(partial(downhill, partial(quadratic, target), decay), start, time, 2000)


strength = jax.jit(mode_strength)


@pytest.mark.parametrize("target", [1.0, 0.5, 0.4, 0.1])
def test_modes_grow_and_die_as_t7_says(target):
    """I6: against the flow of the whole matrix from an aligned, balanced start; 0.4 is the critical mode."""
    decay, s0, time = 0.4, 0.2, 3.0
    u, v = (np.random.default_rng(seed).standard_normal((n, 1)) for seed, n in ((9, 4), (10, 3)))
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    end = flow_of_quadratic(target * u @ v.T, decay, Factors(s0**0.5 * u, s0**0.5 * v), time)
    assert strength(time, s0, target, decay) == pytest.approx((u.T @ end.a @ end.b.T @ v).item(), abs=1e-6)


def test_a_critical_mode_dies_like_one_over_twice_the_time():
    times = np.array([0.0, 50.0])
    np.testing.assert_allclose(strength(times, 0.2, 0.4, 0.4), [0.2, 0.2 / 21], rtol=1e-12)
    np.testing.assert_allclose(strength(times, 0.2, 0.4 + 1e-9, 0.4), [0.2, 0.2 / 21], rtol=1e-6)  # and the other branch goes there


def test_unequal_decays_act_like_their_geometric_mean():
    """I7 (T8)."""
    end = descend(np.diag([1.0, 0.8, 0.6, 0.45, 0.1]), (0.1, 0.4), small_factors(11, 12), 0.1, 6000)
    a, b = map(np.asarray, end)
    np.testing.assert_allclose(0.1 * a.T @ a, 0.4 * b.T @ b, atol=1e-6)
    assert joint_decay(0.1, 0.4) == pytest.approx(0.2)
    np.testing.assert_allclose(np.linalg.svd(end.a @ end.b.T, compute_uv=False), [0.8, 0.6, 0.4, 0.25, 0], atol=1e-5)


def test_one_unregularised_factor_takes_the_penalty_away():
    """T8 with a zero: the flow goes on towards a small A and a large B, and keeps the rank (C9)."""
    end = descend(np.diag([1.0, 0.8, 0.6, 0.4, 0.2]), (0.4, 0.0), small_factors(13, 14), 0.05, 4000)
    assert joint_decay(0.4, 0.0) == 0
    values = np.linalg.svd(end.a @ end.b.T, compute_uv=False)
    np.testing.assert_allclose(values, [0.977, 0.777, 0.577, 0.376, 0.174], atol=0.02)
    assert np.sum(np.square(end.b)) > 5 * np.sum(np.square(end.a))


# --- the optimisers' table ------------------------------------------------------------------------------------------


def test_decay_beside_the_gradient_and_inside_it_are_one_for_sgd_and_two_for_adam():
    """I10."""
    eta, decayed = 0.05, optax.add_decayed_weights(0.3)

    @jax.jit
    def after_each(f, g):
        def after(*chain):
            optimizer = optax.chain(*chain, optax.scale_by_learning_rate(eta))
            updates, _ = optimizer.update(gradient_of_factors(f, g), optimizer.init(f), f)
            return optax.apply_updates(f, updates)

        return after(decayed), after(optax.identity(), decayed), after(decayed, optax.scale_by_adam()), after(optax.scale_by_adam(), decayed)

    inside, beside, l2, decoupled = after_each(random_factors(15), normal(16, 6, 5))
    for x, y in zip(inside, beside, strict=True):
        np.testing.assert_array_equal(x, y)
    assert np.abs(np.asarray(l2.a) - np.asarray(decoupled.a)).max() > 1e-3


def test_the_decay_clock_is_the_sum_of_learning_rates():
    """Under a schedule D shrinks by the product of (1 - eta_t lambda)^2, up to sources of order eta^2."""
    f, decay, loss = random_factors(17), 0.3, partial(curved, normal(18, 6, 5))

    @jax.jit
    def imbalances(f, rates):
        def step(f, eta):
            return jax.tree.map(lambda x, d: x + eta * d, f, downhill(loss, decay, f)), None

        return imbalance(f), imbalance(jax.lax.scan(step, f, rates)[0])

    for scale, largest in ((1e-3, 2e-3), (1e-4, 2e-4)):
        rates = scale * (1 + np.cos(np.linspace(0, 3, 200)))
        before, after = map(np.asarray, imbalances(f, rates))
        kept = np.prod((1 - rates * decay) ** 2)
        assert np.linalg.norm(after - kept * before) < largest * np.linalg.norm(before) * 5
        np.testing.assert_allclose(-np.log(kept), 2 * decay * rates.sum(), rtol=1e-2 if scale > 5e-4 else 1e-3)


def test_heavy_balls_have_a_second_order_law():
    """mu D'' + D' + 2 lambda D = 2 mu (A'^T A' - B'^T B') along mu A'' + A' = -(G B + lambda A)."""
    mass, decay, f = 0.7, 0.3, random_factors(19)
    velocity = Factors(normal(20, 6, 4), normal(21, 5, 4))

    @jax.jit
    def terms(f, velocity, target):
        force = downhill(partial(curved, target), decay, f)
        acceleration = jax.tree.map(lambda push, v: (push - v) / mass, force, velocity)

        def along(t):
            return imbalance(jax.tree.map(lambda x, v, a: x + t * v + t**2 / 2 * a, f, velocity, acceleration))

        return along(0.0), jax.jacfwd(along)(0.0), jax.jacfwd(jax.jacfwd(along))(0.0), 2 * mass * imbalance(velocity)

    value, first, second, source = map(np.asarray, terms(f, velocity, normal(22, 6, 5)))
    np.testing.assert_allclose(mass * second + first + 2 * decay * value, source, atol=1e-11)
    assert np.abs(source).max() > 1


def test_adam_with_l2_stops_at_a_balanced_point():
    """The path law is lost, the stationary points are the same."""
    target, decay, steps = np.diag([1.0, 0.7, 0.2]), 0.1, 3000
    optimizer = optax.chain(optax.add_decayed_weights(decay), optax.adam(optax.cosine_decay_schedule(3e-2, steps)))
    start = Factors(*(0.5 * np.random.default_rng(seed).standard_normal((3, 3)) for seed in (23, 24)))

    def step(carry, _):
        f, state = carry
        gradient = jax.grad(lambda g: quadratic(target, g.a @ g.b.T))(f)
        updates, state = optimizer.update(gradient, state, f)
        return (optax.apply_updates(f, updates), state), None

    (end, _), _ = jax.jit(lambda f: jax.lax.scan(step, (f, optimizer.init(f)), None, length=steps))(start)
    assert balance(*end).imbalance < 1e-3
    np.testing.assert_allclose(np.linalg.svd(end.a @ end.b.T, compute_uv=False), [0.9, 0.6, 0.1], atol=1e-3)


def test_adamws_step_has_a_first_order_source_unless_both_factors_share_one_scale():
    """I10: the formula holds for any directions; the source of order eta vanishes for a common scalar and not for signs."""
    f, g, decay = random_factors(25), normal(26, 6, 5), 0.3
    gradient = jax.tree.map(np.asarray, jax.jit(gradient_of_factors)(f, g))

    @jax.jit
    def imbalances(direction, eta):
        after = jax.tree.map(lambda x, u: (1 - eta * decay) * x - eta * u, f, direction)
        return imbalance(f), imbalance(after), imbalance_after_adamw_step(f, direction, eta, decay)

    def source(direction, eta):
        before, after, wanted = map(np.asarray, imbalances(direction, eta))
        np.testing.assert_allclose(after, wanted, atol=1e-13)
        return np.linalg.norm(after - (1 - eta * decay) ** 2 * before)

    shared, signs = jax.tree.map(lambda x: 1.7 * x, gradient), jax.tree.map(np.sign, gradient)
    assert source(shared, 1e-3) / source(shared, 1e-4) == pytest.approx(100, rel=1e-3)
    assert source(signs, 1e-3) / source(signs, 1e-4) == pytest.approx(10, rel=0.05)


def test_the_discrete_rate_goes_to_twice_the_decay():
    assert decay_rate(0.05, 0.4) == pytest.approx(0.8081, abs=5e-5)  # the spec's table
    assert decay_rate(1e-6, 0.4) == pytest.approx(0.8, rel=1e-6)


# --- where the law changes its form ---------------------------------------------------------------------------------


def test_heads_that_share_a_key_obey_the_law_as_a_group():
    """I8: W_K W_K^T = sum_g W_Qg W_Qg^T; a step leaves O(eta^2) there and O(eta) in each head's own law."""
    groups, d, r, decay = 3, 8, 4, 0.3
    key, query = normal(27, d, r), normal(28, groups, d, r)
    gradient = normal(29, groups, d, d)  # of each head's product W_K^T W_Qg

    @jax.jit
    def residual(eta):
        new_key = (1 - eta * decay) * key - eta * jnp.einsum("gij,gjr->ir", gradient, query)
        new_query = (1 - eta * decay) * query - eta * jnp.einsum("gji,jr->gir", gradient, key)
        kept = (1 - eta * decay) ** 2
        group = [Factors(k, q.reshape(-1, r)) for k, q in ((key, query), (new_key, new_query))]
        head = [Factors(k, q[0]) for k, q in ((key, query), (new_key, new_query))]
        return [jnp.linalg.norm(imbalance(pair[1]) - kept * imbalance(pair[0])) for pair in (group, head)]

    (group, head), (half_group, half_head) = residual(1e-4), residual(5e-5)
    assert group / half_group == pytest.approx(4, rel=1e-2)
    assert head / half_head == pytest.approx(2, rel=1e-2)


def test_rotary_positions_leave_the_law_to_the_pairs_traces():
    """I9: score = x_k^T W_K^T R(t) W_Q x_q keeps one complex scale a rotary pair."""
    d, pairs, decay = 6, 2, 0.3
    key, query, data = normal(30, d, 2 * pairs), normal(31, d, 2 * pairs), normal(32, 10, 2, d)
    angle = jnp.arange(10.0)[:, None] * jnp.array([1.0, 0.1])

    def loss(f):
        k, q = data[:, 0] @ f.a, data[:, 1] @ f.b
        (k1, k2), (q1, q2) = (jnp.split(x, 2, axis=1) for x in (k, q))  # coordinates i and i + r/2 turn together
        turned = jnp.concatenate([q1 * jnp.cos(angle) - q2 * jnp.sin(angle), q1 * jnp.sin(angle) + q2 * jnp.cos(angle)], axis=1)
        return jnp.sum(jnp.tanh(jnp.sum(jnp.concatenate([k1, k2], axis=1) * turned, axis=1)))

    @jax.jit
    def residual(eta):
        f = Factors(key, query)
        after = jax.tree.map(lambda x, g: (1 - eta * decay) * x - eta * g, f, jax.grad(loss)(f))
        left = imbalance(after) - (1 - eta * decay) ** 2 * imbalance(f)
        return jnp.linalg.norm(left), jnp.linalg.norm(jnp.diagonal(left).reshape(2, pairs).sum(0))

    (whole, traces), (tenth_whole, tenth_traces) = residual(1e-3), residual(1e-4)
    assert traces / tenth_traces == pytest.approx(100, rel=1e-2)
    assert whole / tenth_whole == pytest.approx(10, rel=0.05)
