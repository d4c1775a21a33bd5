"""How well the demo model draws what it is told, through batchgen on MindSpore.

    python -m tools.train_demo.evaluate [--scenes 200] [--folder outputs]

draws scenes of attributes that were held out of training, 20 steps at guidance 5, looks at the
pictures and prints a table.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import batchgen
from tools.train_demo.looking import Marks, marks
from tools.train_demo.scenes import Scene, random_scene

WANTED = {"colour": 95, "shape": 90, "background": 95, "position": 85}
"""Per cent of the pictures."""


def main() -> None:
    """Run the evaluation of the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--folder", default="outputs")
    options = parser.parse_args()
    scenes = held_out(options.scenes)
    table = Path(options.folder) / "demo-evaluation.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt"], *([scene.words] for scene in scenes)])
    result = batchgen.run(
        table=str(table), output_root=options.folder, model="demo", batch_size=4,
        sampling={"steps": 20, "guidance_scale": 5.0}, on_change="redo",
    )  # fmt: skip
    print(result.message)
    print("\n".join(report(scenes, list(marked(scenes, Path(result.folder))))))


def held_out(count: int) -> list[Scene]:
    """So many scenes that training never saw, half of one object in a named place, half of two."""
    dice = random.Random(2026)
    halves: dict[int, dict[str, Scene]] = {1: {}, 2: {}}
    while min(len(half) for half in halves.values()) < count // 2:
        scene = random_scene(dice)
        if scene.place and scene.is_held_out:
            halves[len(scene.things)].setdefault(scene.words, scene)
    return [scene for half in halves.values() for scene in list(half.values())[: count // 2]]


def marked(scenes: list[Scene], folder: Path) -> Iterator[Marks]:
    """Yield the marks of each scene's picture."""
    for row in batchgen.read_metadata(folder).itertuples():
        pixels = np.asarray(Image.open(folder / str(row.file_name)))
        yield marks(pixels, scenes[int(str(row.row_index))])


def report(scenes: list[Scene], given: list[Marks]) -> Iterator[str]:
    """Yield a line for each attribute: per cent right, of one object, of two, of all."""
    single = np.array([len(scene.things) == 1 for scene in scenes])
    yield f"{len(given)} scenes   one object   two objects      all   wanted"
    for name in [*WANTED, "all_right"]:
        right = np.array([getattr(one, name) for one in given])
        shares = [100 * right[of].mean() for of in (single, ~single, np.ones_like(single))]
        figures = "".join(f"{share:12.1f} %" for share in shares)
        yield f"{name:11}{figures}   {WANTED.get(name, '')}"


if __name__ == "__main__":
    main()
