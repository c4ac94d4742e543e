r"""Decoupled weight decay by the names of parameters: attention at one rate, the rest at others, biases and norms at none.

An optax transformation that goes behind any preconditioner and before the learning rate:

    optax.chain(optax.scale_by_adam(), decay_by_name({"attention": 0.3, "mlp": 0.1}), optax.scale_by_learning_rate(1e-3))

A parameter's name is its path in the PyTree, joined by dots (`layers.0.query`). Names decide what decays, and no numbers of axes, so that the groups stay
the same where a leading axis of seeds or layers is stacked on every parameter.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), who decay self-attention and MLP apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import optax

ATTENTION = r"(^|\.)(query|key|value|output|[qkvo]_proj|out_proj|qkv|c_attn)(\.(weight|kernel|w))?$"
"""Names of the four matrices of attention layers, in ours and in the usual libraries; fits no bias."""


def parameter_name(path: tuple[Any, ...]) -> str:
    """A leaf's path in dots: `layers.0.query`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def parameter_names(params: Any) -> list[str]:
    """The names of all leaves, in their order."""
    return [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def named(pattern: str, params: Any) -> Any:
    """A mask: True where the name of a leaf matches the regular expression anywhere."""
    expression = re.compile(pattern)
    return jax.tree_util.tree_map_with_path(lambda path, _: expression.search(parameter_name(path)) is not None, params)


def decay_by_name(rates: Mapping[str, Any]) -> optax.GradientTransformation:
    r"""Add $\lambda_g \theta$ to the update of every parameter of group $g$; the learning rate behind it multiplies both, as in AdamW.

    Args:
        rates: regular expression for names -> decay rate, a number or a traced scalar. A parameter that no expression fits does not decay.

    Raises:
        ValueError: at `init`, an expression that fits no parameter (a decay that silently does nothing), or a parameter that two of them fit.
    """
    decays = optax.chain(*(optax.masked(optax.add_decayed_weights(rate), partial(named, pattern)) for pattern, rate in rates.items()))

    def init(params: Any) -> Any:
        check_groups(list(rates), params)
        return decays.init(params)

    return optax.GradientTransformation(init, decays.update)


def check_groups(patterns: list[str], params: Any) -> None:
    """Refuse groups that are empty or overlap.

    Raises:
        ValueError: names what fits nothing, or the parameter that two patterns fit.
    """
    names = parameter_names(params)
    fits = {pattern: {name for name in names if re.search(pattern, name)} for pattern in patterns}
    for pattern, found in fits.items():
        if not found:
            raise ValueError(f"no parameter's name matches {pattern!r}; the names are {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}")
    for name in names:
        if len(twice := [pattern for pattern in patterns if name in fits[pattern]]) > 1:
            raise ValueError(f"the parameter {name} is matched by {' and by '.join(map(repr, twice))}: its decay would add up")


def adamw_by_name(learning_rate: Any, rates: Mapping[str, Any], *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """AdamW whose decay depends on the parameter's name; `learning_rate` is a number or a schedule."""
    return optax.chain(optax.scale_by_adam(b1, b2, eps), decay_by_name(rates), optax.scale_by_learning_rate(learning_rate))
