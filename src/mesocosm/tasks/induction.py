r"""Induction: find an earlier occurrence of the current token and predict the token that followed it, $\dots a\, b \dots a \to b$.

`Induction` asks once, with a special token. `RepeatedSequence` asks at every position of a second copy of a random sequence.

References: Olsson et al., "In-context learning and induction heads" (arXiv 2209.11895); Gu and Dao, "Mamba" (arXiv 2312.00752), Sec. 4.1.2, for the special
token.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mesocosm.tasks.task import Split, Task, reject_ood
from mesocosm.tasks.tokens import TokenExample, distinct


class Induction(Task[TokenExample]):
    r"""$s_1 \dots s_p\, \triangleright\, b \dots \triangleright$: a trigger at a uniform position, and again at the end, where the target is $b$.

    The trigger is token V - 1; the others are uniform. Only the last position is scored. Mamba trains with a vocabulary of 16 and a length of 256 and tests
    at greater lengths.

    Train and iid sequences have the same distribution (pass them different keys); there is no ood split. To test longer sequences, make a second task.

    Attributes:
        vocabulary: number V of tokens, at least 3.
        length: number of positions, at least 3.
    """

    vocabulary: int = eqx.field(static=True, default=16)
    length: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        if self.vocabulary < 3:
            raise ValueError(f"a trigger and two other tokens need a vocabulary of at least 3, but vocabulary = {self.vocabulary}")
        if self.length < 3:
            raise ValueError(f"two triggers with a token between them need a length of at least 3, but length = {self.length}")

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> TokenExample:
        """Draw one sequence; all fields have shape (length,)."""
        reject_ood(self, split)
        token_key, place_key = jax.random.split(key)
        tokens = jax.random.randint(token_key, (self.length,), 0, self.vocabulary - 1, jnp.int32)
        place = jax.random.randint(place_key, (), 0, self.length - 2)
        inputs = tokens.at[place].set(self.vocabulary - 1).at[-1].set(self.vocabulary - 1)
        return TokenExample(inputs, jnp.zeros_like(tokens).at[-1].set(tokens[place + 1]), jnp.zeros(self.length).at[-1].set(1.0))


class RepeatedSequence(Task[TokenExample]):
    r"""$r_1 \dots r_n\, r_1 \dots r_n$ with distinct uniform tokens, $n$ = `length` / 2; at each position of the second half, the target is the next token.

    After the last $r_n$, the target is $r_1$, which followed $r_n$ before. The tokens are distinct, so that every target follows from one earlier occurrence.

    Train and iid sequences have the same distribution (pass them different keys); there is no ood split. To test longer sequences, make a second task.

    Attributes:
        vocabulary: number of tokens, at least `length` / 2.
        length: number of positions, even.
    """

    vocabulary: int = eqx.field(static=True, default=64)
    length: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        if self.length < 4 or self.length % 2:
            raise ValueError(f"a repeated sequence needs an even length of at least 4, but length = {self.length}")
        if self.vocabulary < self.length // 2:
            raise ValueError(f"{self.length // 2} distinct tokens need a vocabulary of at least {self.length // 2}, but vocabulary = {self.vocabulary}")

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> TokenExample:
        """Draw one sequence; all fields have shape (length,)."""
        reject_ood(self, split)
        once = distinct(key, self.vocabulary, self.length // 2)
        second = jnp.arange(self.length) >= len(once)
        inputs = jnp.concatenate([once, once])
        return TokenExample(inputs, jnp.where(second, jnp.roll(inputs, -1), 0), second.astype(float))
