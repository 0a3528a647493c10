"""DINOv2, CLIP's image towers and Swin give what their originals give.

The weights come from a formula; the outputs were recorded from torchvision, timm and transformers.
"""

import fnmatch
import functools
import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import respond
from torchvision_golden import golden_state_dict, read_golden

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.load import NETWORKS, load_network, port_network, save_network
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.models.dinov2 import resample_bicubically
from net2vec_jax.networks.preprocessing import IMAGENET
from net2vec_jax.networks.untrained import untrain
from net2vec_jax.networks.zoo.transformers import TRANSFORMER_ENTRIES
from net2vec_jax.studies.maximise_activation import choose_size
from net2vec_jax.weights.porting import drop_ones, find_rules
from net2vec_jax.weights.spellings import respell

GOLDEN = ("dinov2_vits14", "dinov2_vits14_reg", "clip_vit_b_32", "clip_resnet50", "swin_t")
NAMES = [entry.name for entry in TRANSFORMER_ENTRIES]


@pytest.mark.parametrize("name", GOLDEN)
def test_outputs_equal_the_originals(name, golden_dir):
    golden = read_golden(golden_dir / "transformers", name)
    network = port_network(NETWORKS[name], golden_state_dict(golden), origin="the formula")
    images = np.random.default_rng(0).standard_normal(tuple(golden["images"]), np.float32)
    layers = [key.split("/")[1] for key in golden if key.endswith("/index")]
    found = respond(network, images, tuple(layers))
    for layer in layers:
        index, expected, deviation = (golden[f"tap/{layer}/{p}"] for p in ("index", "value", "std"))
        values = np.asarray(found[layer]).reshape(-1)[index]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * deviation, err_msg=layer)


def _wanted(name):
    """Every key of the original's file, with its array's shape."""
    network = nnx.eval_shape(lambda: NETWORKS[name].build(classes=1000, rngs=nnx.Rngs(0)))
    leaves = {
        ".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(nnx.state(network))
    }
    return {
        key: shape
        for path, rule in find_rules(network).items()
        for key, shape in zip(rule.keys, rule.layout.file_shapes(leaves[path].shape), strict=True)
    }


@functools.cache
def _listings(path):
    return json.loads(gzip.decompress(path.read_bytes()))


def _spell(name, arrays):
    """The arrays under the original's keys, by the first spelling that fits."""
    fitting = [one for one in NETWORKS[name].spellings if one.fits(arrays)]
    return respell(arrays, fitting[0]) if fitting else arrays


@pytest.mark.parametrize("name", NAMES)
def test_other_libraries_names_fit(name, golden_dir):
    entry, wanted = NETWORKS[name], _wanted(name)
    found = _listings(golden_dir / "transformers" / "listings.json.gz")
    listings = {key: shapes for key, shapes in found.items() if key.split()[0] == name}
    assert len(listings) == (1 if name == "clip_resnet50" else 4 if name[:4] == "swin" else 3)
    bare = {key.removeprefix("visual."): shape for key, shape in wanted.items()}
    for library, listing in (listings | {"original": wanted, "original, bare": bare}).items():
        arrays = {key: np.broadcast_to(np.False_, shape) for key, shape in listing.items()}
        spelt = _spell(name, arrays)
        fitting = {
            key: drop_ones(array.shape)
            for key, array in spelt.items()
            if not any(fnmatch.fnmatchcase(key, pattern) for pattern in entry.ignored)
        }
        assert fitting == {key: drop_ones(shape) for key, shape in wanted.items()}, library


