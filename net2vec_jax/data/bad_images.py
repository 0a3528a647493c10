"""Images that cannot be read: all of them listed at once, or left out.

N images, of which some are bad: the image or one of its labels cannot be decoded. The first failure
to read one starts a parallel pass over all images that lists the bad ones (`ListsBadImages`).
Leaving bad images out changes N and so must know them before anything is computed; it pays that
pass (`leave_out_bad_images`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence

import numpy as np

from net2vec_jax.core.console import track
from net2vec_jax.core.errors import Net2VecError, join_messages
from net2vec_jax.data.dataset import ConceptDataset, DatasetView, ImageLabels, map_in_order
from net2vec_jax.data.groups import number_groups


def find_bad_images(dataset: ConceptDataset, *, progress: bool = False) -> dict[str, str]:
    """Decode every image and its labels, and list those that cannot be.

    Args:
      dataset: N images with their labels.
      progress: whether a bar is shown.

    Returns:
      Name → why it cannot be read, in the order of the dataset; an image whose labels are bad too
      has both messages, if they differ.
    """

    def check(index: int) -> str:
        messages = []
        for read in (dataset.image, dataset.labels):
            try:
                read(index)
            except Net2VecError as error:
                messages.append(str(error))
        return "; ".join(dict.fromkeys(messages))

    name = "checking images" if progress else None
    checked = map_in_order(check, range(len(dataset)))
    bar = track(checked, name, unit="image", total=len(dataset))
    return {name: why for name, why in zip(dataset.image_names, bar, strict=True) if why}


class ImageSubset(DatasetView):
    """Some images of a dataset, in its order.

    Attributes: those of `DatasetView`, and
      left_out: name → why, of the images that are left out.
    """

    def __init__(
        self, dataset: ConceptDataset, kept: Sequence[int], left_out: Mapping[str, str]
    ) -> None:
        """View the images at the indices `kept` of `dataset`."""
        super().__init__(dataset)
        self._kept = tuple(kept)
        self.left_out = dict(left_out)
        self.image_names = tuple(dataset.image_names[index] for index in self._kept)
        self.is_val = np.asarray(dataset.is_val)[list(self._kept)]
        groups = getattr(dataset, "image_groups", None)
        self.image_groups = (
            None if groups is None else number_groups(groups[list(self._kept)].tolist())
        )
        kept_names = "\0".join((dataset.fingerprint, *self.image_names))
        self.fingerprint = hashlib.sha256(kept_names.encode()).hexdigest()

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index` of those left."""
        return self._dataset.image(self._kept[index])

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index` of those left."""
        return self._dataset.labels(self._kept[index])


def leave_out_bad_images(dataset: ConceptDataset, *, progress: bool = False) -> ConceptDataset:
    """The dataset without the images that cannot be read; itself if all can be.

    Args:
      dataset: N images with their labels.
      progress: whether a bar is shown.

    Returns:
      A dataset whose fingerprint is another if an image is left out.

    Raises:
      Net2VecError: no image can be read.
    """
    bad = find_bad_images(dataset, progress=progress)
    if not bad:
        return dataset
    if len(bad) == len(dataset):
        raise Net2VecError(
            f"none of {len(bad)} images can be read: {join_messages([*bad.values()])}"
        )
    kept = [index for index, name in enumerate(dataset.image_names) if name not in bad]
    return ImageSubset(dataset, kept, bad)


class ListsBadImages(DatasetView):
    """A dataset whose first failure to read an image tells of all images that cannot be read."""

    def __init__(self, dataset: ConceptDataset, *, advice: str = "") -> None:
        """View all of `dataset`.

        Args:
          dataset: N images with their labels.
          advice: what to do about bad images, the end of the message.
        """
        super().__init__(dataset)
        self._advice = advice
        self._lock = threading.Lock()
        self._message: str | None = None

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index`.

        Raises:
          Net2VecError: it cannot be read; the message lists all that cannot.
        """
        try:
            return self._dataset.image(index)
        except Net2VecError as error:
            raise self._all_bad(error) from error

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`.

        Raises:
          Net2VecError: they cannot be read; the message lists all images that cannot.
        """
        try:
            return self._dataset.labels(index)
        except Net2VecError as error:
            raise self._all_bad(error) from error

    def _all_bad(self, first: Net2VecError) -> Net2VecError:
        with self._lock:  # several threads fail at about the same time; one of them checks
            if self._message is None:
                bad = find_bad_images(self._dataset)
                if not bad:  # it was read well the second time
                    return first
                of_all = f"{len(bad)} of {len(self)} images cannot be read"
                self._message = f"{of_all}: {join_messages([*bad.values()])}"
                if self._advice:
                    self._message += f"\n{self._advice}"
            return Net2VecError(self._message)
