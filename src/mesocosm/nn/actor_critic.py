r"""Agents that choose between two actions and value what they have seen, one observation at a time; and choosers, which have any number of actions.

An agent has `init_state()` and `step(state, observation)`, which returns the next state and a `Decision`. Observations are one-hot vectors or other features.
All heads start at zero: a new agent cooperates with probability 1/2 and expects nothing. A chooser's step returns a `Choice`; called with a whole sequence, it
returns the choices at all times.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), App. B.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixer import StreamingMixer


class Decision(NamedTuple):
    """A logit to take action 0, and the value of what was seen."""

    logit: Float[Array, ""]
    value: Float[Array, ""]


@runtime_checkable
class Agent(Protocol):
    """What the learners of pools ask of an agent."""

    def init_state(self) -> Any:
        """The state before the first observation."""
        ...

    def step(self, state: Any, observation: Float[Array, " features"]) -> tuple[Any, Decision]:
        """Take in an observation and decide."""
        ...


class TabularAgent(eqx.Module):
    """A logit and a value for each feature of a one-hot observation: without memory of its own."""

    table: Float[Array, "features 2"]

    @classmethod
    def create(cls, features: int, *, key: PRNGKeyArray) -> TabularAgent:
        """A table of zeros."""
        return cls(jnp.zeros((features, 2)))

    def init_state(self) -> tuple[()]:
        """None."""
        return ()

    def step(self, state: tuple[()], observation: Float[Array, " features"]) -> tuple[tuple[()], Decision]:
        """Read the table."""
        logit, value = observation @ self.table
        return state, Decision(logit, value)


class GatedAgent(eqx.Module):
    r"""A gated linear recurrence whose gates see the observation alone, a gated MLP, and a direct table, for one-hot observations o:

    $$h_t = a_t h_{t-1} + \sqrt{1 - a_t^2}\, i_t u_t, \quad a_t = e^{-c\, r_t\, \text{softplus}(\Lambda)}, \qquad
      (\ell_t, V_t) = W \big[\text{gelu}(W_1 z_t)\, W_2 z_t\big] + D o_t, \quad z_t = [h_t, o_t],$$

    where the entries of $u_t$, $i_t$ and $r_t$ are those of the observed feature, the last two through a sigmoid. What the gates do is computed once for each
    feature, not for each observation.

    Attributes:
        inputs: u, i and r of each feature, the last two before the sigmoid.
        memory: $\Lambda$.
        hidden: $W_1$ and $W_2$.
        readout: W.
        direct: D.
        exponent: c.
    """

    inputs: Float[Array, "3 width features"]
    memory: Float[Array, " width"]
    hidden: Float[Array, "2 hidden joined"]
    readout: Float[Array, "2 hidden"]
    direct: Float[Array, "2 features"]
    exponent: float = eqx.field(static=True)

    @classmethod
    def create(cls, features: int, *, width: int = 16, hidden: int = 24, exponent: float = 2.0, key: PRNGKeyArray) -> GatedAgent:
        r"""Weights N(0, 1 / fan in) and heads of zeros; the slowest decays $e^{-\text{softplus}(\Lambda)}$ are uniform in [0.9, 0.999]."""
        input_key, memory_key, hidden_key = jax.random.split(key, 3)
        slowest = jax.random.uniform(memory_key, (width,), minval=0.9, maxval=0.999)
        return cls(
            jax.random.normal(input_key, (3, width, features)) / features**0.5,
            jnp.log(jnp.expm1(-jnp.log(slowest))),
            jax.random.normal(hidden_key, (2, hidden, width + features)) / (width + features) ** 0.5,
            jnp.zeros((2, hidden)),
            jnp.zeros((2, features)),
            exponent,
        )

    def init_state(self) -> Float[Array, " width"]:
        """A state of zeros."""
        return jnp.zeros_like(self.memory)

    def step(self, state: Float[Array, " width"], observation: Float[Array, " features"]) -> tuple[Float[Array, " width"], Decision]:
        """Take in an observation and decide."""
        u, i, r = self.inputs
        log_decay = -self.exponent * jax.nn.sigmoid(r) * jax.nn.softplus(self.memory)[:, None]
        decay, added = jnp.stack([jnp.exp(log_decay), jnp.sqrt(-jnp.expm1(2 * log_decay)) * jax.nn.sigmoid(i) * u]) @ observation
        state = decay * state + added
        gate, linear = self.hidden @ jnp.concatenate([state, observation])
        logit, value = self.readout @ (jax.nn.gelu(gate) * linear) + self.direct @ observation
        return state, Decision(logit, value)


class MixerAgent(eqx.Module):
    """Any streaming mixer or block between a linear embedding and the heads: a Hawk block, a GRU, attention.

    Attributes:
        embedding: weights of the tokens.
        mixer: tokens -> tokens.
        heads: weights of logit and value.
    """

    embedding: Float[Array, "dim features"]
    mixer: StreamingMixer
    heads: Float[Array, "2 dim"]

    @classmethod
    def create(cls, features: int, *, mixer: Any, dim: int = 32, key: PRNGKeyArray) -> MixerAgent:
        """An agent with random embedding.

        Args:
            features: of an observation.
            mixer: (dim, key=key) -> mixer, such as `mesocosm.nn.HawkBlock.create`.
            dim: width of the tokens.
            key: for embedding and mixer.
        """
        embedding_key, mixer_key = jax.random.split(key)
        return cls(jax.random.normal(embedding_key, (dim, features)) / features**0.5, mixer(dim, key=mixer_key), jnp.zeros((2, dim)))

    def init_state(self) -> Any:
        """The mixer's."""
        return self.mixer.init_state()

    def step(self, state: Any, observation: Float[Array, " features"]) -> tuple[Any, Decision]:
        """Take in an observation and decide."""
        state, token = self.mixer.step(state, self.embedding @ observation)
        logit, value = self.heads @ token
        return state, Decision(logit, value)


