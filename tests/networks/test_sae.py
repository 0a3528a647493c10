"""Latents of sparse autoencoders as layers: values, going on from them, the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import jit_once, respond
from jaxtyping import Array
from safetensors.numpy import save_file

import net2vec_jax as n2v
from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.networks.load import load_network, open_network_origin, save_network
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.sae import find_largest
from net2vec_jax.networks.untrained import has_untrained
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.studies import segmentation

D, K = 3, 8
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an autoencoder of random numbers."""

    def write(settings: dict, filters: int = D, name: str = "sae", seed: int = 0, **more) -> Path:
        path = tmp_path / f"{name}.safetensors"
        save_file(_draw(filters, seed) | more, path)
        path.with_suffix(".json").write_text(json.dumps({"apply_b_dec_to_input": True, **settings}))
        return path

    return write


def _draw(filters: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"W_enc": (filters, K), "b_enc": (K,), "W_dec": (K, filters), "b_dec": (filters,)}
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def _pixels(**more) -> n2v.LoadedNetwork:
    return n2v.wrap_function(
        lambda _, x: {"pixels": x, "means": x.mean((1, 2))}, (), layers=["pixels", "means"],
        name="own", input_size=5, **more,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["standard", "topk", "batchtopk", "jumprelu"])
@pytest.mark.parametrize("layer", ["pixels", "means"])
def test_latents_are_those_of_the_equation(write: Write, kind: str, layer: str) -> None:
    thresholds = np.linspace(-0.5, 1.5, K).astype(np.float32)
    more = {"threshold": thresholds} if kind == "jumprelu" else {}
    loaded = n2v.wrap_sae(
        _pixels(), layer, write({"architecture": kind, "k": 3, "threshold": 0.7} | (
            {"threshold": thresholds.tolist()} if more else {}), **more)
    )  # fmt: skip
    network = loaded.network
    place = ("pixels", "means").index(layer) + 1
    assert network.layers[place] == f"{layer}.sae"
    images = np.random.default_rng(1).standard_normal((2, 5, 5, 3), np.float32)
    found = jax.jit(lambda x: network.activations(x, [layer, f"{layer}.sae"]))(images)
    x, one = np.asarray(found[layer], np.float64), _draw(D)
    latents = np.maximum((x - one["b_dec"]) @ one["W_enc"] + one["b_enc"], 0)
    if kind == "topk":
        least = np.sort(latents, axis=-1)[..., -3:][..., :1]
        latents = np.where(latents >= least, latents, 0)
        assert (np.count_nonzero(latents, axis=-1) <= 3).all()
    elif kind != "standard":
        latents = np.where(latents > (thresholds if more else 0.7), latents, 0)
    np.testing.assert_allclose(found[f"{layer}.sae"], latents, rtol=1e-4, atol=1e-5)
    assert 0 < np.count_nonzero(latents) < latents.size


@pytest.mark.parametrize("shape", [(4, 100), (3, 7), (2, 1)])
def test_the_largest_are_found_among_groups(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    values = np.maximum(rng.integers(-3, 9, shape), 0).astype(np.float32)  # with ties
    for k in {1, 2, 5, shape[1]} & set(range(1, shape[1] + 1)):
        expected = np.sort(values, axis=1)[:, -k][:, None]
        np.testing.assert_array_equal(find_largest(jnp.array(values), k), expected)


def test_the_network_goes_on_with_what_the_latents_change(write: Write) -> None:
    loaded = n2v.load_network("efficientnet_lite0")
    wrapped = n2v.wrap_sae(loaded, "block10", write({"architecture": "topk", "k": 3}, 112))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    given = loaded.preprocessing()(jnp.asarray(images))
    found = respond(wrapped.network, given, ("block10", "block10.sae", "logits"))
    plain = respond(loaded.network, given, ("block10", "logits"))
    for layer in plain:
        np.testing.assert_allclose(found[layer], plain[layer], atol=1e-5)
    latents = found["block10.sae"]

    def go_on(network: LoadedNetwork, layer: str, response: Array) -> Array:
        return jit_once(lambda values: network.continue_from(layer, values, images))(response)

    # What stays as it was changes nothing.
    same = go_on(wrapped, "block10.sae", latents)
    np.testing.assert_allclose(same, found["logits"], atol=1e-4)
    # A latent is a direction of the layer, its row of the decoder.
    raised = go_on(wrapped, "block10.sae", latents.at[..., 5].add(2.0))
    moved = found["block10"] + 2 * _draw(112)["W_dec"][5][None, None, None]
    for network in (loaded, wrapped):
        np.testing.assert_allclose(raised, go_on(network, "block10", moved), atol=1e-4)
    with pytest.raises(Net2VecError, match="give the images"):
        wrapped.continue_from("block10.sae", latents)


def test_an_own_model_is_checked_and_goes_on_by_its_rest(write: Write) -> None:
    path = write({"architecture": "standard"})
    own = n2v.wrap_sae(_pixels(rest={"pixels": lambda x: x.sum((1, 2))}), "pixels", path)
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)
    latents = n2v.collect_activations(own, images, "pixels.sae").read(np.arange(2))
    end = own.continue_from("pixels.sae", latents, images)
    given = own.preprocessing()(jnp.asarray(images))
    np.testing.assert_allclose(end, np.asarray(given).sum((1, 2)), rtol=1e-3)
    mixing = n2v.wrap_function(
        lambda _, x: {"mixed": x - x.mean((0, 1, 2), keepdims=True)}, (), layers=["mixed"]
    )
    with pytest.raises(Net2VecError, match="other images of its batch"):
        n2v.collect_activations(n2v.wrap_sae(mixing, "mixed", path), images, "mixed.sae")


