"""The scripts on two hosts, here processes on the loopback address, write what one host does."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 150
"""More than two files of activations, so that both hosts have some."""
NAMES = {1: "left", 2: "bright", 3: "dark-s"}


def draw_example(index: int) -> LabelledImage:
    """32×32 noise with a bright patch, on two of three images; a third are dark."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 60 if index % 3 == 0 else 120, (32, 32, 3), dtype=np.uint8)
    plane = np.zeros((1, 16, 16), np.int32)
    plane[0, :, :5] = 1
    if index % 3:
        top, left = 2 * rng.integers(0, 10, 2)
        image[top : top + 12, left : left + 12] += 120
        plane[0, top // 2 : top // 2 + 6, left // 2 : left // 2 + 6] = 2
    scenes = {} if index % 3 else {"scene": (3,)}
    split = "train" if index < 100 else "val"
    return LabelledImage(f"small/{index}.png", split, image, ImageLabels({"object": plane}, scenes))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "small"
    write_broden(directory, map(draw_example, range(IMAGES)), NAMES)
    return directory


def start(script: str, dataset: Path, out: Path, **environment: str) -> subprocess.Popen:
    flags = (
        f"--dataset {dataset} --network efficientnet_lite0 --layer block1 --out {out} --epochs 2 "
        "--images-per-batch 16 --bootstrap-samples 50 --filters 2"
    )
    if script == "segmentation":
        flags += " --no-untrained"
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{script}", *flags.split()],
        cwd=ROOT,
        env=os.environ
        | {
            "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # programs run for a moment
        }
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen) -> None:
    try:
        printed = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()  # those that still wait for each other
    for process, (_, errors) in zip(processes, printed, strict=True):
        assert process.returncode == 0, errors


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("script", ["segmentation", "classification"])
def test_two_hosts_write_what_one_does(script: str, dataset: Path, tmp_path: Path) -> None:
    finish(start(script, dataset, tmp_path / "one"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    hosts = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    finish(
        *(start(script, dataset, tmp_path / "two", JAX_PROCESS_ID=str(i), **hosts) for i in (0, 1))
    )
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert {path.name for path in (tmp_path / "two").iterdir()} == names
    tables = sorted(name for name in names if name.endswith(".csv"))
    assert f"{script}.csv" in tables
    for name in tables:
        one, two = (read(tmp_path / out / name) for out in ("one", "two"))
        assert len(one) == len(two)
        for mine, other in zip(one, two, strict=True):
            for cell, its in zip(mine, other, strict=True):
                # Other numbers of devices sum in another order; a pixel at the edge may change.
                same = cell == its or abs(float(cell) - float(its)) <= 1e-4
                assert same, (name, mine, other)


def test_a_host_that_does_not_know_its_number_is_told_so(dataset: Path, tmp_path: Path) -> None:
    process = start(
        "segmentation", dataset, tmp_path / "out", JAX_COORDINATOR_ADDRESS="127.0.0.1:1"
    )
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "JAX_NUM_PROCESSES" in errors
