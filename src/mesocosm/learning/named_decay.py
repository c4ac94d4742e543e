r"""Decoupled weight decay by parameter name: for example, one rate for attention, another for MLPs, and none for biases and norms.

Use it as an optax transformation after any preconditioner and before the learning rate:

    optax.chain(optax.scale_by_adam(), decay_by_name({"attention": 0.3, "mlp": 0.1}), optax.scale_by_learning_rate(1e-3))

A parameter's name is its path in the PyTree, joined by dots (`layers.0.query`). Groups depend on names, not on numbers of axes, so they stay the same if
every parameter gets a leading axis of seeds or layers.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), who decay self-attention and MLP separately.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import optax

ATTENTION = r"(^|(?<!\bbiases)\.)(query|key|value|output|[qkvo]_proj|out_proj|qkv|c_attn)(\.(weight|kernel|w))?$"
"""Matches the names of the four matrices of attention layers, here and in common libraries, but not their biases."""


def parameter_name(path: tuple[Any, ...]) -> str:
    """A leaf's path, joined by dots: `layers.0.query`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def parameter_names(params: Any) -> list[str]:
    """The names of all leaves, in their order."""
    return [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def named(pattern: str, params: Any) -> Any:
    """A mask: True if the regular expression matches anywhere in the name of a leaf."""
    expression = re.compile(pattern)
    return jax.tree_util.tree_map_with_path(lambda path, _: expression.search(parameter_name(path)) is not None, params)


def decay_by_name(rates: Mapping[str, Any]) -> optax.GradientTransformation:
    r"""Add $\lambda_g \theta$ to the update of every parameter in group $g$; the learning rate that follows multiplies both, as in AdamW.

    Args:
        rates: regular expression for names -> decay rate, a number or a traced scalar. Parameters that no expression matches do not decay.

    Raises:
        ValueError: at `init`, if an expression matches no parameter (such a decay would silently do nothing), or two match the same parameter.
    """
    decays = optax.chain(*(optax.masked(optax.add_decayed_weights(rate), partial(named, pattern)) for pattern, rate in rates.items()))

    def init(params: Any) -> Any:
        check_groups(list(rates), params)
        return decays.init(params)

    return optax.GradientTransformation(init, decays.update)


def check_groups(patterns: list[str], params: Any) -> None:
    """Reject groups that are empty or overlap.

    Raises:
        ValueError: names the pattern without a match, or the parameter with two.
    """
    names = parameter_names(params)
    fits = {pattern: {name for name in names if re.search(pattern, name)} for pattern in patterns}
    for pattern, found in fits.items():
        if not found:
            raise ValueError(f"no parameter's name matches {pattern!r}; the names are {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}")
    for name in names:
        if len(twice := [pattern for pattern in patterns if name in fits[pattern]]) > 1:
            raise ValueError(f"the parameter {name} is matched by {' and by '.join(map(repr, twice))}: its decay would add up")
