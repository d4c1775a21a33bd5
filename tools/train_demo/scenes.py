"""Scenes of simple things: what there is to draw, how it is drawn, and the words for it.

Knows nothing of models. Everything follows from one `random.Random`, so a seed makes the same
pairs of picture and caption again.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 128
"""Pixels of a picture's side."""

COLOURS = {
    "red": (214, 40, 40),
    "orange": (247, 140, 20),
    "yellow": (252, 220, 50),
    "green": (40, 160, 70),
    "blue": (40, 80, 215),
    "purple": (140, 50, 170),
    "white": (246, 246, 246),
    "black": (24, 24, 24),
}
"""RGB of each colour name; objects and backgrounds share them."""

SHAPES = ("circle", "square", "triangle", "cross", "star")

RADII = {"small": (12, 14), "": (17, 20), "large": (24, 27)}
"""Least and largest radius in pixels; without a word for it an object is of middling size."""

PLACES = {
    "in the center": (64, 64), "on the left": (38, 64), "on the right": (90, 64),
    "at the top": (64, 38), "at the bottom": (64, 90), "at the top left": (38, 38),
    "at the top right": (90, 38), "at the bottom left": (38, 90), "at the bottom right": (90, 90),
}  # fmt: skip
"""Where the centre of a single object is, x and y in pixels, give or take `JITTER`."""

JITTER = 4

RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""The direction in which the first of two objects lies, seen from the second."""

SIDES = {
    "left of": ("on the left", "on the right"), "right of": ("on the right", "on the left"),
    "above": ("at the top", "at the bottom"), "below": ("at the bottom", "at the top"),
}  # fmt: skip
"""Where the first and the second of two objects are, in the words of `PLACES`."""

PAIR_RADII = {"small": (11, 13), "": (15, 17), "large": (20, 22)}
"""As `RADII`, for two objects, which must both find room."""

FILLED = {"circle": 1.0, "square": 0.886, "triangle": 1.3, "cross": 1.08, "star": 1.28}
"""What a shape's radius is multiplied by, so that all of one size look about equally large."""

OVERSAMPLED = 4


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene."""

    colour: str
    shape: str
    size: str
    """`small`, `large`, or empty."""
    x: float
    """Pixels from the left edge to the centre."""
    y: float
    """Pixels from the top edge to the centre."""
    radius: float
    """Pixels."""

    @property
    def words(self) -> str:
        """The object as a caption names it, without an article."""
        return " ".join(word for word in (self.size, self.colour, self.shape) if word)


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two objects on a background, and where they are in words."""

    things: tuple[Thing, ...]
    background: str
    place: str
    """A key of `PLACES`, of `RELATIONS` for two objects; empty for one that may be anywhere."""

    @property
    def words(self) -> str:
        """All that can be said of it, always in the same words."""
        first, *others = (with_article(thing.words) for thing in self.things)
        parts = [first, self.place, *others, "on", with_article(f"{self.background} background")]
        return " ".join(part for part in parts if part)

    @property
    def is_held_out(self) -> bool:
        """Whether this combination of attributes, one of ten, is kept from training."""
        return hashlib.sha256(self.words.encode()).digest()[0] % 10 == 0


def training_scene(dice: random.Random) -> Scene:
    """A random scene that is not held out."""
    while (scene := random_scene(dice)).is_held_out:
        pass
    return scene


def random_scene(dice: random.Random) -> Scene:
    """A scene of one object, or of two as often."""
    background = dice.choice(list(COLOURS))
    if dice.random() < 0.5:
        place = dice.choice(["", *PLACES, *PLACES])
        return Scene((_single(dice, background, place),), background, place)
    relation = dice.choice(list(RELATIONS))
    return Scene(_pair(dice, background, relation), background, relation)


def _look(dice: random.Random, background: str) -> tuple[str, str, str]:
    colour = dice.choice([name for name in COLOURS if name != background])
    return colour, dice.choice(SHAPES), dice.choice(list(RADII))


def _single(dice: random.Random, background: str, place: str) -> Thing:
    colour, shape, size = _look(dice, background)
    radius = dice.uniform(*RADII[size])
    if place:
        x, y = (centre + dice.uniform(-JITTER, JITTER) for centre in PLACES[place])
    else:
        edge = radius * FILLED[shape] + 2
        x, y = dice.uniform(edge, SIDE - edge), dice.uniform(edge, SIDE - edge)
    return Thing(colour, shape, size, x, y, radius)


