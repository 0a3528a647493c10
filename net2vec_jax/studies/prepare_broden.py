"""Make Broden, the dataset of the paper, ready: download, unpack, count."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table

from net2vec_jax.core.console import open_console
from net2vec_jax.data.broden.archive import CountsDifferError, prepare_broden
from net2vec_jax.data.broden.counts import CountCheck, ExpectedCounts

MOST_AGREEING = 50
"""Counts that agree with what was published and are printed; those that differ all are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareFlags:
    """Flags of the preparation.

    Attributes:
      resolution: side of the images, in pixels: 227 for AlexNet, 224 for the other networks.
      data_dir: where datasets lie; the dataset becomes its folder broden1_RESOLUTION.
      archive: the published broden1_RESOLUTION.zip, if it is there already.
      accept_differences: take an archive that counts otherwise than what was published.
    """

    resolution: Literal[224, 227, 384]
    data_dir: Path
    archive: Path | None = None
    accept_differences: bool = False


def tabulate_checks(checks: Sequence[CountCheck]) -> Table:
    """What was counted beside what was published: all that differs, the first of what agrees."""
    table = Table(title="Counts")
    table.add_column("")
    for column in ("published", "tolerance", "found", ""):
        table.add_column(column, justify="right")
    agreeing = [check for check in checks if check.agrees]
    left_out = {check.name for check in agreeing[MOST_AGREEING:]}
    for check in checks:
        if check.name in left_out:
            continue
        numbers = (check.expected, check.tolerance, check.found)
        verdict = "agrees" if check.agrees else "differs"
        table.add_row(check.name, *(f"{number:,}" for number in numbers), verdict)
    if left_out:
        table.caption = f"and {len(left_out):,} more, which agree"
    return table


def main(flags: PrepareFlags, expected: ExpectedCounts | None = None) -> None:
    """Prepare, show the counts, and say how to use it."""
    console = open_console()
    try:
        prepared = prepare_broden(
            flags.data_dir,
            flags.resolution,
            archive=flags.archive,
            expected=expected,
            accept_differences=flags.accept_differences,
            progress=True,
        )
    except CountsDifferError as error:
        console.print(tabulate_checks(error.checks))
        raise
    console.print(tabulate_checks(prepared.checks))
    if prepared.archive_sha256 is not None:
        console.print(
            f"SHA-256 of the archive: {prepared.archive_sha256} (its publishers gave none)",
            soft_wrap=True,
        )
    console.print(f"ready: use it with --dataset {prepared.directory}", soft_wrap=True)
