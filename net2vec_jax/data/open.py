"""Open a dataset by the name that --dataset has: of any kind, without bad images, or the scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from net2vec_jax.core.console import announce, announce_left_out, track
from net2vec_jax.core.devices import is_first_host, wait_for_hosts
from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.core.user_cache import cache_directory
from net2vec_jax.data.bad_images import ListsBadImages, leave_out_bad_images
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.coco.dataset import PREFIX, CocoDataset, parse_coco_name
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.folder.dataset import FolderDataset, is_image_folder
from net2vec_jax.data.images.resized import DEFAULT_RESOLUTION, split_resolution
from net2vec_jax.data.scenes.draw import SCENE_CONCEPTS, draw_scenes
from net2vec_jax.data.tfds.open import open_tfds


def open_dataset(
    name: str | Path,
    *,
    scenes_directory: Path | None = None,
    allow_missing: bool = False,
    skip_bad_annotations: bool = False,
) -> ConceptDataset:
    """Open a dataset by what --dataset calls it (docs/own_images.md, docs/tfds.md).

    Args:
      name: a Broden directory; a folder with images/, masks/ and concepts.csv, or
        coco:ANNOTATIONS.json:IMAGES, both with @RESOLUTION behind it for another than 224;
        "tfds:NAME" as `open_tfds` has it; or "scenes", the built-in ones, which are drawn when
        first asked for.
      scenes_directory: where scenes are drawn; by default in the user's cache.
      allow_missing: open it though files of images are missing, see `BrodenDataset`.
      skip_bad_annotations: leave out annotations that cannot be read, see `CocoDataset`.

    Raises:
      Net2VecError: there is no such dataset, or it is not what it should be.

    Examples:
      >>> import net2vec_jax as n2v
      >>> dataset = n2v.open_dataset("my_folder")  # doctest: +SKIP
      >>> len(dataset), dataset.catalog.concepts[0].name  # doctest: +SKIP
    """
    dataset = _open(str(name), scenes_directory, allow_missing, skip_bad_annotations)
    if str(name) != "scenes":  # how a probe's dataset is opened again
        setattr(dataset, "opened_as", str(name))  # noqa: B010
    return dataset


def _open(
    name: str, scenes_directory: Path | None, allow_missing: bool, skip_bad_annotations: bool
) -> ConceptDataset:
    if name == "scenes" and not Path(name).exists():
        return open_scenes(scenes_directory or cache_directory() / "scenes")
    if name.startswith("tfds:") and not Path(name).exists():
        return open_tfds(name.removeprefix("tfds:"))
    own, resolution = (name, DEFAULT_RESOLUTION) if Path(name).exists() else split_resolution(name)
    if own.startswith(PREFIX):
        return CocoDataset(
            parse_coco_name(own),
            resolution=resolution,
            allow_missing=allow_missing,
            skip_bad_annotations=skip_bad_annotations,
        )
    if is_image_folder(Path(own)):
        return FolderDataset(own, resolution=resolution, allow_missing=allow_missing)
    if not Path(name).is_dir():
        raise Net2VecError(
            f"there is no dataset {name!r}: give a Broden directory (index.csv, label.csv, "
            "images/), a folder with images/, masks/ and concepts.csv, coco:FILE.json:IMAGES, "
            "tfds:NAME, or 'scenes'"
        )
    if not any((Path(name) / table).exists() for table in ("index.csv", "label.csv")):
        found = sorted(path.name for path in Path(name).glob("[!.]*"))
        raise Net2VecError(
            f"{name} is no dataset: it holds {list_names(found) or 'nothing'}. A folder of images "
            "has images/, masks/ and concepts.csv, a Broden directory index.csv, label.csv and "
            "images/; COCO's annotations are given as coco:FILE.json:IMAGES"
        )
    return BrodenDataset(name, allow_missing=allow_missing)


def open_screened_dataset(
    name: str,
    *,
    scenes_directory: Path,
    skip_bad_images: bool,
    skip_bad_annotations: bool,
    may_skip: bool = True,
) -> ConceptDataset:
    """Open a dataset as probes read it: without bad images, or such that a bad one lists them all.

    What was assumed, and what is left out, is said on the console.

    Args:
      name: see `open_dataset`.
      scenes_directory: where scenes are drawn.
      skip_bad_images: leave out images that are missing or cannot be read.
      skip_bad_annotations: leave out annotations that cannot be read.
      may_skip: whether the message about bad images says that they can be left out.

    Raises:
      Net2VecError: there is no such dataset, it is not what it should be, or no image can be read.
    """
    dataset = open_dataset(
        name,
        scenes_directory=scenes_directory,
        allow_missing=skip_bad_images,
        skip_bad_annotations=skip_bad_annotations,
    )
    announce(getattr(dataset, "notices", ()))
    announce_left_out("annotations", getattr(dataset, "skipped_annotations", {}))
    if skip_bad_images:
        screened = leave_out_bad_images(dataset, progress=is_first_host())
        announce_left_out("images", getattr(screened, "left_out", {}))
        return screened
    advice = "mend or replace them"
    return ListsBadImages(
        dataset, advice=f"{advice}, or pass --skip-bad-images" if may_skip else advice
    )


def require_both_splits(dataset: ConceptDataset) -> None:
    """Refuse a dataset without train or val images, before anything is computed.

    Raises:
      Net2VecError: it has none of a split.
    """
    shortage = describe_split_shortage(dataset)
    if shortage:
        raise Net2VecError(shortage)


def describe_split_shortage(dataset: ConceptDataset) -> str:
    """What a dataset without train or val images lacks, and where to say it; or nothing."""
    val = int(np.count_nonzero(dataset.is_val))
    train = len(dataset) - val
    if train and val:
        return ""
    return (
        f"{dataset.name} has {train or 'no'} train and {val or 'no'} val images, but probes are "
        "trained on train and scored on val images: say which are which in splits.csv (of a folder "
        "of images), the column split (of a Broden directory) or a second annotation file (of COCO)"
    )


def open_scenes(directory: Path, *, images: int = 800) -> BrodenDataset:
    """Open the built-in scenes in `directory`, drawing them if it does not exist.

    Args:
      directory: a Broden directory that this function wrote, or a new one.
      images: how many scenes there are.

    Raises:
      Net2VecError: the directory holds another number of images.
    """
    if is_first_host() and not directory.exists():
        drawn = track(draw_scenes(images), "scenes", unit="image", total=images)
        names = {number: concept for number, (concept, _) in SCENE_CONCEPTS.items()}
        try:
            write_broden(directory, drawn, names)
        except Net2VecError:
            if not directory.exists():  # otherwise another process drew them while this one waited
                raise
    wait_for_hosts("scenes")
    dataset = BrodenDataset(directory)
    if len(dataset) != images:
        raise Net2VecError(
            f"{directory} holds {len(dataset)} scenes, not {images}; choose another directory"
        )
    return dataset
