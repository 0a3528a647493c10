"""Random access to the records of a dataset that TFDS has prepared, without TensorFlow.

TensorFlow Datasets reads array_record files through `as_data_source` without TensorFlow, and
recreates the features from files beside the data, so the code that prepared them is not needed.
Images are handed out as the encoded bytes they were stored as. TFDS is imported when it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from google.protobuf import json_format, message

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra

if TYPE_CHECKING:
    import tensorflow_datasets

READ_ERRORS = (
    *(OSError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, AssertionError),
    *(message.Error, json_format.Error),
)
"""What TFDS, array_record and protobuf raise on damaged files."""


EDGE_BYTES = 2**16
"""How much of both ends of a file is digested."""


class TfdsRecords:
    """The records of some splits of a prepared dataset.

    Attributes:
      directory: that of the version, …/NAME/[CONFIG/]VERSION.
      builder: TFDS's builder of it, restored from the files.
    """

    def __init__(self, directory: str | Path) -> None:
        """Open `directory`.

        Raises:
          Net2VecError: it holds no prepared dataset, or one in a format that TFDS cannot read
            without TensorFlow.
        """
        tfds = import_extra("tensorflow_datasets", "tfds")

        self.directory = Path(directory)
        try:
            _refuse_foreign_code(self.directory)
            self.builder: tensorflow_datasets.core.DatasetBuilder = tfds.builder_from_directory(
                self.directory
            )
            formats = {known.value for known in self.builder.info.available_file_formats()}
        except Net2VecError:
            raise
        except READ_ERRORS as error:
            raise Net2VecError(
                f"{self.directory} holds no dataset that TFDS can open: {_first_line(error)}"
            ) from error
        if "array_record" not in formats:
            raise Net2VecError(
                f"{self.directory} is stored as {', '.join(sorted(formats)) or 'an unknown format'}"
                ", which TFDS cannot read at random nor without TensorFlow. On a machine with "
                "TensorFlow run\n"
                f"  tfds convert_format --dataset_version_dir={self.directory} "
                "--out_file_format=array_record --out_dir=NEW_DIR\n"
                "and put NEW_DIR's contents in the place of this directory, or prepare the dataset "
                "anew with tfds build --file_format=array_record"
            )
        self._sources: dict[str, Sequence[Any]] = {}

    @property
    def splits(self) -> Mapping[str, int]:
        """Number of records of each split there is."""
        return {name: info.num_examples for name, info in self.builder.info.splits.items()}

    @property
    def features(self) -> Mapping[str, Any]:
        """TFDS's features by name."""
        return cast(Mapping[str, Any], self.builder.info.features)

    def source_files(self) -> Iterator[Path]:
        """The files of the version: records, features and metadata."""
        yield from sorted(path for path in self.directory.iterdir() if path.is_file())

    def open_split(self, split: str) -> int:
        """Make the records of `split` available; returns how many there are.

        Raises:
          Net2VecError: there is no such split, or a file of it is missing.
        """
        tfds = import_extra("tensorflow_datasets", "tfds")

        class KeepEncoded(tfds.decode.SkipDecoding):
            """Hands out images as bytes, also those in sequences, where TFDS's own cannot."""

            def decode_batch_example_np(self, serialized_example: Any) -> Any:
                return serialized_example

        if split not in self.splits:
            raise Net2VecError(
                f"{self.directory} has no split {split!r}; it has {', '.join(self.splits)}"
            )
        for path in self.builder.info.splits[split].filepaths:
            if not Path(path).is_file():
                raise Net2VecError(f"{path} is missing; prepare the dataset again")
        decoders = _for_images(self.features, KeepEncoded)
        try:
            self._sources[split] = self.builder.as_data_source(
                split,  # pyright: ignore[reportCallIssue] (the decorator hides the signature)
                decoders=decoders,
                file_format="array_record",
            )
        except (*READ_ERRORS, NotImplementedError) as error:
            raise Net2VecError(
                f"{self.directory}: split {split!r} cannot be opened: {_first_line(error)}"
            ) from error
        return self.splits[split]

    def read(self, split: str, position: int) -> Mapping[str, Any]:
        """The record at `position` of a split that was opened, images as encoded bytes.

        May be called from several threads.

        Raises:
          Net2VecError: the file is damaged.
        """
        try:
            return self._sources[split][position]
        except READ_ERRORS as error:
            raise Net2VecError(
                f"{self.directory}: record {position} of split {split!r} cannot be read "
                f"({_first_line(error)}); prepare the dataset again"
            ) from error

    def fingerprint(self, splits: Sequence[str], *more: Any) -> str:
        """Hexadecimal digest of what was prepared: name, config, version and sizes of the splits.

        Args:
          splits: those that are used.
          more: what else the images and labels depend on, as values that JSON can hold.
        """
        config = self.builder.builder_config
        parts = [self.builder.name, config and config.name, str(self.builder.version)]
        for split in splits:
            info = self.builder.info.splits[split]
            parts.append([split, list(info.shard_lengths), info.num_bytes])
        return hashlib.sha256(json.dumps([*parts, *more]).encode()).hexdigest()

    def file_digest(self, splits: Sequence[str]) -> str:
        """Hexadecimal digest of the size, the first and the last bytes of every file of `splits`.

        The last bytes of an array_record file say where its records lie, so that nearly any other
        content shows, and no time is spent on hundreds of gigabytes.
        """
        digest = hashlib.sha256()
        for split in splits:
            for path in map(Path, self.builder.info.splits[split].filepaths):
                with path.open("rb") as file:
                    size = file.seek(0, 2)
                    file.seek(0)
                    digest.update(f"{path.name}\0{size}\0".encode() + file.read(EDGE_BYTES))
                    file.seek(max(size - EDGE_BYTES, 0))
                    digest.update(file.read())
        return digest.hexdigest()


def _refuse_foreign_code(directory: Path) -> None:
    """TFDS imports the module of whatever class the description names: only its own may be.

    Raises:
      Net2VecError: another one is named.
      OSError, ValueError: a description cannot be read.
    """

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("pythonClassName", "python_class_name", "type"):
                    yield str(inner)
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)
        elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            with contextlib.suppress(ValueError):  # other text, which TFDS cannot read either
                yield from walk(json.loads(value))  # a description within the description

    for name in ("dataset_info.json", "features.json"):
        path = directory / name
        for named in walk(json.loads(path.read_text(encoding="utf-8"))):
            if "." in named and not named.startswith("tensorflow_datasets."):
                raise Net2VecError(
                    f"{path} asks for code that is not TFDS's, {named}; it is not loaded"
                )


def _for_images(feature: Any, decoder: type) -> Any:
    """`decoder` for every image of nested features; None where there is none."""
    tfds = import_extra("tensorflow_datasets", "tfds")
    if isinstance(feature, tfds.features.Image):
        return decoder()
    if isinstance(feature, tfds.features.Sequence):
        return _for_images(feature.feature, decoder)
    if isinstance(feature, tfds.features.FeaturesDict):
        nested = {name: _for_images(inner, decoder) for name, inner in feature.items()}
        return {name: found for name, found in nested.items() if found} or None
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
