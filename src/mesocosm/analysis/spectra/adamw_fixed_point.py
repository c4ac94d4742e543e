r"""Where AdamW comes to rest without gradient noise, exactly.

At rest the first moment is the gradient $g$ and the root of the second is $|g|$, so that every parameter obeys

$$\lambda w = -\frac{g}{|g| + \epsilon}, \qquad\text{that is}\qquad g = -\frac{\epsilon \lambda w}{1 - \lambda |w|}, \quad |\lambda w| < 1.$$

AdamW therefore rests at the stationary points of $L + \epsilon \sum_i \phi(w_i)$ with the barrier $\phi(w) = -\log(1 - \lambda |w|) / \lambda - |w|$. For
$\lambda |w| \ll 1$ it is $\frac\lambda2 w^2$: L2 of strength $\epsilon\lambda$. At $\epsilon = 10^{-8}$ that is next to nothing, which is why AdamW without
noise hardly knows its decay.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), App. E and Fig. 5. The barrier and the closed
forms on a line are ours.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import root_scalar

Scalar = float | Float[Array, ""]
Rule = Literal["adamw", "adam_l2"]


def fixed_point_error(parameters: Float[Array, "..."], gradient: Float[Array, "..."], decay: Scalar, epsilon: Scalar) -> Float[Array, "..."]:
    r"""$|\lambda w + g / (|g| + \epsilon)|$ elementwise: 0 exactly where AdamW rests."""
    return jnp.abs(decay * parameters + gradient / (jnp.abs(gradient) + epsilon))


def gradient_at_rest(parameters: Float[Array, "..."], decay: Scalar, epsilon: Scalar) -> Float[Array, "..."]:
    r"""The gradient of the loss where AdamW rests at these parameters, $-\epsilon\lambda w / (1 - \lambda |w|)$.

    NaN where $\lambda |w| \ge 1$, since no gradient holds it there.
    """
    room = 1 - decay * jnp.abs(parameters)
    return jnp.where(room > 0, -epsilon * decay * parameters / jnp.where(room > 0, room, 1.0), jnp.nan)


def barrier(parameters: Float[Array, "..."], decay: Scalar, epsilon: Scalar) -> Float[Array, ""]:
    r"""$\epsilon \sum_i \left(-\log(1 - \lambda |w_i|) / \lambda - |w_i|\right)$, the penalty whose stationary points are AdamW's.

    Infinite from $\lambda |w| = 1$ on.
    """
    size = jnp.abs(parameters)
    room = 1 - decay * size
    return epsilon * jnp.sum(jnp.where(room > 0, -jnp.log1p(-decay * jnp.where(room > 0, size, 0.0)) / decay - size, jnp.inf))


class Line(NamedTuple):
    r"""The line $c_1 w_1 + c_2 w_2 = b$ in the plane; the loss is the squared distance to it.

    Attributes:
        slope: $(c_1, c_2)$, both positive.
        offset: $b$, positive.
    """

    slope: tuple[float, float]
    offset: float

    def loss(self, point: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
        r"""$(c^\top w - b)^2 / \|c\|^2$."""
        slope = jnp.asarray(self.slope)
        return (point @ slope - self.offset) ** 2 / jnp.sum(slope**2)

    def rest(self, decay: float, epsilon: float, *, rule: Rule, factored: bool) -> Float[np.ndarray, " 2"]:
        r"""Where the two scalars end, to rounding.

        Under `adam_l2`, Adam on the loss with L2 of strength $\epsilon\lambda$; under `adamw`, AdamW with decay $\lambda$. Direct, $w$ is the parameter;
        factored, $w_i = a_i b_i$ with positive, balanced factors. With $g_i = 2 c_i (c^\top w - b) / \|c\|^2 < 0$:

        | | direct | factored |
        |---|---|---|
        | `adam_l2` | $w_i = \|g_i\| / \epsilon\lambda$ | $w_i = 0$ unless $\|g_i\| = \epsilon\lambda$ |
        | `adamw` | $w_i = \|g_i\| / \lambda(\|g_i\| + \epsilon)$ | $w_i = (1 / \lambda - \epsilon / \|g_i\|)_+^2$ |

        Factored scalars have a threshold: those with a gradient of at most $\epsilon\lambda$ are exactly 0. So direct ones end at the point of the line
        (nearly) with the smallest L2 norm, factored ones at that with the smallest L1 norm.

        Raises:
            ValueError: a number that must be positive is not.
        """
        slope = np.asarray(self.slope, np.float64)
        if min(*slope, self.offset, decay, epsilon) <= 0:
            raise ValueError(f"slope, offset, decay and epsilon must be positive, not {self.slope}, {self.offset}, {decay}, {epsilon}")
        steepness = 2 * slope / np.sum(slope**2)
        if factored and rule == "adam_l2":
            first = int(np.argmax(slope))
            residual = min(epsilon * decay / steepness[first], self.offset)
            return np.where(np.arange(2) == first, (self.offset - residual) / slope[first], 0.0)

        def point(missing: float) -> np.ndarray:
            return _scalars(missing * steepness, decay, epsilon, rule, factored)

        found = root_scalar(lambda missing: slope @ point(missing) - (self.offset - missing), bracket=(0.0, self.offset), xtol=1e-15, rtol=1e-14)
        return point(found.root)


def _scalars(pull: Float[np.ndarray, " 2"], decay: float, epsilon: float, rule: Rule, factored: bool) -> Float[np.ndarray, " 2"]:
    """The scalars that gradients of these sizes hold."""
    if factored:
        return np.maximum(1 / decay - epsilon / np.maximum(pull, 1e-300), 0.0) ** 2
    return pull / (decay * (pull + epsilon)) if rule == "adamw" else pull / (epsilon * decay)
