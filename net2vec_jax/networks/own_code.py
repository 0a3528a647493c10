"""Errors in code that users bring: what failed, at which line of theirs, and the cure if known."""

from __future__ import annotations

import inspect
import re
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import jax

_EVALUATION = {
    "deterministic": True, "eval": True, "eval_mode": True, "evaluate": True, "inference": True,
    "use_running_average": True, "enable_dropout": False, "is_train": False, "is_training": False,
    "train": False, "train_mode": False, "training": False,
}  # fmt: skip
"""What arguments that choose between training and evaluation are called, and what evaluates."""
_FOREIGN = (
    str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "site-packages", "dist-packages",
    "<",
)  # fmt: skip
_VALUES_NEEDED = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def describe_failure(error: Exception) -> str:
    """What went wrong, and the deepest line of the user's own code that led to it.

    Examples:
      >>> describe_failure(KeyError("missing weights"))
      "KeyError: 'missing weights'"
    """
    said = re.sub(r"\s*\(?https?://\S+", "", str(error))
    if isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError):
        said = said.split(". ")[0].split("\n")[0]  # the rest explains how JAX works
    said = textwrap.shorten(said, 300, placeholder=" …")
    # JAX itself names the line where a value was made that escaped.
    leaked = re.search(r"created on line (\S+?):(\d+)", str(error))
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    frames = [leaked.groups()] if leaked else frames
    own = [frame for frame in frames if not any(part in frame[0] for part in _FOREIGN)]
    place = " ({}, line {})".format(*own[-1]) if own else ""
    return f"{type(error).__name__}: {said}{place}"


def advise_evaluation(call: Callable, attributes: Iterable[str] = ()) -> str:
    """How a model, called by `call`, is put into evaluation mode.

    Args:
      call: its method.
      attributes: names of its own, that it may have been built with.

    Examples:
      >>> advise_evaluation(lambda images, train=True: images)
      "evaluate: give arguments={'train': False}"
    """
    names = inspect.signature(call).parameters
    found = {name: value for name, value in _EVALUATION.items() if name in names}
    if found:
        return f"evaluate: give arguments={found}"
    fields = [f"{name}={value}" for name, value in _EVALUATION.items() if name in set(attributes)]
    if fields:
        return f"evaluate: build the model with {', '.join(fields)}"
    return (
        "evaluate: call it with train=False, deterministic=True, use_running_average=True or what "
        "its argument is called (arguments={…} of wrap_nnx and wrap_linen; model.eval() in PyTorch)"
    )


def find_cure(error: Exception, evaluation: str) -> str:
    """What cures an error in a forward pass, behind "; ", as far as it is known.

    Args:
      error: what the model raised.
      evaluation: how it is put into evaluation mode, see `advise_evaluation`.
    """
    name, said = type(error).__name__, str(error)
    if isinstance(error, _VALUES_NEEDED) or "Tracer.__" in said:
        return (
            "; the model is compiled, so if, while, float() and numpy cannot see values: use "
            "jnp.where, jax.lax.cond and jax.numpy"
        )
    if name in ("TraceContextError", "UnexpectedTracerError"):
        return (
            "; a value is kept in jax.jit, jax.checkpoint or jax.vmap: around submodules of NNX, "
            "write nnx.jit, nnx.remat or nnx.vmap, with the submodule among the arguments, or "
            "take a layer outside"
        )
    if name == "ModifyScopeVariableError":
        return f"; the model is in training mode; {evaluation}"
    if name == "ScopeCollectionNotFound":
        return (
            "; give all variables that model.init returned, {'params': …, 'batch_stats': …}, as "
            "they were trained"
        )
    missing = re.search(r"missing \d+ required (?:positional|keyword-only) argument.*", said)
    if missing and any(f"'{argument}'" in missing[0] for argument in _EVALUATION):
        return f"; {evaluation}"
    if re.search(r"\bRNG|PRNG|\brngs?\b|[Rr]equires a key", said):
        return (
            f"; random numbers belong to training; {evaluation}; if it needs them in evaluation "
            "too, give their key in a function for wrap_function"
        )
    return ""
