"""The HTML report in a browser: what a reader clicks and reads; nothing leaves the page.

Needs Selenium, Chromium and its driver; skips where one is absent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from browsing import By, Keys, active, go, resize, sort_by, texts, wait_until
from page_content import ENDING, HOSTILE, LONG, NAMES, make_content

from net2vec_jax.report.page.content import MarkedFormula, SingleFilters
from net2vec_jax.report.page.render import render_page
from net2vec_jax.report.write import write_report
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.stats.metrics import NO_FILTER


def test_the_table_sorts_as_the_run_says(show, learned: Path, finished_study: Path) -> None:
    browser = show(learned)
    run = FinishedRun(finished_study / "block10" / "segmentation")
    assert sort_by(browser, "Concept") == "ascending"
    assert texts(browser, "#concept-table tbody th")[0] == min(run.concepts, key=str.casefold)
    assert sort_by(browser, "Embedding IoU") == "descending"
    best = [run.concepts[place] for place in np.argsort(-run.scores.full, kind="stable")]
    assert texts(browser, "#concept-table tbody th") == best
    assert sort_by(browser, "Embedding IoU") == "ascending"
    worst = [run.concepts[place] for place in np.argsort(run.scores.full, kind="stable")]
    assert texts(browser, "#concept-table tbody th") == worst
    assert len(browser.find_elements(By.CSS_SELECTOR, "#concept-table [aria-sort]")) == 1


def test_missing_scores_come_last_either_way(show, planted: Path) -> None:
    browser = show(planted)
    for _ in range(2):
        sort_by(browser, "Embedding IoU")
        assert texts(browser, "#concept-table tbody th")[-1] == "unlearnt"


def test_search_and_categories_narrow_the_table(show, learned: Path, finished_study: Path) -> None:
    browser = show(learned)
    run = FinishedRun(finished_study / "block10" / "segmentation")
    field = browser.find_element(By.CSS_SELECTOR, "#concept-table input")
    field.send_keys("BL")
    expected = {n for n, c in zip(run.concepts, run.categories, strict=True) if "bl" in f"{n} {c}"}
    assert set(texts(browser, "#concept-table tbody th")) == expected
    count = browser.find_element(By.CSS_SELECTOR, "#concept-table [role=status]")
    assert count.text == f"{len(expected)} of {len(run)} concepts"
    field.send_keys(Keys.ESCAPE)
    assert len(texts(browser, "#concept-table tbody th")) == len(run)
    select = browser.find_element(By.CSS_SELECTOR, "#concept-table select")
    select.send_keys("color")
    colors = {n for n, c in zip(run.concepts, run.categories, strict=True) if c == "color"}
    assert set(texts(browser, "#concept-table tbody th")) == colors
    field.send_keys("no such thing")
    assert texts(browser, "#concept-table tbody td") == ["None matches."]


def test_a_concept_opens_with_scores_curve_and_pictures(
    show, learned: Path, finished_study: Path
) -> None:
    run = FinishedRun(finished_study / "block10" / "segmentation")
    place = int(np.argmax(run.val_images))
    browser = show(learned)
    browser.find_element(By.LINK_TEXT, run.concepts[place]).click()
    wait_until(lambda: texts(browser, "#view-concept h1") == [run.concepts[place]])
    assert browser.current_url.endswith(f"#concept-{run.numbers[place]}")
    assert browser.title.startswith(run.concepts[place])
    scores = texts(browser, "#view-concept .card dd:not(.note)")
    assert scores[0] == f"{run.scores.full[place]:.3f}"
    curve = browser.execute_script(
        "const chart = Chart.getChart(document.querySelector('#view-concept canvas'));"
        "return chart.data.datasets[0].data.map((point) => [point.x, point.y]);"
    )
    expected = [*run.scores.by_size[place], run.scores.full[place]]
    assert [x for x, _ in curve] == [1, 5, run.filters]
    np.testing.assert_allclose([y for _, y in curve], expected)
    pictures = browser.find_elements(By.CSS_SELECTOR, "#view-concept .tile img")
    assert len(pictures) >= 4 * 5 + 3 * 5  # five rows of four images, with masks and heat maps
    for picture in pictures:
        browser.execute_script("arguments[0].scrollIntoView()", picture)
        wait_until(lambda p=picture: p.get_property("naturalWidth") > 0)
    assert sum(bool(p.get_attribute("alt")) for p in pictures) >= 5 * 5
    heat = browser.find_element(By.CSS_SELECTOR, ".heat-overlay")
    assert not heat.is_displayed()
    button = browser.find_element(By.XPATH, "//button[text()='Heat maps']")
    button.click()
    assert heat.is_displayed() and button.get_attribute("aria-pressed") == "true"
    browser.back()
    wait_until(lambda: browser.find_element(By.ID, "concept-table").is_displayed())


def test_a_filter_opens_with_what_it_serves(show, planted: Path) -> None:
    browser = show(planted, "#filter-2")
    assert texts(browser, "#view-filter h1") == ["Filter 2"]
    panels = dict(
        zip(texts(browser, "#view-filter h2"),
            browser.find_elements(By.CSS_SELECTOR, "#view-filter .panel"), strict=True)
    )  # fmt: skip
    best = [e.text for e in panels["Best single filter of"].find_elements(By.TAG_NAME, "a")]
    assert best == ["blue-c"]
    weights = [e.text for e in panels["Largest weights"].find_elements(By.TAG_NAME, "a")]
    assert weights == ["blue-c", "sky"]
    assert len(panels["Typical images"].find_elements(By.TAG_NAME, "img")) == 2
    go(browser, "#filters")
    assert len(texts(browser, "#filter-table tbody th")) == 5


def test_names_that_look_like_markup_are_shown_as_text(show, planted: Path) -> None:
    browser = show(planted)
    assert {HOSTILE, ENDING} <= set(texts(browser, "#concept-table tbody th"))
    for number, name in ((20, HOSTILE), (21, ENDING)):
        go(browser, f"#concept-{number}")
        assert texts(browser, "#view-concept h1") == [name]
        browser.find_element(By.LINK_TEXT, "Open in the explorer").click()
        wait_until(lambda n=name: n in texts(browser, "#answer h3 a"))
    go(browser, "#explorer=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(3)%3E")
    assert "no concept “<img src=x onerror=alert(3)>”" in browser.find_element(
        By.ID, "answer").text  # fmt: skip
    go(browser, "#filters")
    assert browser.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    go(browser, "#<b>nothing</b>")
    assert texts(browser, "#message b") == []


def test_unknown_addresses_are_told(show, planted: Path) -> None:
    browser = show(planted, "#concept-99")
    assert browser.find_element(By.ID, "message").text == "This report has no concept 99."
    assert browser.find_element(By.ID, "concept-table").is_displayed()
    for view in ("#__proto__", "#%", "#constructor", "#overview-3", "#filters=1", "#concept="):
        go(browser, view)
        told = browser.find_element(By.ID, "message").text
        assert told.startswith("This report has no "), view
    for view in ("#filters", "#explorer", "#overview", ""):
        browser.execute_script("location.hash = arguments[0]", view)
        wait_until(lambda v=view: browser.execute_script("return shownHash") == (v or "#overview"))
        assert not browser.find_element(By.ID, "message").is_displayed(), view


def test_a_filter_shows_the_formula_that_it_marks(show, tmp_path: Path) -> None:
    found = {("filter", 2): MarkedFormula("a & !b", 0.5, "a", 0.25)}
    page = tmp_path / "page.html"
    page.write_text(render_page(make_content(formulas=found)), encoding="utf-8")
    browser = show(page, "#filter-2")
    assert "What it marks" in texts(browser, "#view-filter h2")
    assert any("a & !b" in card for card in texts(browser, "#view-filter .card"))
    go(browser, "#filter-3")
    assert "What it marks" not in texts(browser, "#view-filter h2")
    assert "null" not in browser.find_element(By.ID, "view-filter").text


def test_a_concept_that_no_filter_overlaps_has_no_best_filter(show, tmp_path: Path) -> None:
    content = make_content()
    single = content.single
    best = np.where(np.arange(len(NAMES)) == 7, NO_FILTER, single.best)
    content = make_content(single=SingleFilters(best, single.score, single.every))
    path = tmp_path / "report.html"
    path.write_text(render_page(content), encoding="utf-8")
    browser = show(path, "#concept-31")
    assert texts(browser, "#view-concept .card")[1].endswith("no filter overlaps it on train")
    assert texts(browser, "#view-concept .tile.filter figcaption") == ["No single filter"] * 2
    go(browser, "#overview")
    row = browser.find_element(By.XPATH, "//tr[th='unlearnt']")
    cell = row.find_elements(By.TAG_NAME, "td")[3]
    assert cell.text == "–" and not cell.find_elements(By.TAG_NAME, "a")
    go(browser, "#filter-0")
    assert "unlearnt" not in browser.find_element(By.ID, "view-filter").text


def test_weights_of_several_seeds_are_named_as_unit_embeddings(show, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    content = make_content(weights=make_content().geometry.vectors, unit_weights=True)
    path.write_text(render_page(content), encoding="utf-8")
    browser = show(path, "#concept-3")
    axis = (
        "return Chart.getChart(document.querySelectorAll('#view-concept canvas')[1])"
        ".options.scales.x.title.text"
    )
    assert browser.execute_script(axis) == "weight (unit embedding)"
    assert "0.7071" in browser.find_element(By.CSS_SELECTOR, "#view-concept .chips").text
    go(browser, "#filter-0")
    assert "unit embeddings" in browser.find_element(By.ID, "view-filter").text


def test_the_keyboard_alone_is_enough(show, planted: Path) -> None:
    browser = show(planted)

    def press(*keys: str) -> None:
        active(browser).send_keys(*keys)

    def tab_to(is_there: Callable[[], bool]) -> None:
        for _ in range(60):
            press(Keys.TAB)
            if is_there():
                outline = active(browser).value_of_css_property("outline-style")
                assert outline != "none", "what has the focus must show it"
                return
        raise AssertionError("the Tab key does not get there")

    tab_to(lambda: active(browser).get_attribute("id") == "skip")
    press(Keys.ENTER)
    assert active(browser).get_attribute("id") == "main"
    tab_to(lambda: active(browser).tag_name == "canvas")
    press(Keys.ARROW_RIGHT)
    status = browser.execute_script("return document.querySelector('#score-chart p').textContent")
    assert "embedding" in status
    tab_to(lambda: active(browser).get_attribute("type") == "search")
    press("s", "k", "y")
    tab_to(lambda: active(browser).text.strip("▲▼\n ") == "Concept")
    press(Keys.ENTER)
    assert browser.find_elements(By.CSS_SELECTOR, "#concept-table [aria-sort=ascending]")
    tab_to(lambda: active(browser).text == "sky")
    press(Keys.ENTER)
    wait_until(lambda: texts(browser, "#view-concept h1") == ["sky"])
    assert active(browser).text == "sky" and active(browser).tag_name == "h1"
    press(Keys.ESCAPE)
    wait_until(lambda: browser.find_element(By.ID, "concept-table").is_displayed())
    for _ in range(60):  # round the whole page: nothing holds the focus
        press(Keys.TAB)
        if active(browser).get_attribute("id") == "skip":
            break
    else:
        raise AssertionError("the focus does not come round")


def test_a_phone_needs_no_sideways_scrolling(show, planted: Path, learned: Path) -> None:
    for page, views in (
        (planted, ("#overview", "#concept-30", "#filters", "#filter-3", f"#explorer={LONG}")),
        (learned, ("#overview", "#concept-2", "#filters", "#explorer")),
    ):
        browser = show(page)
        resize(browser, 360)
        for view in views:
            go(browser, view)
            width, inner = browser.execute_script(
                "return [document.documentElement.scrollWidth, innerWidth]"
            )
            assert width <= inner == 360, (page, view)


def test_light_and_dark(show, planted: Path) -> None:
    browser = show(planted)

    def background() -> str:
        return browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")

    light = background()
    button = browser.find_element(By.ID, "theme")
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    dark = background()
    assert dark != light and button.get_attribute("aria-pressed") == "true"
    button.click()
    assert background() == light
    browser.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")
    resize(browser, 1400, "dark")
    assert background() == dark


def test_a_page_of_the_classification_probe(show, finished_study: Path, tmp_path: Path) -> None:
    run = FinishedRun(finished_study / "block10" / "classification")
    browser = show(write_report(run.path, tmp_path / "report.html"))
    assert sort_by(browser, "Embedding accuracy") == "ascending"
    worst = [run.concepts[place] for place in np.argsort(run.scores.full, kind="stable")]
    assert texts(browser, "#concept-table tbody th") == worst
    go(browser, f"#concept-{run.numbers[0]}")
    assert f"{run.scores.full[0]:.3f}" in texts(browser, "#view-concept .card dd")
    assert not browser.find_elements(By.CSS_SELECTOR, "#view-concept img")
