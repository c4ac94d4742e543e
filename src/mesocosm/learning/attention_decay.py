r"""Decoupled decay with a rate of its own for attention, in one line, and a list of what decays how.

    optimizer = optax.chain(optax.scale_by_adam(), attention_decay(0.1, others=0.3), optax.scale_by_learning_rate(1e-3))
    print(list_decay({ATTENTION: 0.1, OTHERS: 0.3}, params))

Attention layers are found by their parameters' names, with the table of layouts of the audit (`named_decay.NAMES`). The same groups serve torch:
`torch.optim.AdamW(torch_groups(model, {ATTENTION: 0.1, OTHERS: 0.3}))`.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), Sec. 4.2. The paper does not say which
biases, norms and embeddings decay; here biases and norms do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from mesocosm.learning.named_decay import ATTENTION, Group, decay_by_name, decay_rates, parameter_name

NO_WEIGHT = re.compile(r"b|bias(es)?|.*_bias|scale|gain|offset|ln(_?[a-z0-9]+)?|(.*_)?(layer|batch|group|rms)?_?norm(_?\d+|s)?|.*_?layernorm.*", re.IGNORECASE)
"""A part of a name that marks a bias, or a parameter of a norm."""


def _others(names: Sequence[str]) -> set[str]:
    attention = ATTENTION(names) if callable(ATTENTION) else set[str]()
    return {name for name in names if name not in attention and not any(NO_WEIGHT.fullmatch(part) for part in re.split(r"[./]", name))}


OTHERS: Group = _others
"""All parameters outside attention except biases and the parameters of norms, by name: MLPs, embeddings, learned positions, readouts."""


def attention_decay(attention: Any, others: Any = None) -> optax.GradientTransformation:
    r"""Add $\lambda_{SA} \theta$ to the update of attention's matrices, and $\lambda \theta$ to that of all other weights; biases and norms do not decay.

    Put it after the preconditioner and before the learning rate, which multiplies both, as in AdamW.

    Args:
        attention: the decay of query, key, value and output matrices, a number or a traced scalar.
        others: the decay of the other weights (`OTHERS`); None for none.

    Raises:
        ValueError: at `init`, if there is no attention layer, or no other weight but a rate for them.
    """
    return decay_by_name({ATTENTION: attention} | ({} if others is None else {OTHERS: others}))


def list_decay(rates: Mapping[Group, Any], params: Any) -> str:
    """What decays how, to read: one line per parameter with its rate, shape and name, after one line per rate with its parameters' number and size.

    Args:
        rates: as for `decay_by_name`.
        params: the parameters, arrays or shapes (`jax.eval_shape`).

    Raises:
        ValueError: as `decay_rates`.
    """
    found = decay_rates(rates, params)
    shapes = {parameter_name(path): tuple(np.shape(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    cells = [(f"{float(rate):g}", "×".join(map(str, shapes[name])) or "scalar", name) for name, rate in found.items()]
    sums: dict[str, list[int]] = {}
    for rate, _, name in cells:
        sums.setdefault(rate, []).append(int(np.prod(shapes[name], dtype=np.int64)))
    head = [f"decay {rate}: {len(sizes)} parameters with {sum(sizes)} entries" for rate, sizes in sorted(sums.items(), key=lambda item: float(item[0]))]
    wide = [max(len(cell[column]) for cell in cells) for column in (0, 1)]
    return "\n".join([*head, *(f"{rate:>{wide[0]}}  {shape:>{wide[1]}}  {name}" for rate, shape, name in cells)])


def torch_groups(model: Any, rates: Mapping[Group, float]) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimiser: `torch.optim.AdamW(torch_groups(model, rates), lr=1e-3)`.

    Args:
        model: a `torch.nn.Module`; anything with `named_parameters()`.
        rates: group of names -> decay, as for `decay_by_name`; parameters in no group do not decay.

    Returns:
        One group per rate, with `params`, `weight_decay`, and the parameters' `names`.

    Raises:
        ValueError: as `decay_rates`.
    """
    parameters = dict(model.named_parameters())
    found = decay_rates(rates, dict.fromkeys(parameters, 0.0))
    by_rate: dict[float, list[str]] = {}
    for name in parameters:
        by_rate.setdefault(float(found[name]), []).append(name)
    return [{"params": [parameters[name] for name in names], "weight_decay": rate, "names": names} for rate, names in by_rate.items()]
