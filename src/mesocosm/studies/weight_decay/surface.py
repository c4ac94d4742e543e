"""The paper's Fig. 5: two scalars that descend to a line by AdamW, and by Adam with L2 of strength epsilon times lambda; direct, and as products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.spectra.adamw_fixed_point import Line, Rule, fixed_point_error
from mesocosm.analysis.spectra.low_rank_law import Factors
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.weight_decay.config import Setting, Surface
from mesocosm.studies.weight_decay.parameterised import MatrixProblem, Whole, line_loss, product_of, steady_adam_l2, steady_adamw
from mesocosm.studies.weight_decay.train import train


def rest_on_a_line(config: Surface, context: Context) -> Tables:
    """Where the scalars end, where they should by the closed form, and how far parameters are from AdamW's fixed point."""
    line, tables = Line(config.slope, config.offset), []
    for setting, given in (("small", config.small), ("large", config.large)):
        for rule, optimizer, decay in _rules(given):
            for form, names in (("direct", "w"), ("factored", "ab")):
                rates = {"learning_rate": config.step_size * given.epsilon, "epsilon": given.epsilon, "b2": config.b2, **dict.fromkeys(names, decay)}
                learner = (Partial(_draw, config, form), Partial(line_loss, line), optimizer)
                model = train(context, f"{rule}-{form}-{setting}", learner, rates, config.steps).model
                error = context.evaluate(Partial(_away_from_rest, line), model, shared=(np.asarray(given.decay), np.asarray(given.epsilon)))
                first, second = np.moveaxis(np.asarray(product_of(model))[..., 0, 0], -1, 0)
                told = line.rest(given.decay, given.epsilon, rule=rule, factored=form == "factored")
                columns = {"rule": rule, "form": form, "setting": setting, "first": first, "second": second, "error": error}
                tables.append(context.rows(**columns, told_first=float(told[0]), told_second=float(told[1])))
    return {"end_points": pl.concat(tables)}


def _rules(given: Setting) -> list[tuple[Rule, Callable[..., Any], float]]:
    """Name, optimiser, and the decay that it is given."""
    return [("adamw", steady_adamw, given.decay), ("adam_l2", steady_adam_l2, given.decay * given.epsilon)]


def _draw(config: Surface, form: str, key: PRNGKeyArray) -> MatrixProblem:
    a, b = config.init_std * jax.random.normal(key, (2, 2, 1, 1))
    return MatrixProblem(Factors(a, b) if form == "factored" else Whole(a), jnp.zeros(()))


def _away_from_rest(line: Line, model: Any, decay: Array, epsilon: Array) -> Float[Array, ""]:
    """The largest error of AdamW's fixed point over the parameters."""
    gradient = jax.grad(lambda model: line_loss(line, product_of(model), None))(model)
    errors = jax.tree.map(lambda one, slope: jnp.max(fixed_point_error(one, slope, decay, epsilon)), model, gradient)
    return jnp.max(jnp.stack(jax.tree.leaves(errors)))