def _pair(dice: random.Random, background: str, relation: str) -> tuple[Thing, Thing]:
    """Two objects that differ in look, apart by a gap along the axis of their relation."""
    first = second = _look(dice, background)
    while first[:2] == second[:2]:
        second = _look(dice, background)
    radii = [dice.uniform(*PAIR_RADII[look[2]]) for look in (first, second)]
    reaches = [
        radius * FILLED[look[1]] for look, radius in zip((first, second), radii, strict=True)
    ]
    room = SIDE - 2 * sum(reaches)
    gap = dice.uniform(room / 3, room / 2)
    start = dice.uniform(room / 8, room - gap - room / 8)
    near = start + reaches[0]
    far = start + 2 * reaches[0] + gap + reaches[1]
    across = [SIDE / 2 + dice.uniform(-7, 7) for _ in radii]
    dx, dy = RELATIONS[relation]
    if dx + dy > 0:
        near, far = SIDE - near, SIDE - far
    places = [(near, across[0]), (far, across[1])]
    if dy:
        places = [(y, x) for x, y in places]
    one, other = (
        Thing(*look, x, y, radius)
        for look, (x, y), radius in zip((first, second), places, radii, strict=True)
    )
    return one, other


def caption(scene: Scene, dice: random.Random) -> str:
    """One of the many ways to say what a scene shows; now and then it leaves something out."""
    form = dice.random()
    if form < 0.04:
        return _loose(scene, dice)
    name = str if dice.random() < 0.1 else with_article
    parts = [name(scene.things[0].words)]
    if len(scene.things) == 2:
        parts = [_together(scene, [name(thing.words) for thing in scene.things], dice)]
    elif scene.place and form < 0.94:
        parts.append(scene.place)
    if form < 0.90:
        ground = f"{scene.background} background"
        parts.append(f", {ground}" if dice.random() < 0.3 else f"on {with_article(ground)}")
    return " ".join(parts).replace(" ,", ",")


def _together(scene: Scene, names: list[str], dice: random.Random) -> str:
    """Two objects, by their relation or as often by the side of each.

    The sides teach the relations: which word belongs to which object is easy to see in them, and
    they have words in common.
    """
    if dice.random() < 0.5:
        return f"{names[0]} {scene.place} {names[1]}"
    placed = [f"{name} {side}" for name, side in zip(names, SIDES[scene.place], strict=True)]
    dice.shuffle(placed)
    return " , ".join(placed)


def with_article(words: str) -> str:
    """The words behind `a` or `an`."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _loose(scene: Scene, dice: random.Random) -> str:
    """A word or two of a scene; teaches what a colour alone means, for negative prompts."""
    thing = dice.choice(scene.things)
    return dice.choice((
        thing.colour, thing.shape, f"{thing.colour} {thing.shape}",
        f"{scene.background} background", with_article(thing.shape),
    ))  # fmt: skip


def drawn(scene: Scene) -> NDArray[np.uint8]:
    """The picture of a scene: RGB, (128, 128, 3) uint8, edges smoothed."""
    side = SIDE * OVERSAMPLED
    canvas = Image.new("RGB", (side, side), COLOURS[scene.background])
    pen = ImageDraw.Draw(canvas)
    for thing in scene.things:
        corners = [(x * OVERSAMPLED, y * OVERSAMPLED) for x, y in outline(thing)]
        pen.polygon(corners, fill=COLOURS[thing.colour])
    return np.asarray(canvas.reduce(OVERSAMPLED))


def outline(thing: Thing) -> list[tuple[float, float]]:
    """The corners of an object in pixels; a circle has 64."""
    radius = thing.radius * FILLED[thing.shape]
    return [(thing.x + radius * x, thing.y + radius * y) for x, y in unit_outline(thing.shape)]


def unit_outline(shape: str) -> list[tuple[float, float]]:
    """The corners of a shape around the origin, y downwards; the farthest lies about 1 away."""
    if shape == "square":
        return [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    if shape == "cross":
        arm = 0.36
        quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
        corners = []
        for _ in range(4):
            corners += quarter
            quarter = [(-y, x) for x, y in quarter]
        return corners
    if shape == "triangle":
        return [(x, y + 0.16) for x, y in _spokes([1.0] * 3)]
    if shape == "star":
        return _spokes([1.0, 0.42] * 5)
    return _spokes([1.0] * 64)


def _spokes(lengths: list[float]) -> list[tuple[float, float]]:
    """Points around the origin at equal angles, the first straight up."""
    angles = [2 * math.pi * index / len(lengths) for index in range(len(lengths))]
    return [
        (length * math.sin(angle), -length * math.cos(angle))
        for length, angle in zip(lengths, angles, strict=True)
    ]
