"""Each side of the benchmark in a process of its own, so that memory is measured apart.

A worker makes its side and then does what it is told, one method at a time, while the other side
waits. Times are the side's own; peak memory is that of the process during the method.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import pkgutil
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from net2vec_jax.core.errors import Net2VecError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a method of a side took.

    Attributes:
      seconds: its time, without preparation.
      work: how much it did, in the stage's unit.
      result: what the two sides compare, small arrays.
      peak_memory: bytes that the process held at most while it ran; None where it cannot be told.
    """

    seconds: float
    work: float
    result: Any = None
    peak_memory: int | None = None


class Worker:
    """A process that holds one side."""

    def __init__(self, side: str, *arguments: Any) -> None:
        """Start it.

        Args:
          side: "package.module:class", imported in the process alone.
          arguments: of the class; must be picklable.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, side, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def run(self, method: str, *arguments: Any) -> Outcome:
        """Run a method of the side, which returns an `Outcome`.

        Raises:
          Net2VecError: the side said so, or the process ended.
          RuntimeError: any other error, with the traceback of the process.
        """
        self._connection.send((method, arguments))
        return self._receive()

    def stop(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.terminate()

    def _receive(self) -> Outcome:
        try:
            kind, content = self._connection.recv()
        except EOFError as error:
            raise Net2VecError(
                "a side of the benchmark ended unexpectedly; was there too little memory?"
            ) from error
        if kind == "refused":
            raise Net2VecError(content)
        if kind == "failed":
            raise RuntimeError(content)
        return content


def _serve(connection: Connection, side_name: str, arguments: tuple) -> None:
    try:
        side = pkgutil.resolve_name(side_name)(*arguments)
        connection.send(("done", None))
        while True:
            method, given = connection.recv()
            reset_peak_memory()
            outcome = getattr(side, method)(*given)
            measured = dataclasses.replace(outcome, peak_memory=read_peak_memory())
            connection.send(("done", measured))
    except EOFError:
        return  # told to stop
    except Net2VecError as error:
        connection.send(("refused", str(error)))
    except Exception:
        connection.send(("failed", traceback.format_exc()))


def reset_peak_memory() -> None:
    """Forget this process's peak, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def read_peak_memory() -> int | None:
    """Bytes that this process has held at most since the reset; None where it cannot be told."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None
