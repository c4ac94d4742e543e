"""Published parameters: a model of every seed as one safetensors file, by name, with the config that rebuilds the module."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401  (teaches NumPy bfloat16 before safetensors meets it)
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from mesocosm.lab import atomic


def save_model(path: Path, model: Any, metadata: Mapping[str, Any]) -> None:
    """Write the module's array leaves under their paths ("mixers.0.query"); each keeps its leading seed axis."""
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in _named(model).items()}
    text = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    atomic.write(path, lambda temporary: save_file(arrays, temporary, metadata=text))


def load_model(path: Path, build: Callable[[Any, Any], Any], config: Any, seed: int | list[int] | None = None) -> Any:
    """Rebuild the module that `save_model` wrote.

    Args:
        path: the file.
        build: `(config, key) -> module`; only its structure is used, nothing is initialised.
        config: the trial's config.
        seed: one replicate's module; a list of them, or None for all, with a leading seed axis.

    Raises:
        ValueError: names, shapes or dtypes that are not the module's, or a seed that was not trained.
    """
    with safe_open(path, framework="numpy") as file:
        seeds = json.loads(file.metadata()["seeds"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    wanted_seeds = seeds if seed is None else [seed] if isinstance(seed, int) else seed
    if missing := [s for s in wanted_seeds if s not in seeds]:
        raise ValueError(f"seed {missing[0]} was not trained; {path.name} holds seeds {', '.join(map(str, seeds))}")
    with jax.enable_x64(any(array.dtype == np.float64 for array in arrays.values())):
        skeleton = eqx.filter_eval_shape(build, config, jax.random.key(0))
    wanted = {name: ((len(seeds), *leaf.shape), str(leaf.dtype)) for name, leaf in _named(skeleton).items()}
    found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise ValueError(f"{path.name} is not this module: {odd[0]} is {found.get(odd[0], 'missing')} and should be {wanted.get(odd[0], 'absent')}")
    pick = seeds.index(seed) if isinstance(seed, int) else [seeds.index(s) for s in wanted_seeds]

    def fill(key_path: Any, leaf: Any) -> Any:
        return jnp.asarray(arrays[_name(key_path)][pick]) if _is_array(leaf) else leaf

    with jax.enable_x64(any(array.dtype.itemsize == 8 for array in arrays.values())):
        return jax.tree_util.tree_map_with_path(fill, skeleton)


def _named(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if _is_array(leaf)}


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct | np.ndarray)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
