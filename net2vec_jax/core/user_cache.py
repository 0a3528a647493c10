"""The folder of the user for what is downloaded or decoded once."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "NET2VEC_JAX_CACHE"
"""The environment variable that names another folder."""


def cache_directory() -> Path:
    """NET2VEC_JAX_CACHE, or `net2vec_jax` in the platform's folder, on Linux ~/.cache.

    It need not exist yet.
    """
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("net2vec_jax", appauthor=False)
