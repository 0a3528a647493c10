"""What do embeddings look for? Images that excite an embedding, or a concept's best filter.

  python -m experiments.maximise_activation --run RUN
  python -m experiments.maximise_activation --run RUN --concepts dog red-c --seeds 3

Optimises images from noise, so that ⟨w / ‖w‖, A(x)⟩ grows on average over the layer's places: w
is the concept's embedding (the mean of its unit vectors over the run's repetitions), or 1 for its
best filter alone (segmentation: of highest IoU on train; classification: of largest |weight|, with
its sign). Real images of the run's dataset stand beside. RUN/maximised_activations gets a PNG per
image, activations.csv, and a figure of all.
activations.csv: an image's activation is its highest over the layer's places; *_mean columns are
means over places. highest_real and percentile_99_real are over the dataset's images; `other` is the
concept's other direction, on the same image.
Time: two to three minutes for six concepts with two seeds at 128 pixels, on 2 cores.
Expected: images mostly exceed every real one in their direction, and not in the other one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from net2vec_jax.core.console import announce_left_out, run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import make_folder, make_safe, write_table
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.inversion.maximisation import Maximisation, MaximisedImages, maximise_activations
from net2vec_jax.inversion.objectives import Pooling
from net2vec_jax.inversion.response_shape import find_response_shape
from net2vec_jax.networks.load import LoadedNetwork
from net2vec_jax.networks.preprocessing import Preprocessing
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.studies.direction_responses import (
    DIRECTIONS,
    ConceptDirections,
    RealResponses,
    find_directions,
    find_without_direction,
    measure_real_images,
    measure_responses,
)

DEFAULT_CONCEPTS = 6
DEFAULT_SIZE = 128
"""Pixels: a third of the time of 224, and the images show as much."""
TABLE = "activations.csv"
SHEET = "maximised_activations"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaximisationFlags(SourceFlags):
    """Flags of this script.

    Attributes:
      run: a finished run directory of either probe.
      concepts: by name or number; by default half a dozen of all categories, those with the best
        val scores.
      steps: of the optimisation.
      seed: of the noise that the first images start from.
      seeds: images of each direction; the second's seed is one more, and so on.
      size: pixels along a side of the images; by default 128, or what the network needs at least.
      objective: what is maximised of the responses at all places of the layer: their mean, the one
        in the centre, or the highest.
      out: where results go; by default RUN/maximised_activations.
    """

    run: Path
    concepts: tuple[str, ...] = ()
    steps: int = 128
    seed: int = 0
    seeds: int = 2
    size: int | None = None
    objective: Pooling = "mean"
    out: Path | None = None


def choose_concepts(run: FinishedRun, names: Sequence[str]) -> list[int]:
    """Places among the run's concepts of those named, or of the best of all categories.

    Raises:
      Net2VecError: the run has no such concept.
    """
    if names:
        return run.find_concepts(names)
    ranked = np.argsort(-np.nan_to_num(run.scores.full), kind="stable").tolist()
    lacking = find_without_direction(run)
    ranked = [place for place in ranked if run.concepts[place] not in lacking]
    by_category: dict[str, list[int]] = {}
    for place in ranked:
        by_category.setdefault(run.categories[place], []).append(place)
    rounds = max(map(len, by_category.values()), default=0)
    turns = [
        members[turn]
        for turn in range(rounds)
        for members in by_category.values()
        if turn < len(members)
    ]
    return turns[:DEFAULT_CONCEPTS]


def choose_size(loaded: LoadedNetwork, size: int | None) -> int:
    """Pixels along a side: those asked for, or as few as give telling images."""
    if size is not None:
        return size
    return min(max(DEFAULT_SIZE, loaded.network.smallest_input), max(loaded.input_size, 1))


def name_image(run: FinishedRun, place: int, direction: str, seed: int) -> str:
    """File name of an image, whatever is in the concept's name; its number makes it unique."""
    safe = make_safe(run.concepts[place])
    return f"concept_{run.numbers[place]:04d}_{safe}_{direction}_{seed}.png"


def main(flags: MaximisationFlags) -> None:
    """Optimise, measure, write, and say where everything is."""
    if flags.seeds < 1:
        raise Net2VecError(f"--seeds must be at least 1, not {flags.seeds}")
    run = FinishedRun(flags.run)
    places = choose_concepts(run, flags.concepts)
    if not flags.concepts:
        announce_untrained(run)
        announce_left_out("concepts from the choice", find_without_direction(run), of=len(run))
    sources = RunSources(run, flags)
    loaded = sources.network
    directions = find_directions(run, places)
    config = Maximisation(pooling=flags.objective)
    config = dataclasses.replace(config, descent=config.descent.with_steps(flags.steps))
    size = choose_size(loaded, flags.size)
    preprocessing = loaded.preprocessing(run.origin["preprocessing"])
    find_response_shape(loaded.network, run.layer, preprocessing, size)  # refuses what is too small
    out = make_folder(flags.out or run.path / "maximised_activations")
    images = optimise_images(
        flags, run, loaded, directions, preprocessing=preprocessing, size=size, config=config
    )
    measured = measure_images(directions, images)
    real = _try_real_images(sources, directions)
    write_results(out, run, directions, measured, real, flags.seed)
    draw_sheet(out, run, directions, measured, real, sources.dataset if real else None)
    print(f"images, {TABLE} and {SHEET}.png are in {out}")


