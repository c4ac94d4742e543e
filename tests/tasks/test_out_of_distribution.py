"""Outside pictures follow from their seed, have the right size, and differ from each other."""

import numpy as np
import pytest

from mesocosm.tasks import out_of_distribution
from mesocosm.tasks.data_sets import NotInstalled
from mesocosm.tasks.out_of_distribution import inverted, photograph_patches, rendered_letters, uniform_noise


def test_noise_is_uniform_and_inverting_twice_is_nothing():
    noise = uniform_noise(50, 28, 0)
    assert noise.dtype == np.uint8
    assert abs(noise.mean() - 127.5) < 2
    assert abs(noise.std() - 73.9) < 2
    np.testing.assert_array_equal(inverted(inverted(noise)), noise)
    assert inverted(np.array([[[0, 255, 10]]], np.uint8)).tolist() == [[[255, 0, 245]]]


@pytest.mark.parametrize("make", [uniform_noise, photograph_patches, rendered_letters])
def test_pictures_follow_from_the_seed(make):
    try:
        first, same, other = (make(12, 28, seed) for seed in (0, 0, 1))
    except NotInstalled as missing:
        pytest.skip(str(missing))
    assert first.shape == (12, 28, 28)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert len({picture.tobytes() for picture in first}) == 12
    assert first.max() > 100  # something is drawn
    assert (first.reshape(12, -1).std(1) > 1).all()


@pytest.mark.parametrize("make", [photograph_patches, rendered_letters])
def test_what_is_missing_says_how_to_get_it(make, monkeypatch):
    monkeypatch.setattr(out_of_distribution.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match=r"pip install 'mesocosm\[data\]'"):
        make(1, 28, 0)
