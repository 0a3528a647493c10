"""The run directory: what a script writes, complete or not at all, and resumes from.

`run.json` holds the run's origin (configuration, fingerprints, seed), versions and timings.
A finished stage is one whose files are there; a run of another configuration is refused. On several
hosts all share the directory: the first one writes, and the others wait until it has.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

import net2vec_jax
from net2vec_jax.activations.responses import find_responses
from net2vec_jax.core.devices import is_first_host, wait_for_hosts
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.locks import LOCK, PARTIAL, replacing
from net2vec_jax.core.result_files import read_table, write_table

T = TypeVar("T")
RUN_FILE = "run.json"
FORMAT = 3
"""Of the directory's files, in run.json; counted up when older ones can no longer be read."""
SCENES_FOLDER = "scenes"
"""Where a run draws the built-in dataset, before anything else."""
LABELS_STAGE = "labels"
"""The stage that reads labels, of which nothing is kept in the run directory."""
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")


class RunDirectory:
    """A directory that one run owns.

    Attributes:
      path: the directory.
    """

    def __init__(self, path: str | Path, origin: Mapping[str, Any]) -> None:
        """Open `path` for the run of this origin; create it if need be.

        Args:
          path: a new or empty directory, or one that the same run began; its dataset may have
            changed as long as no stage was finished.
          origin: everything that the results depend on, as JSON values.

        Raises:
          Net2VecError: the directory belongs to another run (the differences are named), has other
            contents, or cannot be written.
        """
        self.path = Path(path)
        self._accounted = 0.0  # seconds of all stages so far
        origin = json.loads(json.dumps(origin))  # tuples become lists, as they are read back
        run_file = self.path / RUN_FILE
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not run_file.exists():
                foreign = [
                    path.name
                    for path in self.path.iterdir()
                    if path.name != SCENES_FOLDER and not path.name.endswith((PARTIAL, LOCK))
                ]
                if foreign:
                    raise Net2VecError(
                        f"{self.path} has contents that no run wrote ({', '.join(foreign[:5])}); "
                        "choose a new directory"
                    )
                self._record = {"format": FORMAT, "origin": origin, "timings": {}, "skipped": {}}
            else:
                self._record = json.loads(run_file.read_text(encoding="utf-8"))
                check_format(self.path, self._record)
                before = dict(self._record.get("origin", {}))
                has_files = any(path.suffix in (".csv", ".npz") for path in self.path.iterdir())
                if not has_files and not {*self._record.get("timings", ())} - {LABELS_STAGE}:
                    # Bad images stop a run in its first stages; the mended dataset is another.
                    before["dataset"] = origin.get("dataset")
                _check_origin(self.path, before, origin)
                self._record["origin"] = origin
            wait_for_hosts("run directory")  # all have looked before the first one writes
            self._record["versions"] = _versions()
            self._save()
        except OSError as error:
            raise Net2VecError(f"{self.path} cannot be used: {error}") from error
        except json.JSONDecodeError as error:
            raise Net2VecError(
                f"{run_file} is damaged ({error}); remove the directory and run again"
            ) from error

    def __truediv__(self, name: str) -> Path:
        """The path of `name` in the directory."""
        return self.path / name

    def has(self, *names: str) -> bool:
        """Whether all these files or folders are there, hence complete; the same on every host."""
        found = all((self.path / name).exists() for name in names)
        wait_for_hosts(f"looked for {names}")  # before the first one may write what it misses
        return found

    @property
    def timings(self) -> dict[str, float]:
        """Seconds per stage, of the run that finished it."""
        return dict(self._record["timings"])

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, less the stages inside it; recorded when it ends well."""
        start, accounted = time.perf_counter(), self._accounted
        yield
        own = time.perf_counter() - start - (self._accounted - accounted)
        self._accounted += own
        self._record["timings"][name] = round(own, 3)
        self._save()

    @property
    def skipped(self) -> dict[str, str]:
        """Concepts that the run left out, and why."""
        return dict(self._record["skipped"])

    @property
    def notices(self) -> list[str]:
        """What was assumed of the run's data, and how to say otherwise."""
        return list(self._record.get("notices", ()))

    def noted(self, name: str) -> Any:
        """What `record` noted under this name; None if nothing."""
        return self._record.get(name)

    def record(self, name: str, content: Any) -> None:
        """Note something of the run in run.json, as JSON values."""
        self._record[name] = content
        self._save()

    def record_skipped(self, reasons: Mapping[str, str]) -> None:
        """Note concepts that were left out, and why."""
        self._record["skipped"] = dict(reasons)
        self._save()

    def write_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence]) -> None:
        """Write a CSV table; floats with as many digits as their type holds."""
        if is_first_host():
            write_table(self.path / name, header, rows)
        wait_for_hosts(f"file {name}")

    def read_table(self, name: str) -> list[dict[str, str]]:
        """The rows of a table that `write_table` wrote."""
        return read_table(self.path / name)

    def keep(
        self,
        stage: str,
        produce: Callable[[], T],
        write: Callable[[RunDirectory, T], None],
        read: Callable[[Path], T],
        *files: str,
    ) -> T:
        """The product of a stage: read if all its files are there, else produced and written.

        Args:
          stage: its name, under which it is timed; "" is not timed.
          produce: computes it.
          write: writes its files.
          read: reads them from the directory.
          files: their names; the last one is written last.
        """
        if self.has(*files):
            return read(self.path)
        with self.stage(stage) if stage else contextlib.nullcontext():
            product = produce()
            write(self, product)
        return product

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write named arrays as a compressed .npz file."""
        with self._replacing(name) as partial:
            if partial is not None:
                with partial.open("wb") as file:
                    named: dict[str, Any] = {**arrays}  # numpy's own options are no names
                    np.savez_compressed(file, **named)

    @contextlib.contextmanager
    def new_folder(self, name: str) -> Iterator[Path]:
        """A path to write a folder to, which is moved to its place when all went well.

        On several hosts all write to it together, as Orbax does.
        """
        partial = self.path / (name + PARTIAL)
        if is_first_host():
            shutil.rmtree(partial, ignore_errors=True)
        wait_for_hosts(f"begin {name}")
        yield partial
        wait_for_hosts(f"written {name}")
        if is_first_host():
            os.replace(partial, self.path / name)
        wait_for_hosts(f"finish {name}")

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[Path | None]:
        """A file that is moved to the place of `name`; None on hosts that do not write."""
        if is_first_host():
            with replacing(self.path / name) as partial:
                yield partial
        else:
            yield None
        wait_for_hosts(f"file {name}")

    def _save(self) -> None:
        with self._replacing(RUN_FILE) as partial:
            if partial is not None:
                partial.write_text(json.dumps(self._record, indent=2) + "\n", encoding="utf-8")


def _check_origin(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    before, now = ({"responses": find_responses(one), **one} for one in (before, now))
    differing = [
        f"{name}: {before.get(name)!r} there, {now.get(name)!r} now"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise Net2VecError(
            f"{path} belongs to another run ({'; '.join(differing)}); choose another directory"
        )


def check_format(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a run directory that another version of this package wrote otherwise.

    Raises:
      Net2VecError: says what to do.
    """
    if record.get("format") != FORMAT:
        age = "an older" if record.get("format", 1) < FORMAT else "a newer"
        raise Net2VecError(
            f"{path} is a run directory of {age} format ({record.get('format', 1)}, not {FORMAT}); "
            "give the command that made it once more, with a new --out"
        )


def _versions() -> dict[str, str]:
    versions = {
        "net2vec_jax": net2vec_jax.__version__,
        "python": platform.python_version(),
        "backend": jax.default_backend(),
    }
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
