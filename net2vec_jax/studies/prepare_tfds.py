"""Write a Broden directory, the scenes, or a dataset of TFDS's own in array_record format."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import re
from pathlib import Path

from net2vec_jax.core.console import announce
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra
from net2vec_jax.data.tfds.adapters import ADAPTERS
from net2vec_jax.data.tfds.open import find_data_dir, open_tfds, parse_tfds_name


@dataclasses.dataclass(frozen=True)
class PrepareFlags:
    """Flags of the preparation.

    Attributes:
      dataset: a Broden directory, "scenes", or a dataset of TFDS's own, NAME or NAME/CONFIG.
      data_dir: TFDS's data directory; by default $TFDS_DATA_DIR, or else ~/tensorflow_datasets.
      name: what a Broden directory is called there; by default its own name.
      images: number of scenes.
      seed: of the scenes.
    """

    dataset: str
    data_dir: Path | None = None
    name: str | None = None
    images: int = 800
    seed: int = 0


def main(flags: PrepareFlags) -> None:
    """Prepare, and say how to use it."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns of every config that is not its
    data_dir = find_data_dir(flags.data_dir)
    if Path(flags.dataset).is_dir():
        from net2vec_jax.data.tfds.builders import prepare_broden

        prepared = prepare_broden(flags.dataset, data_dir, name=flags.name)
    elif flags.dataset == "scenes":
        from net2vec_jax.data.tfds.builders import prepare_scenes

        prepared = prepare_scenes(data_dir, images=flags.images, seed=flags.seed)
    else:
        prepare_with_tensorflow(flags.dataset, data_dir)
        print(f"use it with TFDS_DATA_DIR={data_dir} and --dataset tfds:{flags.dataset}")
        return
    announce(prepared.notices)
    name = f"{prepared.directory.parents[1].name}/{prepared.directory.parent.name}"
    print(
        f"{len(prepared)} images with {len(prepared.catalog)} concepts are in "
        f"{prepared.directory}\nuse them with TFDS_DATA_DIR={data_dir} and --dataset tfds:{name}"
    )


def prepare_with_tensorflow(name: str, data_dir: Path) -> None:
    """Let TFDS's own code prepare a dataset, unless it is there already.

    Raises:
      Net2VecError: an unknown dataset, TensorFlow is not installed, or TFDS's code fails.
    """
    if re.split("[/:@]", name)[0] not in ADAPTERS:
        raise Net2VecError(
            f"there is no dataset {name!r}: give a Broden directory, 'scenes', or one of "
            f"{', '.join(ADAPTERS)}"
        )
    wanted = parse_tfds_name(name)
    if importlib.util.find_spec("tensorflow") is not None:
        tfds = import_extra("tensorflow_datasets", "tfds")

        full = "/".join(part for part in (wanted.dataset, wanted.config) if part)
        try:
            builder = tfds.builder(full, data_dir=data_dir)
            builder.download_and_prepare(file_format="array_record")
        except (OSError, RuntimeError, ValueError, LookupError, AssertionError) as error:
            raise Net2VecError(f"TFDS cannot prepare {full}: {error}") from error
    open_tfds(name, data_dir=data_dir)
