"""A file is whole or not there."""

import json
import math

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file

from mesocosm.lab.store import atomic


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "a.json"
    atomic.write_json(path, {"a": 1})

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        atomic.write(path, fail)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(path, {"a": math.nan})
    assert atomic.read_json(path) == {"a": 1}


def test_tensors_keep_their_shapes_and_a_full_disk_is_an_os_error(tmp_path, monkeypatch):
    arrays = {"scalar": np.array(1.5), "turned": np.arange(6).reshape(2, 3).T, "empty": np.zeros((0, 3))}
    atomic.write_tensors(tmp_path / "a.safetensors", arrays, {"who": "me"})
    found = load_file(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(atomic, "save_file", full)
    with pytest.raises(OSError, match="No space left") as raised:
        atomic.write_tensors(tmp_path / "a.safetensors", arrays, {})
    assert raised.value.errno == 28
    np.testing.assert_array_equal(load_file(tmp_path / "a.safetensors")["scalar"], 1.5)


def test_a_checksum_sees_one_bit(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00" * 1000)
    (tmp_path / "b").write_bytes(b"\x00" * 999 + b"\x01")
    assert atomic.checksum(tmp_path / "a") == atomic.checksum(tmp_path / "a") != atomic.checksum(tmp_path / "b")


def test_a_sweep_removes_halves_and_nothing_else(tmp_path):
    for name in ("x/.a.json.12.part", "x/.tmpAb12", "x/a.part", "x/a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    atomic.sweep(tmp_path)
    assert sorted(file.name for file in (tmp_path / "x").iterdir()) == ["a.json", "a.part"]
