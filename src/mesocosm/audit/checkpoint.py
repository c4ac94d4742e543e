"""Opens a checkpoint: a safetensors file, a directory, a repository on the Hugging Face hub, or PyTorch's format if torch is installed.

This module reads only headers. PyTorch files are opened with `weights_only`, never with plain pickle, which can run code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mesocosm.audit.errors import AuditError, Skip
from mesocosm.audit.quantisation import read_weight
from mesocosm.audit.safetensors_file import read_header
from mesocosm.audit.tensor import Tensor

REPOSITORY = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
TORCH_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
GGUF = "{} is a GGUF file, the format of llama.cpp, which is not read: audit the safetensors checkpoint that it was made from"
INSIDE = ("state_dict", "model_state_dict", "model", "module", "weights")


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors and the config.

    Attributes:
        name: the name given by the user.
        tensors: name -> tensor.
        config: the contents of `config.json`; empty if there is none.
    """

    name: str
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]

    def matrix(self, name: str, *, inputs_first: bool = False) -> np.ndarray:
        """A tensor's values, dequantised if necessary.

        Raises:
            Skip: it is quantised in a way that is not understood, or a value is not finite.
        """
        values = read_weight(self.tensors, name, self.config, inputs_first=inputs_first)
        if not np.all(np.isfinite(values)):
            raise Skip(f"{name} has {int(np.sum(~np.isfinite(values)))} entries that are not finite")
        return values


def open_checkpoint(model: str, config: Path | None = None) -> Checkpoint:
    """Open a checkpoint.

    Args:
        model: a file, a directory, or `owner/name[@revision]` on the hub.
        config: path of a config.json in another place.

    Raises:
        AuditError: the checkpoint does not exist or is damaged, or a required package is missing.
    """
    path = Path(model)
    if not path.exists():
        path = download(model)
    if path.is_dir():
        tensors, folder = _read_folder(path), path
    else:
        tensors, folder = _read_files([path]), path.parent
    settings = read_config(config or folder / "config.json", needed=config is not None)
    return Checkpoint(model, tensors, settings)


def read_config(path: Path, *, needed: bool) -> dict[str, Any]:
    """Read a config.json; empty if it is missing and not needed.

    Raises:
        AuditError: it is needed and missing, or is not a JSON object.
    """
    if not path.exists() and not needed:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AuditError(f"{path} cannot be read as a config: {error}") from None
    if not isinstance(found, dict):
        raise AuditError(f"{path} cannot be read as a config: it is not a JSON object")
    return found


def download(repository: str) -> Path:
    """Download a repository to the hub's cache if necessary, and return its folder: safetensors if it has any, else PyTorch files.

    Raises:
        AuditError: the name is not a path or repository, huggingface-hub is not installed, or the hub does not have it.
    """
    found = REPOSITORY.fullmatch(repository)
    if found is None:
        raise AuditError(f"there is no file or directory {repository!r}, and hub repositories are written owner/name")
    try:
        from huggingface_hub import snapshot_download  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise AuditError(
            f"there is no file or directory {repository!r}; to download this repository, install huggingface-hub: pip install 'mesocosm[hub]'"
        ) from None
    try:
        for patterns in (["*.safetensors", "*.safetensors.index.json", "config.json"], ["*.bin", "*.bin.index.json", "config.json"]):
            folder = Path(snapshot_download(found["name"], revision=found["revision"], allow_patterns=patterns))
            if any(file.suffix in (".safetensors", ".bin") for file in folder.iterdir()):
                return folder
    except Exception as error:
        told = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise AuditError(f"{repository!r} is neither a path nor a repository in the hub or its cache: {told}") from None
    raise AuditError(f"the repository {repository!r} has neither safetensors nor PyTorch files")


