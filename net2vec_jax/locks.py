"""Let one process do what others would otherwise do at the same time."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

LOCK = ".lock"


@contextlib.contextmanager
def only_one_process(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock of what shall be at `path`; wait while another process does.

    The lock is a file `<name>.lock` beside it, which stays, empty; its folder must exist. The
    system releases the lock of a process that dies.

    Args:
      path: what is made.
      doing: what is done with it, for the message of those who wait: "downloaded".
    """
    import filelock

    lock = filelock.FileLock(path.with_name(path.name + LOCK))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        tqdm.write(f"{path.name} is being {doing} elsewhere; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
