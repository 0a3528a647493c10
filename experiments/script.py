"""What all scripts share: flags from a dataclass, one message on bad input, datasets by name."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

import jax
import numpy as np
import tyro
from rich.console import Console
from tqdm import tqdm

from net2vec_jax.data.bad_images import ListsBadImages, leave_out_bad_images
from net2vec_jax.data.broden import BrodenDataset
from net2vec_jax.data.broden_writer import write_broden
from net2vec_jax.data.coco import PREFIX, CocoDataset, parse_coco_name
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.folder import FolderDataset, is_image_folder
from net2vec_jax.data.resized_files import DEFAULT_RESOLUTION, split_resolution
from net2vec_jax.data.scenes import SCENE_CONCEPTS, draw_scenes
from net2vec_jax.data.tfds import open_tfds
from net2vec_jax.devices import count_cores, is_first_host, wait_for_hosts
from net2vec_jax.errors import FULL_DISK, MOST_NAMED, Net2VecError, list_names

Config = TypeVar("Config")


def run_script(main: Callable[[Config], None], config_type: type[Config], description: str) -> None:
    """Parse the command line into `config_type` and run `main`.

    The exit status is 0 only when everything was written, and 2 with one message on bad input or
    when the disk is full.
    """
    config = tyro.cli(config_type, description=description)
    # Of damaged EXIF data, for example, by which nobody can tell the file; what matters is refused.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        use_all_devices()
        main(config)
    except Net2VecError as error:
        print(f"error: {error}", file=sys.stderr)
        _end_with_error()
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        print(
            "error: the disk is full; finished results are intact; free some space and run the "
            "same command again, which goes on from them",
            file=sys.stderr,
        )
        _end_with_error()


def open_console(*, least_width: int = 0) -> Console:
    """A console that prints names from data, paths and layers as they are, never as markup.

    Args:
      least_width: columns, where fewer would not hold a table.
    """
    console = Console(markup=False, emoji=False)
    console.width = max(console.width, least_width)
    return console


def _end_with_error() -> NoReturn:
    """Exit with status 2; at once on several hosts, since the others may wait for this one."""
    if jax.process_count() > 1:
        sys.stderr.flush()
        os._exit(2)
    sys.exit(2)


def use_all_devices() -> None:
    """Let JAX see all devices: every core of a CPU, and those of other hosts if there are any.

    JAX_NUM_CPU_DEVICES says otherwise how many devices a CPU is.
    Hosts are processes that run the same command on the same files. JAX_COORDINATOR_ADDRESS
    (HOST:PORT of the first one), JAX_NUM_PROCESSES and JAX_PROCESS_ID (0, 1, …) say that there are
    several; on a cluster that JAX knows (Cloud TPU, SLURM, Open MPI, Kubernetes)
    NET2VEC_JAX_CLUSTER=1 suffices.

    Raises:
      Net2VecError: a variable is missing or no number, or the other hosts cannot be reached.
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not chosen and "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", count_cores())
    names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    try:
        if os.environ.get("JAX_COORDINATOR_ADDRESS"):
            jax.distributed.initialize(None, *(int(os.environ[name]) for name in names))
        elif os.environ.get("NET2VEC_JAX_CLUSTER"):
            jax.distributed.initialize()
    except (KeyError, ValueError) as error:
        raise Net2VecError(
            f"several hosts need JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, "
            f"the latter two whole numbers: {error}"
        ) from error
    except RuntimeError as error:
        raise Net2VecError(f"the hosts did not come together: {error}") from error


def open_dataset(
    name: str,
    *,
    scenes_directory: Path,
    allow_missing: bool = False,
    skip_bad_annotations: bool = False,
) -> ConceptDataset:
    """Open a dataset by what --dataset calls it (docs/own_images.md, docs/tfds.md).

    Args:
      name: a Broden directory; a folder with images/, masks/ and concepts.csv, or
        coco:ANNOTATIONS.json:IMAGES, both with @RESOLUTION behind it for another than 224;
        "tfds:NAME" as `open_tfds` has it; or "scenes", the built-in ones, which are drawn when
        first asked for.
      scenes_directory: where scenes are drawn.
      allow_missing: open it though files of images are missing, see `BrodenDataset`.
      skip_bad_annotations: leave out annotations that cannot be read, see `CocoDataset`.

    Raises:
      Net2VecError: there is no such dataset, or it is not what it should be.
    """
    if name == "scenes" and not Path(name).exists():
        return open_scenes(scenes_directory)
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


def announce(notices: Iterable[str]) -> None:
    """Say on the console what was assumed, a line each."""
    if is_first_host():
        for notice in notices:
            print(f"note: {notice}", file=sys.stderr)


def announce_left_out(kind: str, reasons: Mapping[str, str], *, of: int | None = None) -> None:
    """Say on the console what is left out, and why: how many, and the first ten for each reason.

    Args:
      kind: what they are, in the plural.
      reasons: name → why.
      of: how many there are in all.
    """
    if not reasons or not is_first_host():
        return
    of_all = f" of {of:,}" if of else ""
    print(f"left out: {len(reasons):,}{of_all} {kind}", file=sys.stderr)
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    groups = list(names.items())
    for reason, alike in groups[:MOST_NAMED]:
        print(f"  {list_names(alike)}: {reason}", file=sys.stderr)
    more = sum(len(alike) for _, alike in groups[MOST_NAMED:])
    if more:
        print(f"  and {more:,} more", file=sys.stderr)


def open_scenes(directory: Path, *, images: int = 800) -> BrodenDataset:
    """Open the built-in scenes in `directory`, drawing them if it does not exist.

    Args:
      directory: a Broden directory that this function wrote, or a new one.
      images: how many scenes there are.

    Raises:
      Net2VecError: the directory holds another number of images.
    """
    if is_first_host() and not directory.exists():
        drawn = tqdm(draw_scenes(images), "scenes", images, unit="image", leave=False, delay=1)
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
