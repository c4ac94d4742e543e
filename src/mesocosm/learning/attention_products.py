r"""Finds a model's attention layers by their parameters' names, as the factors that `BalanceMonitor` measures; in JAX, and as a callback in torch.

    monitor = BalanceMonitor(partial(attention_products, heads=12), every=100)     # a PyTree of parameters, or a state dict
    watch = TorchBalance(model, optimizer, heads=12, every=100)                    # torch: measures after every 100th step of the optimiser

The layouts are those of the audit and of common JAX libraries (`named_decay.NAMES`). torch itself is not imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import polars as pl
from jaxtyping import Shaped

from mesocosm.audit.errors import Skip
from mesocosm.audit.heads import Heads
from mesocosm.audit.layouts import Block, natural
from mesocosm.audit.settings import Settings
from mesocosm.learning.balance_monitor import BalanceMonitor, Pair, attention_pairs
from mesocosm.learning.named_decay import ATTENTION, NAMES, matrices_of, parameter_name


def attention_products(params: Any, *, heads: int | None = None, key_heads: int | None = None, model_type: str | None = None) -> dict[str, Pair]:
    r"""Both products of every head of every attention layer as factors, by layer: `blocks.0.mixer QK`, `blocks.0.mixer VO`.

    QK is $W_K^\top W_Q$ with $A = W_K^\top$, $B = W_Q^\top$; VO is $P W_V$ with $A = P$, $B = W_V^\top$. If several queries share a key, their factors are
    stacked, because the law then holds for the group. Leading axes are heads; for our layers, axes before it (seeds, say) come first. The law holds for QK
    without rotary positions and without a norm of queries and keys (`mesocosm.audit`).

    Args:
        params: a PyTree of parameters, or a (torch) state dict: name -> tensor.
        heads: number of query heads; not needed where the matrices have an axis of heads.
        key_heads: number of key heads, if it differs.
        model_type: for packed layouts whose names mean several packings, such as GPT-BigCode's.

    Raises:
        ValueError: there is no attention layer, or one cannot be read; the message says why.
    """
    named = {parameter_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    found: dict[str, Pair] = {}
    for block in _blocks(matrices_of(named), model_type):
        label = block.name.removeprefix(".")
        try:
            pairs = _pairs(block, named, Settings(model_type, None, heads, key_heads))
        except Skip as reason:
            raise ValueError(f"{label or 'the attention layer'}: {reason}") from None
        found |= {f"{label} {product}".strip(): pair for product, pair in pairs.items()}
    if not found:
        raise ValueError(f"no attention layer was found; the names are {', '.join(list(named)[:20])}{' ...' if len(named) > 20 else ''}")
    return found


def _blocks(matrices: Mapping[str, str], model_type: str | None) -> list[Block]:
    """Attention layers in the order of layers, with the parameters of each role; a layer that no layout has whole comes with a problem."""
    whole, broken = dict[str, Block](), dict[str, Block]()
    for layout in NAMES:
        if layout.model_types and model_type not in layout.model_types:
            continue
        for match in filter(None, (re.fullmatch(layout.anchor, spelling) for spelling in matrices)):
            block = match["block"]
            chosen = {
                role: next((matrices[full] for below in choices if (full := f"{block}.{below}") in matrices), None) for role, choices in layout.tensors.items()
            }
            tensors = {role: name for role, name in chosen.items() if name is not None}
            if len(tensors) == len(chosen):
                whole.setdefault(block, Block(block, layout, tensors))
            elif len(tensors) > 1 or "qkv" in layout.tensors:
                broken.setdefault(block, Block(block, layout, tensors, f"missing: {', '.join(role for role in chosen if role not in tensors)}"))
    found = {name for block in whole.values() for name in block.tensors.values()}
    left = [block for block in broken.values() if not found.issuperset(block.tensors.values())]
    return sorted([*whole.values(), *left], key=lambda block: natural(block.name))


def _pairs(block: Block, named: Mapping[str, Any], settings: Settings) -> dict[str, Pair]:
    """A layer's factors.

    Raises:
        Skip: the layer cannot be read.
    """
    if block.problem or block.layout is None:
        raise Skip(block.problem or "unknown layout")
    arrays = {role: _array(named[name]) for role, name in block.tensors.items()}
    inputs_first = any(re.split(r"[./]", name)[-1] in ("kernel", "w") for name in block.tensors.values())
    if "query" in arrays and arrays["query"].ndim > 2 and not inputs_first:
        return attention_pairs(arrays["query"], arrays["key"], arrays["value"], arrays["output"])
    if settings.heads is None and arrays["output"].ndim == 2:
        raise Skip("its matrices have no axis of heads; give the number of heads")
    if "qkv" in arrays:  # there are more outputs than inputs, so that the shape tells GPT-2's convolutions from nanoGPT's linear layers
        inputs_first = arrays["qkv"].shape[0] < arrays["qkv"].shape[-1]
    oriented = {role: _outputs_first(array, role) if inputs_first else array for role, array in arrays.items()}
    return _stacked(block.layout.unpack(oriented, settings))


def _outputs_first(array: np.ndarray, role: str) -> np.ndarray:
    """A matrix as (outputs, inputs); with flax's axis of heads as (heads, outputs, inputs)."""
    if array.ndim == 3:  # (inputs, heads, size), and (heads, size, outputs) for the output
        return array.transpose(0, 2, 1) if role == "output" else array.transpose(1, 2, 0)
    return array.T


