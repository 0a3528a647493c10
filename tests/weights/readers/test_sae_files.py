"""Sparse autoencoders are read as libraries compute them; what a file does not tell is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.sae_files import read_sae_file

D, K = 4, 6
Save = Callable[..., Path]


def _arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """In the names and layout of SAELens."""
    rng = np.random.default_rng(seed)
    shapes = {"W_enc": (D, K), "b_enc": (K,), "W_dec": (K, D), "b_dec": (D,)}
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def _linear(bias: str = "b_dec") -> dict[str, np.ndarray]:
    """In the names and layout of dictionary_learning."""
    one = _arrays()
    return {
        "encoder.weight": one["W_enc"].T, "encoder.bias": one["b_enc"],
        "decoder.weight": one["W_dec"].T, bias: one["b_dec"],
    }  # fmt: skip


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves arrays, and settings beside them."""

    def save(arrays: dict[str, np.ndarray], settings: object = None, name: str = "cfg") -> Path:
        path = tmp_path / "sae.safetensors"
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, path)
        if settings is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(settings))
        return path

    return save


@pytest.mark.parametrize("is_subtracted", [True, False])
def test_saelens(save: Save, is_subtracted: bool) -> None:
    arrays = _arrays()
    settings = {"architecture": "standard", "apply_b_dec_to_input": is_subtracted}
    sae = read_sae_file(save(arrays, settings))
    bias = arrays["b_enc"] - is_subtracted * arrays["b_dec"] @ arrays["W_enc"]
    np.testing.assert_allclose(sae.bias, bias, rtol=1e-5)
    np.testing.assert_array_equal(sae.encoder, arrays["W_enc"])
    np.testing.assert_array_equal(sae.decoder, arrays["W_dec"])
    assert (sae.activation, sae.k, sae.threshold.any()) == ("relu", None, False)


@pytest.mark.parametrize(
    ("name", "settings", "more", "kind", "k"),
    [
        ("bias", None, {}, "relu", None),
        ("decoder.bias", {"trainer": {"dict_class": "AutoEncoderNew"}}, {}, "relu", None),
        ("b_dec", None, {"k": np.array(2)}, "topk", 2),
        ("b_dec", {"trainer": {"dict_class": "AutoEncoderTopK", "k": 3}},
         {"k": np.array(3), "threshold": np.array(-1.0)}, "topk", 3),
        ("b_dec", {"trainer": {"dict_class": "BatchTopKSAE", "k": 3}},
         {"k": np.array(3), "threshold": np.array(0.5)}, "batchtopk", None),
        ("b_dec", {"activation": "topk", "k": 4, "transcode": False}, {}, "topk", 4),
    ],
)  # fmt: skip
def test_linear_layers_of_torch(
    save: Save, name: str, settings: object, more: dict, kind: str, k: int | None
) -> None:
    arrays = _arrays()
    sae = read_sae_file(save(_linear(name) | more, settings, "config"))
    assert (sae.activation, sae.k) == (kind, k)
    shift = 0 * arrays["b_dec"] if name == "decoder.bias" else arrays["b_dec"]
    np.testing.assert_allclose(sae.bias, arrays["b_enc"] - shift @ arrays["W_enc"], rtol=1e-5)
    np.testing.assert_array_equal(sae.encoder, arrays["W_enc"])
    np.testing.assert_array_equal(sae.decoder, arrays["W_dec"])
    np.testing.assert_array_equal(sae.threshold, 0.5 if kind == "batchtopk" else 0)


def test_thresholds_are_of_each_latent_and_never_below_zero(save: Save) -> None:
    thresholds = np.linspace(-1, 1, K).astype(np.float32)
    sae = read_sae_file(
        save(_arrays() | {"threshold": thresholds}, {"apply_b_dec_to_input": False})
    )
    assert sae.activation == "jumprelu"
    np.testing.assert_array_equal(sae.threshold, np.maximum(thresholds, 0))


