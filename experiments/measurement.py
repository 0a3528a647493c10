"""Times of ours beside torch's: medians over rounds, a table, the machine that they hold for."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One task, measured on both sides.

    Attributes:
      task: what was done.
      pairs: (concept, image) pairs that one run goes through, epochs included.
      ours: seconds of each round, without compilation.
      ours_first: seconds of ours' first call, compilation included.
      torch: seconds of each round.
      torch_pairs: pairs that torch was timed on.
      note: what a reader must know to judge the numbers.
    """

    task: str
    pairs: int
    ours: list[float]
    ours_first: float
    torch: list[float]
    torch_pairs: int
    note: str

    def summarise(self) -> dict[str, float]:
        """Medians over the rounds; torch's seconds are scaled to all pairs."""
        ours, torch_seconds = (float(np.median(values)) for values in (self.ours, self.torch))
        torch_seconds *= self.pairs / self.torch_pairs
        return {
            "ours_seconds": ours,
            "ours_microseconds_per_pair": 1e6 * ours / self.pairs,
            "ours_compile_seconds": max(self.ours_first - ours, 0.0),
            "torch_seconds": torch_seconds,
            "torch_microseconds_per_pair": 1e6 * torch_seconds / self.pairs,
            "ratio": torch_seconds / ours,
        }


def timed(function: Callable[[], R]) -> tuple[R, float]:
    """The function's result, and how many seconds it took."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def print_measurements(console: Console, measured: Sequence[Measurement]) -> None:
    """One row per task: seconds, µs per pair, torch / ours, ours' compilation; then the notes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    columns = ("pairs", "ours s", "torch s", "ours µs", "torch µs", "ratio", "compile")
    for name in ("task", *columns):
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=True)
    for item in measured:
        values = item.summarise()
        table.add_row(
            item.task,
            f"{item.pairs:,}",
            f"{values['ours_seconds']:.2f}",
            f"{values['torch_seconds']:.1f}",
            f"{values['ours_microseconds_per_pair']:.1f}",
            f"{values['torch_microseconds_per_pair']:,.0f}",
            f"{values['ratio']:.1f}×",
            f"{values['ours_compile_seconds']:.2f}",
        )
    console.print(table)
    for item in measured:
        console.print(f"{item.task}: {item.note}", highlight=False)


def describe_machine() -> dict[str, str | int]:
    """Processor, cores that this process may use, JAX's devices, versions."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    return {
        "processor": _processor(),
        "cores": len(cores),
        "jax devices": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
