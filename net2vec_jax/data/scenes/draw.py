"""The built-in dataset: drawn scenes with exact masks in all six Broden categories.

224 × 224 RGB images with 112 × 112 label planes. Of ten images seven are scenes (object, part,
material and color planes; the scene holds for the whole image) and three are textures (a color
plane; the texture holds for the whole image). The color plane names the colours of the picture
as lit, before sensor noise; the other planes are exact after occlusion.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import TRAIN, VAL, ImageLabels, LabelledImage, map_in_order
from net2vec_jax.data.scenes.canvas import halve
from net2vec_jax.data.scenes.colours import colour_plane
from net2vec_jax.data.scenes.concepts import NUMBERS, SCENE_CONCEPTS, SCENES, TEXTURES
from net2vec_jax.data.scenes.layouts import paint_scene
from net2vec_jax.data.scenes.textures import paint_texture

__all__ = ["SCENE_CONCEPTS", "draw_scene", "draw_scenes", "plan_scene"]

_TEXTURE_POSITIONS = (2, 5, 8)  # of every ten images


def plan_scene(index: int) -> tuple[str, str]:
    """What the image at `index` shows: (name of its scene or texture, split).

    Kinds take turns, and three of every ten images of one kind are in the val split.

    Args:
      index: position in the dataset, at least 0.

    Raises:
      Net2VecError: the index is negative.
    """
    _refuse_negative(index, "index")
    tens, position = divmod(index, 10)
    before = sum(position > p for p in _TEXTURE_POSITIONS)
    if position in _TEXTURE_POSITIONS:
        names, ordinal = TEXTURES, 3 * tens + before
    else:
        names, ordinal = SCENES, 7 * tens + position - before
    turn, kind = divmod(ordinal, len(names))
    # 3 and 10 have no common factor: 3·turn visits every residue, and `kind` staggers the names.
    split = VAL if (3 * turn + kind) % 10 < 3 else TRAIN
    return names[kind], split


def draw_scene(index: int, *, seed: int = 0) -> LabelledImage:
    """Draws the image at `index`, a function of `seed` and `index` alone.

    Args:
      index: position in the dataset, at least 0.
      seed: of the whole dataset, at least 0.

    Returns:
      The image, uint8 [224, 224, 3], with planes int32 [1, 112, 112].

    Raises:
      Net2VecError: the index or the seed is negative.
    """
    name, split = plan_scene(index)
    _refuse_negative(seed, "seed")
    rng = np.random.default_rng([seed, index])
    category = SCENE_CONCEPTS[NUMBERS[name]][1]
    if category == "texture":
        picture, planes = paint_texture(rng, name), {}
    else:
        canvas = paint_scene(rng, name)
        picture, planes = canvas.image(), canvas.planes()
    picture = np.clip(picture, 0, 255)
    labels = ImageLabels(
        planes={
            "color": colour_plane(halve(picture.transpose(2, 0, 1)).transpose(1, 2, 0))[None],
            **planes,
        },
        whole_image={category: (NUMBERS[name],)},
    )
    return LabelledImage(f"scenes/{index:06d}.jpg", split, _photograph(rng, picture), labels)


def _photograph(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """The picture as a camera sees it: slightly blurred at times, and with noise."""
    if rng.random() < 0.3:
        blur = ImageFilter.GaussianBlur(rng.uniform(0.3, 0.7))
        picture = np.asarray(Image.fromarray(picture.astype(np.uint8)).filter(blur), np.float32)
    noise = rng.uniform(0, 7) * rng.standard_normal(picture.shape, np.float32)
    return np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8)


def draw_scenes(
    count: int = 800, *, seed: int = 0, workers: int | None = None
) -> Iterator[LabelledImage]:
    """Draws the first `count` images, in the order of their indices.

    The images do not depend on the number of workers.

    Args:
      count: number of images.
      seed: of the whole dataset, at least 0.
      workers: number of processes; 1 draws in this process; by default one per core, at most 16.

    Yields:
      One labelled image per index.

    Raises:
      Net2VecError: the seed is negative, or a worker process died.
    """
    _refuse_negative(seed, "seed")
    workers = min(workers or min(16, os.cpu_count() or 1), count)
    if workers <= 1:
        yield from (draw_scene(index, seed=seed) for index in range(count))
        return
    idle: queue.SimpleQueue[subprocess.Popen] = queue.SimpleQueue()
    processes = [_start_painter(seed) for _ in range(workers)]
    for process in processes:
        idle.put(process)

    def draw(index: int) -> LabelledImage:
        process = idle.get()
        try:
            assert process.stdin and process.stdout
            process.stdin.write(b"%d\n" % index)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise Net2VecError(
                f"the process that was drawing image {index} of the scenes died; "
                "is there enough memory? workers=1 draws without further processes"
            ) from error
        finally:
            idle.put(process)

    try:
        yield from map_in_order(draw, range(count), workers=workers)
    finally:
        for process in processes:
            process.communicate()


def _start_painter(seed: int) -> subprocess.Popen:
    """A process that answers an index on its standard input with the pickled image.

    Neither forked nor spawned by `multiprocessing`: a fork breaks callers with threads (JAX has
    them), and a spawned process imports the caller's script anew, with all that it imports.
    """
    paths = [path or os.getcwd() for path in sys.path]
    # One thread each: the processes already fill the cores.
    environment = {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    program = f"from net2vec_jax.data.scenes.draw import serve_scenes; serve_scenes({seed})"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def serve_scenes(seed: int) -> None:
    """Pickles to standard output the image of every index read from standard input."""
    for line in sys.stdin:
        pickle.dump(draw_scene(int(line), seed=seed), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()


def _refuse_negative(value: int, what: str) -> None:
    if value < 0:
        raise Net2VecError(f"the {what} of a drawn scene is {value}; it must be at least 0")
