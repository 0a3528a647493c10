"""Let one process do what others would otherwise do at the same time, and all of it or nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from net2vec_jax.core.console import say

LOCK = ".lock"
PARTIAL = ".partial"


@contextlib.contextmanager
def only_one_process(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock of what shall be at `path`; wait while another process does.

    The lock is a file `<name>.lock` beside it, whose folder must exist. The system releases the
    lock of a process that dies. The file is removed once `path` is there; whoever gets the lock
    must look for `path` first, since then two may hold it.

    Args:
      path: what is made.
      doing: what is done with it, for the message of those who wait: "downloaded".
    """
    import filelock

    file = path.with_name(path.name + LOCK)
    lock = filelock.FileLock(file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"{path.name} is being {doing} elsewhere; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        if path.exists():
            with contextlib.suppress(OSError):  # Windows keeps a file that is open elsewhere
                file.unlink()
        lock.release()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file to, which takes its place if all goes well.

    After an error nothing is left of it, and what was at `path` is still there.

    Raises:
      OSError: the file cannot be moved.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):  # it was not begun, or its folder is gone
            partial.unlink()
        raise


@contextlib.contextmanager
def complete_folder(directory: Path) -> Iterator[Path]:
    """A path beside `directory` to write a folder to, which takes its place if all goes well.

    What a process that was killed left there is removed first; after an error nothing is left.

    Args:
      directory: where the folder shall be; it is not there yet, or empty.

    Raises:
      OSError: the folder cannot be moved.
    """
    partial = directory.with_name(directory.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        if directory.exists():
            directory.rmdir()
        os.replace(partial, directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
