"""Errors that a user can mend, and the wording they share.

Every refusal of bad input raises `Net2VecError`; the message names the file, row, key or
concept and what to do. Scripts print it and exit with status 2.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


class Net2VecError(ValueError):
    """Bad input, or a state that the user can mend; the message says what and how."""


FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when there is no space left."""
MOST_LISTED = 100
"""Messages that one error lists."""
MOST_NAMED = 10
"""Names that one line lists."""


def list_names(names: Iterable[str], *, most: int = MOST_NAMED) -> str:
    """Names with commas between; of many the first, and how many more there are.

    Examples:
      >>> list_names(["a", "b", "c"], most=2)
      'a, b and 1 more'
    """
    names = list(names)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def join_messages(messages: Sequence[str]) -> str:
    """Several messages as one: a single one as it is, more of them line by line."""
    if len(messages) == 1:
        return messages[0]
    more = len(messages) - MOST_LISTED
    lines = [f"{len(messages)} errors:", *messages[:MOST_LISTED]]
    return "\n  ".join([*lines, f"and {more} more"] if more > 0 else lines)


def writing_error(path: Path, error: OSError) -> Net2VecError:
    """Error for a directory that could not be written, and that was removed again."""
    if error.errno in FULL_DISK:
        return Net2VecError(
            f"{path}: the disk is full; nothing was left there; free some space and run again"
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Net2VecError(f"{path} cannot be written: {reason}")


def unknown_name_error(kind: str, name: str, known: Iterable[str]) -> Net2VecError:
    """Error for a `name` that is not among the `known` ones, with the nearest of them suggested.

    Args:
      kind: what is named, in the singular: "layer", "network", "concept".
      name: what was asked for.
      known: the names there are.

    Returns:
      The error, to be raised by the caller.
    """
    known = list(known)
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    if near:
        hint = "did you mean " + " or ".join(repr(by_lower[match]) for match in near) + "?"
    else:
        shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        hint = f"there are: {shown or 'none'}"
    return Net2VecError(f"unknown {kind} {name!r}; {hint}")
