"""Images and labels of a dataset, decoded once for all runs, or anew where that is not wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks, collect_concept_masks
from net2vec_jax.data.packed import load_concept_masks, load_packed_images
from net2vec_jax.devices import is_first_host, wait_for_hosts

T = TypeVar("T")


def decode_masks(dataset: ConceptDataset, choice: CategoryChoice, *, cache: bool) -> ConceptMasks:
    """Masks of all concepts, from disk if `cache`.

    Raises:
      Net2VecError: a label file is missing or damaged.
    """
    if not cache:
        return collect_concept_masks(dataset, category_choice=choice, progress=True)
    return _first_host_first(
        lambda: load_concept_masks(dataset, category_choice=choice, progress=True)
    )


def decode_images(dataset: ConceptDataset, *, cache: bool) -> ConceptDataset:
    """The dataset with images that are read from disk decoded if `cache`.

    Raises:
      Net2VecError: an image is missing or damaged.
    """
    if not cache:
        return dataset
    return _first_host_first(lambda: load_packed_images(dataset, progress=True))


def _first_host_first(load: Callable[[], T]) -> T:
    """What the first host loads and keeps, and then the others, which mostly find it on disk."""
    if not is_first_host():
        wait_for_hosts("decoded data")
        return load()
    try:
        return load()
    finally:
        wait_for_hosts("decoded data")  # also after an error, which the others then meet, too
