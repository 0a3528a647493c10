"""Finished runs that the tests of scripts on finished runs share, and a browser for reports."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import pytest
from helpers import lay_out
from matplotlib.figure import Figure
from page_content import make_content

from net2vec_jax.data.open import open_scenes
from net2vec_jax.plots import paper_style
from net2vec_jax.report.page.render import render_page
from net2vec_jax.report.write import write_report
from net2vec_jax.runs.flags import SegmentationFlags
from net2vec_jax.runs.layer import finish_layers
from net2vec_jax.runs.study import StudyFlags, finish_study

if TYPE_CHECKING:
    from browsing import Browser

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1400,900",
)  # fmt: skip


@pytest.fixture(scope="session")
def finished_study(folder_of_all_workers: Path) -> Path:
    """Both probes on two layers of EfficientNet-Lite0, 80 scenes, 2 seeds, hardly trained.

    Returns:
      The folder with block4/ and block10/, each with the run directories segmentation/ and
      classification/ (embeddings of 1, 5 and all filters). Tests only read it.
    """
    root = folder_of_all_workers / "finished_study"
    with filelock.FileLock(root.with_suffix(".lock")):
        if not (root / "finished").exists():
            _make_study(root)
            (root / "finished").touch()
    return root / "out" / "efficientnet_lite0"


@pytest.fixture(scope="session")
def converged_run(finished_study: Path) -> Path:
    """A run of the preset `converged` on block10 of `finished_study`. Tests only read it."""
    root, out = finished_study.parents[1], finished_study.parents[1] / "converged"
    with filelock.FileLock(root / "converged.lock"):
        if not (out / "segmentation.csv").exists():
            flags = SegmentationFlags(
                dataset=str(root / "data"),
                network="efficientnet_lite0",
                layer=("block10",),
                out=out,
                preset="converged",
                concepts=("sky", "blue-c", "tree", "beach-s"),
                filters=(5,),
                bootstrap_samples=50,
                untrained=False,
                activations=finished_study / "activations",
            )
            finish_layers(flags)
    return out


DRAW = paper_style.save_figure


@pytest.fixture(scope="session", autouse=True)
def _figures_laid_out() -> Iterator[None]:
    """Studies' figures are made and laid out, but not rendered, which takes most of their time.

    Their files are empty; tests that look at them ask for `figures_drawn`.
    """

    def save(figure: Figure, path: Path) -> None:
        lay_out(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        for kind in ("png", "pdf"):
            path.with_name(f"{path.name}.{kind}").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_style, "save_figure", save)
        yield


@pytest.fixture(scope="module")
def figures_drawn() -> Iterator[None]:
    """Studies' figures are rendered, as in a user's run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_style, "save_figure", DRAW)
        yield


@pytest.fixture
def rename_run() -> Callable[..., Path]:
    """A function that copies a finished run and calls its concepts and categories otherwise."""
    return _rename_run


def _rename_run(
    run: Path, target: Path, *, concepts: Mapping[str, str], categories: Mapping[str, str] = {}
) -> Path:
    shutil.copytree(run, target)
    for table in target.glob("*.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows, header = list(reader), reader.fieldnames
        for row in rows:
            for column in ("concept", "name"):
                if column in row:
                    row[column] = concepts.get(row[column], row[column])
            if "category" in row:
                row["category"] = categories.get(row["category"], row["category"])
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, header)
            writer.writeheader()
            writer.writerows(rows)
    record = json.loads((target / "run.json").read_text(encoding="utf-8"))
    record["origin"]["layer"] = r"$\layer$/[/b]"
    (target / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return target


def _make_study(root: Path) -> None:
    open_scenes(root / "data", images=80)
    finish_study(
        StudyFlags(
            dataset=str(root / "data"),
            layers=("efficientnet_lite0/block4", "efficientnet_lite0/block10"),
            out=root / "out",
            filters=(1, 5),
            seeds=2,
            subset_seeds=1,
            segmentation_epochs=2,
            segmentation_batch_size=8,
            classification_epochs=2,
            bootstrap_samples=50,
            untrained=False,
        )
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, started once for a module."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is absent")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if not (chromium and driver_path):
        pytest.skip("Chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with planted answers."""
    path = tmp_path_factory.mktemp("planted") / "report.html"
    path.write_text(render_page(make_content()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def learned(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run."""
    out = tmp_path_factory.mktemp("learned") / "report.html"
    return write_report(finished_study / "block10" / "segmentation", out, filters_shown=5)


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[[Path, str], Browser]]:
    """Open a page at a hash; at the end the browser has complained of nothing, nor asked for more.

    Every page is opened anew, wide, and in the light theme.
    """
    from browsing import resize

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
