r"""The empirical tangent kernel $\Theta(x, x') = J(x) J(x')^\top$, $J = \partial f(x; \theta) / \partial \theta$, of any function or Equinox module.

There are three methods: contracting Jacobians, structured derivatives (the smallest form of each layer's Jacobian), and products of the kernel
with unit vectors. The fastest depends on the sizes of parameters, outputs and layers, and is chosen by timing. The kernel is computed in blocks
that fit a memory budget, symmetric blocks once, with rows spread over the devices. Inside your own compiled program, use `kernel_block`.

Reference: Novak, Sohl-Dickstein and Schoenholz, "Fast finite width neural tangent kernel" (2022).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jaxtyping import Array, Float, PyTree

from mesocosm.analysis.tangent.features import Function, Outputs, contract, jacobian_features
from mesocosm.analysis.tangent.structured_derivatives import structured_features
from mesocosm.analysis.tangent.vector_products import kernel_by_products
from mesocosm.numerics.precision import full_precision
from mesocosm.numerics.programs import jit

Method = Literal["contraction", "structured", "products"]
FEATURES = {"contraction": jacobian_features, "structured": structured_features}
TRIAL_BLOCK = 32  # examples per side of the block on which the methods are timed
MEBIBYTE = 2**20


class TangentKernel(NamedTuple):
    """A kernel, and how it was computed.

    Attributes:
        kernel: entry (n, c, m, d) is the product of the gradients of output c at example n and of output d at example m; (n, m) for the mean over outputs.
            Kernel regression uses it as a matrix, reshaped to (n * c, m * d).
        method: the method used.
        block: examples per side of a block.
        seconds: measured seconds per pair of examples for each method; empty if the method was given.
    """

    kernel: Float[np.ndarray, "n outputs m outputs"] | Float[np.ndarray, "n m"]
    method: Method
    block: int
    seconds: Mapping[str, float]


class ModuleFunction(NamedTuple):
    """A module as a function `f(params, x)` of its trained arrays. Modules with equal structure compare equal, so that they share programs."""

    structure: Any
    static: tuple[Any, ...]

    def __call__(self, params: PyTree, x: Any) -> Array:
        """Apply the module with these arrays to one example."""
        return eqx.combine(params, jax.tree.unflatten(self.structure, self.static))(x)


def of_module(module: Callable[[Any], Array]) -> tuple[ModuleFunction, PyTree]:
    """Split an Equinox module into a function and its parameters (its inexact arrays).

    Raises:
        TypeError: a field is neither an array nor hashable.
    """
    params, static = eqx.partition(module, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(static, is_leaf=lambda leaf: leaf is None)
    for leaf in leaves:
        if eqx.is_array(leaf):
            raise TypeError("the module holds an array of integers or booleans: pass a function f(params, x) that closes over it")
    return ModuleFunction(structure, tuple(leaves)), params


def kernel_block(
    function: Function, params: PyTree, x1: Any, x2: Any = None, *, method: Method = "structured", outputs: Outputs = "all"
) -> Float[Array, "n outputs m outputs"] | Float[Array, "n m"]:
    """The kernel as one block of traceable JAX code, for use under `jit`, `vmap` and `lax.map`.

    Args:
        function: f(params, x) for one example.
        params: any PyTree of real arrays.
        x1, x2: examples with a leading axis; without x2, the kernel of x1 with itself.
        method: see the module docstring.
        outputs: "all" pairs of outputs, or the "mean" of the diagonal entries.
    """
    if method == "products":
        return kernel_by_products(function, params, x1, x1 if x2 is None else x2, outputs)
    features = partial(_features, function, method, params)
    first = features(x1)
    return contract(first, first if x2 is None else features(x2), outputs)


@full_precision
def _features(function: Function, method: str, params: PyTree, x: Any) -> Any:
    return jax.vmap(lambda one: FEATURES[method](function, params, one))(x)


def tangent_kernel(
    function: Function, params: PyTree, x1: Any, x2: Any = None, *, method: Method | None = None, memory: int | float = 1024, outputs: Outputs = "all"
) -> TangentKernel:
    """The empirical tangent kernel between two sets of examples, in host memory.

    Args:
        function: f(params, x) for one example, which returns an array of any shape, whose entries are the outputs. `of_module(module)` gives function and
            parameters of an Equinox module. Programs are cached per function object, so do not pass a fresh lambda each time.
        params: any PyTree of real arrays.
        x1, x2: examples, arrays (or PyTrees of arrays) with a leading axis; without x2, the kernel of x1 with itself, computed as one triangle.
        method: see the module docstring; None selects the fastest, measured on a block of at most 32 examples per side.
        memory: budget in mebibytes for a block on the devices: its features, temporaries and result, as the compiler counts them.
        outputs: all pairs of outputs, or the mean over outputs of the diagonal ones (an approximation of what regression needs: `tangent_features.Outputs`).

    Raises:
        ValueError: a set is empty, the method is unknown, or the budget is too small for a single pair of examples.
    """
    if method is not None and method not in get_args(Method):
        raise ValueError(f"there is no method {method!r}; choose one of {', '.join(get_args(Method))}, or None for the fastest")
    rows, columns = _length(x1), _length(x1 if x2 is None else x2)
    if not rows or not columns:
        raise ValueError(f"a kernel needs examples; the sets have {rows} and {columns}")
    key = _Key.of(function, params, jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), x1), outputs)
    seconds: dict[str, float] = {}
    chosen = method
    if chosen is None:
        seconds = {name: _seconds(key, name, min(TRIAL_BLOCK, max(rows, columns)), memory) for name in get_args(Method)}
        chosen = min(get_args(Method), key=lambda name: seconds[name])
    block, program = _fitting(key, chosen, max(rows, columns), memory)
    kernel = _assemble(program, params, x1, x2, block)
    return TangentKernel(kernel, chosen, block, seconds)


# --- programs ---------------------------------------------------------------------------------------------------------


class _Key(NamedTuple):
    """A hashable cache key for a program."""

    function: Function
    structure: Any
    params: tuple[jax.ShapeDtypeStruct, ...]
    examples: tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]
    outputs: Outputs

    @classmethod
    def of(cls, function: Function, params: PyTree, x: Any, outputs: Outputs) -> _Key:
        leaves, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, params))
        examples, example_structure = jax.tree.flatten(x)
        shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
        return cls(function, structure, shapes, (example_structure, tuple(jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in examples)), outputs)

    def params_tree(self) -> Any:
        return jax.tree.unflatten(self.structure, self.params)

    def block(self, size: int) -> Any:
        structure, leaves = self.examples
        return jax.tree.unflatten(structure, [jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype) for leaf in leaves])


class _Program(NamedTuple):
    """The two compiled parts of a block: the features of a side, and the product of two sides. `bytes` is the memory that the compiler reserves for both."""

    side: Any
    pair: Any
    spread: Any
    everywhere: Any
    bytes: int


@lru_cache(maxsize=64)
def _program(key: _Key, method: Method, block: int) -> _Program:
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
    by_row, whole = jax.sharding.PartitionSpec("rows"), jax.sharding.PartitionSpec()
    spread, everywhere = (jax.sharding.NamedSharding(mesh, spec) for spec in (by_row, whole))
    if method == "products":
        side = lambda params, x: x  # noqa: E731
        pair = lambda params, a, b: kernel_by_products(key.function, params, a, b, key.outputs)  # noqa: E731
    else:
        side = lambda params, x: _features(key.function, method, params, x)  # noqa: E731
        pair = lambda params, a, b: contract(a, b, key.outputs)  # noqa: E731
    params, rows, share = key.params_tree(), key.block(block), key.block(block // len(jax.devices()))
    features = jax.eval_shape(side, params, rows)
    # Each device runs the program of its own rows, traced without the placement: with it, JAX cannot batch a grouped convolution, nor XLA split it.
    some = jax.eval_shape(side, params, share)
    side = _on_devices(mesh, side, (params, share), (whole, by_row))
    pair = _on_devices(mesh, pair, (params, some, features), (whole, by_row, whole))
    made = jit(side, in_shardings=(everywhere, spread), out_shardings=spread).lower(params, rows).compile()
    met = jit(pair, in_shardings=(everywhere, spread, everywhere)).lower(params, features, features).compile()
    sizes: Any = made.memory_analysis(), met.memory_analysis()
    once, twice = ((size.temp_size_in_bytes, size.output_size_in_bytes) for size in sizes)
    return _Program(made, met, spread, everywhere, int(max(once[0] + 2 * once[1], 2 * once[1] + sum(twice))))


def _on_devices(mesh: Any, function: Callable[..., Any], shapes: tuple[Any, ...], places: tuple[Any, ...]) -> Callable[..., Any]:
    """The function on each device's part of its arguments, which have these shapes; results are spread by row."""
    traced, shape = jax.make_jaxpr(function, return_shape=True)(*shapes)
    structure = jax.tree.structure(shape)

    def of_part(*arguments: Any) -> Any:
        return jax.tree.unflatten(structure, eval_jaxpr(traced.jaxpr, traced.consts, *jax.tree.leaves(arguments)))

    return jax.shard_map(of_part, mesh=mesh, in_specs=places, out_specs=jax.sharding.PartitionSpec("rows"), check_vma=False)


