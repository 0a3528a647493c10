"""Weigh a pickle before it is loaded: refuse those that cost out of all proportion to their bytes.

A pickle of a hundred bytes can name a tuple of two equal tuples of two equal tuples, whose hash, if
it becomes a key, takes years; or a place of the memo that makes the unpickler fill gigabytes.
Nothing is executed or built here: the stack is followed with the expanded size of each object.
"""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO

LARGEST_WORK = 10**7
"""Objects handed from one to another, counted with all that they hold; state dicts have under 10^6.
Hashing so many takes half a second."""

_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
# These change the object below their arguments, which other references see too.
_CHANGES = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
_MARK = None


class TooHeavyError(Exception):
    """Why a pickle is not loaded."""


def weigh_pickle(file: BinaryIO) -> None:
    """Follow the pickle that begins at the file's position, which stays where it is.

    Raises:
      TooHeavyError: loading it would cost too much.
      Exception: of any type, if it is damaged.
    """
    start = file.tell()
    try:
        _follow(file, start)
    finally:
        file.seek(start)


def _follow(file: BinaryIO, start: int) -> None:
    # An object is a list of one number, its expanded size, so that a change is seen by all.
    stack: list[list[int] | None] = []
    memo: dict[Any, list[int] | None] = {}
    work = 0
    for opcode, argument, place in pickletools.genops(file):
        if opcode.name in _PUTS:
            index: Any = len(memo) if opcode.name == "MEMOIZE" else argument
            if index > (place or 0) - start:  # the memo is a list as long as its largest index
                raise TooHeavyError(f"it names place {index} of its memo")
            memo[index] = stack[-1]
            continue
        if opcode.name in _GETS:
            stack.append(memo[argument])
            continue
        if opcode.name == "DUP":
            stack.append(stack[-1])
            continue
        if opcode.name == "POP":  # of a mark too
            stack.pop()
            continue
        popped = _pop(stack, opcode)
        if opcode.name in _CHANGES:
            changed, *parts = popped
            added = sum(part[0] for part in parts)
            changed[0] += added
            stack.append(changed)
        else:
            added = sum(part[0] for part in popped)
            stack += [
                _MARK if kind is pickletools.markobject else [1 + added]
                for kind in opcode.stack_after
            ]
        work += added
        if work > LARGEST_WORK:
            raise TooHeavyError("its objects hold each other again and again")


def _pop(stack: list, opcode: pickletools.OpcodeInfo) -> list[list[int]]:
    """What an operation takes from the stack, the deepest first, without the mark."""
    taken: list[list[int]] = []
    count = len(opcode.stack_before)
    if pickletools.markobject in opcode.stack_before:
        count = opcode.stack_before.index(pickletools.markobject)
        while (item := stack.pop()) is not _MARK:
            taken.append(item)
    taken += [stack.pop() for _ in range(count)]
    if any(item is _MARK for item in taken):
        raise ValueError("a mark stands where an object must be")
    return taken[::-1]
