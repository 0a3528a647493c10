"""The collector's benchmark measures what it says, and leaves nothing but its result."""

import json
from pathlib import Path

import numpy as np

from experiments.benchmark import one_pass
from experiments.benchmark.one_pass import PassFlags


def test_a_pass_is_measured(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(one_pass.LAYERS, "alexnet", {"conv1": (5, 4, 6), "conv2": (1, 1, 9)})
    one_pass.main(PassFlags(tmp_path / "out", images=(40, 70)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one_pass.json"]
    passes = json.loads((tmp_path / "out" / "one_pass.json").read_text())["passes"]
    assert [each["images"] for each in passes] == [40, 70]
    for each in passes:
        assert each["dense_gb"] == 4 * each["images"] * (5 * 4 * 6 + 9) / 1e9
        assert each["disk_gb"] > 0 and each["peak_memory_gb"] > 0
    assert "40" in capsys.readouterr().out


def test_batches_are_positive_and_of_all_images() -> None:
    batches = list(one_pass.draw_batches({"a": (2, 3, 4)}, 70, seed=0))
    values = np.concatenate([batch["a"] for batch in batches])
    assert values.shape == (70, 2, 3, 4) and values.dtype == np.float32
    assert values.min() == 0 and len(np.unique(values)) > 500
