"""Published parameters: one safetensors file per model with all seeds, and the config that rebuilds the module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from mesocosm.lab.store import atomic
from mesocosm.nn.model_file import check_arrays, filled, named_arrays, on_host, read_arrays


def save_model(path: Path, model: Any, metadata: Mapping[str, Any]) -> None:
    """Write the module's array leaves under their paths ("mixers.0.query"); each keeps its leading seed axis."""
    atomic.write_tensors(path, on_host(model), metadata)


def abstract_model(build: Callable[[Any, Any], Any], config: Any, precision: str) -> Any:
    """One seed's module with every array a `jax.ShapeDtypeStruct`; nothing is initialised."""
    with jax.enable_x64(precision == "float64"):
        return eqx.filter_eval_shape(build, config, jax.random.key(0))


def check_model(what: str, model: Any, abstract: Any, seeds: int) -> None:
    """Reject a model that differs from the abstract model with a leading seed axis.

    Raises:
        ValueError: the first name, shape or dtype that differs.
    """
    check_arrays(f"{what} is not the module that the trial declares", named_arrays(model), named_arrays(abstract), (seeds,))


def load_model(path: Path, build: Callable[[Any, Any], Any], config: Any, seed: int | list[int] | None = None, precision: str = "float32") -> Any:
    """Rebuild the module that `save_model` wrote.

    Args:
        path: the file.
        build: `(config, key) -> module`; only its structure is used, nothing is initialised.
        config: the trial's config.
        seed: one seed; a list, or None for all, adds a leading seed axis.
        precision: the trial's precision.

    Raises:
        ValueError: `save_model` did not write the file, its names, shapes or dtypes differ from the module's, or the seed was not trained.
    """
    arrays, metadata = read_arrays(path)
    seeds = atomic.read_metadata(metadata).get("seeds")
    if not isinstance(seeds, list):
        raise ValueError(f"{path.name} does not list its seeds; mesocosm did not write it")
    wanted_seeds = seeds if seed is None else [seed] if isinstance(seed, int) else seed
    if missing := [s for s in wanted_seeds if s not in seeds]:
        raise ValueError(f"seed {missing[0]} was not trained; {path.name} holds seeds {', '.join(map(str, seeds))}")
    abstract = abstract_model(build, config, precision)
    check_model(path.name, arrays, abstract, len(seeds))
    pick = seeds.index(seed) if isinstance(seed, int) else [seeds.index(s) for s in wanted_seeds]
    with jax.enable_x64(precision == "float64"):
        return filled(abstract, {name: array[pick] for name, array in arrays.items()})
