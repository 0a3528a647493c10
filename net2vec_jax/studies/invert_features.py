"""What does a layer know of an image? Images from noise with the same features (behaviour 8.9)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from PIL import Image
from rich.table import Table

from net2vec_jax.core.console import open_console, tabulate, track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import make_folder, make_safe, write_table
from net2vec_jax.data.images.files import IMAGE_FORMATS, convert_to_rgb, open_image_file
from net2vec_jax.inversion.feature_inversion import (
    INVERSION_PRESETS,
    ROBUST,
    Inversion,
    InvertedImages,
    invert_features,
)
from net2vec_jax.inversion.response_shape import find_response_shape
from net2vec_jax.networks.choice import open_network
from net2vec_jax.networks.load import LoadedNetwork
from net2vec_jax.networks.options import WeightOptions
from net2vec_jax.networks.preprocessing import Preprocessing
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources, SourceFlags

RUN_IMAGES = 3
TABLE = "errors.csv"
SHEET = "inverted_features"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InversionFlags(WeightOptions, SourceFlags):
    """Flags of the inversion.

    Attributes:
      network: as the probes take it; required unless --run is given, where it is for a network
        that has moved.
      layer: one or several layers; required unless --run is given, whose layer is the default.
      images: image files; of a --run, by default three of its val images.
      run: a finished run directory, whose network, layer and dataset are taken.
      weights: of the network, as the probes take them; with --run, where they have moved.
      dataset: only with --run, whose dataset has moved: as the run's --dataset.
      activations: not used, since features are computed anew.
      preset: "robust" (Adam), or "reference", the original's gradient descent, whose learning rate
        was chosen for AlexNet.
      steps: of the optimisation; by default 200.
      seed: of the noise that images start from.
      size: pixels along a side of the images; by default the network's input size.
      out: where results go; by default RUN/inverted_features; required without --run.
    """

    layer: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    run: Path | None = None
    preset: Literal["robust", "reference"] = "robust"
    steps: int | None = None
    seed: int = 0
    size: int | None = None
    out: Path | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class InversionTask:
    """What is inverted: features of N images in some layers of a network."""

    loaded: LoadedNetwork
    preprocessing: Preprocessing
    layers: tuple[str, ...]  # each once
    names: list[str]  # of the images
    images: np.ndarray  # uint8 [N, S, S, 3]
    out: Path  # where results go


def read_centre(path: Path, size: int) -> np.ndarray:
    """Decode an image, and resize and crop it, see `crop_centre`.

    Raises:
      Net2VecError: the file is missing or no image that can be shown in RGB.
    """
    with open_image_file(path, IMAGE_FORMATS) as image:
        return crop_centre(convert_to_rgb(image, path), size)


def crop_centre(image: Image.Image, size: int) -> np.ndarray:
    """Resize so that the shorter side has `size` pixels, and take the centre: uint8 [S, S, 3]."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def prepare_task(flags: InversionFlags) -> InversionTask:
    """Open the network and read the images.

    Raises:
      Net2VecError: flags are missing or do not go together, or something cannot be read.
    """
    if flags.run is not None:
        if flags.chosen:
            raise Net2VecError(
                f"{', '.join(flags.chosen)}: the --run says how its weights are read; leave it out"
            )
        run = FinishedRun(flags.run)
        sources = RunSources(run, flags)
        loaded, mode = sources.network, run.origin["preprocessing"]
        layers, out = flags.layer or (run.layer,), flags.out or flags.run / SHEET
    elif flags.network and flags.layer and flags.images and flags.out:
        if flags.dataset is not None:
            raise Net2VecError("--dataset goes with --run only; without it, give --images")
        loaded, mode = (
            open_network(flags.network, weights=flags.weights, options=flags),
            "own",
        )
        sources, layers, out = None, flags.layer, flags.out
    else:
        needed = ("network", "layer", "images", "out")
        missing = next(name for name in needed if not getattr(flags, name))
        raise Net2VecError(f"--{missing} is missing; give --run, or all of --network, --layer, "
                           "--images and --out")  # fmt: skip
    size = loaded.input_size if flags.size is None else flags.size
    smallest = max(loaded.network.smallest_input, 2)
    if flags.size is not None and size < smallest:
        raise Net2VecError(f"--size {size} is too small for {loaded.name}, which needs {smallest}")
    if flags.images or sources is None:
        names = [path.name for path in flags.images]
        images = [read_centre(path, size) for path in flags.images]
    else:
        dataset = sources.dataset
        val = np.flatnonzero(dataset.is_val)
        among = val if len(val) else np.arange(len(dataset))
        chosen = among[np.linspace(0, len(among) - 1, min(RUN_IMAGES, len(among))).astype(int)]
        names = [dataset.image_names[index] for index in chosen]
        images = [crop_centre(Image.fromarray(dataset.image(int(i))), size) for i in chosen]
    preprocessing = loaded.preprocessing(mode)
    layers = tuple(dict.fromkeys(map(loaded.network.resolve_layer, layers)))
    for layer in layers:
        find_response_shape(loaded.network, layer, preprocessing, size)
    return InversionTask(loaded, preprocessing, layers, names, np.stack(images), out)


