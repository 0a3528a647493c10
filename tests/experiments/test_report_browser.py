"""The HTML report in a browser: what a reader clicks, types and reads; nothing leaves the page.

Needs Selenium, Chromium and its driver; skips where one is absent.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from page_content import ENDING, HOSTILE, LONG, NAMES, WEIGHTS, make_content

from experiments.finished_run import FinishedRun
from experiments.report import write_report
from net2vec_jax.analysis.concept_embeddings import (
    average_seeds,
    find_nearest_concepts,
    normalise_embeddings,
)
from net2vec_jax.analysis.concept_queries import answer_query, parse_query
from net2vec_jax.errors import Net2VecError
from net2vec_jax.report.page.encoding import encode_floats
from net2vec_jax.report.page.render import render_page

selenium = pytest.importorskip("selenium", reason="Selenium, which drives the browser, is absent")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1400,900",
)  # fmt: skip
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Chromium or chromedriver is not installed"
)
Browser = webdriver.Chrome
WAIT = 15.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("planted") / "report.html"
    path.write_text(render_page(make_content()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def learned(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("learned") / "report.html"
    return write_report(finished_study / "block10" / "segmentation", out, filters_shown=5)


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[[Path, str], Browser]]:
    """Open a page at a hash; at the end the browser has complained of nothing, nor asked for more.

    Every page is opened anew, wide, and in the light theme.
    """
    opened: set[str] = set()

    def open_page(path: Path, view: str = "") -> Browser:
        browser.get("about:blank")
        resize(browser, 1400)
        for log in ("browser", "performance"):
            browser.get_log(log)
        opened.add(path.as_uri())
        browser.get(path.as_uri() + view)
        return browser

    yield open_page
    assert browser.get_log("browser") == []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            # the browser's own start page may still be there
            assert url.startswith(("data:", "chrome:", "about:", *opened)), url


def resize(browser: Browser, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "the page did not become what was waited for"
        time.sleep(0.02)


def go(browser: Browser, view: str) -> None:
    browser.execute_script("location.hash = arguments[0]", view)
    wait_until(lambda: browser.execute_script("return shownHash === location.hash"))


def texts(browser: Browser, selector: str) -> list[str]:
    return [e.text for e in browser.find_elements(By.CSS_SELECTOR, selector)]


def sort_by(browser: Browser, title: str) -> str | None:
    for header in browser.find_elements(By.CSS_SELECTOR, "#concept-table thead th"):
        if header.text.lstrip("▲▼\n ") == title:
            header.find_element(By.TAG_NAME, "button").click()
            return header.get_attribute("aria-sort")
    raise AssertionError(f"no column {title}")


def ask(browser: Browser, query: str) -> list[tuple[str, str]]:
    field = browser.find_element(By.ID, "query")
    field.clear()
    field.send_keys(query, Keys.ENTER)
    names = texts(browser, "#answer .ranking a")
    return list(zip(names, texts(browser, "#answer .ranking .number"), strict=True))


def active(browser: Browser):
    return browser.switch_to.active_element


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


def test_the_explorer_answers_planted_queries(show, planted: Path) -> None:
    browser = show(planted, "#explorer")
    answers = ask(browser, "grass + blue - green")  # without Broden's suffixes
    assert answers[0][0] == "sky" and not {"grass", "blue-c", "green-c"} & {n for n, _ in answers}
    names = [name for name, _ in answers]
    expected = answer_query("grass + blue - green", normalise_embeddings(WEIGHTS), NAMES)
    assert names[:1] == [NAMES[expected.concept[0]]]
    assert answers[0][1] == f"{expected.cosine[0]:.3f}"
    assert ask(browser, "green-c")[0] == ("grass", "0.707")
    ask(browser, "gras + blue-c")
    assert "no concept “gras”" in browser.find_element(By.ID, "answer").text
    browser.find_element(By.LINK_TEXT, "grass").click()
    wait_until(lambda: texts(browser, "#answer .ranking a")[:1] == ["sky"])
    assert browser.find_element(By.ID, "query").get_property("value") == "grass + blue-c"
    ask(browser, "sky - sky")
    assert "cancel out" in browser.find_element(By.ID, "answer").text
    ask(browser, "unlearnt")
    assert "no embedding" in browser.find_element(By.ID, "answer").text
    field = browser.find_element(By.ID, "query")
    field.clear()
    field.send_keys("sky + gr")
    options = browser.find_elements(By.CSS_SELECTOR, "#completions option")
    completions = [option.get_attribute("value") for option in options]
    assert completions == ["sky + grass", "sky + green-c"]


def test_the_explorer_answers_as_python_does_on_learned_weights(
    show, learned: Path, finished_study: Path
) -> None:
    run = FinishedRun(finished_study / "block10" / "segmentation")
    unit = average_seeds(run.weights)
    known = [n for n, v in zip(run.concepts, unit.is_valid, strict=True) if v]
    browser = show(learned, "#explorer")
    queries = [
        known[0], f"{known[0]} + {known[1]} - {known[2]}", f"- {known[3]}",
        f"2 * {known[4]} + .5×{known[5]} − {known[6]}",
    ]  # fmt: skip
    for query in queries:
        found = ask(browser, query)
        expected = answer_query(query, unit, run.concepts, count=len(found))
        assert [name for name, _ in found] == [run.concepts[c] for c in expected.concept], query
        cosines = [float(score.replace("−", "-")) for _, score in found]
        np.testing.assert_allclose(cosines, expected.cosine, atol=6e-4)  # three decimals
    place = run.concepts.index(known[0])
    nearest = find_nearest_concepts(unit, 10).row(place)
    go(browser, f"#concept-{run.numbers[place]}")
    shown = texts(browser, "#view-concept .ranking a")
    assert shown == [run.concepts[c] for c, _ in nearest]


QUERIES = [
    "grass", " grass  +blue - green ", "-sky", "+ sky", "a - - b", "a -b", "a-b", "blue-c + x-s",
    '"a + b" + c', "'it''s'", "2 * grass - 0.5×sky", "0 * grass", "", "grass +", "+", "a + -b",
    '"open', '"a" b', ".5*x", "1e3 * y", "a\u00a0+\u00a0b", "a − b", "3", "3 * 4 * c",
]  # fmt: skip


def test_queries_are_read_as_python_reads_them(show, planted: Path) -> None:
    browser = show(planted)
    for query in QUERIES:
        read = browser.execute_script(
            "try { return parseQuery(arguments[0]).map(({weight, name}) => [weight, name]); }"
            "catch (error) { return error instanceof QueryError ? null : String(error); }",
            query,
        )
        try:
            expected = [[term.weight, term.name] for term in parse_query(query)]
        except Net2VecError:
            expected = None
        assert read == expected, query


def test_every_name_can_stand_in_a_query(show, planted: Path) -> None:
    browser = show(planted)
    for name in (*NAMES, "a + b", "- a", "b -c", "3 * x", '"q"', "'q'", "it's"):
        query = browser.execute_script("return quoteName(arguments[0])", name)
        assert [(t.weight, t.name) for t in parse_query(f"{query} + x")] == [(1, name), (1, "x")]


def test_half_precision_is_read_right(show, planted: Path) -> None:
    browser = show(planted)
    values = np.array([0, 1, -1, 0.1, -3.14159, 65504, 6e-8, -1e-5, 2**-14], np.float16)
    read = browser.execute_script(
        "return Array.from(decodeFloats(arguments[0], 'float16'))", encode_floats(values, "float16")
    )
    assert read == values.astype(float).tolist()
    assert len(base64.b64decode(encode_floats(values, "float16"))) == 2 * len(values)


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
