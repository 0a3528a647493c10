"""Read a weight file of any of the known formats, which its contents tell."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.weights.readers.array_files import load_keras_file, load_npz_file
from net2vec_jax.weights.readers.caffe_files import load_caffe_file
from net2vec_jax.weights.readers.checkpoints import WeightFile
from net2vec_jax.weights.readers.recognise import (
    HEAD_BYTES,
    refuse_archive,
    refuse_folder,
    refuse_known,
    refuse_text,
)
from net2vec_jax.weights.readers.safetensors_files import load_safetensors_file
from net2vec_jax.weights.readers.torch_files import TAR_MAGIC, read_torch_file

INDEX_SUFFIXES = (".safetensors.index.json", ".bin.index.json")
FOLDER_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".h5", ".npz", ".caffemodel")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")


def read_weight_file(path: str | Path, checkpoint_key: str | None = None) -> WeightFile:
    """Read a weight file, whose format its contents tell, whatever its name.

    Nothing in a file is executed.

    Args:
      path: a file of PyTorch (any of its three formats), .safetensors, Caffe, Keras (.h5), .npz, or
        a pickle of numpy arrays; the index of a model in several .safetensors or PyTorch files; or
        a folder with one of these.
      checkpoint_key: which state dict of a training checkpoint, with dots between the levels:
        "state_dict_ema", "teacher.backbone". By default the one with the usual name.

    Returns:
      Its arrays, which state dict they are, and which others there are. Keras' arrays are named by
      their path in the file ("conv1/conv1/kernel:0"), Caffe's by layer and number ("conv1.0").

    Raises:
      Net2VecError: the file is missing, damaged or no weight file; which of its networks is meant
        is unclear, or it has none at `checkpoint_key`.
    """
    path = Path(path)
    if path.is_dir():
        path = _find_in_folder(path)
    if path.name.lower().endswith(INDEX_SUFFIXES):
        return _read_shards(path, checkpoint_key)
    _refuse_shard(path)
    return _read_one(path, checkpoint_key)


def _read_one(path: Path, checkpoint_key: str | None) -> WeightFile:
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise Net2VecError(f"{path}: there is no such weight file") from error
    except OSError as error:
        raise Net2VecError(f"{path}: cannot be read ({error})") from error
    load = _find_reader(path, head)
    if load is None:
        return read_torch_file(path, checkpoint_key)
    if checkpoint_key is not None:
        raise Net2VecError(
            f"{path}: holds one set of weights; leave out --checkpoint-key {checkpoint_key}"
        )
    return WeightFile(load(path), files=(path,))


def _find_reader(path: Path, head: bytes) -> Callable[[Path], dict[str, np.ndarray]] | None:
    """What reads the file; None for files of PyTorch and other pickles."""
    place, magic = TAR_MAGIC
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return _find_zip_reader(path)
    if head[place] == magic or re.match(rb"\x80[\x02-\x05]|\([dl]p|[}\]]q\0|c[\w.]+\n\w+\n", head):
        return None
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return load_keras_file
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 10**9:
        return load_safetensors_file
    refuse_known(path, head)
    refuse_text(path, head)
    if path.name.lower().endswith(".caffemodel") or head[:1] in b"\n\x12\xa2":
        return load_caffe_file
    raise Net2VecError(
        f"{path}: is no weight file of a known kind (it begins with {head[:16]!r}), or is damaged; "
        "read are the files of PyTorch, safetensors, Caffe, Keras (.h5) and numpy (.npz)"
    )


def _find_zip_reader(path: Path) -> Callable[[Path], dict[str, np.ndarray]] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except Exception as error:  # a damaged directory raises more than BadZipFile
        raise Net2VecError(
            f"{path}: is no whole zip archive ({error!s:.200}); download it again"
        ) from error
    if members and all(name.endswith(".npy") for name in members):
        return load_npz_file
    refuse_archive(path, members)
    return None


def _find_in_folder(folder: Path) -> Path:
    """The weight file, or the index of several, in a folder as the Hugging Face Hub has them."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    indices = [name for suffix in INDEX_SUFFIXES for name in names if name.endswith(suffix)]
    usual = [name for name in FOLDER_FILES if name in names]
    files = [name for name in names if name.endswith(WEIGHT_SUFFIXES)]
    if usual or indices:
        return folder / (usual[0] if usual[:1] == ["model.safetensors"] else (indices + usual)[0])
    if len(files) == 1:
        return folder / files[0]
    refuse_folder(folder)
    raise Net2VecError(
        f"{folder}: is a folder with several weight files; give one of {list_names(files)}"
        if files
        else f"{folder}: is a folder without weights, neither a weight file nor ported ones"
    )


def _refuse_shard(path: Path) -> None:
    """A part of a model alone is refused."""
    match = SHARD.search(path.name)
    if match and int(match[2]) > 1:
        index = next((p for p in path.parent.glob("*.index.json")), None)
        cure = f"give {index.name}" if index else "download all of them and their .index.json, give"
        raise Net2VecError(
            f"{path}: is one of {int(match[2])} parts of a model; {cure} or the folder instead"
        )


def _read_shards(index: Path, checkpoint_key: str | None) -> WeightFile:
    """The arrays that an index finds in several files beside it."""
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        pairs = [(key, name) for key, name in weight_map.items() if Path(name).name == name]
        if not pairs or len(pairs) < len(weight_map):
            raise ValueError("it names no files beside it")
    except FileNotFoundError as error:
        raise Net2VecError(f"{index}: there is no such weight file") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        with open(index, "rb") as file:
            refuse_known(index, file.read(HEAD_BYTES))
        raise Net2VecError(
            f"{index}: is no index of a model's files ({error!s:.200}); download it again"
        ) from error
    if checkpoint_key is not None:
        raise Net2VecError(
            f"{index}: holds one set of weights; leave out --checkpoint-key {checkpoint_key}"
        )
    files = [index.parent / name for name in dict.fromkeys(name for _, name in pairs)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise Net2VecError(f"{index}: its files {list_names(missing)} are missing; download them")
    found: dict[str, np.ndarray] = {}
    for file in files:
        found |= _read_one(file, None).arrays
    lacking = [key for key, _ in pairs if key not in found]
    if lacking:
        raise Net2VecError(f"{index}: its files lack {list_names(lacking)}; download them again")
    return WeightFile({key: found[key] for key, _ in pairs}, files=(index, *files))
