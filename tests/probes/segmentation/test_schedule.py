"""Every (head, image) pair once per epoch, in batches that no chunk mixes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.segmentation.schedule import Schedule, lay_out_chunks, make_schedule


def pairs_by_step(schedule: Schedule) -> list[list[tuple[int, int, float]]]:
    """(head, pair, scale) of each step's pairs that are not null, in their order."""
    steps = []
    for first, last in zip(schedule.first_chunk[:-1], schedule.first_chunk[1:], strict=True):
        chunk = slice(first, last)
        columns = (
            values[chunk].ravel() for values in (schedule.head, schedule.pair, schedule.scale)
        )
        steps.append([entry for entry in zip(*columns, strict=True) if entry[2] > 0])
    return steps


@given(
    images=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    batch_size=st.integers(1, 12),
    chunk_size=st.integers(1, 20),
    divisor=st.integers(1, 9),
    seed=st.integers(0, 10**6),
)
def test_laws_of_the_schedule(
    images: list[int], batch_size: int, chunk_size: int, divisor: int, seed: int
) -> None:
    counts = np.array(images)
    first = np.cumsum(counts) - counts
    order = np.random.default_rng(seed).permutation(counts.sum())
    schedule = make_schedule(
        counts, first, order,
        batch_size=batch_size, chunk_size=chunk_size, single_image_divisor=divisor,
    )  # fmt: skip
    steps = pairs_by_step(schedule)
    assert len(steps) == -(-counts.max() // batch_size)
    np.testing.assert_array_equal(schedule.batches, -(-counts // batch_size))
    for head, count in enumerate(counts):
        own = order[first[head] :][:count]
        batches = [own[start : start + batch_size] for start in range(0, count, batch_size)]
        taken = [[(pair, scale) for h, pair, scale in step if h == head] for step in steps]
        # Each of the head's images once, in consecutive batches of B but the last.
        assert [[pair for pair, _ in batch] for batch in taken if batch] == [
            b.tolist() for b in batches
        ]
        assert all(not batch for batch in taken[schedule.batches[head] :])
        for batch in taken[: len(batches)]:
            total = sum(scale for _, scale in batch)
            single = len(batch) == 1
            assert total == pytest.approx(1 / divisor if single else 1, rel=1e-6)
    # Chunks are whole; null pairs point at pair 0 of head 0 and weigh nothing.
    assert schedule.first_chunk[-1] == len(schedule.pair)
    null = schedule.scale == 0
    assert (~null).sum() == counts.sum()
    assert not schedule.pair[null].any()
    assert not schedule.head[null].any()
    # No more padding than the last chunk of each step.
    assert null.sum() < len(steps) * chunk_size


def test_heads_may_share_the_pairs_of_a_concept() -> None:
    schedule = make_schedule(
        np.array([3, 3]), np.array([2, 2]), np.arange(10, 20), batch_size=2, chunk_size=4
    )
    steps = pairs_by_step(schedule)
    assert [(h, p) for h, p, _ in steps[0]] == [(0, 12), (0, 13), (1, 12), (1, 13)]
    assert [(h, p) for h, p, _ in steps[1]] == [(0, 14), (1, 14)]


@given(groups=st.lists(st.integers(0, 9), max_size=8), size=st.integers(1, 5))
def test_no_two_groups_share_a_chunk(groups: list[int], size: int) -> None:
    slot, first_chunk = lay_out_chunks(groups, size)
    assert len(set(slot.tolist())) == len(slot) == sum(groups)
    group = np.repeat(np.arange(len(groups)), groups)
    assert (slot // size >= first_chunk[:-1][group]).all()
    assert (slot // size < first_chunk[1:][group]).all()
    assert first_chunk.tolist() == [0, *np.cumsum([-(-g // size) for g in groups]).tolist()]


@pytest.mark.parametrize(("batch_size", "chunk_size"), [(0, 4), (4, 0)])
def test_sizes_below_one(batch_size: int, chunk_size: int) -> None:
    with pytest.raises(Net2VecError, match="must be positive"):
        make_schedule(
            np.array([3]), np.array([0]), np.arange(3), batch_size=batch_size, chunk_size=chunk_size
        )


def test_head_without_images() -> None:
    with pytest.raises(Net2VecError, match="head 1 has no image"):
        make_schedule(np.array([3, 0]), np.array([0, 3]), np.arange(3), batch_size=2, chunk_size=2)
