r"""Sequences from dynamical systems that are observed in part, or whose dynamics are not linear.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (arXiv 2309.05858), Sec. 3; numbers follow the authors' code.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.tasks.linear_systems import Scalar, Trajectory, haar_orthogonal
from mesocosm.tasks.task import Split, Task, reject_ood


class PartiallyObservedSystems(Task[Trajectory]):
    r"""$h_{t+1} = W h_t + \epsilon_t, \quad s_t = C h_t + \eta_t$, with $h_1 \sim U(-1, 1)^m$, $W$ orthogonal and $C_{ij} \sim N(0, 1/4)$, both new for every
    sequence, and $\epsilon, \eta \sim N(0, \sigma^2 I)$.

    Without noise, the last k observations determine the next one, by a linear map, if $k n \ge m$. The `transition` of an example is $W$.

    Attributes:
        dim: size n of an observation.
        hidden: size m of a state.
        length: number T of inputs; an example holds T + 1 observations.
        noise: standard deviation of both noises.
    """

    dim: int = eqx.field(static=True, default=5)
    hidden: int = eqx.field(static=True, default=15)
    length: int = eqx.field(static=True, default=50)
    noise: Scalar = 0.01

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Trajectory:
        """Draw one sequence: observations (length + 1, dim)."""
        reject_ood(self, split)
        transition_key, read_key, start_key, noise_key, observation_key = jax.random.split(key, 5)
        transition = haar_orthogonal(transition_key, self.hidden)
        read = 0.5 * jax.random.normal(read_key, (self.dim, self.hidden))
        start = jax.random.uniform(start_key, (self.hidden,), minval=-1.0, maxval=1.0)
        noise = self.noise * jax.random.normal(noise_key, (self.length, self.hidden))
        states = _orbit(lambda h: transition @ h, start, noise)
        observations = states @ read.T + self.noise * jax.random.normal(observation_key, (self.length + 1, self.dim))
        return Trajectory(observations, transition)


class NonlinearSystems(Task[Trajectory]):
    r"""$s_{t+1} = W \frac{g(s_t)}{\|g(s_t)\|} + \epsilon_t, \quad g(s) = B\,\mathrm{gelu}(A s)$, with $s_1 \sim U(-1/4, 1/4)^n$ and $\epsilon_t \sim N(0,
    \sigma^2 I)$; $W$ is orthogonal and new for every sequence, $A$ and $B$ belong to the task.

    The paper's text has no norm; its code does.

    Attributes:
        inward: A.
        outward: B.
        length: number T of inputs; an example holds T + 1 observations.
        noise: standard deviation of the noise.
    """

    inward: Float[Array, "hidden dim"]
    outward: Float[Array, "dim hidden"]
    length: int = eqx.field(static=True, default=50)
    noise: Scalar = 0.01

    @classmethod
    def draw(cls, key: PRNGKeyArray, dim: int = 10, length: int = 50, noise: Scalar = 0.01, scale: float = 1.1) -> "NonlinearSystems":
        """Draw A and B, with entries from N(0, scale^2) and 4 dim hidden units."""
        inward_key, outward_key = jax.random.split(key)
        return cls(scale * jax.random.normal(inward_key, (4 * dim, dim)), scale * jax.random.normal(outward_key, (dim, 4 * dim)), length, noise)

    def features(self, states: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        r"""$g(s) / \|g(s)\|$, of which the next state is a linear map."""
        values = jax.nn.gelu(states @ self.inward.T) @ self.outward.T
        return values / jnp.linalg.norm(values, axis=-1, keepdims=True)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Trajectory:
        """Draw one sequence: observations (length + 1, dim)."""
        reject_ood(self, split)
        transition_key, start_key, noise_key = jax.random.split(key, 3)
        dim = self.inward.shape[1]
        transition = haar_orthogonal(transition_key, dim)
        start = jax.random.uniform(start_key, (dim,), minval=-0.25, maxval=0.25)
        noise = self.noise * jax.random.normal(noise_key, (self.length, dim))
        return Trajectory(_orbit(lambda s: transition @ self.features(s), start, noise), transition)


def _orbit(advance: Callable[[Array], Array], start: Float[Array, " dim"], noise: Float[Array, "time dim"]) -> Float[Array, "time_plus_1 dim"]:
    def step(state: Array, noise: Array) -> tuple[Array, Array]:
        state = advance(state) + noise
        return state, state

    return jnp.concatenate([start[None], jax.lax.scan(step, start, noise)[1]])
