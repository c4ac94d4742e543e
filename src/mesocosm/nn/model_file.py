"""A model's parameters as a safetensors file, which any language can read, named by their paths in the module ("blocks.0.mixer.query")."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save


def save_model(path: str | Path, model: Any) -> None:
    """Write the array leaves of a module, or of any PyTree, replacing the file at once.

    Other leaves and static fields (sizes, functions) are not written: `load_model` takes them from a module of the same structure.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(save(on_host(model)))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_model(path: str | Path, like: Any) -> Any:
    """The module `like` with the arrays of a file that `save_model` wrote.

    Args:
        path: the file.
        like: a module of the same structure. Its arrays are not read: `eqx.filter_eval_shape(build, key)` makes one without initialising any.

    Raises:
        ValueError: names, shapes or dtypes of the arrays differ, or the file is not a safetensors file; the message names the first difference.
    """
    arrays = read_arrays(Path(path))[0]
    check_arrays(f"{Path(path).name} holds another model", arrays, named_arrays(like))
    return filled(like, arrays)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    """The arrays and the metadata of a safetensors file.

    Raises:
        ValueError: it is not one.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a safetensors file: {error}") from None


def named_arrays(tree: Any) -> dict[str, Any]:
    """Path -> array, or `jax.ShapeDtypeStruct`."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if _is_array(leaf)}


def on_host(tree: Any) -> dict[str, np.ndarray]:
    """Path -> contiguous NumPy array, as safetensors wants them."""
    return {name: np.asarray(leaf, order="C") for name, leaf in named_arrays(tree).items()}


def check_arrays(what: str, found: Mapping[str, Any], wanted: Mapping[str, Any], lead: tuple[int, ...] = ()) -> None:
    """Reject arrays that differ from the wanted ones with the leading axes `lead`.

    Raises:
        ValueError: `what`, and the first name, shape or dtype that differs.
    """
    has, should = ({name: f"{a.dtype}{[*axes, *a.shape]}" for name, a in part.items()} for axes, part in (((), found), (lead, wanted)))
    if has != should:
        odd = min(name for name in has.keys() | should.keys() if has.get(name) != should.get(name))
        raise ValueError(f"{what}: {odd or 'the array'} is {has.get(odd, 'absent')} and should be {should.get(odd, 'absent')}")


def filled(like: Any, arrays: Mapping[str, Any]) -> Any:
    """The tree `like` with these arrays.

    Raises:
        ValueError: an array is wider than JAX's present precision.
    """

    def fill(path: Any, leaf: Any) -> Any:
        if not _is_array(leaf):
            return leaf
        found = arrays[_name(path)]
        if jax.dtypes.canonicalize_dtype(found.dtype) != found.dtype:
            raise ValueError(f"{_name(path)} is {found.dtype}: load it within jax.enable_x64(True)")
        return jnp.asarray(found)

    return jax.tree_util.tree_map_with_path(fill, like)


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct | np.ndarray)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
