r"""Networks whose first layer is a composition of modules, and students that are fitted to them until nothing is left of the loss.

$$f(x; z) = A\, \phi\big(W(z)\, x / \sqrt n\big), \qquad W(z) = \sum_m z_m \Theta^{(m)},$$

without biases. A student has modules and a readout of its own, and a code of its own for each task.

Reference: Schug et al., "Discovering modular solutions that generalize compositionally" (2024), Sec. 3.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mesocosm.numerics.levenberg_marquardt import levenberg_marquardt

Activation = Callable[[Array], Array]
Codes = Float[Array, "tasks modules"]
Inputs = Float[Array, "tasks points inputs"]
Outputs = Float[Array, "tasks points outputs"]


class ComposedNetwork(NamedTuple):
    r"""The parameters of $f$.

    Attributes:
        modules: $\Theta$.
        readout: $A$.
    """

    modules: Float[Array, "*students modules hidden inputs"]
    readout: Float[Array, "*students outputs hidden"]


class Students(NamedTuple):
    """Fitted students; the leading axis of all arrays is starts.

    Attributes:
        network: their parameters.
        codes: their code of each training task.
        loss: mean square of the errors over that of the targets.
    """

    network: ComposedNetwork
    codes: Float[Array, "starts tasks modules"]
    loss: Float[Array, " starts"]


def outputs(network: ComposedNetwork, codes: Codes, x: Inputs, activation: Activation = jax.nn.relu) -> Outputs:
    """f of each task's code at its inputs."""
    return jnp.einsum("tph,oh->tpo", activation(_preactivations(network.modules, codes, x)), network.readout)


def fit_students(
    x: Inputs,
    targets: Outputs,
    starts: Key[Array, "starts"],
    *,
    modules: int,
    hidden: int,
    steps: int,
    activation: Activation = jax.nn.relu,
) -> Students:
    """Fit a student with modules, readout and codes of its own to the tasks from each start, by Levenberg and Marquardt's method. Use float64.

    Starts have standard normal modules and codes, and half of that in the readout.
    """
    tasks, points, n = x.shape
    out = targets.shape[-1]
    shapes = ((modules, hidden, n), (out, hidden), (tasks, modules))
    scale = jnp.sqrt(jnp.sum(targets**2))

    def parts(flat: Float[Array, " parameters"]) -> list[Array]:
        found, begin = [], 0
        for shape in shapes:
            found.append(flat[begin : begin + prod(shape)].reshape(shape))
            begin += prod(shape)
        return found

    def linearise(flat: Float[Array, " parameters"]) -> tuple[Array, Array]:
        theta, readout, codes = parts(flat)
        network = ComposedNetwork(theta, readout)
        value, (by_modules, by_readout, by_codes) = _derivatives(network, codes, x, activation)
        own = jnp.einsum("tpom,ts->tposm", by_codes, jnp.eye(tasks))
        jacobian = jnp.concatenate([block.reshape(tasks * points * out, -1) for block in (by_modules, by_readout, own)], axis=1)
        return (value - targets).ravel() / scale, jacobian / scale

    def of_start(key: Key[Array, ""]) -> Students:
        keys = jax.random.split(key, 3)
        start = jnp.concatenate([gain * jax.random.normal(k, shape).ravel() for gain, shape, k in zip((1.0, 0.5, 1.0), shapes, keys, strict=True)])
        found = levenberg_marquardt(linearise, start, steps=steps)
        theta, readout, codes = parts(found.parameters)
        return Students(ComposedNetwork(theta, readout), codes, found.loss)

    return jax.vmap(of_start)(starts)


def best_codes(
    network: ComposedNetwork, x: Inputs, targets: Outputs, starts: Float[Array, "tasks starts modules"], *, steps: int, activation: Activation = jax.nn.relu
) -> tuple[Codes, Float[Array, " tasks"]]:
    """For each task, the code with the smallest loss over all starts, and that loss: mean square of the errors over that of the targets."""

    def of_task(x: Array, target: Array, starts: Array) -> tuple[Array, Array]:
        scale = jnp.sqrt(jnp.sum(target**2))

        def linearise(code: Float[Array, " modules"]) -> tuple[Array, Array]:
            value, (*_, by_codes) = _derivatives(network, code[None], x[None], activation)
            return (value[0] - target).ravel() / scale, by_codes[0].reshape(-1, code.size) / scale

        found = jax.vmap(lambda start: levenberg_marquardt(linearise, start, steps=steps))(starts)
        best = jnp.argmin(found.loss)
        return found.parameters[best], found.loss[best]

    return jax.vmap(of_task)(x, targets, starts)


def _preactivations(modules: Array, codes: Codes, x: Inputs) -> Float[Array, "tasks points hidden"]:
    return jnp.einsum("tm,mhn,tpn->tph", codes, modules, x) / x.shape[-1] ** 0.5


def _derivatives(network: ComposedNetwork, codes: Codes, x: Inputs, activation: Activation) -> tuple[Outputs, tuple[Array, Array, Array]]:
    """f, and its derivatives with respect to modules, readout and each task's own code; leading axes (tasks, points, outputs)."""
    modules, readout = network
    x = x / x.shape[-1] ** 0.5
    u = jnp.einsum("tm,mhn,tpn->tph", codes, modules, x)
    h, slope = jax.jvp(activation, (u,), (jnp.ones_like(u),))
    sensitivity = readout * slope[:, :, None]  # of output o to preactivation h
    by_modules = jnp.einsum("tpoh,tm,tpn->tpomhn", sensitivity, codes, x)
    by_readout = jnp.einsum("tph,oq->tpoqh", h, jnp.eye(readout.shape[0]))
    by_codes = jnp.einsum("tpoh,mhn,tpn->tpom", sensitivity, modules, x)
    return jnp.einsum("tph,oh->tpo", h, readout), (by_modules, by_readout, by_codes)
