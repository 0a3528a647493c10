"""Broden as published: from its archive to a verified directory (reference behaviour 1, 9.2).

The archive is downloaded if none is given, unpacked beside the directory it shall become, counted
(`net2vec_jax.data.broden.counts`) and renamed when the counts agree. `prepared.json` in the
directory keeps the counts, so that a directory is counted once. One process prepares at a time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from net2vec_jax.core.download import download_file
from net2vec_jax.core.errors import Net2VecError, writing_error
from net2vec_jax.core.locks import complete_folder, only_one_process
from net2vec_jax.core.zip_archive import list_zip, unpack_zip
from net2vec_jax.data.broden.counts import (
    CountCheck,
    ExpectedCounts,
    check_pixels,
    check_published_resolution,
    check_tables,
    count_label_pixels,
    describe_differences,
    published_counts,
)
from net2vec_jax.data.broden.dataset import BrodenDataset

ARCHIVE_ADDRESS = "http://netdissect.csail.mit.edu/data/broden1_{resolution}.zip"
"""Where Broden was published; its publishers gave no checksum, hence the counts."""
RECORD_FILE = "prepared.json"


class CountsDifferError(Net2VecError):
    """A directory counts otherwise than what was published.

    Attributes:
      checks: all that was counted.
    """

    def __init__(self, message: str, checks: Sequence[CountCheck]) -> None:
        super().__init__(message)
        self.checks = tuple(checks)


@dataclasses.dataclass(frozen=True)
class PreparedBroden:
    """A Broden directory that is ready.

    Attributes:
      directory: where it lies.
      checks: what was counted when it was prepared.
      archive_sha256: 64 hexadecimal digits, or None where the directory was unpacked by hand.
    """

    directory: Path
    checks: tuple[CountCheck, ...]
    archive_sha256: str | None


def prepare_broden(
    data_directory: str | Path,
    resolution: int,
    *,
    archive: str | Path | None = None,
    expected: ExpectedCounts | None = None,
    accept_differences: bool = False,
    progress: bool = False,
) -> PreparedBroden:
    """Make `data_directory`/broden1_S ready to be read, unless it is.

    A directory of that name that was unpacked by hand is counted and left as it is.

    Args:
      data_directory: where datasets lie; created if need be.
      resolution: S, one of 224, 227, 384.
      archive: broden1_S.zip; by default it is downloaded beside the directory, and kept.
      expected: what the directory must count to; by default what was published.
      accept_differences: take the directory though it counts otherwise.
      progress: whether bars are shown.

    Raises:
      CountsDifferError: a count differs; the message names all that do.
      Net2VecError: the archive cannot be had or is not what it should be, the disk is full, or a
        table or label plane is damaged. A directory that is there already stays as it is, and no
        other appears.
    """
    check_published_resolution(resolution)
    expected = expected or published_counts()
    directory = Path(data_directory) / f"broden1_{resolution}"
    if (directory / RECORD_FILE).exists():
        return _read_record(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with only_one_process(directory, "prepared"):
            if (directory / RECORD_FILE).exists():  # another process was faster
                return _read_record(directory)
            if directory.exists() and any(directory.iterdir()):
                checks = _count(directory, resolution, expected, progress)
                _refuse_differences(directory, checks, accept_differences)
                return PreparedBroden(directory, checks, None)
            if archive is None:
                archive = _download(directory.parent, resolution, progress)
            with complete_folder(directory) as partial:
                below = find_root(list_zip(archive), archive)
                unpack_zip(archive, partial, below=below, progress=progress)
                try:
                    checks = _count(partial, resolution, expected, progress)
                except Net2VecError as error:
                    inside = str(error).replace(f"{partial}{os.sep}", "")
                    raise Net2VecError(
                        f"{archive} holds no Broden directory that can be read: {inside}"
                    ) from error
                _refuse_differences(Path(archive), checks, accept_differences)
                with open(archive, "rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                _write_record(partial, checks, sha256)
    except OSError as error:
        raise writing_error(directory, error) from error
    return PreparedBroden(directory, checks, sha256)


def find_root(names: Sequence[str], archive: str | Path) -> str:
    """The folder of an archive that holds the dataset: "broden1_227/", or "" for the top.

    What else lies in the archive, such as the notes that some systems add, is not looked at.

    Raises:
      Net2VecError: there is none, or there are several.
    """
    known = set(names)
    roots = [
        name.removesuffix("index.csv")
        for name in names
        if PurePosixPath(name).name == "index.csv"
        and name.removesuffix("index.csv") + "label.csv" in known
    ]
    if len(roots) != 1:
        found = f"{len(roots)} of them: {', '.join(roots)}" if roots else "none"
        raise Net2VecError(
            f"{archive}: one folder with index.csv and label.csv was expected, but it holds {found}"
        )
    return roots[0]


def _download(folder: Path, resolution: int, progress: bool) -> Path:
    address = ARCHIVE_ADDRESS.format(resolution=resolution)
    path = folder / f"broden1_{resolution}.zip"
    hint = f"download it elsewhere and pass it as --archive, or put it at {path}"
    return download_file(address, path, checksum=None, progress=progress, hint=hint)


def _count(
    directory: Path, resolution: int, expected: ExpectedCounts, progress: bool
) -> tuple[CountCheck, ...]:
    dataset = BrodenDataset(directory)
    checks = check_tables(dataset, resolution, expected, dataset.image_size)
    pixels = count_label_pixels(dataset, progress=progress)
    return (*checks, *check_pixels(dataset, expected, pixels))


def _refuse_differences(path: Path, checks: Sequence[CountCheck], accept: bool) -> None:
    differences = describe_differences(checks)
    if differences and not accept:
        raise CountsDifferError(
            f"{path} is not the published Broden, or is incomplete: {differences}. Download it "
            "again, or take it as it is with --accept-differences",
            checks,
        )


def _write_record(directory: Path, checks: Sequence[CountCheck], sha256: str) -> None:
    record = {"archive_sha256": sha256, "checks": [dataclasses.asdict(check) for check in checks]}
    text = json.dumps(record, indent=2) + "\n"
    (directory / RECORD_FILE).write_text(text, encoding="utf-8")


def _read_record(directory: Path) -> PreparedBroden:
    path = directory / RECORD_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        checks = tuple(CountCheck(**check) for check in record["checks"])
        return PreparedBroden(directory, checks, record["archive_sha256"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Net2VecError(
            f"{path} is damaged ({error}); remove it, and the directory is counted again"
        ) from error
