"""Configs as plain data."""

from mesocosm.lab.store.configuration import flat


def test_a_nested_config_is_flat_under_dotted_names():
    assert flat({"bowl": {"dim": 4, "axes": [1, 2]}, "steps": 5}) == {"bowl.dim": 4, "bowl.axes": [1, 2], "steps": 5}
    assert flat({}) == flat(None) == {}
