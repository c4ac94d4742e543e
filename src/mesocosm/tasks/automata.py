r"""Strings of a random automaton, one after another: to predict the next symbol, a network must infer the automaton in context.

$$\underbrace{a_1 a_2 \cdots}_{\text{a walk from state } 0} \;|\; \underbrace{b_1 b_2 \cdots}_{\text{another}} \;|\; \cdots$$

Every sequence has an automaton of its own, so that no language is met twice.

Reference: Akyürek et al., "In-context language learning: Architectures and algorithms" (arXiv 2401.12973), Sec. 3 (RegBench).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.tasks.task import Split, Task, reject_ood
from mesocosm.tasks.tokens import distinct


class Automaton(NamedTuple):
    """A deterministic automaton with uniform probabilities.

    Attributes:
        allowed: symbols that may follow in each state.
        successor: the state after each symbol, meaningful where it is allowed.
    """

    allowed: Bool[Array, "states symbols"]
    successor: Int[Array, "states symbols"]


class AutomatonExample(NamedTuple):
    """One sequence, or a batch with the same leading axes in every field.

    Attributes:
        inputs: symbols, and between strings the separator, token number `symbols`.
        targets: the next token.
        weights: 1 where the next token is a symbol, else 0: nothing tells where a string ends.
        allowed: the symbols that may come next, and false for the separator.
    """

    inputs: Int[Array, "*batch time"]
    targets: Int[Array, "*batch time"]
    weights: Float[Array, "*batch time"]
    allowed: Bool[Array, "*batch time vocabulary"]


class AutomatonStrings(Task[AutomatonExample]):
    """Strings of one random automaton per sequence.

    The number of states is uniform between 4 and `states`, that of a state's symbols between 1 and `edges`; the symbols of a state are distinct, its successors
    uniform. Lengths of strings are uniform between 1 and `longest`. Train and iid have the same distribution.

    Attributes:
        states: largest number of states (paper: 12).
        symbols: size of the alphabet (paper: 4 to 18).
        edges: largest number of symbols of a state (paper: 4).
        longest: largest length of a string (paper: 50).
        length: number of positions.
    """

    states: int = eqx.field(static=True, default=12)
    symbols: int = eqx.field(static=True, default=18)
    edges: int = eqx.field(static=True, default=4)
    longest: int = eqx.field(static=True, default=50)
    length: int = eqx.field(static=True, default=256)

    def __check_init__(self):
        if self.states < 4 or not 1 <= self.edges <= self.symbols:
            raise ValueError(f"automata have 4 states or more and at most as many edges as symbols, but states = {self.states}, edges = {self.edges}")

    @property
    def vocabulary(self) -> int:
        """The symbols and the separator."""
        return self.symbols + 1

    def automaton(self, key: PRNGKeyArray) -> Automaton:
        """Draw one automaton; states above its own number are never reached."""
        count_key, edge_key, symbol_key, successor_key = jax.random.split(key, 4)
        count = jax.random.randint(count_key, (), 4, self.states + 1)
        edges = jax.random.randint(edge_key, (self.states,), 1, self.edges + 1)
        orders = jax.vmap(lambda k: distinct(k, self.symbols, self.edges))(jax.random.split(symbol_key, self.states))
        chosen = jnp.arange(self.edges) < edges[:, None]
        allowed = jnp.any((orders[:, :, None] == jnp.arange(self.symbols)) & chosen[:, :, None], axis=1)
        return Automaton(allowed, jax.random.randint(successor_key, (self.states, self.symbols), 0, count))

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> AutomatonExample:
        """Draw an automaton and a sequence of its strings."""
        reject_ood(self, split)
        automaton_key, walk_key = jax.random.split(key)
        automaton = self.automaton(automaton_key)

        def step(carry: tuple[Array, Array], key: PRNGKeyArray) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            state, left = carry
            symbol_key, length_key = jax.random.split(key)
            allowed = automaton.allowed[state]
            symbol = jax.random.categorical(symbol_key, jnp.where(allowed, 0.0, -jnp.inf))
            ended = left == 0
            token = jnp.where(ended, self.symbols, symbol)
            state = jnp.where(ended, 0, automaton.successor[state, symbol])
            left = jnp.where(ended, jax.random.randint(length_key, (), 1, self.longest + 1), left - 1)
            return (state, left), (token, jnp.append(allowed & ~ended, False))

        start = (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        _, (tokens, allowed) = jax.lax.scan(step, start, jax.random.split(walk_key, self.length + 1))
        inputs, targets = tokens[:-1].astype(jnp.int32), tokens[1:].astype(jnp.int32)
        return AutomatonExample(inputs, targets, (targets != self.symbols).astype(float), allowed[1:])


def valid_rate(logits: Float[Array, "*batch time vocabulary"], example: AutomatonExample) -> Float[Array, ""]:
    """The fraction of scored positions at which the symbol with the largest logit may come next, among the symbols (the separator's logit does not count)."""
    best = jnp.argmax(logits[..., :-1], axis=-1)
    good = jnp.take_along_axis(example.allowed, best[..., None], axis=-1)[..., 0]
    return jnp.sum(example.weights * good) / jnp.sum(example.weights)
