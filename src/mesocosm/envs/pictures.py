"""Small pictures: one square tile for each entry of an array of colours, with a thin line between."""

import numpy as np
from jaxtyping import UInt8

TILE = 10


def paint(colours: UInt8[np.ndarray, "rows columns 3"], tile: int = TILE) -> UInt8[np.ndarray, "height width 3"]:
    """A square of `tile` pixels for each colour, one white line between squares."""
    picture = np.repeat(np.repeat(colours, tile, axis=0), tile, axis=1)
    picture[::tile] = 255
    picture[:, ::tile] = 255
    return picture
