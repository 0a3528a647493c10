"""What every reader of activations does first: float32, in which they are compared, and finite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from net2vec_jax.core.errors import Net2VecError


def require_finite(
    batch: np.ndarray, images: Sequence[int] | np.ndarray, source: str = ""
) -> np.ndarray:
    """Activations in float32, or an error that names the first value that is not finite there.

    Args:
      batch: activations [n, ..., K] of n images.
      images: index of each image, n of them.
      source: where the activations lie, which the error begins with.

    Returns:
      float32 [n, ..., K]; `batch` itself if it is of that type.

    Raises:
      Net2VecError: names image and filter.

    Examples:
      >>> require_finite(np.array([[0.5, 1.0]]), [0]).dtype
      dtype('float32')
    """
    with np.errstate(over="ignore"):  # beyond float32: infinite, and refused
        values = np.asarray(batch).astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        image, *_, filter_ = place = tuple(np.argwhere(~np.isfinite(values))[0])
        raise Net2VecError(
            f"{source}{': ' if source else ''}the activations of image {images[image]} (counted "
            f"from 0) are not finite: filter {filter_} has the value {values[place]} in float32; "
            "check the weights and the preprocessing of the network that computed them"
        )
    return values


def require_finite_batches(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Batches of consecutive images in float32, see `require_finite`."""
    first = 0
    for batch in batches:
        yield require_finite(batch, range(first, first + len(batch)))
        first += len(batch)
