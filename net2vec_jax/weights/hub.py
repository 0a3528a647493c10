"""Weight files of the Hugging Face Hub, by huggingface_hub, which keeps them in its cache.

`hf:OWNER/NAME[@REVISION][/FILE]` names a repository, a branch, tag or commit, and a file;
`timm:NAME` is `hf:timm/NAME`. What is in the cache is found without a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra
from net2vec_jax.weights.spellings import Channels

FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
         "pytorch_model.bin.index.json")  # fmt: skip
"""Under which names repositories keep weights, the preferred first."""
SETTINGS = ("config.json", "preprocessor_config.json")
_NAME = re.compile(
    r"(?:hf:(?P<owner>[\w.-]+)/|timm:)(?P<name>[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+))?"
)


@dataclass(frozen=True)
class HubSettings:
    """What timm's and transformers' configurations say beside a weight file; None is unsaid.

    Attributes:
      architecture: timm's name of the network.
      mean: of red, green and blue, on the scale 0 … 255.
      deviation: what each centred channel is divided by, on the same scale.
      input_size: pixels along a side.
    """

    architecture: str | None = None
    mean: Channels | None = None
    deviation: Channels | None = None
    input_size: int | None = None


def is_on_hub(weights: str) -> bool:
    """Whether weights are named as those of the Hub are."""
    return weights.startswith(("hf:", "timm:"))


def fetch_hub_weights(weights: str) -> Path:
    """Download a weight file, and the configuration beside it, unless they are in the cache.

    Args:
      weights: `hf:OWNER/NAME[@REVISION][/FILE]` or `timm:NAME[@REVISION][/FILE]`.

    Returns:
      The file; of weights in several files, their index.

    Raises:
      Net2VecError: huggingface_hub is not installed; the name is none; there is no such
        repository, revision or file, or no access to it; the Hub cannot be reached.
    """
    parts = _NAME.fullmatch(weights)
    if parts is None:
        raise Net2VecError(f"{weights}: write hf:OWNER/NAME[@REVISION][/FILE] or timm:NAME")
    hub = import_extra("huggingface_hub", "hub")
    errors = import_extra("huggingface_hub.errors", "hub")
    repository = f"{parts['owner'] or 'timm'}/{parts['name']}"

    def find(file: str) -> Any:
        """The path in the cache, None if nothing is known, another object if there is none."""
        return hub.try_to_load_from_cache(repository, file, revision=parts["revision"])

    def fetch(file: str) -> Path | None:
        """The file, None if there is none."""
        cached = find(file)
        if cached is not None:
            return Path(cached) if isinstance(cached, str) else None
        try:
            return Path(hub.hf_hub_download(repository, file, revision=parts["revision"]))
        except errors.LocalEntryNotFoundError as error:
            reason = (
                f"the Hub cannot be reached, and {file} of {repository} is not in its cache "
                "(HF_HOME); try again, or give a file"
            )
            cause = error
        except errors.EntryNotFoundError:
            return None
        except errors.GatedRepoError as error:
            reason = (
                f"access is granted to those who ask for it at huggingface.co/{repository}; do so, "
                "and log in with `hf auth login`"
            )
            cause = error
        except errors.RepositoryNotFoundError as error:
            reason, cause = f"the Hub has no repository {repository}, or it is private", error
        except errors.RevisionNotFoundError as error:
            reason, cause = f"{repository} has no revision {parts['revision']}", error
        except (OSError, ValueError, RuntimeError) as error:
            first_line = str(error).strip().split("\n")[0]
            reason, cause = f"cannot be downloaded ({first_line:.200})", error
        raise Net2VecError(f"{weights}: {reason}") from cause

    files = [parts["file"]] if parts["file"] else FILES
    cached = [file for file in files if isinstance(find(file), str)]
    found = next(filter(None, map(fetch, cached or files)), None)
    if found is None:
        wanted = parts["file"] or f"weights ({', '.join(FILES)}); name its file: {weights}/FILE"
        raise Net2VecError(f"{weights}: {repository} has no {wanted}")
    shards = _read_json(found).get("weight_map", {}) if found.suffix == ".json" else {}
    for file in (*SETTINGS, *sorted(set(shards.values()))):
        if fetch(str(Path(parts["file"] or "").parent / file)) is None and file not in SETTINGS:
            raise Net2VecError(f"{weights}: {repository} lacks its part {file}")
    return found


def read_hub_settings(folder: Path) -> HubSettings:
    """What config.json and preprocessor_config.json say of the images, if they are there.

    Args:
      folder: of the weight file.
    """
    config, images = (_read_json(folder / name) for name in SETTINGS)
    timm = config.get("pretrained_cfg", config)
    scale = 255.0
    mean, deviation = timm.get("mean"), timm.get("std")
    size = (timm.get("input_size") or [None])[-1]
    if "image_mean" in images:
        mean, deviation = images["image_mean"], images.get("image_std")
        scale = 1 / images.get("rescale_factor", 1 / 255)
        if images.get("do_normalize") is False:
            mean, deviation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        size = images.get("crop_size") or images.get("size")
        size = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
    try:
        return HubSettings(
            config.get("architecture"),
            None if mean is None else _scale(mean, scale),
            None if deviation is None else _scale(deviation, scale),
            None if size is None else int(size),
        )
    except (TypeError, ValueError) as error:
        raise Net2VecError(f"{folder}: its {' or '.join(SETTINGS)} is damaged ({error})") from error


def _scale(values: Sequence[float], scale: float) -> Channels:
    """Three values on the scale 0 … 255, without the dust of the product."""
    red, green, blue = (round(float(value) * scale, 6) for value in values)
    return (red, green, blue)


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Net2VecError(f"{path}: cannot be read ({error})") from error
    return found if isinstance(found, dict) else {}
