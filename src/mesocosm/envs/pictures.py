"""Small images with one square tile per entry of an array of colours, separated by thin lines."""

import numpy as np
from jaxtyping import UInt8

TILE = 10


def paint(colours: UInt8[np.ndarray, "rows columns 3"], tile: int = TILE) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a square of `tile` pixels per colour, with one white line between squares."""
    picture = np.repeat(np.repeat(colours, tile, axis=0), tile, axis=1)
    picture[::tile] = 255
    picture[:, ::tile] = 255
    return picture
