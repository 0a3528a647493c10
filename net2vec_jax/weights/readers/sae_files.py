"""Read sparse autoencoders (SAEs), as SAELens, dictionary_learning and sparsify save them.

Latents of a response x of D filters are z = f((x − b) W + c), and z V + b is about x again: W is
the encoder [D, K], c its bias, V the decoder [K, D], and b the decoder's bias, which not all
subtract. f is the ReLU; or keeps what is above a threshold, as JumpReLU and, once it is trained,
BatchTopK; or the k largest latents of a place (TopK). How the arrays lie is told by their names;
what they do not tell is read from a JSON file beside them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np
from jaxtyping import Float

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.weights.readers.files import read_weight_file

Activation = Literal["relu", "topk", "batchtopk", "jumprelu"]

ARRAYS: Mapping[str, tuple[str, bool]] = {
    "W_enc": ("encoder", False), "encoder.weight": ("encoder", True),
    "W_dec": ("decoder", False), "decoder.weight": ("decoder", True),
    "b_enc": ("bias", False), "encoder.bias": ("bias", False),
    "b_dec": ("shift", False), "bias": ("shift", False), "decoder.bias": ("shift", False),
    "threshold": ("threshold", False), "k": ("k", False),
}  # fmt: skip
"""What an array of a file is, and whether it is transposed, as PyTorch's linear layers are."""
SETTINGS = ("cfg.json", "config.json")


@dataclasses.dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """A sparse autoencoder: K latents of responses of D filters.

    Attributes:
      encoder: W.
      bias: c, less b W where b is subtracted from responses.
      threshold: latents that are not above it are 0; 0 of ReLU and TopK.
      decoder: V; None where the file has none.
      activation: "relu", "topk", "batchtopk" or "jumprelu".
      k: of TopK, how many latents of a place are not 0 at most.
    """

    encoder: Float[np.ndarray, "D K"]
    bias: Float[np.ndarray, " K"]
    threshold: Float[np.ndarray, " K"]
    decoder: Float[np.ndarray, "K D"] | None
    activation: Activation
    k: int | None = None

    def __str__(self) -> str:
        filters, latents = self.encoder.shape
        kept = "" if self.k is None else f" of {self.k}"
        return f"{latents:,} latents of {filters:,} filters, {self.activation}{kept}"


def read_sae_file(path: str | Path) -> SparseAutoencoder:
    """Read a sparse autoencoder from a weight file and the settings beside it.

    Settings are read from FILE.json beside FILE.safetensors, or else from cfg.json or config.json
    there, under the names that SAELens, sparsify or dictionary_learning give them: "architecture"
    ("standard", "topk", "batchtopk", "jumprelu"), "k", "threshold", "apply_b_dec_to_input",
    "rescale_acts_by_decoder_norm".

    Args:
      path: a .safetensors file, another weight file, or a folder with one.

    Raises:
      Net2VecError: it cannot be read, is no sparse autoencoder of these kinds (gated ones,
        transcoders and normalised activations are not read), or does not tell its activation, k,
        threshold or whether the decoder's bias is subtracted; the message says what to write.
    """
    path = Path(path)
    arrays = read_weight_file(path).arrays
    settings = _read_settings(path)
    found, names = _name_arrays(path, arrays)
    activation = _find_activation(path, settings, found, names)
    encoder, bias, shift = found["encoder"], found["bias"], found["shift"]
    if _is_subtracted(path, settings, shift, names):
        bias = bias - shift @ encoder
    threshold, k = np.zeros(len(bias)), None
    if activation == "topk":
        k = _find_k(path, settings, found)
    elif activation != "relu":
        threshold = threshold + _find_threshold(path, settings, found, activation)
    decoder = found.get("decoder")
    if settings.get("rescale_acts_by_decoder_norm"):
        if decoder is None:
            _refuse(path, "rescales latents by the norms of its decoder, which it lacks")
        norm = np.linalg.norm(decoder, axis=1)
        encoder, bias, decoder = encoder * norm, bias * norm, decoder / norm[:, None]
    single = [
        None if array is None else array.astype(np.float32)
        for array in (encoder, bias, np.maximum(threshold, 0), decoder)
    ]
    if not all(np.isfinite(array).all() for array in single if array is not None):
        _refuse(path, "holds numbers that are not finite")
    encoder, bias, threshold, decoder = single
    assert encoder is not None and bias is not None and threshold is not None
    return SparseAutoencoder(encoder, bias, threshold, decoder, activation, k)


def _refuse(path: Path, why: str) -> NoReturn:
    raise Net2VecError(f"the sparse autoencoder {path} {why}")


def _ask(path: Path, what: str, *settings: str) -> NoReturn:
    wanted = " or ".join(f"{{{one}}}" for one in settings)
    _refuse(path, f"does not tell {what}; write it into {path.stem}.json beside it: {wanted}")


