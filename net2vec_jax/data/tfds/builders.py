"""TFDS builders that write Broden data in array_record format; TensorFlow is not needed.

`broden` takes any Broden directory, one config per directory; `scenes` draws the built-in scenes.
Image files and label planes are stored as the bytes they are, so that nothing is encoded twice. A
Broden directory, what is prepared from it, and what is read back have the same masks, bit for bit.
Importing this module imports tensorflow_datasets and registers both builders with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import filelock
import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.tables import BrodenRow, read_index
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import SPLITS
from net2vec_jax.data.images.files import find_file
from net2vec_jax.data.scenes.draw import SCENE_CONCEPTS, draw_scenes
from net2vec_jax.data.tfds.broden import FORMAT, TfdsBrodenDataset, catalog_to_metadata
from net2vec_jax.data.tfds.records import READ_ERRORS, TfdsRecords

if TYPE_CHECKING:
    import tensorflow_datasets as tfds
else:
    tfds = import_extra("tensorflow_datasets", "tfds")

DEFAULT_SCENES = 800


@dataclasses.dataclass(kw_only=True)
class BrodenConfig(tfds.core.BuilderConfig):
    """One Broden directory.

    Attributes:
      name: of the config; the data lie in BUILDER/NAME/VERSION.
      find_directory: gives the directory, with index.csv, label.csv and images/; called only if it
        is to be written.
    """

    find_directory: Callable[[], Path]


class _BrodenBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What both builders share: they write the directory of their `BrodenConfig`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def __init__(self, *, file_format: str | None = "array_record", **arguments: Any) -> None:
        super().__init__(file_format=file_format, **arguments)

    @property
    def _metadata(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.info.metadata)

    def _info(self) -> tfds.core.DatasetInfo:
        """The features of a record: one row of index.csv with the files that it names."""
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.__doc__ or "").split("\n")[0],
            features=tfds.features.FeaturesDict(
                {
                    "name": tfds.features.Text(doc="path below images/"),
                    "image": tfds.features.Image(doc="uint8 [H, W, 3], RGB"),
                    "planes": tfds.features.Sequence(
                        {
                            "category": tfds.features.Text(),
                            "plane": tfds.features.Image(
                                encoding_format="png", doc="concept number = R + 256·G, 0 = none"
                            ),
                        }
                    ),
                    "numbers": tfds.features.Sequence(
                        {"category": tfds.features.Text(), "number": np.int32}
                    ),
                }
            ),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,  # positions in a split are places in index.csv
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        """A generator of records for each split that has images; fills in the metadata."""
        if not isinstance(self.builder_config, BrodenConfig):
            raise Net2VecError("the builder needs a BrodenConfig, which names a directory")
        directory = self.builder_config.find_directory()
        dataset = BrodenDataset(directory)
        kept = set(dataset.image_names)
        _, rows = read_index(directory / "index.csv")
        rows = [row for row in rows if row.image in kept]
        self._metadata.update(
            net2vec_format=FORMAT,
            name=dataset.name,
            source_fingerprint=dataset.fingerprint,
            categories=list(dataset.categories),
            concepts=catalog_to_metadata(dataset.catalog),
            image_size=list(dataset.image_size),
            segmentation_size=list(dataset.segmentation_size),
            images=[[row.image, row.split] for row in rows],
            notices=list(dataset.notices),
            sha256={},
        )
        if dataset.image_groups is not None:
            self._metadata["groups"] = [row.group for row in rows]
        by_split = {split: [row for row in rows if row.split == split] for split in SPLITS}
        return {
            split: self._generate_examples(directory / "images", split, chosen)
            for split, chosen in by_split.items()
            if chosen
        }

    def _generate_examples(
        self, images: Path, split: str, rows: list[BrodenRow]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The records of the rows, in their order, and their digest for the metadata."""
        digest = hashlib.sha256()
        for position, row in enumerate(rows):
            record = _make_record(images, row)
            digest.update(_flatten(record))
            yield position, record
        self._metadata["sha256"][split] = digest.hexdigest()


