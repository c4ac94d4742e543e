"""Small images with one square tile per entry of an array of colours, separated by thin lines."""

import numpy as np
from jaxtyping import UInt8

TILE = 10


def paint(colours: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a square of `TILE` pixels per colour, with one white line between squares."""
    picture = np.repeat(np.repeat(colours, TILE, axis=0), TILE, axis=1)
    picture[::TILE] = 255
    picture[:, ::TILE] = 255
    return picture
