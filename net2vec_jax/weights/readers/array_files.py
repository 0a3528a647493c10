"""Read named arrays of Keras' HDF5 files and of numpy's .npz archives."""

from __future__ import annotations

import math
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra

BFLOAT16 = np.dtype("V2")
"""How numpy stores ml_dtypes' bfloat16."""
MOST_GROWTH = 100
"""Weights that a file holds more tightly packed than this are none; it would fill the memory."""
SPARED_BYTES = 2**28
MOST_SECONDS = 60


def load_npz_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read an archive of plain arrays, as `numpy.savez` writes it.

    Args:
      path: a .npz file.

    Returns:
      {key: array}, in the order of the file; bfloat16 becomes float32. Arrays of text are left out.

    Raises:
      Net2VecError: the file is damaged, or holds Python objects.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_growth(path, sum(member.file_size for member in archive.infolist()))
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Net2VecError:
        raise
    except Exception as error:  # a damaged archive raises nearly any type
        if "Object arrays" in str(error):
            error = "it holds Python objects; save plain arrays with numpy.savez(FILE, **arrays)"
        raise Net2VecError(f"{path}: cannot be read as a .npz file ({error!s:.300})") from None
    return _keep_numbers(path, arrays)


def load_keras_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read the weights that Keras has written in HDF5, by h5py.

    HDF5's own library, which h5py calls, does not end on some damaged files, so that another
    process reads the file's structure first, within `MOST_SECONDS`.

    Args:
      path: an .h5 file of a model's weights or of a whole model.

    Returns:
      {path in the file: array}: "conv1/conv1/kernel:0" of Keras 1 and 2, "layers/conv2d/vars/0" of
      Keras 3, without the optimiser's.

    Raises:
      Net2VecError: h5py is not installed; the file is damaged or holds no weights.
    """
    path = Path(path)
    h5py = import_extra("h5py", "keras")
    found: list[Any] = []
    visit = "import sys, h5py; h5py.File(sys.argv[1]).visititems(lambda *_: None)"
    try:
        command = [sys.executable, "-Pc", visit, str(path)]
        subprocess.run(command, timeout=MOST_SECONDS, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        raise Net2VecError(
            f"{path}: its structure cannot be read within {MOST_SECONDS} seconds; it is damaged"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            # Links to other files are not followed.
            file.visititems(lambda _, item: found.append(item))
            found = [item for item in found if isinstance(item, h5py.Dataset)]
            if any(item.external or item.is_virtual for item in found):
                raise Net2VecError(f"{path}: has its numbers in other files; save it in one")
            _check_growth(path, sum(item.size * item.dtype.itemsize for item in found))
            pieces = sum(item.size // math.prod(item.chunks) for item in found if item.chunks)
            if pieces > path.stat().st_size:  # a piece that is not there costs time
                raise Net2VecError(f"{path}: has more pieces than bytes; it is damaged or hostile")
            named = {item.name.removeprefix("/"): item for item in found}
            prefix = "model_weights/" if any(n.startswith("model_weights/") for n in named) else ""
            arrays = {
                name.removeprefix(prefix): item[()]
                for name, item in named.items()
                if name.startswith(prefix) and not name.startswith("optimizer")
            }
    except Net2VecError:
        raise
    except Exception as error:  # h5py raises nearly any type
        raise Net2VecError(f"{path}: cannot be read as an HDF5 file ({error!s:.300})") from error
    return _keep_numbers(path, arrays)


def _check_growth(path: Path, size: int) -> None:
    if size > SPARED_BYTES + MOST_GROWTH * path.stat().st_size:
        raise Net2VecError(f"{path}: would take {size:,} bytes of memory; it is damaged or hostile")


def _keep_numbers(path: Path, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    kept = {}
    for key, array in arrays.items():
        array = np.asarray(array)
        if array.dtype == BFLOAT16:
            array = array.view(ml_dtypes.bfloat16).astype(np.float32)
        if array.dtype.kind in "biufc":
            kept[key] = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder())
        elif array.dtype.kind not in "SUO":
            raise Net2VecError(f"{path}: its array {key:.80} is of type {array.dtype}, not numbers")
    if not kept:
        raise Net2VecError(f"{path}: holds no arrays of numbers")
    return kept
