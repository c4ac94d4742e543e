"""Numbers, times, regions and intervals in words."""

import math

import pytest

from mesocosm.lab.formatting import duration, interval_text, number, region_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-2.1749, "−2.17"),
        (1e-12, "10⁻¹²"),
        (4.44e-16, "4.44·10⁻¹⁶"),
        (123456, "123,456"),
        (None, "–"),
        (math.inf, "not finite"),
        (8, "8"),
        (999.6, "1,000"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "40 ms"), (3.2, "3.2 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3599.9, "1 h"), (7800, "2 h 10 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("threshold", "direction", "text"), [(-1.0, "<", "< −1"), (0.5, ">", "> 0.5"), ([0.9, 1.1], "in", "0.9 to 1.1"), (None, None, "–"), (0.0, ">", "> 0")]
)
def test_regions_in_words(threshold, direction, text):
    assert region_text({"threshold": threshold, "direction": direction}) == text


def test_intervals_in_words():
    assert interval_text({"estimate": 1.0, "low": None, "high": None}) == "1"
    assert interval_text({"estimate": None}) == "–"