# --- any number of actions


class Choice(NamedTuple):
    """Logits of all actions, and the value of what was seen."""

    logits: Float[Array, "*time actions"]
    value: Float[Array, "*time"]


@runtime_checkable
class Chooser(Protocol):
    """What pools in environments ask of an agent."""

    def init_state(self) -> Any:
        """The state before the first observation."""
        ...

    def step(self, state: Any, observation: Float[Array, " features"]) -> tuple[Any, Choice]:
        """Take in an observation and choose."""
        ...

    def __call__(self, observations: Float[Array, "time features"]) -> Choice:
        """The choices at all times, from the first state on."""
        ...


class TabularChooser(eqx.Module):
    """Logits and a value for each feature of a one-hot observation, in the last column: without memory of its own."""

    table: Float[Array, "features outputs"]

    @classmethod
    def create(cls, features: int, actions: int, *, key: PRNGKeyArray) -> TabularChooser:
        """A table of zeros."""
        return cls(jnp.zeros((features, actions + 1)))

    def init_state(self) -> tuple[()]:
        """None."""
        return ()

    def step(self, state: tuple[()], observation: Float[Array, " features"]) -> tuple[tuple[()], Choice]:
        """Read the table."""
        return state, _choice(observation @ self.table)

    def __call__(self, observations: Float[Array, "time features"]) -> Choice:
        """Read the table at all times."""
        return _choice(observations @ self.table)


class MixerChooser(eqx.Module):
    """Any streaming mixer or block between a linear embedding and the heads, all of which start at zero.

    Attributes:
        embedding: weights of the tokens.
        mixer: tokens -> tokens.
        heads: weights of all logits and, in the last row, of the value.
    """

    embedding: Float[Array, "dim features"]
    mixer: StreamingMixer
    heads: Float[Array, "outputs dim"]

    @classmethod
    def create(cls, features: int, actions: int, *, mixer: Any, dim: int = 32, key: PRNGKeyArray) -> MixerChooser:
        """A chooser with random embedding.

        Args:
            features: of an observation.
            actions: their number.
            mixer: (dim, key=key) -> mixer, such as `mesocosm.nn.HawkBlock.create`.
            dim: width of the tokens.
            key: for embedding and mixer.
        """
        embedding_key, mixer_key = jax.random.split(key)
        return cls(jax.random.normal(embedding_key, (dim, features)) / features**0.5, mixer(dim, key=mixer_key), jnp.zeros((actions + 1, dim)))

    def init_state(self) -> Any:
        """The mixer's."""
        return self.mixer.init_state()

    def step(self, state: Any, observation: Float[Array, " features"]) -> tuple[Any, Choice]:
        """Take in an observation and choose."""
        state, token = self.mixer.step(state, self.embedding @ observation)
        return state, _choice(self.heads @ token)

    def __call__(self, observations: Float[Array, "time features"]) -> Choice:
        """The choices at all times; a mixer with a parallel form computes them at once."""
        return _choice(self.mixer(observations @ self.embedding.T) @ self.heads.T)


def _choice(outputs: Float[Array, "*time outputs"]) -> Choice:
    return Choice(outputs[..., :-1], outputs[..., -1])
