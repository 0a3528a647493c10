"""What all scripts share: flags from a dataclass, one message on bad input, datasets by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax
import tyro
from tqdm import tqdm

from net2vec_jax.data.broden import BrodenDataset
from net2vec_jax.data.broden_writer import write_broden
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.scenes import SCENE_CONCEPTS, draw_scenes
from net2vec_jax.data.tfds import open_tfds
from net2vec_jax.devices import is_first_host, wait_for_hosts
from net2vec_jax.errors import Net2VecError

Config = TypeVar("Config")


def run_script(main: Callable[[Config], None], config_type: type[Config], description: str) -> None:
    """Parse the command line into `config_type` and run `main`.

    The exit status is 0 only when everything was written, and 2 with one message on bad input.
    """
    config = tyro.cli(config_type, description=description)
    try:
        use_all_devices()
        main(config)
    except Net2VecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def use_all_devices() -> None:
    """Let JAX see all devices: every core of a CPU, and those of other hosts if there are any.

    Hosts are processes that run the same command on the same files. JAX_COORDINATOR_ADDRESS
    (HOST:PORT of the first one), JAX_NUM_PROCESSES and JAX_PROCESS_ID (0, 1, …) say that there are
    several; on a cluster that JAX knows (Cloud TPU, SLURM, Open MPI, Kubernetes)
    NET2VEC_JAX_CLUSTER=1 suffices.

    Raises:
      Net2VecError: a variable is missing or no number, or the other hosts cannot be reached.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
        jax.config.update("jax_num_cpu_devices", len(cores) or os.cpu_count() or 1)
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


def open_dataset(name: str, *, scenes_directory: Path) -> ConceptDataset:
    """Open a Broden directory, or the built-in `scenes`, which are drawn when first asked for.

    Args:
      name: a Broden directory, "scenes", or "tfds:NAME" as `open_tfds` has it.
      scenes_directory: where scenes are drawn.

    Raises:
      Net2VecError: there is no such dataset, or it is not what it should be.
    """
    if name == "scenes" and not Path(name).exists():
        return open_scenes(scenes_directory)
    if name.startswith("tfds:") and not Path(name).exists():
        return open_tfds(name.removeprefix("tfds:"))
    if not Path(name).is_dir():
        raise Net2VecError(
            f"there is no dataset {name!r}: give a Broden directory (index.csv, label.csv, "
            "images/), 'scenes' or tfds:NAME"
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
    if is_first_host() and not directory.exists():
        drawn = tqdm(draw_scenes(images), "scenes", images, unit="image", leave=False, delay=1)
        names = {number: concept for number, (concept, _) in SCENE_CONCEPTS.items()}
        write_broden(directory, drawn, names)
    wait_for_hosts("scenes")
    dataset = BrodenDataset(directory)
    if len(dataset) != images:
        raise Net2VecError(
            f"{directory} holds {len(dataset)} scenes, not {images}; choose another directory"
        )
    return dataset
