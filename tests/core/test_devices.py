"""Work is divided fairly over devices, and any number of them gives what one gives."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from device_problem import EXACT, solve
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.core.devices import (
    divide_evenly,
    fetch,
    make_mesh,
    pad_first_axis,
    place_copies,
    place_parts,
    share_of_host,
)

ROOT = Path(__file__).resolve().parents[2]


def start(out: Path, devices: int, **environment: str) -> subprocess.Popen:
    """Solve the problem in a process with so many devices."""
    return subprocess.Popen(
        [sys.executable, ROOT / "tests" / "device_problem.py", out],
        env=os.environ
        | {
            "XLA_FLAGS": os.environ["XLA_FLAGS"]
            + f" --xla_force_host_platform_device_count={devices}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        }
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def find_address() -> str:
    """A free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def finish(*processes: subprocess.Popen) -> None:
    printed = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, printed, strict=True):
        assert process.returncode == 0, errors


def assert_same(path: Path, setting: list[int], expected: dict[str, np.ndarray]) -> None:
    """The results, and on how many hosts and devices, with which of the images on this host."""
    with np.load(path) as found:
        assert found["setting"].tolist() == setting
        assert set(found) == {"setting", *expected}
        for name, values in expected.items():
            if values.dtype.kind == "f" and not name.startswith(EXACT):
                # The same sums in the same order but for chunks; float32.
                np.testing.assert_allclose(found[name], values, atol=1e-5 * np.abs(values).max())
            else:
                np.testing.assert_array_equal(found[name], values)


PATIENCE = """
import sys, time, jax
from net2vec_jax.core.devices import is_first_host, wait_for_hosts
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
if is_first_host():
    time.sleep(40)
start = time.monotonic()
wait_for_hosts("patience")
wait_for_hosts("again")
assert (time.monotonic() - start > 20) != is_first_host()
"""


@pytest.fixture(scope="module")
def patient_hosts() -> Iterator[list[subprocess.Popen]]:
    """Two hosts, of which one waits for the other while the tests of this module run."""
    address = find_address()
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", PATIENCE, address, str(host)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in range(2)
    ]
    yield hosts
    for host in hosts:
        host.kill()
        host.communicate()


@pytest.fixture(scope="module")
def expected(patient_hosts) -> dict[str, np.ndarray]:
    """On one device."""
    return solve()


def test_eight_devices_give_what_one_gives(tmp_path, expected) -> None:
    # 11 heads, so that some devices have two and some one.
    finish(start(tmp_path / "eight.npz", 8))
    assert_same(tmp_path / "eight.npz", [1, 8, 0, 40], expected)


def test_two_hosts_give_what_one_gives(tmp_path, expected) -> None:
    address = find_address()
    paths = [tmp_path / f"{host}.npz" for host in range(2)]
    hosts = [start(path, 2, COORDINATOR=address, HOST=str(host)) for host, path in enumerate(paths)]
    finish(*hosts)
    # Each host has its own 2 of the 4 devices, and all results.
    assert_same(paths[0], [2, 4, 0, 16], expected)
    assert_same(paths[1], [2, 4, 16, 40], expected)


@given(
    sizes=st.lists(st.integers(0, 1000), max_size=30),
    parts=st.integers(1, 9),
)
def test_parts_are_about_equal(sizes: list[int], parts: int) -> None:
    divided = divide_evenly(sizes, parts)
    assert len(divided) == parts
    assert sorted(np.concatenate(divided).tolist()) == list(range(len(sizes)))
    sums = [sum(sizes[item] for item in part) for part in divided]
    assert max(sums) <= sum(sizes) / parts + max(sizes, default=0)
    assert all((np.diff(part) > 0).all() for part in divided)


@given(items=st.integers(0, 300), multiple=st.integers(1, 70), hosts=st.integers(1, 5))
def test_shares_of_hosts_follow_one_another(items: int, multiple: int, hosts: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jax.process_count", lambda: hosts)
        seen: list[int] = []
        for host in range(hosts):
            patch.setattr("jax.process_index", lambda host=host: host)
            share = share_of_host(items, multiple=multiple)
            assert not len(share) or share.start % multiple == 0
            seen += share
    assert seen == list(range(items))


def test_placed_arrays_come_back() -> None:
    mesh = make_mesh()
    parts = place_parts(mesh, lambda place: np.full((2, 3), place, np.float32))
    assert parts.shape == (mesh.size, 2, 3)
    np.testing.assert_array_equal(fetch(parts)[:, 0, 0], np.arange(mesh.size))
    copies = place_copies(mesh, {"a": np.arange(4)})
    np.testing.assert_array_equal(fetch(copies)["a"], np.arange(4))


@pytest.mark.parametrize("dtype", [None, np.float64])
def test_padding_keeps_what_was_there(dtype) -> None:
    values = np.array([[1, 2], [3, 4], [5, 6]], np.int32)
    padded = pad_first_axis(values, 4, 7, dtype=dtype)
    assert padded.tolist() == [[1, 2], [3, 4], [5, 6], [7, 7]]
    assert padded.dtype == (dtype or np.int32)
    some = pad_first_axis(values, 3, rows=np.array([2, 0]), dtype=dtype)
    assert some.tolist() == [[5, 6], [1, 2], [0, 0]]
    assert some.ctypes.data % 64 == 0
    assert pad_first_axis(values, 2, rows=slice(1, 2), dtype=dtype).tolist() == [[3, 4], [0, 0]]
    assert pad_first_axis(values, 1, rows=np.zeros(0, int)).tolist() == [[0, 0]]


def test_hosts_wait_longer_than_collective_operations_do(patient_hosts) -> None:
    # Those give up after 30 seconds on CPUs.
    finish(*patient_hosts)
