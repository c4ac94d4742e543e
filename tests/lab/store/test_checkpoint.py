"""A checkpoint is loaded only by the fit that wrote it, and a damaged one costs time, never a result."""

import ml_dtypes
import numpy as np
import pytest

from mesocosm.lab.store.checkpoint import FileCheckpoint

SNAPSHOT = {
    "state/0000": np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3),
    "flag": np.array([True, False]),
    "progress": np.array([3, 1]),
    "x": np.array(2.5),
}


@pytest.fixture
def notes():
    return []


@pytest.fixture
def checkpoint(tmp_path, notes):
    saved = FileCheckpoint(tmp_path / "fit.safetensors", "me", notes.append)
    saved.save(SNAPSHOT)
    return saved


def test_what_was_saved_comes_back(checkpoint, notes):
    found = checkpoint.load(SNAPSHOT)
    for name, array in SNAPSHOT.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert notes == []


def test_another_trials_state_is_not_loaded(checkpoint, notes):
    assert FileCheckpoint(checkpoint.path, "you", notes.append).load(SNAPSHOT) is None
    assert FileCheckpoint(checkpoint.path.with_name("none"), "me", notes.append).load(SNAPSHOT) is None
    assert notes == []


def with_a_flipped_bit(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize("harm", [lambda content: content[:-1], lambda content: b"", lambda content: b"\xff" * 40, with_a_flipped_bit])
def test_a_damaged_file_is_said_and_not_loaded(checkpoint, notes, harm):
    checkpoint.path.write_bytes(harm(checkpoint.path.read_bytes()))
    assert checkpoint.load(SNAPSHOT) is None
    assert len(notes) == 1
    assert notes[0].startswith("checkpoint fit.safetensors is damaged")


@pytest.mark.parametrize("change", [{"x": np.zeros(2)}, {"x": np.float32(1)}, {"more": np.zeros(1)}])
def test_another_shape_dtype_or_name_is_said_and_not_loaded(checkpoint, notes, change):
    assert checkpoint.load(SNAPSHOT | change) is None
    assert notes == [f"checkpoint fit.safetensors does not match the fit ({next(iter(change))}), which starts over"]


def test_saves_are_due_by_wall_time(tmp_path, notes, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mesocosm.lab.store.checkpoint.time.monotonic", lambda: now[0])
    saved = FileCheckpoint(tmp_path / "a.safetensors", "me", notes.append, seconds=5.0)
    assert not saved.due()
    now[0] = 5.0
    assert saved.due()
    saved.save(SNAPSHOT)
    assert not saved.due()
