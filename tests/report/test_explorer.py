"""The explorer of the HTML report in a browser: queries are read and answered as in Python.

Needs Selenium, Chromium and its driver; skips where one is absent.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from browsing import By, ask, go, texts, wait_until
from page_content import NAMES, WEIGHTS, make_content

from net2vec_jax.analysis.geometry.concept_embeddings import (
    average_seeds,
    find_nearest_concepts,
    normalise_embeddings,
)
from net2vec_jax.analysis.geometry.concept_queries import answer_query, parse_query
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.report.page.encoding import encode_floats
from net2vec_jax.report.page.render import render_page
from net2vec_jax.runs.finished import FinishedRun


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


ODD = ("a\tb", "a\nc", "a\u2028d", "+ \"e\" 'f'", "", "2 * x", "same  name", "same name")


def test_every_concept_can_be_asked_for(show, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_page(make_content(concepts=ODD)), encoding="utf-8")
    browser = show(path)
    numbers = make_content().numbers.tolist()
    for number in numbers[:7]:  # the last has no embedding
        go(browser, f"#concept-{number}")
        browser.find_element(By.LINK_TEXT, "Open in the explorer").click()
        heading = f"#answer h3 a[href='#concept-{number}']"
        wait_until(lambda h=heading: browser.find_elements(By.CSS_SELECTOR, h))
        typed = browser.find_element(By.ID, "query").get_property("value")
        ask(browser, f"{typed} + #{numbers[1]}")
        links = browser.find_elements(By.CSS_SELECTOR, "#answer h3 a")
        places = [link.get_attribute("href").partition("#concept-")[2] for link in links]
        assert places == [str(number), str(numbers[1])]
    go(browser, "#explorer")
    assert ask(browser, "a b") and ask(browser, "a c") and ask(browser, "a d")


def test_half_precision_is_read_right(show, planted: Path) -> None:
    browser = show(planted)
    values = np.array([0, 1, -1, 0.1, -3.14159, 65504, 6e-8, -1e-5, 2**-14], np.float16)
    read = browser.execute_script(
        "return Array.from(decodeFloats(arguments[0], 'float16'))", encode_floats(values, "float16")
    )
    assert read == values.astype(float).tolist()
    assert len(base64.b64decode(encode_floats(values, "float16"))) == 2 * len(values)
