r"""Selective copying: symbols at random positions among blanks, to be repeated in their order at the end.

$$\cdot\, a\, \cdot\, \cdot\, b\, \cdot\, c\, \cdot\, \triangleright \triangleright \triangleright \qquad \text{targets at } \triangleright\colon\ a\, b\, c.$$

The positions are random, so that a fixed convolution does not suffice: a layer must decide by content what to store.

References: Jing et al., "Gated orthogonal recurrent units" (arXiv 1706.02761), the denoise task; Gu and Dao, "Mamba" (arXiv 2312.00752), Sec. 4.1.1.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mesocosm.tasks.task import Split, Task, reject_ood
from mesocosm.tasks.tokens import TokenExample, distinct


class SelectiveCopy(Task[TokenExample]):
    """`symbols` uniform symbols at distinct uniform positions of the first `length - symbols`, then as many markers, at which the symbols are the targets.

    Token 0 is the blank, V - 1 the marker, and 1 to V - 2 are symbols, which may recur. The network does not see its answers. Mamba has a vocabulary of 16 and
    16 symbols among 4096 positions.

    Train and iid sequences have the same distribution (pass them different keys); there is no ood split. To test longer sequences, make a second task.

    Attributes:
        vocabulary: number V of tokens, at least 4.
        symbols: number of symbols to copy.
        length: number of positions, markers included; at least twice the number of symbols.
    """

    vocabulary: int = eqx.field(static=True, default=16)
    symbols: int = eqx.field(static=True, default=8)
    length: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        if self.symbols < 1:
            raise ValueError(f"copying needs at least 1 symbol, but symbols = {self.symbols}")
        if self.vocabulary < 4:
            raise ValueError(f"a blank, a marker and two symbols need a vocabulary of at least 4, but vocabulary = {self.vocabulary}")
        if self.length < 2 * self.symbols:
            raise ValueError(f"{self.symbols} symbols and their markers need a length of at least {2 * self.symbols}, but length = {self.length}")

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> TokenExample:
        """Draw one sequence; all fields have shape (length,)."""
        reject_ood(self, split)
        symbol_key, place_key = jax.random.split(key)
        symbols = jax.random.randint(symbol_key, (self.symbols,), 1, self.vocabulary - 1, jnp.int32)
        places = jnp.sort(distinct(place_key, self.length - self.symbols, self.symbols))
        blanks = jnp.zeros(self.length, jnp.int32)
        inputs = blanks.at[places].set(symbols).at[-self.symbols :].set(self.vocabulary - 1)
        return TokenExample(inputs, blanks.at[-self.symbols :].set(symbols), jnp.zeros(self.length).at[-self.symbols :].set(1.0))
