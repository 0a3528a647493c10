"""Embeddings as one safetensors file that needs no net2vec_jax, and a card that explains it.

Tensors are named as in `Probe.export`; what they mean stands in the file's header, every value a
JSON text, so that any reader of safetensors shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import make_folder

SUFFIX, CARD = ".safetensors", "README.md"
FORMAT = "net2vec_jax embeddings 1"
_FRONT = "---\nlibrary_name: net2vec_jax\n"
_USE: Mapping[str, str] = {
    "segmentation": (
        "A pixel shows a concept where `z = upsample(x @ weights.T)` is above the concept's "
        "`level`. `x` is `activations > thresholds`, or `(activations - mean) / deviation` where "
        "the file has these, on the layer's grid `[h, w, K]`; `upsample` is bilinear with aligned "
        "corners, to any size. The probability is `sigmoid(z - level)`."
    ),
    "classification": (
        "An image shows a concept where `pooled @ weights.T + bias` is above 0. `pooled` are the "
        "layer's activations (1 above `thresholds` and 0 elsewhere, where the file has these) "
        "pooled over the grid; of the pooling `max`, positive weights take the maximum and "
        "negative ones the minimum. The probability is the sigmoid."
    ),
}


def write_export(path: Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write the file, and README.md beside it; each appears complete or not at all.

    Args:
      path: of the file, `.safetensors`.
      tensors: name → float32.
      about: the header: name → JSON value.

    Raises:
      Net2VecError: the path has another ending, or the folder has a README.md of something else.
    """
    from safetensors.numpy import save_file

    if path.suffix != SUFFIX:
        raise Net2VecError(f"{path}: give the file a name that ends in {SUFFIX}")
    make_folder(path.parent)
    card = path.with_name(CARD)
    if card.exists() and not card.read_text(encoding="utf-8", errors="replace").startswith(_FRONT):
        raise Net2VecError(
            f"{path.parent} has a {CARD} of something else, and the file's own would replace it; "
            "choose another folder"
        )
    header = {name: json.dumps(value, ensure_ascii=False) for name, value in about.items()}
    with replacing(path) as partial:
        arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        save_file(arrays, partial, metadata={"format": json.dumps(FORMAT)} | header)
    with replacing(card) as partial:
        partial.write_text(write_card(path.name, tensors, about), encoding="utf-8")


def write_card(name: str, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    """What README.md says of a file."""
    shapes = [
        f"| `{tensor}` | {' × '.join(map(str, value.shape))} |" for tensor, value in tensors.items()
    ]
    rows = [
        f"| {_cell(concept)} | {_cell(category)} | {score:.3f} |"
        for concept, category, score in zip(
            about["concepts"], about["categories"], about["scores"], strict=True
        )
    ]
    others = [
        f"- {key}: {_cell(json.dumps(value, ensure_ascii=False))}"
        for key, value in about.items()
        if key not in ("concepts", "categories", "numbers", "scores") and value is not None
    ]
    return "\n".join(
        [
            f"{_FRONT}tags: [net2vec, concept-embeddings]\n---\n",
            f"# Concept embeddings of {_cell(about['network'])}, layer {_cell(about['layer'])}\n",
            f"`{name}` holds an embedding, one weight per filter, of {len(rows)} concepts: the "
            f"Net2Vec {about['kind']} probe (Fong and Vedaldi, CVPR 2018), trained with "
            "net2vec_jax.\n",
            _USE[about["kind"]] + "\n",
            "| tensor | shape |\n|---|---|",
            *shapes,
            "",
            *others,
            "",
            f"| concept | category | {about['measure']} |\n|---|---|---|",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    """A text from data on one line of Markdown, where it means nothing."""
    line = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>|#" else sign for sign in line)
