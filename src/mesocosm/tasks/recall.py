r"""Associative recall: key-value pairs, then keys once more, as queries for their values. Multi-query recall (MQAR) asks for each key between other tokens:

$$k_1\, v_1\, \dots\, k_K\, v_K \;\cdots\; k_{\sigma(1)} \cdots k_{\sigma(K)} \cdots \qquad \text{target after } k_i\colon\ v_i.$$

Every sequence binds its keys anew, so that a network cannot store the pairs in its weights.

Reference: Arora et al., "Zoology: Measuring and improving recall in efficient language models" (arXiv 2312.04927), Sec. 4 and the authors' code.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.tasks.task import Split, Task, reject_ood
from mesocosm.tasks.tokens import TokenExample, distinct, skip

Scalar = float | Float[Array, ""]


class MultiQueryRecall(Task[TokenExample]):
    r"""`pairs` pairs $(k_i, v_i)$ in the first $2K$ positions; then $S = \lfloor (T - 2K)/2 \rfloor$ slots of two positions, of which $K$ begin with a query.

    Pair $i$ gets a slot $g_i$ from the power law $p(g) \propto (g + 1)^{a - 1}$, $g = 0, \dots, S - 1$, without replacement, pair after pair. Its query
    $k_i$ is at position $2K + 2 g_i$, where the target is $v_i$; the value does not follow the query in the inputs.

    Token 0 is the blank, 1 to $\lfloor V/2 \rfloor - 1$ are keys, the others values. Keys and values of a sequence are distinct. With distractors, every other
    position holds a uniform token that is not one of this sequence's keys (in the authors' code it may be one, unscored); without, it holds the blank.

    Train and iid sequences have the same distribution (pass them different keys). In the ood split, the exponent is `ood_power`: by default queries are
    uniform over the slots, so that more of them are far from their pairs than in training.

    Attributes:
        vocabulary: number V of tokens, at least 2K + 2.
        pairs: number K of pairs and of queries.
        length: number T of positions, at least 4K.
        power: the exponent $a$; 1 is uniform, and 0.01, the authors' value, is close to $p(g) \propto 1/(g + 1)$.
        ood_power: the exponent of the ood split.
        distractors: whether other positions hold random tokens.
    """

    vocabulary: int = eqx.field(static=True, default=256)
    pairs: int = eqx.field(static=True, default=8)
    length: int = eqx.field(static=True, default=64)
    power: Scalar = 0.01
    ood_power: Scalar = 1.0
    distractors: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if self.pairs < 1:
            raise ValueError(f"recall needs at least 1 pair, but pairs = {self.pairs}")
        if self.vocabulary < 2 * self.pairs + 2:
            raise ValueError(f"{self.pairs} pairs need a vocabulary of at least {2 * self.pairs + 2}, but vocabulary = {self.vocabulary}")
        if self.length < 4 * self.pairs:
            raise ValueError(f"{self.pairs} pairs and their queries need a length of at least {4 * self.pairs}, but length = {self.length}")

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> TokenExample:
        """Draw one sequence; all fields have shape (length,)."""
        key_key, value_key, slot_key, other_key = jax.random.split(key, 4)
        half, context = self.vocabulary // 2, 2 * self.pairs
        keys = 1 + distinct(key_key, half - 1, self.pairs)
        values = half + distinct(value_key, self.vocabulary - half, self.pairs)

        # The largest of log p + Gumbel noise, in decreasing order, are draws from p without replacement.
        log_power_law = ((self.ood_power if split == "ood" else self.power) - 1) * jnp.log(1.0 + jnp.arange((self.length - context) // 2))
        slots = jax.lax.top_k(log_power_law + jax.random.gumbel(slot_key, log_power_law.shape), self.pairs)[1]
        queries = context + 2 * slots

        inputs = jnp.zeros(self.length, jnp.int32)
        if self.distractors:
            inputs = skip(jnp.sort(keys), jax.random.randint(other_key, (self.length,), 0, self.vocabulary - self.pairs, jnp.int32))
        inputs = inputs.at[0:context:2].set(keys).at[1:context:2].set(values).at[queries].set(keys)
        return TokenExample(inputs, jnp.zeros_like(inputs).at[queries].set(values), jnp.zeros(self.length).at[queries].set(1.0))


class AssociativeRecall(Task[TokenExample]):
    r"""$k_1\, v_1 \dots k_N\, v_N\, q_1 \dots q_Q$: every key once with a value, then queries, different keys whose values are the targets.

    Tokens 0 to N - 1 are the keys, N to 2N - 1 the values. The order of the keys, the queries, and the values (independent and uniform) are drawn for each
    sequence. In training, a target is replaced by a uniform value with probability `label_noise`; the split iid has none.

    With several queries, let a model's attention see the context and the token itself only (`ContextAndSelf`), so that each is a sequence of its own.

    Attributes:
        pairs: number N of pairs.
        queries: number Q of queries, at most N.
        label_noise: probability of a random target in training.

    Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), Sec. 4.1, with N = 20, Q = 1 and 0.05.
    """

    pairs: int = eqx.field(static=True, default=20)
    queries: int = eqx.field(static=True, default=1)
    label_noise: Scalar = 0.05

    def __check_init__(self):
        if not 1 <= self.queries <= self.pairs:
            raise ValueError(f"{self.pairs} pairs can be asked for by 1 to {self.pairs} different queries, not {self.queries}")

    @property
    def vocabulary(self) -> int:
        """Keys and values."""
        return 2 * self.pairs

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> TokenExample:
        """Draw one sequence; all fields have shape (2N + Q,)."""
        reject_ood(self, split)
        order_key, value_key, query_key, noise_key, wrong_key = jax.random.split(key, 5)
        keys = jax.random.permutation(order_key, self.pairs)
        values = self.pairs + jax.random.randint(value_key, (self.pairs,), 0, self.pairs)
        asked = jax.random.permutation(query_key, self.pairs)[: self.queries]
        answers = values[asked]
        if split == "train":
            noisy = jax.random.bernoulli(noise_key, self.label_noise, (self.queries,))
            answers = jnp.where(noisy, self.pairs + jax.random.randint(wrong_key, (self.queries,), 0, self.pairs), answers)
        inputs = jnp.concatenate([jnp.stack([keys, values], axis=1).reshape(-1), keys[asked]]).astype(jnp.int32)
        context = jnp.zeros(2 * self.pairs)
        targets = jnp.concatenate([context, answers]).astype(jnp.int32)
        return TokenExample(inputs, targets, jnp.concatenate([context, jnp.ones(self.queries)]))
