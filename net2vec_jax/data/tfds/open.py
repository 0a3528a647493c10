"""Datasets in TFDS's format by name: `NAME[/CONFIG][:VERSION][@RESOLUTION][#GROUP]`.

`broden` and `scenes` are those that `net2vec_jax.data.tfds.builders` writes; of TFDS's own datasets
those with an adapter (`net2vec_jax.data.tfds.adapters`). Data are read, never prepared, here, and
neither TensorFlow nor the code that prepared them is needed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.tfds.adapted import AdaptedDataset
from net2vec_jax.data.tfds.adapters import ADAPTERS
from net2vec_jax.data.tfds.broden import TfdsBrodenDataset
from net2vec_jax.data.tfds.records import TfdsRecords

OUR_NAMES = ("broden", "scenes")
DEFAULT_CONFIGS = {"scenes": "images_800"}
"""Of ours: which config is meant if there are several and none was said."""
DEFAULT_RESOLUTION = 224
"""Of adapted datasets, in pixels: the size most networks were trained on."""
LARGEST_RESOLUTION = 4096
DATA_DIR_VARIABLE = "TFDS_DATA_DIR"
_NAME = re.compile(r"(\w+)(?:/([\w.-]+))?(?::(\d+\.\d+\.\d+))?(?:@(\d{1,6}))?(?:#(\w+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class TfdsName(NamedTuple):
    """A dataset as it is asked for; None where nothing was said."""

    dataset: str
    config: str | None
    version: str | None
    resolution: int | None
    group: str | None = None
    """The feature that names an image's group."""


def parse_tfds_name(text: str) -> TfdsName:
    """From `NAME[/CONFIG][:VERSION][@RESOLUTION][#GROUP]`.

    That is TFDS's own notation, a size in pixels, and the feature that names an image's group.

    Raises:
      Net2VecError: the text is not of that form.
    """
    match = _NAME.fullmatch(text)
    if match is None or match[2] in (".", ".."):
        raise Net2VecError(
            f"{text!r} is no TFDS dataset: write NAME, NAME/CONFIG or NAME/CONFIG:VERSION, with "
            "@RESOLUTION behind it for another image size and #FEATURE for groups of images"
        )
    resolution = int(match[4]) if match[4] else None
    if resolution is not None and not 2 <= resolution <= LARGEST_RESOLUTION:
        raise Net2VecError(
            f"{text!r}: the resolution must be 2 to {LARGEST_RESOLUTION} pixels, not {resolution}"
        )
    return TfdsName(match[1], match[2], match[3], resolution, match[5])


def find_data_dir(data_dir: str | Path | None = None) -> Path:
    """TFDS's data directory: `data_dir`, or $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    chosen = data_dir or os.environ.get(DATA_DIR_VARIABLE) or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def open_tfds(text: str, *, data_dir: str | Path | None = None) -> ConceptDataset:
    """Open a prepared dataset.

    Args:
      text: `NAME[/CONFIG][:VERSION][@RESOLUTION][#GROUP]`, see `parse_tfds_name`.
      data_dir: where TFDS's datasets lie; by default as `find_data_dir` says.

    Raises:
      Net2VecError: an unknown dataset, one that is not prepared (the message says how), not stored
        as array_record, or damaged.
    """
    name = parse_tfds_name(text)
    known = (*OUR_NAMES, *ADAPTERS)
    if name.dataset not in known:
        raise unknown_name_error("TFDS dataset", name.dataset, known)
    data_dir = find_data_dir(data_dir)
    if name.dataset in OUR_NAMES:
        if name.resolution is not None:
            raise Net2VecError(
                f"{text!r}: the images of {name.dataset} have the size they were prepared in; "
                "leave @RESOLUTION out"
            )
        if name.group is not None:
            raise Net2VecError(
                f"{text!r}: the groups of {name.dataset} are those it was prepared with; leave "
                f"#{name.group} out"
            )
        default = DEFAULT_CONFIGS.get(name.dataset)
        return TfdsBrodenDataset(TfdsRecords(find_prepared(name, data_dir, default_config=default)))
    adapter = ADAPTERS[name.dataset]
    records = TfdsRecords(find_prepared(name, data_dir, default_config=adapter.default_config))
    resolution = name.resolution or DEFAULT_RESOLUTION
    label = "_".join(part for part in (name.dataset, name.config) if part)
    return AdaptedDataset(label, records, adapter, resolution=resolution, group=name.group)


def find_prepared(name: TfdsName, data_dir: Path, *, default_config: str | None = None) -> Path:
    """The directory of a version: data_dir/NAME/[CONFIG/]VERSION.

    Where nothing was said, the only config is meant, or the default one, and the newest version.

    Raises:
      Net2VecError: there is no such directory, or several configs to choose from.
    """
    root = data_dir / name.dataset
    found: dict[str | None, dict[str, Path]] = {}
    for info in sorted([*root.glob("*/dataset_info.json"), *root.glob("*/*/dataset_info.json")]):
        path = info.parent
        if _VERSION.fullmatch(path.name):
            config = path.parent.name if path.parent != root else None
            found.setdefault(config, {})[path.name] = path
    if not found:
        raise Net2VecError(f"{name.dataset} is not prepared in {data_dir}. {_how_to_prepare(name)}")
    config = name.config
    if config is None and len(found) == 1:
        (config,) = found
    elif config is None and None not in found:
        config = default_config
        if config not in found:
            configs = ", ".join(f"{name.dataset}/{known}" for known in sorted(filter(None, found)))
            raise Net2VecError(f"{root} holds several configs; choose one of {configs}")
    if config not in found:
        known = sorted(str(other) for other in found if other is not None)
        raise unknown_name_error(f"config of {name.dataset} in {data_dir}:", str(config), known)
    versions = found[config]
    if name.version is None:
        return versions[max(versions, key=lambda version: tuple(map(int, version.split("."))))]
    if name.version not in versions:
        raise Net2VecError(
            f"{name.dataset} is not prepared in version {name.version} in {data_dir}; there is "
            f"{', '.join(sorted(versions))}"
        )
    return versions[name.version]


def _how_to_prepare(name: TfdsName) -> str:
    if name.dataset in OUR_NAMES:
        source = "DIRECTORY" if name.dataset == "broden" else "scenes"
        return (
            f"Write it with\n  net2vec prepare_tfds --dataset {source}\n"
            f"(in a clone, python -m experiments.prepare_tfds), or say with ${DATA_DIR_VARIABLE} "
            "where it is"
        )
    full = "/".join(part for part in (name.dataset, name.config) if part)
    return (
        "TFDS's code for it needs TensorFlow, which net2vec_jax does not: prepare it once where "
        "TensorFlow is installed, with\n"
        f"  tfds build {full} --file_format=array_record --data_dir=DIR\n"
        f"and copy DIR/{name.dataset} here; or say with ${DATA_DIR_VARIABLE} where it is"
    )
