"""What is computed in threads comes in order, a little ahead of what is taken."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from net2vec_jax.data import dataset
from net2vec_jax.data.dataset import map_in_order


def test_map_in_order_keeps_order_and_raises_in_place() -> None:
    assert list(map_in_order(lambda x: x * x, range(100), workers=3)) == [x * x for x in range(100)]

    def fail_at_five(x: int) -> int:
        if x == 5:
            raise KeyError("five")
        return x

    results = map_in_order(fail_at_five, range(100), workers=3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="five"):
        next(results)


def test_map_in_order_hands_over_small_items_together_and_slow_ones_singly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Items of one piece are computed by one call in one thread; see which follow each other."""
    pieces: list[list[int]] = []

    class Executor(ThreadPoolExecutor):
        def submit(self, function: Callable, piece: list[int]) -> Future:  # type: ignore[override]
            pieces.append(piece)
            return super().submit(function, piece)

    monkeypatch.setattr(dataset, "ThreadPoolExecutor", Executor)
    assert list(map_in_order(str, range(500), workers=2)) == [*map(str, range(500))]
    assert max(map(len, pieces)) == dataset.MOST_ITEMS
    for items, pause in ((range(12), 2 * dataset.PIECE_SECONDS), (iter(range(500)), 0.0)):
        pieces.clear()
        list(map_in_order(lambda _, pause=pause: time.sleep(pause), items, workers=2))
        assert set(map(len, pieces)) == {1}


def test_map_in_order_holds_few_results_and_takes_an_iterators_items_when_they_are_due() -> None:
    taken = []

    def count() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_in_order(lambda item: item, count(), workers=2)
    for number in range(50):
        assert next(results) == number
        assert len(taken) <= number + 1 + 4 * 2
    results.close()
