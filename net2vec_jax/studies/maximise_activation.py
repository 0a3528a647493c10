"""What do embeddings look for? Images that excite an embedding, or a concept's best filter.

T concepts have two directions each, 0 the embedding and 1 the best filter; S images are made for
each direction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from net2vec_jax.activations.responses import apply_responses, fold_directions, show_filter
from net2vec_jax.core.console import announce_left_out, open_bar
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import make_folder, make_safe, write_table
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.inversion.maximisation import Maximisation, maximise_activations
from net2vec_jax.inversion.objectives import ResponsePooling
from net2vec_jax.inversion.response_shape import find_response_shape
from net2vec_jax.networks.load import LoadedNetwork
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
"""Side of the images in pixels. 128 takes a third of the time of 224 and looks as sharp."""
TABLE = "activations.csv"
SHEET = "maximised_activations"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaximisationFlags(SourceFlags):
    """Flags of the maximisation.

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
    objective: ResponsePooling = "mean"
    out: Path | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class MaximisedConcepts:
    """Images made for T concepts, and how they respond.

    Responses are by concept, then the direction that is measured, then the one that the image was
    made for.
    """

    directions: ConceptDirections
    seeds: range  # of the noise that the S images of a direction started from
    pixels: np.ndarray  # uint8 [2, S, T, Y, X, 3], by the direction that an image was made for
    highest: np.ndarray  # float32 [T, 2, 2, S], over the layer's places
    mean: np.ndarray  # float32 [T, 2, 2, S]


def choose_concepts(run: FinishedRun, names: Sequence[str]) -> list[int]:
    """Places among the run's concepts of those named, or of the best of all categories.

    Raises:
      Net2VecError: the run has no such concept.
    """
    if names:
        return run.find_concepts(names)
    lacking = find_without_direction(run)
    ranks: dict[str, int] = {}  # of the last concept of a category
    turns = []
    for place in np.argsort(-np.nan_to_num(run.scores.full), kind="stable").tolist():
        if run.concepts[place] not in lacking:
            category = run.categories[place]
            ranks[category] = ranks.get(category, -1) + 1
            turns.append((ranks[category], list(ranks).index(category), place))
    return [place for *_, place in sorted(turns)[:DEFAULT_CONCEPTS]]


def choose_size(loaded: LoadedNetwork, size: int | None) -> int:
    """Pixels along a side: those asked for, or as few as give telling images."""
    if size is not None:
        return size
    chosen = min(max(DEFAULT_SIZE, loaded.network.smallest_input), max(loaded.input_size, 1))
    return chosen - chosen % loaded.network.side_multiple


def maximise_concepts(
    run: FinishedRun,
    loaded: LoadedNetwork,
    directions: ConceptDirections,
    *,
    seed: int = 0,
    seeds: int = 2,
    size: int | None = None,
    config: Maximisation | None = None,
) -> MaximisedConcepts:
    """Make images for the directions of T concepts, and measure how each responds to both of its.

    An image does not depend on which other concepts are asked for. An embedding and its filter
    start from the same noise.

    Args:
      run: whose layer responds.
      loaded: its network.
      directions: of the concepts.
      seed: of the noise that the first images start from.
      seeds: images of each direction, S.
      size: pixels along a side, see `choose_size`.
      config: of the optimisation.
    """
    numbers, count = run.numbers[directions.places].tolist(), len(directions.places)
    noise = range(seed, seed + seeds)
    keys = [jax.random.fold_in(jax.random.key(s), number) for s in noise for number in numbers]
    flat = directions.unit.reshape(2 * count, -1)
    with open_bar("images", total=2 * len(keys), unit="image") as bar:
        images = maximise_activations(
            loaded.network,
            run.layer,
            fold_directions(
                np.repeat(directions.unit[:, None], seeds, axis=1), run.responses
            ).reshape(2 * seeds * count, -1),
            jax.numpy.stack(keys * 2),
            preprocessing=loaded.preprocessing(run.origin["preprocessing"]),
            size=choose_size(loaded, size),
            config=config or Maximisation(),
            progress=bar.update,
        )
    rows, responses = np.arange(count), apply_responses(images.activations, run.responses)
    highest, mean = (
        values.reshape(2, count, 2, seeds, count)[:, rows, :, :, rows]
        for values in measure_responses(responses, flat)
    )
    pixels = images.images.reshape(2, seeds, count, *images.images.shape[1:])
    return MaximisedConcepts(directions, noise, pixels, highest, mean)


