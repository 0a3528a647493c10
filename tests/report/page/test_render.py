"""The page is one file that asks for nothing, and what data says in it is text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from page_content import ENDING, HOSTILE, NAMES, WEIGHTS, make_content

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.heads import top_filters
from net2vec_jax.report.page.content import (
    Cell,
    MarkedFormula,
    RemovedConcept,
    SingleFilters,
    UsedConcepts,
    UsedPair,
)
from net2vec_jax.report.page.payload import (
    LARGEST_FLOAT32,
    describe_run,
    encode_embeddings,
    find_serving_filters,
    list_top_filters,
)
from net2vec_jax.report.page.render import SCRIPTS, read_source, render_page
from net2vec_jax.stats.metrics import NO_FILTER

VENDORED_SHA256 = "c17f2ce49fb9c71ef7fb39c03f868804ac5ab34730149976eebe6b7f807bef0c"


class Page(HTMLParser):
    """Elements with their attributes, and the text of scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.feed(source)

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append((tag, ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            tag, text = self.raw[-1]
            self.raw[-1] = tag, text + data

    def read_json(self, name: str):
        scripts = [attributes for tag, attributes in self.elements if tag in ("script", "style")]
        place = [attributes.get("id") for attributes in scripts].index(name)
        return json.loads(self.raw[place][1])


@pytest.fixture(scope="module")
def source() -> str:
    return render_page(make_content())


def test_the_vendored_library_is_the_published_one() -> None:
    folder = files("net2vec_jax.report.page") / "vendor"
    content = (folder / "chart.umd.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == VENDORED_SHA256
    assert VENDORED_SHA256 in (folder / "README.md").read_text(encoding="utf-8")
    assert "MIT" in (folder / "LICENSE.md").read_text(encoding="utf-8")
    assert b"Chart.js v4.6.1" in content and b"sourceMappingURL" not in content


def test_nothing_is_loaded_from_elsewhere(source: str) -> None:
    page = Page(source)
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    styles = "".join(text for tag, text in page.raw if tag == "style")
    assert not re.search(r"@import|url\(", styles)
    own = "".join(read_source(name) for name in SCRIPTS if not name.startswith("vendor"))
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon", own)
    assert "innerHTML" not in own and "insertAdjacentHTML" not in own and "eval(" not in own


def test_the_policy_names_every_script_and_style(source: str) -> None:
    page = Page(source)
    policies = [
        attributes["content"]
        for tag, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policies[0]
    kinds = [attributes for tag, attributes in page.elements if tag in ("script", "style")]
    checked = 0
    for attributes, (_, text) in zip(kinds, page.raw, strict=True):
        if "type" not in attributes:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policies[0]
            checked += 1
    assert checked == len(SCRIPTS) + 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def read_colors() -> dict[str, tuple[str, str]]:
    found = re.findall(
        r"--([\w-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)", read_source("style.css")
    )
    return {name: (light, dark) for name, light, dark in found}


def measure_contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours as WCAG 2 defines it."""

    def luminance(color: str) -> float:
        channels = np.array([int(color[place : place + 2], 16) / 255 for place in (0, 2, 4)])
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_have_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    colors = {name: pair[scheme] for name, pair in read_colors().items()}
    for text in ("text", "muted", "accent", "problem"):
        for ground in ("ground", "surface", "raised"):
            assert measure_contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    assert measure_contrast(colors["text"], colors["note"]) >= 4.5
    assert measure_contrast(colors["accent-text"], colors["accent"]) >= 4.5
    for mark in ("embedding", "single"):
        assert measure_contrast(colors[mark], colors["surface"]) >= 3, mark


def test_names_from_data_are_text(source: str) -> None:
    page = Page(source)
    assert HOSTILE not in source and ENDING not in source
    assert sum(tag == "script" for tag, _ in page.elements) == len(SCRIPTS) + 3
    assert not any(tag == "img" for tag, _ in page.elements)
    assert [concept["name"] for concept in page.read_json("run-data")["concepts"]] == list(NAMES)
    assert page.read_json("picture-data")["names"][1] == f"{HOSTILE}/1.jpg"


def test_every_image_is_in_the_page_once(source: str) -> None:
    pictures = Page(source).read_json("picture-data")
    assert len(pictures["images"]) == 3
    used = {p["image"] for shown in pictures["concepts"].values() for p in shown}
    assert used == {0, 1, 2} and len(pictures["concepts"]) == len(NAMES)
    for image in pictures["images"]:
        assert source.count(image) == 1
    assert pictures["ratios"] == [1.5, 1.5, 1.5]


def test_embeddings_are_read_back_and_halved_where_they_are_large() -> None:
    content = make_content()
    read = np.frombuffer(base64.b64decode(encode_embeddings(content)), "<f4")
    np.testing.assert_allclose(read.reshape(WEIGHTS.shape), content.geometry.vectors, atol=1e-7)
    assert describe_run(content)["floats"] == "float32"
    many = LARGEST_FLOAT32 // 4 // len(NAMES) + 1
    weights = np.zeros((len(NAMES), many), np.float32)
    large = make_content(
        weights=weights, single=None, thresholds=None,
        geometry=content.geometry._replace(vectors=weights),
    )  # fmt: skip
    assert describe_run(large)["floats"] == "float16"
    assert len(base64.b64decode(encode_embeddings(large))) == 2 * weights.size


def test_what_the_run_says_is_in_the_data() -> None:
    described = describe_run(make_content())
    sky = described["concepts"][3]
    assert (sky["number"], sky["train"], sky["val"]) == (12, 13, 8)
    np.testing.assert_allclose(sky["score"], [0.28, 0.595, 0.7])
    assert sky["sufficient"] == [3, 6]
    assert sky["top"] == [[2, 1.0], [0, 1.0]]  # of equal weights the later filter, as in heads
    unlearnt = described["concepts"][-1]
    assert unlearnt["score"] == [None] * 3 and not unlearnt["embedded"] and unlearnt["top"] == []
    assert unlearnt["position"] == [None, None]
    categories = {category["name"]: category for category in described["categories"]}
    assert list(categories) == ["color", "object", "part", "scene", HOSTILE]
    assert categories["color"]["embedding"][0] == pytest.approx(0.55)
    assert categories["scene"]["embedding"] == [None, None] and categories["scene"]["wholeImage"]


def test_filters_that_serve_are_best_or_of_large_weight() -> None:
    weights = np.zeros((2, 30), np.float32)
    weights[0, 5:20] = np.arange(15, 0, -1)
    weights[1, 0] = -1
    assert list_top_filters(weights) == [list(range(5, 15)), [0]]
    content = make_content(single=None)
    few = dataclasses.replace(
        content, weights=weights, concepts=NAMES[:2], categories=("object",) * 2,
        numbers=np.array([1, 2]), train_images=np.ones(2, int), val_images=np.ones(2, int),
        curves=content.curves._replace(score=content.curves.score[:2]),
        geometry=content.geometry._replace(vectors=weights),
        single=SingleFilters(np.array([5, 29]), np.array([0.1, 0.2])), thresholds=None,
        measures={},
    )  # fmt: skip
    serving = find_serving_filters(few)
    assert serving.tolist() == [5, 0, *range(6, 15), 29]
    filters = {entry["number"]: entry for entry in describe_run(few)["serving"]}
    assert filters[5]["bestFor"] == [0] and filters[5]["weights"] == [[0, 15.0]]
    assert filters[0]["weights"] == [[1, -1.0]]


def test_a_concept_without_a_best_filter_is_no_filters() -> None:
    content = make_content()
    best = np.full(len(NAMES), NO_FILTER)
    assert content.single is not None
    described = describe_run(
        make_content(single=SingleFilters(best, np.zeros(len(NAMES)), content.single.every))
    )
    assert {concept["best"] for concept in described["concepts"]} == {None}
    assert {concept["single"] for concept in described["concepts"]} == {0.0}
    assert not any(filter_["bestFor"] for filter_ in described["serving"])
    nothing = make_content(weights=np.zeros_like(WEIGHTS), single=SingleFilters(best, best * 0.0))
    assert len(find_serving_filters(nothing)) == 0


def test_the_order_of_top_filters_is_that_of_smaller_embeddings() -> None:
    weights = np.random.default_rng(0).integers(-3, 4, (20, 12)).astype(np.float32)
    for size in (1, 4, 12):
        chosen = top_filters(weights, size) & (weights != 0)
        for row, listed in zip(chosen, list_top_filters(weights, size), strict=True):
            assert sorted(listed) == np.flatnonzero(row).tolist()
    for row, listed in zip(weights, list_top_filters(weights), strict=True):
        strength = np.abs(row[listed])
        assert (np.diff(strength) <= 0).all()


def test_pages_without_pictures_or_single_filters_are_made() -> None:
    page = Page(render_page(make_content(pictures=None, single=None, thresholds=None)))
    assert page.read_json("picture-data") is None
    assert page.read_json("run-data")["concepts"][0]["single"] is None


def test_which_concepts_the_network_uses_stands_where_it_was_measured(source: str) -> None:
    use = UsedConcepts(
        "pattern", "1 of 2 pairs", ["ram", HOSTILE],
        [("sheep", [Cell("0.5", 4, True), Cell("−0.1", -1, False)])],
        [UsedPair("sheep", HOSTILE, "0.5 [0.4, 0.6]", "90%", "10% to 85%", ["UklGRg=="])],
        [RemovedConcept("sheep", "ram", "−1 [−2, −0.5]", "−0.1", "80% → 30%", "75%", True)],
    )  # fmt: skip
    assert "Used by the network" not in source
    page = Page(shown := render_page(make_content(use=use)))
    assert "Used by the network" in shown and "80% → 30%" in shown
    classes = [attributes.get("class") for tag, attributes in page.elements if tag == "td"]
    assert "number more4" in classes and "number less1" in classes
    assert HOSTILE not in shown


def test_bad_content_is_refused() -> None:
    with pytest.raises(Net2VecError, match="numbers"):
        make_content(numbers=np.array([3, 3, 6, 12, 20, 21, 30, 31]))
    with pytest.raises(Net2VecError, match="show nothing"):
        render_page(make_content(), image_size=3)


def test_formulas_stand_beside_filters_and_concepts() -> None:
    filter_ = Page(render_page(make_content())).read_json("run-data")["serving"][0]["number"]
    found = {
        ("filter", filter_): MarkedFormula(HOSTILE, 0.5, "sheep", 0.4),
        ("embedding", 1): MarkedFormula("a & !b", 0.25, "a", 0.125),
    }
    page = Page(shown := render_page(make_content(formulas=found)))
    report = page.read_json("run-data")
    formulas = [row["formula"] for row in report["serving"]]
    assert formulas[0]["formula"] == HOSTILE and set(map(type, formulas[1:])) == {type(None)}
    assert report["concepts"][1]["formula"]["concept_score"] == 0.125
    assert report["concepts"][0]["formula"] is None and HOSTILE not in shown
