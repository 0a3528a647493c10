"""Read `.safetensors` files: a JSON header and raw numbers, nothing that could be executed.

The safetensors library checks the file; the arrays are then views of the memory-mapped file.
"""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path

import ml_dtypes
import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.torch_files import strip_wrappers

HEADER_LENGTH_BYTES = 8

# The format's types that hold real numbers; bfloat16, which numpy lacks, is widened.
DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U8": "u1",
        "BOOL": "?",
    }.items()
}


def load_safetensors_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a file.

    The `module.` that torch's DataParallel puts into keys is removed.

    Args:
      path: a .safetensors file.

    Returns:
      {key: array}, in the order of the file; read-only views of the file, except that bfloat16
      becomes float32.

    Raises:
      Net2VecError: the file is missing, truncated or no such file, or a tensor is of a type that
        numpy lacks.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, framework="np") as checked:  # raises on any damage
            keys = list(checked.keys())
        with open(path, "rb") as file:
            contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise Net2VecError(f"{path}: there is no such weight file") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise Net2VecError(f"{path}: cannot be read as a .safetensors file ({error})") from error
    if not keys:
        raise Net2VecError(f"{path}: holds no tensors")
    try:
        return strip_wrappers(_read_tensors(path, contents))
    except Net2VecError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        # What the library lets pass, such as a key that occurs twice.
        raise Net2VecError(
            f"{path}: is damaged: its header contradicts itself ({error})"
        ) from error


def _read_tensors(path: Path, contents: mmap.mmap) -> dict[str, np.ndarray]:
    length = int.from_bytes(contents[:HEADER_LENGTH_BYTES], "little")
    start = HEADER_LENGTH_BYTES + length
    header = json.loads(contents[HEADER_LENGTH_BYTES:start])
    arrays = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise Net2VecError(
                f"{path}: its tensor {key} is of type {entry['dtype']}; convert it to F32 or F16"
            )
        first, last = entry["data_offsets"]
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        if last - first != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"tensor {key:.80} has {last - first} bytes")
        array = np.frombuffer(contents, dtype, math.prod(shape), start + first).reshape(shape)
        if entry["dtype"] == "BF16":
            array = array.astype(np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
        arrays[key] = array
    return arrays
