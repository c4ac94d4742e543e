"""Checkpoints are read right in every dtype, sharded or not, and a damaged or dangerous file is one clear line."""

import json
import pickle
import struct

import ml_dtypes
import numpy as np
import pytest

from mesocosm.audit import AuditError, audit
from mesocosm.audit.checkpoint import _state_dict, open_checkpoint
from packed_models import FAMILIES, pack, write


def write_raw(path, tensors):
    """A safetensors file by hand: name -> (dtype, shape, bytes)."""
    header, body = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_is_read_as_it_was_written(name, tmp_path):
    values = (3 * np.random.default_rng(0).standard_normal((5, 7))).astype(DTYPES[name])
    path = write_raw(tmp_path / "model.safetensors", {"a": ("F32", (1,), b"\0\0\0\0"), "x": (name, (5, 7), values.tobytes())})
    tensor = open_checkpoint(str(path)).tensors["x"]
    assert (tensor.shape, tensor.dtype) == ((5, 7), name)
    np.testing.assert_array_equal(tensor.read(), values.astype(np.float64))


def test_bfloat16_factors_give_the_numbers_of_the_rounded_ones(tmp_path):
    family = FAMILIES["llama"]
    tensors, _ = pack(family)
    rounded = {name: value.astype(ml_dtypes.bfloat16) for name, value in tensors.items()}
    plain = write(tmp_path / "f32", {name: value.astype(np.float32) for name, value in rounded.items()}, family.config)
    write_raw(tmp_path / "bf16.safetensors", {name: ("BF16", value.shape, value.tobytes()) for name, value in rounded.items()})
    (tmp_path / "config.json").write_text(json.dumps(family.config))
    first, second = audit(tmp_path / "bf16.safetensors").rows, audit(plain).rows
    assert first.drop("model").equals(second.drop("model"))


# --- shards ---------------------------------------------------------------------------------------------------------