def _stacked(heads: Heads) -> dict[str, Pair]:
    keys = len(heads.key)
    query = heads.query.swapaxes(1, 2).reshape(keys, -1, heads.query.shape[1])
    output = heads.output.reshape(keys, -1, heads.output.shape[2])
    return {"QK": (heads.key.swapaxes(1, 2), query), "VO": (output, heads.value.swapaxes(1, 2))}


def _array(tensor: Any) -> Shaped[np.ndarray, "..."]:
    """A host array of a JAX array or a torch tensor."""
    return np.asarray(tensor.detach().float().cpu().numpy() if hasattr(tensor, "detach") else tensor)


class TorchBalance:
    """Measures the attention of a torch model after every so many steps of its optimiser.

    The clock of the law adds up the learning rate of the group that holds the attention's first matrix. Call `remove` to stop.

    Attributes:
        monitor: the `BalanceMonitor`; its `table()` and `decay_rates()` are here too.
    """

    def __init__(self, model: Any, optimizer: Any, *, heads: int, key_heads: int | None = None, model_type: str | None = None, every: int = 100):
        """Register a hook on the optimiser, and measure once before the first step.

        Args:
            model: a `torch.nn.Module`.
            optimizer: a `torch.optim.Optimizer`.
            heads, key_heads, model_type: see `attention_products`.
            every: steps between two measurements.

        Raises:
            ValueError: there is no attention layer, or one cannot be read.
        """

        def factors(model: Any) -> dict[str, Pair]:
            return attention_products(dict(model.named_parameters()), heads=heads, key_heads=key_heads, model_type=model_type)

        self.monitor = BalanceMonitor(factors, every)
        self._model, self._steps = model, 0
        self.monitor(0, model, 0.0)
        self._handle = optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._steps += 1
        self.monitor(self._steps, self._model, self._learning_rate(optimizer))

    def _learning_rate(self, optimizer: Any) -> float:
        named = dict(self._model.named_parameters())
        watched = {id(named[name]) for name in (ATTENTION(list(named)) if callable(ATTENTION) else ())}
        groups = [group for group in optimizer.param_groups if any(id(parameter) in watched for parameter in group["params"])]
        return float((groups or optimizer.param_groups)[0]["lr"])

    def table(self) -> pl.DataFrame:
        """One row per measurement, product and head; see `BalanceMonitor.table`."""
        return self.monitor.table()

    def decay_rates(self, **window: float) -> pl.DataFrame:
        """The fitted rates; see `BalanceMonitor.decay_rates`."""
        return self.monitor.decay_rates(**window)

    def remove(self) -> None:
        """Take the hook off the optimiser."""
        self._handle.remove()