def invert_layers(
    task: InversionTask, config: Inversion = ROBUST, *, seed: int = 0
) -> dict[str, InvertedImages]:
    """Invert each layer's features of the images.

    Args:
      task: what is inverted.
      config: of the optimisation.
      seed: of the noise that images start from.

    Returns:
      By layer, N images that have the same features there as the task's.
    """
    keys = jax.random.split(jax.random.key(seed), len(task.images))
    network, preprocessing = task.loaded.network, task.preprocessing
    return {
        layer: invert_features(
            network, layer, task.images, keys, preprocessing=preprocessing, config=config
        )
        for layer in track(task.layers, "layers", unit="layer")
    }


def name_layers(layers: Sequence[str]) -> dict[str, str]:
    """What file names call each layer; numbered, if they would call several the same."""
    safe = {layer: make_safe(layer) for layer in layers}
    if len({name.casefold() for name in safe.values()}) == len(layers):
        return safe
    return {layer: f"{number}_{safe[layer]}" for number, layer in enumerate(layers)}


def write_results(task: InversionTask, inverted: Mapping[str, InvertedImages]) -> None:
    """Write a PNG per image and layer, and the table with a row for each."""
    rows = []
    called = name_layers(list(inverted))
    for number, name in enumerate(task.names):
        safe = make_safe(Path(name).stem)
        for layer, found in inverted.items():
            file = f"image_{number:02d}_{safe}_{called[layer]}.png"
            with replacing(task.out / file) as partial:
                Image.fromarray(found.images[number]).save(partial, format="PNG")
            rows.append([name, layer, found.relative_errors[number], file])
    write_table(task.out / TABLE, ["image", "layer", "relative_error", "file"], rows)


def tabulate_errors(names: Sequence[str], inverted: Mapping[str, InvertedImages]) -> Table:
    """Relative errors, one row per image."""
    rows = [
        [name, *(f"{found.relative_errors[number]:.3g}" for found in inverted.values())]
        for number, name in enumerate(names)
    ]
    return tabulate("Relative error of the features", ["image", *inverted], rows)


def draw_sheet(task: InversionTask, inverted: Mapping[str, InvertedImages]) -> None:
    """Draw the figure, as PNG and PDF."""
    # Imported here: the optimisation itself needs no plotting library.
    from net2vec_jax.plots.inversion import Panel, SheetRow, plot_image_sheet
    from net2vec_jax.plots.paper_style import save_figure

    rows = []
    for number, name in enumerate(task.names):
        panels = [Panel(task.images[number])]
        for found in inverted.values():
            error = f"error {found.relative_errors[number]:.2g}"
            panels.append(Panel(found.images[number], error))
        rows.append(SheetRow(name, "", [[panel] for panel in panels]))
    save_figure(plot_image_sheet(rows, ["image", *inverted]), task.out / SHEET)


def main(flags: InversionFlags) -> None:
    """Invert, write, print errors, and say where everything is."""
    task = prepare_task(flags)
    config = INVERSION_PRESETS[flags.preset]
    if flags.steps is not None:
        config = dataclasses.replace(config, descent=config.descent.with_steps(flags.steps))
    make_folder(task.out)
    inverted = invert_layers(task, config, seed=flags.seed)
    write_results(task, inverted)
    draw_sheet(task, inverted)
    open_console().print(tabulate_errors(task.names, inverted))
    diverged = [
        layer for layer, found in inverted.items() if not np.isfinite(found.relative_errors).all()
    ]
    if diverged:
        print(f"{', '.join(diverged)}: the optimisation diverged; use --preset robust")
    print(f"images, {TABLE} and {SHEET}.png are in {task.out}")
