"""Unpack a zip archive of unknown origin: nothing leaves the directory, nothing outgrows a bound.

All members are checked before a byte is written: names, kinds, sizes, compression. The archive's
own word on sizes is kept to while writing, and its checksums are compared. What goes wrong later
(a damaged member, a full disk) leaves no directory behind.
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

from tqdm import tqdm

from net2vec_jax.core.errors import Net2VecError, writing_error

CHUNK_BYTES = 1 << 20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_KINDS = {stat.S_IFLNK: "a symbolic link"}


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
    """The names of an archive's files, after all checks that need no unpacking.

    Args:
      path: a zip archive.
      limits: what it may hold at most.

    Raises:
      Net2VecError: as `unpack_zip`.
    """
    path = Path(path)
    with _reading(path), zipfile.ZipFile(path) as archive:
        return tuple(info.filename for info in _checked_files(path, archive, limits))


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
      Net2VecError: the archive is missing, no zip archive or damaged; it is encrypted or compressed
        in an unusual way; a member's name leads out of the directory or occurs twice; a member is a
        link or no file; the archive exceeds the limits; the directory cannot be written or the disk
        is full.
    """
    path, directory = Path(path), Path(directory)
    with _reading(path), zipfile.ZipFile(path) as archive:
        files = _checked_files(path, archive, limits)
        files = [info for info in files if info.filename.startswith(below)]
        total = sum(info.file_size for info in files)
        with _writing(directory):
            free = shutil.disk_usage(directory.parent).free
        if total > free:
            raise Net2VecError(
                f"{directory} needs {_megabytes(total)}, but only {_megabytes(free)} are free on "
                "its disk; free some space, or choose another directory"
            )
        with _writing(directory):
            directory.mkdir()
        try:
            with tqdm(
                desc=path.name,
                total=total,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                leave=False,
                disable=not progress,
            ) as bar:
                for info in files:
                    target = directory / info.filename.removeprefix(below)
                    bar.update(_unpack_file(archive, info, target, directory))
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise


def _unpack_file(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, directory: Path
) -> int:
    """Write one file; its bytes."""
    written = 0
    with _writing(directory):
        target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, contextlib.ExitStack() as stack:
        with _writing(directory):
            file = stack.enter_context(open(target, "xb"))
        # The reader ends at the size that the directory of the archive gives, which was checked.
        while chunk := source.read(CHUNK_BYTES):
            with _writing(directory):
                file.write(chunk)
            written += len(chunk)
        with _writing(directory):
            file.close()  # the last bytes may find the disk full
    if written != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} ends after {written} bytes")
    return written


def _checked_files(
    path: Path, archive: zipfile.ZipFile, limits: ArchiveLimits | None
) -> list[zipfile.ZipInfo]:
    """The members that are files, after every check of names, kinds and sizes."""
    limits = limits or ArchiveLimits()
    members = archive.infolist()
    if len(members) > limits.members:
        raise Net2VecError(f"{path} holds {len(members)} members, more than {limits.members}")
    seen: set[PurePosixPath] = set()
    for info in members:
        _check_member(path, info)
        name = PurePosixPath(info.filename)
        if name in seen and not info.is_dir():
            raise Net2VecError(f"{path}: its member {info.filename!r:.200} occurs twice")
        seen.add(name)
    files = [info for info in members if not info.is_dir()]
    names = {PurePosixPath(info.filename) for info in files}
    for info in members:
        for parent in PurePosixPath(info.filename).parents:
            if parent in names:
                raise Net2VecError(
                    f"{path}: its member {str(parent)!r:.200} is a file and a folder"
                )
    size = path.stat().st_size
    total = sum(info.file_size for info in files)
    if total > limits.total_bytes:
        raise Net2VecError(
            f"{path} would unpack to {_megabytes(total)}, more than the limit of "
            f"{_megabytes(limits.total_bytes)}; it is not unpacked"
        )
    if sum(info.compress_size for info in files) > size:
        raise Net2VecError(
            f"{path}: its members share their bytes, as those of a zip bomb do; it is not unpacked"
        )
    if total > limits.ratio * size:
        raise Net2VecError(
            f"{path} is a zip bomb: its {size} bytes would unpack to {total}; it is not unpacked"
        )
    return files


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    # zipfile cuts names at a zero byte and turns the system's separators; the original is checked.
    name = info.orig_filename
    shown = f"{path}: its member {name!r:.200}"
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or "\\" in name or name[1:2] == ":"
    if not parts or outside or not name.isprintable():
        raise Net2VecError(f"{shown} is no plain path below the directory; nothing is unpacked")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        what = _KINDS.get(kind, "no regular file")
        raise Net2VecError(f"{shown} is {what}; nothing is unpacked")
    if info.flag_bits & _ENCRYPTED:
        raise Net2VecError(f"{shown} is encrypted; unpack the archive yourself")
    if info.compress_type not in _COMPRESSIONS:
        raise Net2VecError(f"{shown} is compressed by method {info.compress_type}, not by deflate")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of the archive as one message."""
    try:
        yield
    except Net2VecError:
        raise
    except FileNotFoundError as error:
        raise Net2VecError(f"{path}: there is no such archive") from error
    except OSError as error:
        raise Net2VecError(f"{path} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise Net2VecError(
            f"{path} is no zip archive, or is damaged ({error}); remove it and download it again"
        ) from error


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Errors of the disk as one message."""
    try:
        yield
    except OSError as error:
        raise writing_error(directory, error) from error


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
