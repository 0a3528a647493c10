"""Images annotated in COCO's form, instances or panoptic, as a `ConceptDataset`.

COCO's categories, things and stuff, are `object` concepts. A concept's mask on an image is the
union of its regions. Everything is resized to one square resolution S: images uint8 [S, S, 3],
masks [S // 2, S // 2].
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from net2vec_jax.core.errors import Net2VecError, join_messages, list_names
from net2vec_jax.data.coco.annotations import (
    CATEGORY,
    CocoAnnotations,
    CocoImage,
    CocoPart,
    merge_categories,
    read_coco,
)
from net2vec_jax.data.coco.files import name_apart
from net2vec_jax.data.coco.regions import decode_regions
from net2vec_jax.data.concepts import normalize_name
from net2vec_jax.data.dataset import SPLITS, VAL, ConceptDataset, ImageLabels
from net2vec_jax.data.groups import (
    GROUP_COLUMN,
    name_group,
    number_groups,
    remark_on_groups,
    split_by_groups,
)
from net2vec_jax.data.images.files import (
    PLANE_FORMATS,
    drop_opaque_alpha,
    is_rgb_of_8_bits,
    open_image_file,
)
from net2vec_jax.data.images.resized import (
    DEFAULT_RESOLUTION,
    check_resolution,
    pack_colours,
    read_resized_image,
    remark_on_photograph,
    resize_mask,
)
from net2vec_jax.data.splits import folders_of, place_by_hash, split_by_folders, split_by_hash

PREFIX = "coco:"
_PART = re.compile(
    r"(?P<annotations>.+?\.(?i:json(?:\.gz)?)):(?P<images>(?:[A-Za-z]:(?=[\\/]))?[^:]+)(?::(?P<panoptic>.+))?"
)
_TWO_PARTS = "coco:TRAIN.json:TRAIN_IMAGES,VAL.json:VAL_IMAGES"
_GROUPS = f"a field {GROUP_COLUMN} of the images in the annotation file"
_FORM = f"write coco:ANNOTATIONS.json:IMAGES, or {_TWO_PARTS}"
_TURN = (
    "if they were annotated upright, as Label Studio shows them, save them upright without EXIF "
    "(mogrify -auto-orient) and export the annotations anew"
)


def parse_coco_name(text: str) -> list[CocoPart]:
    """From "coco:ANNOTATIONS.json:IMAGES[:PANOPTIC]", or two of these with a comma between.

    Raises:
      Net2VecError: the text is not of that form.
    """
    texts = text.removeprefix(PREFIX).split(",")
    parts = [match.groups() for match in map(_PART.fullmatch, texts) if match]
    if len(parts) < len(texts):
        raise Net2VecError(f"{text!r} is no COCO dataset: {_FORM}")
    if len(parts) > 2:
        raise Net2VecError(
            f"{text!r} has {len(parts)} parts, but two at most are read, train and val: {_FORM}"
        )
    return [CocoPart(*(Path(path).expanduser() for path in part if path)) for part in parts]


class CocoDataset(ConceptDataset):
    """Images annotated in COCO's form, as a `ConceptDataset`.

    All images of the annotation files take part, those without annotation too: there is nothing on
    them. They are in the order of a hash of their names, as Broden's are (behaviour 1.7). Crowd
    regions count like the others: they show the concept, though not how often.

    Attributes: those of `ConceptDataset`, and
      directory: the folder of the (train) images.
      image_size: (S, S).
      notices: what was assumed, and how to say otherwise.
      skipped_annotations: annotation → why it is left out, or a polygon or segment of it.
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
          parts: one, whose images are split by their folders, if these are named train and val, or
            by a hash of the names of their groups, if they have any, or of their own, 70 % train;
            or two, train and val.
          resolution: S, what images are resized to.
          allow_missing: open it though some images are missing or misnamed; they are refused when
            they are read.
          skip_bad_annotations: leave out annotations that are bad.

        Raises:
          Net2VecError: an annotation file is missing or not of COCO's form (see `read_coco`), two
            files have other categories or share images, annotations are bad, images missing, or
            some images have a group and others none.
        """
        check_resolution(resolution)
        check_resolution(resolution)
        self.directory = Path(parts[0].images)
        self.name = "+".join(part.annotations.stem for part in parts)
        self.image_size = (resolution, resolution)
        self.segmentation_size = (resolution // 2, resolution // 2)
        self.categories: tuple[str, ...] = (CATEGORY,)
        self._parts = tuple(parts)
        read = [read_coco(part) for part in parts]
        names = name_apart([part.annotations for part in parts])
        self.catalog, self._numbers, notices = merge_categories(read, names)
        self._images = [
            (part, image)
            for part, one in enumerate(read)
            for image in sorted(one.images, key=lambda i: (place_by_hash(i.name), i.name))
        ]
        self._refuse(read, allow_missing, skip_bad_annotations)
        self.skipped_annotations = {
            f"{name}: {which}" if len(parts) > 1 else which: reason
            for name, one in zip(names, read, strict=True)
            for which, reason in one.faults.items()
        }
        self._skip_bad_annotations = skip_bad_annotations
        self.image_names, same_files = self._name_images()
        if same_files:
            notices.append(
                "images are one file under several names, as links are, and count several times, "
                f"maybe both in train and val ({len(same_files)}: {list_names(same_files)}): list "
                "each file once"
            )
        without_area = sum(one.without_area for one in read)
        if without_area:
            notices.append(f"{without_area:,} regions mark nothing, since they enclose no area")
        groups = self._name_groups()
        splits, notice = self._split(groups)
        self.is_val = np.array([split == VAL for split in splits])
        self.image_groups = None if groups is None else number_groups(groups)
        on_groups = remark_on_groups(self.image_names, groups, self.is_val, remedy=_GROUPS)
        self.notices = (*notices, *([notice] if notice else []), *on_groups)
        self.fingerprint = self._fingerprint(resolution)

    def image(self, index: int) -> np.ndarray:
        """uint8 [S, S, 3], RGB, of the image at `index`; see `read_resized_image`.

        Raises:
          Net2VecError: the file is missing, damaged, or of another aspect ratio than the annotation
            file says.
        """
        part, image = self._usable(index)
        return read_resized_image(
            image.path,
            self.image_size[0],
            shape=image.shape,
            source=f"that of {part.annotations}",
            prefer_stored=True,  # that is what COCO's sizes are of
        )

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`, in as few planes as do without overlap.

        Raises:
          Net2VecError: the image is missing, or a panoptic PNG cannot be decoded.
        """
        part, image = self._usable(index)
        planes: list[np.ndarray] = []
        marked, remarks = self._decode(part, image)
        for number, mask in marked:
            plane = next((plane for plane in planes if not plane[mask].any()), None)
            if plane is None:
                plane = np.zeros(self.segmentation_size, np.int32)
                planes.append(plane)
            plane[mask] = number
        shape = image.shape if image.is_shape_given else None
        remarks += remark_on_photograph(image.path, shape, prefer_stored=True, otherwise=_TURN)
        return ImageLabels({CATEGORY: np.stack(planes)} if planes else {}, {}, remarks)

    def source_files(self) -> Iterator[Path]:
        """The annotation files, images and panoptic masks that all else is read from."""
        yield from (part.annotations for part in self._parts)
        for _, image in self._images:
            yield image.path
            if image.panoptic is not None:
                yield image.panoptic[0]

    def _usable(self, index: int) -> tuple[CocoPart, CocoImage]:
        """The image at `index` and its part; its fault is raised."""
        place, image = self._images[index]
        if image.fault is not None:
            raise Net2VecError(image.fault)
        return self._parts[place], image

    def _decode(
        self, part: CocoPart, image: CocoImage
    ) -> tuple[list[tuple[int, np.ndarray]], tuple[str, ...]]:
        """(concept number, bool [S // 2, S // 2]) of every concept that is marked, and remarks."""
        if image.panoptic is None:
            found = decode_regions(image.regions, image.shape, self.segmentation_size)
            return [(self._numbers[category], mask) for category, mask in found if mask.any()], ()
        path, segments = image.panoptic
        with open_image_file(path, PLANE_FORMATS) as png:
            if not is_rgb_of_8_bits(png) or (png.height, png.width) != image.shape:
                raise Net2VecError(
                    f"{path}: a panoptic mask must be an 8-bit RGB image of the image's size, "
                    f"{image.shape[0]}×{image.shape[1]}"
                )
            pixels = resize_mask(np.asarray(drop_opaque_alpha(png, path)), self.segmentation_size)
        ids = pack_colours(pixels)
        values, places = np.unique(ids, return_inverse=True)
        unknown = [v for v in values.tolist() if v and v not in segments]
        if unknown and not self._skip_bad_annotations:
            raise Net2VecError(
                f"{path}: segment {unknown[0]} is not among the segments_info of "
                f"{part.annotations}; list it there, or pass --skip-bad-annotations to go on "
                "without it"
            )
        remark = (
            f"panoptic segments that are not among the segments_info of {part.annotations} are "
            "left out ({count}: {images}): list them there if they are meant"
        )
        # Segment 0 is none; one without category is left out.
        number_of: dict[int | None, int] = {None: 0, **self._numbers}
        numbers = [number_of[segments.get(v)] for v in values.tolist()]
        plane = np.array(numbers)[places].reshape(ids.shape)
        marked = [(number, plane == number) for number in sorted({*numbers} - {0})]
        return marked, (remark,) if unknown else ()

    def _refuse(
        self, read: Sequence[CocoAnnotations], allow_missing: bool, skip_bad_annotations: bool
    ) -> None:
        """Refuse bad annotations and images, unless they may be left out; all in one message."""
        messages = []
        for one in read:
            faults = [f"{which}: {reason}" for which, reason in one.faults.items()]
            if faults and not skip_bad_annotations:
                messages.append(
                    f"{one.path}: {join_messages(faults)}\n"
                    "mend them, or pass --skip-bad-annotations to go on without them"
                )
        bad = [image.fault for one in read for image in one.images if image.fault is not None]
        if bad and (len(bad) == len(self._images) or not allow_missing):
            advice = "mend the file"
            if any(not image.path.exists() for one in read for image in one.images):
                advice += ", or give the folder that file_name is relative to as IMAGES"
            if len(bad) < len(self._images):
                advice += ", or pass --skip-bad-images to go on without them"
            messages.append(
                f"{len(bad)} of {len(self._images)} images of {self.name} cannot be used: "
                f"{join_messages(bad)}\n{advice}"
            )
        if messages:
            raise Net2VecError("\n".join(messages))

    def _name_images(self) -> tuple[tuple[str, ...], list[str]]:
        """Their file names; with folders before them where two parts share one.

        And what to tell of images of one part that are the same file.

        Raises:
          Net2VecError: a file is in both parts.
        """
        names = [image.name for _, image in self._images]
        if len(set(names)) < len(names):
            folders = name_apart([part.images for part in self._parts])
            names = [f"{folders[part]}/{image.name}" for part, image in self._images]
        first: dict[object, tuple[int, str]] = {}
        shared, same = [], []
        for name, (part, image) in zip(names, self._images, strict=True):
            key = name if image.fault is not None else image.file_id
            other = first.setdefault(key, (part, name))
            if other[0] != part:
                shared.append(image.name)
            elif other[1] != name:
                same.append(f"{name} is {other[1]}")
        if shared:
            raise Net2VecError(
                f"{self._parts[0].annotations} and {self._parts[1].annotations} share images, so "
                f"that val images would be trained on: {list_names(shared)}; remove them from one"
            )
        return tuple(names), same

    def _name_groups(self) -> list[str] | None:
        """What images have as `group`; or as video_id, if all have one and not all the same.

        Each file counts its videos anew, but names groups as the other does.

        Raises:
          Net2VecError: some images have a `group`, and others none.
        """
        if any(image.group is not None for _, image in self._images):
            files = [part.annotations for part in self._parts]
            return [
                name_group(image.group, f"{files[part]}: image {image.name!r:.200}")
                for part, image in self._images
            ]
        videos = [image.video for _, image in self._images]
        if not all(isinstance(video, int | str) for video in videos) or len({*videos}) == 1:
            return None
        files = ["train ", "val "] if len(self._parts) == 2 else [""]
        return [f"{files[part]}video {image.video}" for part, image in self._images]

    def _split(self, groups: Sequence[str] | None) -> tuple[list[str], str | None]:
        """ "train" or "val" per image, and a notice if the files have anything to say of it."""
        if len(self._parts) == 2:
            return [SPLITS[part] for part, _ in self._images], None
        images = [image for _, image in self._images]
        words = {
            f"values of 'split' in {self._parts[0].annotations}": [[i.split] for i in images],
            "folders": [folders_of(i.name) for i in images],
            "folders in coco_url": [folders_of(i.url.partition("://")[2])[1:] for i in images],
        }
        splits, notice = split_by_folders(
            self.image_names,
            otherwise=f"for another split give two files, {_TWO_PARTS}",
            sources={
                what: dict(zip(self.image_names, found, strict=True))
                for what, found in words.items()
            },
        )
        if splits is not None:
            return [splits[name] for name in self.image_names], notice
        drawn = split_by_groups(groups) if groups else [*map(split_by_hash, self.image_names)]
        return drawn, notice

    def _fingerprint(self, resolution: int) -> str:
        """Digest of the annotation files, the resolution, and every file's name and size.

        The split is in it where it is neither that of two parts nor that of the hash.
        """
        by_hash = [split_by_hash(name) == VAL for name in self.image_names]
        is_special = len(self._parts) == 1 and self.is_val.tolist() != by_hash
        special = self.is_val.tolist() if is_special else []
        digest = hashlib.sha256(repr(("coco", resolution, *special)).encode())
        for part in self._parts:
            with part.annotations.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        if self._skip_bad_annotations and any(image.panoptic for _, image in self._images):
            digest.update(b"without unknown segments")
        for path in self.source_files():
            size = path.stat().st_size if path.is_file() else -1
            name = normalize_name(path.name)
            digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        if self.image_groups is not None:
            digest.update(b"with groups")
        return digest.hexdigest()
