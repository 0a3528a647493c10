"""Unpack a zip archive of unknown origin: nothing leaves the directory, nothing outgrows a bound.

Names and sizes of all members are checked before a byte is written; zipfile keeps to the sizes that
the archive announces and compares its checksums. What goes wrong leaves no directory behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from net2vec_jax.core.console import open_bar
from net2vec_jax.core.errors import Net2VecError, writing_error

CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold at most.

    Attributes:
      members: files and folders.
      total_bytes: of all files, unpacked.
      ratio: bytes unpacked per byte of the archive. Images hardly shrink; a zip bomb reaches 1,000
        and more.
    """

    members: int = 2**20
    total_bytes: int = 32 * 2**30
    ratio: float = 100.0


def list_zip(path: str | Path, *, limits: ArchiveLimits | None = None) -> tuple[str, ...]:
    """Return the names of an archive's files, after all checks that need no unpacking.

    Args:
      path: a zip archive.
      limits: what it may hold at most.

    Raises:
      Net2VecError: as `unpack_zip`.
    """
    with _open_zip(Path(path), limits) as (_, files):
        return tuple(info.filename for info in files)


def unpack_zip(
    path: str | Path,
    directory: str | Path,
    *,
    below: str = "",
    limits: ArchiveLimits | None = None,
    progress: bool = False,
) -> None:
    """Unpack the files of an archive into a new directory, which appears whole or not at all.

    Args:
      path: a zip archive.
      directory: where to; must not exist, its parent must.
      below: only the files of this folder of the archive ("broden1_227/"), without its name.
      limits: what the archive may hold at most.
      progress: whether a bar is shown.

    Raises:
      Net2VecError: the archive is missing, no zip archive, damaged, encrypted or not deflated; a
        member's name leads out of the directory or occurs twice; a member is a link or no file; the
        archive exceeds the limits; the directory cannot be written or the disk is full.
    """
    path, directory = Path(path), Path(directory)
    with _open_zip(path, limits) as (archive, files):
        files = [info for info in files if info.filename.startswith(below)]
        total = sum(info.file_size for info in files)
        shown = {"unit": "B", "unit_scale": True, "leave": False, "disable": not progress}
        try:
            free = shutil.disk_usage(directory.parent).free
            if total > free:
                raise Net2VecError(
                    f"{directory} needs {_megabytes(total)}, but only {_megabytes(free)} are free "
                    "on its disk; free some space, or choose another directory"
                )
            directory.mkdir()
            with (
                _removing_after_errors(directory),
                open_bar(path.name, total=total, **shown) as bar,
            ):
                for info in files:
                    _unpack_file(archive, info, directory / info.filename.removeprefix(below))
                    bar.update(info.file_size)
        except OSError as error:
            raise writing_error(directory, error) from error


def _unpack_file(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, open(target, "xb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)
    written = target.stat().st_size
    if written != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} ends after {written} bytes")


@contextlib.contextmanager
def _removing_after_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


@contextlib.contextmanager
def _open_zip(
    path: Path, limits: ArchiveLimits | None
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The archive and its checked files; errors of the archive become one message."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive.infolist(), limits or ArchiveLimits())
            yield archive, [info for info in archive.infolist() if not info.is_dir()]
    except Net2VecError:
        raise
    except FileNotFoundError as error:
        raise Net2VecError(f"{path}: there is no such archive") from error
    except OSError as error:
        raise Net2VecError(f"{path} cannot be read: {error.strerror or error}") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        RuntimeError,
    ) as error:  # encrypted
        raise Net2VecError(
            f"{path} is no zip archive, or is damaged ({error}); remove it and download it again"
        ) from error


def _check(path: Path, members: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    """Refuse names that lead out or collide, links and devices, and what exceeds the limits."""
    if len(members) > limits.members:
        raise Net2VecError(f"{path} holds {len(members)} members, more than {limits.members}")
    seen: set[PurePosixPath] = set()
    for info in members:
        # zipfile cuts names at a zero byte and turns the system's separators; check the original.
        name = info.orig_filename
        shown = f"{path}: its member {name!r:.200}"
        parts = PurePosixPath(name).parts
        outside = name.startswith("/") or ".." in parts or "\\" in name or name[1:2] == ":"
        if not parts or outside or not name.isprintable():
            raise Net2VecError(f"{shown} is no plain path below the directory; nothing is unpacked")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFDIR, stat.S_IFREG):
            raise Net2VecError(f"{shown} is a link or no regular file; nothing is unpacked")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Net2VecError(f"{shown} is compressed by method {info.compress_type}, not deflate")
        if not info.is_dir():
            if PurePosixPath(name) in seen:
                raise Net2VecError(f"{shown} occurs twice")
            seen.add(PurePosixPath(name))
    for info in members:
        for parent in PurePosixPath(info.filename).parents:
            if parent in seen:
                raise Net2VecError(
                    f"{path}: its member {str(parent)!r:.200} is a file and a folder"
                )
    size = path.stat().st_size
    total = sum(info.file_size for info in members)
    if total > limits.total_bytes:
        raise Net2VecError(
            f"{path} would unpack to {_megabytes(total)}, more than the limit of "
            f"{_megabytes(limits.total_bytes)}; it is not unpacked"
        )
    if total > limits.ratio * size or sum(info.compress_size for info in members) > size:
        raise Net2VecError(
            f"{path} is a zip bomb: its {size} bytes would unpack to {total}, or its members share "
            "their bytes; it is not unpacked"
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
