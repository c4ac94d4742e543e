"""Published parameters: one safetensors file per model with all seeds, and the config that rebuilds the module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from mesocosm.lab.store import atomic


def save_model(path: Path, model: Any, metadata: Mapping[str, Any]) -> None:
    """Write the module's array leaves under their paths ("mixers.0.query"); each keeps its leading seed axis."""
    arrays = {name: np.asarray(leaf) for name, leaf in _named(model).items()}
    atomic.write_tensors(path, arrays, metadata)


def abstract_model(build: Callable[[Any, Any], Any], config: Any, precision: str) -> Any:
    """One seed's module with every array a `jax.ShapeDtypeStruct`; nothing is initialised."""
    with jax.enable_x64(precision == "float64"):
        return eqx.filter_eval_shape(build, config, jax.random.key(0))


def check_model(what: str, model: Any, abstract: Any, seeds: int) -> None:
    """Reject a model that differs from the abstract model with a leading seed axis.

    Raises:
        ValueError: the first name, shape or dtype that differs.
    """
    wanted = {name: ((seeds, *leaf.shape), str(leaf.dtype)) for name, leaf in _named(abstract).items()}
    found = {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in _named(model).items()}
    if wanted != found:
        odd = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        has, should = (f"{kind[1]}{list(kind[0])}" if kind else "absent" for kind in (found.get(odd), wanted.get(odd)))
        raise ValueError(f"{what} is not the module that the trial declares: {odd or 'the array'} is {has} and should be {should}")


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
    try:
        with safe_open(path, framework="numpy") as file:
            seeds = atomic.read_metadata(file).get("seeds")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a safetensors file: {error}") from None
    if not isinstance(seeds, list):
        raise ValueError(f"{path.name} does not list its seeds; mesocosm did not write it")
    wanted_seeds = seeds if seed is None else [seed] if isinstance(seed, int) else seed
    if missing := [s for s in wanted_seeds if s not in seeds]:
        raise ValueError(f"seed {missing[0]} was not trained; {path.name} holds seeds {', '.join(map(str, seeds))}")
    abstract = abstract_model(build, config, precision)
    check_model(path.name, arrays, abstract, len(seeds))
    pick = seeds.index(seed) if isinstance(seed, int) else [seeds.index(s) for s in wanted_seeds]

    def fill(key_path: Any, leaf: Any) -> Any:
        return jnp.asarray(arrays[_name(key_path)][pick]) if _is_array(leaf) else leaf

    with jax.enable_x64(precision == "float64"):
        return jax.tree_util.tree_map_with_path(fill, abstract)


def _named(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if _is_array(leaf)}


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct | np.ndarray)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
