r"""Associative recall of random bits: keys 1 to N in order, each with a word of d bits, then one key again, whose word is asked for.

$$(k_1, v_1), \dots, (k_N, v_N), (k_i, 0) \;\mapsto\; v_i, \qquad k_i \text{ one-hot},\; v_i \in \{0, 1\}^d.$$

A model that cannot store all words must drop some. An adversary who knows which asks for those, unless they depend on a random seed.

Reference: von Oswald et al., "Learning randomized algorithms with transformers" (2025), Sec. 3.1.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm.tasks.task import Split, Task, reject_ood


class BitRecallExample(NamedTuple):
    """One sequence.

    Attributes:
        tokens: one-hot key, then the word; the last token asks for a key.
        target: the word asked for.
        query: number of the key asked for.
    """

    tokens: Float[Array, "pairs_and_query channels"]
    target: Float[Array, " bits"]
    query: Int[Array, ""]


class BitRecall(Task[BitRecallExample]):
    """Words of fair bits and a uniform query; train and iid share this distribution.

    Attributes:
        pairs: number N of keys.
        bits: number d of bits in a word.
    """

    pairs: int = eqx.field(static=True, default=20)
    bits: int = eqx.field(static=True, default=5)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> BitRecallExample:
        """Draw one sequence."""
        reject_ood(self, split)
        word_key, query_key = jax.random.split(key)
        words = jax.random.bernoulli(word_key, shape=(self.pairs, self.bits)).astype(float)
        return self._example(words, jax.random.randint(query_key, (), 0, self.pairs))

    def balanced(self, key: PRNGKeyArray, completions: int) -> BitRecallExample:
        """An evaluation set: each query with each word as its target, and `completions` draws of the other words; pairs * 2^bits * completions examples."""
        words = jnp.indices((2,) * self.bits).reshape(self.bits, -1).T.astype(float)
        query, word, _ = (axis.ravel() for axis in jnp.indices((self.pairs, len(words), completions)))

        def one(key: PRNGKeyArray, query: Array, word: Array) -> BitRecallExample:
            others = jax.random.bernoulli(key, shape=(self.pairs, self.bits)).astype(float)
            return self._example(others.at[query].set(words[word]), query)

        return jax.vmap(one)(jax.random.split(key, query.size), query, word)

    def _example(self, words: Array, query: Array) -> BitRecallExample:
        keys = jnp.eye(self.pairs)
        asked = jnp.concatenate([keys[query], jnp.zeros(self.bits)])
        return BitRecallExample(jnp.concatenate([jnp.concatenate([keys, words], axis=1), asked[None]]), words[query], query)


def bit_loss(logits: Float[Array, " bits"], target: Float[Array, " bits"]) -> Float[Array, ""]:
    """Binary cross-entropy in nats, mean over bits; ln 2 for a model that knows nothing."""
    return jnp.mean(jax.nn.softplus((1 - 2 * target) * logits))