def test_latents_are_rescaled_by_the_decoders_norms(save: Save) -> None:
    arrays = _arrays()
    settings = {
        "architecture": "standard", "activation_fn": "topk", "activation_fn_kwargs": {"k": 2},
        "apply_b_dec_to_input": False, "rescale_acts_by_decoder_norm": True,
    }  # fmt: skip
    sae = read_sae_file(save(arrays, settings))
    norm = np.linalg.norm(arrays["W_dec"], axis=1)
    assert sae.k == 2
    np.testing.assert_allclose(sae.encoder, arrays["W_enc"] * norm, rtol=1e-6)
    np.testing.assert_allclose(sae.bias, arrays["b_enc"] * norm, rtol=1e-6)
    np.testing.assert_allclose(
        sae.encoder @ sae.decoder, arrays["W_enc"] @ arrays["W_dec"], rtol=1e-5
    )


def test_a_file_of_its_own_name_goes_before_the_folders(save: Save, tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text('{"architecture": "gated"}')
    assert read_sae_file(save(_linear(), {"architecture": "topk", "k": 1}, "sae")).k == 1
    assert read_sae_file(save(_linear() | {"k": np.array(2)}, {}, "sae")).k == 2


NO_SHIFT = {"b_dec": np.zeros(D, np.float32)}
TOLD = {"apply_b_dec_to_input": True}


@pytest.mark.parametrize(
    ("arrays", "settings", "why"),
    [
        (_arrays(), TOLD, r'activation.*sae.json beside it: {"architecture": "standard"} or'),
        (_linear() | {"k": np.array(2), "threshold": np.array(0.1)}, None, "its activation"),
        (_arrays(), {"architecture": "relu"}, "whether b_dec is subtracted"),
        (_arrays(), {"architecture": "topk", **TOLD}, "how many latents TopK keeps"),
        (_arrays(), {"architecture": "topk", "k": K + 1, **TOLD}, f"keeps {K + 1} of {K}"),
        (_linear(), {"architecture": "batchtopk"}, "threshold, which stands for the batch"),
        (_linear() | {"threshold": np.array(-1.0)}, {"architecture": "batchtopk"}, "threshold, "),
        (_linear(), {"architecture": "jumprelu", "threshold": "much"}, "its threshold"),
        (_arrays(), {"architecture": "gated", **TOLD}, "not read: gated"),
        (_arrays() | {"r_mag": np.ones(K)}, TOLD, "has r_mag"),
        (_arrays(), {"normalize_activations": "layer_norm"}, "normalises responses"),
        ({"W_dec": np.ones((K, D))}, TOLD, "not one encoder"),
        (_arrays() | _linear(), TOLD, "not one encoder"),
        (_arrays() | {"W_enc": np.ones(K)}, TOLD, r"W_enc of shape \(6,\)"),
        (_arrays() | {"b_enc": np.ones(D)}, TOLD, r"b_enc of shape \(4,\), beside W_enc \(4, 6\)"),
        (_arrays() | {"W_dec": np.ones((K, D + 1))}, TOLD, "W_dec of shape"),
        (_arrays() | {"b_enc": np.full(K, np.nan)}, {"architecture": "relu", **TOLD}, "not finite"),
        ({key: _arrays()[key] for key in ("W_enc", "b_enc")},
         {"architecture": "relu", "rescale_acts_by_decoder_norm": True}, "which it lacks"),
        (_arrays(), [1], "holds no settings"),
    ],
)  # fmt: skip
def test_what_is_not_told_or_not_read_is_named(
    save: Save, arrays: dict, settings: object, why: str
) -> None:
    with pytest.raises(Net2VecError, match=why):
        read_sae_file(save(arrays, settings))


def test_a_bias_of_zeros_needs_no_telling(save: Save) -> None:
    sae = read_sae_file(save(_arrays() | NO_SHIFT, {"architecture": "standard"}))
    np.testing.assert_array_equal(sae.bias, _arrays()["b_enc"])


def test_damaged_settings_are_named(save: Save, tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(Net2VecError, match=r"cfg\.json cannot be read"):
        read_sae_file(save(_arrays()))
