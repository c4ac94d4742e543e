"""Images outside the classes of the training set: noise, inverted images, patches of photographs, rendered letters.

Photographs come with scikit-learn and fonts with matplotlib; if these (or Pillow) are missing, `NotInstalled` is raised. The seed determines all images.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mesocosm.tasks.data_sets import EXTRA, NotInstalled

Pictures = UInt8[np.ndarray, "n rows columns"]
LETTERS = "ABCDEFGHIJ"
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "STIXGeneral.ttf", "cmr10.ttf")
PHOTOGRAPHS = ("china.jpg", "flower.jpg")


def uniform_noise(number: int, side: int, seed: int) -> Pictures:
    """Images with independent uniform pixels."""
    return np.random.default_rng(seed).integers(0, 256, (number, side, side), dtype=np.uint8)


def inverted(pixels: Pictures, white: int = 255) -> Pictures:
    """Invert the pixel values."""
    return (white - pixels.astype(np.int64)).astype(np.uint8)


def photograph_patches(number: int, side: int, seed: int) -> Pictures:
    """Random square crops of two photographs, in grey, two to six times the side and scaled down.

    Raises:
        NotInstalled: scikit-learn or Pillow is missing.
    """
    image = _pillow("photograph patches")
    photographs = [image.open(file).convert("L") for file in _files("sklearn", ("datasets", "images"), PHOTOGRAPHS, "photograph patches")]
    random = np.random.default_rng(seed)
    cuts = []
    for _ in range(number):
        photograph = photographs[random.integers(len(photographs))]
        size = int(random.integers(2 * side, 6 * side))
        left, top = (int(random.integers(0, length - size)) for length in photograph.size)
        cuts.append(np.asarray(photograph.resize((side, side), box=(left, top, left + size, top + size))))
    return np.stack(cuts)


def rendered_letters(number: int, side: int, seed: int) -> Pictures:
    """The letters A to J in six typefaces, white on black, slightly shifted and rotated.

    Raises:
        NotInstalled: matplotlib or Pillow is missing.
    """
    image = _pillow("rendered letters")
    from PIL import ImageDraw, ImageFont  # pyright: ignore[reportMissingImports]

    files = _files("matplotlib", ("mpl-data", "fonts", "ttf"), FONTS, "rendered letters")
    fonts = [ImageFont.truetype(str(file), round(0.85 * side)) for file in files]
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(number):
        canvas = image.new("L", (side, side))
        letter, font = LETTERS[random.integers(len(LETTERS))], fonts[random.integers(len(fonts))]
        place = side / 2 + random.uniform(-0.08, 0.08, 2) * side
        ImageDraw.Draw(canvas).text(tuple(place), letter, fill=255, font=font, anchor="mm")
        drawn.append(np.asarray(canvas.rotate(random.uniform(-15, 15), resample=image.Resampling.BILINEAR)))
    return np.stack(drawn)


def _pillow(what: str) -> Any:
    try:
        from PIL import Image  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise NotInstalled(f"{what} need Pillow; to get it: {EXTRA}") from None
    return Image


def _files(package: str, folders: tuple[str, ...], names: tuple[str, ...], what: str) -> list[Path]:
    """Find files inside an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        files = [Path(location, *folders, name) for name in names]
        if all(file.is_file() for file in files):
            return files
    raise NotInstalled(f"{what} need the files of {package}; to get it: {EXTRA}")
