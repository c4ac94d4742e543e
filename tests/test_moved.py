"""Modules are found under their earlier addresses, from which users import."""

import importlib

import pytest

from mesocosm.moved import addresses


@pytest.fixture(autouse=True)
def names_of_packages():
    """Importing a module makes it an attribute of its package, also where a function has this name: give functions their names back for other tests."""
    packages = [importlib.import_module(old.rpartition(".")[0]) for old in addresses()]
    before = [dict(vars(package)) for package in packages]
    yield
    for package, names in zip(packages, before, strict=True):
        vars(package).update(names)


@pytest.mark.parametrize(("old", "new"), addresses().items())
def test_an_earlier_address_gives_the_same_module(old, new):
    assert importlib.import_module(old) is importlib.import_module(new)


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
