"""CKA and rank correlation on representations whose relation is known."""

from __future__ import annotations

import itertools
import tracemalloc

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from net2vec_jax.analysis.similarity.kernel_alignment import estimate_cka
from net2vec_jax.analysis.similarity.network_similarity import make_representation
from net2vec_jax.analysis.similarity.pair_comparison import compare_pair
from net2vec_jax.analysis.similarity.representational_similarity import (
    _double_centre,
    _without_diagonal,
    assess_cka,
    assess_rank_correlation,
    correlate_ranks,
)
from net2vec_jax.core.errors import Net2VecError

SEEDS = st.integers(0, 2**20)


def draw(seed: int, n: int = 20, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, size))


def draw_related(seed: int, n: int, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Two noisy views, of 10 and 15 dimensions, of the same 4."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 4))
    return tuple(
        common @ np.random.default_rng(size).normal(size=(4, size)) / 2
        + noise * rng.normal(size=(n, size))
        for size in (10, 15)
    )


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    return estimate_cka(x, y).debiased


def gram(rows: np.ndarray) -> np.ndarray:
    return rows @ rows.T


def test_cka_is_that_of_its_definition() -> None:
    x, y = draw(0), draw(1, size=9)
    centring = np.eye(20) - 1 / 20
    k, m = (centring @ gram(rows) @ centring for rows in (x, y))
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    np.testing.assert_allclose(estimate_cka(x, y).plain, expected)


def test_debiased_cka_is_that_of_its_definition() -> None:
    def hsic(k: np.ndarray, m: np.ndarray) -> float:  # Song et al. 2012, eq. 5
        n = len(k)
        k, m, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
        last = 2 / (n - 2) * one @ k @ m @ one
        return np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / (n - 1) / (n - 2) - last

    x, y = draw(2), draw(3, size=9)
    k, m = gram(x), gram(y)
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    np.testing.assert_allclose(debiased_cka(x, y), expected)


def test_rank_correlation_is_spearmans() -> None:
    k, m = gram(draw(4)), gram(np.round(draw(5)))  # the second with ties
    upper = np.triu_indices(20, 1)
    np.testing.assert_allclose(correlate_ranks(k, m), spearmanr(k[upper], m[upper]).statistic)


@given(SEEDS)
def test_turned_scaled_and_shifted_responses_are_the_same(seed: int) -> None:
    x = draw(seed)
    turned = 3 * x @ np.linalg.qr(draw(seed + 1, 9, 6))[0].T + 5
    np.testing.assert_allclose(estimate_cka(x, turned), 1)
    np.testing.assert_allclose(correlate_ranks(gram(x), gram(turned - 5)), 1)


@given(SEEDS)
def test_rows_exchanged_in_both_change_nothing(seed: int) -> None:
    x, y = draw(seed), draw(seed + 1, size=8)
    order = np.random.default_rng(seed).permutation(20)
    np.testing.assert_allclose(debiased_cka(x[order], y[order]), debiased_cka(x, y))
    np.testing.assert_allclose(
        correlate_ranks(gram(x[order]), gram(y[order])), correlate_ranks(gram(x), gram(y))
    )


def test_unrelated_responses_have_debiased_cka_0_and_plain_cka_far_from_it() -> None:
    values = np.array(
        [estimate_cka(draw(2 * n, 30, 40), draw(2 * n + 1, 30, 50)) for n in range(100)]
    )
    debiased, plain = values.mean(axis=0)
    assert abs(debiased) < 3 * values[:, 0].std() / 10  # three standard errors
    assert plain > 0.5


def test_p_values_of_unrelated_representations_are_valid() -> None:
    found = []
    for n in range(200):
        x, y = draw(2 * n, 12), draw(2 * n + 1, 12)
        key = jax.random.key(n)
        found.append(
            [
                assess_cka(x, y, key=key, permutations=99, samples=2).p_value,
                assess_rank_correlation(
                    gram(x), gram(y), key=key, permutations=99, samples=2
                ).p_value,
            ]
        )
    for p_value in np.array(found).T:
        for level in (0.05, 0.1, 0.25, 0.5):
            # Four standard deviations of the count of 200 tests that are right.
            allowed = 200 * level + 4 * np.sqrt(200 * level * (1 - level))
            assert (p_value <= level).sum() <= allowed
        assert abs(p_value.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 200)


def enumerate_cka(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Debiased CKA with the rows of y in every order."""
    orders = itertools.permutations(range(len(x)))
    return np.array([debiased_cka(x, y[list(order)]) for order in orders])


def test_permuted_statistics_are_cka_of_permuted_rows() -> None:
    x, y = draw(0, 5), draw(1, 5)
    kernels = [_without_diagonal(gram(rows - rows.mean(axis=0))) for rows in (x, y)]
    first, second = (_double_centre(kernel) for kernel in kernels)
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    found = [
        (first * second[np.ix_(order, order)]).sum() / scale
        for order in itertools.permutations(range(5))
    ]
    np.testing.assert_allclose(found, enumerate_cka(x, y), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_p_value_of_cka_is_that_of_all_orders(seed: int) -> None:
    x = draw(seed, 5, 3)
    y = x @ draw(seed + 10, 3, 3) + 0.5 * draw(seed + 20, 5, 3)
    exact = np.mean(enumerate_cka(x, y) >= debiased_cka(x, y) - 1e-9)
    found = assess_cka(x, y, key=jax.random.key(seed), permutations=4000, samples=2).p_value
    np.testing.assert_allclose(found, exact, atol=4 * np.sqrt(exact * (1 - exact) / 4000) + 1e-3)


def test_equal_rows_tie_with_what_was_observed() -> None:
    x = draw(0, 2)[[0, 0, 1, 1, 1]]  # 2! 3! of the 5! orders change nothing
    np.testing.assert_allclose(np.mean(enumerate_cka(x, x) >= 1 - 1e-9), 0.1)
    settings = {"key": jax.random.key(0), "permutations": 4000, "samples": 2}
    for found in (
        assess_cka(x, x, **settings),
        assess_rank_correlation(gram(x), gram(x), **settings),
    ):
        # The standard error of a share of 0.1 among 4,000 is 0.005.
        np.testing.assert_allclose(found.p_value, 0.1, atol=0.02)


def test_estimates_are_the_same_whatever_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(0, 50, 6).astype(np.float32), 1e3 + draw(1, 50, 9)
    whole = estimate_cka(x, y)
    monkeypatch.setattr("net2vec_jax.analysis.similarity.kernel_alignment._ROWS", 7)
    np.testing.assert_allclose(estimate_cka(x, y), whole, rtol=1e-10)


def test_cka_of_many_rows_makes_no_copy_of_them() -> None:
    x, y = (np.random.default_rng(n).random((40_000, 40), np.float32) for n in range(2))
    tracemalloc.start()
    estimate_cka(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (x.nbytes + y.nbytes) / 2


def test_related_representations_are_found() -> None:
    x, y = draw_related(0, 40, noise=0.7)
    for found in (
        assess_cka(x, y, key=jax.random.key(0)),
        assess_rank_correlation(gram(x), gram(y), key=jax.random.key(0)),
    ):
        assert found.p_value == 1 / 1001
        assert 0 < found.low < found.value < found.high < 1


def test_the_same_key_gives_the_same_test() -> None:
    x, y = draw_related(1, 20, noise=2)
    first, again, other = (assess_cka(x, y, key=jax.random.key(n)) for n in (0, 0, 1))
    assert vars(first) == vars(again)
    assert vars(first) != vars(other)


def test_intervals_cover_the_truth() -> None:
    """At 95 %, of 50 samples of 40 concepts: 41 or more, four standard deviations below."""
    x, y = draw_related(0, 2000, noise=0.7)
    truth = debiased_cka(x, y), correlate_ranks(gram(x[:600]), gram(y[:600]))
    covered = np.zeros(2)
    for seed in range(1, 51):
        x, y = draw_related(seed, 40, noise=0.7)
        settings = {"key": jax.random.key(seed), "permutations": 1, "samples": 200}
        for place, found in enumerate(
            (
                assess_cka(x, y, **settings),
                assess_rank_correlation(gram(x), gram(y), **settings),
            )
        ):
            covered[place] += found.low <= truth[place] <= found.high
    assert (covered >= 41).all()


def test_what_does_not_vary_has_no_value() -> None:
    x, flat = draw(0), np.ones((20, 3))
    assert np.isnan(debiased_cka(x, flat))
    found = assess_cka(x, flat, key=jax.random.key(0), permutations=9)
    assert np.isnan([found.value, found.low, found.high, found.p_value]).all()
    found = assess_rank_correlation(
        gram(x), np.ones((20, 20)), key=jax.random.key(0), permutations=9
    )
    assert np.isnan([found.value, found.low, found.high, found.p_value]).all()


def test_few_rows_have_a_value_and_no_interval() -> None:
    x, y = draw_related(0, 6, noise=0.5)
    found = assess_cka(x, y, key=jax.random.key(0), permutations=99)
    assert np.isfinite([found.value, found.p_value]).all()
    assert np.isnan([found.low, found.high]).all()


def test_a_pair_is_compared_on_the_given_concepts() -> None:
    names = [f"c{n}" for n in range(20)]
    x = draw(0)
    first = make_representation("first", names, x)
    second = make_representation("second", names[::-1], 2 * x[::-1] @ np.linalg.qr(draw(1, 6))[0])
    categories = ["object"] * 12 + ["color"] * 8
    pair = compare_pair(
        first, second, names, categories, key=jax.random.key(0), permutations=49, nearest=50
    )
    assert pair.nearest == 19  # all others
    summary = pair.summary()
    np.testing.assert_allclose(summary["distance"], 0, atol=1e-20)
    np.testing.assert_allclose([pair.cka.value, pair.rank_correlation.value], 1)
    assert pair.cka.p_value == pair.rank_correlation.p_value == 1 / 50
    assert summary["categories"]["color"]["concepts"] == 8
    assert summary["neighbours"]["overlap"] == 1
    with pytest.raises(Net2VecError, match="3 concepts in common"):
        compare_pair(first, second, names[:3], categories[:3], key=jax.random.key(0))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: debiased_cka(np.ones((5, 2)), np.ones((6, 2))), r"must be \[n, K\] of one n"),
        (lambda: debiased_cka(np.ones((3, 2)), np.ones((3, 2))), "4 rows or more"),
        (lambda: correlate_ranks(np.eye(3), np.eye(4)), "same concepts"),
        (
            lambda: assess_cka(draw(0), draw(1), key=jax.random.key(0), permutations=0),
            "at least one",
        ),
        (
            lambda: assess_cka(draw(0), draw(1), key=jax.random.key(0), confidence=95),
            "confidence 95",
        ),
    ],
)
@pytest.mark.wrong_shapes
def test_what_cannot_be_compared_is_refused(call, complaint) -> None:
    with pytest.raises(Net2VecError, match=complaint):
        call()