def test_spellings_keep_numbers():
    rng = np.random.default_rng(0)

    parts = {word: rng.random((4, 4)) for word in ("key", "value", "query")}
    marks = {"embeddings.patch_embeddings.projection.bias": np.zeros(4)}
    arrays = {f"encoder.layer.0.attention.attention.{k}.weight": a for k, a in parts.items()}
    joint = np.concatenate([parts["query"], parts["key"], parts["value"]])
    found = _spell("dinov2_vits14", arrays | marks)["blocks.0.attn.qkv.weight"]
    np.testing.assert_array_equal(found, joint)
    tokens = {"reg_token": rng.random((1, 4, 6)), "pos_embed": rng.random((1, 9, 6))}
    found = _spell("dinov2_vits14_reg", tokens)["pos_embed"]
    np.testing.assert_array_equal(found[:, 1:], tokens["pos_embed"])
    np.testing.assert_array_equal(found[:, 0], 0)
    head = {"norm_pre.bias": np.zeros(4), "head.weight": rng.random((3, 4))}
    found = _spell("clip_vit_b_16", head | {"head.bias": np.zeros(3)})["visual.proj"]
    np.testing.assert_array_equal(found, head["head.weight"].T)
    assert "visual.proj" not in _spell("clip_vit_b_16", head | {"head.bias": np.ones(3)})


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("outputs", [5, 16, 37, 50])
def test_positions_are_resampled_as_torch_does(outputs, antialias):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(outputs).standard_normal((1, 3, 37, 37), np.float32)
    offset = 0.0 if antialias else 0.1
    options = {"size": (outputs, 20)} if antialias else {
        "scale_factor": ((outputs + offset) / 37, (20 + offset) / 37)
    }  # fmt: skip
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values), mode="bicubic", antialias=antialias, **options
    )
    rows, columns = (resample_bicubically(37, n, offset, antialias) for n in (outputs, 20))
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)
    found = np.einsum("hi,wj,ncij->nchw", rows, columns, values)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def _shapes(network, side, layers):
    images = jax.ShapeDtypeStruct((2, *side, 3), jnp.float32)
    return jax.eval_shape(
        lambda network, images: network.activations(images, layers), network, images
    )


def _abstract(name):
    return nnx.eval_shape(lambda: NETWORKS[name].build(classes=7, rngs=nnx.Rngs(0)))


def test_tokens_without_a_place_are_layers_of_their_own():
    places, none = (2, 2, 5, 384), (2, 384)
    expected = {"block3": places, "blocks.3": places, "blocks.3.mlp.act": (2, 2, 5, 1536)} | {
        name: none for name in ("block3_register3", "block3_class", "norm_register0", "norm_class")
    }
    found = _shapes(_abstract("dinov2_vits14_reg"), (28, 70), list(expected))
    assert {name: value.shape for name, value in found.items()} == expected
    assert "block3_register0" not in _abstract("dinov2_vits14").layers


def test_sizes_that_the_original_does_not_take_are_refused():
    with pytest.raises(Net2VecError, match=r"224 × 230 pixels do not divide .* multiples of 14"):
        _shapes(_abstract("dinov2_vits14"), (224, 230), ["block0"])
    with pytest.raises(Net2VecError, match="resize the images"):
        _shapes(_abstract("clip_vit_b_32"), (256, 256), ["block0"])
    assert _shapes(_abstract("clip_resnet50"), (256, 320), ["layer4"])["layer4"].shape[1:3] == (
        8,
        10,
    )
    with pytest.raises(Net2VecError, match=r"attention pooling.*resize the images to 224 × 224"):
        _shapes(_abstract("clip_resnet50"), (256, 256), ["embedding"])


def test_optimised_images_divide_into_patches():
    loaded = LoadedNetwork("own", _abstract("dinov2_vits14"), "", 224, IMAGENET, ("block0",))
    assert choose_size(loaded, None) == 126


def test_swin_takes_any_size():
    sizes = {side: _shapes(_abstract("swin_t"), (side, 90), ["stage1", "stage4", "logits"])
             for side in (4, 31, 90)}  # fmt: skip
    assert [found["stage1"].shape[1:3] for found in sizes.values()] == [(1, 22), (7, 22), (22, 22)]
    assert [found["stage4"].shape[1:3] for found in sizes.values()] == [(1, 3), (1, 3), (3, 3)]
    assert all(found["logits"].shape == (2, 7) for found in sizes.values())


def test_networks_without_classes_are_stored_and_untrained(golden_dir, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    golden = read_golden(golden_dir / "transformers", "dinov2_vits14")
    safetensors.save_file(golden_state_dict(golden), tmp_path / "weights.safetensors")
    loaded = load_network("dinov2_vits14", weights=tmp_path / "weights.safetensors")
    assert not loaded.classes
    save_network(loaded, tmp_path / "ported")
    again = load_network(tmp_path / "ported")
    assert again.fingerprint == loaded.fingerprint
    jax.tree.map(np.testing.assert_array_equal, loaded.network, again.network)
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), np.uint8)
    untrained = untrain(again, images)
    layer = untrained.probing_layers[-1]
    values = respond(untrained.network, untrained.preprocessing()(images), (layer,))[layer]
    assert np.isfinite(values).all()
    assert np.std(values) > 0.1
