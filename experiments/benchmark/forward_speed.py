"""Do the networks agree with torch, and how fast are they? Forward passes, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import torch
from jax.sharding import NamedSharding
from jaxtyping import Array, Float
from rich.table import Table

from experiments.benchmark.measurement import describe_machine, timed
from experiments.torch_reference.networks import (
    CAFFE_NETWORKS,
    build_torch_network,
    is_installed,
    state_arrays,
)
from net2vec_jax.core.console import open_console, tabulate, track
from net2vec_jax.core.devices import COPIED, DIVIDED, make_mesh
from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.core.result_files import make_folder, write_json
from net2vec_jax.networks.load import NETWORKS, port_network
from net2vec_jax.networks.network import Network


@dataclasses.dataclass(frozen=True)
class SpeedFlags:
    """Flags of the comparison.

    Attributes:
      networks: names in the zoo; by default all whose originals are installed.
      batch_size: images per forward pass, rounded up to a multiple of the devices.
      rounds: how often each side is timed, in turn.
      out: JSON file for the measurements.
    """

    networks: tuple[str, ...] = ()
    batch_size: int = 16
    rounds: int = 5
    out: Path | None = None


@dataclasses.dataclass(frozen=True)
class ForwardSpeed:
    """One network, measured on both sides; times are seconds."""

    network: str
    ours: list[float]  # per image, of each round
    torch: list[float]
    compile_seconds: float  # of ours' first call, less a round
    difference: float  # largest of the last layer, in its standard deviations

    def ratio(self) -> float:
        """Ours' median time over torch's; below 1, ours is faster."""
        return float(np.median(self.ours) / np.median(self.torch))


@jax.jit
def _logits(network: Network, images: Float[Array, "N H W 3"]) -> Float[Array, "N C"]:
    last = network.layers[-1]
    return network.activations(images, [last])[last]


def measure(name: str, *, batch_size: int, rounds: int) -> ForwardSpeed:
    """Time one network on both sides, and compare the logits, or what else comes last."""
    module = build_torch_network(name)
    network = port_network(NETWORKS[name], state_arrays(name, module), origin="torch's weights")
    side = NETWORKS[name].input_size
    images = np.random.default_rng(0).standard_normal((batch_size, side, side, 3), np.float32)
    channels = slice(None, None, -1) if name in CAFFE_NETWORKS else slice(None)
    tensor = torch.from_numpy(np.ascontiguousarray(images[..., channels].transpose(0, 3, 1, 2)))
    mesh = make_mesh()  # images divided among the devices, as `compute_activations` does
    placed = jax.device_put(images, NamedSharding(mesh, DIVIDED))
    network = jax.device_put(network, NamedSharding(mesh, COPIED))
    ours, torchs = [], []
    logits, first = timed(lambda: jax.block_until_ready(_logits(network, placed)))
    with torch.inference_mode():
        expected = module(tensor).numpy()
        for _ in range(rounds):
            ours.append(timed(lambda: jax.block_until_ready(_logits(network, placed)))[1])
            torchs.append(timed(lambda: module(tensor))[1])
    return ForwardSpeed(
        network=name,
        ours=[seconds / batch_size for seconds in ours],
        torch=[seconds / batch_size for seconds in torchs],
        compile_seconds=max(first - float(np.median(ours)), 0.0),
        difference=float(np.abs(np.asarray(logits) - expected).max() / expected.std()),
    )


def tabulate_speeds(speeds: Sequence[ForwardSpeed]) -> Table:
    """One row per network: milliseconds per image, their ratio, compilation, difference."""
    return tabulate(
        None,
        ("network", "ours ms", "torch ms", "ours / torch", "compile s", "difference"),
        [
            (
                speed.network,
                f"{1e3 * np.median(speed.ours):.1f}",
                f"{1e3 * np.median(speed.torch):.1f}",
                f"{speed.ratio():.2f}",
                f"{speed.compile_seconds:.1f}",
                f"{speed.difference:.1e}",
            )
            for speed in speeds
        ],
        no_wrap=True,
        pad_edge=False,
        collapse_padding=True,
    )


def main(flags: SpeedFlags) -> None:
    """Measure, print, and write the measurements."""
    for name in flags.networks:
        if name not in NETWORKS:
            raise unknown_name_error("network", name, NETWORKS)
    if min(flags.batch_size, flags.rounds) < 1:
        raise Net2VecError("--batch-size and --rounds must be at least 1")
    if flags.out is not None:
        make_folder(flags.out.parent)
    devices = jax.device_count()
    batch_size = -(-flags.batch_size // devices) * devices
    torch.set_num_threads(int(describe_machine()["cores"]))
    chosen = flags.networks or tuple(filter(is_installed, NETWORKS))
    names = track(chosen, "networks", unit="network")
    speeds = [measure(name, batch_size=batch_size, rounds=flags.rounds) for name in names]
    console = open_console()
    machine = describe_machine() | {"torch": torch.__version__}
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), highlight=False)
    console.print(f"medians of {flags.rounds} rounds, {batch_size} images each, float32")
    console.print(tabulate_speeds(speeds))
    if flags.out is not None:
        rows = [dataclasses.asdict(speed) | {"ratio": speed.ratio()} for speed in speeds]
        write_json(flags.out, {"machine": machine, "networks": rows})
