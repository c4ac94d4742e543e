"""Optimisers by composition: clipping, coupled and decoupled weight decay by name, a preconditioner, and a schedule.

A piece whose option is None is left out. All numbers may be traced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from mesocosm.learning.named_decay import Group, decay_by_name

Decay = Any | Mapping[Group, Any]


def warmup_cosine(peak: Any, *, warmup: Any = None, steps: Any = None, floor: Any = 0.0) -> Callable[[Any], Any]:
    r"""A schedule: linear from 0 to `peak` over `warmup` steps, then half a cosine down to `floor` times `peak` at step `steps`, constant afterwards.

    Args:
        peak: the largest learning rate.
        warmup: number of steps, or None to start at the peak.
        steps: total number of steps, warm-up included and greater than `warmup`, or None to stay at the peak.
        floor: final learning rate as a fraction of the peak.
    """
    begin = 0 if warmup is None else warmup

    def share(passed: Any, length: Any) -> Any:
        return jnp.where(passed < length, jnp.maximum(passed, 0) / jnp.where(length > 0, length, 1), 1.0)

    def schedule(count: Any) -> Any:
        rising = 1.0 if warmup is None else share(count, warmup)
        if steps is None:
            return peak * rising
        done = share(count - begin, steps - begin)
        return peak * rising * (floor + (1 - floor) * 0.5 * (1 + jnp.cos(jnp.pi * done)))

    return schedule


def compose(
    preconditioner: optax.GradientTransformation,
    learning_rate: Any,
    *,
    warmup: Any = None,
    steps: Any = None,
    floor: Any = 0.0,
    clip_norm: Any = None,
    clip: Any = None,
    l2: Decay | None = None,
    weight_decay: Decay | None = None,
) -> optax.GradientTransformation:
    r"""Chain, in this order: `clip_norm`, `clip`, `l2`, the preconditioner, `weight_decay`, the schedule.

    Args:
        preconditioner: an optax transformation such as `optax.scale_by_adam()`.
        learning_rate, warmup, steps, floor: see `warmup_cosine`.
        clip_norm: largest norm of the whole gradient.
        clip: largest absolute value of an element of the gradient, applied after `clip_norm`.
        l2: coupled decay, added to the gradient before the preconditioner: the gradient of $\frac{\lambda}{2} \|\theta\|^2$.
        weight_decay: decoupled decay, added after the preconditioner and multiplied by the learning rate, as in AdamW.
            Both decays are a number for all parameters, or a mapping from groups of names to numbers (`decay_by_name`).
    """
    pieces = [
        *([] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]),
        *([] if clip is None else [optax.clip(clip)]),
        *_decay(l2),
        preconditioner,
        *_decay(weight_decay),
        optax.scale_by_learning_rate(warmup_cosine(learning_rate, warmup=warmup, steps=steps, floor=floor)),
    ]
    return optax.chain(*pieces)


def _decay(rate: Decay | None) -> list[optax.GradientTransformation]:
    if rate is None or (isinstance(rate, Mapping) and not rate):
        return []
    return [decay_by_name(rate) if isinstance(rate, Mapping) else optax.add_decayed_weights(rate)]


def adam(learning_rate: Any) -> optax.GradientTransformation:
    """Adam with optax's defaults (b1 0.9, b2 0.999, eps 1e-8) and a constant learning rate."""
    return optax.adam(learning_rate)


def adamw(learning_rate: Any, *, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, **options: Any) -> optax.GradientTransformation:
    """Adam with the options of `compose`; unlike `optax.adamw`, there is no weight decay unless you give one.

    Use a positive `eps_root` to differentiate through the step, whose square root has no finite gradient at 0.
    """
    return compose(optax.scale_by_adam(b1, b2, eps, eps_root), learning_rate, **options)


def sgd(learning_rate: Any, *, momentum: Any = None, nesterov: bool = False, **options: Any) -> optax.GradientTransformation:
    """Gradient descent with the options of `compose`; `momentum` is the factor of the running sum of gradients."""
    return compose(optax.identity() if momentum is None else optax.trace(momentum, nesterov), learning_rate, **options)
