"""The order in which CPython 2.7 iterated over a dictionary of strings.

The reference code takes the first category of a concept in that order (behaviour 5.3, Q-7);
reproducing its numbers for concepts in several categories needs the very order.
"""

from __future__ import annotations

from collections.abc import Sequence

_WORD = 2**64
_SLOTS = 8


def _string_hash(text: str) -> int:
    """CPython 2.7's hash of a byte string, 64-bit and without randomisation, as unsigned."""
    data = text.encode()
    if not data:
        return 0
    value = data[0] << 7
    for byte in data:
        value = (1000003 * value) % _WORD ^ byte
    return value ^ len(data)


def dictionary_order(keys: Sequence[str]) -> tuple[str, ...]:
    """`keys`, inserted in this order, as CPython 2.7's dictionary iterates over them.

    Args:
      keys: distinct strings. The table grows as CPython's does, so any number is right.

    Returns:
      The same keys in slot order.
    """
    slots: list[str | None] = [None] * _SLOTS
    for used, key in enumerate(keys, start=1):
        _insert(slots, key)
        if used * 3 >= len(slots) * 2:  # two thirds full: rebuilt with over four times the keys
            size = _SLOTS
            while size <= used * 4:
                size *= 2
            kept = [slot for slot in slots if slot is not None]
            slots = [None] * size
            for other in kept:
                _insert(slots, other)
    return tuple(slot for slot in slots if slot is not None)


def _insert(slots: list[str | None], key: str) -> None:
    """Open addressing with CPython's perturbation."""
    mask = len(slots) - 1
    perturbation = _string_hash(key)
    place = perturbation & mask
    while slots[place & mask] is not None:
        place = (5 * place + perturbation + 1) % _WORD
        perturbation >>= 5
    slots[place & mask] = key
