"""What is to be seen on a picture of a scene, by plain image analysis; knows nothing of models."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from tools.train_demo.scenes import COLOURS, PLACES, RELATIONS, SHAPES, SIDE, Scene, unit_outline

SMALLEST = 60
"""Pixels of the least object; smaller specks are none. The smallest that is drawn has 170."""

FRAME = 3
"""Width in pixels of the border that shows the background."""

THIRDS = (51, 77)
"""Where left ends and right begins, in pixels: halfway between the places of `scenes.PLACES`."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One object on a picture."""

    colour: str
    shape: str
    x: float
    """Pixels from the left edge to the middle of its box."""
    y: float
    area: int
    """Pixels."""


@dataclass(frozen=True, slots=True)
class View:
    """What a picture shows."""

    background: str
    things: tuple[Sighting, ...]
    """The largest first."""


def view(pixels: NDArray[np.uint8]) -> View:
    """Look at a picture, RGB, (128, 128, 3) uint8."""
    names = list(COLOURS)
    nearest = colour_numbers(pixels)
    edge = np.ones(nearest.shape, bool)
    edge[FRAME:-FRAME, FRAME:-FRAME] = False
    background = int(np.bincount(nearest[edge], minlength=len(names)).argmax())
    regions, count = ndimage.label(nearest != background)
    found = []
    for number in range(1, count + 1):
        mask = regions == number
        if mask.sum() >= SMALLEST:
            colour = int(np.bincount(nearest[mask], minlength=len(names)).argmax())
            found.append(_sighting(mask, names[colour]))
    found.sort(key=lambda one: -one.area)
    return View(names[background], tuple(found))


def colour_numbers(pixels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The place in `COLOURS` of the colour nearest to each pixel's: (height, width)."""
    palette = np.array(list(COLOURS.values()), float)
    distances = np.square(pixels[..., None, :].astype(float) - palette).sum(axis=-1)
    return distances.argmin(axis=-1)


def _sighting(mask: NDArray[np.bool_], colour: str) -> Sighting:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    x, y = (columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2
    return Sighting(colour, shape_of(cut), float(x), float(y), int(mask.sum()))


def shape_of(cut: NDArray[np.bool_]) -> str:
    """The shape whose outline, stretched to the same box, covers most of the same pixels."""
    box = Image.fromarray(cut).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    stretched = np.asarray(box, bool)
    overlaps = {}
    for shape in SHAPES:
        ideal = _ideal(shape)
        overlaps[shape] = (ideal & stretched).sum() / (ideal | stretched).sum()
    return max(overlaps, key=overlaps.__getitem__)


@functools.cache
def _ideal(shape: str) -> NDArray[np.bool_]:
    """A shape that fills a square of `SIDE` pixels."""
    corners = np.array(unit_outline(shape))
    least, most = corners.min(axis=0), corners.max(axis=0)
    scaled = (corners - least) / (most - least) * (SIDE - 1)
    canvas = Image.new("1", (SIDE, SIDE))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in scaled], fill=1)
    return np.asarray(canvas, bool)


@dataclass(frozen=True, slots=True)
class Marks:
    """What a picture shows rightly; an attribute is right if it is so of every object."""

    colour: bool
    shape: bool
    background: bool
    position: bool

    @property
    def all_right(self) -> bool:
        """Nothing is wrong."""
        return self.colour and self.shape and self.background and self.position


def marks(pixels: NDArray[np.uint8], scene: Scene) -> Marks:
    """Hold a picture against the scene it is meant to show."""
    seen = view(pixels)
    is_background = seen.background == scene.background
    if len(seen.things) < len(scene.things):
        return Marks(False, False, is_background, False)
    order = max(
        permutations(seen.things[: len(scene.things)]), key=lambda one: _agreement(one, scene)
    )
    pairs = list(zip(order, scene.things, strict=True))
    return Marks(
        colour=all(one.colour == wanted.colour for one, wanted in pairs),
        shape=all(one.shape == wanted.shape for one, wanted in pairs),
        background=is_background,
        position=_is_placed(order, scene.place),
    )


def _agreement(order: Sequence[Sighting], scene: Scene) -> int:
    return sum(
        (one.colour == wanted.colour) + (one.shape == wanted.shape)
        for one, wanted in zip(order, scene.things, strict=True)
    )


def _is_placed(things: Sequence[Sighting], place: str) -> bool:
    if place in RELATIONS:
        dx, dy = RELATIONS[place]
        first, second = things
        along = (first.x - second.x) * dx + (first.y - second.y) * dy
        across = (first.x - second.x) * dy + (first.y - second.y) * dx
        return along > abs(across)
    if place in PLACES:
        return _third(things[0].x) == _third(PLACES[place][0]) and (
            _third(things[0].y) == _third(PLACES[place][1])
        )
    return True


def _third(value: float) -> int:
    return sum(value > edge for edge in THIRDS)