def _fitting(key: _Key, method: Method, most: int, memory: int | float) -> tuple[int, _Program]:
    """The largest block whose program fits the budget, found by halving from the whole."""
    devices = len(jax.devices())
    block = -(-min(most, _first_guess(key, method, memory)) // devices) * devices
    while (program := _program(key, method, block)).bytes > memory * MEBIBYTE:
        if block <= devices:
            raise ValueError(f"a block of {block} by {block} examples needs {program.bytes / MEBIBYTE:.3g} MiB with {method}, but the budget is {memory:g} MiB")
        block = -(-(block // 2) // devices) * devices
    return block, program


@lru_cache(maxsize=256)
def _first_guess(key: _Key, method: Method, memory: int | float) -> int:
    """The number of examples whose two sides fill the budget, to avoid compiling larger blocks that cannot fit."""
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), key.block(1))
    if method == "products":
        bytes_each = sum(leaf.size * leaf.dtype.itemsize for leaf in key.params)
    else:
        features = jax.eval_shape(lambda params, x: FEATURES[method](key.function, params, x), key.params_tree(), x)
        bytes_each = 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(features))
    return max(1, int(memory * MEBIBYTE / max(bytes_each, 1)))


@lru_cache(maxsize=256)
def _seconds(key: _Key, method: Method, most: int, memory: int | float) -> float:
    """Seconds per pair of examples, on placeholder data; infinite if not even one pair fits the budget."""
    try:
        block, program = _fitting(key, method, most, memory)
    except ValueError:
        return float("inf")
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), key.params_tree())
    x = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), key.block(block))

    def once() -> float:
        began = time.perf_counter()
        _assemble(program, params, x, x, block)
        return time.perf_counter() - began

    once()
    return min(once(), once()) / block**2


