"""What scripts and library say on the console: flags, progress, notes, errors, what is left out."""

from __future__ import annotations

import os
import sys
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import jax
from rich import box
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from net2vec_jax.core.devices import count_cores, is_first_host
from net2vec_jax.core.errors import FULL_DISK, MOST_NAMED, Net2VecError, list_names

T = TypeVar("T")


def find_flags(main: Callable[..., Any]) -> type:
    """The dataclass of flags that a script's `main` takes: the type of its first parameter."""
    return next(iter(typing.get_type_hints(main).values()))


def run_script(
    main: Callable[..., Any],
    *,
    arguments: Sequence[str] | None = None,
    prog: str | None = None,
) -> None:
    """Parse the command line into the flags that `main` takes, and run it.

    The exit status is 0 only when everything was written, and 2 with one message on bad input or
    when the disk is full.

    Args:
      main: takes a frozen dataclass of flags. The first line of its module's docstring describes
        the command in its --help.
      arguments: the command line after the command's name; by default that of this process.
      prog: what --help calls the command; by default the name of the file that was started.
    """
    import tyro  # here, since the library needs no command line

    description = (sys.modules[main.__module__].__doc__ or "").split("\n")[0]
    flags = tyro.cli(find_flags(main), prog=prog, args=arguments, description=description)
    # Of damaged EXIF data, for example, by which nobody can tell the file; what matters is refused.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        use_all_devices()
        main(flags)
    except Net2VecError as error:
        print(f"error: {error}", file=sys.stderr)
        _end_with_error()
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        print(
            "error: the disk is full; finished results are intact; free some space and run the "
            "same command again, which goes on from them",
            file=sys.stderr,
        )
        _end_with_error()


def open_console(*, least_width: int = 0) -> Console:
    """A console that prints names from data, paths and layers as they are, never as markup.

    Args:
      least_width: columns, where fewer would not hold a table.
    """
    console = Console(markup=False, emoji=False)
    console.width = max(console.width, least_width)
    return console


def tabulate(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    texts: int = 1,
    no_wrap: bool = False,
    **options: Any,
) -> Table:
    """Make a table for the console.

    Args:
      title: above it.
      columns: their headings.
      rows: of cells.
      texts: number of columns on the left whose cells are texts; the others' are flush right.
      no_wrap: keep every cell but the texts on one line.
      options: of `rich.table.Table`.
    """
    table = Table(title=title, **{"box": box.SIMPLE_HEAD, **options})
    for place, column in enumerate(columns):
        is_text = place < texts  # a long name goes on below, rather than being cut
        table.add_column(
            column,
            justify="left" if is_text else "right",
            no_wrap=no_wrap and not is_text,
            overflow="fold" if is_text else "ellipsis",
        )
    for row in rows:
        table.add_row(*row)
    return table


def track(
    iterable: Iterable[T], name: str | None, *, unit: str = "it", total: int | None = None
) -> Iterable[T]:
    """Pass on the items of `iterable`, with a progress bar on the standard error.

    Args:
      iterable: of any items.
      name: what is done; None shows no bar.
      unit: of what is counted, in the singular.
      total: how many items there are, where `iterable` does not say.
    """
    return open_bar(name, iterable, unit=unit, total=total)


def open_bar(name: str | None, iterable: Iterable[T] | None = None, **options: Any) -> tqdm:
    """Open a progress bar that is advanced by its `update`, in a `with`.

    It is shown on the standard error from a second on, and goes at the end.

    Args:
      name: what is done; None shows no bar.
      iterable: whose items the bar passes on, see `track`.
      options: those of tqdm, such as `total` and `unit`.
    """
    shown: dict[str, Any] = {"leave": False, "delay": 1, "disable": not name}
    return tqdm(iterable, name, **(shown | options))


def say(message: str) -> None:
    """Print a line to the standard error, above a progress bar if there is one."""
    tqdm.write(message, file=sys.stderr)


def _end_with_error() -> NoReturn:
    """Exit with status 2; at once on several hosts, since the others may wait for this one."""
    if jax.process_count() > 1:
        sys.stderr.flush()
        os._exit(2)
    sys.exit(2)


def use_all_devices() -> None:
    """Let JAX see all devices: every core of a CPU, and those of other hosts if there are any.

    JAX_NUM_CPU_DEVICES says otherwise how many devices a CPU is.
    Hosts are processes that run the same command on the same files. JAX_COORDINATOR_ADDRESS
    (HOST:PORT of the first one), JAX_NUM_PROCESSES and JAX_PROCESS_ID (0, 1, …) say that there are
    several; on a cluster that JAX knows (Cloud TPU, SLURM, Open MPI, Kubernetes)
    NET2VEC_JAX_CLUSTER=1 suffices.

    Raises:
      Net2VecError: a variable is missing or no number, or the other hosts cannot be reached.
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not chosen and "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", count_cores())
    try:
        if os.environ.get("JAX_COORDINATOR_ADDRESS"):
            jax.distributed.initialize(
                num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
                process_id=int(os.environ["JAX_PROCESS_ID"]),
            )
        elif os.environ.get("NET2VEC_JAX_CLUSTER"):
            jax.distributed.initialize()
    except (KeyError, ValueError) as error:
        raise Net2VecError(
            f"several hosts need JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, "
            f"the latter two whole numbers: {error}"
        ) from error
    except RuntimeError as error:
        raise Net2VecError(f"the hosts did not come together: {error}") from error


def announce(notices: Iterable[str]) -> None:
    """Say on the console what was assumed, a line each."""
    if is_first_host():
        for notice in notices:
            print(f"note: {notice}", file=sys.stderr)


def announce_left_out(kind: str, reasons: Mapping[str, str], *, of: int | None = None) -> None:
    """Say on the console what is left out, and why: how many, and the first ten for each reason.

    Args:
      kind: what they are, in the plural.
      reasons: name → why.
      of: how many there are in all.
    """
    if not reasons or not is_first_host():
        return
    of_all = f" of {of:,}" if of else ""
    print(f"left out: {len(reasons):,}{of_all} {kind}", file=sys.stderr)
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    groups = list(names.items())
    for reason, alike in groups[:MOST_NAMED]:
        print(f"  {list_names(alike)}: {reason}", file=sys.stderr)
    more = sum(len(alike) for _, alike in groups[MOST_NAMED:])
    if more:
        print(f"  and {more:,} more", file=sys.stderr)
