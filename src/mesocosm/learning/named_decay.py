r"""Decoupled weight decay by parameter name: for example, one rate for attention, another for MLPs, and none for biases and norms.

Use it as an optax transformation after any preconditioner and before the learning rate:

    optax.chain(optax.scale_by_adam(), decay_by_name({ATTENTION: 0.3, "mlp": 0.1}), optax.scale_by_learning_rate(1e-3))

A parameter's name is its path in the PyTree, joined by dots (`layers.0.query`). Groups depend on names, not on numbers of axes, so they stay the same if
every parameter gets a leading axis of seeds or layers. `decay_rates` lists what decays how.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), who decay self-attention and MLP separately.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import optax

from mesocosm.audit.heads import in_blocks, separate
from mesocosm.audit.layouts import LAYOUTS, Layout, weights

Group = str | Callable[[Sequence[str]], set[str]]
"""A regular expression that is found anywhere in a name, or a function from all names to those of the group, such as `ATTENTION`."""


def _layout(query: str, key: str, value: str, output: str, block: str = ".*") -> Layout:
    return Layout(query, rf"(?P<block>{block})\.{re.escape(query)}\.weight", weights(query=query, key=key, value=value, output=output), separate)


def _packed(qkv: str, output: str) -> Layout:
    return Layout(qkv, rf"(?P<block>.*)\.{re.escape(qkv)}\.weight", weights(qkv=qkv, output=output), in_blocks)


NAMES = (
    *LAYOUTS,
    _layout("query", "key", "value", "output|out"),
    _layout("query", "key", "value", "linear", block=r".*(?:attn|attention)[^.]*"),
    _layout("front.query", "front.key", "front.value", "output"),
    _layout("query_proj", "key_proj", "value_proj", "output_proj|out_proj"),
    _layout("q_proj", "k_proj", "v_proj", "proj"),
    _layout("q", "k", "v", "o|out|proj"),
    _layout("to_q", "to_k", "to_v", "to_out.0|to_out"),
    _layout("wq", "wk", "wv", "wo"),
    _packed("to_qkv", "to_out.0|to_out"),
    _packed("qkv", "proj|out"),
    _packed("qkv_proj", "out_proj|proj"),
    _packed("c_attn", "c_proj"),
)
"""The audit's layouts, and those of JAX's libraries and of our layers. All name a matrix `x.weight`, as torch does."""


def _attention(names: Sequence[str]) -> set[str]:
    matrices = {spelling: name for name in names for spelling in _spellings(name)}
    found, broken = set[str](), list[set[str]]()
    for layout in NAMES:
        for match in filter(None, (re.fullmatch(layout.anchor, spelling) for spelling in matrices)):
            block = match["block"]
            parts = [next((matrices[full] for below in choices if (full := f"{block}.{below}") in matrices), None) for choices in layout.tensors.values()]
            if None not in parts:
                found.update(part for part in parts if part)
            elif len(there := {part for part in parts if part}) > 1 or "qkv" in layout.tensors:
                broken.append(there)
    for there in broken:
        if not there <= found:
            raise ValueError(f"not all weights of an attention layer were found, only {', '.join(sorted(there))}; give regular expressions for its names")
    return found


ATTENTION: Group = _attention
"""The query, key, value and output matrices of attention layers, here and in common libraries, but not their biases.

A layer counts if all of its matrices are found, in the layouts that the audit knows and some more. If there are several, but not all (query, key and value,
say, but no output), it is an error that names them.
"""


def _spellings(name: str) -> Iterator[str]:
    """A matrix's name as the layouts spell it, below a common root; a bias has none."""
    parts = re.split(r"[./]", name)
    if not any(part in ("bias", "biases") for part in parts):
        yield ".".join(["", *parts])
        yield ".".join(["", *(parts[:-1] if parts[-1] in ("kernel", "w") else parts), "weight"])


def matrices_of(names: Iterable[str]) -> dict[str, str]:
    """The parameters that are no biases, by name as torch would spell it, below a common root: `.layers.0.query.weight` -> `layers.0.query`."""
    return {spelling: name for name in names for spelling in _spellings(name)}


def parameter_name(path: tuple[Any, ...]) -> str:
    """A leaf's path, joined by dots: `layers.0.query`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def parameter_names(params: Any) -> list[str]:
    """The names of all leaves, in their order."""
    return [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def named(group: Group, params: Any) -> Any:
    """A mask of the leaves in a group."""
    chosen = _members(group, parameter_names(params))
    return jax.tree_util.tree_map_with_path(lambda path, _: parameter_name(path) in chosen, params)


def decay_by_name(rates: Mapping[Group, Any]) -> optax.GradientTransformation:
    r"""Add $\lambda_g \theta$ to the update of every parameter in group $g$; the learning rate that follows multiplies both, as in AdamW.

    Args:
        rates: group -> decay rate, a number or a traced scalar. Parameters in no group do not decay.

    Raises:
        ValueError: at `init`, if a group is empty (such a decay would silently do nothing), or two have the same parameter.
    """
    decays = optax.chain(*(optax.masked(optax.add_decayed_weights(rate), partial(named, group)) for group, rate in rates.items()))

    def init(params: Any) -> Any:
        decay_rates(rates, params)
        return decays.init(params)

    return optax.GradientTransformation(init, decays.update)


def decay_rates(rates: Mapping[Group, Any], params: Any) -> dict[str, Any]:
    """What decays how: the name of every parameter -> its rate, 0 for those in no group.

    Raises:
        ValueError: names the group without a parameter, or the parameter with two groups.
    """
    names = parameter_names(params)
    found: dict[str, Any] = dict.fromkeys(names, 0.0)
    groups: dict[str, str] = {}
    for group, rate in rates.items():
        label = repr(group) if isinstance(group, str) else "ATTENTION" if group is ATTENTION else getattr(group, "__name__", repr(group))
        if not (members := _members(group, names)):
            raise ValueError(f"no parameter's name matches {label}; the names are {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}")
        for name in members:
            if name in groups:
                raise ValueError(f"the parameter {name} is matched by {groups[name]} and by {label}: its decay would add up")
            groups[name], found[name] = label, rate
    return found


def _members(group: Group, names: Sequence[str]) -> set[str]:
    return {name for name in names if re.search(group, name)} if isinstance(group, str) else group(names)
