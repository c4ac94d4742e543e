"""Reads quantised weights: one-byte codes, times a scale, minus a zero point. A weight beside tensors that are not understood is not read at all.

The rules follow the files of DeepSeek, compressed-tensors, FBGEMM and ComfyUI, in which a name with `scale` multiplies, also where it ends in `_inv`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mesocosm.audit.errors import Skip
from mesocosm.audit.tensor import Tensor

SCALES = ("weight_scale_inv", "weight_scale", "scale_weight", "scale_inv", "scale")
ZERO_POINTS = ("weight_zero_point", "zero_point_weight", "zero_point")
OF_ACTIVATIONS = r"(?:input|output|activation|act|[qkv]|kv_cache)_(?:scale|zero_point)(?:_inv|_ub)?|scale_(?:input|output|activation)"
"""Numbers that quantise activations and leave the weight as it is."""
CODING = re.compile(r"scale|zero|(?:^|[._])zp|quant|amax|absmax", re.IGNORECASE)
"""Names of numbers that decode a weight."""
OF_THE_MODEL = re.compile(r"(?:logit|layer|residual|embed\w*|attn|attention|softmax)_?scale", re.IGNORECASE)
"""Scales that belong to the model and decode nothing."""
ADAPTER = re.compile(r"(?:^|[._])(?:lora|loha|lokr|hada|dora|vera|ia3|b?oft|adapter)", re.IGNORECASE)
ADAPTER_REASON = "an adapter that is not merged: merge it into its model first"


Tensors = Mapping[str, Tensor]


def is_quantised(dtype: str) -> bool:
    """Whether a dtype holds codes: float8 and less, and integers."""
    return dtype not in ("F64", "F32", "F16", "BF16")


def read_weight(tensors: Tensors, name: str, config: Mapping[str, Any], *, inputs_first: bool = False) -> np.ndarray:
    """A weight's values, dequantised if necessary.

    Args:
        tensors: the checkpoint's tensors.
        name: the weight's name.
        config: the contents of config.json, for the size of blocks.
        inputs_first: whether the matrix is stored as (inputs, outputs).

    Raises:
        Skip: a tensor beside the weight is not understood, or the weight is quantised and lacks its scale.
    """
    beside = companions(tensors, name)
    if any(ADAPTER.search(short) for short in beside):
        raise Skip(ADAPTER_REASON)
    weight, (scale, zero, others) = tensors[name], _roles(beside)
    if not is_quantised(weight.dtype):
        others += [short for short in (scale, zero) if short]
    else:
        others += _outside(tensors, name)
    if others:
        raise Skip(f"{name} ({weight.dtype}) has tensors beside it that are not understood: {', '.join(sorted(others))}")
    if not is_quantised(weight.dtype):
        return weight.read()
    if scale is None:
        return _unscaled(tensors, name, config)
    if not weight.dtype.startswith(("F8_E4M3", "F8_E5M2")) and weight.dtype != "I8" and not (weight.dtype == "U8" and zero):
        raise Skip(f"{name} is {weight.dtype}, which may hold several numbers in one: dequantise the checkpoint first")
    codes = weight.read().astype(np.float32)
    blocks = _block_size(config)
    if zero is not None:
        found = tensors[beside[zero]].shape
        if found != tensors[beside[scale]].shape and math.prod(found) != 1:
            raise Skip(f"{beside[zero]} has another shape than {beside[scale]}; it may hold several numbers in one: dequantise the checkpoint first")
        codes = codes - _spread(tensors[beside[zero]], beside[zero], name, codes.shape, blocks, inputs_first)
    return codes * _spread(_as_scale(tensors, beside[scale], config), beside[scale], name, codes.shape, blocks, inputs_first)


def companions(tensors: Tensors, name: str) -> dict[str, str]:
    """The tensors that belong to a weight: name within its module -> whole name. Its bias is not among them."""
    module = re.sub(r"(^|[._])(weight|kernel)$", r"\1", name)
    starts = (f"{name}_", f"{name}.") if module == name else (module,)
    own = {name, f"{module}bias", f"{name}_bias"}
    found = (other for other in tensors if other.startswith(starts) and other not in own)
    return {("weight" if module == name else "") + other.removeprefix(module): other for other in found}


def _outside(tensors: Tensors, name: str) -> list[str]:
    """Tensors next to a weight's module that carry its name and decode it: `q_proj_zero_point` next to `q_proj.weight`."""
    module = name.rpartition(".")[0]
    beyond = (other.removeprefix(f"{module.rpartition('.')[0]}.") for other in tensors if module and other.startswith(f"{module}_"))
    return [short for short in beyond if CODING.search(short) and not re.fullmatch(OF_ACTIVATIONS, short)]


def _roles(beside: Mapping[str, str]) -> tuple[str | None, str | None, list[str]]:
    """The scale, the zero point and what is neither; two scales are not understood."""
    rest = [short for short in beside if not re.fullmatch(OF_ACTIVATIONS, short)]
    scales, zeros = ([short for short in rest if short in names] for names in (SCALES, ZERO_POINTS))
    others = [short for short in rest if short not in (*SCALES, *ZERO_POINTS)]
    return next(iter(scales), None), next(iter(zeros), None), [*others, *scales[1:], *zeros[1:]]


