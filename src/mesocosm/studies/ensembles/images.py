"""Pictures of the study: training subsets that differ between seeds, and test and outside pictures that are the same for all records, or for all pilots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Integer

from mesocosm.learning.streams import are_pilots
from mesocosm.tasks.data_sets import Images, Splits, find
from mesocosm.tasks.out_of_distribution import inverted, photograph_patches, rendered_letters, uniform_noise

PILOT_TEST = 1000
"""Training pictures on which pilots are evaluated, and not trained."""


class Standard(NamedTuple):
    """Standardises pictures, outside ones too, by the mean and standard deviation of all training pixels."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, pixels: np.ndarray) -> Standard:
        """Compute mean and standard deviation of the training pictures."""
        return cls(float(pixels.mean()), float(pixels.std()))

    def __call__(self, pixels: np.ndarray, dtype: Any) -> Float[np.ndarray, "n rows columns"]:
        """Turn pictures into network inputs."""
        return ((pixels - self.mean) / self.deviation).astype(dtype)


class Training(NamedTuple):
    """Training subsets, one per seed."""

    pixels: Integer[np.ndarray, "seeds n rows columns"]
    labels: Integer[np.ndarray, "seeds n"]


def splits_for(seeds: Sequence[int], name: str) -> Splits:
    """Training and test pictures of a data set. Those of pilots are both from the training set, so that nothing is chosen on a record's test pictures."""
    splits = find(name).splits()
    if not are_pilots(seeds):
        return splits
    train, test = (Images(*(part[rows] for part in splits.train)) for rows in (slice(PILOT_TEST, None), slice(PILOT_TEST)))
    return Splits(train, test)


def of_classes(images: Images, classes: tuple[int, ...]) -> Images:
    """Keep only these classes, numbered in this order."""
    kept = np.isin(images.labels, classes)
    labels = np.searchsorted(np.sort(classes), images.labels[kept])
    return Images(images.pixels[kept], np.argsort(np.argsort(classes))[labels] if classes != tuple(sorted(classes)) else labels)


def draw_training(images: Images, each: int, keys: Any) -> Training:
    """Draw `each` pictures of every class without replacement, for each key (one per seed)."""
    pixels, labels = [], []
    for words in np.asarray(jax.random.key_data(keys)):
        random = np.random.default_rng(words.tolist())
        rows = np.concatenate([random.choice(np.flatnonzero(images.labels == label), each, replace=False) for label in np.unique(images.labels)])
        pixels.append(images.pixels[rows])
        labels.append(images.labels[rows])
    return Training(np.stack(pixels), np.stack(labels))


def held_out(images: Images, number: int) -> Images:
    """Draw test pictures, the same for all seeds.

    Raises:
        ValueError: there are too few.
    """
    if number > len(images.labels):
        raise ValueError(f"there are {len(images.labels)} pictures to test on, not {number}")
    rows = np.random.default_rng(0).permutation(len(images.labels))[:number]
    return Images(images.pixels[rows], images.labels[rows])


def outside_sets(seeds: Sequence[int], other: str, inside: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> out-of-distribution pictures, as many as are inside."""
    (number, side), draw = inside.shape[:2], int(are_pilots(seeds))
    return {
        other: held_out(splits_for(seeds, other).test, number).pixels,
        "noise": uniform_noise(number, side, draw),
        "inverted": inverted(inside),
        "patches": photograph_patches(number, side, draw),
        "letters": rendered_letters(number, side, draw),
    }