def optimise_images(
    flags: MaximisationFlags,
    run: FinishedRun,
    loaded: LoadedNetwork,
    directions: ConceptDirections,
    *,
    preprocessing: Preprocessing,
    size: int,
    config: Maximisation,
) -> MaximisedImages:
    """T = 2 · concepts · seeds images: embeddings' before filters', seed by seed."""
    # By the concept's number: an image does not depend on which other concepts are asked for. An
    # embedding and its filter start from the same noise.
    keys = jax.numpy.stack(
        [
            jax.random.fold_in(jax.random.key(flags.seed + seed), number)
            for seed in range(flags.seeds)
            for number in run.numbers[directions.places].tolist()
        ]
        * 2
    )
    count = len(directions.places)
    stacked = np.repeat(directions.unit[:, None], flags.seeds, axis=1)
    with tqdm(total=len(keys), desc="images", unit="image", leave=False, delay=1) as bar:
        return maximise_activations(
            loaded.network, run.layer, stacked.reshape(2 * flags.seeds * count, -1), keys,
            preprocessing=preprocessing, size=size, config=config, progress=bar.update,
        )  # fmt: skip


def _try_real_images(sources: RunSources, directions: ConceptDirections) -> RealResponses | None:
    """Responses of real images, or None with a note where the run's data is not there any more."""
    try:
        return measure_real_images(sources, directions)
    except Net2VecError as error:
        print(f"no comparison with real images: {error}")
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredImages:
    """Images of T concepts, and how each responds to every direction.

    Attributes:
      pixels: uint8 [2, seeds, T, S, S, 3], by the direction that an image was made for.
      highest: over places, float32 [2, T, 2, seeds, T]: the direction that is measured, then the
        one that the image was made for.
      mean: over places, the same.
    """

    pixels: np.ndarray
    highest: np.ndarray
    mean: np.ndarray


def measure_images(directions: ConceptDirections, images: MaximisedImages) -> MeasuredImages:
    """How every image responds to every direction."""
    count = len(directions.places)
    measured = measure_responses(images.activations, directions.unit.reshape(2 * count, -1))
    highest, mean = (values.reshape(2, count, 2, -1, count) for values in measured)
    pixels = images.images.reshape(2, -1, count, *images.images.shape[1:])
    return MeasuredImages(pixels, highest, mean)


def write_results(
    out: Path,
    run: FinishedRun,
    directions: ConceptDirections,
    measured: MeasuredImages,
    real: RealResponses | None,
    first_seed: int,
) -> None:
    """A PNG per image, and a row of the table."""
    pixels, highest, mean = measured.pixels, measured.highest, measured.mean
    rows = []
    for row, place in enumerate(directions.places):
        for number, direction in enumerate(DIRECTIONS):
            for seed in range(pixels.shape[1]):
                name = name_image(run, place, direction, first_seed + seed)
                with replacing(out / name) as partial:
                    Image.fromarray(pixels[number, seed, row]).save(partial, format="PNG")
                at = (row, number, seed, row)
                rows.append(
                    [
                        run.concepts[place], run.categories[place], direction,
                        directions.filters[row] if number else "", first_seed + seed,
                        highest[number][at], mean[number][at],
                        highest[1 - number][at], mean[1 - number][at],
                        *_summarise(real, number, row), name,
                    ]
                )  # fmt: skip
    header = ["concept", "category", "direction", "filter", "seed"]
    header += ["activation", "activation_mean", "other_activation", "other_activation_mean"]
    header += ["highest_real", "percentile_99_real", "highest_real_mean", "percentile_99_real_mean"]
    write_table(out / TABLE, [*header, "image"], rows)


def _summarise(real: RealResponses | None, direction: int, row: int) -> list:
    """Maximum and 99th percentile over real images, of highest and of mean responses."""
    if real is None:
        return [""] * 4
    summary = []
    for values in (real.highest[direction, row], real.mean[direction, row]):
        summary += [values.max(), np.float32(np.percentile(values, 99))]
    return summary


def draw_sheet(
    out: Path,
    run: FinishedRun,
    directions: ConceptDirections,
    measured: MeasuredImages,
    real: RealResponses | None,
    dataset: ConceptDataset | None,
) -> None:
    """The figure, as PNG and PDF."""
    # Imported here: the optimisation itself needs no plotting library.
    from net2vec_jax.plots.inversion import Panel, SheetRow, plot_image_sheet
    from net2vec_jax.plots.paper_style import save_figure

    highest = measured.highest
    rows = []
    for row, place in enumerate(directions.places):
        groups = []
        for number in range(2):
            group = [
                Panel(image, f"{highest[number, row, number, seed, row]:.3g}")
                for seed, image in enumerate(measured.pixels[number, :, row])
            ]
            if real is not None:
                responses = real.highest[number, row]
                best = int(responses.argmax())
                group.append(Panel(dataset.image(best), f"real: {responses[best]:.3g}"))
            groups.append(group)
        if real is not None:
            typical = real.typical[row]
            caption = f"{real.highest[0, row, typical]:.3g}; {real.highest[1, row, typical]:.3g}"
            groups.append([Panel(dataset.image(int(typical)), caption)])
        note = f"filter {directions.filters[row]}"
        rows.append(SheetRow(run.concepts[place], run.categories[place], groups, note))
    headings = ["embedding; highest real image"]
    headings += ["best single filter; highest real image", "typical"]
    if real is None:
        headings = ["embedding", "best single filter"]
    save_figure(plot_image_sheet(rows, headings), out / SHEET)


if __name__ == "__main__":
    run_script(main, MaximisationFlags, __doc__.split("\n")[0])
