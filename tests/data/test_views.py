"""Views of a dataset hand on what decoded data is kept by, so that scripts decode once."""

from pathlib import Path

import numpy as np
import pytest
from helpers import ListDataset, make_catalog

from net2vec_jax.data.bad_images import ImageSubset, ListsBadImages
from net2vec_jax.data.cache import PackedImages
from net2vec_jax.data.dataset import DatasetView, ImageLabels

LABELS = [ImageLabels({"object": np.full((1, 2, 2), n % 3)}, {}) for n in range(5)]


def make_dataset(*, with_files: bool) -> ListDataset:
    dataset = ListDataset(make_catalog(2), ("object",), LABELS, (2, 2), [False] * 3 + [True] * 2)
    if with_files:
        dataset.directory = Path("somewhere")
        dataset.source_files = lambda: iter([Path("somewhere/index.csv")])
    return dataset


def make_views(dataset: ListDataset) -> list[DatasetView]:
    images = np.stack([dataset.image(index) for index in range(len(dataset))])
    return [ListsBadImages(dataset), PackedImages(dataset, images), DatasetView(dataset)]


@pytest.mark.parametrize("with_files", [False, True])
def test_views_are_the_dataset(with_files: bool) -> None:
    dataset = make_dataset(with_files=with_files)
    for view in [*make_views(dataset), ListsBadImages(make_views(dataset)[1])]:
        assert len(view) == 5
        assert view.image_names == dataset.image_names
        assert view.fingerprint == dataset.fingerprint
        for index in range(5):
            np.testing.assert_array_equal(view.image(index), dataset.image(index))
            assert view.labels(index) is dataset.labels(index)
        assert hasattr(view, "source_files") == with_files
        if with_files:
            assert view.directory == Path("somewhere")
            assert list(view.source_files()) == [Path("somewhere/index.csv")]


def test_a_subset_has_its_own_fingerprint_and_the_same_files() -> None:
    subset = ImageSubset(make_dataset(with_files=True), [0, 4], {"1.jpg": "bad"})
    assert (len(subset), subset.image_names) == (2, ("0.jpg", "4.jpg"))
    assert subset.is_val.tolist() == [False, True]
    assert subset.fingerprint != "0"
    assert subset.image(1)[0, 0, 0] == 4
    assert len(list(subset.source_files())) == 1
