"""Binary activations keep every bit, and their lists hold exactly the active ones."""

import numpy as np
import pytest
from helpers import list_activations, pack_activations
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.activations import binary
from net2vec_jax.activations.binary import (
    ENTRY_ROUNDING,
    LARGEST_BLOCK,
    BinaryActivations,
    collect_binary_activations,
    entries_per_block,
)
from net2vec_jax.core.errors import Net2VecError

problems = st.tuples(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.integers(1, 20),
)


def draw_bits(seed: int, images: int, grid: tuple[int, int], filters: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((images, *grid, filters)) < rng.choice([0, 0.05, 0.5, 1], (images, 1, 1, 1))


@given(problem=problems)
def test_unpacking_inverts_packing(problem: tuple) -> None:
    bits = draw_bits(*problem)
    packed = collect_binary_activations([bits.astype(np.float32)], np.full(bits.shape[-1], 0.5))
    np.testing.assert_array_equal(packed.unpack(), bits)
    np.testing.assert_array_equal(packed.packed, pack_activations(bits).packed)
    assert (len(packed), packed.grid, packed.filters) == (len(bits), bits.shape[1:3], bits.shape[3])


@given(problem=problems)
def test_lists_say_what_packed_bits_say(problem: tuple) -> None:
    bits = draw_bits(*problem)
    packed = pack_activations(bits)
    lists = list_activations(packed)
    rng = np.random.default_rng(problem[0])
    images, filters = rng.integers(0, (len(bits), bits.shape[3]), (5, 2)).T
    assert lists.packed is None and len(lists) == len(bits)
    for chosen in (slice(None), slice(1, 3), images, images[:0]):
        np.testing.assert_array_equal(lists.unpack(chosen), bits[chosen])
        np.testing.assert_array_equal(lists.pack(chosen), packed.pack(chosen))
        np.testing.assert_array_equal(lists.select(chosen).unpack(), bits[chosen])
    for form in (lists, packed):
        np.testing.assert_array_equal(form.maps(images, filters), bits[images, ..., filters])


def assert_entries_are_the_active_ones(bits: np.ndarray) -> None:
    """In the order of images, positions and filters, with padding behind the last."""
    entries = pack_activations(bits).active_entries
    image, position, filter_ = np.nonzero(bits.reshape(len(bits), -1, bits.shape[-1]))
    assert len(entries.position) == len(entries.filter) >= len(image) + LARGEST_BLOCK
    assert len(entries.position) % ENTRY_ROUNDING == 0
    np.testing.assert_array_equal(entries.position[: len(image)], position)
    np.testing.assert_array_equal(entries.filter[: len(image)], filter_)
    np.testing.assert_array_equal(entries.count, np.bincount(image, minlength=len(bits)))
    np.testing.assert_array_equal(entries.first, np.searchsorted(image, np.arange(len(bits))))


@given(problem=problems)
def test_entries_are_exactly_the_active_ones(problem: tuple) -> None:
    assert_entries_are_the_active_ones(draw_bits(*problem))


def test_entries_of_more_bytes_than_are_searched_at_once(monkeypatch) -> None:
    monkeypatch.setattr(binary, "BYTES_AT_ONCE", 7)
    assert_entries_are_the_active_ones(np.random.default_rng(0).random((9, 1, 2, 19)) < 0.4)


def test_entries_of_a_large_grid_have_a_wider_type() -> None:
    bits = np.zeros((1, 256, 257, 1), bool)
    bits[0, -1, -1] = True
    assert_entries_are_the_active_ones(bits)


def test_comparison_is_strict() -> None:
    batch = np.array([0.0, 1.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    active = collect_binary_activations([batch.reshape(1, 1, 3, 1)], np.ones(1, np.float32))
    assert active.unpack().ravel().tolist() == [False, False, True]


def test_batches_follow_one_another() -> None:
    maps = np.random.default_rng(0).normal(size=(7, 3, 2, 9)).astype(np.float32)
    thresholds = np.linspace(-1, 1, 9).astype(np.float32)
    whole = collect_binary_activations([maps], thresholds)
    parts = collect_binary_activations([maps[:3], maps[3:4], maps[4:]], thresholds)
    np.testing.assert_array_equal(parts.packed, whole.packed)
    np.testing.assert_array_equal(whole.unpack(slice(2, 4)), maps[2:4] > thresholds)
    np.testing.assert_array_equal(whole.unpack(np.array([6, 0])), maps[[6, 0]] > thresholds)


def test_layer_without_spatial_extent() -> None:
    with pytest.raises(Net2VecError, match=r"shape \(4, 10\) have no spatial extent"):
        collect_binary_activations([np.zeros((4, 10), np.float32)], np.zeros(10, np.float32))


def test_another_number_of_filters_than_thresholds() -> None:
    with pytest.raises(Net2VecError, match="8 filters in the activations, but 9 thresholds"):
        collect_binary_activations([np.zeros((2, 3, 3, 8), np.float32)], np.zeros(9, np.float32))


def test_no_activations() -> None:
    with pytest.raises(Net2VecError, match="no activations"):
        collect_binary_activations([], np.zeros(3, np.float32))


def test_nothing_active_is_a_valid_state() -> None:
    nothing = BinaryActivations(np.zeros((3, 4, 1), np.uint8), (2, 2), 5)
    entries = nothing.active_entries
    assert entries.count.tolist() == [0, 0, 0]
    assert entries.position.shape == (ENTRY_ROUNDING,)
    assert not nothing.unpack().any()


@pytest.mark.parametrize(
    ("entries", "images", "block"),
    [(0, 0, 32), (10, 5, 32), (110_000, 1000, 64), (216_000, 1000, 128), (10**9, 10, 1024)],
)
def test_blocks_follow_the_mean_length_of_the_lists(entries, images, block) -> None:
    assert entries_per_block(entries, images) == block
