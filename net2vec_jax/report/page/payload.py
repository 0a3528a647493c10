"""The page's content as JSON values, as its scripts read them.

Scripts name a concept by its position 0 … C - 1; links name it by its label number, which stays
what it is in another run. NaN becomes null.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from net2vec_jax.analysis.category_means import (
    average_categories,
    make_jsonable,
    order_categories,
)
from net2vec_jax.analysis.filters.filter_overlap import find_top_filters
from net2vec_jax.plots.paper_style import CATEGORY_STYLES, style_category
from net2vec_jax.report.page.content import Pictures, ReportContent
from net2vec_jax.report.page.encoding import (
    encode_floats,
    encode_heat,
    encode_image,
    encode_mask,
)
from net2vec_jax.stats.metrics import NO_FILTER

TOP_FILTERS = 10
"""Filters of largest weight that a concept's section shows."""
FILTER_CONCEPTS = 10
"""Concepts of largest weight, and of greatest IoU, that a filter's section shows."""
LARGEST_FLOAT32 = 4_000_000
"""Bytes of embeddings above which they are written with half the precision."""
MASK_COLORS = {"truth": (255, 226, 64), "embedding": (64, 178, 255), "filter": (255, 128, 48)}
"""Outlines: the ground truth, the embedding's mask, a filter's mask."""
_OTHER_STYLES = (("#7A7A7A", "v"), ("#8C6BB1", "o"), ("#A6761D", "s"), ("#1B9E77", "^"))
_POINT_STYLES = {
    "o": "circle", "s": "rect", "^": "triangle", "D": "rectRot", "P": "cross", "X": "crossRot",
    "v": "rectRounded",
}  # fmt: skip
"""matplotlib's markers as Chart.js calls them."""


def list_top_filters(weights: np.ndarray, count: int = TOP_FILTERS) -> list[list[int]]:
    """The filters of largest |weight| of each concept, largest first; none without a weight."""
    members = find_top_filters(weights, min(count, weights.shape[1]))
    ranked = np.argsort(np.abs(weights), axis=1, kind="stable")[:, ::-1]
    chosen = np.take_along_axis(members, ranked, axis=1)
    return [row[kept].tolist() for row, kept in zip(ranked, chosen, strict=True)]


def find_serving_filters(content: ReportContent) -> np.ndarray:
    """Filters that are some concept's best or among its top ones, most concepts first, int64."""
    filters = content.weights.shape[1]
    served = find_top_filters(content.weights, min(TOP_FILTERS, filters)).sum(axis=0)
    if content.single is not None:
        best = content.single.best
        served += np.bincount(best[best != NO_FILTER], minlength=filters)
    order = np.argsort(-served, kind="stable")
    return order[served[order] > 0]


def describe_categories(content: ReportContent) -> list[dict[str, Any]]:
    """Name, style and mean scores of each category that is present."""
    present = order_categories(content.categories)
    embedding = average_categories(content.curves.score[:, -1], content.categories)
    single = content.single and average_categories(content.single.score, content.categories)
    described = []
    others = 0
    for place, name in enumerate(present):
        color, marker = style_category(name)
        if name not in CATEGORY_STYLES:  # several must stay apart
            color, marker = _OTHER_STYLES[others % len(_OTHER_STYLES)]
            others += 1
        described.append(
            {
                "name": name,
                "color": color,
                "point": _POINT_STYLES[marker],
                "wholeImage": name in content.whole_image,
                "concepts": sum(category == name for category in content.categories),
                "embedding": [embedding.mean[place], embedding.error[place]],
                "single": [single.mean[place], single.error[place]] if single else None,
            }
        )
    return make_jsonable(described)