# --- which files ----------------------------------------------------------------------------------------------------


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a directory, by its index if there is one, else from all safetensors files or all PyTorch files."""
    for index in (*sorted(folder.glob("*.safetensors.index.json")), *sorted(folder.glob("*.bin.index.json"))):
        return _read_index(index)
    for suffix in (".safetensors", *TORCH_SUFFIXES):
        if files := sorted(file for file in folder.glob(f"*{suffix}") if file.name not in ("training_args.bin", "optimizer.pt", "scheduler.pt")):
            return _read_files(files)
    if files := sorted(folder.glob("*.gguf")):
        raise AuditError(GGUF.format(files[0]))
    raise AuditError(f"{folder} has no .safetensors file, no index and no PyTorch file")


def _read_index(index: Path) -> dict[str, Tensor]:
    """The tensors of a sharded checkpoint; each must be in the shard named by the index."""
    places = read_config(index, needed=True).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise AuditError(f"{index} has no weight_map from names to files")
    shards = sorted(set(places.values()))
    if strange := [shard for shard in shards if Path(shard).name != shard]:
        raise AuditError(f"{index} names the shard {strange[0]!r}, which is in another folder")
    if missing := [shard for shard in shards if not (index.parent / shard).exists()]:
        raise AuditError(f"{len(missing)} of {len(shards)} shards are missing in {index.parent}, starting with {missing[0]}")
    found = {shard: _read_files([index.parent / shard]) for shard in shards}
    if lost := [name for name, shard in places.items() if name not in found[shard]]:
        raise AuditError(f"{index} lists {lost[0]!r} in {places[lost[0]]}, which does not contain it")
    return {name: found[shard][name] for name, shard in places.items()}


def _read_files(files: Iterable[Path]) -> dict[str, Tensor]:
    """The tensors of several files, without duplicates."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".gguf":
            raise AuditError(GGUF.format(file))
        found = _read_torch(file) if file.suffix in TORCH_SUFFIXES else {n: Tensor(s.shape, s.dtype, s.read) for n, s in read_header(file).items()}
        if twice := sorted(set(found) & set(tensors)):
            raise AuditError(f"{twice[0]!r} is in {file.name} and in another file of {file.parent}: name the file to audit")
        tensors |= found
    return tensors


# --- PyTorch --------------------------------------------------------------------------------------------------------


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise AuditError(f"{path.name} is a PyTorch file, which needs torch; safetensors files need no extra package") from None
    try:
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the format before torch 1.6 does not support mmap
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        told = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise AuditError(
            f"{path} is damaged, or contains Python objects beside tensors. Loading those can run any code, so it is refused. "
            f"If you trust the file, load it with torch yourself and save its state dict as safetensors ({told[:160]})"
        ) from None
    state = _state_dict(loaded, torch.Tensor)
    if state is None:
        kind = f"a table of {', '.join(map(repr, list(loaded)[:8]))}" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise AuditError(f"{path} contains {kind} instead of a state dict of tensors")
    return {name: Tensor(tuple(value.shape), _torch_dtype(value), _reader(value)) for name, value in state.items()}


def _state_dict(loaded: Any, tensor: type) -> dict[str, Any] | None:
    """The tensors of a state dict, under a common key, or else all tensors by their path."""
    if not isinstance(loaded, Mapping):
        return None
    for key in INSIDE:  # before the tensors beside it, such as the best loss of a training checkpoint
        if inner := _state_dict(loaded.get(key), tensor):
            return inner
    found = {str(name): value for name, value in loaded.items() if isinstance(value, tensor)}
    for name, part in loaded.items():
        found |= {f"{name}.{inner}": value for inner, value in (_state_dict(part, tensor) or {}).items()}
    return found or None


def _torch_dtype(value: Any) -> str:
    names = {
        "float64": "F64",
        "float32": "F32",
        "float16": "F16",
        "bfloat16": "BF16",
        "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
        "float8_e4m3fnuz": "F8_E4M3FNUZ",
        "float8_e5m2fnuz": "F8_E5M2FNUZ",
        "float8_e8m0fnu": "F8_E8M0",
        "int8": "I8",
        "uint8": "U8",
    }
    name = str(value.dtype).removeprefix("torch.")
    return "F32" if value.is_quantized else names.get(name, name)  # torch dequantises its own formats


def _reader(value: Any) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        if value.is_quantized:
            return value.dequantize().numpy()
        return (value.float() if value.is_floating_point() and value.element_size() < 4 else value).detach().numpy()

    return read
