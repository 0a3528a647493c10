"""A small archive of the published Broden's shape (reference spec 1), written without our writer.

All six categories; images of four sources; planes for color, object, part (several layers) and
material, numbers for scene and texture; a row without data; train rows first; the texts and tables
that lie beside.
"""

from __future__ import annotations

import collections
import csv
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from net2vec_jax.data.broden.counts import ExpectedCounts

CATEGORIES = ("color", "object", "part", "material", "scene", "texture")
LABELS = {
    1: ("black-c", "color", ""),
    2: ("red-c", "color", ""),
    3: ("person", "object", "people;human"),
    4: ("head", "part", ""),
    5: ("wall, brick", "object", ""),
    6: ("wood", "material", ""),
    7: ("street-s", "scene", ""),
    300: ("dotted", "texture", ""),
    301: ("banded", "texture", ""),
}
SOURCES = ("ade20k", "pascal", "opensurfaces", "dtd")
# Which categories each source marks, and with how many planes.
MARKED = {
    "ade20k": {"color": 1, "object": 1, "part": 2},
    "pascal": {"color": 1, "object": 1, "part": 1},
    "opensurfaces": {"color": 1, "material": 1},
    "dtd": {"color": 1},
}


def write_published_broden(
    folder: Path, *, resolution: int = 227, images: int = 8, seed: int = 0
) -> ExpectedCounts:
    """Write the directory, and count what is written.

    Returns:
      What it counts to, in the form of the published numbers.
    """
    rng = np.random.default_rng(seed)
    side = resolution // 2
    pixels: collections.Counter = collections.Counter()
    frequency = {category: collections.Counter() for category in CATEGORIES}
    coverage = {category: collections.Counter() for category in CATEGORIES}
    of_category = {c: [n for n, label in LABELS.items() if label[1] == c] for c in CATEGORIES}
    rows = []
    for index in range(images):
        source = SOURCES[index % len(SOURCES)]
        stem = f"{source}/{index:04d}"
        split = "train" if index < round(images * 0.75) else "val"
        (folder / "images" / source).mkdir(parents=True, exist_ok=True)
        photograph = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(photograph).resize((resolution, resolution)).save(
            folder / "images" / f"{stem}.jpg"
        )
        cells = dict.fromkeys(CATEGORIES, "")
        for category, layers in MARKED[source].items():
            names = []
            for layer in range(1, layers + 1):
                numbers = [*of_category[category], *([] if category == "color" else [0])]
                coarse = rng.choice(numbers, (4, 4))
                plane = np.kron(coarse, np.ones((side // 4 + 1,) * 2, int))[:side, :side]
                rgb = np.stack([plane % 256, plane // 256, plane * 0 + 7], -1).astype(np.uint8)
                suffix = f"_{layer}" if layers > 1 else ""
                names.append(f"{stem}_{category}{suffix}.png")
                Image.fromarray(rgb).save(folder / "images" / names[-1])
                for number, count in zip(*np.unique(plane, return_counts=True), strict=True):
                    if number:
                        pixels[int(number)] += int(count)
                        frequency[category][int(number)] += 1
                        coverage[category][int(number)] += count / plane.size
            cells[category] = ";".join(names)
        whole = {"ade20k": {"scene": [7]}, "dtd": {"texture": [300, 301]}}.get(source, {})
        for category, numbers in whole.items():
            cells[category] = ";".join(map(str, numbers))
            for number in numbers:
                pixels[number] += side * side
                frequency[category][number] += 1
                coverage[category][number] += 1
        rows.append([f"{stem}.jpg", split, *[resolution] * 2, *[side] * 2, *cells.values()])
    # A row without data comes with the published index too.
    rows.insert(1, ["ade20k/none.jpg", "train", *[resolution] * 2, *[side] * 2, *[""] * 6])
    _write(folder / "index.csv", ["image", "split", "ih", "iw", "sh", "sw", *CATEGORIES], rows)
    _write_tables(folder, frequency, coverage)
    (folder / "README.txt").write_text("About this dataset.\n")
    (folder / "syns.txt").write_text("person: people, human\n")
    named = {name: pixels[number] for number, (name, *_) in LABELS.items()}
    return ExpectedCounts(
        images=images,
        labels=len(LABELS),
        masked_labels=6,
        numbers={"person": 3, "dotted": 300},
        pixels={
            name: named[name]
            for name in ("black-c", "red-c", "person", "head", "wall, brick", "wood")
        },
        whole_images={name: named[name] // side**2 for name in ("street-s", "dotted", "banded")},
        train_share=0.75,
        plane_size=(side, side),
    )


def _write(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])  # line ends as Python's csv writes them: CRLF


def _write_tables(folder: Path, frequency: dict, coverage: dict) -> None:
    header = ["number", "name", "category", "frequency", "coverage", "syns"]
    rows = []
    for number, (name, category, synonyms) in LABELS.items():
        count, covered = frequency[category][number], coverage[category][number]
        rows.append([number, name, f"{category}({count})", count, f"{covered:f}", synonyms])
    _write(folder / "label.csv", header, rows)
    rows = []
    for category in CATEGORIES:
        counts = frequency[category]
        rows.append([category, min(counts), max(counts), len(counts), sum(counts.values())])
        order = sorted(counts, key=lambda n: (-counts[n], -coverage[category][n]))
        _write(
            folder / f"c_{category}.csv",
            ["code", "number", "name", "frequency", "coverage"],
            [
                [code, n, LABELS[n][0], counts[n], f"{coverage[category][n]:f}"]
                for code, n in enumerate(order, 1)
            ],
        )
    _write(folder / "category.csv", ["name", "first", "last", "count", "frequency"], rows)


def zip_folder(folder: Path, archive: Path, *, top: str) -> Path:
    """Pack a folder as the folder `top` of an archive, beside what macOS adds to archives."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.mkdir(top)
        for path in sorted(folder.rglob("*")):
            packed.write(path, f"{top}/{path.relative_to(folder)}")
        packed.writestr(f"__MACOSX/{top}/._index.csv", b"\0\5\26\7")
    return archive


def copy_published_tables(published: Path, folder: Path, rows: list[dict[str, str]]) -> None:
    """The tables of the published Broden, with these rows of its index only."""
    folder.mkdir(parents=True)
    for path in (*published.glob("c_*.csv"), published / "category.csv", published / "label.csv"):
        (folder / path.name).write_bytes(path.read_bytes())
    _write(folder / "index.csv", list(rows[0]), [list(row.values()) for row in rows])


def write_stand_ins(folder: Path, rows: list[dict[str, str]], marked: dict[str, list[int]]) -> None:
    """A photograph and label planes for every path of the rows, drawn from a seed.

    Args:
      folder: the Broden directory.
      rows: of its index.
      marked: category → the label numbers that its planes show, beside 0.
    """
    rng = np.random.default_rng(0)

    def write(name: str, pixels: np.ndarray, side: int) -> None:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.repeat(np.repeat(pixels, side // 7, 0), side // 7, 1)).save(path)

    for row in rows:
        write(row["image"], rng.integers(0, 256, (7, 7, 3), dtype=np.uint8), int(row["ih"]))
        for category, numbers in marked.items():
            for name in row[category].split(";"):
                if name:
                    plane = rng.choice([0, *numbers], (7, 7))
                    pixels = np.stack([plane % 256, plane // 256, plane * 0], -1)
                    write(name, pixels.astype(np.uint8), int(row["sh"]))
