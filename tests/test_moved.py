"""Modules are found under their earlier addresses, from which users import."""

import importlib

import pytest

from mesocosm.moved import addresses


@pytest.mark.parametrize(("old", "new"), addresses().items())
def test_an_earlier_address_gives_the_same_module(old, new):
    assert importlib.import_module(old) is importlib.import_module(new)


def test_functions_keep_their_names_beside_modules_at_earlier_addresses():
    from mesocosm.nn.gated_mesa import gated_mesa

    import mesocosm.nn

    for name in ("conjugate_gradient", "gated_linear_attention", "gated_mesa"):
        importlib.import_module(f"mesocosm.nn.{name}")
        assert callable(getattr(mesocosm.nn, name))
    assert mesocosm.nn.gated_mesa is gated_mesa
    setattr(mesocosm.nn, "a_users_name", importlib)  # noqa: B010
    assert vars(mesocosm.nn).pop("a_users_name") is importlib


def test_names_that_users_import_stay():
    from mesocosm.analysis.tangent_kernel import kernel_block

    from mesocosm.lab.store import TrialStore
    from mesocosm.learning.supervised import adam
    from mesocosm.nn import Attention, SoftmaxAttention

    assert kernel_block.__module__ == "mesocosm.analysis.tangent.kernel"
    assert TrialStore.__module__ == "mesocosm.lab.store.run_directory"
    assert adam.__module__ == "mesocosm.learning.optimizers"
    assert SoftmaxAttention is Attention


def test_a_module_that_never_was_is_still_missing():
    with pytest.raises(ModuleNotFoundError, match="never"):
        importlib.import_module("mesocosm.analysis.never")
