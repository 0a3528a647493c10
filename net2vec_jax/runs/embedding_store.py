"""The folder `embeddings/` of a run directory: trained heads, stored with Orbax.

Its tree: weights and initial_weights float32 [H, K], loss float32 [epochs, H], and heads: the table
of what each row is (concept numbers, numbers of filters, whether all filters were used, masks).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint

from net2vec_jax.core.errors import Net2VecError


def save_tree(path: Path, tree: dict[str, Any]) -> None:
    """Store arrays with Orbax."""
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), tree)


def load_tree(path: Path) -> dict[str, Any]:
    """Arrays that `save_tree` stored, as numpy arrays.

    Raises:
      Net2VecError: the folder is damaged.
    """
    try:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(path.absolute())
    except (OSError, ValueError, KeyError) as error:
        raise Net2VecError(f"{path} is damaged ({error}); remove it and run again") from error
    return jax.tree.map(np.asarray, tree)