def describe_run(content: ReportContent) -> dict[str, Any]:
    """What the page needs at once: all but pictures and embeddings."""
    categories = describe_categories(content)
    place = {category["name"]: number for number, category in enumerate(categories)}
    serving = find_serving_filters(content)
    curves, single = content.curves, content.single
    best = [NO_FILTER] * len(content.concepts) if single is None else single.best
    top = list_top_filters(content.weights)
    concepts = []
    for number, name in enumerate(content.concepts):
        concepts.append(
            {
                "name": name,
                "number": content.numbers[number],
                "category": place[content.categories[number]],
                "train": content.train_images[number],
                "val": content.val_images[number],
                "score": curves.score[number],
                "low": curves.low[number],
                "high": curves.high[number],
                "sufficient": [filters[number] for filters in curves.sufficient.values()],
                "best": None if best[number] == NO_FILTER else best[number],
                "single": single and single.score[number],
                "measures": {name: _shorten(v[number]) for name, v in content.measures.items()},
                "top": [[k, _shorten(content.weights[number, k])] for k in top[number]],
                "position": [_shorten(x) for x in content.geometry.positions[number]],
                "embedded": bool(content.geometry.is_valid[number]),
                "formula": _describe_formula(content, "embedding", number),
            }
        )
    return make_jsonable(
        {
            "probe": content.probe,
            "network": content.network,
            "layer": content.layer,
            "score": content.score_name,
            "chance": content.chance,
            "filters": content.weights.shape[1],
            "filterNames": list(content.filter_names),
            "sizes": curves.sizes,
            "fractions": list(curves.sufficient),
            "mapAxes": content.geometry.axes,
            "floats": _choose_precision(content),
            "unitWeights": content.unit_weights,
            "categories": categories,
            "concepts": concepts,
            "serving": [_describe_filter(content, k) for k in serving.tolist()],
        }
    )


def encode_embeddings(content: ReportContent) -> str:
    """Unit embeddings [C, K] as base64 in the precision that `describe_run` names."""
    return encode_floats(content.geometry.vectors, _choose_precision(content))


def describe_pictures(pictures: Pictures, image_size: int) -> dict[str, Any]:
    """Images, each once, and the masks over them.

    Args:
      pictures: what is shown.
      image_size: longest side of an image, pixels.
    """
    place = {image: number for number, image in enumerate(sorted(pictures.images))}
    concepts = {
        concept: [
            {
                "image": place[picture.image],
                "percentile": picture.percentile,
                "embeddingScore": picture.embedding_iou,
                "filterScore": picture.filter_iou,
                "truth": encode_mask(picture.truth, MASK_COLORS["truth"]),
                "embedding": encode_mask(picture.embedding_mask, MASK_COLORS["embedding"]),
                "filter": encode_mask(picture.filter_mask, MASK_COLORS["filter"]),
                "heat": encode_heat(picture.score),
            }
            for picture in shown
        ]
        for concept, shown in pictures.concepts.items()
    }
    filters = {
        filter_: [
            {
                "image": place[picture.image],
                "maximum": picture.maximum,
                "mask": encode_mask(picture.mask, MASK_COLORS["filter"]),
            }
            for picture in shown
        ]
        for filter_, shown in pictures.filters.items()
    }
    return make_jsonable(
        {
            "names": [pictures.names[image] for image in place],
            "images": [encode_image(pictures.images[image], image_size) for image in place],
            "ratios": [
                _shorten(pictures.images[image].shape[1] / pictures.images[image].shape[0])
                for image in place
            ],
            "concepts": concepts,
            "filters": filters,
        }
    )


def _describe_filter(content: ReportContent, number: int) -> dict[str, Any]:
    weights = content.weights[:, number]
    largest = np.argsort(-np.abs(weights), kind="stable")[:FILTER_CONCEPTS]
    single = content.single
    best_for = np.flatnonzero(single.best == number).tolist() if single else []
    described = {
        "number": number,
        "threshold": None if content.thresholds is None else _shorten(content.thresholds[number]),
        "bestFor": sorted(best_for, key=lambda place: -single.score[place] if single else 0),
        "weights": [[c, _shorten(weights[c])] for c in largest if weights[c]],
        "scores": [],
        "formula": _describe_formula(content, "filter", number),
    }
    if single is not None and single.every is not None:
        score = single.every[:, number]
        chosen = np.argsort(-np.nan_to_num(score), kind="stable")[:FILTER_CONCEPTS]
        described["scores"] = [[c, _shorten(score[c])] for c in chosen if score[c] > 0]
    return described


def _describe_formula(content: ReportContent, kind: str, place: int) -> dict[str, Any] | None:
    found = content.formulas.get((kind, place))
    return found and found._asdict()


def _choose_precision(content: ReportContent) -> str:
    return "float32" if content.weights.size * 4 <= LARGEST_FLOAT32 else "float16"


def _shorten(value: Any) -> float:
    """Six significant digits, which are more than a page shows."""
    return float(f"{float(value):.6g}")
