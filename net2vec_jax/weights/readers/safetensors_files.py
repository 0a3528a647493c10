"""Read `.safetensors` files by the safetensors library: a JSON header and raw numbers."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes  # noqa: F401 (teaches numpy bfloat16)
import numpy as np

from net2vec_jax.core.errors import Net2VecError

DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")
"""The format's types that hold real numbers."""


def load_safetensors_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a file.

    Args:
      path: a .safetensors file.

    Returns:
      {key: array}, in the order of the file; bfloat16, which numpy lacks, becomes float32.

    Raises:
      Net2VecError: the file is truncated or no such file, or a tensor is of a type that
        numpy lacks.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    arrays = {}
    try:
        with safe_open(path, framework="np") as file:
            for key in file.offset_keys():
                dtype = file.get_slice(key).get_dtype()
                if dtype not in DTYPES:
                    raise Net2VecError(
                        f"{path}: its tensor {key} is of type {dtype}; convert it to F32 or F16"
                    )
                array = file.get_tensor(key)
                arrays[key] = array.astype(np.float32) if dtype == "BF16" else array
    except Net2VecError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise Net2VecError(f"{path}: cannot be read as a .safetensors file ({error})") from error
    if not arrays:
        raise Net2VecError(f"{path}: holds no tensors")
    return arrays
