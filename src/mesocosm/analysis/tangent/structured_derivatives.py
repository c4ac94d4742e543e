r"""Tangent features of any function, layer by layer: each parameter array gets the smallest form that its use allows.

The function is traced for one example. If a parameter array is used once, in a matrix product, a convolution, an addition or a multiplication, its Jacobian
follows from the other operand (h) and the derivative of the outputs at that place (delta); one backward pass to all these places gives every delta. An array
that is used in another way (twice, inside a loop, in an exponential) is differentiated like any other variable. Either way, the result is exact.

Reference: Novak, Sohl-Dickstein and Schoenholz, "Fast finite width neural tangent kernel" (2022), sec. 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.extend.core import Literal
from jaxtyping import Array, Float, PyTree

from mesocosm.analysis.tangent.features import Function, Jacobian, Outer, jacobians

CALLS = ("jit", "pjit", "closed_call")  # equations that only contain other equations
KEEP_ENTRIES = ("transpose", "reshape", "squeeze", "expand_dims", "copy")


def structured_features(function: Function, params: PyTree, x: Any) -> list[Jacobian | Outer]:
    """The features of one example. Arrays without structure come last, as Jacobians."""
    leaves, structure = jax.tree.flatten(params)
    traced, shape = jax.make_jaxpr(lambda leaves, x: function(jax.tree.unflatten(structure, leaves), x), return_shape=True)(leaves, x)
    arguments = [*leaves, *jax.tree.leaves(x)]
    probes = probed_leaves(traced, arguments, len(leaves))

    def at(probes: dict[int, Array]) -> tuple[Array, dict[int, Use]]:
        taps = Taps(probes)
        outputs = _run(traced.jaxpr, traced.consts, _inputs(arguments, len(leaves)), taps)
        return jnp.ravel(outputs[0].array), {leaf: taps.uses[leaf] for leaf in probes}

    _, pull, uses = jax.vjp(at, probes, has_aux=True)
    (sensitivities,) = jax.vmap(pull)(jnp.eye(prod(shape.shape), dtype=shape.dtype))
    found = [uses[leaf].feature(sensitivities[leaf]) for leaf in probes]
    rest = [leaf for leaf in range(len(leaves)) if leaf not in probes]
    return found + [Jacobian(entries) for entries in _jacobians_of(function, leaves, structure, rest, x)]


def structured_leaves(function: Function, params: PyTree, x: Any) -> list[bool]:
    """Which parameter arrays (in the order of the PyTree's leaves) have a structured form; the others are differentiated directly."""
    leaves, structure = jax.tree.flatten(params)
    traced = jax.make_jaxpr(lambda leaves, x: function(jax.tree.unflatten(structure, leaves), x))(leaves, x)
    probes = probed_leaves(traced, [*leaves, *jax.tree.leaves(x)], len(leaves))
    return [leaf in probes for leaf in range(len(leaves))]


def probed_leaves(traced: Any, arguments: Sequence[Any], leaves: int) -> dict[int, Array]:
    """A probe of zeros for every leaf with a structured form, in the shape of the result of its use."""

    def shapes(arguments: Sequence[Any]) -> dict[int, Array]:
        taps = Taps({})
        outputs = _run(traced.jaxpr, traced.consts, _inputs(arguments, leaves), taps)
        taps.unstructured |= {value.weight.leaf for value in outputs if value.weight is not None}
        return {leaf: taps.given[leaf] for leaf in taps.uses if leaf not in taps.unstructured}

    return {leaf: jnp.zeros(given.shape, given.dtype) for leaf, given in jax.eval_shape(shapes, list(arguments)).items()}


def _jacobians_of(function: Function, leaves: Sequence[Array], structure: Any, chosen: Sequence[int], x: Any) -> list[Array]:
    def of_chosen(some: PyTree, x: Any) -> Array:
        whole = list(leaves)
        for leaf, array in zip(chosen, some, strict=True):
            whole[leaf] = array
        return function(jax.tree.unflatten(structure, whole), x)

    some = [leaves[leaf] for leaf in chosen]
    return jacobians(of_chosen, some, jax.tree.structure(some), x) if chosen else []


# --- what flows through the traced function ---------------------------------------------------------------------------


class Weight(NamedTuple):
    """A value that is `scale` times the entries of a parameter array, in some arrangement."""

    leaf: int
    scale: Any


class Value(NamedTuple):
    """The value of a traced variable.

    Attributes:
        array: its value.
        weight: the parameter array that it equals up to scale and arrangement, if any.
        constant: whether it is independent of parameters and example.
        scalar: the common value of a constant whose entries are all equal.
    """

    array: Any
    weight: Weight | None = None
    constant: bool = False
    scalar: Any = None


@jax.tree_util.register_pytree_node_class
@dataclass
class Use:
    """The use of a parameter array with data: how features follow from the sensitivities, and the data needed for this."""

    data: Any
    scale: Any
    form: Callable[[Any, Array], Jacobian | Outer]

    def feature(self, sensitivities: Float[Array, "outputs ..."]) -> Jacobian | Outer:
        """The array's feature, from the derivative of the outputs with respect to the result of the use."""
        return self.form(self.data, sensitivities * self.scale)

    def tree_flatten(self) -> tuple[tuple[Any, Any], Any]:
        """Data and scale are children; the form, a function, is static."""
        return (self.data, self.scale), self.form

    @classmethod
    def tree_unflatten(cls, form: Any, children: tuple[Any, Any]) -> Use:
        """The inverse of `tree_flatten`."""
        return cls(*children, form)


@dataclass
class Taps:
    """Collects the uses of arrays during a pass, and adds the probes.

    Attributes:
        probes: leaf -> probe that is added to the result of its use.
        uses: leaf -> its use.
        given: leaf -> result of its use.
        unstructured: leaves that are used twice, or in a way that has no rule.
    """

    probes: dict[int, Array]
    uses: dict[int, Use] = field(default_factory=dict)
    given: dict[int, Array] = field(default_factory=dict)
    unstructured: set[int] = field(default_factory=set)

    def meet(self, weight: Weight, use: tuple[Any, Any], given: Array) -> Array:
        """Record a use and return its result plus the probe."""
        if weight.leaf in self.uses:
            self.unstructured.add(weight.leaf)
        data, form = use
        self.uses[weight.leaf], self.given[weight.leaf] = Use(data, weight.scale, form), given
        return given + self.probes[weight.leaf] if weight.leaf in self.probes else given


def _inputs(arguments: Sequence[Any], leaves: int) -> list[Value]:
    return [Value(array, Weight(place, 1.0) if place < leaves else None) for place, array in enumerate(arguments)]


def _run(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Value], taps: Taps) -> list[Value]:
    """Evaluate the traced function equation by equation."""
    values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
    values |= {variable: _constant(array) for variable, array in zip(jaxpr.constvars, consts, strict=True)}

    def read(variable: Any) -> Value:
        literal = isinstance(variable, Literal)
        return _constant(jnp.asarray(variable.val, getattr(variable.aval, "dtype", None))) if literal else values[variable]

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        if equation.primitive.name in CALLS:
            inner = equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"]
            found = _run(inner.jaxpr, inner.consts, given, taps)
        else:
            found = _step(jaxpr, equation, given, taps)
        values |= dict(zip(equation.outvars, found, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _constant(array: Any, repeated: Any = None) -> Value:
    """A constant; `repeated` is the common value of all its entries, if known."""
    scalar = jnp.reshape(array, ()) if jnp.size(array) == 1 else repeated
    return Value(array, None, True, None if scalar is None else scalar.astype(array.dtype))


def _step(jaxpr: Any, equation: Any, given: list[Value], taps: Taps) -> list[Value]:
    """Evaluate one equation: on plain data, a rearranged parameter array, a parameter array with data, or without a rule."""
    arrays = _evaluate(jaxpr, equation, [value.array for value in given])
    met = [(place, value.weight) for place, value in enumerate(given) if value.weight is not None]
    if not met:
        if not all(value.constant for value in given):
            return [Value(array) for array in arrays]
        repeated = given[0].scalar if equation.primitive.name in (*KEEP_ENTRIES, "broadcast_in_dim", "convert_element_type") else None
        return [_constant(array, repeated) for array in arrays]
    if len(met) == 1:
        place, weight = met[0]
        same_size = jnp.size(arrays[0]) == jnp.size(given[place].array)
        if same_size and (factor := _factor(equation, given, place)) is not None:
            return [Value(arrays[0], Weight(weight.leaf, weight.scale * factor))]
        if (use := _use(equation, given, place)) is not None:
            return [Value(taps.meet(weight, use, arrays[0]))]
    taps.unstructured |= {weight.leaf for _, weight in met}
    return [Value(array) for array in arrays]


def _evaluate(jaxpr: Any, equation: Any, arrays: list[Any]) -> list[Any]:
    """Evaluate the equation with JAX's own evaluator on a one-line program, which handles how primitives are bound."""
    inputs: dict[Any, Any] = {variable: array for variable, array in zip(equation.invars, arrays, strict=True) if not isinstance(variable, Literal)}
    line = jaxpr.replace(constvars=[], invars=list(inputs), outvars=list(equation.outvars), eqns=[equation])
    return eval_jaxpr(line, [], *inputs.values())


# --- the rules --------------------------------------------------------------------------------------------------------


def _factor(equation: Any, given: list[Value], place: int) -> Any:
    """The factor by which an equation multiplies a parameter array that it otherwise only rearranges; None for other equations."""
    name = equation.primitive.name
    if name in (*KEEP_ENTRIES, "broadcast_in_dim"):
        return 1.0
    if name == "convert_element_type" and jnp.issubdtype(equation.params["new_dtype"], jnp.floating):
        return 1.0
    if name == "neg":
        return -1.0
    if name == "mul" and given[1 - place].scalar is not None:
        return given[1 - place].scalar
    if name == "div" and place == 0 and given[1].scalar is not None:
        return 1 / given[1].scalar
    return None


def _use(equation: Any, given: list[Value], place: int) -> tuple[Any, Any] | None:
    """The data and the form of a use, or None if there is no rule."""
    name = equation.primitive.name
    other: Any = given[1 - place].array if len(given) == 2 else None
    if name == "dot_general":
        return _matrix_product(equation.params["dimension_numbers"], other, place)
    if name == "conv_general_dilated" and place == 1:
        return _convolution(equation.params, other, given[1].array)
    shape = jnp.shape(given[place].array)
    if name in ("add", "sub"):
        return jnp.ones(()), _Summed(tuple(range(len(shape))), shape)
    if name == "mul":
        return other, _Summed(tuple(range(len(shape))), shape)
    if name == "broadcast_in_dim":
        return jnp.ones(()), _Summed(tuple(equation.params["broadcast_dimensions"]), shape)
    return None


def _rows(delta: Array) -> Jacobian:
    return Jacobian(delta.reshape(delta.shape[0], -1))


class _Summed(NamedTuple):
    """An array that was added or multiplied with data: sensitivities times the data, summed over the axes along which the array was broadcast.

    Attributes:
        dimensions: the axes of the result that belong to the array.
        shape: the shape of the array.
    """

    dimensions: tuple[int, ...]
    shape: tuple[int, ...]

    def __call__(self, factor: Array, delta: Array) -> Jacobian:
        product = delta * factor
        kept = {axis for axis, size in zip(self.dimensions, self.shape, strict=True) if size == product.shape[axis + 1]}
        return _rows(product.sum(axis=tuple(axis + 1 for axis in range(product.ndim - 1) if axis not in kept)))


def _matrix_product(dimensions: Any, other: Array, place: int) -> tuple[Any, Any] | None:
    """The data as (positions, inputs), where positions are the other operand's free axes, which share the weights."""
    contracted, batch = dimensions
    if batch[0] or batch[1]:
        return None
    axes = contracted[1 - place]
    free = [axis for axis in range(other.ndim) if axis not in axes]
    positions = prod(other.shape[axis] for axis in free)
    data = jnp.transpose(other, (*free, *axes)).reshape(positions, -1)
    return data, _dense_weights_first if place == 0 else _dense_weights_last


def _dense_weights_first(data: Array, delta: Array) -> Jacobian | Outer:
    return _dense(data, jnp.swapaxes(delta.reshape(delta.shape[0], -1, data.shape[0]), 1, 2))


def _dense_weights_last(data: Array, delta: Array) -> Jacobian | Outer:
    return _dense(data, delta.reshape(delta.shape[0], data.shape[0], -1))


def _dense(data: Float[Array, "positions inputs"], delta: Float[Array, "outputs positions size"]) -> Jacobian | Outer:
    """The two factors for one position; the Jacobian, a sum of products, for several."""
    if data.shape[0] == 1:
        return Outer(data[0], delta[:, 0])
    return _rows(jnp.einsum("cto,ti->coi", delta, data))


def _convolution(parameters: Any, image: Array, kernel: Any) -> tuple[Any, Any] | None:
    """A convolution, as a matrix product with patches."""
    grouped = parameters["feature_group_count"] > 1 or parameters["batch_group_count"] > 1
    numbers = parameters["dimension_numbers"]
    if grouped or any(step != 1 for step in parameters["lhs_dilation"]) or image.shape[numbers.lhs_spec[0]] != 1 or min(map(min, parameters["padding"])) < 0:
        return None
    sizes = [kernel.shape[axis] for axis in numbers.rhs_spec[2:]]
    image = jnp.transpose(image, numbers.lhs_spec)[0]
    padding = [(int(low), int(high)) for low, high in parameters["padding"]]  # older JAX has NumPy's integers here
    return patches(image, sizes, parameters["window_strides"], padding, parameters["rhs_dilation"]), _Convolved(tuple(numbers.out_spec))


class _Convolved(NamedTuple):
    """Converts sensitivities from the convolution's layout to (outputs, positions, channels)."""

    layout: tuple[int, ...]

    def __call__(self, data: Array, delta: Array) -> Jacobian | Outer:
        delta = jnp.transpose(delta, (0, *(axis + 1 for axis in self.layout)))[:, 0]  # outputs, channels, places
        return _dense(data, jnp.swapaxes(delta.reshape(*delta.shape[:2], -1), 1, 2))


def patches(
    image: Float[Array, "channels *places"], sizes: Sequence[int], strides: Sequence[int], padding: Sequence[tuple[int, int]], dilation: Sequence[int]
) -> Float[Array, "positions inputs"]:
    """The inputs in a convolution's window at each position."""
    padded = jnp.pad(image, [(0, 0), *padding])
    counts = [(full - dilated * (size - 1) - 1) // stride + 1 for full, size, stride, dilated in zip(padded.shape[1:], sizes, strides, dilation, strict=True)]
    offsets = jnp.meshgrid(*(jnp.arange(size) * dilated for size, dilated in zip(sizes, dilation, strict=True)), indexing="ij")
    starts = jnp.meshgrid(*(jnp.arange(count) * stride for count, stride in zip(counts, strides, strict=True)), indexing="ij")
    index = tuple(start.reshape(-1, 1) + offset.reshape(1, -1) for start, offset in zip(starts, offsets, strict=True))
    seen = padded[(slice(None), *index)]  # channels, positions, window
    return jnp.moveaxis(seen, 0, 1).reshape(seen.shape[1], -1)
