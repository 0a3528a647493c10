"""An exported file says all that its numbers mean, and NumPy alone applies it as `predict` does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "apply.md"
FILTERS = 6


@pytest.fixture(scope="module")
def activations() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(size=(24, 5, 4, FILTERS)), 0).astype(np.float32)


@pytest.fixture(scope="module")
def probes(activations: np.ndarray) -> dict[str, n2v.SegmentationProbe]:
    """Of two presets, of two concepts where one filter is high."""
    high = activations.repeat(4, axis=1).repeat(4, axis=2)[..., :2] > 0.8
    masks = np.where(high[..., 0], 1, np.where(high[..., 1], 2, 0)).astype(np.int32)
    images = np.zeros((24, 40, 32, 3), np.uint8)
    dataset = n2v.from_arrays(images, masks, {1: "a|b\n# c", 2: "two"})
    layer = n2v.read_activations(activations)
    settings = {"bootstrap_samples": 20, "cache_data": False, "quantile": 0.2}
    return {
        "paper": n2v.train_segmentation(layer, dataset, epochs=3, learning_rate=0.1, **settings),
        "converged": n2v.train_segmentation(layer, dataset, n2v.CONVERGED, **settings),
    }


def read_file(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    with safe_open(path, "np") as file:
        about = {name: json.loads(text) for name, text in file.metadata().items()}
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_page_s_code_marks_what_predict_marks(
    probes: dict[str, n2v.SegmentationProbe], activations: np.ndarray, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, library: str,
) -> None:  # fmt: skip
    pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    probes["paper"].export("exported/embeddings.safetensors")
    (block,) = (
        text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        if f"import {library}" in text
    )  # fmt: skip
    assert len(re.findall(r"\S.*", block)) <= 15
    code: dict = {}
    exec(compile(block, "apply.md", "exec"), code)
    predicted = probes["paper"].predict(activations)
    if library == "torch":
        given = code["torch"].from_numpy(activations.transpose(0, 3, 1, 2))
        marked = code["find_masks"](given, (20, 16)).numpy()
    else:
        assert code["about"]["concepts"] == ["a|b\n# c", "two"]
        marked = code["find_masks"](activations, (20, 16))
    np.testing.assert_array_equal(marked, np.stack(predicted.masks))
    assert 0.02 < marked.mean() < 0.98


def test_all_that_the_numbers_mean_stands_in_the_file(
    probes: dict[str, n2v.SegmentationProbe], activations: np.ndarray, tmp_path: Path
) -> None:
    probe = probes["converged"]
    tensors, about = read_file(probe.export(tmp_path / "converged" / "dog.safetensors"))
    assert set(tensors) == {"weights", "level", "mean", "deviation"}
    z = ((activations - tensors["mean"]) / tensors["deviation"]) @ tensors["weights"].T
    inside = z[:, 0, 0] > tensors["level"]  # corners are aligned
    np.testing.assert_array_equal(inside, np.stack(probe.predict(activations).masks)[:, :, 0, 0])
    assert about["kind"] == "segmentation" and about["segmentation_size"] == [20, 16]
    assert about["scores"] == probe.scores()["val_iou"].tolist()
    assert (tmp_path / "converged" / "README.md").exists()
    tensors, about = read_file(probes["paper"].export(tmp_path / "converged" / "cat.safetensors"))
    np.testing.assert_array_equal(tensors["thresholds"], probes["paper"].thresholds)


def test_the_classification_probe_is_exported(activations: np.ndarray, tmp_path: Path) -> None:
    masks = np.ones((24, 8, 8), np.int32)
    masks[::2] = 2
    dataset = n2v.from_arrays(np.zeros((24, 16, 16, 3), np.uint8), masks, {1: "odd", 2: "even"})
    layer = n2v.read_activations(activations)
    probe = n2v.train_classification(layer, dataset, epochs=3, minimum_images=2, cache_data=False)
    tensors, about = read_file(probe.export(tmp_path / "x.safetensors"))
    logits = activations.mean((1, 2)) @ tensors["weights"].T + tensors["bias"]
    np.testing.assert_array_equal(logits > 0, probe.predict(activations).shows)
    assert about["pooling"] == "mean" and about["measure"] == "accuracy on val"


def test_names_from_data_are_no_markdown(
    probes: dict[str, n2v.SegmentationProbe], tmp_path: Path
) -> None:
    path = probes["paper"].export(tmp_path / "new" / "x.safetensors")
    card = path.with_name("README.md").read_text(encoding="utf-8")
    assert "\n| a\\|b \\# c | " in card


def test_files_of_others_are_not_replaced(
    probes: dict[str, n2v.SegmentationProbe], tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(Net2VecError, match="of something else"):
        probes["paper"].export(tmp_path / "x.safetensors")
    with pytest.raises(Net2VecError, match="ends in"):
        probes["paper"].export(tmp_path / "x.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
