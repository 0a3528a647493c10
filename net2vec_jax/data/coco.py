"""Images annotated in COCO's form, instances or panoptic, as a `ConceptDataset`.

COCO's categories, things and stuff, are `object` concepts. A concept's mask on an image is the
union of its regions. Everything is resized to one square resolution S: images uint8 [S, S, 3],
masks [S // 2, S // 2].
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from net2vec_jax.data.coco_annotations import (
    CATEGORY,
    CocoAnnotations,
    CocoImage,
    decode_regions,
    read_coco,
)
from net2vec_jax.data.dataset import VAL, ImageLabels
from net2vec_jax.data.image_files import PLANE_FORMATS, check_regular_file, open_image_file
from net2vec_jax.data.resized_files import (
    DEFAULT_RESOLUTION,
    check_resolution,
    place_by_hash,
    read_resized_image,
    resize_mask,
    split_by_hash,
)
from net2vec_jax.errors import Net2VecError

PREFIX = "coco:"
_PART = re.compile(
    r"(?P<annotations>.+?\.json):(?P<images>(?:[A-Za-z]:(?=[\\/]))?[^:]+)(?::(?P<panoptic>.+))?"
)
_MOST_LISTED = 10


@dataclasses.dataclass(frozen=True)
class CocoPart:
    """An annotation file and where its images lie.

    Attributes:
      annotations: a JSON file.
      images: the folder of the images.
      panoptic: the folder of the PNG files of panoptic annotations; by default the one beside the
        JSON file that has its name.
    """

    annotations: Path
    images: Path
    panoptic: Path | None = None


def parse_coco_name(text: str) -> list[CocoPart]:
    """From "coco:ANNOTATIONS.json:IMAGES[:PANOPTIC]", or two of these with a comma between.

    Raises:
      Net2VecError: the text is not of that form.
    """
    parts = [_PART.fullmatch(part) for part in text.removeprefix(PREFIX).split(",")]
    if not all(parts) or len(parts) > 2:
        raise Net2VecError(
            f"{text!r} is no COCO dataset: write coco:ANNOTATIONS.json:IMAGES, or "
            "coco:TRAIN.json:TRAIN_IMAGES,VAL.json:VAL_IMAGES"
        )
    return [
        CocoPart(
            Path(part["annotations"]).expanduser(),
            Path(part["images"]).expanduser(),
            Path(part["panoptic"]).expanduser() if part["panoptic"] else None,
        )
        for part in parts
    ]


class CocoDataset:
    """Images annotated in COCO's form, as a `ConceptDataset`.

    All images of the annotation files take part, those without annotation too: there is nothing on
    them. They are in the order of a hash of their names, as Broden's are (spec 1.7). Crowd regions
    count like the others: they show the concept, though not how often.

    Attributes: those of `ConceptDataset`, and
      directory: the folder of the (train) images.
      image_size: (S, S).
    """

    def __init__(
        self,
        parts: Sequence[CocoPart],
        *,
        resolution: int = DEFAULT_RESOLUTION,
        allow_missing: bool = False,
        skip_bad_annotations: bool = False,
    ) -> None:
        """Read the annotation files and list the images; they are decoded when asked for.

        Args:
          parts: one, whose images are split by a hash of their names, 70 % train; or two, train
            and val.
          resolution: S, what images are resized to.

        Raises:
          Net2VecError: an annotation file is missing or malformed (see `read_coco`), two files have
            other categories, or images are missing.
        """
        check_resolution(resolution)
        self.directory = Path(parts[0].images)
        self.name = "+".join(part.annotations.stem for part in parts)
        self.image_size = (resolution, resolution)
        self.segmentation_size = (resolution // 2, resolution // 2)
        self.categories = (CATEGORY,)
        self._parts = tuple(parts)
        read = [read_coco(part.annotations) for part in parts]
        self.catalog = read[0].catalog
        if any(other.catalog != self.catalog for other in read):
            raise Net2VecError(
                f"{parts[0].annotations} and {parts[1].annotations} have other categories"
            )
        ordered = [
            sorted(one.images, key=lambda image: (place_by_hash(image.name), image.name))
            for one in read
        ]
        self._images = [(part, image) for part, some in enumerate(ordered) for image in some]
        if len(parts) == 1:
            splits = [split_by_hash(image.name) == VAL for _, image in self._images]
        else:
            splits = [part == 1 for part, _ in self._images]
        self.is_val = np.array(splits)
        self.image_names = self._name_images()
        self.fingerprint = self._fingerprint(read, resolution)

    def __len__(self) -> int:
        """The number of images N."""
        return len(self._images)

    def image(self, index: int) -> np.ndarray:
        """uint8 [S, S, 3], RGB, of the image at `index`; see `read_resized_image`.

        Raises:
          Net2VecError: the file is missing, damaged, or of another aspect ratio than the annotation
            file says.
        """
        part, image = self._images[index]
        return read_resized_image(
            self._parts[part].images / image.name,
            self.image_size[0],
            shape=image.shape,
            source=f"that of {self._parts[part].annotations}",
            prefer_stored=True,  # that is what COCO's sizes are of
        )

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`, in as few planes as do without overlap.

        Raises:
          Net2VecError: a segmentation or panoptic PNG cannot be decoded.
        """
        part, image = self._images[index]
        planes: list[np.ndarray] = []
        for number, mask in self._decode(self._parts[part], image):
            free = (plane for plane in planes if not plane[mask].any())
            plane = next(free, None)
            if plane is None:
                plane = np.zeros(self.segmentation_size, np.int32)
                planes.append(plane)
            plane[mask] = number
        return ImageLabels({CATEGORY: np.stack(planes)} if planes else {}, {})

    def source_files(self) -> Iterator[Path]:
        """The annotation files, images and panoptic masks that all else is read from."""
        yield from (part.annotations for part in self._parts)
        for place, image in self._images:
            part = self._parts[place]
            yield part.images / image.name
            if image.panoptic is not None:
                yield _panoptic_folder(part) / image.panoptic[0]

    def _decode(self, part: CocoPart, image: CocoImage) -> Iterator[tuple[int, np.ndarray]]:
        """(concept number, bool [S // 2, S // 2]) of every concept that is marked."""
        if image.panoptic is None:
            try:
                for number, mask in decode_regions(image):
                    small = resize_mask(mask, self.segmentation_size)
                    if small.any():
                        yield number, small
            except Net2VecError as error:
                raise Net2VecError(f"{part.annotations}: {error}") from error
            return
        name, segments = image.panoptic
        path = _panoptic_folder(part) / name
        with open_image_file(path, PLANE_FORMATS) as png:
            if png.mode != "RGB" or (png.height, png.width) != image.shape:
                raise Net2VecError(
                    f"{path}: a panoptic mask must be an 8-bit RGB image of the image's size, "
                    f"{image.shape[0]}×{image.shape[1]}"
                )
            pixels = resize_mask(np.asarray(png), self.segmentation_size)
        ids = pixels.astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        values, places = np.unique(ids, return_inverse=True)
        numbers = [segments.get(value, 0) if value else 0 for value in values.tolist()]
        unknown = [v for v in values.tolist() if v and v not in segments]
        if unknown:
            raise Net2VecError(
                f"{path}: segment {unknown[0]} is not among the segments_info of {part.annotations}"
            )
        plane = np.array(numbers)[places].reshape(ids.shape)
        yield from ((number, plane == number) for number in sorted({*numbers} - {0}))

    def _name_images(self) -> tuple[str, ...]:
        """Their file names; with the folder before them where two parts share one."""
        names = [image.name for _, image in self._images]
        if len(set(names)) < len(names):
            folders = [part.images.name for part in self._parts]
            names = [f"{folders[part]}/{image.name}" for part, image in self._images]
        if len(set(names)) < len(names):
            raise Net2VecError(
                f"{self._parts[0].annotations} and {self._parts[1].annotations} share images, so "
                "that val images would be trained on"
            )
        return tuple(names)

    def _fingerprint(self, read: Sequence[CocoAnnotations], resolution: int) -> str:
        """Digest of the annotation files, the resolution, and every file's name and size."""
        digest = hashlib.sha256(repr(("coco", resolution)).encode())
        for one in read:
            with one.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        missing = []
        for path in self.source_files():
            try:
                digest.update(f"{path.name}\0{check_regular_file(path).st_size}\0".encode())
            except Net2VecError as error:
                missing.append(str(error))
        if missing:
            more = len(missing) - _MOST_LISTED
            lines = missing[:_MOST_LISTED] + ([f"and {more} more"] if more > 0 else [])
            raise Net2VecError(
                f"{len(missing)} files that {self.name} names cannot be used; give the folder they "
                "lie in as IMAGES:\n  " + "\n  ".join(lines)
            )
        return digest.hexdigest()


def _panoptic_folder(part: CocoPart) -> Path:
    return part.panoptic or part.annotations.with_suffix("")