def test_fingerprints_tell_numbers_layers_and_settings_apart(write: Write) -> None:
    own = _pixels()
    path = write({"architecture": "standard"})
    one = n2v.wrap_sae(own, "pixels", path)
    again = n2v.wrap_sae(own, "pixels", path)
    others = [
        own,
        n2v.wrap_sae(own, "means", path),
        n2v.wrap_sae(own, "pixels", write({"architecture": "standard"}, name="other", seed=1)),
        n2v.wrap_sae(own, "pixels", write({"architecture": "topk", "k": 2}, name="top")),
        n2v.wrap_sae(own, "pixels", write({"architecture": "topk", "k": 3}, name="more")),
    ]
    assert again.fingerprint == one.fingerprint
    assert len({other.fingerprint for other in [one, *others]}) == 1 + len(others)


def test_wrong_layers_and_sizes_are_named(write: Write) -> None:
    with pytest.raises(Net2VecError, match="encodes 4 filters, but layer pixels of own has 3"):
        n2v.wrap_sae(_pixels(), "pixels", write({"architecture": "standard"}, 4))
    with pytest.raises(Net2VecError, match="pixel"):
        n2v.wrap_sae(_pixels(), "pixel", write({"architecture": "standard"}))


def test_a_network_of_the_zoo_is_opened_again_with_its_autoencoder(
    write: Write, tmp_path: Path
) -> None:
    path = write({"architecture": "topk", "k": 3}, 112)
    loaded = load_network("efficientnet_lite0", sae=[f"block10={path}"])
    assert loaded.probing_layers[-1] == "block10.sae"
    origin = json.loads(json.dumps(loaded.origin))
    again = open_network_origin(origin)
    assert again.network.layers == loaded.network.layers
    assert not has_untrained(loaded)
    with pytest.raises(Net2VecError, match="without sparse autoencoders"):
        save_network(loaded, tmp_path / "ported")
    with pytest.raises(Net2VecError, match="write LAYER=FILE"):
        load_network("efficientnet_lite0", sae=["block10"])
    write({"architecture": "topk", "k": 4}, 112)
    with pytest.raises(Net2VecError, match="holds other weights"):
        open_network_origin(origin)


def _write_dataset(directory: Path) -> None:
    rng = np.random.default_rng(0)
    plane = np.zeros((1, 32, 32), np.int32)
    plane[0, :12] = 1
    labels = ImageLabels({"object": plane}, {})
    examples = [
        LabelledImage(
            f"{index}.jpg", split, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), labels
        )
        for index, split in enumerate(["train"] * 4 + ["val"] * 2)
    ]
    write_broden(directory, examples, {1: "top"})


def test_latents_are_probed_beside_their_layer_from_the_command_line(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write({"architecture": "topk", "k": 3}, 112)
    _write_dataset(tmp_path / "data")
    command = [
        "segmentation", "--dataset", "data", "--network", "efficientnet_lite0", "--layer",
        "block10", "block10.sae", "--sae", "block10=sae.safetensors", "--out", "runs",
        "--epochs", "1", "--bootstrap-samples", "20", "--no-controls",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", command)
    run_script(segmentation.main)
    capsys.readouterr()
    run_script(segmentation.main)  # finished runs are opened with the same autoencoder
    runs = [FinishedRun(tmp_path / "runs" / layer) for layer in ("block10", "block10.sae")]
    assert [run.filters for run in runs] == [112, K]
    noted = runs[1].record["sources"]
    assert noted["weight_options"] == {"sae": [f"block10={path}"]}
    assert "8 latents of 112 filters, topk of 3" in noted["weights_are"]
    assert RunSources(runs[1]).network.fingerprint == runs[1].origin["weights"]
    images = np.zeros((1, 64, 64, 3), np.uint8)
    predicted = n2v.load_probe(tmp_path / "runs" / "block10.sae").predict(images, ["top"])
    assert predicted.masks[0].shape == (1, 64, 64)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in (path, path.with_suffix(".json")):
        file.rename(moved / file.name)
    with pytest.raises(Net2VecError, match="--sae"):
        _ = RunSources(runs[1]).network
    flags = SourceFlags(sae=(f"block10={moved / path.name}",))
    assert RunSources(runs[1], flags).network.fingerprint == runs[1].origin["weights"]