def name_image(run: FinishedRun, place: int, direction: str, seed: int) -> str:
    """File name of an image, whatever is in the concept's name; its number makes it unique."""
    safe = make_safe(run.concepts[place])
    return f"concept_{run.numbers[place]:04d}_{safe}_{direction}_{seed}.png"


def write_results(
    out: Path, run: FinishedRun, made: MaximisedConcepts, real: RealResponses | None
) -> None:
    """Write a PNG per image, and the table with a row for each."""
    rows = []
    for row, place in enumerate(made.directions.places):
        for number, direction in enumerate(DIRECTIONS):
            for index, seed in enumerate(made.seeds):
                name = name_image(run, place, direction, seed)
                with replacing(out / name) as partial:
                    Image.fromarray(made.pixels[number, index, row]).save(partial, format="PNG")
                responses = [
                    values[row, measured, number, index]
                    for measured in (number, 1 - number)
                    for values in (made.highest, made.mean)
                ]
                rows.append(
                    [
                        run.concepts[place], run.categories[place], direction,
                        run.filter_names[made.directions.filters[row]] if number else "", seed,
                        *responses,
                        *_summarise(real, number, row), name,
                    ]
                )  # fmt: skip
    header = ["concept", "category", "direction", "filter", "seed"]
    header += ["activation", "activation_mean", "other_activation", "other_activation_mean"]
    header += ["highest_real", "percentile_99_real", "highest_real_mean", "percentile_99_real_mean"]
    write_table(out / TABLE, [*header, "image"], rows)


def _summarise(real: RealResponses | None, direction: int, row: int) -> list[Any]:
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
    made: MaximisedConcepts,
    real: RealResponses | None,
    dataset: ConceptDataset | None,
) -> None:
    """Draw all images beside real ones, if there are any, as PNG and PDF."""
    # Imported here: the optimisation itself needs no plotting library.
    from net2vec_jax.plots.inversion import Panel, SheetRow, plot_image_sheet
    from net2vec_jax.plots.paper_style import save_figure

    headings = ["embedding", "best single filter"]
    if dataset is not None:
        headings = [f"{heading}; highest real image" for heading in headings] + ["typical"]
    rows = []
    for row, place in enumerate(made.directions.places):
        groups = [
            [
                Panel(image, f"{made.highest[row, number, number, index]:.3g}")
                for index, image in enumerate(made.pixels[number, :, row])
            ]
            for number in range(2)
        ]
        if real is not None and dataset is not None:
            responses = real.highest[:, row]
            for group, values in zip(groups, responses, strict=True):
                best = int(values.argmax())
                group.append(Panel(dataset.image(best), f"real: {values[best]:.3g}"))
            typical = int(real.typical[row])
            caption = "; ".join(f"{value:.3g}" for value in responses[:, typical])
            groups.append([Panel(dataset.image(typical), caption)])
        note = f"filter {show_filter(run.filter_names[made.directions.filters[row]])}"
        rows.append(SheetRow(run.concepts[place], run.categories[place], groups, note))
    save_figure(plot_image_sheet(rows, headings), out / SHEET)


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
    made = maximise_concepts(
        run, loaded, directions, seed=flags.seed, seeds=flags.seeds, size=size, config=config
    )
    real = None
    try:
        real = measure_real_images(sources, directions)
    except Net2VecError as error:  # the run's data is not there any more
        print(f"no comparison with real images: {error}")
    write_results(out, run, made, real)
    draw_sheet(out, run, made, real, sources.dataset if real else None)
    print(f"images, {TABLE} and {SHEET}.png are in {out}")