def _read_settings(path: Path) -> dict[str, Any]:
    """What a JSON file beside the weights says; nothing, if there is none."""
    folder = path if path.is_dir() else path.parent
    for name in (f"{path.stem}.json", *SETTINGS):
        try:
            settings = json.loads((folder / name).read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise Net2VecError(f"{folder / name} cannot be read ({error!s:.200})") from error
        if not isinstance(settings, dict):
            raise Net2VecError(f"{folder / name} holds no settings by name")
        inner = [settings.get(name) for name in ("trainer", "activation_fn_kwargs")]
        for one in inner:  # where dictionary_learning and older SAELens have them
            settings = (one if isinstance(one, dict) else {}) | settings
        usual = settings.get("normalize_activations") in (None, False, "none")
        if not usual:
            _refuse(path, f"normalises responses ({settings['normalize_activations']}); fold that "
                          "into its encoder, as SAELens can")  # fmt: skip
        return settings
    return {}


def _name_arrays(
    path: Path, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays by what they are, float64 and as the equation has them; and their names."""
    unknown = [key for key in arrays if key not in ARRAYS]
    if unknown:
        _refuse(path, f"has {list_names(unknown)}, which is of no kind that is read (ReLU, TopK, "
                      "BatchTopK, JumpReLU with one linear encoder)")  # fmt: skip
    names = {ARRAYS[key][0]: key for key in arrays}
    if "encoder" not in names or len(names) < len(arrays):
        _refuse(path, f"has {list_names(arrays)}, not one encoder (W_enc or encoder.weight) and "
                      "its biases")  # fmt: skip
    found = {
        name: (arrays[key].T if ARRAYS[key][1] else arrays[key]).astype(np.float64)
        for name, key in names.items()
    }
    if found["encoder"].ndim != 2:
        _refuse(path, f"has {names['encoder']} of shape {arrays[names['encoder']].shape}")
    filters, latents = found["encoder"].shape
    shapes = {
        "bias": [(latents,)], "shift": [(filters,)], "decoder": [(latents, filters)],
        "threshold": [(latents,), (1,), ()], "k": [(), (1,)],
    }  # fmt: skip
    for name, allowed in shapes.items():
        if name in found and found[name].shape not in allowed:
            _refuse(path, f"has {names[name]} of shape {arrays[names[name]].shape}, beside "
                          f"{names['encoder']} {arrays[names['encoder']].shape}")  # fmt: skip
    return {"bias": np.zeros(latents), "shift": np.zeros(filters)} | found, names


def _find_activation(
    path: Path, settings: Mapping[str, Any], found: Mapping[str, np.ndarray], names: dict[str, str]
) -> Activation:
    """What the settings say, by the names of three libraries; or what the arrays can only be."""
    keys = ("architecture", "dict_class", "activation_fn", "activation_fn_str", "activation")
    said = [str(settings[key]) for key in keys if settings.get(key)]
    plain = [re.sub(r"autoencoder|sae|matryoshka|new|[_-]", "", one.lower()) for one in said]
    kinds = {"relu" if kind in ("", "standard") else kind for kind in plain}
    if len(kinds) > 1:
        kinds -= {"relu"}  # an architecture "standard" with activation_fn "topk", and the reverse
    if not kinds and found.get("threshold", np.zeros(())).size > 1:
        kinds = {"jumprelu"}
    elif not kinds and "k" in found and "threshold" not in found:
        kinds = {"topk"}
    elif not kinds and names.get("shift") == "bias":  # only dictionary_learning's first kind
        kinds = {"relu"}
    if not kinds:
        choices = [f'"architecture": "{name}"' for name in ("standard", "topk", "batchtopk")]
        _ask(path, "its activation", *choices)
    for known in get_args(Activation):
        if kinds == {known}:
            return known
    _refuse(path, f"is of a kind that is not read: {', '.join(said)}")


def _is_subtracted(
    path: Path, settings: Mapping[str, Any], shift: np.ndarray, names: Mapping[str, str]
) -> bool:
    """Whether the decoder's bias is subtracted from responses."""
    if "apply_b_dec_to_input" in settings:
        return bool(settings["apply_b_dec_to_input"])
    if not shift.any() or names["shift"] == "decoder.bias":
        return False
    if names["encoder"] == "encoder.weight":  # dictionary_learning and sparsify
        return not settings.get("transcode")
    choices = [f'"apply_b_dec_to_input": {value}' for value in ("true", "false")]
    _ask(path, "whether b_dec is subtracted from responses", *choices)


def _find_k(path: Path, settings: Mapping[str, Any], found: Mapping[str, np.ndarray]) -> int:
    k = settings.get("k", found["k"].item() if "k" in found else None)
    if k is None:
        _ask(path, "how many latents TopK keeps", '"k": 32')
    if not isinstance(k, int | float) or k != int(k) or not 1 <= k <= len(found["bias"]):
        _refuse(path, f"keeps {k} of {len(found['bias'])} latents")
    return int(k)


def _find_threshold(
    path: Path, settings: Mapping[str, Any], found: Mapping[str, np.ndarray], activation: str
) -> np.ndarray:
    try:
        told = settings.get("threshold", found.get("threshold", np.nan))
        threshold = np.asarray(told, np.float64)
    except (TypeError, ValueError):
        threshold = np.asarray(np.nan)
    is_unset = activation == "batchtopk" and (threshold < 0).all()  # as dictionary_learning has it
    fits = threshold.shape in ((), (1,), found["bias"].shape)
    if is_unset or not fits or np.isnan(threshold).any():
        what = "its threshold, which stands for the batch's largest latents once it is trained"
        _ask(path, what if activation == "batchtopk" else "its threshold", '"threshold": 0.1')
    return threshold
