"""Views of tasks for code outside JAX give the batches that JAX gives."""

from itertools import islice

import jax
import jaxtyping
import numpy as np
import pytest

from mesocosm.tasks.fuzzy_logic import FuzzyLogic
from mesocosm.tasks.iterables import numpy_batches, torch_batches
from mesocosm.tasks.task import batch

TASK = FuzzyLogic.create(length=5)


@pytest.mark.parametrize("split", ["train", "ood"])
def test_numpy_batches_are_the_task_s_by_number(split):
    found = list(islice(numpy_batches(TASK, 3, split=split, seed=7), 4))
    for step, one in enumerate(found):
        wanted = batch(TASK, jax.random.fold_in(jax.random.key(7), step), 3, split)
        assert type(one) is type(wanted)
        for a, b in zip(one, wanted, strict=True):
            assert isinstance(a, np.ndarray)
            assert a.flags.writeable
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(next(numpy_batches(TASK, 3, split=split, seed=7, start=2)).tokens, found[2].tokens)
    assert not np.array_equal(found[0].tokens, found[1].tokens)


def test_torch_batches_are_the_numpy_ones(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed: make peers")
    loader = torch.utils.data.DataLoader(torch_batches(TASK, 3, split="ood", seed=7), batch_size=None)
    for ours, theirs in zip(islice(loader, 3), numpy_batches(TASK, 3, split="ood", seed=7), strict=False):
        assert isinstance(ours.tokens, torch.Tensor)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.numpy(), b)
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: "worker 0 of 1")
    with pytest.raises(ValueError, match="num_workers=0"):
        next(iter(torch_batches(TASK, 3)))


def test_a_missing_torch_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        torch_batches(TASK, 3)


@pytest.mark.parametrize("views", [numpy_batches, torch_batches])
def test_an_unknown_split_is_named_at_once(views, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would complain first
    with pytest.raises(ValueError, match="no split 'test'; there are train, iid, ood"):
        views(TASK, 3, split="test")
