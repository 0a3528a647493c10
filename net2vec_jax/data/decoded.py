"""Images and labels of a dataset, decoded once for all runs, or anew where that is not wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from net2vec_jax.core.console import track
from net2vec_jax.core.devices import is_first_host, share_of_host, wait_for_hosts
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.cache import PackedImages, load_concept_masks, load_packed_images
from net2vec_jax.data.dataset import ConceptDataset, map_in_order
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks, collect_concept_masks

T = TypeVar("T")


def decode_masks(dataset: ConceptDataset, choice: CategoryChoice, *, cache: bool) -> ConceptMasks:
    """Masks of all concepts, from disk if `cache`.

    Raises:
      Net2VecError: a label file is missing or damaged, or no concept is marked anywhere.
    """
    if cache:
        masks = _first_host_first(
            lambda: load_concept_masks(dataset, category_choice=choice, progress=True)
        )
    else:
        masks = collect_concept_masks(dataset, category_choice=choice, progress=True)
    if not len(masks.pair_image):
        why = "; ".join(("", *masks.notices))
        raise Net2VecError(f"{dataset.name}: no concept is marked on any image{why}")
    return masks


def decode_images(dataset: ConceptDataset, *, cache: bool, checked: bool = False) -> ConceptDataset:
    """The dataset with images that are read from disk decoded if `cache`.

    Otherwise they are decoded once to see that all can be, before hours of work.

    Args:
      dataset: N images.
      cache: keep decoded images.
      checked: whether it is known that all can be decoded.

    Raises:
      Net2VecError: an image is missing or damaged.
    """
    if cache:
        dataset = _first_host_first(lambda: load_packed_images(dataset, progress=True))
    if not (checked or isinstance(dataset, PackedImages)):  # nothing was kept, hence not decoded
        mine = share_of_host(len(dataset))
        decoded = map_in_order(lambda index: dataset.image(index).shape, mine)
        name = "images" if is_first_host() else None
        for _ in track(decoded, name, unit="image", total=len(mine)):
            pass
    return dataset


def _first_host_first(load: Callable[[], T]) -> T:
    """What the first host loads and keeps, and then the others, which mostly find it on disk."""
    if not is_first_host():
        wait_for_hosts("decoded data")
        return load()
    try:
        return load()
    finally:
        wait_for_hosts("decoded data")  # also after an error, which the others then meet, too