class Broden(_BrodenBuilder):
    """A Broden directory: images with pixelwise and whole-image concepts of several categories."""


class Scenes(_BrodenBuilder):
    """Scenes and textures drawn by net2vec_jax, with exact masks in all six Broden categories."""


def prepare_broden(
    directory: str | Path, data_dir: str | Path, *, name: str | None = None
) -> TfdsBrodenDataset:
    """Write a Broden directory as `broden/NAME`, unless it is there already.

    Args:
      directory: holds index.csv, label.csv and images/.
      data_dir: TFDS's data directory, for all datasets.
      name: of the config; by default the directory's.

    Raises:
      Net2VecError: the directory is no sound Broden directory, another one was prepared under this
        name, or the data cannot be written.
    """
    source = BrodenDataset(directory)
    config = BrodenConfig(
        name=source.name if name is None else name, find_directory=lambda: source.directory
    )
    prepared = _prepare(Broden, config, data_dir)
    if prepared.source_fingerprint != source.fingerprint:
        raise Net2VecError(
            f"{prepared.directory} was written from another state of {directory}, or from another "
            "directory of that name: remove it, or choose another name"
        )
    return prepared


def prepare_scenes(
    data_dir: str | Path, *, images: int = DEFAULT_SCENES, seed: int = 0
) -> TfdsBrodenDataset:
    """Draw the scenes into `scenes/images_IMAGES`, unless they are there already.

    They are drawn as a Broden directory, which is written and then removed: both forms have the
    same bytes because one is made from the other.

    Args:
      data_dir: TFDS's data directory, for all datasets.
      images: how many.
      seed: of the drawing.

    Raises:
      Net2VecError: the data cannot be written.
    """
    if images < 1:
        raise Net2VecError(f"the number of scenes is {images}; it must be at least 1")
    name = f"images_{images}" + (f"_seed_{seed}" if seed else "")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "scenes"

        def draw() -> Path:
            names = {number: concept for number, (concept, _) in SCENE_CONCEPTS.items()}
            write_broden(directory, draw_scenes(images, seed=seed), names)
            return directory

        return _prepare(Scenes, BrodenConfig(name=name, find_directory=draw), data_dir)


def _prepare(
    builder_class: type[_BrodenBuilder], config: BrodenConfig, data_dir: str | Path
) -> TfdsBrodenDataset:
    """Complete or not at all; of several processes one writes and the others wait."""
    data_dir = Path(data_dir).expanduser()
    if not re.fullmatch(r"\w[\w.-]*", config.name):
        raise Net2VecError(
            f"{config.name!r} cannot be a name in TFDS: use letters, digits, '_', '-' and '.'"
        )
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(data_dir / f".{builder_class.name}-{config.name}.lock"):
            builder = builder_class(data_dir=data_dir, config=config)
            builder.download_and_prepare()
    except Net2VecError:
        raise
    except READ_ERRORS as error:
        raise Net2VecError(
            f"{builder_class.name} cannot be written to {data_dir}: {error}"
        ) from error
    return TfdsBrodenDataset(TfdsRecords(builder.data_dir))


def _make_record(images: Path, row: BrodenRow) -> dict[str, Any]:
    planes = [(category, name) for category, names in row.planes.items() for name in names]
    numbers = [(c, number) for c, numbers in row.whole_image.items() for number in numbers]
    return {
        "name": row.image,
        "image": _read_file(find_file(images, row.image)),
        "planes": [
            {"category": c, "plane": _read_file(find_file(images, name))} for c, name in planes
        ],
        "numbers": [{"category": c, "number": number} for c, number in numbers],
    }


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Net2VecError(f"{path} cannot be read: {error.strerror}") from error


def _flatten(record: Mapping[str, Any]) -> bytes:
    """The record's contents, unambiguously, for a digest."""
    plane_digests = [(p["category"], hashlib.sha256(p["plane"]).digest()) for p in record["planes"]]
    image = hashlib.sha256(record["image"]).digest()
    return repr((record["name"], image, plane_digests, record["numbers"])).encode()
