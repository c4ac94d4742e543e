r"""A layer of linear attention and a feed-forward part whose weights are set by hand so that together they run a linear hypernetwork.

$$y = A\, \phi(W(z)\, x), \qquad W(z) = \sum_{m=1}^{M} z_m \Theta^{(m)},$$

with one head for each module. A code in the context is thus enough to run any composition of modules, in one layer.

Reference: Kobayashi et al., "When can transformers compositionally generalize in-context?" (arXiv 2407.12275), App. A.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.nn.blocks.feed_forward import Activation, FeedForward
from mesocosm.nn.mixers.linear_attention import LinearAttention


def hypernetwork_tokens(x: Float[Array, " inputs"], code: Float[Array, " modules"], hidden: int, outputs: int) -> Float[Array, "2 width"]:
    """The tokens $[x; 0; 1; 1]$ and $[0; z; 0; 0]$, with slots for the input, the code, the hidden layer and the output."""
    ones = jnp.ones(hidden + outputs)
    return jnp.stack([jnp.concatenate([x, 0 * code, ones]), jnp.concatenate([0 * x, code, 0 * ones])])


def hypernetwork_layers(
    modules: Float[Array, "modules hidden inputs"], readout: Float[Array, "outputs hidden"], activation: Activation
) -> tuple[LinearAttention, FeedForward]:
    r"""The attention layer, which adds $W(z)\, x$ to the second token's hidden slot, and the feed-forward part, which adds $A\, \phi$ of it to the output slot.

    Head m has the value $\Theta^{(m)} x$; its query reads $z_m$, which only the second token has, and its key a one, which only the first token has.
    """
    (count, hidden, inputs), outputs = modules.shape, readout.shape[0]
    slots = jnp.split(jnp.eye(inputs + count + hidden + outputs), [inputs, inputs + count, inputs + count + hidden])
    at_input, at_code, at_hidden, at_output = slots
    key = jnp.broadcast_to(at_hidden[:1], (count, 1, at_hidden.shape[1]))
    writes = jnp.broadcast_to(at_hidden.T, (count, *at_hidden.T.shape))
    attention = LinearAttention(at_code[:, None], key, modules @ at_input, writes)
    return attention, FeedForward(at_hidden, at_output.T @ readout, None, None, activation)
