"""Read a weight file of any of the known formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.caffe_files import load_caffe_file
from net2vec_jax.weights.readers.safetensors_files import load_safetensors_file
from net2vec_jax.weights.readers.torch_files import load_torch_file

TORCH_SUFFIXES = (".pth", ".pt", ".pth.tar", ".bin", ".ckpt")
WEIGHT_SUFFIXES = (".safetensors", ".caffemodel", *TORCH_SUFFIXES)


def load_weight_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read a weight file; its format is known by its suffix.

    Args:
      path: a file of PyTorch (.pth, .pt, .pth.tar, .bin, .ckpt), .safetensors, or Caffe
        (.caffemodel).

    Returns:
      {key: array}.

    Raises:
      Net2VecError: the file is missing, damaged, or of another format.
    """
    path = Path(path)
    if path.is_dir():
        raise Net2VecError(
            f"{path} is a directory, but not one of ported weights; give a weight file"
        )
    name = path.name.lower()
    if name.endswith(".safetensors"):
        return load_safetensors_file(path)
    if name.endswith(".caffemodel"):
        return load_caffe_file(path)
    if name.endswith(TORCH_SUFFIXES):
        return load_torch_file(path)
    if not path.exists():
        raise Net2VecError(f"{path}: there is no such weight file")
    raise Net2VecError(
        f"{path}: unknown kind of weight file; the known ones end in {', '.join(WEIGHT_SUFFIXES)}"
    )
