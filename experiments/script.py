"""What all scripts share: flags from a dataclass, one message on bad input, datasets by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tyro
from tqdm import tqdm

from net2vec_jax.data.broden import BrodenDataset
from net2vec_jax.data.broden_writer import write_broden
from net2vec_jax.data.scenes import SCENE_CONCEPTS, draw_scenes
from net2vec_jax.errors import Net2VecError

Config = TypeVar("Config")


def run_script(main: Callable[[Config], None], config_type: type[Config], description: str) -> None:
    """Parse the command line into `config_type` and run `main`.

    The exit status is 0 only when everything was written, and 2 with one message on bad input.
    """
    config = tyro.cli(config_type, description=description)
    try:
        main(config)
    except Net2VecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def open_dataset(name: str, *, scenes_directory: Path) -> BrodenDataset:
    """Open a Broden directory, or the built-in `scenes`, which are drawn when first asked for.

    Args:
      name: a Broden directory, or "scenes".
      scenes_directory: where scenes are drawn.

    Raises:
      Net2VecError: there is no such dataset, or it is not what it should be.
    """
    if name == "scenes" and not Path(name).exists():
        return open_scenes(scenes_directory)
    if not Path(name).is_dir():
        raise Net2VecError(
            f"there is no dataset {name!r}: give a Broden directory (index.csv, label.csv, "
            "images/) or 'scenes'"
        )
    return BrodenDataset(name)


def open_scenes(directory: Path, *, images: int = 800) -> BrodenDataset:
    """Open the built-in scenes in `directory`, drawing them if it does not exist.

    Args:
      directory: a Broden directory that this function wrote, or a new one.
      images: how many scenes there are.

    Raises:
      Net2VecError: the directory holds another number of images.
    """
    if not directory.exists():
        drawn = tqdm(draw_scenes(images), "scenes", images, unit="image", leave=False, delay=1)
        names = {number: concept for number, (concept, _) in SCENE_CONCEPTS.items()}
        write_broden(directory, drawn, names)
    dataset = BrodenDataset(directory)
    if len(dataset) != images:
        raise Net2VecError(
            f"{directory} holds {len(dataset)} scenes, not {images}; choose another directory"
        )
    return dataset
