"""The best signed filter is that of brute force over filters, signs and levels."""

import dataclasses

import numpy as np
from helpers import make_linear_problem, pack_masks, upsample_by_loop

from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.best_filters import (
    LEVELS,
    SMALLEST_PART,
    choose_signed_filters,
)
from net2vec_jax.probes.segmentation.image_blocks import train_entries

HEADS = Heads.of(np.arange(2), np.zeros((2, 5)))


def test_no_filter_sign_and_level_overlap_better() -> None:
    upsampling = upsample_by_loop(np.eye(12).reshape(12, 4, 3), (13, 10)).reshape(12, -1)
    half = np.geomspace(SMALLEST_PART, 0.5, LEVELS // 2)
    for seed in range(3):
        activations, masks = make_linear_problem(seed)
        entries = train_entries(HEADS, masks)
        filter_, sign = choose_signed_filters(activations, masks, entries, 2)
        train = activations.values[np.unique(entries.image)].reshape(-1, 5)
        levels = np.quantile(train, [*half, *(1 - half)], axis=0).astype(np.float32)
        for concept in range(2):
            own = entries.head == concept
            pixels = masks.unpack(entries.pair[own]).reshape(own.sum(), -1)
            target, x = pixels @ upsampling.T, activations.values[entries.image[own]]
            ious = {}
            for k in range(5):
                for direction in (1, -1):
                    found = []
                    for level in levels[:, k]:
                        above = (x[..., k] > level) if direction == 1 else (x[..., k] <= level)
                        shared = target[above].sum()
                        size = (above * upsampling.sum(1)).sum()
                        found.append(shared / (target.sum() + size - shared))
                    ious[k, direction] = max(found)
            assert ious[int(filter_[concept]), int(sign[concept])] >= max(ious.values()) - 1e-6


def test_a_filter_that_is_low_at_a_concept_has_the_sign_minus_1() -> None:
    activations, masks = make_linear_problem(0)
    score = upsample_by_loop(activations.values[..., 2].reshape(-1, 4, 3), (13, 10))
    masks = dataclasses.replace(masks, packed=pack_masks(score[masks.pair_image] < -0.8))
    filter_, sign = choose_signed_filters(activations, masks, train_entries(HEADS, masks), 2)
    assert filter_.tolist() == [2, 2] and sign.tolist() == [-1, -1]
