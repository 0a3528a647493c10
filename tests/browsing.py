"""What a reader does in a browser: steps that the tests of the HTML report share."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

pytest.importorskip("selenium", reason="Selenium, which drives the browser, is absent")
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

Browser = webdriver.Chrome
WAIT = 15.0


def resize(browser: Browser, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT
    while not _holds(condition):
        assert time.monotonic() < end, "the page did not become what was waited for"
        time.sleep(0.02)


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except StaleElementReferenceException:  # the page was redrawn between finding and reading
        return False


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
