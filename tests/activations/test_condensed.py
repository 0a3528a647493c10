"""What one pass keeps is what passes over all activations give, whatever stops it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from net2vec_jax.activations import condensed
from net2vec_jax.activations.binary import collect_binary_activations
from net2vec_jax.activations.condensed import Condensed, CondensedWriter, Kept
from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.activations.responses import apply_responses, count_signed
from net2vec_jax.activations.thresholds import collect_thresholds
from net2vec_jax.core.errors import Net2VecError

ORIGIN = {"network": "toy", "layer": "conv1", "dataset": "abc"}
SHAPE = (37, 3, 4, 19)
MAPS = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def collect(folder: Path, maps: np.ndarray, kept: Kept, batch: int = 7) -> Condensed:
    writer = CondensedWriter(folder / "conv1", ORIGIN, kept, len(maps))
    for start in range(0, len(maps), batch):
        writer.add(maps[start : start + batch], start)
    return writer.finish()


def read_files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@given(
    quantile=st.sampled_from([0.005, 0.02, 0.2, 0.9, 1]),
    method=st.sampled_from(["hazen", "linear"]),
    responses=st.sampled_from(["positive", "negative", "both"]),
    steps=st.sampled_from([None, 2]),
    at_once=st.sampled_from([500, 2**22]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_thresholds_and_bits_are_those_of_two_passes(
    tmp_path_factory, monkeypatch, quantile, method, responses, steps, at_once, seed
) -> None:
    monkeypatch.setattr(condensed, "ENTRIES_AT_ONCE", at_once)
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(1, [40, 5, 5]), rng.integers(1, 20))
    maps = rng.normal(size=shape).astype(np.float32)
    if steps:
        maps = np.round(maps * steps)  # ties
    kept = Kept(quantile, method, responses=responses)
    found = collect(tmp_path_factory.mktemp("kept"), maps, kept, int(rng.integers(1, 9)))
    values = [apply_responses(maps, responses)]
    thresholds = collect_thresholds(values, maps[..., 0].size, quantile=quantile, method=method)
    np.testing.assert_array_equal(found.thresholds, thresholds)
    expected = collect_binary_activations(values, thresholds)
    binary = found.read_binary()
    np.testing.assert_array_equal(binary.pack(), expected.packed)
    for name in ("position", "filter", "first", "count"):
        one, two = (getattr(form.active_entries, name) for form in (binary, expected))
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    assert found.shape == maps.shape
    if quantile < 1:
        assert found.signed == count_signed(values[0][:16])


@pytest.mark.parametrize("quantile", [0.02, 0.2])
def test_the_smaller_form_is_written(tmp_path: Path, quantile: float) -> None:
    found = collect(tmp_path, MAPS, Kept(quantile))
    assert (found.read_binary().packed is None) == (quantile < 1 / 32)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("shape", [SHAPE, (37, 19)])
def test_pooled_values_are_those_of_a_pass(tmp_path: Path, pooling, shape) -> None:
    maps = MAPS[:, 0, 0] if len(shape) == 2 else MAPS
    found = collect(tmp_path, maps, Kept(pooling=pooling, responses="both"))
    expected = collect_pooled_activations([apply_responses(maps, "both")], pooling=pooling)
    assert found.pooled.dtype == np.float32
    np.testing.assert_array_equal(found.pooled, expected)


@pytest.mark.parametrize("kept", [Kept(0.005), Kept(0.2, "linear"), Kept(1), Kept(pooling="max")])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_pass_that_is_stopped_ten_times_writes_the_same_bytes(
    tmp_path: Path, monkeypatch, kept: Kept, seed: int
) -> None:
    collect(tmp_path / "whole", MAPS, kept)
    monkeypatch.setattr(condensed, "SHARE_OF_TIME", float("inf"))
    rng, writer = np.random.default_rng(seed), None
    for stops in range(11):
        monkeypatch.setattr(condensed, "SECONDS_PER_NOTE", 0 if rng.integers(3) else 100)
        writer = CondensedWriter(tmp_path / "parts/conv1", ORIGIN, kept, len(MAPS))
        first = writer.seen - writer.seen % 3  # another layer may have noted less
        for start in range(first, len(MAPS), 3):
            writer.add(MAPS[start : start + 3], start)
            if stops < 10 and rng.random() < 0.3:
                break
    assert writer is not None
    writer.finish()
    assert read_files(tmp_path / "parts") == read_files(tmp_path / "whole")


@pytest.mark.parametrize("kept", [Kept(0.005), Kept(1), Kept(pooling="mean")])
def test_hosts_join_what_they_saw(tmp_path: Path, monkeypatch, kept: Kept) -> None:
    collect(tmp_path / "one", MAPS, kept)
    monkeypatch.setattr(condensed, "wait_for_hosts", lambda name: None)
    monkeypatch.setattr(condensed.jax, "process_count", lambda: 3)
    for host, share in ((2, range(24, 37)), (1, range(12, 24)), (0, range(12))):
        monkeypatch.setattr(condensed.jax, "process_index", lambda host=host: host)
        monkeypatch.setattr(condensed, "is_first_host", lambda host=host: host == 0)
        writer = CondensedWriter(tmp_path / "all/conv1", ORIGIN, kept, len(MAPS), share)
        writer.add(MAPS[share.start : share.stop], share.start)
        if host:
            with pytest.raises(Net2VecError, match="no complete activations"):
                writer.finish()  # the first host is not there yet
        else:
            writer.finish()
    assert read_files(tmp_path / "all") == read_files(tmp_path / "one")


def test_notes_of_another_pass_or_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    kept, layer = Kept(0.005), tmp_path / "conv1"
    writer = CondensedWriter(layer, ORIGIN, kept, len(MAPS))
    writer.add(MAPS[:5], 0)
    writer.note()
    assert CondensedWriter(layer, ORIGIN, kept, len(MAPS)).seen == 5
    for origin, batches in ((ORIGIN | {"dataset": "new"}, ""), (ORIGIN, "64")):
        assert CondensedWriter(layer, origin, kept, len(MAPS), batches=batches).seen == 0
    (tmp_path / "conv1.top_0.005_hazen.unfinished/0.npz").write_bytes(b"PK")
    assert CondensedWriter(layer, ORIGIN, kept, len(MAPS)).seen == 0


def test_what_is_kept_of_others_is_refused(tmp_path: Path) -> None:
    found = collect(tmp_path, MAPS, Kept(0.005))
    found.check_origin(ORIGIN)
    with pytest.raises(Net2VecError, match="another dataset: 'abc', not 'new'"):
        found.check_origin(ORIGIN | {"dataset": "new"})
    (found.directory / "count.npy").unlink()
    with pytest.raises(Net2VecError, match="no complete activations"):
        Condensed(found.directory).read_binary()
    with pytest.raises(Net2VecError, match="0 of 3 images"):
        CondensedWriter(tmp_path / "other", ORIGIN, Kept(), 3).finish()
    with pytest.raises(Net2VecError, match="expected"):
        CondensedWriter(tmp_path / "other", ORIGIN, Kept(), 3).add(
            np.zeros((3, 2, 2), np.float32), 0
        )
