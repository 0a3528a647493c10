"""The typechecker of the tests: shapes and dtypes of arrays as jaxtyping says them, nothing else.

pyright checks all other types, and tests pass wrong ones on purpose.
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray

STREAMS = (list, collections.abc.Iterable, collections.abc.Iterator, collections.abc.Sequence)
"""Of arrays with an axis that differs from one to the next, such as batches; not checked."""


ARRAY = re.compile(r"\b(Bool|Float|Int|Key|Num|Real|Shaped|UInt8|UInt32)\[")
"""How annotations, which are texts, name arrays."""


def leave_other_functions(jaxtyped: Callable) -> Callable:
    """jaxtyping's decorator for functions that name arrays; it slows down every call of a function.

    jaxtyping's import hook decorates all.
    """

    def decorate(*, typechecker: Callable) -> Callable:
        return lambda decorated: (
            jaxtyped(typechecker=typechecker)(decorated)
            if inspect.isclass(decorated) or _mentions_array(decorated)
            else decorated
        )

    return decorate


def _mentions_array(function: Any) -> bool:
    function = getattr(function, "fget", getattr(function, "__func__", function))
    return any(ARRAY.search(str(hint)) for hint in function.__annotations__.values())


def check_arrays(function: Callable) -> Callable:
    """Let beartype check those annotations of `function` that name an array's shape.

    jaxtyping's import hook calls this on every function and dataclass.
    """
    checked = {
        name: hint
        for name, hint in function.__annotations__.items()
        if _names(hint, _is_array) and not _names(hint, _is_stream)
    }
    if not checked:
        return function
    function.__annotations__ = checked
    return beartype(function)


def _names(hint: Any, kind: Callable[[Any], bool]) -> bool:
    return kind(hint) or any(_names(inner, kind) for inner in typing.get_args(hint))


def _is_array(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, AbstractArray)


def _is_stream(hint: Any) -> bool:
    return typing.get_origin(hint) in STREAMS
