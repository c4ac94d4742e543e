"""Dense references of the formulas, written without the library: every token's system is built and solved on its own."""

import jax.numpy as jnp
import numpy as np


def relative_error(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.abs(a - b).max() / np.abs(b).max()


def forgetting(log_forget):
    """zeta[t, s] = prod_{r=s+1..t} gamma_r for s <= t, else 0."""
    c = jnp.cumsum(log_forget)
    return jnp.where(jnp.tril(jnp.ones((len(c), len(c)), bool)), jnp.exp(jnp.minimum(c[:, None] - c[None, :], 0)), 0)


def dense_mesa(query, key, value, regulariser, log_forget=None, input_gate=None, *, decaying=False):
    """o_t = G_t (H_t + Lambda [prod gamma])^{-1} q_t by one solve per token."""
    time = len(query)
    log_forget = jnp.zeros(time, key.dtype) if log_forget is None else log_forget
    input_gate = jnp.ones(time, key.dtype) if input_gate is None else input_gate
    weights = forgetting(log_forget) * input_gate[None, :]
    gram = jnp.einsum("ts,si,sj->tij", weights, key, key)
    worn = jnp.exp(jnp.cumsum(log_forget)) if decaying else jnp.ones(time, key.dtype)
    gram = gram + worn[:, None, None] * jnp.diag(regulariser)
    solution = jnp.linalg.solve(gram, query[..., None])[..., 0]
    return jnp.einsum("ts,sv,sk,tk->tv", weights, value, key, solution)
