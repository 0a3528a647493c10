"""Folders of arrays that are derived from a dataset: made once, noticed to be stale, shared.

An entry is a folder `<kind>-<fingerprint>`. It lies in `.net2vec_jax` beside the data, or in the
user's cache where that may not be written to. It is written beside and renamed, by one process at a
time; a reader sees all of it or nothing. Where nothing can be kept, the reason is reported and the
caller goes on without.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL
import PIL.features

from net2vec_jax.core.console import say
from net2vec_jax.core.errors import FULL_DISK
from net2vec_jax.core.locks import PARTIAL, complete_folder, only_one_process
from net2vec_jax.core.user_cache import CACHE_VARIABLE, cache_directory
from net2vec_jax.data.dataset import ConceptDataset

FORMAT = 2
"""Of the entries, part of every fingerprint; to be raised when what is decoded changes."""
FOLDER = ".net2vec_jax"
"""Where entries lie beside the data."""
SPARE_BYTES = 1 << 28
"""What an entry leaves free on the disk."""


def _find_version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


_DECODERS = (PIL.__version__, PIL.features.version("jpg"), _find_version("pillow-heif"))

Entry = TypeVar("Entry")


class _ChangedError(Exception):
    """Files of the dataset changed while they were read."""


def open_entry(
    dataset: ConceptDataset, kind: str, read: Callable[[Path], Entry], write: Callable[[Path], None]
) -> Entry | None:
    """Read an entry of the dataset, which is written if it is not there.

    Args:
      dataset: what the entry is derived from. It must have `source_files()`, whose sizes and times
        of modification are part of the fingerprint; if it has a `directory`, entries lie there.
      kind: what the entry is, together with the dataset's name, categories, sizes and images left
        out; of one kind the newest is kept.
      read: opens a finished entry; its OSError or ValueError means that the entry is damaged, and
        it is written again.
      write: fills a new folder, by `write_array`; other errors than OSError are passed on.

    Returns:
      What `read` gave, or None where no folder can hold the entry; the reason is printed.
    """
    if not hasattr(dataset, "source_files"):
        _report(dataset, ["it does not say which files it is read from, hence not if they change"])
        return None
    sizes = (getattr(dataset, "image_size", None), dataset.segmentation_size)
    left_out = sorted(getattr(dataset, "left_out", ()))
    kind = f"{kind}-{_digest(dataset.name, dataset.categories, sizes, left_out)[:8]}"
    fingerprint = fingerprint_source(dataset)
    name = f"{kind}-{fingerprint[:32]}"
    folders = _choose_folders(dataset)
    for folder in folders:
        found = _try_reading(folder / name, read)
        if found is not None:
            return found
    reasons = []

    def write_unchanged(partial: Path) -> None:
        write(partial)
        if fingerprint_source(dataset) != fingerprint:
            raise _ChangedError

    for folder in folders:
        try:
            if not _may_write(folder):
                reasons.append(f"{folder} may not be written to")
                continue
            folder.mkdir(parents=True, exist_ok=True)
            with only_one_process(folder / kind, "decoded"):
                found = _try_reading(folder / name, read)  # another process may have been faster
                if found is not None:
                    return found
                _write_entry(folder, kind, name, write_unchanged)
                found = _try_reading(folder / name, read)
                if found is not None:
                    return found
                reasons.append(f"{folder} does not give back what was written")
        except _ChangedError:
            reasons.append("files changed while they were read")
            break
        except (OSError, NotImplementedError) as error:
            full = getattr(error, "errno", None) in FULL_DISK
            reason = "too little space is left" if full else str(error)
            reasons.append(f"{folder}: {reason}")
    _report(dataset, [*reasons, f"{CACHE_VARIABLE} chooses another folder"])
    return None


def fingerprint_source(dataset: Any) -> str:
    """Digest of the dataset's own fingerprint, and of its files' sizes and times of modification.

    The versions of Pillow and its JPEG library are in it: decoders may differ in the last bit.
    """
    directory = getattr(dataset, "directory", None)
    digest = hashlib.sha256(
        repr((FORMAT, *_DECODERS, dataset.fingerprint, dataset.catalog)).encode()
    )
    for path in dataset.source_files():
        try:
            status = os.stat(path)
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            state = None  # decoding it will say so
        shown = os.path.relpath(path, directory) if directory else path
        digest.update(f"{shown}\0{state}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def write_array(path: Path, shape: tuple[int, ...], dtype: type, parts: Iterator) -> None:
    """Write a .npy file from consecutive parts along the first axis, each [n, ...] or one row.

    Through plain writes, since a full disk would kill a process that writes to mapped memory.

    Raises:
      OSError: as errno says; ENOSPC also if the disk has too little space to begin with.
    """
    size = np.dtype(dtype).itemsize * math.prod(shape)
    if shutil.disk_usage(path.parent).free < size + SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path.parent))
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


def _write_entry(folder: Path, kind: str, name: str, write: Callable[[Path], None]) -> None:
    """Under the lock: all of the entry, then the other entries of its kind are removed."""
    for path in folder.glob(f"{kind}-*{PARTIAL}"):  # left by a process that was killed
        shutil.rmtree(path)
    if (folder / name).exists():  # damaged, as reading it has shown
        shutil.rmtree(folder / name)
    with complete_folder(folder / name) as partial:
        partial.mkdir()
        write(partial)
    for path in folder.glob(f"{kind}-*"):
        if path.name != name:
            shutil.rmtree(path, ignore_errors=True)


def _try_reading(path: Path, read: Callable[[Path], Entry]) -> Entry | None:
    try:
        return read(path)
    except (OSError, ValueError):
        return None


def _report(dataset: ConceptDataset, reasons: list[str]) -> None:
    say(f"decoded data of {dataset.name} is not kept: {'; '.join(reasons)}")


def _choose_folders(dataset: ConceptDataset) -> list[Path]:
    """Where entries may lie: beside the data, then in the user's cache."""
    name = re.sub(r"[^\w.-]+", "_", dataset.name)
    directory = getattr(dataset, "directory", None)
    if directory is None:
        return [cache_directory() / "packed" / name]
    place = _digest(str(Path(directory).resolve()))[:16]
    return [Path(directory) / FOLDER, cache_directory() / "packed" / f"{name}-{place}"]


def _may_write(folder: Path) -> bool:
    """Whether a folder, or the nearest that exists above it, is meant to be written to.

    A directory without any write permission is not, even for root, who could.
    """
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