# --- blocks -----------------------------------------------------------------------------------------------------------


def _assemble(program: _Program, params: PyTree, x1: Any, x2: Any, block: int) -> np.ndarray:
    """Compute every block of the kernel; without x2, blocks above the diagonal are also transposed below it."""
    params = jax.device_put(params, program.everywhere)
    symmetric = x2 is None
    x2 = x1 if symmetric else x2
    kernel: np.ndarray | None = None
    for top in range(0, _length(x1), block):
        left = program.side(params, _block(x1, top, block, program.spread))
        for start in range(top if symmetric else 0, _length(x2), block):
            right = left if symmetric and start == top else program.side(params, _block(x2, start, block, program.spread))
            part = np.asarray(program.pair(params, left, jax.device_put(right, program.everywhere)))
            if kernel is None:
                kernel = np.empty(
                    tuple(_length(x1) if axis == 0 else _length(x2) if axis == part.ndim // 2 else n for axis, n in enumerate(part.shape)), part.dtype
                )
            _place(kernel, part, top, start)
            if symmetric and start > top:
                half = part.ndim // 2
                _place(kernel, np.transpose(part, (*range(half, part.ndim), *range(half))), start, top)
    assert kernel is not None
    return kernel


def _place(kernel: np.ndarray, part: np.ndarray, top: int, start: int) -> None:
    """Write a block, without the padding of the last one."""
    middle = kernel.ndim // 2
    target = kernel[top : top + part.shape[0]] if middle == 1 else kernel[top : top + part.shape[0], :, start : start + part.shape[2]]
    if middle == 1:
        target = target[:, start : start + part.shape[1]]
        target[...] = part[: target.shape[0], : target.shape[1]]
    else:
        target[...] = part[: target.shape[0], :, : target.shape[2]]


def _block(x: Any, start: int, block: int, sharding: Any) -> Any:
    """`block` examples starting at `start`; the last example is repeated as padding."""
    index = np.minimum(np.arange(start, start + block), _length(x) - 1)
    return jax.tree.map(lambda leaf: jax.device_put(jnp.asarray(leaf)[index], sharding), x)


def _length(x: Any) -> int:
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(x)}
    if len(lengths) != 1:
        raise ValueError(f"all arrays of a set must have the same leading axis of examples; the lengths are {sorted(lengths)}")
    return lengths.pop()