def _unscaled(tensors: Tensors, name: str, config: Mapping[str, Any]) -> np.ndarray:
    """Float8 numbers that were cast without a scale: only if nothing in the checkpoint hints at one."""
    weight = tensors[name]
    if not weight.dtype.startswith(("F8_E4M3", "F8_E5M2")):
        raise Skip(f"{name} is {weight.dtype} and has no scale ({', '.join(SCALES)}) beside it: dequantise the checkpoint first")
    module = name.rpartition(".")[0].rpartition(".")[0]
    near = [other for other in tensors if other.startswith(f"{module}.") and CODING.search(other)]
    far = [other for other in tensors if CODING.search(OF_THE_MODEL.sub("", other)) or other.rpartition(".")[2] == "scaled_fp8"]
    if hints := [*near, *far, *(["quantization_config in config.json"] if _quantisation(config) else [])]:
        raise Skip(f"{name} is {weight.dtype} without a scale beside it, but there is {hints[0]}")
    return weight.read()


def _as_scale(tensors: Tensors, name: str, config: Mapping[str, Any]) -> Tensor:
    """The scale, in floating point.

    Raises:
        Skip: it is itself quantised.
    """
    scale = tensors[name]
    if is_quantised(scale.dtype) and scale.dtype != "F8_E8M0":
        raise Skip(f"{name} is {scale.dtype}, a scale that is itself quantised: dequantise the checkpoint first")
    return scale


def _spread(stored: Tensor, own: str, name: str, shape: Sequence[int], blocks: Sequence[int] | None, inputs_first: bool) -> np.ndarray:
    """One number per entry of the weight, from one number, or one per row, column or block.

    Raises:
        Skip: the shapes do not fit, or fit blocks of several sizes.
    """
    values = np.asarray(stored.read(), np.float32)
    if values.size == 1:
        return values.reshape(())
    if values.ndim == 1 and len(shape) == 2:
        axis = 1 if inputs_first else 0
        if len(values) != shape[axis] or (inputs_first and shape[0] == shape[1]):
            raise Skip(f"{own} of shape {list(values.shape)} does not tell which axis of {name}, of shape {list(shape)}, it belongs to")
        values = np.expand_dims(values, 1 - axis)
    if values.ndim != len(shape):
        raise Skip(f"{own} of shape {list(values.shape)} does not fit {name} of shape {list(shape)}")
    given = blocks is not None and len(blocks) == len(shape) and all(math.ceil(n / b) == k for n, b, k in zip(shape, blocks, values.shape, strict=True))
    if blocks is not None and not given and any(k not in (1, n) for n, k in zip(shape, values.shape, strict=True)):
        raise Skip(f"{own} of shape {list(values.shape)} does not fit blocks of {' x '.join(map(str, blocks))}, which config.json states")
    sizes = blocks if blocks is not None and given else [_told(n, k, own, name) for n, k in zip(shape, values.shape, strict=True)]
    for axis, (size, length) in enumerate(zip(sizes, shape, strict=True)):
        values = np.take(values, np.arange(length) // size, axis=axis)
    return values


def _told(length: int, count: int, own: str, name: str) -> int:
    """The size of blocks, if the shapes tell it: the last block may be smaller, so that 2 blocks of 192 rows may have 96 or 128."""
    if not 1 <= count <= length:
        raise Skip(f"{own} has {count} numbers along an axis of {name} with {length} entries")
    smallest = math.ceil(length / count)
    largest = length if count == 1 else math.ceil(length / (count - 1)) - 1
    candidates = {size for size in range(smallest, largest + 1) if size * count == length or size & (size - 1) == 0 or smallest == largest}
    if count == 1:
        return length
    if len(candidates) != 1:
        raise Skip(f"{own} has {count} numbers for {length} entries of {name}, and config.json has no weight_block_size that fits: the blocks are unknown")
    return candidates.pop()


def _quantisation(config: Mapping[str, Any]) -> Mapping[str, Any]:
    places = (config, config.get("text_config"))
    found = (place.get(key) for place in places if isinstance(place, Mapping) for key in ("quantization_config", "compression_config"))
    return next((part for part in found if isinstance(part, Mapping) and part), {})


def _block_size(config: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The size of blocks as the config gives it: of DeepSeek's format, or of compressed-tensors."""
    part = _quantisation(config)
    groups = part.get("config_groups")
    weights = [group.get("weights") for group in groups.values() if isinstance(group, Mapping)] if isinstance(groups, Mapping) else []
    candidates = [part.get("weight_block_size"), *(w.get("block_structure") for w in weights if isinstance(w, Mapping))]
    grouped = [part.get("group_size"), *(w.get("group_size") for w in weights if isinstance(w, Mapping))]
    candidates += [[1, size] for size in grouped if isinstance(size, int) and size > 0]
    found: set[tuple[int, ...]] = set()
    for candidate in candidates:
        sizes = candidate.split("x") if isinstance(candidate, str) else candidate
        if isinstance(sizes, Sequence) and all(str(size).isdigit() and int(size) > 0 for size in sizes):
            found.add(tuple(int(size) for size in sizes))
    return found.pop() if len(found) == 1 else None