def sharded(folder, tensors, config):
    """Every tensor in one of two shards, by turns, so that a block's lie apart."""
    shards = {f"model-0000{n + 1}-of-00002.safetensors": dict(list(tensors.items())[n::2]) for n in range(2)}
    for shard, part in shards.items():
        write(folder, part, config, shard)
    places = {name: shard for shard, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_a_sharded_checkpoint_is_the_whole_one(tmp_path):
    family = FAMILIES["mistral-gqa"]
    tensors, _ = pack(family)
    whole = audit(write(tmp_path / "whole", tensors, family.config)).rows
    folder = sharded(tmp_path / "shards", tensors, family.config)
    assert audit(folder).rows.drop("model").equals(whole.drop("model"))
    (folder / "model.safetensors.index.json").unlink()
    assert audit(folder).rows.drop("model").equals(whole.drop("model"))


def test_a_broken_index_is_told(tmp_path):
    family = FAMILIES["bert"]
    folder = sharded(tmp_path, pack(family)[0], family.config)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    for changed, told in (
        ({**places, "extra": "model-00001-of-00002.safetensors"}, "lists 'extra' in model-00001-of-00002.safetensors, which does not contain it"),
        ({**places, "extra": "../other.safetensors"}, "which is in another folder"),
        ({**places, "extra": "gone.safetensors"}, "1 of 3 shards are missing"),
        (None, "has no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(AuditError, match=told):
            audit(folder)


# --- damage ---------------------------------------------------------------------------------------------------------


def test_damaged_and_foreign_files_are_one_line(tmp_path):
    family = FAMILIES["bert"]
    whole = (write(tmp_path / "whole", pack(family)[0], family.config) / "model.safetensors").read_bytes()
    for content, told in (
        (b"", "not a safetensors file, or is truncated"),
        (b"\x80\x04" + b"pickle" * 20, "not a safetensors file, or is truncated"),
        (struct.pack("<Q", 10) + b"not json!!" + b"0" * 20, "its header is not JSON"),
        (struct.pack("<Q", 4) + b"[12]" + b"0" * 20, "its header is not a table of tensors"),
        (whole[:-40], "ends too early: .* is the download complete"),
    ):
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        with pytest.raises(AuditError, match=told):
            audit(path)
    write_raw(tmp_path / "model.safetensors", {"x": ("F32", (3, 3), b"0" * 20)})
    with pytest.raises(AuditError, match=r"'x' is F32 of shape \[3, 3\], which does not fit 20 bytes"):
        audit(tmp_path / "model.safetensors")


def test_a_tensor_cut_off_after_the_header_was_read_is_told(tmp_path):
    path = write_raw(tmp_path / "model.safetensors", {"x": ("F32", (2, 2), b"0" * 16)})
    tensor = open_checkpoint(str(path)).tensors["x"]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(AuditError, match="it has 12 of 16 bytes of a tensor"):
        tensor.read()


def test_gguf_is_named(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(40))
    for path in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(AuditError, match=r"model.gguf is a GGUF file, the format of llama.cpp, which is not read"):
            audit(path)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(AuditError, match="there is no file or directory '/nowhere/at/all'"):
        open_checkpoint("/nowhere/at/all")
    with pytest.raises(AuditError, match=r"has no \.safetensors file"):
        open_checkpoint(str(tmp_path))
    folder = write(tmp_path / "m", pack(FAMILIES["bert"])[0])
    with pytest.raises(AuditError, match="cannot be read as a config"):
        open_checkpoint(str(folder), tmp_path / "no.json")
    (folder / "config.json").write_text("[1]")
    with pytest.raises(AuditError, match="is not a JSON object"):
        open_checkpoint(str(folder))
    write(folder, pack(FAMILIES["bert"])[0], name="model-copy.safetensors")
    (folder / "config.json").unlink()
    with pytest.raises(AuditError, match=r"is in model\.safetensors and in another file of .*: name the file to audit"):
        open_checkpoint(str(folder))


# --- PyTorch files --------------------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return print, ("this must never run",)


def test_a_pickle_is_never_opened_by_unpickling(tmp_path, capsys):
    """With torch it is refused by weights_only, without torch it is not touched."""
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickle.dumps({"x.q_proj.weight": Bomb()}))
    with pytest.raises(AuditError, match=r"refused|needs torch"):
        audit(path)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("role", ["q_proj", "k_proj", "v_proj", "o_proj"])
@pytest.mark.parametrize("shape", [(1,), (12,), (0, 12), (12, 0)], ids=str)
def test_a_tensor_that_is_no_matrix_skips_its_block(role, shape, tmp_path):
    tensors = dict(pack(FAMILIES["llama"])[0])
    name = f"model.layers.1.self_attn.{role}.weight"
    found = audit(write(tmp_path, tensors | {name: np.zeros(shape, np.float32)}, FAMILIES["llama"].config))
    assert set(found.audited["layer"]) == {0}
    assert found.skipped["reason"].to_list() == [f"{name} has the shape {list(shape)}, which is no matrix"]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("inside", [None, "state_dict"])
def test_pytorch_files_are_read_as_safetensors_are(legacy, inside, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: PyTorch files cannot be tested")
    family = FAMILIES["gpt2"]
    tensors, _ = pack(family)
    state = {name: torch.tensor(value).to(torch.bfloat16) for name, value in tensors.items()}
    folder = tmp_path / "torch"
    folder.mkdir()
    torch.save({"step": 3, inside: state} if inside else state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    (folder / "config.json").write_text(json.dumps(family.config))
    rounded = {name: value.astype(ml_dtypes.bfloat16).astype(np.float32) for name, value in tensors.items()}
    assert audit(folder).rows.drop("model").equals(audit(write(tmp_path / "plain", rounded, family.config)).rows.drop("model"))


@pytest.mark.parametrize("inside", ["model", "module", "state_dict"])
def test_a_training_checkpoint_has_tensors_beside_its_weights(inside, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: PyTorch files cannot be tested")
    family = FAMILIES["llama"]
    state = {name: torch.tensor(value) for name, value in pack(family)[0].items()}
    torch.save({"best_val_loss": torch.tensor(2.5), inside: state, "iter_num": 7}, tmp_path / "ckpt.pt")
    (tmp_path / "config.json").write_text(json.dumps(family.config))
    assert audit(tmp_path / "ckpt.pt").audited.height == 16


def test_the_weights_of_a_training_checkpoint_are_found_under_any_key():
    """Without torch: any type may stand for its tensors."""
    weights, best = {"layer.weight": np.ones(2)}, np.array(0.5)
    assert _state_dict({"best": best, "model": {"state_dict": weights}}, np.ndarray) == weights
    assert set(_state_dict({"best": best, "epoch": 3, "net": weights, "ema": {"model": weights}}, np.ndarray)) == {
        "best",
        "net.layer.weight",
        "ema.layer.weight",
    }
    assert _state_dict({"epoch": 3, "args": {"lr": 0.1}}, np.ndarray) is None


def test_a_pytorch_file_without_a_state_dict_is_told(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: PyTorch files cannot be tested")
    torch.save({"step": 3, "name": "x"}, tmp_path / "model.pt")
    with pytest.raises(AuditError, match="contains a table of 'step', 'name' instead of a state dict"):
        audit(tmp_path / "model.pt")


# --- the hub --------------------------------------------------------------------------------------------------------


def test_a_repository_comes_from_the_hubs_cache_without_a_network(tmp_path, monkeypatch):
    """The cache's own layout: refs, blobs, snapshots that link to them."""
    pytest.importorskip("huggingface_hub", reason="huggingface-hub is not installed: pip install 'mesocosm[hub]'")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    family, commit = FAMILIES["gpt2"], "0" * 40
    repository = tmp_path / "models--someone--tiny"
    blobs = write(repository / "blobs", pack(family)[0], family.config)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    found = audit("someone/tiny")
    assert found.audited.height == 16
    assert found.model == "someone/tiny"
    assert audit("someone/tiny@main").audited.height == 16
    with pytest.raises(AuditError, match="'someone/else' is neither a path nor a repository in the hub or its cache"):
        audit("someone/else")


def test_without_the_hub_package_a_repository_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(AuditError, match=r"install huggingface-hub: pip install 'mesocosm\[hub\]'"):
        audit("someone/tiny")
